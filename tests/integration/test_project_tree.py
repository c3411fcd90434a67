"""The tree of a project holds the records that `get_by_id` gives, each under what it refers to."""

import logging
import math
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from database_handler import Database, NewProject, ProjectStatus, Record, UnitOfWork
from database_handler.models import Link, Project, Summary, TextSource, Translation, Video
from database_handler.repositories.project_tree import ProjectTree
from database_handler.testing import factories

HOSTILE_JSON = {
    "float": 1.0,
    "tiny": 5e-324,
    "below 1e16": 9007199254740993.0,
    "big": 10**40,
    "negative": -(2**63) - 1,
    "zero": -0.0,
    "deep": {"a": [{"b": [None, True, [], {}]}]},
    "": {'"': "\\", "\\": '"', "{}": "NULL", ",": "\n\r\t"},
    "鍵": "🎬\u202e\u200b",
}


def nested(tree: ProjectTree) -> Iterator[tuple[Record, UUID | None]]:
    """Every record of a tree, with the id of the node it hangs on."""
    for source in tree.text_sources:
        yield source.record, None
        for translation in source.translations:
            yield translation, source.record.id
        for summary in source.summaries:
            yield summary.record, source.record.id
            for translation in summary.translations:
                yield translation, summary.record.id
    for video in tree.videos:
        yield video, None
    for link in tree.links:
        yield link, None


def parent(record: Any) -> UUID | None:
    """The id that a record says it is of, among those that the tree nests by."""
    if isinstance(record, Translation):
        return record.text_source_id or record.summary_id
    return record.text_source_id if isinstance(record, Summary) else None


def listed(uow: UnitOfWork, project: UUID) -> list[Any]:
    """Every row below a project, read table after table."""
    repositories: list[Any] = [uow.text_sources, uow.summaries, uow.translations, uow.videos, uow.links]
    return [row for each in repositories for row in each.list(project_id=project)]


def grown(uow: UnitOfWork, draw: random.Random, rows: int) -> UUID:
    """A project of some rows: a tenth of them texts, the rest spread at random."""
    project = factories.ProjectFactory.create(uow, metadata=HOSTILE_JSON).id
    part, held = rows // 10, {"project_id": project}
    sources = factories.TextSourceFactory.create_batch(part, uow, **held)
    summaries = uow.summaries.create_many(
        factories.SummaryFactory.build(text_source_id=draw.choice(sources).id, **held)
        for _ in range(2 * part)
    )
    of_sources = (
        factories.TranslationFactory.build(
            text_source_id=draw.choice(sources).id, tokens=draw.choice([None, [(0, 2), (2, 3)]]), **held
        )
        for _ in range(3 * part)
    )
    of_summaries = (
        factories.TranslationFactory.build(summary_id=draw.choice(summaries).id, **held)
        for _ in range(2 * part)
    )
    translations = uow.translations.create_many(each for them in (of_sources, of_summaries) for each in them)
    uow.videos.create_many(
        factories.VideoFactory.build(translation_id=draw.choice([None, draw.choice(translations).id]), **held)
        for _ in range(part)
    )
    factories.LinkFactory.create_batch(part, uow, **held)
    return project


@pytest.fixture
def draw() -> random.Random:
    seed = factories.seed()
    logging.getLogger(__name__).warning("seed %d", seed)  # shown when the test fails
    return random.Random(seed)


def assert_same(record: Record, other: Record) -> None:
    """Equal, and of equal types all the way down, where Python takes 1, 1.0 and True for one value."""
    assert record == other
    for name in type(record).model_fields:
        assert shape(getattr(record, name)) == shape(getattr(other, name)), name


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [shape(inner) for inner in value]
    if isinstance(value, float):
        return value.hex()
    return type(value), value.tzinfo if isinstance(value, datetime) else None


@pytest.mark.parametrize("rows", [30, 200])
def test_each_record_is_there_once_under_what_it_refers_to(
    uow: UnitOfWork, draw: random.Random, rows: int
) -> None:
    project, _other = grown(uow, draw, rows), grown(uow, draw, 20)
    tree = uow.projects.tree(project)
    assert_same(tree.project, uow.projects.get_by_id(project))
    found = {record.id: record for record, _ in nested(tree)}
    assert len(found) == len(list(nested(tree)))
    expected = listed(uow, project)
    assert found.keys() == {record.id for record in expected}
    for record in expected:
        assert_same(found[record.id], record)
    assert all(parent(record) == above for record, above in nested(tree))


def test_everything_is_in_the_order_of_ids(uow: UnitOfWork, draw: random.Random) -> None:
    tree = uow.projects.tree(grown(uow, draw, 100))
    rows: list[list[Any]] = [[node.record for node in tree.text_sources], [*tree.videos], [*tree.links]]
    for source in tree.text_sources:
        rows += [[node.record for node in source.summaries], [*source.translations]]
        rows += [[*node.translations] for node in source.summaries]
    assert all(row == sorted(row, key=lambda record: record.id) for row in rows)


def test_records_come_after_what_they_refer_to(uow: UnitOfWork, draw: random.Random) -> None:
    tree = uow.projects.tree(grown(uow, draw, 50))
    seen: set[UUID] = set()
    for record in tree.records():
        references = [key.columns[-1] for key in record.table.foreign_keys]
        assert {getattr(record, name) for name in references} - {None} <= seen
        seen.add(record.id)
    assert seen == {tree.project.id, *(record.id for record, _ in nested(tree))}


def test_a_project_with_nothing_below(uow: UnitOfWork) -> None:
    project = uow.projects.create(NewProject(name="empty", status=ProjectStatus.ACTIVE))
    assert uow.projects.tree(str(project.id)) == ProjectTree(project, (), (), ())


def test_values_are_those_of_a_single_read(uow: UnitOfWork) -> None:
    source = factories.TextSourceFactory.create(
        uow, content="a\tb\r\n\\N \\. NULL {}'\"%s", metadata=HOSTILE_JSON, filename=None, storage_uri=None
    )
    video = factories.VideoFactory.create(
        uow,
        project_id=source.project_id,
        duration=math.ulp(0.0),
        frame_rate=1000 / 1001,
        bit_rate=2**63 - 1,
        codecs=("a, b", '"', "\\", "{}", "NULL", "née"),
        metadata=HOSTILE_JSON,
    )
    tree = uow.projects.tree(source.project_id)
    assert_same(tree.text_sources[0].record, uow.text_sources.get_by_id(source.id))
    assert_same(tree.text_sources[0].record, source)
    assert_same(tree.videos[0], uow.videos.get_by_id(video.id))
    assert isinstance(tree.videos[0].status, Enum)


def test_a_text_and_a_summary_of_one_id_keep_their_translations_apart(uow: UnitOfWork) -> None:
    source = factories.TextSourceFactory.create(uow)
    held = {"project_id": source.project_id}
    summary = uow.summaries.create(
        factories.SummaryFactory.build(text_source_id=source.id, **held), id=source.id
    )
    of_text = factories.TranslationFactory.create(uow, text_source_id=source.id, **held)
    of_summary = factories.TranslationFactory.create(uow, text_source_id=None, summary_id=summary.id, **held)
    [node] = uow.projects.tree(source.project_id).text_sources
    assert (node.translations, node.summaries[0].translations) == ((of_text,), (of_summary,))


def test_a_large_project_is_whole(database: Database, draw: random.Random) -> None:
    with database.unit_of_work() as uow:
        project = grown(uow, draw, 2000)
    with database.unit_of_work(read_only=True) as uow:
        tree = uow.projects.tree(project)
        assert sorted((record for record, _ in nested(tree)), key=key) == sorted(
            listed(uow, project), key=key
        )
    assert all(parent(record) == above for record, above in nested(tree))


def key(record: Record) -> tuple[str, UUID]:
    return type(record).__name__, record.id


def test_the_tree_is_of_one_moment(database: Database) -> None:
    """Somebody replaces a text and its summary again and again: no tree has one without the other."""
    project = database.projects.create(NewProject(name="busy")).id

    def replace(times: int) -> None:
        for number in range(times):
            with database.unit_of_work() as uow:
                for old in uow.text_sources.list(project_id=project):
                    uow.text_sources.delete(old.id)
                source = factories.TextSourceFactory.create(uow, project_id=project, title=f"t {number}")
                factories.SummaryFactory.create(
                    uow, project_id=project, text_source_id=source.id, generator=f"t {number}"
                )

    replace(1)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(replace, 30)
        seen = 0
        while not writing.done() and seen < 10_000:
            [source] = database.projects.tree(project).text_sources
            assert [node.record.generator for node in source.summaries] == [source.record.title]
            seen += 1
        writing.result()
    assert seen > 0


def test_types_of_the_tree(uow: UnitOfWork, draw: random.Random) -> None:
    tree = uow.projects.tree(grown(uow, draw, 20))
    kinds = {Project, TextSource, Summary, Translation, Video, Link}
    assert {type(record) for record in tree.records()} == kinds
    with pytest.raises(AttributeError):
        tree.videos = ()  # type: ignore[misc]  # it is frozen
