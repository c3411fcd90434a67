"""Each kind of object, made by SQL and read back: what the snapshot says of it, and what it needs."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from database_handler.core.connection import dedicated
from database_handler.core.session import Session
from database_handler.core.transaction import Transaction
from database_handler.embedded import EmbeddedServer
from database_handler.migrations.schema.introspection import introspect
from database_handler.migrations.schema.snapshot import (
    SCHEMA_MARK,
    Column,
    CompositeType,
    Constraint,
    ConstraintType,
    DefaultPrivileges,
    Domain,
    EnumType,
    Function,
    Grant,
    Identity,
    Index,
    Kind,
    MaterializedView,
    ObjectId,
    Policy,
    RangeType,
    Rule,
    SchemaObject,
    SchemaSnapshot,
    Sequence,
    SequenceOptions,
    Statistics,
    Table,
    TextSearchConfiguration,
    TextSearchDictionary,
    Trigger,
    View,
)

Read = Callable[[str], SchemaSnapshot]


@pytest.fixture
def inside(server: EmbeddedServer) -> Iterator[Session]:
    """A transaction of the test's own, never committed, whose schema is empty."""
    transaction = Transaction(lambda: dedicated(server.config))
    try:
        transaction.session.script("CREATE SCHEMA scratch; SET LOCAL search_path TO scratch, public")
        yield transaction.session
    finally:
        transaction.rollback()


@pytest.fixture
def read(inside: Session) -> Read:
    """Run SQL in the empty schema, and read what that then holds."""

    def run(sql: str) -> SchemaSnapshot:
        inside.script(sql)
        return introspect(inside)

    return run


def of(kind: Kind, name: str, part: str = "") -> ObjectId:
    return ObjectId(kind, name, part)


TABLE, COLUMN, CONSTRAINT = Kind.TABLE, Kind.COLUMN, Kind.CONSTRAINT
T = "CREATE TABLE t (a integer, b text);"
OVERLOADS = (
    "CREATE FUNCTION f(int, int DEFAULT 2) RETURNS int RETURN $1;"
    "CREATE FUNCTION f(text) RETURNS text RETURN $1;"
)
BIG = SequenceOptions("bigint", 1, 1, 1, 2**63 - 1, 1, cycle=False)
INT = BIG._replace(type="integer", maximum=2**31 - 1)
OWNER = Grant("", "ALL")


def column(part: str, type: str, **told: Any) -> Column:
    return Column(id=of(COLUMN, "t", part), type=type, **told)


def constraint(part: str, type: ConstraintType, definition: str, *columns: str, **told: Any) -> Constraint:
    return Constraint(id=of(CONSTRAINT, "t", part), type=type, definition=definition, columns=columns, **told)


def index(name: str, definition: str, *columns: str, **told: Any) -> Index:
    return Index(id=of(Kind.INDEX, name), table="t", definition=definition, columns=columns, **told)


CASES: list[tuple[str, SchemaObject]] = [
    # ------------------------------------------------------------------------------------------- tables
    (T, Table(id=of(TABLE, "t"))),
    ("CREATE UNLOGGED TABLE t (a int)", Table(id=of(TABLE, "t"), persistence="unlogged")),
    (
        "CREATE TABLE t (a text) WITH (fillfactor = 70, toast.autovacuum_enabled = off)",
        Table(id=of(TABLE, "t"), options=(("fillfactor", "70"), ("toast.autovacuum_enabled", "off"))),
    ),
    (
        T + "ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        Table(id=of(TABLE, "t"), row_security=True, force_row_security=True),
    ),
    (T + "ALTER TABLE t REPLICA IDENTITY FULL", Table(id=of(TABLE, "t"), replica_identity="full")),
    (T + "COMMENT ON TABLE t IS 'it''s'", Table(id=of(TABLE, "t"), comment="it's")),
    (
        "CREATE TABLE p (a int) PARTITION BY HASH (a, (a + 1))",
        Table(id=of(TABLE, "p"), partition_key="HASH (a, ((a + 1)))"),
    ),
    (
        "CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE TABLE t PARTITION OF p FOR VALUES IN (1, NULL)",
        Table(id=of(TABLE, "t"), parents=("p",), partition_bound="FOR VALUES IN (1, NULL)"),
    ),
    (
        "CREATE TABLE z (a int); CREATE TABLE y (b int); CREATE TABLE t () INHERITS (z, y)",
        Table(id=of(TABLE, "t"), parents=("z", "y")),
    ),
    (
        T + "GRANT ALL ON t TO pg_monitor; GRANT SELECT ON t TO PUBLIC",
        Table(
            id=of(TABLE, "t"),
            grants=(OWNER, Grant("PUBLIC", "SELECT"), Grant("pg_monitor", "ALL")),
        ),
    ),
    (
        T + "GRANT INSERT ON t TO pg_monitor WITH GRANT OPTION; REVOKE ALL ON t FROM CURRENT_USER",
        Table(id=of(TABLE, "t"), grants=(Grant("pg_monitor", "INSERT", grantable=True),)),
    ),
    (
        T + "GRANT INSERT ON t TO pg_monitor; REVOKE INSERT ON t FROM pg_monitor",
        Table(id=of(TABLE, "t"), grants=None),
    ),
    # ------------------------------------------------------------------------------------------ columns
    (T, column("b", "text", position=2)),
    ("CREATE TABLE t (a numeric(10, 2)[])", column("a", "numeric(10,2)[]")),
    ("CREATE TABLE t (a varchar(5) NOT NULL)", column("a", "character varying(5)", not_null=True)),
    ('CREATE TABLE t (a text COLLATE "C")', column("a", "text", collation='"C"')),
    ("CREATE TABLE t (a text DEFAULT 'x' || 'y')", column("a", "text", default="('x'::text || 'y'::text)")),
    (
        "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a * 2) STORED)",
        column("b", "integer", generated="stored", expression="(a * 2)"),
    ),
    (
        "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL)",
        column("b", "integer", generated="virtual", expression="(a * 2)"),
    ),
    (
        'CREATE TABLE t (a int GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME "S 1" START 5 CYCLE))',
        column(
            "a",
            "integer",
            not_null=True,
            identity=Identity(False, '"S 1"', INT._replace(start=5, cycle=True)),
        ),
    ),
    (
        "CREATE TABLE t (a text); ALTER TABLE t ALTER a SET STORAGE EXTERNAL, ALTER a SET COMPRESSION pglz,"
        "ALTER a SET STATISTICS 7, ALTER a SET (n_distinct = -0.5)",
        column(
            "a",
            "text",
            storage="EXTERNAL",
            compression="pglz",
            statistics=7,
            options=(("n_distinct", "-0.5"),),
        ),
    ),
    (
        T + "GRANT UPDATE (a) ON t TO PUBLIC; COMMENT ON COLUMN t.a IS 'c'",
        column("a", "integer", comment="c", grants=(Grant("PUBLIC", "UPDATE"),)),
    ),
    (
        "CREATE TABLE p (a int NOT NULL DEFAULT 3); CREATE TABLE t () INHERITS (p)",
        column("a", "integer", not_null=True, default="3", inherited=True),
    ),
    (T + "ALTER TABLE t DROP a; ALTER TABLE t ADD a date", column("a", "date", position=3)),
    # -------------------------------------------------------------------------------------- constraints
    (
        "CREATE TABLE t (a int, b int, c int, CONSTRAINT k PRIMARY KEY (b, a) INCLUDE (c))",
        constraint("k", ConstraintType.PRIMARY_KEY, "PRIMARY KEY (b, a) INCLUDE (c)", "b", "a"),
    ),
    (
        "CREATE TABLE t (a int CONSTRAINT k UNIQUE NULLS NOT DISTINCT WITH (fillfactor = 50) "
        "DEFERRABLE INITIALLY DEFERRED)",
        constraint(
            "k",
            ConstraintType.UNIQUE,
            "UNIQUE NULLS NOT DISTINCT (a) WITH (fillfactor='50') DEFERRABLE INITIALLY DEFERRED",
            "a",
        ),
    ),
    (
        "CREATE TABLE t (a int PRIMARY KEY, b int CONSTRAINT k REFERENCES t ON DELETE SET NULL DEFERRABLE)",
        constraint(
            "k",
            ConstraintType.FOREIGN_KEY,
            "FOREIGN KEY (b) REFERENCES t(a) ON DELETE SET NULL DEFERRABLE",
            "b",
            references="t",
        ),
    ),
    (
        T + "ALTER TABLE t ADD CONSTRAINT k CHECK (b <> 'NOT VALID' OR a > 0) NOT VALID",
        constraint(
            "k",
            ConstraintType.CHECK,
            "CHECK (((b <> 'NOT VALID'::text) OR (a > 0)))",
            "a",
            "b",
            validated=False,
        ),
    ),
    (
        T + "ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0) NO INHERIT",
        constraint("k", ConstraintType.CHECK, "CHECK ((a > 0)) NO INHERIT", "a"),
    ),
    (
        "CREATE TABLE t (a int4range, CONSTRAINT k EXCLUDE USING gist (a WITH &&) WHERE (NOT isempty(a)))",
        constraint(
            "k",
            ConstraintType.EXCLUSION,
            "EXCLUDE USING gist (a WITH &&) WHERE ((NOT isempty(a)))",
            "a",
        ),
    ),
    (
        "CREATE TABLE t (a int CONSTRAINT k PRIMARY KEY); CLUSTER t USING k;"
        "COMMENT ON CONSTRAINT k ON t IS 'c';"
        "ALTER TABLE t REPLICA IDENTITY USING INDEX k",
        constraint(
            "k",
            ConstraintType.PRIMARY_KEY,
            "PRIMARY KEY (a)",
            "a",
            clustered=True,
            replica_identity=True,
            comment="c",
        ),
    ),
    (
        "CREATE TABLE p (a int CHECK (a > 1)) PARTITION BY LIST (a);"
        "CREATE TABLE t PARTITION OF p FOR VALUES IN (5)",
        constraint("p_a_check", ConstraintType.CHECK, "CHECK ((a > 1))", "a", inherited=True),
    ),
    # ------------------------------------------------------------------------------------------ indexes
    (T + "CREATE INDEX i ON t (a)", index("i", "ON t USING btree (a)", "a")),
    (
        T + "CREATE UNIQUE INDEX i ON t (lower(b) text_pattern_ops DESC, a) NULLS NOT DISTINCT"
        " WITH (fillfactor = 60) WHERE a > 1; ALTER INDEX i ALTER COLUMN 1 SET STATISTICS 9",
        index(
            "i",
            "ON t USING btree (lower(b) text_pattern_ops DESC, a) NULLS NOT DISTINCT WITH (fillfactor='60')"
            " WHERE (a > 1)",
            "a",
            unique=True,
            statistics=((1, 9),),
        ),
    ),
    (
        T + "CREATE INDEX i ON t USING brin (a, b) WITH (pages_per_range = 4)",
        index("i", "ON t USING brin (a, b) WITH (pages_per_range='4')", "a", "b", method="brin"),
    ),
    (T + "CREATE INDEX i ON t (a) INCLUDE (b)", index("i", "ON t USING btree (a) INCLUDE (b)", "a")),
    (
        T + "ALTER TABLE t ALTER a SET NOT NULL; CREATE UNIQUE INDEX i ON t (a); CLUSTER t USING i;"
        "ALTER TABLE t REPLICA IDENTITY USING INDEX i; COMMENT ON INDEX i IS 'c'",
        index(
            "i",
            "ON t USING btree (a)",
            "a",
            unique=True,
            clustered=True,
            replica_identity=True,
            comment="c",
        ),
    ),
    (
        "CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE INDEX i ON p (a);"
        "CREATE TABLE t PARTITION OF p DEFAULT",
        index("t_a_idx", "ON t USING btree (a)", "a", parent="i"),
    ),
    (
        "CREATE TABLE t (a int) PARTITION BY LIST (a); CREATE INDEX i ON ONLY t (a);"
        "CREATE TABLE q PARTITION OF t DEFAULT",
        index("i", "ON t USING btree (a)", "a", valid=True),
    ),
    # -------------------------------------------------------------------------------------------- types
    (
        "CREATE TYPE e AS ENUM ('b', 'it''s', 'a'); ALTER TYPE e ADD VALUE 'n' BEFORE 'a'",
        EnumType(id=of(Kind.ENUM, "e"), labels=("b", "it's", "n", "a")),
    ),
    (
        "CREATE DOMAIN d AS varchar(9) COLLATE \"C\" NOT NULL DEFAULT 'x'; COMMENT ON DOMAIN d IS 'c';"
        "REVOKE ALL ON DOMAIN d FROM PUBLIC",
        Domain(
            id=of(Kind.DOMAIN, "d"),
            type="character varying(9)",
            collation='"C"',
            default="'x'::character varying",
            not_null=True,
            comment="c",
            grants=(Grant("", "USAGE"),),
        ),
    ),
    (
        "CREATE DOMAIN d AS int CONSTRAINT k CHECK (VALUE > 0); COMMENT ON CONSTRAINT k ON DOMAIN d IS 'c'",
        Constraint(
            id=of(Kind.DOMAIN_CONSTRAINT, "d", "k"),
            type=ConstraintType.CHECK,
            definition="CHECK ((VALUE > 0))",
            comment="c",
        ),
    ),
    (
        'CREATE TYPE c AS (a int, "B c" text COLLATE "C")',
        CompositeType(
            id=of(Kind.COMPOSITE, "c"),
            attributes=(("a", "integer", None), ('"B c"', "text", '"C"')),
        ),
    ),
    (
        'CREATE TYPE r AS RANGE (subtype = text, subtype_opclass = text_pattern_ops, collation = "C")',
        RangeType(
            id=of(Kind.RANGE, "r"),
            options=(
                ("subtype", "text"),
                ("subtype_opclass", "text_pattern_ops"),
                ("collation", '"C"'),
                ("multirange_type_name", "r_multirange"),
            ),
        ),
    ),
    # ---------------------------------------------------------------------------------------- sequences
    (
        "CREATE SEQUENCE s AS smallint INCREMENT -2 MINVALUE -9 MAXVALUE 7 START 3 CACHE 4 CYCLE",
        Sequence(id=of(Kind.SEQUENCE, "s"), options=SequenceOptions("smallint", 3, -2, -9, 7, 4, cycle=True)),
    ),
    (
        "CREATE UNLOGGED SEQUENCE s; GRANT USAGE ON SEQUENCE s TO pg_monitor",
        Sequence(
            id=of(Kind.SEQUENCE, "s"),
            options=BIG,
            persistence="unlogged",
            grants=(OWNER, Grant("pg_monitor", "USAGE")),
        ),
    ),
    (
        "CREATE TABLE t (a serial)",
        Sequence(id=of(Kind.SEQUENCE, "t_a_seq"), options=INT, owned_by=of(COLUMN, "t", "a")),
    ),
    # -------------------------------------------------------------------------------------------- views
    (
        T + "CREATE VIEW v WITH (security_barrier) AS SELECT 1 AS x, 'a'::text AS \"Y\"",
        View(
            id=of(Kind.VIEW, "v"),
            definition="SELECT 1 AS x,\n    'a'::text AS \"Y\"",
            columns=(("x", "integer"), ('"Y"', "text")),
            options=(("security_barrier", "true"),),
        ),
    ),
    (
        "CREATE VIEW v AS SELECT 1 AS x; ALTER VIEW v ALTER x SET DEFAULT 5; COMMENT ON VIEW v IS 'c';"
        "COMMENT ON COLUMN v.x IS 'cc'; GRANT SELECT (x) ON v TO PUBLIC",
        View(
            id=of(Kind.VIEW, "v"),
            definition="SELECT 1 AS x",
            columns=(("x", "integer"),),
            defaults=(("x", "5"),),
            comment="c",
            column_comments=(("x", "cc"),),
            column_grants=(("x", Grant("PUBLIC", "SELECT")),),
        ),
    ),
    (
        "CREATE MATERIALIZED VIEW m WITH (fillfactor = 40) AS SELECT 1 AS x WITH NO DATA",
        MaterializedView(
            id=of(Kind.MATERIALIZED_VIEW, "m"),
            definition="SELECT 1 AS x",
            columns=(("x", "integer"),),
            options=(("fillfactor", "40"),),
            populated=False,
        ),
    ),
    # ----------------------------------------------------------------------------------------- routines
    (
        "CREATE FUNCTION f(a int, b text DEFAULT 'x') RETURNS int LANGUAGE sql STABLE AS 'SELECT a';"
        "COMMENT ON FUNCTION f IS 'c'; REVOKE ALL ON FUNCTION f FROM PUBLIC",
        Function(
            id=of(Kind.FUNCTION, "f(integer, text)"),
            type="FUNCTION",
            definition="(a integer, b text DEFAULT 'x'::text)\n RETURNS integer\n LANGUAGE sql\n STABLE\n"
            "AS $function$SELECT a$function$",
            arguments="a integer, b text DEFAULT 'x'::text",
            result="integer",
            comment="c",
            grants=(Grant("", "EXECUTE"),),
        ),
    ),
    (
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql SET search_path TO scratch, pg_temp AS "
        "$$SELECT 'SET search_path TO scratch'$$",
        Function(
            id=of(Kind.FUNCTION, "f()"),
            type="FUNCTION",
            definition=f"()\n RETURNS text\n LANGUAGE sql\n SET search_path TO {SCHEMA_MARK}, 'pg_temp'\n"
            "AS $function$SELECT 'SET search_path TO scratch'$function$",
            result="text",
        ),
    ),
    (
        'CREATE PROCEDURE "P"(INOUT a int) LANGUAGE sql BEGIN ATOMIC SELECT a + 1; END',
        Function(
            id=of(Kind.FUNCTION, '"P"(integer)'),
            type="PROCEDURE",
            definition="(INOUT a integer)\n LANGUAGE sql\nBEGIN ATOMIC\n SELECT (a + 1);\nEND",
            arguments="INOUT a integer",
        ),
    ),
    (
        "CREATE AGGREGATE g(int) (SFUNC = int4larger, STYPE = int, COMBINEFUNC = int4larger, SORTOP = >,"
        " PARALLEL = SAFE, FINALFUNC = int4abs, FINALFUNC_MODIFY = SHAREABLE, INITCOND = '0')",
        Function(
            id=of(Kind.FUNCTION, "g(integer)"),
            type="AGGREGATE",
            definition="(integer) (SFUNC = int4larger, STYPE = integer, FINALFUNC = int4abs, "
            "FINALFUNC_MODIFY = SHAREABLE, COMBINEFUNC = int4larger, INITCOND = '0', "
            "SORTOP = OPERATOR(pg_catalog.>), PARALLEL = SAFE)",
            arguments="integer",
            result="integer",
        ),
    ),
    (
        "CREATE AGGREGATE g(*) (SFUNC = int8inc, STYPE = bigint, INITCOND = '0')",
        Function(
            id=of(Kind.FUNCTION, "g(*)"),
            type="AGGREGATE",
            definition="(*) (SFUNC = int8inc, STYPE = bigint, INITCOND = '0')",
            result="bigint",
        ),
    ),
    (
        f"{OVERLOADS} CREATE AGGREGATE g(int) (SFUNC = f, STYPE = int)",
        Function(
            id=of(Kind.FUNCTION, "g(integer)"),
            type="AGGREGATE",
            definition="(integer) (SFUNC = f, STYPE = integer)",
            arguments="integer",
            result="integer",
        ),
    ),
    (
        f"{OVERLOADS} CREATE FUNCTION g(int DEFAULT f(1)) RETURNS int RETURN f(2) + length('scratch.f(3)');"
        "CREATE FUNCTION f(int) RETURNS int RETURN 0",
        Function(
            id=of(Kind.FUNCTION, "g(integer)"),
            type="FUNCTION",
            definition="(integer DEFAULT f(1))\n RETURNS integer\n LANGUAGE sql\n"
            "RETURN (f(2) + length('scratch.f(3)'::text))",
            arguments="integer DEFAULT f(1)",
            result="integer",
        ),
    ),
    # --------------------------------------------------------------------------- what belongs to tables
    (
        T + "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        'CREATE TRIGGER "G" BEFORE UPDATE OF b, a ON t FOR EACH ROW WHEN (OLD.a > 1) '
        "EXECUTE FUNCTION f(' ON scratch.t ');"
        'ALTER TABLE t ENABLE ALWAYS TRIGGER "G"',
        Trigger(
            id=of(Kind.TRIGGER, "t", '"G"'),
            definition='CREATE TRIGGER "G" BEFORE UPDATE OF b, a ON t FOR EACH ROW WHEN ((old.a > 1)) '
            "EXECUTE FUNCTION f(' ON scratch.t ')",
            enabled="ENABLE ALWAYS",
        ),
    ),
    (
        T + "CREATE RULE r AS ON INSERT TO t DO ALSO NOTIFY x; COMMENT ON RULE r ON t IS 'c'",
        Rule(
            id=of(Kind.RULE, "t", "r"),
            definition="CREATE RULE r AS\n    ON INSERT TO t DO\n NOTIFY x",
            comment="c",
        ),
    ),
    (
        T + "CREATE POLICY p ON t AS RESTRICTIVE FOR INSERT TO pg_monitor, CURRENT_USER WITH CHECK (a > 1)",
        Policy(
            id=of(Kind.POLICY, "t", "p"),
            command="INSERT",
            permissive=False,
            roles=("pg_monitor", "postgres"),
            check="(a > 1)",
        ),
    ),
    (
        T + "CREATE STATISTICS x (ndistinct) ON b, a FROM t; ALTER STATISTICS x SET STATISTICS 5;"
        "COMMENT ON STATISTICS x IS 'c'",
        Statistics(
            id=of(Kind.STATISTICS, "x"),
            definition="CREATE STATISTICS x (ndistinct) ON a, b FROM t",
            target=5,
            comment="c",
        ),
    ),
    # -------------------------------------------------------------------------------------- text search
    (
        "CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple, stopwords = english)",
        TextSearchDictionary(id=of(Kind.DICTIONARY, "d"), template="simple", options="stopwords = 'english'"),
    ),
    (
        'CREATE TEXT SEARCH CONFIGURATION c (PARSER = "default");'
        "CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple);"
        "ALTER TEXT SEARCH CONFIGURATION c ADD MAPPING FOR word, int WITH d, english_stem",
        TextSearchConfiguration(
            id=of(Kind.CONFIGURATION, "c"),
            parser='"default"',
            mappings=(('"int"', ("d", "english_stem")), ("word", ("d", "english_stem"))),
        ),
    ),
    # --------------------------------------------------------------------------------------- privileges
    (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA scratch GRANT SELECT ON TABLES TO pg_monitor",
        DefaultPrivileges(
            id=of(Kind.DEFAULT_PRIVILEGES, "postgres", "TABLES"),
            on="TABLES",
            grants=(Grant("pg_monitor", "SELECT"),),
        ),
    ),
]


@pytest.mark.parametrize(("sql", "expected"), CASES, ids=[str(case[1].id) for case in CASES])
def test_an_object_is_read_as_it_was_made(read: Read, sql: str, expected: SchemaObject) -> None:
    found = read(sql).objects[expected.id]
    for each in fields(expected):  # also what is not compared
        if each.name not in {"needs", "position"} or (each.name == "position" and "position" in sql):
            assert getattr(found, each.name) == getattr(expected, each.name), each.name
    assert replace(found, needs=()) == expected


NEEDS: list[tuple[str, ObjectId, set[ObjectId]]] = [
    (T, of(COLUMN, "t", "a"), {of(TABLE, "t")}),
    (
        "CREATE TYPE e AS ENUM ('a'); CREATE TABLE t (a e[])",
        of(COLUMN, "t", "a"),
        {of(TABLE, "t"), of(Kind.ENUM, "e")},
    ),
    (
        "CREATE TYPE r AS RANGE (subtype = int); CREATE TABLE t (a r_multirange[])",
        of(COLUMN, "t", "a"),
        {of(TABLE, "t"), of(Kind.RANGE, "r")},
    ),
    (
        "CREATE TABLE o (a int); CREATE TABLE t (a o[])",
        of(COLUMN, "t", "a"),
        {of(TABLE, "t"), of(TABLE, "o")},
    ),
    (
        "CREATE TABLE t (a serial)",
        of(COLUMN, "t", "a"),
        {of(TABLE, "t"), of(Kind.SEQUENCE, "t_a_seq")},
    ),
    ("CREATE TABLE t (a serial)", of(Kind.SEQUENCE, "t_a_seq"), set()),
    (
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';"
        "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (f(a)) STORED)",
        of(COLUMN, "t", "b"),
        {of(TABLE, "t"), of(COLUMN, "t", "a"), of(Kind.FUNCTION, "f(integer)")},
    ),
    (
        "CREATE TABLE o (a int CONSTRAINT k UNIQUE); CREATE TABLE t (a int CONSTRAINT r REFERENCES o (a))",
        of(CONSTRAINT, "t", "r"),
        {of(TABLE, "t"), of(COLUMN, "t", "a"), of(COLUMN, "o", "a"), of(CONSTRAINT, "o", "k")},
    ),
    (
        "CREATE TABLE o (a int); CREATE UNIQUE INDEX i ON o (a);"
        "CREATE TABLE t (a int CONSTRAINT r REFERENCES o (a))",
        of(CONSTRAINT, "t", "r"),
        {of(TABLE, "t"), of(COLUMN, "t", "a"), of(COLUMN, "o", "a"), of(Kind.INDEX, "i")},
    ),
    (
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';"
        "CREATE TABLE t (a int, b int);"
        "CREATE INDEX i ON t (f(a)) WHERE b > 1",
        of(Kind.INDEX, "i"),
        {of(TABLE, "t"), of(COLUMN, "t", "a"), of(COLUMN, "t", "b"), of(Kind.FUNCTION, "f(integer)")},
    ),
    (
        T + "CREATE VIEW w AS SELECT a FROM t; CREATE VIEW v AS SELECT a FROM w",
        of(Kind.VIEW, "v"),
        {of(Kind.VIEW, "w")},
    ),
    (
        T + "CREATE MATERIALIZED VIEW m AS SELECT a FROM t; CREATE INDEX i ON m (a)",
        of(Kind.INDEX, "i"),
        {of(Kind.MATERIALIZED_VIEW, "m")},
    ),
    (
        T + "CREATE FUNCTION f() RETURNS SETOF t LANGUAGE sql BEGIN ATOMIC SELECT * FROM t; END",
        of(Kind.FUNCTION, "f()"),
        {of(TABLE, "t"), of(COLUMN, "t", "a"), of(COLUMN, "t", "b")},
    ),
    (
        T + "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE TRIGGER g AFTER UPDATE OF a ON t EXECUTE FUNCTION f()",
        of(Kind.TRIGGER, "t", "g"),
        {of(TABLE, "t"), of(COLUMN, "t", "a"), of(Kind.FUNCTION, "f()")},
    ),
    (
        "CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE INDEX i ON p (a);"
        "CREATE TABLE t PARTITION OF p DEFAULT",
        of(Kind.INDEX, "t_a_idx"),
        {of(TABLE, "t"), of(COLUMN, "t", "a"), of(Kind.INDEX, "i")},
    ),
    (
        "CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE TABLE t PARTITION OF p DEFAULT",
        of(TABLE, "t"),
        {of(TABLE, "p")},
    ),
    (
        "CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple);"
        'CREATE TEXT SEARCH CONFIGURATION c (PARSER = "default");'
        "ALTER TEXT SEARCH CONFIGURATION c ADD MAPPING FOR word WITH d",
        of(Kind.CONFIGURATION, "c"),
        {of(Kind.DICTIONARY, "d")},
    ),
    (
        "CREATE DOMAIN d AS int; CREATE DOMAIN e AS d CONSTRAINT k CHECK (VALUE > 0)",
        of(Kind.DOMAIN_CONSTRAINT, "e", "k"),
        {of(Kind.DOMAIN, "e")},
    ),
    ("CREATE DOMAIN d AS int; CREATE DOMAIN e AS d", of(Kind.DOMAIN, "e"), {of(Kind.DOMAIN, "d")}),
    (
        T + "CREATE FUNCTION f(int) RETURNS bool LANGUAGE sql AS 'SELECT true';"
        "CREATE POLICY p ON t USING (f(a))",
        of(Kind.POLICY, "t", "p"),
        {of(TABLE, "t"), of(COLUMN, "t", "a"), of(Kind.FUNCTION, "f(integer)")},
    ),
    (
        "CREATE EXTENSION pg_trgm SCHEMA public; CREATE TABLE t (a text);"
        "CREATE INDEX i ON t USING gin (a gin_trgm_ops)",
        of(Kind.INDEX, "i"),
        {of(TABLE, "t"), of(COLUMN, "t", "a"), of(Kind.EXTENSION, "pg_trgm")},
    ),
]


@pytest.mark.parametrize(
    ("sql", "id", "needs"), NEEDS, ids=[f"{place} {case[1]}" for place, case in enumerate(NEEDS)]
)
def test_an_object_needs_what_must_stand_before_it(
    read: Read, sql: str, id: ObjectId, needs: set[ObjectId]
) -> None:
    found = read(sql).objects[id].needs
    assert set(found) == needs
    assert list(found) == sorted(found)
