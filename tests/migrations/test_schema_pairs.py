"""Pairs of schemas, random and known, turn into each other and back, keep their rows, and dump alike.

A failure tells the seed of its pair, both schemas and the difference; ``python -m benchmarks.schema_pairs
--first SEED --count 1`` shows it again. One chunk of the random pairs is new in every run, and follows from
its ``--randomly-seed``.
"""

import random
from collections.abc import Iterator
from itertools import islice
from uuid import uuid4

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.exceptions import DatabaseHandlerError
from database_handler.core.session import Statement
from database_handler.core.transaction import Autocommit
from database_handler.embedded import EmbeddedServer
from database_handler.migrations.schema.introspection.settled import settled
from database_handler.migrations.schema.schema_diff import Action, Rename, SchemaDiff, SchemaStatement, diff
from database_handler.migrations.schema.snapshot import Kind, ObjectId
from tests.migrations.conftest import run_alone
from tests.migrations.pairs_once_broken import ONCE_BROKEN, RENAMED_ONCE_BROKEN
from tests.support.schema_random import Pair, random_pair, renaming_pair
from tests.support.schemas import (
    NEW,
    OLD,
    Broken,
    Scratch,
    Told,
    check_dumps,
    check_pair,
    differing,
    dump,
    inverted,
    make_roles,
    normalised,
)
from tests.support.servers import FURTHER, OWN, Server, on_each_server

CHUNKS = 10
PAIRS_A_CHUNK = 30
DUMPED = 8
DRAWN = [(OWN, chunk) for chunk in range(CHUNKS)] + [(name, chunk) for name in FURTHER for chunk in range(1)]


@pytest.fixture(scope="module")
def pairs(server: Server) -> Iterator[DatabaseConfig]:
    """An empty database of a server that knows the roles, for what is rolled back."""
    config = server.config.with_(name=f"schema_pairs_{uuid4().hex}")
    run_alone(server.config, f"CREATE DATABASE {config.name} STRATEGY file_copy")
    make_roles(Autocommit(lambda: dedicated(config)).session)
    yield config
    run_alone(server.config, f"DROP DATABASE {config.name} WITH (FORCE)")


def seeds(first: int | None = None, chunk: int = 0) -> Iterator[int]:
    """Seeds from a first one, which is printed; from one of chance where none is given.

    That one is the same in every test of a run, and in every run of one ``--randomly-seed``; `chunk` tells
    the tests apart.
    """
    first = random.randrange(10**9) if first is None else first
    first += chunk * PAIRS_A_CHUNK
    print(f"first seed {first}")  # noqa: T201  # pytest shows it with a failure
    return iter(range(first, first + 10_000))


def seeds_of_chunk(chunk: int) -> Iterator[int]:
    """Those of the last chunk are new in every run, and those of the others the same."""
    return islice(seeds(None if chunk == CHUNKS - 1 else 0, chunk), PAIRS_A_CHUNK)


@pytest.mark.parametrize(("server", "chunk"), DRAWN, indirect=["server"])
def test_random_pairs_turn_into_each_other(pairs: DatabaseConfig, chunk: int) -> None:
    for seed in seeds_of_chunk(chunk):
        with Scratch(pairs) as scratch:
            check_pair(scratch, random_pair(seed))


def test_a_run_draws_pairs_that_the_last_one_did_not() -> None:
    """A chunk of them is another, and the same again with the seed of the run; no two tests share any."""
    first, again, other = (drawn_in_run(run) for run in (1, 1, 2))
    assert first == again
    assert len(first) == len(other) == CHUNKS * PAIRS_A_CHUNK
    assert len(first & other) == (CHUNKS - 1) * PAIRS_A_CHUNK


def drawn_in_run(run: int) -> set[int]:
    drawn: set[int] = set()
    for chunk in range(CHUNKS):
        random.seed(run)  # as pytest-randomly does before each test
        drawn.update(seeds_of_chunk(chunk))
    return drawn


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_pairs_that_nobody_has_seen_turn_into_each_other(pairs: DatabaseConfig) -> None:
    for seed in islice(seeds(), 1000):
        with Scratch(pairs) as scratch:
            check_pair(scratch, random_pair(seed))


def test_rows_stay_where_no_statement_says_that_they_go(pairs: DatabaseConfig) -> None:
    proven = 0
    for seed in islice(seeds(5000), 40):
        with Scratch(pairs) as scratch:
            proven += filled_pair_holds(scratch, random_pair(seed))
    assert (
        proven > 10
    )  # of the others, the rows forbid the difference: a NULL, a double, a value of no number


def filled_pair_holds(scratch: Scratch, pair: Pair) -> bool:
    try:
        check_pair(scratch, pair, filled=True)
    except DatabaseHandlerError:
        return False
    return True


def test_what_is_renamed_keeps_its_rows_both_ways(pairs: DatabaseConfig) -> None:
    for seed in islice(seeds(0), 25):
        with Scratch(pairs) as scratch:
            pair = renaming_pair(seed)
            assert pair.renames
            check_pair(scratch, pair, filled=True)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("integer", "serial", [3, 41, 42]),
        ("integer GENERATED ALWAYS AS IDENTITY", "serial", [3, 41, 42]),
        ("integer", "integer GENERATED ALWAYS AS IDENTITY", [3, 41, 42]),
        ("serial", "bigint GENERATED BY DEFAULT AS IDENTITY", [3, 41, 42]),
        ("serial", "integer GENERATED ALWAYS AS IDENTITY (INCREMENT -1)", [-1, 3, 41]),
    ],
)
def test_a_column_that_numbers_its_rows_otherwise_gives_no_number_twice(
    pairs: DatabaseConfig, before: str, after: str, expected: list[int]
) -> None:
    with Scratch(pairs) as scratch:
        scratch.make(OLD, (f"CREATE TABLE t (id {before} PRIMARY KEY, a text)",))
        old = scratch.snapshot(OLD)
        scratch.make(NEW, (f"CREATE TABLE t (id {after} PRIMARY KEY, a text)",))
        plan = diff(old, scratch.snapshot(NEW))
        scratch.session.script(f"SET search_path TO {OLD}")
        scratch.session.script("INSERT INTO t (id) OVERRIDING SYSTEM VALUE VALUES (3), (41)")
        for statement in plan:
            scratch.session.script(statement.sql)
        scratch.session.script("INSERT INTO t DEFAULT VALUES")
        found = scratch.session.all(Statement("SELECT id FROM t ORDER BY 1", "test.numbers"))
        assert [number for [number] in found] == expected


@on_each_server
@pytest.mark.parametrize(("old", "new"), ONCE_BROKEN)
def test_pairs_that_were_once_broken(pairs: DatabaseConfig, old: str, new: str) -> None:
    with Scratch(pairs) as scratch:
        check_pair(scratch, Pair(0, (old,), (new,), (), (), ()))
    with Scratch(pairs) as scratch:
        check_pair(scratch, Pair(0, (new,), (old,), (), (), ()))


@on_each_server
@pytest.mark.parametrize(("old", "new", "rows", "renames"), RENAMED_ONCE_BROKEN)
def test_renamings_that_were_once_broken(
    pairs: DatabaseConfig, old: str, new: str, rows: str, renames: tuple[Rename, ...]
) -> None:
    with Scratch(pairs) as scratch:
        check_pair(scratch, Pair(0, (old,), (new,), (rows,), renames, ()), filled=True)
    with Scratch(pairs) as scratch:
        check_pair(scratch, Pair(0, (new,), (old,), (), inverted(renames), ()))


def test_the_order_of_declaration_does_not_matter(pairs: DatabaseConfig) -> None:
    for seed in islice(seeds(0), 15):
        with Scratch(pairs) as scratch:
            pair = random_pair(seed)
            stood = scratch.make("pair_of_first", pair.old)
            one = scratch.make_shuffled(OLD, stood, random.Random(seed))
            other = scratch.make_shuffled(NEW, stood, random.Random(-seed))
            if len(one) == len(other) == len(stood):  # else two of one name, and the first one stands
                found, again = scratch.snapshot(OLD), scratch.snapshot(NEW)
                assert found == again, f"seed {seed}: {differing(found, again)}"
                assert not diff(found, again), f"seed {seed}"


def test_equal_snapshots_have_equal_dumps(config: DatabaseConfig, server: EmbeddedServer) -> None:
    """Applied for good, both ways: what the server's own tool dumps is what was wanted."""
    make_roles(Autocommit(lambda: dedicated(config)).session)
    for seed in islice(seeds(7000), DUMPED):
        check_dumps(config, server.bin_dir, random_pair(seed))


# ------------------------------------------------------------------------------------ what the proofs can see

RICH = """
CREATE TYPE mood AS ENUM ('new', 'done');
CREATE DOMAIN positive AS integer DEFAULT 1 CHECK (VALUE > 0);
CREATE TYPE place AS (x integer, y integer);
CREATE TYPE span AS RANGE (SUBTYPE = integer);
CREATE SEQUENCE numbers;
CREATE FUNCTION f(a integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN a + 1;
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE users (id integer PRIMARY KEY, name text);
CREATE TABLE notes (
    id integer GENERATED ALWAYS AS IDENTITY, owner integer DEFAULT 1 NOT NULL, body text, state mood,
    twice integer GENERATED ALWAYS AS (owner * 2) STORED, amount numeric(8,2),
    CONSTRAINT notes_key PRIMARY KEY (id), CONSTRAINT notes_check CHECK (owner > 0),
    CONSTRAINT notes_owner FOREIGN KEY (owner) REFERENCES users (id));
CREATE INDEX notes_body ON notes (body);
CREATE STATISTICS notes_stats ON id, owner FROM notes;
CREATE VIEW shown AS SELECT id, body FROM notes;
CREATE MATERIALIZED VIEW kept AS SELECT id FROM notes;
CREATE TRIGGER touch BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION touched();
CREATE POLICY own ON notes USING (owner = 1);
CREATE RULE nothing AS ON DELETE TO notes DO INSTEAD NOTHING;
CREATE TABLE days (day date, n integer) PARTITION BY RANGE (day);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = pg_catalog.simple);
CREATE TEXT SEARCH CONFIGURATION search (COPY = pg_catalog.simple);
"""

SMALL_CHANGES = [
    "ALTER TYPE mood ADD VALUE 'later' BEFORE 'done'",
    "ALTER TYPE mood RENAME VALUE 'done' TO 'over'",
    "ALTER DOMAIN positive SET DEFAULT 2",
    "ALTER DOMAIN positive SET NOT NULL",
    "ALTER DOMAIN positive ADD CONSTRAINT small CHECK (VALUE < 9)",
    "ALTER TYPE place ADD ATTRIBUTE z integer",
    "ALTER SEQUENCE numbers CYCLE",
    "ALTER SEQUENCE numbers OWNED BY notes.id",
    "CREATE OR REPLACE FUNCTION f(a integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN a + 2",
    "ALTER FUNCTION f(integer) COST 9",
    "ALTER FUNCTION f(integer) SET work_mem TO '9MB'",
    "ALTER FUNCTION f(integer) SECURITY DEFINER",
    "REVOKE EXECUTE ON FUNCTION f(integer) FROM PUBLIC",
    "ALTER TABLE notes ADD COLUMN more text",
    "ALTER TABLE notes DROP COLUMN amount",
    "ALTER TABLE notes ALTER COLUMN amount TYPE numeric(9,2)",
    "ALTER TABLE notes ALTER COLUMN body SET NOT NULL",
    "ALTER TABLE notes ALTER COLUMN owner SET DEFAULT 2",
    'ALTER TABLE users ALTER COLUMN name TYPE text COLLATE "C"',
    "ALTER TABLE notes ALTER COLUMN body SET STORAGE EXTERNAL",
    "ALTER TABLE notes ALTER COLUMN body SET COMPRESSION pglz",
    "ALTER TABLE notes ALTER COLUMN body SET STATISTICS 9",
    "ALTER TABLE notes ALTER COLUMN body SET (n_distinct = 9)",
    "ALTER TABLE notes ALTER COLUMN id SET GENERATED BY DEFAULT",
    "ALTER TABLE notes ALTER COLUMN id SET INCREMENT BY 2",
    "ALTER TABLE notes ALTER COLUMN twice DROP EXPRESSION",
    "ALTER TABLE notes RENAME CONSTRAINT notes_check TO other_check",
    "ALTER TABLE notes DROP CONSTRAINT notes_owner",
    "ALTER TABLE notes ALTER CONSTRAINT notes_owner DEFERRABLE INITIALLY DEFERRED",
    "ALTER TABLE notes ADD CONSTRAINT later CHECK (owner < 9) NOT VALID",
    "ALTER TABLE notes CLUSTER ON notes_body",
    "ALTER TABLE notes REPLICA IDENTITY USING INDEX notes_key",
    "ALTER TABLE notes REPLICA IDENTITY FULL",
    "ALTER TABLE notes SET (fillfactor = 70)",
    "ALTER TABLE notes SET UNLOGGED",
    "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE notes FORCE ROW LEVEL SECURITY",
    "ALTER TABLE notes DISABLE TRIGGER touch",
    "ALTER TABLE notes DISABLE RULE nothing",
    "ALTER TABLE days DETACH PARTITION days_1",
    "ALTER TABLE days_1 ALTER COLUMN n SET DEFAULT 4",
    "CREATE TABLE days_2 PARTITION OF days DEFAULT",
    "ALTER INDEX notes_body SET (fillfactor = 70)",
    "ALTER VIEW shown SET (security_barrier = true)",
    "ALTER VIEW shown ALTER COLUMN body SET DEFAULT 'x'",
    "CREATE OR REPLACE VIEW shown AS SELECT id, body FROM notes WHERE id > 1",
    "CREATE INDEX kept_id ON kept (id)",
    "ALTER POLICY own ON notes USING (owner = 2)",
    "ALTER POLICY own ON notes TO pair_reader",
    "ALTER STATISTICS notes_stats SET STATISTICS 9",
    "ALTER TEXT SEARCH DICTIONARY words (StopWords = english)",
    "ALTER TEXT SEARCH CONFIGURATION search ALTER MAPPING FOR word WITH words",
    "COMMENT ON COLUMN notes.body IS 'x'",
    "COMMENT ON CONSTRAINT notes_key ON notes IS 'x'",
    "COMMENT ON INDEX notes_body IS 'x'",
    "COMMENT ON TRIGGER touch ON notes IS 'x'",
    "COMMENT ON POLICY own ON notes IS 'x'",
    "COMMENT ON VIEW shown IS 'x'",
    "COMMENT ON COLUMN shown.id IS 'x'",
    "COMMENT ON TYPE mood IS 'x'",
    "COMMENT ON FUNCTION f(integer) IS 'x'",
    "GRANT SELECT ON notes TO pair_reader",
    "GRANT UPDATE (body) ON notes TO pair_reader",
    "GRANT USAGE ON SEQUENCE numbers TO pair_reader",
    "GRANT USAGE ON TYPE mood TO pair_reader WITH GRANT OPTION",
]


def test_every_small_change_is_seen_by_a_snapshot_and_undone_by_a_difference(pairs: DatabaseConfig) -> None:
    for change in SMALL_CHANGES:
        with Scratch(pairs) as scratch:
            scratch.make(OLD, (RICH,))
            before = scratch.snapshot(OLD)
            scratch.run(OLD, change)
            after = scratch.snapshot(OLD)
            assert before != after, change
            scratch.apply(OLD, diff(after, before), Told(Pair(0, (RICH, change), (RICH,), (), (), (change,))))
            assert scratch.snapshot(OLD) == before, change


def test_the_proof_by_dumps_sees_every_small_change(config: DatabaseConfig, server: EmbeddedServer) -> None:
    alone = Autocommit(lambda: dedicated(config)).session
    make_roles(alone)
    made = Scratch(config)
    made.make(OLD, (RICH,))
    made.keep()
    before = normalised(dump(config, server.bin_dir, OLD), OLD)
    for number, change in enumerate(SMALL_CHANGES):
        if number % 8 == 0:  # a dump takes a quarter of a second, and the changes mostly stand side by side
            alone.script(f"SET search_path TO {OLD}; {change}")
            after = normalised(dump(config, server.bin_dir, OLD), OLD)
            assert after != before, change
            before = after


def test_a_difference_that_does_not_arrive_is_told(
    pairs: DatabaseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof itself can fail: a difference without its last statement does not pass it."""
    monkeypatch.setattr(
        "tests.support.schemas.diff",
        lambda *sides, **options: SchemaDiff(diff(*sides, **options).statements[:-1]),
    )
    pair = Pair(1, ("CREATE TABLE t (a integer)",), ("CREATE TABLE t (a integer, b text)",), (), (), ())
    with Scratch(pairs) as scratch, pytest.raises(Broken, match=r"seed 1: up does not arrive"):
        check_pair(scratch, pair)


def test_rows_that_go_unsaid_are_told(pairs: DatabaseConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof itself can fail: a table that is made anew has lost its rows."""
    old, new = "CREATE TABLE t (a integer, b text)", "CREATE TABLE t (a integer)"
    anew = SchemaStatement("DROP TABLE t; " + new, Action.ALTER, ObjectId(Kind.TABLE, "t"))
    monkeypatch.setattr("tests.support.schemas.diff", lambda one, other, **_: _only(anew, one != other))
    pair = Pair(1, (old,), (new,), ("INSERT INTO t VALUES (1, 'x')",), (), ())
    with Scratch(pairs) as scratch, pytest.raises(Broken, match=r"1 rows of t became 0, unsaid"):
        check_pair(scratch, pair, filled=True)


def _only(statement: SchemaStatement, wanted: bool) -> SchemaDiff:
    return SchemaDiff((statement,) if wanted else ())


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("(ARRAY['a'::character varying])::text[]", "ARRAY[('a'::character varying)::text]"),
        ('x((ARRAY[1, f(2, 3)])::s."T"(4)[])', 'x(ARRAY[(1)::s."T"(4), (f(2, 3))::s."T"(4)])'),
        ("(ARRAY['(ARRAY[', '],'])::text[]", "ARRAY[('(ARRAY[')::text, ('],')::text]"),
        ("(ARRAY[1])::text", "(ARRAY[1])::text"),
        ("(ARRAY[ARRAY[1]])::bigint[]", "(ARRAY[ARRAY[1]])::bigint[]"),
        ("'(ARRAY[1])::bigint[]'", "'(ARRAY[1])::bigint[]'"),
        ("(ARRAY[1", "(ARRAY[1"),
    ],
)
def test_a_cast_of_an_array_goes_to_its_elements(told: str, wanted: str) -> None:
    assert settled(told) == wanted
    assert settled(wanted) == wanted
