"""Large tables: a page at any depth, a stream in flat memory, and how all grows from 10^4 to 10^7 rows.

The rows are made in SQL. Memory is measured in a process of its own, which reads the table through by one
side's stream: the most that it held from the first connection on.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any
from uuid import UUID

from advanced_alchemy.filters import LimitOffset
from psycopg2 import sql
from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmarks import search
from benchmarks.figures import OURS, Row
from benchmarks.part import Context, Part
from benchmarks.peers import ours, peewee_orm, raw, sqlalchemy_orm
from benchmarks.peers.advanced_alchemy import Projects
from benchmarks.peers.raw import NAMES, connected
from benchmarks.peers.sqlalchemy_orm import Project, engine_of
from benchmarks.side import Side
from benchmarks.workloads import made_rows
from database_handler import Database, Page
from database_handler import Project as OurProject
from database_handler.repositories import pages
from database_handler.repositories.filters import parse_filters, parse_order

__all__ = ["PARTS", "filled", "grown"]

PAGE = 20
PAGES = "page of 20 at nine tenths of the table"
OFFSET = "page of 20 there, beside OFFSET"
STREAM = "stream of the whole table, peak memory"
GROWTH = "growth, milliseconds by rows"
SIZES = "growth, megabytes by rows"
SEARCHES = "growth of search, milliseconds by rows"
CURVE = "curve: create_many, rows a second by rows"
STREAMED = (OURS, "SQLAlchemy ORM", "SQLModel", "Django", "peewee", "psycopg 3")

_FILL = """
INSERT INTO projects (id, name, slug, description, status, tags, metadata, metadata_schemas)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'project ' || n, 'project-' || n, repeat('text ', 20),
    CASE n % 3 WHEN 0 THEN 'active' ELSE 'draft' END, '{{a,b}}', jsonb_build_object('number', n), '{{}}'
FROM generate_series({first}, {last}) AS n
"""
_CHILDREN = """
INSERT INTO links (id, project_id, url, original_url, kind, host, metadata)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(1 + (n - 1) / 10), 32, '0')::uuid,
    'https://example.org/' || n, 'https://example.org/' || n, 'website', 'example.org', '{{}}'
FROM generate_series({first}, {last}) AS n
"""
_STEP = 100_000


def filled(context: Context, rows: int, children: int = 0) -> None:
    """Fill `projects`, and `links` with ten of each project, from where they are to so many rows."""
    session = context.database.session
    for text, table, wanted in ((_FILL, "projects", rows), (_CHILDREN, "links", children)):
        [there] = session.one(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
        steps = range(there, wanted, _STEP)
        for number in context.tracked(f"{wanted:,} {table}", len(steps)):
            first = steps[number] + 1
            session.script(text.format(first=first, last=min(wanted, first + _STEP - 1)))
        session.run(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(table)))


def emptied(context: Context) -> None:
    """Empty the tables, for a part that makes rows of its own."""
    context.database.session.script("TRUNCATE projects CASCADE")


# ------------------------------------------------------------------------------------------------ pages


def _pages(context: Context) -> Iterator[Row]:
    emptied(context)
    filled(context, context.rows)
    depth = context.rows * 9 // 10
    works = _paging(context.database, depth)
    first = works.pop("page 1")
    beside, offsets = {"page 1": first, OURS: works[OURS]}, works
    yield Row(
        f"{PAGES}", _in_turn(context, PAGES, beside, 50), limit="page 1", at_most=1.5, note=f"row {depth:,}"
    )
    yield Row(
        f"{OFFSET}",
        _in_turn(context, OFFSET, offsets, 3),
        limit="psycopg2, keyset",
        peers=("psycopg2, OFFSET", "SQLAlchemy ORM, OFFSET", "advanced-alchemy, OFFSET and count"),
        faster=100.0,
        note=f"row {depth:,}",
    )


def _paging(database: Database, depth: int) -> dict[str, Callable[[], object]]:
    connection = connected(database.config)
    engine = engine_of(database.config)
    last = UUID(int=depth)
    cursor = _cursor_at(database, depth)

    def by_hand(text: str, values: Sequence[Any]) -> Callable[[], object]:
        def work() -> object:
            with connection.cursor() as sending:
                sending.execute(f"SELECT {NAMES} FROM projects {text} LIMIT 21", values)
                return [row[0] for row in sending.fetchall()][:PAGE]

        return work

    def of_sqlalchemy() -> object:
        with Session(engine) as session:
            query = select(Project).order_by(Project.id).limit(PAGE).offset(depth)
            return [found.id for found in session.scalars(query)]

    def of_advanced_alchemy() -> object:
        with Session(engine) as session:
            repository = Projects(session=session)
            found, _ = repository.list_and_count(LimitOffset(PAGE, depth), order_by=("id", False))
            return [each.id for each in found]

    def by_cursor(after: str | None) -> Callable[[], object]:
        return lambda: [found.id for found in _page(database, after).items]

    return {
        "page 1": by_cursor(None),
        OURS: by_cursor(cursor),
        "psycopg2, keyset": by_hand("WHERE id > %s ORDER BY id", [last]),
        "psycopg2, OFFSET": by_hand(f"ORDER BY id OFFSET {depth}", []),
        "SQLAlchemy ORM, OFFSET": of_sqlalchemy,
        "advanced-alchemy, OFFSET and count": of_advanced_alchemy,
    }


def _page(database: Database, after: str | None) -> Page[OurProject]:
    return database.projects.page(limit=PAGE, after=after)


def _cursor_at(database: Database, depth: int) -> str:
    """Return the cursor that the page before a depth ends with, without asking for all pages before it."""
    order, where = parse_order(OurProject, None), parse_filters(OurProject, {})
    mark = pages.fingerprint(OurProject.table.name, where, order)
    return pages.encode(mark, database.projects.get_by_id(UUID(int=depth)), order)


def _in_turn(
    context: Context, name: str, works: Mapping[str, Callable[[], object]], times: int
) -> dict[str, list[float]]:
    """Time works one after the other, so many times a round; all but page 1 must return the same."""
    figures: dict[str, list[float]] = {side: [] for side in works}
    for number in context.tracked(name, context.rounds + 1):
        seen = {}
        for side, work in works.items():
            started = perf_counter()
            for _ in range(times):
                seen[side] = work()
            if number:
                figures[side].append((perf_counter() - started) / times)
        found = [seen[side] for side in works if side != "page 1"]
        if any(each != found[0] for each in found):
            raise SystemExit(f"{name}: not every side returned the same page")
    return figures


# ------------------------------------------------------------------------------------------------ streams


def _streams(context: Context) -> Iterator[Row]:
    emptied(context)
    filled(context, context.rows)
    figures: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for number in context.tracked(STREAM, min(context.rounds, 3)):
        for side in STREAMED:
            told = streamed(context.database, side)
            if told["rows"] != context.rows:
                raise SystemExit(f"{STREAM}: {side} read {told['rows']} rows of {context.rows} in {number}")
            figures.setdefault(side, []).append(told["mb"])
            seconds.setdefault(side, []).append(told["seconds"])
    note = f"{context.rows:,} rows; above what the process held when it was connected"
    yield Row(STREAM, figures, "MB", at_most=30.0, note=note)
    peers = [side for side in STREAMED if side not in {OURS, "psycopg 3"}]
    yield Row(STREAM_TIME, seconds, "s", peers=peers, note=f"{context.rows:,} rows")


STREAM_TIME = "stream of the whole table, time"


def streamed(database: Database, side: str) -> dict[str, float]:
    """Read the table through by one side's stream, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.streaming", side],
        input=database.config.url(hide_password=False),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


# ------------------------------------------------------------------------------------------------ growth

Timed = Mapping[str, Callable[[Database], object]]
GROWING: Timed = {
    "get by id": lambda database: database.projects.get_by_id(UUID(int=1)),
    "page 1": lambda database: _page(database, None),
    "page by state, newest first": lambda database: database.projects.page(
        limit=PAGE, status="active", order_by="-id"
    ),
    "statistics of a project": lambda database: database.projects.statistics(UUID(int=1)),
    "tree of a project": lambda database: database.projects.tree(UUID(int=1)),
    "links of a project": lambda database: database.links.list(project_id=UUID(int=1)),
    "count, capped": lambda database: database.projects.page(limit=PAGE, total=1_000),
}
_SIZES = """
SELECT c.relname, pg_relation_size(c.oid) / 1e6 FROM pg_class AS c
WHERE c.relname LIKE 'projects%' OR c.relname LIKE 'links%' ORDER BY c.relname
"""


def _growth(context: Context) -> Iterator[Row]:
    emptied(context)
    points: dict[str, list[tuple[float, float]]] = {}
    sizes: dict[str, list[tuple[float, float]]] = {}
    figures: dict[str, list[float]] = {}
    for rows in [size for size in GROWN if size <= 10 * context.rows]:
        grown(context, rows)
        works: Timed = {**GROWING, "page at nine tenths": _deep(context.database, rows // 10)}
        for name, work in works.items():
            seconds = _best_of(context, work)
            figures[f"{name}, {rows:,}"] = seconds
            points.setdefault(name, []).append((rows, min(seconds) * 1000))
        told = streamed(context.database, OURS)
        sizes.setdefault("peak of a stream", []).append((rows // 10, told["mb"]))
        for name, megabytes in context.database.session.all(_SIZES):
            sizes.setdefault(name, []).append((rows, float(megabytes)))
    note = "rows of links; a tenth as many projects"
    yield Row(GROWTH, figures, "s", points=points, axes=("links", "milliseconds"), note=note)
    yield Row(SIZES, {}, "MB", points=sizes, axes=("links; for a stream, projects", "megabytes"))


GROWN = (10_000, 100_000, 1_000_000, 10_000_000)


def grown(context: Context, rows: int) -> None:
    """Bring the tables to so many links, of a tenth as many projects."""
    filled(context, rows // 10, rows)


def _deep(database: Database, projects: int) -> Callable[[Database], object]:
    cursor = _cursor_at(database, projects * 9 // 10)
    return lambda on: _page(on, cursor)


def _search_growth(context: Context) -> Iterator[Row]:
    points: dict[str, list[tuple[float, float]]] = {}
    figures: dict[str, list[float]] = {}
    for rows in [size for size in GROWN if size <= context.rows]:
        emptied(context)
        context.say(f"storing {rows:,} texts")
        search.seeded(context.database, rows)
        for name in ("a rare word", "two words", "a phrase", "a misspelt word"):
            seconds = _best_of(context, partial(_searched, query=search.QUERIES[name]))
            figures[f"{name}, {rows:,}"] = seconds
            points.setdefault(name, []).append((rows, min(seconds) * 1000))
    emptied(context)
    note = "rows of texts in seven languages"
    yield Row(SEARCHES, figures, "s", points=points, axes=("texts", "milliseconds"), note=note)


def _searched(database: Database, query: str) -> object:
    return database.text_sources.search(query)


def _best_of(context: Context, work: Callable[[Database], object]) -> list[float]:
    found = []
    for _ in range(5 * context.rounds):
        started = perf_counter()
        work(context.database)
        found.append(perf_counter() - started)
    return found


# ------------------------------------------------------------------------------------------------ the curve

CURVE_SIDES: tuple[type[Side], ...] = (
    raw.Side,
    ours.Side,
    sqlalchemy_orm.CoreSide,
    sqlalchemy_orm.Side,
    peewee_orm.Side,
)
PATIENCE = 60.0  # seconds: a side that took longer is not given ten times as many rows


def _curve(context: Context) -> Iterator[Row]:
    points: dict[str, list[tuple[float, float]]] = {}
    figures: dict[str, list[float]] = {}
    sides = [kind(context.database.config) for kind in CURVE_SIDES]
    context.database.session.script("ALTER TABLE projects ALTER COLUMN metadata_schemas SET DEFAULT '{}'")
    for size in [10**power for power in range(7) if 10**power <= context.rows]:
        rows = made_rows(size, seed=size)
        rounds = max(1, min(context.rounds, 1_000_000 // size))
        for side in [*sides]:
            seconds = [_created(context, side, rows) for _ in range(rounds)]
            figures[f"{side.name}, {size:,}"] = seconds
            points.setdefault(side.name, []).append((size, size / min(seconds)))
            if min(seconds) > PATIENCE:
                sides.remove(side)
    yield Row(CURVE, figures, "s", points=points, axes=("rows of one call", "rows a second"))


def _created(context: Context, side: Side, rows: Sequence[Any]) -> float:
    emptied(context)
    started = perf_counter()
    stored = side.create_many(rows)
    seconds = perf_counter() - started
    if len(stored) != len(rows) or context.database.projects.count() != len(rows):
        raise SystemExit(f"{CURVE}: {side.name} did not store {len(rows):,} rows")
    return seconds


PARTS = (
    Part("pages", _pages, (PAGES, OFFSET)),
    Part("stream", _streams, (STREAM, STREAM_TIME)),
    Part("growth", _growth, (GROWTH, SIZES), long=True),
    Part("growth of search", _search_growth, (SEARCHES,), long=True),
    Part("curve", _curve, (CURVE,), long=True),
)
