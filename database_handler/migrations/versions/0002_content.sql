-- 0002_content
-- What each entity does with its content: tokens, leases, media, links as they were given, search.
-- migrate: up
ALTER TABLE projects
    ADD COLUMN metadata_schemas jsonb NOT NULL DEFAULT '{}',
    ADD CONSTRAINT projects_metadata_schemas_check CHECK ((jsonb_typeof(metadata_schemas) = 'object'));
ALTER TABLE projects ALTER COLUMN metadata_schemas DROP DEFAULT;

ALTER TABLE translations
    ADD COLUMN word_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN tokens bytea,
    ADD COLUMN token_count bigint,
    ADD COLUMN lease_holder uuid,
    ADD COLUMN lease_worker text,
    ADD COLUMN lease_until timestamptz;
-- Of rows from before the words are counted by white space, which is right for most scripts and low for those
-- written without it; the next change of a content counts as the library does.
UPDATE translations SET word_count = coalesce(cardinality(regexp_split_to_array(nullif(btrim(content, E' \t\r\n'), ''), '\s+')), 0);
ALTER TABLE translations
    ALTER COLUMN word_count DROP DEFAULT,
    ADD CONSTRAINT translations_word_count_check CHECK ((word_count >= 0)),
    ADD CONSTRAINT translations_token_count_check CHECK ((token_count >= 0));
CREATE INDEX translations_status_id_idx ON translations (status, id);

ALTER TABLE videos
    ADD COLUMN rotation integer,
    ADD COLUMN audio_languages text[] NOT NULL DEFAULT '{}',
    ADD COLUMN subtitle_languages text[] NOT NULL DEFAULT '{}',
    ADD COLUMN media_info jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN lease_holder uuid,
    ADD COLUMN lease_worker text,
    ADD COLUMN lease_until timestamptz,
    ADD CONSTRAINT videos_rotation_check CHECK ((rotation >= 0) AND (rotation <= 270) AND (rotation % 90 = 0)),
    ADD CONSTRAINT videos_audio_languages_check CHECK ((array_position(audio_languages, NULL) IS NULL) AND (cardinality(audio_languages) <= 100)),
    ADD CONSTRAINT videos_subtitle_languages_check CHECK ((array_position(subtitle_languages, NULL) IS NULL) AND (cardinality(subtitle_languages) <= 100)),
    ADD CONSTRAINT videos_media_info_check CHECK ((jsonb_typeof(media_info) = 'object'));
ALTER TABLE videos
    ALTER COLUMN audio_languages DROP DEFAULT,
    ALTER COLUMN subtitle_languages DROP DEFAULT,
    ALTER COLUMN media_info DROP DEFAULT;
CREATE INDEX videos_status_id_idx ON videos (status, id);

-- Links.

-- Search.

-- migrate: down

-- Search.

-- Links.
DROP INDEX videos_status_id_idx;
ALTER TABLE videos
    DROP COLUMN lease_until,
    DROP COLUMN lease_worker,
    DROP COLUMN lease_holder,
    DROP COLUMN media_info,
    DROP COLUMN subtitle_languages,
    DROP COLUMN audio_languages,
    DROP COLUMN rotation;
DROP INDEX translations_status_id_idx;
ALTER TABLE translations
    DROP COLUMN lease_until,
    DROP COLUMN lease_worker,
    DROP COLUMN lease_holder,
    DROP COLUMN token_count,
    DROP COLUMN tokens,
    DROP COLUMN word_count;
ALTER TABLE projects DROP COLUMN metadata_schemas;
