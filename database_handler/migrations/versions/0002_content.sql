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
UPDATE translations SET word_count = coalesce(cardinality(regexp_split_to_array(nullif(btrim(content, E' \t\r\n'), ''), '[[:space:]]+')), 0);
ALTER TABLE translations
    ALTER COLUMN word_count DROP DEFAULT,
    ADD CONSTRAINT translations_word_count_check CHECK ((word_count >= 0)),
    ADD CONSTRAINT translations_tokens_check CHECK ((octet_length(tokens) >= 10)),
    ADD CONSTRAINT translations_token_count_check CHECK ((token_count >= 0)),
    ADD CONSTRAINT translations_tokens_fit_check CHECK (num_nulls(tokens, token_count) <> 1 AND token_count = ('x' || encode(substring(tokens from 2 for 4), 'hex'))::bit(32)::bigint AND ('x' || encode(substring(tokens from 6 for 4), 'hex'))::bit(32)::bigint <= char_length(content));
CREATE INDEX translations_status_lease_until_id_idx ON translations (status, lease_until, id);

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
CREATE INDEX videos_status_lease_until_id_idx ON videos (status, lease_until, id);

ALTER TABLE links ADD COLUMN original_url text;
UPDATE links SET original_url = url;
ALTER TABLE links
    ALTER COLUMN original_url SET NOT NULL,
    ADD CONSTRAINT links_original_url_check CHECK ((char_length(original_url) >= 1) AND (char_length(original_url) <= 8000));

-- Search.

CREATE EXTENSION IF NOT EXISTS unaccent;

CREATE EXTENSION IF NOT EXISTS pg_trgm;

DO $do$
BEGIN
    EXECUTE (
        SELECT format(
            'CREATE TEXT SEARCH DICTIONARY database_handler_unaccent (TEMPLATE = %s.unaccent, RULES = ''unaccent'')',
            extnamespace::regnamespace
        ) FROM pg_catalog.pg_extension WHERE extname = 'unaccent'
    );
    EXECUTE (
        SELECT format(
            'CREATE FUNCTION database_handler_similarity(one text, other text) RETURNS real '
            'LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN %s.similarity(one, other)',
            extnamespace::regnamespace
        ) FROM pg_catalog.pg_extension WHERE extname = 'pg_trgm'
    );
END
$do$;

DO $do$
DECLARE
    stemmer text;
BEGIN
    FOREACH stemmer IN ARRAY ARRAY[
        'simple', 'arabic', 'catalan', 'danish', 'german', 'greek', 'english', 'spanish',
        'basque', 'finnish', 'french', 'irish', 'hindi', 'hungarian', 'armenian', 'indonesian',
        'italian', 'lithuanian', 'norwegian', 'nepali', 'dutch', 'portuguese', 'romanian',
        'russian', 'serbian', 'swedish', 'tamil', 'turkish', 'yiddish'
    ]
    LOOP
        EXECUTE format('CREATE TEXT SEARCH CONFIGURATION database_handler_%1$s (COPY = pg_catalog.%1$s)', stemmer);
        EXECUTE format(
            'ALTER TEXT SEARCH CONFIGURATION database_handler_%s ALTER MAPPING FOR word, hword, hword_part '
            'WITH database_handler_unaccent, pg_catalog.%s',
            stemmer, CASE stemmer WHEN 'simple' THEN stemmer ELSE stemmer || '_stem' END
        );
        EXECUTE format(
            'ALTER TEXT SEARCH CONFIGURATION database_handler_%s ALTER MAPPING FOR numword, numhword '
            'WITH database_handler_unaccent, pg_catalog.simple',
            stemmer
        );
    END LOOP;
END
$do$;

CREATE FUNCTION database_handler_configuration(language text) RETURNS regconfig
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE split_part(language, '-', 1)
        WHEN 'ar' THEN 'database_handler_arabic'::regconfig
        WHEN 'ca' THEN 'database_handler_catalan'::regconfig
        WHEN 'da' THEN 'database_handler_danish'::regconfig
        WHEN 'de' THEN 'database_handler_german'::regconfig
        WHEN 'el' THEN 'database_handler_greek'::regconfig
        WHEN 'en' THEN 'database_handler_english'::regconfig
        WHEN 'es' THEN 'database_handler_spanish'::regconfig
        WHEN 'eu' THEN 'database_handler_basque'::regconfig
        WHEN 'fi' THEN 'database_handler_finnish'::regconfig
        WHEN 'fr' THEN 'database_handler_french'::regconfig
        WHEN 'ga' THEN 'database_handler_irish'::regconfig
        WHEN 'hi' THEN 'database_handler_hindi'::regconfig
        WHEN 'hu' THEN 'database_handler_hungarian'::regconfig
        WHEN 'hy' THEN 'database_handler_armenian'::regconfig
        WHEN 'id' THEN 'database_handler_indonesian'::regconfig
        WHEN 'it' THEN 'database_handler_italian'::regconfig
        WHEN 'lt' THEN 'database_handler_lithuanian'::regconfig
        WHEN 'nb' THEN 'database_handler_norwegian'::regconfig
        WHEN 'ne' THEN 'database_handler_nepali'::regconfig
        WHEN 'nl' THEN 'database_handler_dutch'::regconfig
        WHEN 'nn' THEN 'database_handler_norwegian'::regconfig
        WHEN 'no' THEN 'database_handler_norwegian'::regconfig
        WHEN 'pt' THEN 'database_handler_portuguese'::regconfig
        WHEN 'ro' THEN 'database_handler_romanian'::regconfig
        WHEN 'ru' THEN 'database_handler_russian'::regconfig
        WHEN 'sr' THEN 'database_handler_serbian'::regconfig
        WHEN 'sv' THEN 'database_handler_swedish'::regconfig
        WHEN 'ta' THEN 'database_handler_tamil'::regconfig
        WHEN 'tr' THEN 'database_handler_turkish'::regconfig
        WHEN 'yi' THEN 'database_handler_yiddish'::regconfig
        ELSE 'database_handler_simple'::regconfig
    END;

CREATE FUNCTION database_handler_searched(content text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN left(content, 100000) ~ E'[\\u0300-\\u036f\\u0653-\\u0655\\u1161-\\u11c2\\u3099-\\u309a]'
        THEN left(normalize(left(content, 100000), NFC), 100000)
        ELSE left(content, 100000)
    END;

CREATE FUNCTION database_handler_words(content text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN regexp_replace(content, E'[\\u0e01-\\u0e3a\\u0e40-\\u0e4e\\u0e50-\\u0e59\\u0e81-\\u0edf\\u1000-\\u1049\\u1050-\\u109f\\u1780-\\u17d3\\u17d7-\\u17d7\\u17dc-\\u17e9\\u3005-\\u3007\\u3041-\\u3096\\u309d-\\u309f\\u30a1-\\u30fa\\u30fc-\\u30ff\\u31f0-\\u31ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uac00-\\ud7a3\\uf900-\\ufaff\\uff66-\\uff9f\\U00020000-\\U0003ffff]+', ' ', 'g');

CREATE FUNCTION database_handler_pairs(content text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT coalesce((
            SELECT string_agg(concat(first, nullif(second, ' '), ':', place), ' ')::tsvector
            FROM (SELECT string_to_array(left(runs, 16000), NULL) AS letters OFFSET 0) AS head,
                ROWS FROM (unnest(letters), unnest(letters[2:])) WITH ORDINALITY AS pair(first, second, place)
            WHERE first <> ' '
        ), '')
        || regexp_replace(substr(runs, 16000), '(..)', E'\\1 ', 'g')::tsvector
        || regexp_replace(substr(runs, 16000 + 1), '(..)', E'\\1 ', 'g')::tsvector
        FROM (
            SELECT regexp_replace(
                left(content, CASE WHEN octet_length(content) > 300000
                    THEN 80000 ELSE 100000 END),
                E'[^\\u0e01-\\u0e3a\\u0e40-\\u0e4e\\u0e50-\\u0e59\\u0e81-\\u0edf\\u1000-\\u1049\\u1050-\\u109f\\u1780-\\u17d3\\u17d7-\\u17d7\\u17dc-\\u17e9\\u3005-\\u3007\\u3041-\\u3096\\u309d-\\u309f\\u30a1-\\u30fa\\u30fc-\\u30ff\\u31f0-\\u31ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uac00-\\ud7a3\\uf900-\\ufaff\\uff66-\\uff9f\\U00020000-\\U0003ffff]+', ' ', 'g'
            ) AS runs OFFSET 0
        ) AS found
    );

CREATE FUNCTION database_handler_mixed_vector(language text, title text, content text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT setweight(to_tsvector(configuration, database_handler_words(top)) || database_handler_pairs(top), 'A')
            || setweight(to_tsvector(configuration, database_handler_words(body)) || database_handler_pairs(body), 'B')
        FROM (
            SELECT database_handler_configuration(language) AS configuration,
                database_handler_searched(title) AS top, database_handler_searched(content) AS body OFFSET 0
        ) AS parts
    );

CREATE FUNCTION database_handler_search_vector(language text, title text, content text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN title ~ E'[\\u0e01-\\u0e3a\\u0e40-\\u0e4e\\u0e50-\\u0e59\\u0e81-\\u0edf\\u1000-\\u1049\\u1050-\\u109f\\u1780-\\u17d3\\u17d7-\\u17d7\\u17dc-\\u17e9\\u3005-\\u3007\\u3041-\\u3096\\u309d-\\u309f\\u30a1-\\u30fa\\u30fc-\\u30ff\\u31f0-\\u31ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uac00-\\ud7a3\\uf900-\\ufaff\\uff66-\\uff9f\\U00020000-\\U0003ffff\\u0300-\\u036f\\u0653-\\u0655\\u1161-\\u11c2\\u3099-\\u309a]' OR left(content, 100000) ~ E'[\\u0e01-\\u0e3a\\u0e40-\\u0e4e\\u0e50-\\u0e59\\u0e81-\\u0edf\\u1000-\\u1049\\u1050-\\u109f\\u1780-\\u17d3\\u17d7-\\u17d7\\u17dc-\\u17e9\\u3005-\\u3007\\u3041-\\u3096\\u309d-\\u309f\\u30a1-\\u30fa\\u30fc-\\u30ff\\u31f0-\\u31ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uac00-\\ud7a3\\uf900-\\ufaff\\uff66-\\uff9f\\U00020000-\\U0003ffff\\u0300-\\u036f\\u0653-\\u0655\\u1161-\\u11c2\\u3099-\\u309a]'
        THEN database_handler_mixed_vector(language, title, content)
        ELSE setweight(to_tsvector(database_handler_configuration(language), title), 'A') || setweight(
            to_tsvector(database_handler_configuration(language), left(content, 100000)), 'B')
    END;

CREATE FUNCTION database_handler_passage(configuration regconfig, content text, query tsquery) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ts_headline(
        configuration,
        CASE WHEN length(content) <= 5000 THEN content ELSE coalesce(
            (
                SELECT part
                FROM (
                    SELECT substr(content, start, 5000) AS part
                    FROM generate_series(1, length(content), 5000 - 200) AS start
                ) AS parts
                WHERE to_tsvector(configuration, part) @@ query LIMIT 1
            ),
            left(content, 5000)
        ) END,
        query,
        'StartSel=**, StopSel=**, MaxWords=18, MinWords=8, MaxFragments=1'
    );

CREATE FUNCTION database_handler_one_of(lexemes text[]) RETURNS tsquery
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT string_agg(
            '''' || replace(replace(lexeme, E'\\', E'\\\\'), '''', '''''') || '''', ' | '
        )::tsquery
        FROM unnest(lexemes) AS lexeme
    );

CREATE FUNCTION database_handler_corrections(searched regclass, project uuid, form text, alphabet text)
    RETURNS TABLE (lexeme text)
    LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off
    AS $body$
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT variant
        FROM (
            SELECT variant, min(slip) AS slip
            FROM (
                SELECT left($1, place - 1) || substr($1, place + 1, 1) || substr($1, place, 1)
                    || substr($1, place + 2) AS variant, 0 AS slip
                FROM generate_series(1, length($1) - 1) AS place
                UNION ALL SELECT left($1, place - 1) || substr($1, place + 1), 1
                FROM generate_series(1, length($1)) AS place
                UNION ALL SELECT left($1, place - 1) || letter || substr($1, place + 1), 1
                FROM generate_series(1, length($1)) AS place, string_to_table($2, NULL) AS letter
                UNION ALL SELECT left($1, place) || letter || substr($1, place + 1), 1
                FROM generate_series(0, length($1)) AS place, string_to_table($2, NULL) AS letter
            ) AS made
            WHERE length(variant) > 2
            GROUP BY variant
        ) AS variants
        WHERE EXISTS (
            SELECT FROM %s AS t
            WHERE t.search_vector @@ quote_literal(variant)::tsquery AND ($3 IS NULL OR t.project_id = $3)
        )
        ORDER BY slip, database_handler_similarity($1, variant) DESC, variant LIMIT 8
    $sql$, searched) USING form, alphabet, project;
    IF NOT FOUND AND length(form) > 4 THEN
        RETURN QUERY EXECUTE format($sql$
            SELECT word
            FROM (
                SELECT DISTINCT l.lexeme AS word
                FROM (
                    SELECT t.search_vector FROM %s AS t
                    WHERE t.search_vector @@ (quote_literal(left($1, 3)) || ':*')::tsquery
                        AND ($2 IS NULL OR t.project_id = $2)
                    LIMIT 300
                ) AS sample, unnest(sample.search_vector) AS l
                WHERE starts_with(l.lexeme, left($1, 3)) AND abs(length(l.lexeme) - length($1)) < 4
            ) AS words
            WHERE database_handler_similarity($1, word) >= 0.4
            ORDER BY database_handler_similarity($1, word) DESC, word LIMIT 5
        $sql$, searched) USING form, project;
    END IF;
END
$body$;

-- Rows that are there get their vectors while the tables are rewritten.

ALTER TABLE text_sources
    DROP COLUMN search_vector,
    ADD COLUMN search_vector tsvector GENERATED ALWAYS AS (
    database_handler_search_vector(language, title, content)
    ) STORED;
CREATE INDEX text_sources_search_vector_idx ON text_sources USING gin (search_vector);

ALTER TABLE summaries
    ADD COLUMN search_vector tsvector GENERATED ALWAYS AS (
    database_handler_search_vector(language, '', content)
    ) STORED;
CREATE INDEX summaries_search_vector_idx ON summaries USING gin (search_vector);

ALTER TABLE translations
    ADD COLUMN search_vector tsvector GENERATED ALWAYS AS (
    database_handler_search_vector(target_language, '', content)
    ) STORED;
CREATE INDEX translations_search_vector_idx ON translations USING gin (search_vector);

-- migrate: down
-- Search. The extensions stay: they may have been there before, and others may use them by now.
ALTER TABLE translations DROP COLUMN search_vector;
ALTER TABLE summaries DROP COLUMN search_vector;
ALTER TABLE text_sources
    DROP COLUMN search_vector,
    ADD COLUMN search_vector tsvector GENERATED ALWAYS AS (
    setweight(to_tsvector(CASE split_part(language, '-', 1)
        WHEN 'ar' THEN 'pg_catalog.arabic'::regconfig
        WHEN 'ca' THEN 'pg_catalog.catalan'::regconfig
        WHEN 'da' THEN 'pg_catalog.danish'::regconfig
        WHEN 'de' THEN 'pg_catalog.german'::regconfig
        WHEN 'el' THEN 'pg_catalog.greek'::regconfig
        WHEN 'en' THEN 'pg_catalog.english'::regconfig
        WHEN 'es' THEN 'pg_catalog.spanish'::regconfig
        WHEN 'eu' THEN 'pg_catalog.basque'::regconfig
        WHEN 'fi' THEN 'pg_catalog.finnish'::regconfig
        WHEN 'fr' THEN 'pg_catalog.french'::regconfig
        WHEN 'ga' THEN 'pg_catalog.irish'::regconfig
        WHEN 'hi' THEN 'pg_catalog.hindi'::regconfig
        WHEN 'hu' THEN 'pg_catalog.hungarian'::regconfig
        WHEN 'hy' THEN 'pg_catalog.armenian'::regconfig
        WHEN 'id' THEN 'pg_catalog.indonesian'::regconfig
        WHEN 'it' THEN 'pg_catalog.italian'::regconfig
        WHEN 'lt' THEN 'pg_catalog.lithuanian'::regconfig
        WHEN 'nb' THEN 'pg_catalog.norwegian'::regconfig
        WHEN 'ne' THEN 'pg_catalog.nepali'::regconfig
        WHEN 'nl' THEN 'pg_catalog.dutch'::regconfig
        WHEN 'nn' THEN 'pg_catalog.norwegian'::regconfig
        WHEN 'no' THEN 'pg_catalog.norwegian'::regconfig
        WHEN 'pt' THEN 'pg_catalog.portuguese'::regconfig
        WHEN 'ro' THEN 'pg_catalog.romanian'::regconfig
        WHEN 'ru' THEN 'pg_catalog.russian'::regconfig
        WHEN 'sr' THEN 'pg_catalog.serbian'::regconfig
        WHEN 'sv' THEN 'pg_catalog.swedish'::regconfig
        WHEN 'ta' THEN 'pg_catalog.tamil'::regconfig
        WHEN 'tr' THEN 'pg_catalog.turkish'::regconfig
        WHEN 'yi' THEN 'pg_catalog.yiddish'::regconfig
        ELSE 'pg_catalog.simple'::regconfig
    END, title), 'A') || setweight(to_tsvector(CASE split_part(language, '-', 1)
        WHEN 'ar' THEN 'pg_catalog.arabic'::regconfig
        WHEN 'ca' THEN 'pg_catalog.catalan'::regconfig
        WHEN 'da' THEN 'pg_catalog.danish'::regconfig
        WHEN 'de' THEN 'pg_catalog.german'::regconfig
        WHEN 'el' THEN 'pg_catalog.greek'::regconfig
        WHEN 'en' THEN 'pg_catalog.english'::regconfig
        WHEN 'es' THEN 'pg_catalog.spanish'::regconfig
        WHEN 'eu' THEN 'pg_catalog.basque'::regconfig
        WHEN 'fi' THEN 'pg_catalog.finnish'::regconfig
        WHEN 'fr' THEN 'pg_catalog.french'::regconfig
        WHEN 'ga' THEN 'pg_catalog.irish'::regconfig
        WHEN 'hi' THEN 'pg_catalog.hindi'::regconfig
        WHEN 'hu' THEN 'pg_catalog.hungarian'::regconfig
        WHEN 'hy' THEN 'pg_catalog.armenian'::regconfig
        WHEN 'id' THEN 'pg_catalog.indonesian'::regconfig
        WHEN 'it' THEN 'pg_catalog.italian'::regconfig
        WHEN 'lt' THEN 'pg_catalog.lithuanian'::regconfig
        WHEN 'nb' THEN 'pg_catalog.norwegian'::regconfig
        WHEN 'ne' THEN 'pg_catalog.nepali'::regconfig
        WHEN 'nl' THEN 'pg_catalog.dutch'::regconfig
        WHEN 'nn' THEN 'pg_catalog.norwegian'::regconfig
        WHEN 'no' THEN 'pg_catalog.norwegian'::regconfig
        WHEN 'pt' THEN 'pg_catalog.portuguese'::regconfig
        WHEN 'ro' THEN 'pg_catalog.romanian'::regconfig
        WHEN 'ru' THEN 'pg_catalog.russian'::regconfig
        WHEN 'sr' THEN 'pg_catalog.serbian'::regconfig
        WHEN 'sv' THEN 'pg_catalog.swedish'::regconfig
        WHEN 'ta' THEN 'pg_catalog.tamil'::regconfig
        WHEN 'tr' THEN 'pg_catalog.turkish'::regconfig
        WHEN 'yi' THEN 'pg_catalog.yiddish'::regconfig
        ELSE 'pg_catalog.simple'::regconfig
    END, left(content, 100000)), 'B')
    ) STORED;
CREATE INDEX text_sources_search_vector_idx ON text_sources USING gin (search_vector);
DROP FUNCTION database_handler_corrections(regclass, uuid, text, text);
DROP FUNCTION database_handler_one_of(text[]);
DROP FUNCTION database_handler_passage(regconfig, text, tsquery);
DROP FUNCTION database_handler_search_vector(text, text, text);
DROP FUNCTION database_handler_mixed_vector(text, text, text);
DROP FUNCTION database_handler_pairs(text);
DROP FUNCTION database_handler_words(text);
DROP FUNCTION database_handler_searched(text);
DROP FUNCTION database_handler_configuration(text);
DROP FUNCTION database_handler_similarity(text, text);
DROP TEXT SEARCH CONFIGURATION database_handler_simple;
DROP TEXT SEARCH CONFIGURATION database_handler_arabic;
DROP TEXT SEARCH CONFIGURATION database_handler_catalan;
DROP TEXT SEARCH CONFIGURATION database_handler_danish;
DROP TEXT SEARCH CONFIGURATION database_handler_german;
DROP TEXT SEARCH CONFIGURATION database_handler_greek;
DROP TEXT SEARCH CONFIGURATION database_handler_english;
DROP TEXT SEARCH CONFIGURATION database_handler_spanish;
DROP TEXT SEARCH CONFIGURATION database_handler_basque;
DROP TEXT SEARCH CONFIGURATION database_handler_finnish;
DROP TEXT SEARCH CONFIGURATION database_handler_french;
DROP TEXT SEARCH CONFIGURATION database_handler_irish;
DROP TEXT SEARCH CONFIGURATION database_handler_hindi;
DROP TEXT SEARCH CONFIGURATION database_handler_hungarian;
DROP TEXT SEARCH CONFIGURATION database_handler_armenian;
DROP TEXT SEARCH CONFIGURATION database_handler_indonesian;
DROP TEXT SEARCH CONFIGURATION database_handler_italian;
DROP TEXT SEARCH CONFIGURATION database_handler_lithuanian;
DROP TEXT SEARCH CONFIGURATION database_handler_norwegian;
DROP TEXT SEARCH CONFIGURATION database_handler_nepali;
DROP TEXT SEARCH CONFIGURATION database_handler_dutch;
DROP TEXT SEARCH CONFIGURATION database_handler_portuguese;
DROP TEXT SEARCH CONFIGURATION database_handler_romanian;
DROP TEXT SEARCH CONFIGURATION database_handler_russian;
DROP TEXT SEARCH CONFIGURATION database_handler_serbian;
DROP TEXT SEARCH CONFIGURATION database_handler_swedish;
DROP TEXT SEARCH CONFIGURATION database_handler_tamil;
DROP TEXT SEARCH CONFIGURATION database_handler_turkish;
DROP TEXT SEARCH CONFIGURATION database_handler_yiddish;
DROP TEXT SEARCH DICTIONARY database_handler_unaccent;

ALTER TABLE links DROP COLUMN original_url;
DROP INDEX videos_status_lease_until_id_idx;
ALTER TABLE videos
    DROP COLUMN lease_until,
    DROP COLUMN lease_worker,
    DROP COLUMN lease_holder,
    DROP COLUMN media_info,
    DROP COLUMN subtitle_languages,
    DROP COLUMN audio_languages,
    DROP COLUMN rotation;
DROP INDEX translations_status_lease_until_id_idx;
ALTER TABLE translations
    DROP COLUMN lease_until,
    DROP COLUMN lease_worker,
    DROP COLUMN lease_holder,
    DROP COLUMN token_count,
    DROP COLUMN tokens,
    DROP COLUMN word_count;
ALTER TABLE projects DROP COLUMN metadata_schemas;
