"""Hostile values: refused by one error of ours before a byte is sent, or stored and matched as they are.

Rows 22, 23, 25 and 26 of the fault table. What the wire saw is told by a counting proxy. The kinds of values
and texts that are refused, and each violation's class and facts, stand in the integration tests; what is
shown here is that nothing was sent, nothing was told, nothing was lost.
"""

import datetime as dt
import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2 import sql
from psycopg2.extras import Json

from database_handler import Change, Database, NewLink, NewProject, NewTextSource, Project, UnitOfWork
from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import (
    ConstraintViolation,
    DatabaseHandlerError,
    InvalidData,
    InvalidSql,
    InvalidValue,
    UnknownField,
    UnreadableValue,
)
from database_handler.testing.plugin import _made
from tests.contract.test_create import HOSTILE
from tests.faults.conftest import PoolMaker, Server
from tests.integration.test_session import REFUSED
from tests.support.wire import CountingProxy

SECRET = "s3cret-value"


@pytest.fixture(scope="module")
def migrated(server: Server) -> Iterator[DatabaseConfig]:
    with _made(server.config) as config:
        with Database(config) as database:
            database.migrate()
        yield config


@dataclass
class Scene:
    """A database behind a counting proxy, and what may be sent before a call is refused: nothing."""

    database: Database
    proxy: CountingProxy
    project: Project

    def refuses(self, call: Callable[[], object], *kinds: type[DatabaseHandlerError]) -> None:
        with self.proxy.counting() as trips, pytest.raises(DatabaseHandlerError) as caught:
            call()
        assert type(caught.value) in kinds, repr(caught.value)[:200]
        assert set(trips.texts) <= {"SELECT"}  # the pool's ping of a connection that lay idle
        assert trips.connections == 0


@pytest.fixture
def scene(migrated: DatabaseConfig, make_pool: PoolMaker) -> Iterator[Scene]:
    with CountingProxy(migrated) as proxy:
        database = make_pool.database(proxy.config, pool_size=2, max_overflow=0)
        for lease in [database.pool.borrow(), database.pool.borrow()]:  # both are made before it is counted
            lease.release()
        yield Scene(database, proxy, database.projects.create(name=f"p {uuid4()}"))
        database.session.run("TRUNCATE projects CASCADE")
        make_pool.check()
        make_pool.databases.clear()


# ----------------------------------------------------------------------------------- row 22: what cannot be


def released() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


UNSENDABLE: dict[str, object] = REFUSED | {
    "NUL in a dict": {"a": ["x\0"]},
    "NUL in a key": {"a\0": 1},
    "NUL in Json": Json(["\0"]),
    "surrogate in a dict": {"a": "\udfff"},
    "key that is no text": {1: "a", "1": "b"},
    "key of None, deep inside": {"a": [{"b": {None: 1}}]},
    "number of 5,000 digits in a dict": {"a": 10**5000},
    "buffer in pieces": memoryview(b"abcdef")[::2],
    "buffer that was released": released(),
}
VERBS: list[Callable[[Any, object, object], object]] = [
    lambda session, text, values: session.all(text, values),
    lambda session, text, values: session.maybe(text, values),
    lambda session, text, values: session.one(text, values),
    lambda session, text, values: session.run(text, values),
    lambda session, text, values: list(session.stream(text, values)),
]


@pytest.mark.parametrize("inside", [True, False], ids=["unit", "alone"])
def test_values_that_would_not_arrive_are_refused_before_a_byte_is_sent(scene: Scene, inside: bool) -> None:
    def each(session: Any) -> None:
        for verb in VERBS:
            for value in UNSENDABLE.values():
                scene.refuses(partial(verb, session, "SELECT %s", [value]), InvalidValue)
                scene.refuses(partial(verb, session, "SELECT %(a)s", {"a": value}), InvalidValue)

    if not inside:
        each(scene.database.session)
        return
    with scene.database.unit_of_work() as unit:
        each(unit.session)  # not even BEGIN was sent, and the unit is none the worse
        assert unit.session.one("SELECT 1") == (1,)


TEXTS: list[tuple[object, object, type[DatabaseHandlerError]]] = [
    ("SELECT 1\0", None, InvalidSql),
    ("SELECT %s\0", ["a"], InvalidSql),
    ("SELECT '\ud800'", None, InvalidValue),
    ("SELECT %s, '\ud800'", ["a"], InvalidValue),
    (sql.SQL("SELECT 1\0"), None, InvalidSql),
    (sql.SQL("SELECT 1 AS {}").format(sql.Identifier("a\0b")), None, InvalidSql),
    (sql.SQL("SELECT 1 AS {}").format(sql.Identifier("\ud800")), None, InvalidValue),
    (sql.SQL("SELECT 1 AS {}").format(sql.Identifier("a" * 64)), None, InvalidSql),  # it would be cut
    (sql.SQL("SELECT 1 AS {}").format(sql.Identifier("t", "\u00e9" * 32)), None, InvalidSql),
    (sql.SQL("SELECT {}").format(sql.Placeholder("a")), {"b": 1}, InvalidValue),
    (sql.SQL("SELECT {}").format(sql.Literal(b"abc")), None, InvalidValue),
    ("SELECT %s, %s", ["one"], InvalidValue),
    ("SELECT %s", ["one", "two"], InvalidValue),
    ("SELECT %s", [], InvalidValue),
    ("SELECT %s", {"a": 1}, InvalidValue),
    ("SELECT %(a)s", {"b": 1}, InvalidValue),
    ("SELECT %(a)s", ["one"], InvalidValue),
    ("SELECT %s %(a)s", ["one"], InvalidValue),
    ("SELECT %s, %s", "ab", InvalidValue),
    ("SELECT %s", {1, 2}, InvalidValue),
    ("SELECT %d", [1], InvalidSql),
    ("SELECT %(a", {"a": 1}, InvalidSql),
]


def test_texts_and_parameters_that_do_not_fit_are_refused_before_a_byte_is_sent(scene: Scene) -> None:
    with scene.database.unit_of_work() as unit:
        for session in (unit.session, scene.database.repositories(outside_unit=True).session):
            for text, parameters, kind in TEXTS:
                for verb in VERBS:
                    scene.refuses(partial(verb, session, text, parameters), kind)


TEXT = "a\0b", "\ud800", b"abc", 5, None
CALLS: dict[str, tuple[tuple[object, ...], Callable[[Any, UUID, Any], object]]] = {
    "create": (TEXT, lambda db, id, v: db.projects.create(name=v)),
    "create, by a draft": (TEXT, lambda db, id, v: db.projects.create(NewProject(name=v))),
    "create, content": (
        TEXT,
        lambda db, id, v: db.text_sources.create(project_id=id, title="t", content=v),
    ),
    "create_many": (TEXT, lambda db, id, v: db.projects.create_many([NewProject(name=v)])),
    "upsert": (TEXT, lambda db, id, v: db.projects.upsert(NewProject(name=v))),
    "update": (TEXT, lambda db, id, v: db.projects.update(id, name=v)),
    "update, by a mapping": (TEXT, lambda db, id, v: db.projects.update(id, {"name": v})),
    "update_many": (TEXT, lambda db, id, v: db.projects.update_many([Change(id, {"name": v})])),
    "metadata": (
        (
            *({"a": "\0"}, {"\ud800": 1}, {1: 2}, {"a": b"x"}, [1], "text", None),
            *({"a": number} for number in (float("nan"), float("inf"), 1e300, 10**5000)),
        ),
        lambda db, id, v: db.projects.create(name="m", metadata=v),
    ),
    "whole number": (
        (2**63, -1, 1.5, float("nan"), "5", b"5", True),
        lambda db, id, v: db.videos.create(project_id=id, title="v", storage_uri="/v", size_bytes=v),
    ),
    "fraction": (
        (float("nan"), float("inf"), -1.0, "5", 10**400),
        lambda db, id, v: db.videos.create(project_id=id, title="v", storage_uri="/v", duration=v),
    ),
    "id": (("a\0b", "\ud800", b"x", 5, None, "x'; --"), lambda db, id, v: db.projects.get_by_id(v)),
    "ids": (("a\0b", b"x", 5), lambda db, id, v: db.projects.get_many([v])),
    "filter": (("a\0b", "\ud800", b"x", 5), lambda db, id, v: db.projects.list(name=v)),
    "filter by a list": (("a\0b", "\ud800", None), lambda db, id, v: db.projects.count(name__in=[v])),
    "pattern": (("a\0b", "\ud800", b"x", None), lambda db, id, v: db.projects.exists(name__icontains=v)),
    "number in a filter": (
        (2**63, float("nan"), "5", None),
        lambda db, id, v: db.videos.list(size_bytes__gt=v),
    ),
    "metadata in a filter": (
        ({"a": "\0"}, {"a": float("nan")}, {1: 2}, "text"),
        lambda db, id, v: db.projects.list(metadata__contains=v),
    ),
    "key in a filter": (("a\0b", "\ud800", 5), lambda db, id, v: db.projects.list(metadata__has_key=v)),
    "name of a filter": (
        ("a\0", "\ud800", "na me", "name; --"),
        lambda db, id, v: db.projects.list(**{v: 1}),
    ),
    "order": (
        ("name\0", "\ud800", "name; --", "name DESC", "", b"name", 5, ["name", "\0"]),
        lambda db, id, v: db.projects.page(order_by=v),
    ),
    "cursor": (("a\0b", "\ud800", b"x", 5), lambda db, id, v: db.projects.page(after=v)),
    "stream": (("a\0b", "\ud800"), lambda db, id, v: db.projects.stream(name=v)),
    "search": (("a\0b", "\ud800", b"x", 5), lambda db, id, v: db.text_sources.search(v)),
}


def test_repositories_refuse_before_a_byte_is_sent(scene: Scene) -> None:
    cases = [(call, value) for values, call in CALLS.values() for value in values]
    with scene.database.unit_of_work() as unit:
        for over in (unit, scene.database.repositories(outside_unit=True)):
            for call, value in cases:
                scene.refuses(partial(call, over, scene.project.id, value), InvalidValue, UnknownField)
    assert scene.database.projects.list() == [scene.project]


def test_what_only_the_server_can_refuse_is_one_error_and_stores_nothing(scene: Scene) -> None:
    scene.database.session.run("CREATE TABLE narrow (n bigint, m numeric(4, 2), j jsonb, a int[])")
    wrong: list[tuple[Any, object]] = [
        ("INSERT INTO narrow (n) VALUES (%s)", 2**63),
        ("INSERT INTO narrow (n) VALUES (%s)", float("nan")),
        ("INSERT INTO narrow (n) VALUES (%s)", float("inf")),
        ("INSERT INTO narrow (n) VALUES (%s)", SECRET),
        ("INSERT INTO narrow (m) VALUES (%s)", 10**30),
        ("INSERT INTO narrow (j) VALUES (%s)", SECRET),
        ("INSERT INTO narrow (a) VALUES (%s)", [[1], [2, 3]]),
    ]
    for text, value in wrong:
        with pytest.raises(InvalidData) as caught:
            scene.database.session.run(text, [value])
        assert SECRET not in repr(caught.value)
    assert scene.database.session.all("SELECT * FROM narrow") == []
    scene.database.session.run("DROP TABLE narrow")


# ------------------------------------------------------------------------- row 23: what looks like an attack


def test_hostile_text_is_stored_and_matched_as_text(scene: Scene) -> None:
    tables = "SELECT relname, relnatts FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    before = scene.database.session.all(tables)
    sources = scene.database.text_sources
    stored = sources.create_many(
        [
            NewTextSource(project_id=scene.project.id, title="t", content=text, metadata={"of": text})
            for text in HOSTILE
        ]
    )
    contents = dict(zip(HOSTILE, stored, strict=True))

    def found(**filters: Any) -> set[UUID]:
        return {record.id for record in sources.list(**filters)}

    for text, record in contents.items():
        inside = {held.id for other, held in contents.items() if text in other}
        assert sources.get_by_id(record.id).content == text
        assert found(content=text) == found(content__in=[text]) == {record.id}
        assert found(content__contains=text) == inside
        assert record.id in found(content__startswith=text) & found(content__endswith=text) <= inside
        assert found(metadata__contains={"of": text}) == {record.id}
        assert [each.id for each in sources.stream(content=text)] == [record.id]
        assert scene.database.session.one("SELECT %s::text", [text]) == (text,)
        assert sources.search(f"nowhere {text} {record.id}") == []
    assert scene.database.session.all(tables) == before
    assert sources.count() == len(HOSTILE)


def test_the_signs_of_patterns_are_plain_characters(scene: Scene) -> None:
    scene.database.projects.create(name="100 abc")
    projects: Any = scene.database.projects
    for text in ("#%", "#_", "#100%", "a_c", "#\\", "\\%"):
        held = projects.create(name=f"x {text} y {uuid4()}")
        for operator in ("contains", "icontains"):
            assert projects.list(**{f"name__{operator}": text}) == [held]


def test_hostile_names_are_unknown_fields(scene: Scene) -> None:
    projects: Any = scene.database.projects
    calls: list[Callable[[str], object]] = [
        lambda text: projects.list(**{text: 1}),
        lambda text: projects.list(**{f"name__{text}": "a"}),
        lambda text: projects.list(order_by=text),
        lambda text: projects.page(order_by=["name", f"-{text}"]),
    ]
    for text in HOSTILE:
        for call in calls:
            scene.refuses(partial(call, text), UnknownField)
        scene.refuses(partial(projects.update, scene.project.id, {text: 1}), InvalidValue)


# ------------------------------------------------------------------------------ row 25: what cannot be read

UNREADABLE = [
    "'10000-01-01'::date",
    "'10000-01-01'::timestamp",
    "'294276-12-31 23:59:59'::timestamptz",
    "'0044-03-15 BC'::date",
    "'0044-03-15 BC'::timestamptz",
    "'178000000 years'::interval",
    "'infinity'::date",
    "'-infinity'::timestamp",
    "'infinity'::timestamptz",
    "'infinity'::interval",
    "'24:00'::time",
    "'24:00+01'::timetz",
    "'{10000-01-01}'::date[]",
    "'{infinity}'::timestamptz[]",
    "'[10000-01-01,)'::daterange",
    "('{\"a\":' || repeat('9', 5000) || '}')::jsonb",
    "(repeat('[', 3000) || repeat(']', 3000))::jsonb",
]


@pytest.mark.parametrize("stored", UNREADABLE)
def test_a_value_that_python_cannot_hold_is_named_and_other_rows_are_read(scene: Scene, stored: Any) -> None:
    session = scene.database.session
    session.run("DROP TABLE IF EXISTS odd")
    session.run(
        sql.SQL("CREATE TABLE odd AS SELECT 2 AS n, 'x' AS word, {} AS value").format(sql.SQL(stored))
    )
    session.run("INSERT INTO odd (n, word) VALUES (1, 'a'), (3, 'c')")
    text = "SELECT n, word, value FROM odd ORDER BY n"
    reads: list[Callable[[], object]] = [
        lambda: session.all(text),
        lambda: list(session.stream(text, batch=2)),
    ]
    for read in reads:
        with pytest.raises(UnreadableValue) as caught:
            read()
        assert caught.value.columns == ("value",)
        assert "value" in str(caught.value)
    assert session.all("SELECT n, word, value FROM odd WHERE n <> 2") == [(1, "a", None), (3, "c", None)]
    assert session.all("SELECT n, value::text IS NULL FROM odd ORDER BY n")[1] == (2, False)
    session.run("DROP TABLE odd")
    assert scene.database.pool.stats().closed == 0


def test_the_first_and_last_moments_that_python_can_hold_are_read(scene: Scene) -> None:
    values = [
        *(kind.replace(tzinfo=dt.UTC) for kind in (dt.datetime.min, dt.datetime.max)),
        *(
            dt.datetime.min,
            dt.datetime.max,
            dt.date.min,
            dt.date.max,
            dt.time.min,
            dt.time.max,
            dt.timedelta(),
        ),
        *(dt.timedelta.min, dt.timedelta.max, dt.datetime(2000, 1, 1, 1, 2, 3, 40)),
    ]
    text: Any = "SELECT {}, {}".format(
        ", ".join(["%s"] * len(values)), ", ".join(["ARRAY[%s]"] * len(values))
    )
    row = scene.database.session.one(text, [*values, *values])
    assert row == (*values, *([value] for value in values))


def test_a_record_that_python_cannot_hold_is_named_and_the_others_are_read(scene: Scene) -> None:
    odd = scene.database.projects.create(name="odd")
    scene.database.session.run("UPDATE projects SET created_at = 'infinity' WHERE id = %s", [odd.id])
    for read in (scene.database.projects.list, lambda: scene.database.projects.get_by_id(odd.id)):
        with pytest.raises(UnreadableValue) as caught:
            read()
        assert caught.value.columns == ("created_at",)
    assert scene.database.projects.list(id__ne=odd.id) == [scene.project]
    assert scene.database.projects.count() == 2


# -------------------------------------------------------------------------- row 26: what an error may not say


def violations(unit: UnitOfWork, project: Project) -> None:
    """Break every kind of constraint with a secret, each undone by itself."""
    copied = [NewProject(name=f"{SECRET} {n}") for n in range(299)]
    broken: list[Callable[[], object]] = [
        lambda: unit.projects.create(name=SECRET),
        lambda: unit.projects.create_many([*copied, NewProject(name=SECRET)]),
        lambda: unit.links.create(NewLink(project_id=uuid4(), url=f"https://a.example/{SECRET}")),
        lambda: unit.session.run("UPDATE projects SET name = NULL, owner = %s", [SECRET]),
        lambda: unit.session.run("UPDATE projects SET status = %s", [SECRET]),
    ]
    unit.projects.create(name=SECRET, owner=SECRET)
    for breaking in broken:
        with pytest.raises(ConstraintViolation) as caught, unit.savepoint():
            breaking()
        logging.getLogger("application").error("it failed", exc_info=caught.value)
    assert unit.projects.get_by_id(project.id) == project
    unit.session.run("INSERT INTO late VALUES (1, %s), (1, %s)", [SECRET, SECRET])  # told by COMMIT only


def test_no_row_value_is_told_by_any_violation_deferred_ones_too(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    unique = "CONSTRAINT late_key UNIQUE (n, word) DEFERRABLE INITIALLY DEFERRED"
    scene.database.session.run(f"CREATE TABLE late (n int, word text, {unique})")
    ran: list[int] = []

    def work(unit: UnitOfWork) -> None:
        unit.on_commit(lambda: ran.append(1))
        violations(unit, scene.project)

    with caplog.at_level(logging.DEBUG), pytest.raises(ConstraintViolation) as caught:
        scene.database.run(work)
    assert (caught.value.constraint, caught.value.columns) == ("late_key", ("n", "word"))
    logged = [logging.Formatter().format(record) for record in caplog.records]
    assert len([text for text in logged if text.startswith("it failed")]) == 5
    told = [str(caught.value), repr(caught.value), *traceback.format_exception(caught.value), *logged]
    assert [text for text in told if SECRET in text] == []
    assert ran == []
    assert scene.database.projects.list() == [scene.project]
    scene.database.session.run("DROP TABLE late")
