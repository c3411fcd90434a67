"""Rows are put into any table by its rules, and what became of them is told exactly."""

from collections.abc import Iterator

import pytest

from database_handler.core.session import Session
from database_handler.embedded import EmbeddedServer
from database_handler.migrations.schema.introspection import introspect
from database_handler.migrations.schema.schema_diff.statement import Rename
from database_handler.migrations.schema.snapshot import Kind, ObjectId
from database_handler.migrations.scratch.place import scratch_schema
from database_handler.migrations.scratch.seeding import Seeded, seed
from database_handler.migrations.scratch.surviving import Rows, lost_values


@pytest.fixture
def scratch(server: EmbeddedServer) -> Iterator[Session]:
    with scratch_schema(server.config) as session:
        yield session


def seeded(session: Session, text: str) -> Seeded:
    session.script(text)
    snapshot = introspect(session)
    return seed(session, snapshot, [key.name for key in snapshot.objects if key.kind is Kind.TABLE])


TABLES = [
    "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text UNIQUE NOT NULL)",
    "CREATE TABLE t (a text NOT NULL CHECK (a IN ('one', 'it''s')), b numeric(4,1) CHECK (b > 5 AND b < 7))",
    "CREATE TABLE t (a char(64) NOT NULL, b varchar(3) NOT NULL, c bit(5) NOT NULL, d bit varying(2))",
    "CREATE TABLE t (a text CHECK (char_length(a) = 40), b text CHECK (b LIKE 'https://%'))",
    """CREATE TABLE t (a int[], b jsonb NOT NULL CHECK (jsonb_typeof(b) = 'object'),
       CHECK (num_nonnulls(a, b) = 1))""",
    """CREATE TYPE e AS ENUM ('x', 'y'); CREATE DOMAIN d AS int CHECK (VALUE > 41);
       CREATE TYPE c AS (p int, q text);
       CREATE TABLE t (a e NOT NULL, b d NOT NULL, c c NOT NULL, f d[] NOT NULL)""",
    """CREATE TABLE t (a int4range NOT NULL, b tstzrange NOT NULL, c inet NOT NULL, d interval NOT NULL,
       e xml, f bytea NOT NULL, g money NOT NULL, h point NOT NULL,
        i tsvector NOT NULL, j macaddr NOT NULL)""",
    """CREATE TABLE t (a int PRIMARY KEY, b int NOT NULL REFERENCES t,
       c int GENERATED ALWAYS AS (a * 2) STORED)""",
    """CREATE TABLE u (a int, b int, PRIMARY KEY (a, b));
       CREATE TABLE t (a int NOT NULL, b int NOT NULL, FOREIGN KEY (a, b) REFERENCES u)""",
    """CREATE TABLE t (a int PRIMARY KEY, b int);
       CREATE TABLE u (a int PRIMARY KEY, b int NOT NULL REFERENCES t);
       ALTER TABLE t ADD FOREIGN KEY (b) REFERENCES u DEFERRABLE INITIALLY DEFERRED""",
    """CREATE TABLE p (a int NOT NULL, d date NOT NULL) PARTITION BY RANGE (d);
       CREATE TABLE t PARTITION OF p FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')""",
    """CREATE TABLE t ("a %s" text NOT NULL CHECK ("a %s" LIKE '%b'),
       "select" int CHECK ("select" % 2 = 0))""",
    "CREATE TABLE t (a int NOT NULL, EXCLUDE USING btree (a WITH =))",
    """CREATE TABLE t (a text NOT NULL CHECK (a ~ '^[A-Z]{3}-\\d{4,6}(?:/[0-9a-f]+)?$'),
       b text NOT NULL CHECK (b ~ '^(?=.{3,})[^a-z]+\\.(com|org)$'), c text NOT NULL CHECK (c LIKE 'x_z%'),
       d text NOT NULL CHECK (d ~* '^[[:alpha:]_][[:alnum:]_-]*$' AND char_length(d) >= 1))""",
]


@pytest.mark.parametrize("table", TABLES)
def test_rows_are_made_for_any_rules(scratch: Session, table: str) -> None:
    found = seeded(scratch, table)
    assert found.refused == {}
    assert all(found.rows.values())


def test_a_table_that_no_row_is_known_for_is_named_with_the_reason(scratch: Session) -> None:
    found = seeded(
        scratch,
        "CREATE TABLE odd (a text NOT NULL CHECK (md5(a) = 'no such'));"
        "CREATE TABLE child (id int PRIMARY KEY, o text NOT NULL); CREATE TABLE fine (a int)",
    )
    assert set(found.rows) == {"child", "fine"}
    assert "no value is known that passes" in found.refused["odd"]


def test_rows_keep_to_the_rules_of_the_later_schema_as_well(scratch: Session) -> None:
    scratch.script("CREATE TABLE t (a text NOT NULL)")
    old = introspect(scratch)
    scratch.script("ALTER TABLE t ADD CHECK (a IN ('only', 'these')), ADD UNIQUE (a)")
    new = introspect(scratch)
    scratch.script("ALTER TABLE t DROP CONSTRAINT t_a_check, DROP CONSTRAINT t_a_key")
    assert seed(scratch, old, ["t"], also=new).rows["t"] >= 2
    assert {row for (row,) in scratch.all("SELECT a FROM t")} == {"only", "these"}


T = ObjectId(Kind.TABLE, "t")
A = ObjectId(Kind.COLUMN, "t", "a")
BEFORE = {"t": Rows(("a", "b"), (("1", "x"), ("2", None)))}


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (Rows(("b", "a"), ((None, "2"), ("x", "1"))), []),
        (Rows(("a", "b", "c"), (("1", "x", "new"), ("2", None, "new"))), []),
        (Rows(("a", "b"), (("1", "x"),)), ["t had 2 rows and has 1"]),
        (Rows(("a",), (("1",), ("2",))), ["column t.b is gone"]),
        (Rows(("a", "b"), (("1", "y"), ("2", None))), ["t holds other values than before in b"]),
        (Rows(("a", "b"), (("2", "x"), ("1", None))), ["t holds other values than before in the same row"]),
        (Rows(("a", "b"), (("1", "x"), ("2", "filled"))), ["t holds other values than before in b"]),
    ],
)
def test_what_became_of_rows_is_told_without_their_values(after: Rows, told: list[str]) -> None:
    assert list(lost_values(BEFORE, {"t": after})) == told


def test_what_was_filled_or_dropped_on_purpose_is_not_missed() -> None:
    b = ObjectId(Kind.COLUMN, "t", "b")
    filled = {"t": Rows(("a", "b"), (("1", "x"), ("2", "filled")))}
    assert list(lost_values(BEFORE, filled, changed=[b])) == []
    emptied = {"t": Rows(("a", "b"), (("1", None), ("2", None)))}
    assert list(lost_values(BEFORE, emptied, changed=[b])) == ["t.b has NULL where it had a value"]
    assert list(lost_values(BEFORE, {"t": Rows(("a",), (("1",), ("2",)))}, gone=[b])) == []
    assert list(lost_values(BEFORE, {}, gone=[T])) == []
    assert list(lost_values(BEFORE, {})) == ["table t is gone"]


def test_rows_are_followed_under_new_names() -> None:
    renames = [Rename(T, ObjectId(Kind.TABLE, "s")), Rename(A, ObjectId(Kind.COLUMN, "t", "c"))]
    after = {"s": Rows(("c", "b"), (("1", "x"), ("2", None)))}
    assert list(lost_values(BEFORE, after, renames=renames)) == []
    mixed = {"s": Rows(("c", "b"), (("1", None), ("2", "x")))}
    assert list(lost_values(BEFORE, mixed, renames=renames)) != []
