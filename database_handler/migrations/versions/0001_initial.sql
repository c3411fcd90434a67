-- 0001_initial
-- The six entities: projects, text_sources, summaries, translations, videos, links.
-- migrate: up
CREATE TABLE projects (
    id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    name text NOT NULL,
    slug text NOT NULL,
    description text,
    status text NOT NULL,
    owner text,
    tags text[] NOT NULL,
    metadata jsonb NOT NULL,
    CONSTRAINT projects_pkey PRIMARY KEY (id),
    CONSTRAINT projects_key UNIQUE (slug),
    CONSTRAINT projects_version_check CHECK ((version >= 1)),
    CONSTRAINT projects_name_check CHECK ((char_length(name) >= 1) AND (char_length(name) <= 500)),
    CONSTRAINT projects_slug_check CHECK ((char_length(slug) >= 1) AND (char_length(slug) <= 200) AND (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$')),
    CONSTRAINT projects_description_check CHECK ((char_length(description) <= 10000)),
    CONSTRAINT projects_status_check CHECK ((status IN ('draft', 'active', 'completed', 'archived'))),
    CONSTRAINT projects_owner_check CHECK ((char_length(owner) >= 1) AND (char_length(owner) <= 200)),
    CONSTRAINT projects_tags_check CHECK ((array_position(tags, NULL) IS NULL) AND (cardinality(tags) <= 100)),
    CONSTRAINT projects_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'))
);

CREATE INDEX projects_status_id_idx ON projects (status, id);

CREATE TABLE text_sources (
    id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    project_id uuid NOT NULL,
    title text NOT NULL,
    content text NOT NULL,
    content_type text NOT NULL,
    language text NOT NULL,
    filename text,
    size_bytes bigint NOT NULL,
    checksum text NOT NULL,
    storage_uri text,
    word_count bigint NOT NULL,
    char_count bigint NOT NULL,
    metadata jsonb NOT NULL,
    search_vector tsvector GENERATED ALWAYS AS (
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
    ) STORED,
    CONSTRAINT text_sources_pkey PRIMARY KEY (project_id, id),
    CONSTRAINT text_sources_key UNIQUE (project_id, checksum),
    CONSTRAINT text_sources_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE,
    CONSTRAINT text_sources_version_check CHECK ((version >= 1)),
    CONSTRAINT text_sources_title_check CHECK ((char_length(title) >= 1) AND (char_length(title) <= 500)),
    CONSTRAINT text_sources_content_type_check CHECK ((content_type ~ '^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$')),
    CONSTRAINT text_sources_language_check CHECK ((char_length(language) >= 2) AND (char_length(language) <= 63)),
    CONSTRAINT text_sources_filename_check CHECK ((char_length(filename) >= 1) AND (octet_length(filename) <= 2000)),
    CONSTRAINT text_sources_size_bytes_check CHECK ((size_bytes >= 0)),
    CONSTRAINT text_sources_checksum_check CHECK ((char_length(checksum) >= 64) AND (char_length(checksum) <= 64) AND (checksum ~ '^[0-9a-f]{64}$')),
    CONSTRAINT text_sources_storage_uri_check CHECK ((char_length(storage_uri) >= 1) AND (octet_length(storage_uri) <= 2000)),
    CONSTRAINT text_sources_word_count_check CHECK ((word_count >= 0)),
    CONSTRAINT text_sources_char_count_check CHECK ((char_count >= 0)),
    CONSTRAINT text_sources_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'))
);

CREATE INDEX text_sources_project_id_filename_idx ON text_sources (project_id, filename);

CREATE INDEX text_sources_project_id_language_idx ON text_sources (project_id, language);

CREATE INDEX text_sources_search_vector_idx ON text_sources USING gin (search_vector);

CREATE INDEX text_sources_id_idx ON text_sources (id);

CREATE TABLE links (
    id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    project_id uuid NOT NULL,
    url text NOT NULL,
    title text,
    kind text NOT NULL,
    host text NOT NULL,
    description text,
    metadata jsonb NOT NULL,
    CONSTRAINT links_pkey PRIMARY KEY (project_id, id),
    CONSTRAINT links_key UNIQUE (project_id, url),
    CONSTRAINT links_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE,
    CONSTRAINT links_version_check CHECK ((version >= 1)),
    CONSTRAINT links_url_check CHECK ((char_length(url) >= 1) AND (octet_length(url) <= 2000)),
    CONSTRAINT links_title_check CHECK ((char_length(title) >= 1) AND (char_length(title) <= 500)),
    CONSTRAINT links_kind_check CHECK ((kind IN ('website', 'video', 'audio', 'image', 'document', 'code', 'social', 'news', 'map', 'archive'))),
    CONSTRAINT links_host_check CHECK ((char_length(host) >= 1) AND (char_length(host) <= 255)),
    CONSTRAINT links_description_check CHECK ((char_length(description) <= 10000)),
    CONSTRAINT links_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'))
);

CREATE INDEX links_project_id_kind_id_idx ON links (project_id, kind, id);

CREATE INDEX links_id_idx ON links (id);

CREATE TABLE summaries (
    id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    project_id uuid NOT NULL,
    text_source_id uuid NOT NULL,
    kind text NOT NULL,
    language text NOT NULL,
    content text NOT NULL,
    content_format text NOT NULL,
    generator text,
    word_count bigint NOT NULL,
    metadata jsonb NOT NULL,
    CONSTRAINT summaries_pkey PRIMARY KEY (project_id, id),
    CONSTRAINT summaries_key UNIQUE NULLS NOT DISTINCT (project_id, text_source_id, kind, language, generator),
    CONSTRAINT summaries_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE,
    CONSTRAINT summaries_text_source_id_fkey FOREIGN KEY (project_id, text_source_id) REFERENCES text_sources (project_id, id) ON DELETE CASCADE,
    CONSTRAINT summaries_version_check CHECK ((version >= 1)),
    CONSTRAINT summaries_kind_check CHECK ((kind IN ('headline', 'brief', 'standard', 'detailed', 'bullets'))),
    CONSTRAINT summaries_language_check CHECK ((char_length(language) >= 2) AND (char_length(language) <= 63)),
    CONSTRAINT summaries_content_check CHECK ((char_length(content) >= 1)),
    CONSTRAINT summaries_content_format_check CHECK ((content_format IN ('plain', 'markdown', 'html'))),
    CONSTRAINT summaries_generator_check CHECK ((char_length(generator) >= 1) AND (char_length(generator) <= 200)),
    CONSTRAINT summaries_word_count_check CHECK ((word_count >= 0)),
    CONSTRAINT summaries_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'))
);

CREATE INDEX summaries_id_idx ON summaries (id);

CREATE TABLE translations (
    id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    project_id uuid NOT NULL,
    text_source_id uuid,
    summary_id uuid,
    source_language text NOT NULL,
    target_language text NOT NULL,
    content text NOT NULL,
    status text NOT NULL,
    generator text,
    metadata jsonb NOT NULL,
    CONSTRAINT translations_pkey PRIMARY KEY (project_id, id),
    CONSTRAINT translations_key UNIQUE NULLS NOT DISTINCT (project_id, text_source_id, summary_id, target_language, generator),
    CONSTRAINT translations_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE,
    CONSTRAINT translations_text_source_id_fkey FOREIGN KEY (project_id, text_source_id) REFERENCES text_sources (project_id, id) ON DELETE CASCADE,
    CONSTRAINT translations_summary_id_fkey FOREIGN KEY (project_id, summary_id) REFERENCES summaries (project_id, id) ON DELETE CASCADE,
    CONSTRAINT translations_version_check CHECK ((version >= 1)),
    CONSTRAINT translations_source_language_check CHECK ((char_length(source_language) >= 2) AND (char_length(source_language) <= 63)),
    CONSTRAINT translations_target_language_check CHECK ((char_length(target_language) >= 2) AND (char_length(target_language) <= 63)),
    CONSTRAINT translations_content_check CHECK ((char_length(content) >= 1)),
    CONSTRAINT translations_status_check CHECK ((status IN ('draft', 'review', 'approved'))),
    CONSTRAINT translations_generator_check CHECK ((char_length(generator) >= 1) AND (char_length(generator) <= 200)),
    CONSTRAINT translations_metadata_check CHECK ((jsonb_typeof(metadata) = 'object')),
    CONSTRAINT translations_one_original_check CHECK (num_nonnulls(text_source_id, summary_id) = 1)
);

CREATE INDEX translations_project_id_summary_id_idx ON translations (project_id, summary_id);

CREATE INDEX translations_project_id_target_language_status_idx ON translations (project_id, target_language, status);

CREATE INDEX translations_id_idx ON translations (id);

CREATE TABLE videos (
    id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    project_id uuid NOT NULL,
    translation_id uuid,
    title text NOT NULL,
    storage_uri text NOT NULL,
    checksum text,
    container text,
    duration double precision,
    width integer,
    height integer,
    frame_rate double precision,
    codecs text[] NOT NULL,
    bit_rate bigint,
    size_bytes bigint,
    thumbnail_uri text,
    status text NOT NULL,
    metadata jsonb NOT NULL,
    CONSTRAINT videos_pkey PRIMARY KEY (project_id, id),
    CONSTRAINT videos_key UNIQUE (project_id, storage_uri),
    CONSTRAINT videos_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE,
    CONSTRAINT videos_translation_id_fkey FOREIGN KEY (project_id, translation_id) REFERENCES translations (project_id, id) ON DELETE RESTRICT,
    CONSTRAINT videos_version_check CHECK ((version >= 1)),
    CONSTRAINT videos_title_check CHECK ((char_length(title) >= 1) AND (char_length(title) <= 500)),
    CONSTRAINT videos_storage_uri_check CHECK ((char_length(storage_uri) >= 1) AND (octet_length(storage_uri) <= 2000)),
    CONSTRAINT videos_checksum_check CHECK ((char_length(checksum) >= 64) AND (char_length(checksum) <= 64) AND (checksum ~ '^[0-9a-f]{64}$')),
    CONSTRAINT videos_container_check CHECK ((char_length(container) >= 1) AND (char_length(container) <= 200)),
    CONSTRAINT videos_duration_check CHECK ((duration > '-Infinity' AND duration < 'Infinity') AND (duration >= 0)),
    CONSTRAINT videos_width_check CHECK ((width >= 1)),
    CONSTRAINT videos_height_check CHECK ((height >= 1)),
    CONSTRAINT videos_frame_rate_check CHECK ((frame_rate > '-Infinity' AND frame_rate < 'Infinity') AND (frame_rate > 0) AND (frame_rate <= 1000)),
    CONSTRAINT videos_codecs_check CHECK ((array_position(codecs, NULL) IS NULL) AND (cardinality(codecs) <= 100)),
    CONSTRAINT videos_bit_rate_check CHECK ((bit_rate >= 0)),
    CONSTRAINT videos_size_bytes_check CHECK ((size_bytes >= 0)),
    CONSTRAINT videos_thumbnail_uri_check CHECK ((char_length(thumbnail_uri) >= 1) AND (octet_length(thumbnail_uri) <= 2000)),
    CONSTRAINT videos_status_check CHECK ((status IN ('pending', 'processing', 'ready', 'failed'))),
    CONSTRAINT videos_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'))
);

CREATE INDEX videos_project_id_status_id_idx ON videos (project_id, status, id);

CREATE INDEX videos_project_id_translation_id_idx ON videos (project_id, translation_id);

CREATE INDEX videos_id_idx ON videos (id);

-- migrate: down
DROP TABLE videos;
DROP TABLE translations;
DROP TABLE summaries;
DROP TABLE links;
DROP TABLE text_sources;
DROP TABLE projects;
