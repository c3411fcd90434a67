"""A whole schema read at once: copies read the same, nothing is passed over, nothing is changed."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import pytest

from database_handler import MigrationManager
from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.ddl import create_tables, tables_of
from database_handler.core.exceptions import MigrationError
from database_handler.core.parameters import Parameters
from database_handler.core.session import Reply, Session, Statement
from database_handler.core.transaction import Transaction, TransactionOptions
from database_handler.embedded import EmbeddedServer
from database_handler.migrations.errors import SchemaInMotion, UnknownSchema
from database_handler.migrations.schema.introspection import introspect, take_snapshot
from database_handler.migrations.schema.snapshot import (
    Column,
    Kind,
    ObjectId,
    SchemaObject,
    SchemaSnapshot,
    Table,
    Trigger,
    Unmodelled,
)
from database_handler.models import ENTITIES
from tests.support.servers import FURTHER, Server

RICH = """
CREATE TYPE mood AS ENUM ('sad', 'o''k', 'happy');
CREATE TYPE "Odd Type" AS ("First Part" integer, b text COLLATE "C", m mood);
CREATE DOMAIN positive AS integer DEFAULT 1 NOT NULL CONSTRAINT over_zero CHECK (VALUE > 0);
CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = float8mi, multirange_type_name = spans);
CREATE SEQUENCE numbers AS integer START 5 INCREMENT 2 MAXVALUE 1000 CACHE 3 CYCLE;
CREATE FUNCTION twice(n integer, times integer DEFAULT 2) RETURNS integer LANGUAGE sql IMMUTABLE
    RETURN n * times;
CREATE FUNCTION secure() RETURNS text LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO current_schema_here, pg_temp AS
    $$ BEGIN RETURN 'SET search_path TO x'; END $$;
CREATE TABLE people (
    id bigint GENERATED ALWAYS AS IDENTITY (START 10) PRIMARY KEY,
    name text NOT NULL COLLATE "C",
    "E-mail" text UNIQUE DEFERRABLE INITIALLY DEFERRED,
    feeling mood DEFAULT 'happy',
    feelings mood[],
    size positive,
    place "Odd Type",
    bounds span, more spans,
    number integer DEFAULT nextval('numbers'),
    doubled integer GENERATED ALWAYS AS (twice(number)) STORED,
    body text,
    CONSTRAINT people_name_check CHECK (name <> ''),
    CONSTRAINT people_filled UNIQUE NULLS NOT DISTINCT (name, number) INCLUDE (body) WITH (fillfactor = 70)
) WITH (fillfactor = 90, toast.autovacuum_enabled = false);
ALTER TABLE people ALTER body SET STORAGE EXTERNAL, ALTER body SET STATISTICS 50,
    ALTER body SET (n_distinct = 5);
CREATE TABLE serials (
    id serial PRIMARY KEY, person bigint REFERENCES people ON DELETE CASCADE, friend people);
ALTER TABLE serials ADD CONSTRAINT later CHECK (id > 5) NOT VALID;
ALTER TABLE serials ADD CONSTRAINT nobody EXCLUDE USING btree (person WITH =) WHERE (id > 7);
ALTER TABLE serials REPLICA IDENTITY FULL;
CREATE UNLOGGED TABLE logs (day date NOT NULL, note text, CHECK (note <> 'x'));
CREATE TABLE parts (id integer, day date, owner bigint REFERENCES people, PRIMARY KEY (id, day))
    PARTITION BY RANGE (day);
CREATE TABLE parts_2024 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')
    PARTITION BY LIST (id);
CREATE TABLE parts_2024_1 PARTITION OF parts_2024 FOR VALUES IN (1, 2);
CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
CREATE INDEX parts_day ON parts (day);
CREATE TABLE points (part integer, day date, FOREIGN KEY (part, day) REFERENCES parts);
CREATE TABLE child (extra text) INHERITS (logs);
CREATE UNIQUE INDEX "People Lower" ON people (lower(name) text_pattern_ops DESC, number) INCLUDE (body)
    NULLS NOT DISTINCT WITH (fillfactor = 50) WHERE number > 3;
CREATE INDEX people_trgm ON people USING gin (body gin_trgm_ops);
CREATE INDEX logs_brin ON logs USING brin (day);
CLUSTER people USING people_pkey;
CREATE VIEW grown WITH (security_barrier = true) AS
    SELECT p.id, p.name, twice(p.number) AS twice, p.feeling FROM people p WHERE p.number > 3
    WITH LOCAL CHECK OPTION;
CREATE VIEW above AS SELECT g.*, (SELECT count(*) FROM logs), similarity(name, 'a') FROM grown g;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n, feeling FROM people GROUP BY feeling WITH NO DATA;
CREATE UNIQUE INDEX totals_idx ON totals (feeling);
CREATE PROCEDURE tidy(INOUT n integer, "Odd" text) LANGUAGE sql
    BEGIN ATOMIC DELETE FROM logs WHERE note = "Odd"; SELECT 1; END;
CREATE FUNCTION rows_of() RETURNS SETOF people LANGUAGE sql AS 'SELECT * FROM people';
CREATE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0', COMBINEFUNC = int4pl);
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER "Noted One" BEFORE UPDATE OF name, body ON people FOR EACH ROW
    WHEN (OLD.name <> NEW.name) EXECUTE FUNCTION noted('a', ' ON people ');
CREATE CONSTRAINT TRIGGER checked AFTER INSERT ON serials DEFERRABLE FOR EACH ROW EXECUTE FUNCTION noted();
CREATE TRIGGER parted AFTER INSERT ON parts FOR EACH ROW EXECUTE FUNCTION noted();
CREATE RULE quiet AS ON DELETE TO logs WHERE OLD.note = 'kept' DO INSTEAD NOTHING;
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON people AS RESTRICTIVE FOR UPDATE USING (name = current_user)
    WITH CHECK (twice(number) > 2);
CREATE STATISTICS people_stats (ndistinct, mcv) ON name, (number + 1) FROM people;
CREATE TEXT SEARCH DICTIONARY plain (TEMPLATE = simple, stopwords = english, Accept = false);
CREATE TEXT SEARCH CONFIGURATION words (COPY = simple);
ALTER TEXT SEARCH CONFIGURATION words ALTER MAPPING FOR asciiword WITH plain, english_stem;
COMMENT ON TABLE people IS 'all of them';
COMMENT ON COLUMN people.name IS 'as written';
COMMENT ON COLUMN grown.id IS 'of people';
GRANT SELECT, INSERT ON people TO PUBLIC;
GRANT ALL ON logs TO pg_monitor WITH GRANT OPTION;
GRANT UPDATE (name) ON people TO pg_monitor;
REVOKE EXECUTE ON FUNCTION twice FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA current_schema_here GRANT SELECT ON TABLES TO PUBLIC;
"""
OTHERS = """
CREATE COLLATION german (locale = 'C');
CREATE FUNCTION alike(mood, mood) RETURNS boolean LANGUAGE sql RETURN $1 = $2;
CREATE OPERATOR === (LEFTARG = mood, RIGHTARG = mood, FUNCTION = alike);
CREATE CAST (mood AS integer) WITH INOUT;
CREATE OPERATOR FAMILY kin USING btree;
CREATE FUNCTION compared(mood, mood) RETURNS integer LANGUAGE sql RETURN 0;
CREATE OPERATOR CLASS odd FOR TYPE mood USING hash AS OPERATOR 1 ===;
CREATE CONVERSION swapped FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1;
CREATE TEXT SEARCH TEMPLATE shaped (LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH PARSER parsed (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end,
    LEXTYPES = prsd_lextype);
CREATE TYPE unfinished;
CREATE TABLE typed OF "Odd Type";
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER far FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE away (a integer) SERVER far;
CREATE FUNCTION watched() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watching ON ddl_command_end EXECUTE FUNCTION watched();
CREATE PUBLICATION told FOR TABLE people;
COMMENT ON INDEX people_pkey IS 'i';
GRANT USAGE ON SEQUENCE people_id_seq TO PUBLIC;
"""
UNMODELLED = {
    "base type": set(),
    "cast": {"mood AS integer"},
    "collation": {"german"},
    "comment of a part": {"people_pkey"},
    "conversion": {"swapped"},
    "event trigger": {"watching"},
    "foreign table": {"away"},
    "operator": {"===(mood,mood)"},
    "operator class": {"odd"},
    "operator family": {"kin", "odd"},
    "privileges on the sequence of an identity column": {"people_id_seq"},
    "publication of a table": {"told: people"},
    "shell type": {"unfinished"},
    "text search parser": {"parsed"},
    "text search template": {"shaped"},
    "type of a typed table": {"typed"},
}


@contextmanager
def undone(config: DatabaseConfig, **options: Any) -> Iterator[Session]:
    """A transaction that is never committed."""
    transaction = Transaction(lambda: dedicated(config), TransactionOptions(**options))
    try:
        yield transaction.session
    finally:
        transaction.rollback()


def built(session: Session, schema: str, sql: str) -> SchemaSnapshot:
    """Make a schema of that name, run `sql` in it, and read it."""
    session.script(f"CREATE SCHEMA {schema}")
    return filled(session, schema, sql)


def filled(session: Session, schema: str, sql: str) -> SchemaSnapshot:
    session.script("CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public")
    session.script(f"SET LOCAL search_path TO {schema}, public")
    session.script(sql.replace("current_schema_here", schema))
    return introspect(session)


def of_copy(config: DatabaseConfig, schema: str, sql: str = RICH) -> SchemaSnapshot:
    with undone(config) as session:
        return built(session, schema, sql)


def everything(snapshot: SchemaSnapshot) -> list[tuple[Any, ...]]:
    """All that a snapshot says, also what is not compared."""
    return [tuple(getattr(each, field.name) for field in fields(each)) for each in snapshot]


ROLES = ("PUBLIC", "pg_monitor")


@pytest.fixture(scope="module")
def rich(server: EmbeddedServer) -> SchemaSnapshot:
    return of_copy(server.config, "scratch")


# -------------------------------------------------------------------------------------------------- copies


@pytest.mark.parametrize("schema", ["plain", '"Odd. ""Name"" %s"', "people", '"pg-temp"', '"schön"'])
def test_two_schemas_made_by_one_text_read_the_same(
    server: EmbeddedServer, rich: SchemaSnapshot, schema: str
) -> None:
    copy = of_copy(server.config, schema)
    assert everything(copy) == everything(rich)
    assert (copy, copy.fingerprint, copy.unmodelled) == (rich, rich.fingerprint, ())


def test_a_trigger_is_read_without_its_schema_where_two_functions_have_one_name(
    server: EmbeddedServer,
) -> None:
    sql = """
    CREATE TABLE t (a int);
    CREATE FUNCTION "Do It"() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE FUNCTION "Do It"(a int DEFAULT 1) RETURNS int LANGUAGE sql RETURN a;
    CREATE TRIGGER touch AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION "Do It"('one');
    """
    first, second = (of_copy(server.config, schema, sql) for schema in ("scratch", "other"))
    assert first == second
    [trigger] = [each for each in first if isinstance(each, Trigger)]
    assert trigger.definition.endswith(""" EXECUTE FUNCTION "Do It"('one')""")


def test_the_schema_that_holds_the_extensions_reads_as_its_copy_does(
    config: DatabaseConfig, rich: SchemaSnapshot
) -> None:
    with undone(config) as session:
        real = filled(session, "public", RICH)
    assert everything(real) == everything(rich)


def test_the_migrated_schema_is_read_as_the_models_tables_are(config: DatabaseConfig) -> None:
    MigrationManager(config).migrate()
    real = take_snapshot(config)
    of_no_model = ("database_handler_migrations", "database_handler_keys")
    own = real.without(lambda each: each.id.name.startswith(of_no_model))
    with undone(config) as session:
        session.script("CREATE SCHEMA scratch; SET LOCAL search_path TO scratch, public")
        session.script(create_tables(tables_of(ENTITIES)))
        built = introspect(session)
    assert own == built
    assert (own.fingerprint, real.unmodelled, built.unmodelled) == (built.fingerprint, (), ())
    assert {each.id.name for each in own if isinstance(each, Table)} == {
        model.table.name for model in ENTITIES
    }


def test_the_order_of_declarations_does_not_matter(server: EmbeddedServer) -> None:
    seed = random.randrange(10**9)
    print("seed", seed)  # noqa: T201  # shown where the test fails
    chance = random.Random(seed)
    tables = []
    for name in "abcde":
        columns = [f"{name}{place} {type}" for place, type in enumerate(("int", "text", "date", "uuid"))]
        columns += [f"CONSTRAINT {name}_check CHECK ({name}0 > 0)", f"UNIQUE ({name}1)"]
        tables.append((name, columns))
    rest = [f"CREATE INDEX {name}_{place} ON {name} ({name}{place})" for name in "abcde" for place in (2, 3)]
    rest += [f"CREATE STATISTICS {name}_s ON {name}1, {name}3, {name}0 FROM {name}" for name in "abc"]
    rest += [f"COMMENT ON TABLE {name} IS '{name}'" for name in "abc"]
    rest += [
        f"GRANT {what} ON a TO {who}" for what in ("SELECT", "INSERT") for who in ("PUBLIC", "pg_monitor")
    ]

    def shuffled() -> str:
        chance.shuffle(tables)
        chance.shuffle(rest)
        for _, columns in tables:
            chance.shuffle(columns)
        made = [f"CREATE TABLE {name} ({', '.join(columns)})" for name, columns in tables]
        return ";".join(made + rest)

    first, second = (of_copy(server.config, "scratch", shuffled()) for _ in range(2))
    assert first == second
    assert list(first.objects) == list(second.objects)
    assert first.fingerprint == second.fingerprint


# ------------------------------------------------------------------------------------------- other servers


@pytest.mark.parametrize("name", FURTHER)
def test_every_server_tells_the_same(
    name: str, rich: SchemaSnapshot, servers: Callable[[str], Server]
) -> None:
    other = of_copy(servers(name).config, "scratch")
    if other.server_version >= 160000:
        assert everything(other) == everything(rich)
    # Up to 15 the server writes the columns of a view with their table.
    views = (Kind.VIEW, Kind.MATERIALIZED_VIEW)
    assert [each for each in other if each.id.kind not in views] == [
        each for each in rich if each.id.kind not in views
    ]
    assert list(other.objects) == list(rich.objects)


# --------------------------------------------------------------------------------- nothing is passed over


def test_what_is_not_modelled_is_told(server: EmbeddedServer) -> None:
    found = of_copy(server.config, "scratch", RICH + OTHERS).unmodelled
    told: dict[str, set[str]] = {kind: set() for kind in UNMODELLED}
    for each in found:
        told[each.kind].add(each.name)
    assert told == UNMODELLED
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("CREATE TABLE pg_class (a int)", Unmodelled("name that a built-in one hides", "pg_class")),
        (
            "CREATE FUNCTION lower(text) RETURNS text LANGUAGE sql RETURN $1",
            Unmodelled("name that a built-in one hides", "lower(text)"),
        ),
        (
            "CREATE TABLE t (a int, CONSTRAINT k NOT NULL a NO INHERIT)",
            Unmodelled("NOT NULL that is not valid, or not inherited", "t.k"),
        ),
        (
            "CREATE TABLE t (a int CONSTRAINT k NOT NULL); COMMENT ON CONSTRAINT k ON t IS 'c'",
            Unmodelled("comment of a part", "k"),
        ),
        (
            "CREATE TYPE c AS (a int); COMMENT ON COLUMN c.a IS 'c'",
            Unmodelled("comment of a part", "c.a"),
        ),
        (
            "CREATE PUBLICATION p FOR TABLES IN SCHEMA current_schema_here",
            Unmodelled("publication of the schema", "p"),
        ),
    ],
)
def test_a_thing_that_is_not_modelled_is_told(server: EmbeddedServer, sql: str, told: Unmodelled) -> None:
    assert told in of_copy(server.config, "scratch", sql).unmodelled


# Every object that stands in the schema or belongs to one that does, by the server's own account of
# dependencies, with what the server makes by itself for others left out.
_ALL = """
    WITH RECURSIVE found(classid, objid) AS (
        SELECT classid, objid FROM pg_depend
        WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'scratch'::regnamespace
        UNION SELECT d.classid, d.objid FROM found JOIN pg_depend AS d
              ON d.refclassid = found.classid AND d.refobjid = found.objid
    )
    SELECT told.type, told.object_names, told.object_args FROM found,
           pg_identify_object_as_address(found.classid, found.objid, 0) AS told
    WHERE NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = found.classid AND d.objid = found.objid
                      AND d.deptype = 'i' AND d.refclassid <> 'pg_namespace'::regclass
                      AND d.classid <> 'pg_class'::regclass)
      AND NOT (found.classid = 'pg_constraint'::regclass
               AND (SELECT contype FROM pg_constraint WHERE oid = found.objid) = 'n')
      AND told.object_names[1] <> 'pg_toast'
"""


def test_no_object_of_any_kind_is_silently_missing(server: EmbeddedServer) -> None:
    with undone(server.config) as session:
        snapshot = built(session, "scratch", RICH + OTHERS)
        everything_there = session.all(Statement(_ALL, "test"))
    names = [_bare(each.id.part or each.id.name) for each in snapshot]
    names += [_bare(each.name.rpartition(": ")[2]) for each in snapshot.unmodelled]
    names += [
        _bare(each.identity.sequence) for each in snapshot if isinstance(each, Column) and each.identity
    ]
    names += [_bare(part) for each in snapshot.unmodelled for part in each.name.split(" AS ")]
    assert len(everything_there) > 80
    missing = [
        (kind, words)
        for kind, words, _ in everything_there
        if kind not in _PARTS_OF_OTHERS and _bare(words[-1]) not in names
    ]
    assert missing == []


# Defaults are their columns', rules of views the views'; casts and operators' members have no names.
_PARTS_OF_OTHERS = {
    "default value",
    "cast",
    "operator of access method",
    "function of access method",
    "publication relation",
    "toast table",
    "default acl",
}


def _bare(name: str) -> str:
    return name.split("(", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1].strip('"').replace('""', '"')


# ---------------------------------------------------------------------------------------------- how it reads


PATH = Statement("SELECT current_setting('search_path')", "test")


def test_reading_leaves_the_session_as_it_was(config: DatabaseConfig) -> None:
    with undone(config) as session:
        session.script(
            "CREATE SCHEMA app; CREATE TABLE app.t (a int); SET LOCAL search_path TO app, pg_catalog"
        )
        assert ObjectId(Kind.TABLE, "t") in introspect(session).objects
        assert ObjectId(Kind.TABLE, "t") not in introspect(session, "public").objects
        assert session.one(PATH) == ("app, pg_catalog",)
        session.script("CREATE TABLE still (a int)")
        assert ObjectId(Kind.TABLE, "still") in introspect(session, "app").objects


def test_a_read_only_transaction_is_enough(config: DatabaseConfig, session: Session) -> None:
    session.script("CREATE TABLE t (a int)")
    with undone(config, read_only=True, isolation="repeatable read") as reader:
        first = introspect(reader, "public")
        session.script("CREATE TABLE later (a int)")
        assert introspect(reader, "public") == first
    assert introspect(session) == introspect(session, "public") == take_snapshot(config)
    assert ObjectId(Kind.TABLE, "later") in take_snapshot(config).objects


def test_a_role_that_owns_nothing_reads_the_same(config: DatabaseConfig) -> None:
    with undone(config) as session:
        own = built(session, "scratch", RICH)
        session.script(
            "CREATE ROLE onlooker; GRANT USAGE ON SCHEMA scratch TO onlooker;SET LOCAL ROLE onlooker"
        )
        seen = introspect(session, "scratch")
    assert seen == own
    assert {each.owner for each in own} == {""}
    assert seen.objects[ObjectId(Kind.TABLE, "people")].owner == "postgres"


@pytest.mark.parametrize("schema", ["missing", ["public", "missing"], 'no "such"'])
def test_a_schema_that_is_not_there_is_named(config: DatabaseConfig, schema: str | list[str]) -> None:
    with pytest.raises(UnknownSchema, match=r"no schema (missing|no \"such\") in this database"):
        take_snapshot(config, schema)


def test_no_schema_at_all_is_told(config: DatabaseConfig) -> None:
    with undone(config) as session:
        session.script("SET LOCAL search_path TO nowhere")
        with pytest.raises(UnknownSchema, match="name the schema to read"):
            introspect(session)


MOVES = (
    "DROP INDEX i",
    "DROP VIEW v",
    "DROP TRIGGER g ON t",
    "DROP FUNCTION f() CASCADE",
    "DROP STATISTICS s",
    "DROP TABLE t CASCADE",
    "ALTER TABLE t DROP COLUMN b CASCADE",
    "ALTER TABLE t RENAME TO u",
    "DROP SCHEMA public CASCADE",
)


def test_a_schema_that_is_changed_while_it_is_read_is_told(config: DatabaseConfig, session: Session) -> None:
    for move in MOVES:
        session.script(
            "DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public; CREATE TABLE t (a int, b text);"
            "CREATE INDEX i ON t (b); CREATE VIEW v AS SELECT * FROM t; CREATE STATISTICS s ON a, b FROM t;"
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END';"
            "CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f()"
        )
        with undone(config, read_only=True, isolation="repeatable read") as reader:
            reader.all(Statement("SELECT FROM pg_class LIMIT 1", "test"))  # what it sees is settled here
            session.script(move)
            with pytest.raises(SchemaInMotion, match="read it again"):
                introspect(reader, "public")
            if move == "DROP INDEX i":  # where the server itself saw no error, the transaction goes on
                assert reader.one(PATH) == ('"$user", public',)
    session.script("CREATE SCHEMA public")
    assert list(take_snapshot(config)) == []


def test_several_schemas_are_read_with_qualified_names(server: EmbeddedServer) -> None:
    with undone(server.config) as session:
        session.script("CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public")
        session.script(
            "CREATE SCHEMA a; CREATE SCHEMA \"B\"; COMMENT ON SCHEMA a IS 'first';"
            "GRANT USAGE ON SCHEMA a TO PUBLIC;"
            "CREATE TABLE a.t (a int PRIMARY KEY);"
            'CREATE TABLE "B".t (a int REFERENCES a.t, b text);'
            'CREATE INDEX i ON "B".t USING gin (b public.gin_trgm_ops);'
            'CREATE VIEW a.v AS SELECT b FROM "B".t'
        )
        snapshot = introspect(session, ["a", "B"])
    key = snapshot.objects[ObjectId(Kind.CONSTRAINT, '"B".t', "t_a_fkey")]
    assert getattr(key, "definition", "") == "FOREIGN KEY (a) REFERENCES a.t(a)"
    assert ObjectId(Kind.CONSTRAINT, "a.t", "t_pkey") in key.needs
    index = snapshot.objects[ObjectId(Kind.INDEX, '"B".i')]
    assert getattr(index, "definition", "") == 'ON "B".t USING gin (b public.gin_trgm_ops)'
    first = snapshot.objects[ObjectId(Kind.SCHEMA, "a")]
    assert (first.comment, len(first.grants or ())) == ("first", 2)
    assert ObjectId(Kind.SCHEMA, '"B"') in snapshot.objects[ObjectId(Kind.TABLE, '"B".t')].needs


class Counting(Transaction):
    """A transaction that counts its messages."""

    count = 0

    def send(self, statement: Statement, parameters: Parameters = None) -> Reply:
        self.count += 1
        return super().send(statement, parameters)


def test_the_number_of_questions_does_not_grow_with_the_schema(server: EmbeddedServer) -> None:
    counts = []
    for tables in (1, 40):
        transaction = Counting(lambda: dedicated(server.config))
        built(transaction.session, "scratch", ";".join(map(_MANY.format, range(tables))))
        before = transaction.count
        snapshot = introspect(transaction.session)
        counts.append(transaction.count - before)
        transaction.rollback()
        assert len([each for each in snapshot if each.id.kind is Kind.TABLE]) == tables
    assert counts[0] == counts[1] < 25


_MANY = """
    CREATE TABLE t{0} (a serial PRIMARY KEY, b int REFERENCES t{0}); CREATE INDEX ON t{0} (b);
    CREATE VIEW v{0} AS SELECT * FROM t{0}; CREATE FUNCTION f{0}() RETURNS int LANGUAGE sql RETURN 1;
    CREATE TYPE e{0} AS ENUM ('a'); COMMENT ON TABLE t{0} IS 'x'
"""


LARGE = """
CREATE TABLE t0 (id bigint PRIMARY KEY, a int, b int, c int, d int, e int, f int, g int, h int, i int);
CREATE INDEX ON t0 (a); CREATE INDEX ON t0 (b); CREATE INDEX ON t0 (c, d);
DO $$ BEGIN
    FOR n IN 1..499 LOOP EXECUTE format('CREATE TABLE t%s (LIKE t0 INCLUDING ALL)', n); END LOOP;
END $$
"""


def test_five_hundred_tables_are_read_in_less_than_half_a_second(server: EmbeddedServer) -> None:
    """Half of the thousand that has to be read in a second: they cost less to make, and as much for each."""
    with undone(server.config) as session:
        session.script(f"CREATE SCHEMA large; SET LOCAL search_path TO large; {LARGE}")
        started = time.process_time()
        found = introspect(session)
        spent = time.process_time() - started  # of ours: other work on the machine is not in it
    kinds = Counter(each.id.kind for each in found)
    assert (kinds[Kind.TABLE], kinds[Kind.COLUMN], kinds[Kind.INDEX]) == (500, 5000, 1500)
    assert spent < 0.5


def test_dropping_what_nothing_needs_never_meets_a_refusal(server: EmbeddedServer) -> None:
    with undone(server.config) as session:
        snapshot = built(session, "scratch", RICH)
        needed = {need for each in snapshot for need in each.needs}
        free = [
            each
            for each in snapshot
            if each.id not in needed and each.id.kind in _DROPS and not getattr(each, "parent", None)
        ]
        assert len(free) > 5
        for each in free:
            session.script(f"{_DROPS[each.id.kind]} {each.id.name}")
        left = introspect(session)
    gone = {each.id for each in free}
    assert list(left.objects) == [id for id in snapshot.objects if id not in gone]


_DROPS = {
    Kind.VIEW: "DROP VIEW",
    Kind.INDEX: "DROP INDEX",
    Kind.CONFIGURATION: "DROP TEXT SEARCH CONFIGURATION",
    Kind.STATISTICS: "DROP STATISTICS",
    Kind.DOMAIN: "DROP DOMAIN",
    Kind.ENUM: "DROP TYPE",
    Kind.SEQUENCE: "DROP SEQUENCE",
}


# ------------------------------------------------------------------------------------------------- the value


def test_a_snapshot_goes_through_json_unchanged(rich: SchemaSnapshot) -> None:
    text = rich.to_json()
    back = SchemaSnapshot.from_json(text)
    assert everything(back) == everything(rich)
    assert [type(each) for each in back] == [type(each) for each in rich]
    assert (back, back.server_version, back.to_json()) == (rich, rich.server_version, text)
    assert back.fingerprint == rich.fingerprint


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"format":1', '"format":99'),
        lambda text: text.replace('["table",', '["tabel",'),
        lambda text: text.replace('"type":"text"', '"typo":"text"'),
        lambda text: text.replace('"position":1,', '"position":"one",'),
    ],
)
def test_other_text_is_no_snapshot(rich: SchemaSnapshot, damage: Callable[[str], str]) -> None:
    with pytest.raises(MigrationError, match="no snapshot of format 1"):
        SchemaSnapshot.from_json(damage(rich.to_json()))


def test_any_change_changes_the_fingerprint_and_what_is_not_compared_does_not(rich: SchemaSnapshot) -> None:
    seen = {rich.fingerprint}
    for each in rich:
        changed: SchemaObject = replace(each, comment=f"{each.comment}?")
        other = rich.overlaid({each.id: changed})
        assert other != rich
        seen.add(other.fingerprint)
        same = rich.overlaid({each.id: replace(each, owner="somebody", needs=())})
        assert same == rich
        assert same.fingerprint == rich.fingerprint
    assert len(seen) == len(rich) + 1


def test_without_takes_objects_and_the_needs_of_them(rich: SchemaSnapshot) -> None:
    mood = ObjectId(Kind.ENUM, "mood")
    left = rich.without(lambda each: each.id == mood)
    assert set(rich.objects) - set(left.objects) == {mood}
    assert not any(mood in each.needs for each in left)
    assert any(mood in each.needs for each in rich)
