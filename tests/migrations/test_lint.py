"""Each rule finds the bad file with its line, and not the safe one; hostile text misleads none of them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.embedded import EmbeddedServer
from database_handler.migrations.files.migration import parse, read_folder
from database_handler.migrations.files.migration_values import Migration
from database_handler.migrations.safety.lint import RULES, Finding, LintReport, lint
from database_handler.migrations.safety.measuring import measure
from database_handler.migrations.schema.snapshot import SchemaSnapshot
from tests.migrations.conftest import run_alone
from tests.support.schemas import OLD, Scratch

VERSIONS = Path(__file__).resolve().parents[2] / "database_handler" / "migrations" / "versions"

TABLES = """
CREATE TABLE projects (id int PRIMARY KEY, name text);
CREATE TABLE notes (
    id int PRIMARY KEY, project int, body text, code varchar(10), n int, derived text
        GENERATED ALWAYS AS (upper(body)) STORED,
    CONSTRAINT notes_n CHECK (n IS NOT NULL)
);
CREATE INDEX notes_body ON notes (body);
CREATE INDEX notes_some ON notes (project) WHERE project > 5;
CREATE TABLE p (a int, b int) PARTITION BY LIST (a);
CREATE TYPE mood AS ENUM ('ok');
CREATE VIEW bodies AS SELECT id, body FROM notes;
CREATE FUNCTION steady() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
CREATE FUNCTION drifting() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
"""


@pytest.fixture(scope="module")
def place(server: EmbeddedServer) -> Iterator[DatabaseConfig]:
    run_alone(server.config, "CREATE DATABASE linted STRATEGY file_copy")
    yield server.config.with_(name="linted")
    run_alone(server.config, "DROP DATABASE linted WITH (FORCE)")


@pytest.fixture(scope="module")
def before(place: DatabaseConfig) -> SchemaSnapshot:
    with Scratch(place) as scratch:
        scratch.session.script(f"CREATE SCHEMA {OLD}")
        scratch.run(OLD, TABLES)
        return scratch.snapshot(OLD)


def migration(text: str) -> Migration:
    head, marker, _ = text.partition("-- migrate:")
    marked = marker and all(line.startswith("--") for line in head.splitlines() if line.strip())
    return parse(Path("0001_linted.sql"), (text if marked else f"-- migrate: up\n{text}").encode())


def rules(report: LintReport) -> list[str]:
    return [finding.rule for finding in report.findings if finding.level == "error"]


class Bad(NamedTuple):
    """A text that a rule finds something in, once; and one that does the same without."""

    rule: str
    bad: str
    good: str = ""
    line: int = 2


ALONE = "-- migrate: up, no transaction\n"
UP = "-- migrate: up\n"
BATCHED = "-- migrate: up, batched\n"

FOUND = [
    Bad(
        "index-not-concurrent",
        "CREATE INDEX x ON notes (n);",
        ALONE + "CREATE INDEX CONCURRENTLY x ON notes (n);",
    ),
    Bad("index-not-concurrent", "DROP INDEX notes_body;", ALONE + "DROP INDEX CONCURRENTLY notes_body;"),
    Bad("index-not-concurrent", "REINDEX TABLE notes;", ALONE + "REINDEX TABLE CONCURRENTLY notes;"),
    Bad("index-not-concurrent", "CREATE INDEX x ON p (a);", "CREATE INDEX x ON ONLY p (a);"),
    Bad(
        "constraint-validated-at-once",
        "ALTER TABLE notes ADD CONSTRAINT x CHECK (n > 0);",
        "ALTER TABLE notes ADD CONSTRAINT x CHECK (n > 0) NOT VALID;\n"
        + UP
        + "ALTER TABLE notes VALIDATE CONSTRAINT x;",
    ),
    Bad(
        "constraint-validated-at-once",
        "ALTER TABLE notes ADD CONSTRAINT x FOREIGN KEY (body) REFERENCES other;",
        "ALTER TABLE notes ADD CONSTRAINT x FOREIGN KEY (body) REFERENCES other NOT VALID;",
    ),
    Bad(
        "constraint-validated-at-once",
        "ALTER TABLE notes ADD COLUMN x int CHECK (x > 0);",
        "ALTER TABLE notes ADD COLUMN x int;",
    ),
    Bad(
        "set-not-null-scan",
        "ALTER TABLE notes\n  ALTER COLUMN body SET NOT NULL;",
        "ALTER TABLE notes ALTER COLUMN n SET NOT NULL;",
        3,
    ),
    Bad(
        "set-not-null-scan",
        "ALTER TABLE notes ALTER body SET NOT NULL;",
        "ALTER TABLE notes ADD CONSTRAINT x CHECK (body IS NOT NULL) NOT VALID;\n"
        + UP
        + "ALTER TABLE notes VALIDATE CONSTRAINT x;\n"
        + UP
        + "ALTER TABLE notes ALTER COLUMN body SET NOT NULL;\nALTER TABLE notes DROP CONSTRAINT x;",
    ),
    Bad(
        "unique-builds-index",
        "ALTER TABLE notes ADD UNIQUE (body);",
        "ALTER TABLE notes ADD CONSTRAINT x UNIQUE USING INDEX notes_body;",
    ),
    Bad("unique-builds-index", "ALTER TABLE notes ADD CONSTRAINT x EXCLUDE (body WITH =);"),
    Bad("unique-builds-index", "ALTER TABLE notes ADD COLUMN x int UNIQUE;"),
    Bad(
        "add-column-rewrite",
        "ALTER TABLE notes ADD x uuid DEFAULT gen_random_uuid();",
        "ALTER TABLE notes ADD x timestamptz DEFAULT now();",
    ),
    Bad(
        "add-column-rewrite",
        "ALTER TABLE notes ADD x int DEFAULT drifting();",
        "ALTER TABLE notes ADD x int DEFAULT steady();",
    ),
    Bad("add-column-rewrite", "ALTER TABLE notes ADD x bigint GENERATED BY DEFAULT AS IDENTITY;"),
    Bad(
        "add-column-rewrite",
        "ALTER TABLE notes ADD x int GENERATED ALWAYS AS (n + 1) STORED;",
        "ALTER TABLE notes ADD x int GENERATED ALWAYS AS (n + 1) VIRTUAL;",
    ),
    Bad(
        "add-column-not-null",
        "ALTER TABLE notes ADD x int NOT NULL;",
        "ALTER TABLE notes ADD x int DEFAULT 7 NOT NULL;",
    ),
    Bad(
        "type-change-rewrite",
        "ALTER TABLE notes ALTER n TYPE bigint;",
        "ALTER TABLE notes ALTER code TYPE varchar(20);",
    ),
    Bad("type-change-rewrite", 'ALTER TABLE notes ALTER body SET DATA TYPE text COLLATE "C";'),
    Bad(
        "type-change-rewrite",
        "ALTER TABLE notes ALTER code TYPE varchar(5);",
        "ALTER TABLE notes ALTER code TYPE text;",
    ),
    Bad("table-rewrite", "ALTER TABLE notes SET UNLOGGED;", "ALTER TABLE notes SET (fillfactor = 50);"),
    Bad("table-rewrite", ALONE + "VACUUM (FULL) notes;", ALONE + "VACUUM notes;"),
    Bad("table-rewrite", "CLUSTER notes USING notes_body;", "ALTER TABLE notes CLUSTER ON notes_body;"),
    Bad(
        "several-tables-locked",
        "ALTER TABLE notes ADD x int;\nALTER TABLE projects ADD x int;",
        f"ALTER TABLE notes ADD x int;\n{UP}ALTER TABLE projects ADD x int;",
        3,
    ),
    Bad(
        "scan-under-lock",
        "ALTER TABLE notes ADD x int;\n\nUPDATE notes SET x = 1 WHERE id = 7;",
        f"ALTER TABLE notes ADD x int;\n{UP}UPDATE notes SET x = 1 WHERE id = 7;",
        4,
    ),
    Bad(
        "scan-under-lock",
        "ALTER TABLE notes ADD CHECK (n > 1) NOT VALID,\n  VALIDATE CONSTRAINT x;\nALTER TABLE notes\n"
        "  VALIDATE CONSTRAINT notes_check;",
        line=5,
    ),
    Bad(
        "whole-table-write",
        "UPDATE notes SET body = '';",
        BATCHED + "UPDATE notes SET body = '' WHERE id IN (SELECT id FROM notes WHERE body IS NULL LIMIT 9);",
    ),
    Bad(
        "whole-table-write",
        "WITH x AS (SELECT 1 WHERE true) DELETE FROM notes;",
        "DELETE FROM notes WHERE id = 1;",
    ),
    Bad("drop-data", "DROP TABLE IF EXISTS notes;", "CREATE TABLE x (a int); DROP TABLE x;"),
    Bad("drop-data", "ALTER TABLE notes DROP body;", "ALTER TABLE notes DROP COLUMN derived;"),
    Bad("drop-data", "TRUNCATE notes;"),
    Bad("drop-in-use", "DROP VIEW bodies;", "DROP VIEW bodies; CREATE VIEW bodies AS SELECT 1 AS id;"),
    Bad("drop-in-use", "DROP FUNCTION steady();"),
    Bad("rename-in-use", "ALTER TABLE notes RENAME body TO text;", "ALTER INDEX notes_body RENAME TO x;"),
    Bad("rename-in-use", "ALTER TABLE notes RENAME TO notices;"),
    Bad("rename-in-use", "ALTER VIEW bodies RENAME TO texts;"),
    Bad("rename-in-use", "ALTER TYPE mood RENAME TO moods;", "ALTER TYPE mood RENAME VALUE 'ok' TO 'fine';"),
    Bad("drop-cascade", "ALTER TABLE notes DROP CONSTRAINT notes_n CASCADE;"),
    Bad(
        "enum-value-used",
        "ALTER TYPE mood ADD VALUE 'sad';\nINSERT INTO moods VALUES ('sad');",
        f"ALTER TYPE mood ADD VALUE 'sad';\n{UP}INSERT INTO moods VALUES ('sad');",
        3,
    ),
    Bad(
        "foreign-key-unindexed",
        "ALTER TABLE notes ADD FOREIGN KEY (project) REFERENCES projects NOT VALID;",
        "ALTER TABLE notes ADD FOREIGN KEY (project) REFERENCES projects NOT VALID;\n"
        + ALONE
        + "CREATE INDEX CONCURRENTLY x ON notes (project, n);",
    ),
    Bad(
        "foreign-key-unindexed",
        "CREATE TABLE x (a int, b int REFERENCES notes);",
        "CREATE TABLE x (a int, b int PRIMARY KEY REFERENCES notes);",
    ),
    Bad("name-too-long", f"CREATE TABLE {'é' * 32} (a int);", f"CREATE TABLE {'e' * 63} (a int);"),
    Bad("json-type", "CREATE TABLE x (a json);", "CREATE TABLE x (a jsonb);"),
    Bad("char-type", "ALTER TABLE notes ADD x char(3);", "ALTER TABLE notes ADD x varchar(3);"),
    Bad(
        "timestamp-type",
        "CREATE TABLE x (id int,\n  at timestamp(3));",
        "CREATE TABLE x (a timestamptz, b timestamp with time zone);",
    ),
    Bad(
        "serial-type",
        "CREATE TABLE x (a bigserial);",
        "CREATE TABLE x (a bigint GENERATED ALWAYS AS IDENTITY);",
    ),
    Bad(
        "allow-without-reason",
        "-- lint: allow drop-data because\nSELECT 1;",
    ),
    Bad("allow-without-reason", "-- lint: allow drop-data\nSELECT 1;"),
    Bad("allow-unknown-rule", "-- lint: allow everything because I may\nSELECT 1;"),
    Bad("allow-unknown-rule", "-- LINT ignore\nSELECT 1;"),
]


@pytest.mark.parametrize("case", FOUND, ids=lambda case: f"{case.rule}: {case.bad[:60]}")
def test_rule_finds_the_bad_file_and_not_the_safe_one(case: Bad, before: SchemaSnapshot) -> None:
    report = lint(migration(case.bad), before=before)
    found = [each for each in report.findings if each.rule == case.rule]
    assert [each.line for each in found] == [case.line]
    assert report.failed
    if case.good:
        assert case.rule not in rules(lint(migration(case.good), before=before))


def test_every_rule_is_tried_above() -> None:
    notes = {name for name, rule in RULES.items() if rule.note}
    assert {case.rule for case in FOUND} == set(RULES) - notes


@pytest.mark.parametrize("case", FOUND, ids=lambda case: f"{case.rule}: {case.bad[:60]}")
def test_a_reason_allows_what_a_rule_finds(case: Bad, before: SchemaSnapshot) -> None:
    if case.rule.startswith("allow-"):
        return
    others = [each for each in lint(migration(case.bad), before=before).findings if each.fails]
    header = "".join(f"-- lint: allow {each.rule} because it is night\n" for each in others)
    text = case.bad if "-- migrate:" in case.bad else UP + case.bad
    report = lint(migration(header + text), before=before)
    assert report.ok
    assert {each.allowed for each in report.findings if each.rule == case.rule} == {"it is night"}


# ------------------------------------------------------------------------------------------------ allowing

ALLOW = "-- lint: allow drop-data because  nobody\tasks \n"


@pytest.mark.parametrize(
    "text",
    [
        f"{ALLOW}DROP TABLE notes;",
        f"-- before\n{ALLOW}-- after\n\nDROP TABLE notes;",
        f"DROP TABLE {ALLOW}notes;",
        f"DROP TABLE notes; {ALLOW}",
    ],
)
def test_a_reason_stands_before_in_or_behind_its_statement(text: str) -> None:
    [finding] = lint(migration(text)).findings
    assert finding.allowed == "nobody asks"


def test_a_reason_holds_for_one_statement_only() -> None:
    report = lint(migration(f"{ALLOW}DROP TABLE notes;\nDROP TABLE projects;"))
    assert [(each.line, each.fails) for each in report.findings] == [(3, False), (4, True)]


def test_a_reason_for_nothing_is_noted() -> None:
    [note] = lint(migration(f"{ALLOW}SELECT 1;")).findings
    assert (note.rule, note.level, note.what) == ("allow-unused", "note", "drop-data")


# -------------------------------------------------------------------------------------------- what is exempt

FRESH = """
CREATE TABLE fresh (id int, body text, at timestamptz);
CREATE INDEX fresh_body ON fresh (body);
ALTER TABLE fresh ADD COLUMN x uuid DEFAULT gen_random_uuid();
ALTER TABLE fresh ADD COLUMN y int NOT NULL, ADD CHECK (y > 0), ADD UNIQUE (y), ADD PRIMARY KEY (id);
ALTER TABLE fresh ALTER COLUMN body SET NOT NULL, ALTER COLUMN y TYPE bigint;
UPDATE fresh SET y = 1;
ALTER TABLE fresh RENAME body TO text;
ALTER TABLE fresh RENAME TO fresher;
ALTER TABLE fresher DROP COLUMN x;
CREATE TABLE second (id int);
ALTER TABLE second ADD x int;
DROP TABLE second;
CREATE TYPE tone AS ENUM ('low');
ALTER TYPE tone ADD VALUE 'high';
CREATE SEQUENCE lent; DROP SEQUENCE lent;
"""


def test_what_the_file_makes_is_exempt(before: SchemaSnapshot) -> None:
    assert lint(migration(FRESH), before=before).findings == ()


def test_a_down_may_drop_what_its_up_made(before: SchemaSnapshot) -> None:
    text = f"{UP}CREATE VIEW v AS SELECT 1;\nALTER TABLE notes ADD x int;\n"
    text += "-- migrate: down\nALTER TABLE notes DROP COLUMN x;\nDROP VIEW v;\n"
    assert lint(migration(text), before=before).findings == ()


def test_a_down_keeps_nobody_waiting_either(before: SchemaSnapshot) -> None:
    text = f"{UP}SELECT 1;\n-- migrate: down\nDROP INDEX notes_body;\n"
    [finding] = lint(migration(text), before=before).findings
    assert (finding.rule, finding.line) == ("index-not-concurrent", 4)


@pytest.mark.parametrize(
    ("up", "down", "told"),
    [
        ("ALTER code TYPE text", "ALTER code TYPE int USING code::int", True),
        ("RENAME code TO w;\nALTER TABLE notes ALTER w TYPE text", "ALTER w TYPE int USING w::int", True),
        ("ALTER code TYPE text", "ALTER code TYPE varchar", False),
        ("ALTER code TYPE bigint USING 1", "ALTER code TYPE varchar(10)", True),
    ],
)
def test_the_way_back_of_a_type_is_seen_from_what_the_up_made_of_it(
    up: str, down: str, told: bool, before: SchemaSnapshot
) -> None:
    """What the way back changes is what the way up has made of a column, and not what it was."""
    text = f"{UP}ALTER TABLE notes {up};\n-- migrate: down\nALTER TABLE notes {down};\n"
    found = lint(migration(text), before=before).findings
    last = text.count("\n")
    assert [each.rule for each in found if each.line == last] == ["type-change-rewrite"] * told


def test_what_is_lost_is_told_with_its_size(before: SchemaSnapshot) -> None:
    report = lint(
        migration("ALTER TABLE notes DROP COLUMN body;\nDROP TABLE notes;"),
        before=before,
        sizes={"notes": 20_000},
    )
    column, table = (each for each in report.findings if each.rule == "drop-data")
    assert (column.what, column.why[:19]) == ("notes.body (about 20,000 rows)", "its values are gone")
    assert (table.what, table.why[:17]) == ("notes (about 20,000 rows)", "the rows are gone")


def test_tables_are_known_under_the_names_that_the_file_gives_them(before: SchemaSnapshot) -> None:
    text = "ALTER TABLE notes RENAME TO notices;\nALTER TABLE notices RENAME n TO number;\n"
    text += "ALTER TABLE notices ALTER number SET NOT NULL, ALTER code TYPE text;\n"
    assert rules(lint(migration(text), before=before)) == ["rename-in-use", "rename-in-use"]


# --------------------------------------------------------------------------------------------------- notes


def noted(text: str, before: SchemaSnapshot) -> list[tuple[str, int, str]]:
    found = lint(migration(text), before=before).findings
    return [(each.rule, each.line, each.what) for each in found if each.level == "note"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ALTER TABLE notes ADD x int NOT NULL DEFAULT 7;\nALTER TABLE notes ALTER x DROP DEFAULT;", 3),
        ("ALTER TABLE notes ADD x int;\nALTER TABLE notes\n  ALTER x SET NOT NULL;", 4),
        ("ALTER TABLE notes ADD x int NOT NULL;", 2),
    ],
)
def test_a_column_that_old_inserts_leave_out_is_noted(text: str, line: int, before: SchemaSnapshot) -> None:
    assert noted(text, before) == [("breaks-old-inserts", line, "notes.x")]


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE notes ADD x int NOT NULL DEFAULT 7;",
        "ALTER TABLE notes ADD x int GENERATED ALWAYS AS IDENTITY;",
        "ALTER TABLE notes ADD x int; ALTER TABLE notes ALTER x SET NOT NULL, ALTER x DROP NOT NULL;",
        "ALTER TABLE notes ALTER id SET NOT NULL;",
    ],
)
def test_a_column_that_old_inserts_need_not_name_is_not(text: str, before: SchemaSnapshot) -> None:
    assert noted(text, before) == []


@pytest.mark.parametrize("text", ["DO $$ BEGIN DROP TABLE notes; END $$;", "CALL clean();"])
def test_what_cannot_be_looked_into_is_noted(text: str, before: SchemaSnapshot) -> None:
    assert noted(text, before) == [("opaque", 2, text.split(maxsplit=1)[0])]


def test_a_python_migration_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "0001_python.py"
    [note] = lint(parse(path, b"def up(session):\n    session.run('DROP TABLE notes')\n")).findings
    assert (note.rule, note.level) == ("opaque", "note")


# ------------------------------------------------------------------------------------------- hostile texts

HARMLESS = [
    "-- DROP TABLE notes;\nSELECT 1;",
    "/* DROP TABLE notes; /* CREATE INDEX x ON notes (n); */ */ SELECT 1;",
    "SELECT 'DROP TABLE notes; -- lint: allow drop-data';",
    "SELECT E'\\'; DROP TABLE notes; --';",
    "SELECT $x$ DROP TABLE notes; $x$;",
    'SELECT "DROP TABLE notes;" FROM odd;',
    "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DROP TABLE notes; END $$;",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC DELETE FROM notes; SELECT 1; END;",
    "COMMENT ON TABLE notes IS 'ALTER TABLE notes ADD x serial';",
    "CREATE VIEW v AS SELECT n AS json, body AS \"timestamp\" FROM notes WHERE 'CASCADE' = body;",
    "INSERT INTO notes (body) VALUES ('UPDATE notes SET body');",
    "GRANT UPDATE, DELETE, TRUNCATE ON notes TO PUBLIC;",
    "CREATE RULE r AS ON DELETE TO bodies DO INSTEAD NOTHING;",
    "CREATE TRIGGER r BEFORE DELETE OR UPDATE OF body ON notes FOR EACH ROW EXECUTE FUNCTION f();",
    "ALTER TABLE notes ALTER body SET DEFAULT 'NOT NULL CHECK (x) PRIMARY KEY';",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_words_that_are_no_statements_mislead_no_rule(text: str, before: SchemaSnapshot) -> None:
    assert lint(migration(text), before=before).findings == ()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('create/**/index x ON public."notes" (n);', "index-not-concurrent"),
        (
            'ALTER TABLE IF EXISTS ONLY "public".notes ADD COLUMN IF NOT EXISTS "x y" int NOT NULL;',
            "add-column-not-null",
        ),
        (
            "ALTER TABLE notes ADD x numeric(10, 2) DEFAULT (random() * (1 + 2)) CHECK (x > 0);",
            "add-column-rewrite",
        ),
        (
            "ALTER TABLE notes ADD x int DEFAULT (1), ALTER COLUMN n TYPE bigint USING (n + 1);",
            "type-change-rewrite",
        ),
        ('ALTER TABLE notes DROP COLUMN "body";', "drop-data"),
        ("DROP TABLE projects, notes;", "drop-data"),
        ("alter table notes add constraint x unique nulls not distinct (body);", "unique-builds-index"),
        ("CREATE UNLOGGED TABLE IF NOT EXISTS x (a pg_catalog.json[]);", "json-type"),
    ],
)
def test_no_spelling_hides_a_statement(text: str, rule: str, before: SchemaSnapshot) -> None:
    assert rule in rules(lint(migration(text), before=before))


def test_a_quoted_name_is_another_table(before: SchemaSnapshot) -> None:
    text = 'CREATE TABLE "Notes" (a int);\nCREATE INDEX ON "Notes" (a);\n'
    assert lint(migration(text), before=before).findings == ()
    assert rules(lint(migration(text + "CREATE INDEX ON notes (n);"), before=before)) == [
        "index-not-concurrent"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE",
        "CREATE INDEX",
        "DROP",
        "ALTER TABLE notes ADD",
        "CREATE TABLE x (",
        "UPDATE",
        "REINDEX (",
        "(",
    ],
)
def test_text_that_the_server_refuses_is_read_all_the_same(text: str) -> None:
    assert isinstance(lint(migration(text)), LintReport)


def test_a_secret_is_not_shown() -> None:
    told = lint(migration("UPDATE users SET password = 'hunter2', name = $$hunter2$$;")).model_dump_json()
    assert "UPDATE users SET password = '...'" in told
    assert "hunter2" not in told


# ------------------------------------------------------------------------------------- sizes, measurements


def one(report: LintReport, rule: str) -> Finding:
    [found] = [finding for finding in report.findings if finding.rule == rule]
    return found


@pytest.mark.parametrize(
    ("sizes", "level"), [({"notes": 120}, "note"), ({"notes": 10**7}, "error"), ({}, "error")]
)
def test_nobody_waits_long_for_a_small_table(
    sizes: Mapping[str, int], level: str, before: SchemaSnapshot
) -> None:
    report = lint(migration("CREATE INDEX x ON notes (n);"), before=before, sizes=sizes)
    found = one(report, "index-not-concurrent")
    assert found.level == level
    assert ("about 120 rows" in found.what) is (level == "note")


def test_a_small_table_does_not_make_a_loss_small(before: SchemaSnapshot) -> None:
    assert lint(migration("DROP TABLE notes;"), before=before, sizes={"notes": 1}).failed


def test_what_was_measured_counts_more_than_the_words(config: DatabaseConfig) -> None:
    run_alone(config, TABLES + "CREATE DOMAIN positive AS int CHECK (VALUE > 0);")
    text = "ALTER TABLE notes ADD x positive;\n-- migrate: up\nALTER TABLE notes ALTER n TYPE int4;\n"
    text += "-- migrate: up\nALTER TABLE notes ALTER body SET NOT NULL;\n"
    found = migration(text)
    report = lint(found, measured=measure(config, found))
    assert [(each.rule, each.line) for each in report.findings if each.fails] == [
        ("table-rewrite", 2),  # no word told of it
        ("set-not-null-scan", 6),
    ]


def test_reports_are_values_that_are_json(before: SchemaSnapshot) -> None:
    report = lint(migration("DROP TABLE notes;"), before=before)
    assert LintReport.model_validate_json(report.model_dump_json()) == report


# ------------------------------------------------------------------------------------ the library's versions


def test_the_first_version_is_clean_and_the_second_is_told_honestly() -> None:
    first, second, *later = read_folder(VERSIONS)
    assert lint(first).findings == ()
    assert not any(finding.fails for version in later for finding in lint(version).findings)
    found = {finding.rule for finding in lint(second).findings}
    assert found == {
        "constraint-validated-at-once",
        "several-tables-locked",
        "scan-under-lock",
        "whole-table-write",
        "index-not-concurrent",
        "set-not-null-scan",
        "add-column-rewrite",
        "drop-data",
        "breaks-old-inserts",
        "opaque",
    }


def test_rules_are_told_in_full() -> None:
    for name, rule in RULES.items():
        assert name == rule.name
        assert all((rule.what, rule.why, rule.instead))


def test_every_rule_is_on_the_page_of_decisions() -> None:
    page = (VERSIONS.parents[2] / "docs" / "decisions" / "0027-lint.md").read_text(encoding="utf-8")
    named = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert named == list(RULES)
