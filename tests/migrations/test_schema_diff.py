"""`diff`: the same plan always and soon, the smaller step, renamings, and what it says of data."""

import os
import pickle
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from database_handler.core.session import Statement
from database_handler.embedded import EmbeddedServer
from database_handler.migrations.schema.introspection import introspect
from database_handler.migrations.schema.schema_diff import Action, Rename, SchemaDiff, diff, renamed
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    ConstraintType,
    Index,
    Kind,
    ObjectId,
    SchemaObject,
    SchemaSnapshot,
    Table,
)
from tests.support.schemas import Scratch, differing

HEAVY = """
    CREATE TYPE e AS ENUM ('a', 'b');
    CREATE FUNCTION f(x integer) RETURNS integer IMMUTABLE LANGUAGE sql RETURN x;
    CREATE TABLE t (
        id integer PRIMARY KEY, b text, e e DEFAULT 'a', g integer GENERATED ALWAYS AS (f(id)) STORED
    );
    CREATE TABLE s (id integer PRIMARY KEY, t integer REFERENCES t, CHECK (f(t) > 0));
    CREATE INDEX i ON t (b) WHERE e = 'a';
    CREATE VIEW v AS SELECT id, e, g FROM t;
    CREATE VIEW w AS SELECT v.id, s.id AS other FROM v JOIN s ON s.t = v.id;
    CREATE MATERIALIZED VIEW m AS SELECT * FROM w;
    CREATE INDEX mi ON m (id);
    COMMENT ON VIEW w IS 'w';
"""
HEAVIER = (
    HEAVY.replace("'a', 'b')", "'b', 'a')")
    .replace("id integer", "id bigint")
    .replace("x integer", "x bigint")
)


@pytest.fixture
def scratch(server: EmbeddedServer) -> Iterator[Scratch]:
    with Scratch(server.config) as opened:
        yield opened


def made(scratch: Scratch, schema: str, text: str) -> SchemaSnapshot:
    scratch.session.script(f"CREATE SCHEMA {schema}")
    scratch.run(schema, text)
    return scratch.snapshot(schema)


def planned(scratch: Scratch, old: str, new: str, *renames: Rename) -> SchemaDiff:
    """Return the plan from one text to another, and hold that it leads there."""
    before, after = made(scratch, "planned_old", old), made(scratch, "planned_new", new)
    plan = diff(before, after, renames=renames)
    scratch.run("planned_old", plan.script or "SELECT 1")
    found = scratch.snapshot("planned_old")
    assert found.objects == after.objects, f"{differing(after, found)}\n{plan.script}"
    return plan


def texts(plan: SchemaDiff) -> list[str]:
    return [statement.sql for statement in plan]


def table(name: str) -> ObjectId:
    return ObjectId(Kind.TABLE, name)


def column(relation: str, name: str) -> ObjectId:
    return ObjectId(Kind.COLUMN, relation, name)


# ----------------------------------------------------------------------------------------- the same, and soon


def test_a_plan_is_the_same_whatever_the_order_of_the_objects(scratch: Scratch) -> None:
    before, after = made(scratch, "planned_old", HEAVY), made(scratch, "planned_new", HEAVIER)
    plan = diff(before, after)
    for seed in range(5):
        assert diff(shuffled(before, seed), shuffled(after, seed)) == plan, f"seed {seed}"


def shuffled(snapshot: SchemaSnapshot, seed: int) -> SchemaSnapshot:
    items = list(snapshot.objects.items())
    random.Random(seed).shuffle(items)
    return SchemaSnapshot(dict(items))


def test_a_plan_is_the_same_in_every_process(scratch: Scratch, tmp_path: Path) -> None:
    pair = made(scratch, "planned_old", HEAVY), made(scratch, "planned_new", HEAVIER)
    file = tmp_path / "pair"
    file.write_bytes(pickle.dumps(pair))
    code = (
        "import pickle, sys; from database_handler.migrations.schema.schema_diff import diff;"
        "sys.stdout.write(diff(*pickle.load(open(sys.argv[1], 'rb'))).script)"
    )
    wanted = diff(*pair).script
    for seed in ("1", "2", "77"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code, str(file)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == wanted


def large(changed: int = 0) -> SchemaSnapshot:
    """Return a schema of 1,000 tables with 10,000 columns and 3,000 indexes; each `changed`th is another."""
    objects: list[SchemaObject] = []
    for number in range(1000):
        name = f"t{number:04}"
        objects.append(Table(id=table(name)))
        objects.extend(columns(name, bool(changed) and number % changed == 0))
        key = ObjectId(Kind.CONSTRAINT, name, f"{name}_pkey")
        of = ConstraintType.PRIMARY_KEY
        objects.append(Constraint(id=key, type=of, definition="PRIMARY KEY (c0)", columns=("c0",)))
        for place in range(3):
            id = ObjectId(Kind.INDEX, f"{name}_{place}")
            definition = f"ON {name} USING btree (c{place})"
            objects.append(Index(id=id, table=name, definition=definition, columns=(f"c{place}",)))
    return SchemaSnapshot({each.id: each for each in objects})


def columns(name: str, other: bool) -> Iterator[Column]:
    for place in range(10):
        type = "bigint" if other and place == 5 else "integer"
        yield Column(id=column(name, f"c{place}"), type=type, position=place, not_null=other and place == 3)


@pytest.mark.parametrize(("changed", "statements"), [(0, 0), (10, 200)])
def test_a_thousand_tables_are_compared_in_less_than_a_second(changed: int, statements: int) -> None:
    before, after = large(), large(changed)
    started = time.process_time()
    plan = diff(before, after)
    assert time.process_time() - started < 1
    assert len(plan) == statements


def test_a_thousand_tables_are_made_and_dropped_in_seconds() -> None:
    everything, nothing = large(), SchemaSnapshot({})
    started = time.process_time()
    assert len(diff(nothing, everything)) == 4000
    assert len(diff(everything, nothing)) == 1000
    assert time.process_time() - started < 5


# ---------------------------------------------------------------------------------------------- smaller steps

SMALL = {
    "a view grows at its end": (
        "CREATE TABLE t (a int, b int); CREATE VIEW v AS SELECT a FROM t;",
        "CREATE TABLE t (a int, b int); CREATE VIEW v AS SELECT a, b FROM t;",
        ["CREATE OR REPLACE VIEW v AS\nSELECT a,\n    b\n   FROM t"],
    ),
    "a function's body": (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 2",
        ["CREATE OR REPLACE FUNCTION f()\n RETURNS integer\n LANGUAGE sql\nRETURN 2"],
    ),
    "an integer that grows, with its key, its index and its reference": (
        "CREATE TABLE t (a int PRIMARY KEY); CREATE TABLE s (a int REFERENCES t); CREATE INDEX i ON s (a)",
        "CREATE TABLE t (a bigint PRIMARY KEY); CREATE TABLE s (a bigint REFERENCES t); "
        "CREATE INDEX i ON s (a)",
        ["ALTER TABLE s ALTER COLUMN a TYPE bigint", "ALTER TABLE t ALTER COLUMN a TYPE bigint"],
    ),
    "a storage parameter of an index": (
        "CREATE TABLE t (a int); CREATE INDEX i ON t (a)",
        "CREATE TABLE t (a int); CREATE INDEX i ON t (a) WITH (fillfactor = 60)",
        ["ALTER INDEX i SET (fillfactor = 60)"],
    ),
    "a constraint validated": (
        "CREATE TABLE t (a int); ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
        "CREATE TABLE t (a int); ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)",
        ["ALTER TABLE t VALIDATE CONSTRAINT c"],
    ),
    "a column with its default and its index": (
        "CREATE TABLE t (a int, b int DEFAULT 3 CHECK (b > 0)); CREATE INDEX i ON t (a, b)",
        "CREATE TABLE t (a int)",
        ["ALTER TABLE t DROP COLUMN b"],
    ),
    "a table with all that is on it": (
        "CREATE TABLE t (a serial PRIMARY KEY); CREATE INDEX i ON t (a); CREATE POLICY p ON t USING (true)",
        "",
        ["DROP TABLE t"],
    ),
    "a constraint and an index of another name": (
        "CREATE TABLE t (a int CONSTRAINT one CHECK (a > 0)); CREATE INDEX i ON t (a)",
        "CREATE TABLE t (a int CONSTRAINT two CHECK (a > 0)); CREATE INDEX j ON t (a)",
        ["ALTER TABLE t RENAME CONSTRAINT one TO two", "ALTER INDEX i RENAME TO j"],
    ),
    "a policy": (
        "CREATE TABLE t (a int); CREATE POLICY p ON t USING (a > 0)",
        "CREATE TABLE t (a int); CREATE POLICY p ON t USING (a > 1)",
        ["ALTER POLICY p ON t USING ((a > 1))"],
    ),
    "a text that becomes a number": (
        "CREATE TABLE t (a text)",
        "CREATE TABLE t (a int)",
        ["ALTER TABLE t ALTER COLUMN a TYPE integer USING a::integer"],
    ),
}


@pytest.mark.parametrize(("old", "new", "wanted"), SMALL.values(), ids=SMALL)
def test_the_smaller_step_is_taken(scratch: Scratch, old: str, new: str, wanted: list[str]) -> None:
    assert texts(planned(scratch, old, new)) == wanted


def test_nothing_is_dropped_in_passing_and_nothing_is_left_to_chance(scratch: Scratch) -> None:
    plan = planned(scratch, HEAVY, HEAVIER)
    assert len(plan) > 10
    for statement in plan:
        assert not re.search(r"\bCASCADE\b|\bIF EXISTS\b", statement.sql)


# ------------------------------------------------------------------------------------------------- renamings

RENAMED = {
    "a column": (
        "CREATE TABLE t (a int PRIMARY KEY, b text CHECK (b <> 'b')); "
        "CREATE INDEX i ON t (lower(b)) WHERE b <> '';"
        "CREATE VIEW v AS SELECT t.a, t.b FROM t WHERE t.b <> 'x'; CREATE POLICY p ON t USING (b = 'z')",
        "CREATE TABLE t (a int PRIMARY KEY, c text, CONSTRAINT t_b_check CHECK (c <> 'b'));"
        "CREATE INDEX i ON t (lower(c)) WHERE c <> ''; "
        "CREATE VIEW v AS SELECT t.a, t.c AS b FROM t WHERE t.c <> 'x';"
        "CREATE POLICY p ON t USING (c = 'z')",
        [Rename(column("t", "b"), column("t", "c"))],
        ["ALTER TABLE t RENAME COLUMN b TO c"],
    ),
    "a table, with what is named after it": (
        "CREATE TABLE note (id serial PRIMARY KEY, x int GENERATED ALWAYS AS IDENTITY,"
        " up int REFERENCES note);"
        "CREATE INDEX note_up_idx ON note (up); CREATE VIEW v AS SELECT note.id FROM note",
        "CREATE TABLE notes (id serial PRIMARY KEY, x int GENERATED ALWAYS AS IDENTITY,"
        " up int REFERENCES notes);"
        "CREATE INDEX notes_up_idx ON notes (up); CREATE VIEW v AS SELECT notes.id FROM notes",
        [Rename(table("note"), table("notes"))],
        [
            "ALTER TABLE note RENAME TO notes",
            "ALTER TABLE notes RENAME CONSTRAINT note_pkey TO notes_pkey",
            "ALTER TABLE notes RENAME CONSTRAINT note_up_fkey TO notes_up_fkey",
            "ALTER INDEX note_up_idx RENAME TO notes_up_idx",
            "ALTER SEQUENCE note_id_seq RENAME TO notes_id_seq",
            "ALTER SEQUENCE note_x_seq RENAME TO notes_x_seq",
        ],
    ),
    "a table and a column of it": (
        "CREATE TABLE t (a int, b int)",
        "CREATE TABLE u (a int, c int)",
        [Rename(column("t", "b"), column("u", "c")), Rename(table("t"), table("u"))],
        ["ALTER TABLE t RENAME TO u", "ALTER TABLE u RENAME COLUMN b TO c"],
    ),
    "two columns change places": (
        "CREATE TABLE t (a int, b text)",
        "CREATE TABLE t (b int, a text)",
        [Rename(column("t", "a"), column("t", "b")), Rename(column("t", "b"), column("t", "a"))],
        [
            "ALTER TABLE t RENAME COLUMN b TO b_before",
            "ALTER TABLE t RENAME COLUMN a TO b",
            "ALTER TABLE t RENAME COLUMN b_before TO a",
        ],
    ),
    "a type": (
        "CREATE TYPE e AS ENUM ('x'); CREATE TABLE t (a e DEFAULT 'x'); "
        "CREATE FUNCTION f(e) RETURNS int LANGUAGE sql RETURN 1",
        "CREATE TYPE g AS ENUM ('x'); CREATE TABLE t (a g DEFAULT 'x'); "
        "CREATE FUNCTION f(g) RETURNS int LANGUAGE sql RETURN 1",
        [Rename(ObjectId(Kind.ENUM, "e"), ObjectId(Kind.ENUM, "g"))],
        ["ALTER TYPE e RENAME TO g"],
    ),
    "a view and a function": (
        "CREATE VIEW v AS SELECT 1 AS a; CREATE FUNCTION f(int) RETURNS int LANGUAGE sql RETURN 1",
        "CREATE VIEW w AS SELECT 1 AS a; CREATE FUNCTION g(int) RETURNS int LANGUAGE sql RETURN 1",
        [
            Rename(ObjectId(Kind.VIEW, "v"), ObjectId(Kind.VIEW, "w")),
            Rename(ObjectId(Kind.FUNCTION, "f(integer)"), ObjectId(Kind.FUNCTION, "g(integer)")),
        ],
        ["ALTER FUNCTION f(integer) RENAME TO g", "ALTER VIEW v RENAME TO w"],
    ),
    "a column that is changed besides": (
        "CREATE TABLE t (a int)",
        "CREATE TABLE t (b bigint NOT NULL)",
        [Rename(column("t", "a"), column("t", "b"))],
        [
            "ALTER TABLE t RENAME COLUMN a TO b",
            "ALTER TABLE t ALTER COLUMN b TYPE bigint",
            "ALTER TABLE t ALTER COLUMN b SET NOT NULL",
        ],
    ),
    "a column whose old name is taken anew": (
        "CREATE TABLE t (a int)",
        "CREATE TABLE t (b int, a text)",
        [Rename(column("t", "a"), column("t", "b"))],
        ["ALTER TABLE t RENAME COLUMN a TO b", "ALTER TABLE t ADD COLUMN a text"],
    ),
    "onto a name that becomes free": (
        "CREATE TYPE log AS ENUM ('x'); CREATE TABLE other (a int)",
        "CREATE TABLE log (a int)",
        [Rename(table("other"), table("log"))],
        ["ALTER TYPE log RENAME TO log_before", "ALTER TABLE other RENAME TO log", "DROP TYPE log_before"],
    ),
    "what is done already": (
        "CREATE TABLE t (b int)",
        "CREATE TABLE t (b int, d int)",
        [Rename(column("t", "a"), column("t", "b"))],
        ["ALTER TABLE t ADD COLUMN d integer"],
    ),
    "what would be in the way": (
        "CREATE TABLE t (a int, b int)",
        "CREATE TABLE t (b int)",
        [Rename(column("t", "a"), column("t", "b"))],
        ["ALTER TABLE t DROP COLUMN a"],
    ),
}


@pytest.mark.parametrize(("old", "new", "renames", "wanted"), RENAMED.values(), ids=RENAMED)
def test_what_is_renamed_is_not_made_again(
    scratch: Scratch, old: str, new: str, renames: list[Rename], wanted: list[str]
) -> None:
    assert texts(planned(scratch, old, new, *renames)) == wanted


def test_the_way_back_renames_back_and_keeps_the_values(scratch: Scratch) -> None:
    rename = Rename(column("t", "a"), column("t", "b"))
    before = made(scratch, "planned_old", "CREATE TABLE t (a int); INSERT INTO t VALUES (7)")
    after = made(scratch, "planned_new", "CREATE TABLE t (b bigint)")
    scratch.run("planned_old", diff(before, after, renames=[rename]).script)
    assert scratch.session.all(Statement("SELECT b FROM planned_old.t", "test.look")) == [(7,)]
    scratch.run("planned_old", diff(after, before, renames=[rename.inverted()]).script)
    assert scratch.session.all(Statement("SELECT a FROM planned_old.t", "test.look")) == [(7,)]


def test_a_snapshot_is_told_again_as_the_server_tells_it_after_the_renaming(scratch: Scratch) -> None:
    before = made(scratch, "planned_old", HEAVY)
    renames = [Rename(table("t"), table('"T x"')), Rename(column("t", "b"), column('"T x"', "body"))]
    scratch.run("planned_old", 'ALTER TABLE t RENAME TO "T x"; ALTER TABLE "T x" RENAME COLUMN b TO body')
    assert renamed(before, renames).objects == scratch.snapshot("planned_old").objects


# ---------------------------------------------------------------------------------------------------- of data


def test_a_drop_and_an_addition_that_look_alike_are_told() -> None:
    before = snapshot(Table(id=table("t")), Column(id=column("t", "a"), type="text"), *columns("gone", False))
    before = snapshot(*before, Table(id=table("gone")))
    after = snapshot(Table(id=table("t")), Column(id=column("t", "b"), type="character varying(9)"))
    after = snapshot(*after, Table(id=table("come")), *columns("come", False))
    wanted = {Rename(column("t", "a"), column("t", "b")), Rename(table("gone"), table("come"))}
    assert set(diff(before, after).lookalikes) == wanted
    assert diff(before, after, renames=wanted).lookalikes == ()


def snapshot(*objects: SchemaObject) -> SchemaSnapshot:
    return SchemaSnapshot({each.id: each for each in objects})


def test_what_is_not_alike_is_not_told() -> None:
    before = snapshot(Table(id=table("t")), Column(id=column("t", "a"), type="text"))
    after = snapshot(Table(id=table("t")), Column(id=column("t", "b"), type="integer"))
    assert diff(before, after).lookalikes == ()


LOSSES = {
    "a table": ("CREATE TABLE t (a int)", "", ["the rows of t"]),
    "a column": ("CREATE TABLE t (a int, b int)", "CREATE TABLE t (a int)", ["the values of t.b"]),
    "a computed column": (
        "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a) STORED)",
        "CREATE TABLE t (a int)",
        [None],
    ),
    "digits": (
        "CREATE TABLE t (a numeric(9,4))",
        "CREATE TABLE t (a numeric(9,2))",
        ["digits behind the 2th, in the values of t.a"],
    ),
    "a time of day": (
        "CREATE TABLE t (a timestamptz)",
        "CREATE TABLE t (a date)",
        ["the time of day, in the values of t.a"],
    ),
    "nothing": ("CREATE TABLE t (a int)", "CREATE TABLE t (a bigint)", [None]),
    "a sequence": ("CREATE SEQUENCE s", "", ["how far sequence s has counted"]),
    "a view": ("CREATE VIEW v AS SELECT 1 AS a", "", [None]),
    "an attribute": (
        "CREATE TYPE c AS (a int, b int)",
        "CREATE TYPE c AS (a int)",
        ["the values of attribute b of c"],
    ),
    "what was typed in becomes computed": (
        "CREATE TABLE t (a int, b int)",
        "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a) STORED)",
        ["the values of t.b", None],
    ),
}


@pytest.mark.parametrize(("old", "new", "losses"), LOSSES.values(), ids=LOSSES)
def test_a_statement_says_what_data_it_throws_away(
    scratch: Scratch, old: str, new: str, losses: list[str | None]
) -> None:
    assert [statement.loses for statement in planned(scratch, old, new)] == losses


def test_a_label_cannot_be_used_in_the_transaction_that_adds_it(scratch: Scratch) -> None:
    plan = planned(scratch, "CREATE TYPE e AS ENUM ('b')", "CREATE TYPE e AS ENUM ('a', 'b', 'c')")
    assert [(each.action, each.transactional) for each in plan] == [(Action.ADD_VALUE, False)] * 2


KEPT = {
    "an enum whose labels change places": (
        "CREATE TYPE e AS ENUM ('a', 'b'); CREATE TABLE t (v e DEFAULT 'a', w e[]); "
        "INSERT INTO t VALUES ('b', '{a,b}')",
        "CREATE TYPE e AS ENUM ('b', 'a'); CREATE TABLE t (v e DEFAULT 'a', w e[])",
    ),
    "a range of other numbers": (
        "CREATE TYPE r AS RANGE (subtype = int); CREATE TABLE t (v r); INSERT INTO t VALUES ('[1,2)')",
        "CREATE TYPE r AS RANGE (subtype = bigint); CREATE TABLE t (v r)",
    ),
    "a domain of another type": (
        "CREATE DOMAIN d AS int CHECK (VALUE > 0); CREATE TABLE t (v d NOT NULL); INSERT INTO t VALUES (5)",
        "CREATE DOMAIN d AS bigint CHECK (VALUE > 1); CREATE TABLE t (v d NOT NULL)",
    ),
    "a partition of another bound": (
        "CREATE TABLE p (v int) PARTITION BY LIST (v); CREATE TABLE t PARTITION OF p FOR VALUES IN (1);"
        "INSERT INTO t VALUES (1)",
        "CREATE TABLE p (v int) PARTITION BY LIST (v); CREATE TABLE t PARTITION OF p FOR VALUES IN (1, 2)",
    ),
    "a partition whose parent is another table": (
        "CREATE TABLE p (v int) PARTITION BY LIST (v); CREATE TABLE t PARTITION OF p FOR VALUES IN (1);"
        "INSERT INTO t VALUES (1)",
        "CREATE TABLE p (v int) PARTITION BY RANGE (v); "
        "CREATE TABLE t PARTITION OF p FOR VALUES FROM (1) TO (3)",
    ),
}


@pytest.mark.parametrize(("old", "new"), KEPT.values(), ids=KEPT)
def test_rows_outlive_what_is_made_again_under_them(scratch: Scratch, old: str, new: str) -> None:
    before, after = made(scratch, "planned_old", old), made(scratch, "planned_new", new)
    look = Statement("SELECT t::text FROM planned_old.t", "test.look")
    rows = scratch.session.all(look)
    scratch.run("planned_old", diff(before, after).script)
    assert scratch.snapshot("planned_old").objects == after.objects
    assert scratch.session.all(look) == rows != []


# ------------------------------------------------------------------------------------------- several schemas


def test_several_schemas_are_turned_into_others_and_back(scratch: Scratch) -> None:
    names = ["several_a", "several_b"]
    scratch.session.script("CREATE SCHEMA several_a; CREATE TABLE several_a.t (id int PRIMARY KEY)")
    before = introspect(scratch.session, [names[0]])
    scratch.session.script(SEVERAL)
    after = introspect(scratch.session, names)
    scratch.session.script(diff(after, before).script)
    assert introspect(scratch.session, [names[0]]).objects == before.objects
    scratch.session.script(diff(before, after).script)
    assert introspect(scratch.session, names).objects == after.objects


SEVERAL = """
    CREATE SCHEMA several_b;
    CREATE TYPE several_b.e AS ENUM ('x');
    CREATE TABLE several_b.t (id int PRIMARY KEY REFERENCES several_a.t, e several_b.e DEFAULT 'x', s serial);
    CREATE INDEX i ON several_b.t (e) WHERE e = 'x';
    CREATE VIEW several_a.v AS SELECT t.id, u.e FROM several_a.t JOIN several_b.t AS u USING (id);
    CREATE FUNCTION several_b.f(several_b.t) RETURNS int LANGUAGE sql RETURN 1;
    CREATE FUNCTION several_b.g() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end';
    CREATE TRIGGER g BEFORE INSERT ON several_b.t FOR EACH ROW EXECUTE FUNCTION several_b.g();
    ALTER TABLE several_a.t ADD COLUMN other several_b.e;
    COMMENT ON FUNCTION several_b.f(several_b.t) IS 'x';
    ALTER DEFAULT PRIVILEGES IN SCHEMA several_b GRANT SELECT ON TABLES TO PUBLIC;
"""
