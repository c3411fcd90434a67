"""Rows from before the second migration are there after it, readable and found, and after its way back."""

from uuid import UUID, uuid4

from database_handler import Database, MigrationManager
from database_handler.core.session import Statement

PROJECT, TEXT, SUMMARY, TRANSLATION, VIDEO, LINK = (uuid4() for _ in range(6))
BEFORE: list[tuple[str, list[UUID]]] = [
    (
        "INSERT INTO projects (id, name, slug, status, tags, metadata) "
        "VALUES (%s, 'Old', 'old', 'active', '{a}', '{}')",
        [PROJECT],
    ),
    (
        "INSERT INTO text_sources (project_id, id, title, content, content_type, language, size_bytes, "
        "checksum, word_count, char_count, metadata) "
        "VALUES (%s, %s, 'Opening', 'The lighthouses of the résumé 灯台', "
        "'text/plain', 'en', 33, repeat('a', 64), 6, 33, '{}')",
        [PROJECT, TEXT],
    ),
    (
        "INSERT INTO summaries (project_id, id, text_source_id, kind, language, content, content_format, "
        "word_count, metadata) VALUES (%s, %s, %s, 'brief', 'en', 'A lighthouse.', 'plain', 2, '{}')",
        [PROJECT, SUMMARY, TEXT],
    ),
    (
        "INSERT INTO translations (project_id, id, text_source_id, source_language, target_language, "
        "content, status, metadata) "
        "VALUES (%s, %s, %s, 'en', 'fr', E' Le  phare\\n de là-bas ', 'draft', '{}')",
        [PROJECT, TRANSLATION, TEXT],
    ),
    (
        "INSERT INTO videos (project_id, id, title, storage_uri, codecs, status, metadata) "
        "VALUES (%s, %s, 'Film', 'film.mp4', '{h264}', 'pending', '{}')",
        [PROJECT, VIDEO],
    ),
    (
        "INSERT INTO links (project_id, id, url, kind, host, metadata) "
        "VALUES (%s, %s, 'https://example.org/a', 'website', 'example.org', '{}')",
        [PROJECT, LINK],
    ),
]


def test_rows_from_before_are_read_found_and_worked_on(database: Database) -> None:
    manager = MigrationManager(database)
    manager.rollback(target="0001")
    for text, ids in BEFORE:
        assert database.session.run(Statement(text, "before", writes=True), ids) == 1
    manager.migrate()

    tree = database.projects.tree(PROJECT)
    assert len(list(tree.records())) == 6
    assert tree.project.metadata_schemas == {}
    translation = database.translations.get_by_id(TRANSLATION)
    assert (translation.word_count, translation.tokens, translation.token_count) == (4, None, None)
    video = database.videos.get_by_id(VIDEO)
    assert (video.rotation, video.audio_languages, video.subtitle_languages, video.media_info) == (
        None,
        (),
        (),
        {},
    )
    assert database.links.get_by_id(LINK).original_url == "https://example.org/a"
    assert [hit.record.id for hit in database.text_sources.search("resume lighthouse")] == [TEXT]
    assert [hit.record.id for hit in database.text_sources.search("灯台")] == [TEXT]
    assert {hit.record.id for hit in database.search("lighthouse or phare")} == {TEXT, SUMMARY, TRANSLATION}
    [claim] = database.translations.claim()
    assert database.translations.finish(claim).version == 2
    assert database.translations.tokenize(TRANSLATION).token_count == 6

    manager.rollback(target="0001")
    for table in ("projects", "text_sources", "summaries", "translations", "videos", "links"):
        assert database.session.one(Statement(f"SELECT count(*) FROM {table}", "count")) == (1,)
    manager.migrate()
    assert database.translations.get_by_id(TRANSLATION).tokens is None
