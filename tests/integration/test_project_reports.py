"""The reports of a project say what plain Python finds in its rows, in one round trip each."""

import json
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from pydantic import TypeAdapter
from pydantic_core import to_json

from database_handler import (
    Database,
    LinkKind,
    NewTextSource,
    Project,
    Record,
    TextSource,
    TranslationStatus,
    UnitOfWork,
    VideoStatus,
)
from database_handler.core.exceptions import InvalidValue, RecordNotFound
from database_handler.core.session import Statement
from database_handler.models import ENTITIES, Link, Summary, Translation, Video
from database_handler.repositories.project import ProjectRepository
from database_handler.repositories.project_coverage import Coverage, LanguageCoverage, coverage
from database_handler.repositories.project_metadata import (
    MetadataSummary,
    described,
    metadata_summary,
    shown_path,
)
from database_handler.repositories.project_statistics import (
    ProjectStatistics,
    statistics,
)
from database_handler.repositories.project_tree import ProjectTree, tree
from database_handler.testing import factories
from tests.support.wire import CountingProxy

LANGUAGES = ["en", "de", "pt", "pt-BR", "zh-Hans", "zh-Hant"]
HOSTILE_KEYS = [
    "", " ", ".", "a.b", "a", "b", '"', '"a"', "\\", "\\u0041", "'", "%s", "$.x", "{}", "[0]", "*", "é",
    "e\u0301", "ключ", "鍵", "🎬", "\u202eabc", "\u200b", "tab\there", "line\nbreak", "k" * 5000, "NULL",
    "null", "--", ";", "a,b",
]  # fmt: skip


@dataclass
class Rows:
    """All rows of a project, read one table after the other."""

    project: Project
    by_entity: dict[type[Record], list[Any]]

    entities: ClassVar[list[type[Record]]] = [TextSource, Summary, Translation, Video, Link]

    @classmethod
    def of(cls, uow: UnitOfWork, project: Project) -> "Rows":
        project = uow.projects.get_by_id(project.id)
        repositories: list[Any] = [uow.text_sources, uow.summaries, uow.translations, uow.videos, uow.links]
        return cls(project, {each.record: each.list(project_id=project.id) for each in repositories})

    def all(self) -> Iterator[Any]:
        yield self.project
        for rows in self.by_entity.values():
            yield from rows


def metadata(draw: random.Random, depth: int = 4) -> dict[str, Any]:
    values: list[Callable[[], Any]] = [
        lambda: draw.randint(-9, 10**20),
        lambda: 1.0,
        lambda: draw.random() < 0.5,
        lambda: None,
        lambda: "text",
        lambda: [{"not": "looked into"}],
        lambda: {},
    ]
    if depth > 0:
        values += [lambda: metadata(draw, depth - 1)] * 3
    return {draw.choice(HOSTILE_KEYS): draw.choice(values)() for _ in range(draw.randint(0, 4))}


def grown(uow: UnitOfWork, draw: random.Random, size: int) -> Project:
    """A project with some rows of everything, drawn at random."""
    project = factories.ProjectFactory.create(uow, metadata=metadata(draw))
    held: dict[str, Any] = {"project_id": project.id}

    def fields() -> dict[str, Any]:
        return held | {"metadata": metadata(draw)}

    def language() -> str:
        return draw.choice(LANGUAGES)

    sources = uow.text_sources.create_many(
        factories.TextSourceFactory.build(language=language(), **fields()) for _ in range(size)
    )
    summaries = uow.summaries.create_many(
        factories.SummaryFactory.build(
            text_source_id=draw.choice(sources).id, language=language(), **fields()
        )
        for _ in range(size)
    )
    originals = [{"text_source_id": each.id} for each in sources] + [
        {"text_source_id": None, "summary_id": each.id} for each in summaries
    ]
    translations = uow.translations.create_many(
        factories.TranslationFactory.build(
            **draw.choice(originals),
            target_language=draw.choice(LANGUAGES),
            tokens=draw.choice([None, [(n, n + 1) for n in range(draw.randint(0, 9))]]),
            **fields(),
        )
        for _ in range(5 * size)
    )
    uow.videos.create_many(
        factories.VideoFactory.build(
            translation_id=draw.choice([None, draw.choice(translations).id]),
            duration=draw.choice([None, 0.1, 1e-9, draw.random() * 10**6]),
            size_bytes=draw.choice([None, draw.randint(0, 2**50)]),
            **fields(),
        )
        for _ in range(size)
    )
    uow.links.create_many(factories.LinkFactory.build(**fields()) for _ in range(size))
    return project


@dataclass
class World:
    """Two projects full of rows, and an empty one, in a unit that is rolled back."""

    uow: UnitOfWork
    draw: random.Random
    project: Project
    other: Project
    empty: Project

    @property
    def reports(self) -> ProjectRepository:
        return self.uow.projects

    @property
    def rows(self) -> Rows:
        return Rows.of(self.uow, self.project)


@pytest.fixture
def world(uow: UnitOfWork) -> World:
    seed = factories.seed()
    logging.getLogger(__name__).warning("seed %d", seed)  # shown when the test fails
    draw = random.Random(seed)
    project, other = grown(uow, draw, 12), grown(uow, draw, 5)
    empty = factories.ProjectFactory.create(uow, metadata={})
    return World(uow, draw, project, other, empty)


# --------------------------------------------------------------------------------------------- statistics


def figures(rows: Rows) -> dict[str, Any]:
    """What `statistics` is to say, as JSON, found in plain Python."""
    sources, summaries, translations, videos, links = (rows.by_entity[each] for each in Rows.entities)

    def texts(found: list[Any]) -> dict[str, Any]:
        return {
            "rows": len(found),
            "words": sum(row.word_count for row in found),
            "characters": sum(row.char_count for row in found),
            "size_bytes": sum(row.size_bytes for row in found),
        }

    def summed(found: list[Any]) -> dict[str, Any]:
        return {"rows": len(found), "words": sum(row.word_count for row in found)}

    def translated(found: list[Any]) -> dict[str, Any]:
        return summed(found) | {"tokens": sum(row.token_count or 0 for row in found)}

    def filmed(found: list[Any]) -> dict[str, Any]:
        return {
            "rows": len(found),
            "seconds": float(sum(Fraction(repr(row.duration or 0.0)) for row in found)),
            "size_bytes": sum(row.size_bytes or 0 for row in found),
        }

    def by(
        found: list[Any], label: str, amounts: Callable[[list[Any]], Any], always: Any = ()
    ) -> dict[str, Any]:
        groups: dict[str, list[Any]] = defaultdict(list, {str(each.value): [] for each in always})
        for row in found:
            groups[str(getattr(row, label))].append(row)
        return {key: amounts(group) for key, group in groups.items()}

    return {
        "project_id": str(rows.project.id),
        "rows": sum(map(len, rows.by_entity.values())),
        "words": sum(row.word_count for row in (*sources, *summaries, *translations)),
        "last_activity": max(row.updated_at for row in rows.all()),
        "text_sources": texts(sources) | {"languages": by(sources, "language", texts)},
        "summaries": summed(summaries) | {"languages": by(summaries, "language", summed)},
        "translations": translated(translations)
        | {
            "languages": by(translations, "target_language", translated),
            "statuses": by(translations, "status", translated, TranslationStatus),
        },
        "videos": filmed(videos) | {"statuses": by(videos, "status", filmed, VideoStatus)},
        "links": {"rows": len(links), "kinds": by(links, "kind", len, LinkKind)},
        "others": {},
    }


def as_json(found: ProjectStatistics) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(to_json(found))
    return told | {"last_activity": datetime.fromisoformat(told["last_activity"])}


def test_statistics_are_what_the_rows_say(world: World) -> None:
    found = world.reports.statistics(world.project.id)
    assert as_json(found) == figures(world.rows)
    assert found.rows == 9 * 12
    assert found.text_sources.languages.keys() <= set(LANGUAGES)


def test_statistics_of_an_empty_project_are_zeros(world: World) -> None:
    found = world.reports.statistics(str(world.empty.id))
    assert as_json(found) == figures(Rows.of(world.uow, world.empty))
    assert (found.rows, found.words, found.videos.seconds, found.links.rows) == (0, 0, 0.0, 0)
    assert found.translations.statuses[TranslationStatus.APPROVED].rows == 0
    assert found.last_activity == world.empty.updated_at


def test_statistics_of_many_keep_the_order_and_leave_out_who_is_missing(world: World) -> None:
    ids = [world.other.id, uuid4(), world.empty.id, world.project.id, world.other.id]
    found = world.reports.statistics_many(str(id) for id in ids)
    assert [each.project_id for each in found] == [id for id in ids if id != ids[1]]
    assert found[2] == world.reports.statistics(world.project.id)
    assert world.reports.statistics_many([]) == []


def test_activity_of_any_row_counts(database: Database) -> None:
    link = factories.LinkFactory.create(database)
    before = database.projects.statistics(link.project_id).last_activity
    changed = database.links.update(link.id, description="later")
    assert before == link.updated_at
    assert database.projects.statistics(link.project_id).last_activity == changed.updated_at > before


def test_sums_beyond_the_largest_number_of_a_column(uow: UnitOfWork) -> None:
    project, most = factories.ProjectFactory.create(uow).id, 2**63 - 1
    uow.text_sources.create_many(
        NewTextSource(project_id=project, title="t", content=str(n), word_count=most, char_count=most)
        for n in range(3)
    )
    factories.VideoFactory.create_batch(3, uow, project_id=project, duration=1e307, size_bytes=most)
    found = uow.projects.statistics(project)
    assert (found.words, found.text_sources.characters, found.videos.size_bytes) == (3 * most,) * 3
    assert found.videos.seconds == 3e307


# ----------------------------------------------------------------------------------------------- coverage


def expected_totals(rows: Rows, of: type[Record], languages: list[str]) -> dict[str, Counter[str]]:
    """For each language, how many originals stand where, found in plain Python."""
    reference = "text_source_id" if of is TextSource else "summary_id"
    totals: dict[str, Counter[str]] = {code: Counter() for code in languages}
    for original in rows.by_entity[of]:
        for code in languages:
            statuses = [
                list(TranslationStatus).index(each.status)
                for each in rows.by_entity[Translation]
                if getattr(each, reference) == original.id and each.target_language == code
            ]
            state = "original" if code == original.language else "missing"
            totals[code][list(TranslationStatus)[max(statuses)].value if statuses else state] += 1
    return totals


def counted(found: LanguageCoverage) -> Counter[str]:
    return +Counter(json.loads(to_json(found)))


@pytest.mark.parametrize("of", ["text_sources", "summaries"])
@pytest.mark.parametrize("asked", [None, ["zh-Hant", "ja", "pt-BR", "en"]])
def test_coverage_is_what_the_rows_say(world: World, of: Any, asked: list[str] | None) -> None:
    rows, entity = world.rows, TextSource if of == "text_sources" else Summary
    found = world.reports.coverage(world.project.id, asked, of=of)
    occurring = sorted({each.target_language for each in rows.by_entity[Translation]})
    assert found.languages == tuple(asked or occurring)
    assert found.originals == len(rows.by_entity[entity]) == len(found.items)
    assert found.next_cursor is None
    totals = {code: counted(total) for code, total in found.totals.items()}
    assert totals == expected_totals(rows, entity, list(found.languages))
    for item, original in zip(found.items, rows.by_entity[entity], strict=True):
        assert (item.id, item.language) == (original.id, original.language)
        for code in found.languages:
            told = item.statuses.get(code) or ("missing" if code in item.missing else "original")
            one = Rows(rows.project, {**rows.by_entity, entity: [original]})
            assert expected_totals(one, entity, [code])[code] == {str(told): 1}


def test_coverage_page_after_page_is_the_whole(world: World) -> None:
    whole = world.reports.coverage(world.project.id)
    pages, after = list[Coverage](), None
    for _ in range(20):
        page = world.reports.coverage(str(world.project.id), limit=5, after=after)
        pages.append(page)
        after = page.next_cursor
        if after is None:
            break
    assert [len(page.items) for page in pages] == [5, 5, 2]
    assert [item for page in pages for item in page.items] == list(whole.items)
    assert all(page.totals == whole.totals for page in pages)
    totals_alone = world.reports.coverage(world.project.id, limit=0)
    assert (totals_alone.items, totals_alone.next_cursor) == ((), None)
    assert totals_alone.totals == whole.totals
    exact = world.reports.coverage(world.project.id, limit=12)
    assert (len(exact.items), exact.next_cursor) == (12, None)


def test_the_furthest_of_several_translations_counts(uow: UnitOfWork) -> None:
    source = factories.TextSourceFactory.create(uow, language="pt-BR")
    for status in ("draft", "approved", "review"):
        factories.TranslationFactory.create(
            uow, text_source_id=source.id, target_language="fr", status=status
        )
    found = uow.projects.coverage(source.project_id, ["pt_br", "PT", "fr", "pt-BR"])
    assert found.languages == ("pt-BR", "pt", "fr")
    assert found.totals["fr"] == LanguageCoverage(approved=1)
    assert found.totals["pt-BR"] == LanguageCoverage(original=1)
    assert found.items[0].missing == ("pt",)
    assert found.items[0].title == source.title


def test_a_translation_of_a_summary_counts_for_the_summary_alone(uow: UnitOfWork) -> None:
    summary = factories.SummaryFactory.create(uow, language="en", kind="brief")
    source = uow.text_sources.update(summary.text_source_id, language="en")
    factories.TranslationFactory.create(
        uow, text_source_id=None, summary_id=summary.id, target_language="fr", status="review"
    )
    assert uow.projects.coverage(source.project_id).totals == {"fr": LanguageCoverage(missing=1)}
    found = uow.projects.coverage(source.project_id, of="summaries")
    assert found.totals == {"fr": LanguageCoverage(review=1)}
    assert [(item.kind, item.title) for item in found.items] == [("brief", source.title)]


def test_coverage_and_the_list_of_what_is_missing_agree(world: World) -> None:
    languages = ["fr", "pt-BR", "zh-Hans", "en"]
    told = world.reports.coverage(world.project.id, languages).items
    listed = world.uow.translations.missing(world.project.id, languages).items
    assert {(item.id, code) for item in told for code in item.missing} == {
        (item.text_source_id, item.language) for item in listed
    }


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"languages": ["english"]}, "did you mean en"),
        ({"languages": "fr"}, "a list of BCP 47 tags"),
        ({"languages": []}, "from 1 to 1,000 languages"),
        ({"languages": ["fr", None]}, "target_language"),
        ({"limit": -1}, "limit is a whole number"),
        ({"limit": True}, "limit is a whole number"),
        ({"of": "videos"}, "text_sources"),
        ({"of": []}, "text_sources"),
        ({"after": "x"}, "UUID"),
    ],
)
def test_coverage_refuses_what_it_cannot_take(uow: UnitOfWork, call: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        uow.projects.coverage(uuid4(), **call)


# ----------------------------------------------------------------------------------------------- metadata


def kind_of(value: Any) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def walked(value: dict[str, Any], depth: int, above: tuple[str, ...] = ()) -> Iterator[tuple[Any, str]]:
    for key, inner in value.items():
        yield (*above, key), kind_of(inner)
        if isinstance(inner, dict) and depth > 1:
            yield from walked(inner, depth - 1, (*above, key))


def keys_found(rows: Rows, depth: int) -> dict[tuple[str, ...], dict[str, Counter[str]]]:
    """For each path, how many values of which type each table has, found in plain Python."""
    found: dict[tuple[str, ...], dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for row in rows.all():
        for keys, kind in walked(row.metadata, depth):
            found[keys][row.table.name][kind] += 1
    return found


@pytest.mark.parametrize("depth", [1, 2, 3, 20])
def test_metadata_is_what_the_rows_say(world: World, depth: int) -> None:
    found = world.reports.metadata_summary(world.project.id, depth=depth, limit=10_000)
    assert {path.keys: path.entities for path in found.paths} == keys_found(world.rows, depth)
    assert all(path.types == sum(map(Counter, path.entities.values()), Counter()) for path in found.paths)
    assert all(path.rows == sum(path.types.values()) for path in found.paths)
    assert list(found.paths) == sorted(found.paths, key=lambda path: (-path.rows, path.keys))
    assert found.truncated is False
    rows = {each.table.name: len(values) for each, values in world.rows.by_entity.items()}
    assert found.rows == {"projects": 1, **rows}


def test_the_most_frequent_paths_come_first(world: World) -> None:
    whole = world.reports.metadata_summary(world.project.id, limit=10_000)
    for limit in (1, 7, len(whole.paths) - 1):
        part = world.reports.metadata_summary(world.project.id, limit=limit)
        assert (part.paths, part.truncated) == (whole.paths[:limit], True)
    exact = world.reports.metadata_summary(world.project.id, limit=len(whole.paths))
    assert (exact.paths, exact.truncated) == (whole.paths, False)


def test_hostile_keys_come_back_exactly_and_are_shown_apart(uow: UnitOfWork) -> None:
    deep = {key: {key: 1} for key in HOSTILE_KEYS} | {"a": {"b": 1, "a": 1}}
    project = factories.ProjectFactory.create(uow, metadata=deep)
    found = uow.projects.metadata_summary(project.id, limit=1000)
    assert {path.keys for path in found.paths} == {keys for keys, _ in walked(deep, 3)}
    shown = [path.path for path in found.paths]
    assert len(set(shown)) == len(shown)
    assert {"a", "a.b", '"a.b"', '""', '"\\u202eabc"', '"line\\nbreak"'} <= set(shown)
    assert all("\n" not in each for each in shown)


def test_a_path_is_shown_by_dots() -> None:
    assert shown_path(["camera", "f.stop", "größe"]) == 'camera."f.stop".größe'


@pytest.mark.parametrize(
    "call", [{"depth": 0}, {"depth": 21}, {"limit": 0}, {"limit": 10**9}, {"depth": "2"}]
)
def test_metadata_summary_is_bounded(uow: UnitOfWork, call: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="whole number"):
        uow.projects.metadata_summary(uuid4(), **call)


# ---------------------------------------------------------------------------------------------- every report

CALLS: dict[str, Callable[[ProjectRepository, UUID], Any]] = {
    "statistics": lambda found, id: found.statistics(id),
    "statistics_many": lambda found, id: found.statistics_many([id, id]),
    "coverage": lambda found, id: found.coverage(id),
    "coverage, wanted": lambda found, id: found.coverage(id, ["fr"], limit=1, of="summaries"),
    "metadata_summary": lambda found, id: found.metadata_summary(id),
    "tree": lambda found, id: found.tree(id),
}
ONE = [name for name in CALLS if name != "statistics_many"]


@pytest.mark.parametrize("call", ONE)
def test_a_project_that_is_not_there(uow: UnitOfWork, call: str) -> None:
    id = uuid4()
    with pytest.raises(RecordNotFound, match=str(id)):
        CALLS[call](uow.projects, id)
    with pytest.raises(InvalidValue, match="UUID"):
        CALLS[call](uow.projects, "no id")  # type: ignore[arg-type]  # as a caller may


def test_statistics_of_many_take_a_list(uow: UnitOfWork) -> None:
    with pytest.raises(InvalidValue, match="list of ids"):
        uow.projects.statistics_many(str(uuid4()))


def test_a_unit_of_another_project_sees_nothing(database: Database) -> None:
    mine, theirs = (factories.LinkFactory.create(database).project_id for _ in range(2))
    with database.unit_of_work(project_id=mine) as uow:
        for call in CALLS.values():
            assert call(uow.projects, mine) == call(ProjectRepository(uow.session), mine)
        for name in ONE:
            with pytest.raises(RecordNotFound):
                CALLS[name](uow.projects, theirs)
        assert [each.project_id for each in uow.projects.statistics_many([theirs, mine])] == [mine]


def test_each_report_is_one_round_trip(shared_database: Database) -> None:
    with (
        CountingProxy(shared_database.config) as proxy,
        Database(proxy.config.with_(pool_size=1, max_overflow=0, statement_timeout=60)) as counted,
    ):
        link = factories.LinkFactory.create(counted)
        for name, call in CALLS.items():
            with proxy.counting() as trips:
                call(counted.projects, link.project_id)
            trips.count -= trips.texts.count("SELECT")  # the pool's ping of an idle connection
            assert (name, trips.count) == (name, 1)
        counted.projects.delete(link.project_id)


BELOW = tuple(entity.table for entity in ENTITIES[1:])
STATEMENTS: dict[str, tuple[Statement, Callable[[UUID], list[Any]]]] = {
    "statistics": (statistics(BELOW), lambda id: [[id]] * len(ENTITIES)),
    "coverage": (coverage("text_sources", False, False), lambda id: [id] * 4 + [10, id]),
    "metadata_summary": (metadata_summary(described(ENTITIES)), lambda id: [id] * len(ENTITIES) + [3, 10]),
    "tree": (tree(ENTITIES), lambda id: [id] * len(ENTITIES)),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_row_of_another_project_is_read(world: World, name: str) -> None:
    statement, values = STATEMENTS[name]
    world.uow.session.run("SET LOCAL enable_seqscan = off")  # these tables are small
    text = "EXPLAIN (ANALYZE, FORMAT JSON) " + statement.text
    [[plan]] = world.uow.session.all(Statement(text, "explain"), values(world.project.id))
    scans = [node for node in nodes(plan[0]["Plan"]) if "Relation Name" in node]
    read = {node["Relation Name"] for node in scans}
    assert {"text_sources", "translations"} <= read
    for node in scans:
        assert node["Node Type"] != "Seq Scan"
        mine = len(world.rows.by_entity.get(entity_of(node["Relation Name"]), [None]))
        assert node["Actual Rows"] + node.get("Rows Removed by Filter", 0) <= mine


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def entity_of(table: str) -> type[Record]:
    return next(entity for entity in ENTITIES if entity.table.name == table)


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (ProjectStatistics, CALLS["statistics"]),
        (Coverage, CALLS["coverage"]),
        (MetadataSummary, CALLS["metadata_summary"]),
        (ProjectTree, CALLS["tree"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_json_of_a_report_and_back(
    world: World, kind: type[Any], call: Callable[[ProjectRepository, UUID], Any]
) -> None:
    found = call(world.reports, world.project.id)
    assert TypeAdapter(kind).validate_json(to_json(found)) == found
