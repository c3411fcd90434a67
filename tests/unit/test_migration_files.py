"""A wrong migration file, or a wrong set of them, is told before anything runs, with file and line."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_handler.core.exceptions import InvalidValue, MigrationError
from database_handler.core.sql_text import significant_tokens
from database_handler.migrations.errors import (
    ChangedMigration,
    DuplicateMigration,
    IrreversibleMigration,
    LockFileMismatch,
    MalformedMigration,
    MigrationGap,
    MissingMigration,
    NoVersionsFolder,
    OutOfOrderMigration,
    PartialMigration,
    UnusableTarget,
)
from database_handler.migrations.files.migration import Direction, Migration, SectionKind, parse, read_folder
from database_handler.migrations.files.planning import (
    Applied,
    Progress,
    check_files,
    folded,
    lock_text,
    plan_down,
    plan_up,
    read_lock,
    state_of,
)

PATH = Path("versions/0007_add_owner.sql")
GOOD = """-- 0007_add_owner
-- reversible: yes
-- migrate: up
ALTER TABLE projects ADD COLUMN owner text; -- why
CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;
-- migrate: up, no transaction
CREATE INDEX CONCURRENTLY a ON projects (owner);
CREATE INDEX CONCURRENTLY b ON projects (owner);
-- migrate: verify
SELECT 1 / count(*) FROM pg_indexes WHERE indexname = 'a';
-- migrate: down
DROP INDEX a;
/* ; */ ALTER TABLE projects DROP COLUMN owner
"""


def read(text: str | bytes, path: Path = PATH) -> Migration:
    return parse(path, text if isinstance(text, bytes) else text.encode())


def version(number: int, up: str = "SELECT;", down: str | None = "SELECT;", name: str = "x") -> Migration:
    text = f"-- migrate: up\n{up}\n" + (f"-- migrate: down\n{down}\n" if down else "")
    return read(text, Path(f"{number:04}_{name}.sql"))


def test_a_file_is_taken_apart() -> None:
    migration = read(GOOD)
    assert (migration.name, migration.number, migration.reversible) == ("0007_add_owner", 7, True)
    assert [(s.kind, s.transactional, s.line, len(s.statements)) for s in migration.sections] == [
        (SectionKind.UP, True, 3, 2),
        (SectionKind.UP, False, 6, 2),
        (SectionKind.VERIFY, True, 9, 1),
        (SectionKind.DOWN, True, 11, 2),
    ]
    assert [len(part.statements) for part in migration.parts(Direction.UP)] == [2, 1, 1]
    for section in migration.sections:
        for statement in section.statements:
            assert migration.text.startswith(statement.text, statement.start)


UP = "-- migrate: up\n"
OUTSIDE = "-- migrate: up, no transaction\n"
BATCHED = "-- migrate: up, batched\n"
HASH = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "no section"),
        ("-- nothing here\n", 1, "no section"),
        ("\nSELECT 1;\n" + UP + "SELECT 1;", 2, "before the first marker"),
        ("-- migrate: up\n\n-- migrate: down\nSELECT 1;", 1, "`-- migrate: up` is empty"),
        (UP + "SELECT 1;\n-- migrate: down\n-- nothing\n", 3, "`-- migrate: down` is empty"),
        ("-- migrate: down\nSELECT 1;", 1, "no `-- migrate: up`"),
        ("-- migrate: verify\nSELECT 1;", 1, "no `-- migrate: up`"),
        (UP + "SELECT 1;\n-- migrate: upp\nSELECT 1;", 3, "unknown marker '-- migrate: upp'"),
        (UP + "SELECT 1;\n-- migrate:\nSELECT 1;", 3, "unknown marker"),
        (UP + "SELECT 1;\n-- migrate: down no transaction\nSELECT 1;", 3, "unknown marker"),
        (UP + "SELECT 1;\n-- migrate down\nSELECT 1;", 3, "unknown marker '-- migrate down'"),
        (UP + "SELECT 1;\n-- migration: down\nSELECT 1;", 3, "unknown marker"),
        (UP + "SELECT 1; -- migrate: down\nSELECT 1;", 2, "line of its own"),
        (UP + "SELECT 1;\n-- migrate: down\nSELECT 1;\n-- migrate: up\nSELECT 1;", 5, "order is up,"),
        (UP + "SELECT 1;\n-- migrate: down\nSELECT 1;\n-- migrate: verify\nSELECT 1;", 5, "order is up,"),
        (UP + "SELECT 1;\n-- migrate: verify\nSELECT 1;\n-- migrate: verify\nSELECT 1;", 5, "second verify"),
        (UP + "SELECT 1;\n\n  SELECT 'a;\n-- migrate: down\nSELECT 1;", 4, "column 10: a string is not"),
        (UP + "SELECT $$a;\n", 2, "dollar-quoted string is not closed"),
        (UP + "/* a\n-- migrate: down\n", 2, "a comment is not closed"),
        (UP + "SELECT 1;\n\0", 3, "a NUL character"),
        ("-- 0008_other\n" + UP + "SELECT 1;", 1, "says 0008_other"),
        (UP + "SELECT 1;\nBEGIN;\nSELECT 1;", 3, "BEGIN: a section is one transaction"),
        (UP + "START TRANSACTION;", 2, "START: a section"),
        (UP + "SELECT 1;\nCOMMIT", 3, "COMMIT: a section"),
        (UP + "ROLLBACK;", 2, "ROLLBACK: a section"),
        (UP + "SAVEPOINT a;", 2, "SAVEPOINT: a section"),
        (UP + "SET TRANSACTION READ ONLY;", 2, "SET TRANSACTION: a section"),
        ("-- migrate: up, no transaction\nVACUUM;\nBEGIN;", 3, "BEGIN: a section"),
        (UP + "SELECT 1;\n\\copy t from 'x'\n", 3, "psql's own commands"),
        (UP + "\\i other.sql\n", 2, "psql's own commands"),
        (UP + "COPY t FROM stdin;\n1\n", 2, "COPY FROM STDIN needs data"),
        *(
            (UP + "SELECT 1;\n" + statement + ";", 3, "cannot run in a transaction; put it into")
            for statement in (
                "CREATE INDEX CONCURRENTLY a ON b (c)",
                "create unique /* x */ index\nconcurrently a on b (c)",
                "DROP INDEX CONCURRENTLY a",
                "REINDEX TABLE CONCURRENTLY a",
                "REINDEX (VERBOSE, CONCURRENTLY) TABLE a",
                "REINDEX DATABASE",
                "VACUUM",
                "VACUUM FULL a",
                "CREATE DATABASE a",
                "DROP DATABASE a",
                "CREATE TABLESPACE a LOCATION '/a'",
                "DROP TABLESPACE a",
                "ALTER SYSTEM SET work_mem = '1MB'",
                "ALTER TABLE a DETACH PARTITION b CONCURRENTLY",
                "CLUSTER",
            )
        ),
        (UP + "SELECT 1;\n-- migrate: down\nVACUUM;", 4, "cannot run in a transaction"),
        *(
            (UP + "SELECT 1;\n" + statement + ";", 3, "cannot run in a transaction; put it into")
            for statement in (
                "VACUUM (FULL, ANALYZE) a",
                "REINDEX (CONCURRENTLY TRUE) INDEX a",
                "REINDEX (TABLESPACE x) SCHEMA a",
                "REINDEX SYSTEM",
                "ALTER DATABASE a SET TABLESPACE b",
                "ALTER SYSTEM RESET ALL",
                "DISCARD ALL",
                "CLUSTER VERBOSE",
                "ALTER TABLE ONLY a.b DETACH PARTITION \"c d\" CONCURRENTLY",
                "CREATE SUBSCRIPTION a CONNECTION 'b' PUBLICATION c",
                "ALTER SUBSCRIPTION \"a b\" REFRESH PUBLICATION",
                "ALTER SUBSCRIPTION a ADD PUBLICATION b",
                "ALTER SUBSCRIPTION a SET (failover = true)",
            )
        ),
        (OUTSIDE + "CREATE INDEX CONCURRENTLY ON a (b);", 2, "CONCURRENTLY without a name"),
        (OUTSIDE + "SET a = b;\nRESET a;", 1, "only sets something"),
        ("-- migrate: up, batch\nSELECT 1;", 1, "unknown marker"),
        (BATCHED + "SELECT a FROM t LIMIT 5;", 2, "it changes no rows; a batched section is one UPDATE"),
        (BATCHED + "WITH x AS (UPDATE t SET a = 1 RETURNING a) SELECT a FROM x LIMIT 1;", 2, "no rows"),
        (BATCHED + "CREATE TABLE t (a int);", 2, "it changes no rows"),
        (BATCHED + "UPDATE t SET a = 1 WHERE a IS NULL;", 2, "no LIMIT: everything would be changed"),
        (BATCHED + "UPDATE t SET a = (SELECT b FROM u LIMIT 1);", 2, "no WHERE: the same rows"),
        (BATCHED + "DELETE FROM t USING (SELECT 1 LIMIT 1) u;", 2, "no WHERE: the same rows"),
        (BATCHED + "DELETE FROM t WHERE a IN (SELECT 1 LIMIT 1);\nDELETE FROM u;", 3, "a second statement"),
        ("-- replaces: 0001_a\n" + UP + "SELECT 1;", 1, "a version's name and its hash"),
        (f"-- replaces: 0001_A {HASH}\n" + UP + "SELECT 1;", 1, "a version's name and its hash"),
        (f"--\n-- replaces: 0001_a {HASH}\n" + UP + "SELECT 1;", 1, "from 0001 to its own, 0007"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_with_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(MalformedMigration) as caught:
        read(text)
    assert (caught.value.path, caught.value.line) == (PATH, line)
    assert str(caught.value).startswith(f"{PATH}:{line}: ")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "statement",
    [
        "REFRESH MATERIALIZED VIEW CONCURRENTLY a",
        "CLUSTER a",
        "REINDEX TABLE a",
        "CREATE INDEX concurrently_made ON a (b)",
        "ALTER TYPE a ADD VALUE 'b'",
        "SELECT 'BEGIN; COMMIT'",
        "DO $$ BEGIN PERFORM 1; END $$",
        "COPY t FROM '/a/file'",
        "UPDATE t SET a = E'\\\\'",
        "SELECT 1 -- see the migrate command\n",
        "REINDEX (CONCURRENTLY FALSE) TABLE a",
        "ALTER SYSTEM_x RENAME TO y",
        "CREATE SUBSCRIPTION a CONNECTION 'b' PUBLICATION c WITH (create_slot = false)",
        "CREATE SUBSCRIPTION a CONNECTION 'b' PUBLICATION c WITH (enabled = false, connect = off)",
        "ALTER SUBSCRIPTION a SET PUBLICATION b WITH (refresh = false)",
        "ALTER SUBSCRIPTION a DISABLE",
        "DROP SUBSCRIPTION a",
        "DISCARD TEMP",
        "ALTER DATABASE a SET work_mem = '1MB'",
        "CLUSTER a USING b",
        "ALTER TABLE a DETACH PARTITION b",
        "CREATE INDEX ON a (b)",
    ],
)
def test_what_can_run_in_a_transaction_passes(statement: str) -> None:
    assert read(UP + statement).sections[0].statements[0].text == statement.partition(" --")[0]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE t SET a = 1 WHERE ctid = ANY (ARRAY(SELECT ctid FROM t WHERE a IS NULL LIMIT 10))",
        "with x as (select 1) delete from t where a in (select a from t fetch first 5 rows only)",
        "INSERT INTO t SELECT a FROM u LIMIT 10",
        "MERGE INTO t USING (SELECT a FROM u LIMIT 5) u ON t.a = u.a WHEN MATCHED THEN DELETE",
        "WITH d AS (DELETE FROM t WHERE a IN (SELECT a FROM t LIMIT 9) RETURNING *) INSERT INTO u TABLE d",
    ],
)
def test_what_can_be_run_in_batches_passes(statement: str) -> None:
    [section] = read(BATCHED + statement).sections
    assert (section.batched, section.transactional, section.marker) == (True, True, BATCHED.strip())
    [part] = read(BATCHED + statement).parts(Direction.UP)
    assert part.batched


def test_settings_go_with_each_statement_of_their_section() -> None:
    text = "SET a = 1;\nVACUUM x;\nSET b = 2;\nVACUUM y;\n-- migrate: up, no transaction\nVACUUM z;"
    parts = read(OUTSIDE + text).parts(Direction.UP)
    told = [[s.text for s in (*part.settings, *part.statements)] for part in parts]
    assert told == [["SET a = 1", "VACUUM x"], ["SET a = 1", "SET b = 2", "VACUUM y"], ["VACUUM z"]]


PYTHON = """# why
import os

LIMIT = f"{os.sep!r} of {'a' + 'b'} {3:>{2}}"


def up(session):
    \"\"\"Does it.\"\"\"
    if LIMIT:
        session.run(
            "SELECT 1",
        )


def down(session, after):
    return None
"""


def python(text: str) -> Migration:
    return read(text, PATH.with_suffix(".py"))


def test_a_python_file_is_taken_apart() -> None:
    migration = python(PYTHON)
    told = [(s.kind, s.function, s.batched, s.line) for s in migration.sections]
    assert told == [(SectionKind.UP, "up", False, 7), (SectionKind.DOWN, "down", True, 15)]
    assert (migration.is_python, migration.reversible, migration.verify) == (True, True, ())
    # The same for every Python that can read it.
    assert migration.token_hash == "350a570f2cab05cb2a5993a65c4ac103ef0415bb7b8d318c72a17db8dc583351"


@pytest.mark.parametrize(
    "edited",
    [
        PYTHON.replace("# why", "# another reason\n\n"),
        PYTHON.replace("\n", "\r\n"),
        PYTHON.replace("    ", "\t"),
        PYTHON.replace('    """Does it."""\n', ""),
        PYTHON.replace("session.run(\n", "session.run(  # on one line\n\n"),
        '"""What it is for."""\n' + PYTHON,
        PYTHON.replace("return None", "return \\\n        None"),
    ],
)
def test_comments_and_layout_do_not_change_a_python_hash(edited: str) -> None:
    assert python(edited).token_hash == python(PYTHON).token_hash


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{3:>{2}}", "{3:>{1}}"),
        ("'a' + 'b'", "'a' + 'c'"),
        (" of ", "  of "),
        ("if LIMIT:", "if not LIMIT:"),
        ('"SELECT 1",', '"SELECT 2",'),
        ("    return None", "    return None\n    session"),
        ("        session.run(", "        pass\n    session.run("),
    ],
)
def test_any_token_changes_a_python_hash(old: str, new: str) -> None:
    assert old in PYTHON
    assert python(PYTHON.replace(old, new)).token_hash != python(PYTHON).token_hash


def test_a_marker_inside_a_string_is_none() -> None:
    migration = read(UP + "SELECT $$\n-- migrate: down\n$$;")
    assert not migration.reversible


def test_bytes_that_are_not_utf8_are_told_with_their_position() -> None:
    with pytest.raises(MalformedMigration, match=r":2: byte 23 is not UTF-8 \(0xe9\)"):
        read(UP.encode() + b"SELECT '\xe9';")
    with pytest.raises(MalformedMigration, match=r":1: byte 0 is not UTF-8"):
        read("-- migrate: up\nSELECT 1;".encode("utf-16"))


@pytest.mark.parametrize(
    "name", ["7_a.sql", "0007.sql", "0007_A.sql", "0007_a-b.sql", "0007_a.SQL", "7_a.py"]
)
def test_a_wrong_file_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(UP + "SELECT 1;")
    with pytest.raises(MalformedMigration, match="NNNN_words"):
        read_folder(tmp_path)


def test_every_wrong_file_of_a_folder_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1;")
    (tmp_path / "0002_b.sql").write_text(UP + "SELECT 1;")
    (tmp_path / "0003_c.sql").write_text(UP + "VACUUM;")
    (tmp_path / "README.md").write_text("not a version")
    with pytest.raises(MalformedMigration) as caught:
        read_folder(tmp_path)
    assert len(caught.value.others) == 1
    assert "0001_a.sql:1" in str(caught.value)
    assert "0003_c.sql:2" in str(caught.value)
    with pytest.raises(NoVersionsFolder, match=r"none: there is no such folder of versions; .*generate -m"):
        read_folder(tmp_path / "none")


@pytest.mark.parametrize(
    "edited",
    [
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
        GOOD.replace("-- why", "-- another reason"),
        GOOD.replace("-- reversible: yes\n", ""),
        GOOD.replace("-- migrate: up\n", "--  migrate :  up\n\n"),
        GOOD.replace("ALTER TABLE projects ADD", "ALTER  TABLE\n projects ADD"),
    ],
)
def test_comments_and_line_endings_do_not_change_the_hash(edited: str) -> None:
    assert read(edited).token_hash == read(GOOD).token_hash


@given(st.data())
def test_any_token_taken_out_changes_the_hash(data: st.DataObject) -> None:
    token = data.draw(st.sampled_from(list(significant_tokens(GOOD))))
    edited = GOOD[: token.start] + GOOD[token.end :]
    try:
        migration = read(edited)
    except MalformedMigration:
        return
    assert migration.token_hash != read(GOOD).token_hash


def test_a_marker_changes_the_hash() -> None:
    edited = GOOD.replace("-- migrate: verify\n", "-- migrate: up\n")
    assert read(edited).token_hash != read(GOOD).token_hash


# -------------------------------------------------------------------------------------------------- planning


def row(migration: Migration, progress: Progress | None = None, token_hash: str | None = None) -> Applied:
    return Applied(
        migration.number,
        migration.name,
        token_hash or migration.token_hash,
        dt.datetime(2025, 3, 1, tzinfo=dt.UTC),
        "migrator",
        dt.timedelta(seconds=1),
        "0.1.0",
        progress,
    )


ONE, TWO, THREE, FOUR = files = [version(number) for number in range(1, 5)]


def test_files_alone() -> None:
    check_files(files)
    check_files([])
    with pytest.raises(
        DuplicateMigration, match=r"0002 is used by 0002_x.sql and 0002_y.sql.*next number, 0005"
    ):
        check_files([ONE, TWO, version(2, name="y"), THREE, FOUR])
    with pytest.raises(MigrationGap, match="no version 0002, and there is 0003_x"):
        check_files([ONE, THREE])
    with pytest.raises(MigrationGap, match="no version 0001"):
        check_files([TWO])


def test_up() -> None:
    assert [step.migration for step in plan_up(files, [])] == files
    assert [step.migration for step in plan_up(files, [row(ONE)])] == [TWO, THREE, FOUR]
    assert plan_up(files, [row(found) for found in files]) == []
    for target in ("0003_x", "3", "0003", 3):
        assert [step.migration for step in plan_up(files, [row(ONE)], target)] == [TWO, THREE]


def test_down() -> None:
    history = [row(ONE), row(TWO), row(THREE)]
    assert [step.migration for step in plan_down(files, history)] == [THREE]
    assert [step.migration for step in plan_down(files, history, 2)] == [THREE, TWO]
    assert [step.migration for step in plan_down(files, history, target="0001_x")] == [THREE, TWO]
    assert [step.migration for step in plan_down(files, history, target=0)] == [THREE, TWO, ONE]
    assert plan_down(files, history, target=3) == []


@pytest.mark.parametrize(
    ("migrations", "history", "kind", "says"),
    [
        ([ONE, TWO], [row(ONE, token_hash="0")], ChangedMigration, "0001_x was changed"),
        ([ONE], [row(ONE), row(TWO)], MissingMigration, "0002_x was applied at 2025-03-01 00:00Z"),
        ([ONE, version(2, name="y")], [row(ONE), row(TWO)], MissingMigration, "0002_y has its number"),
        (
            [ONE, TWO, THREE],
            [row(ONE), row(THREE)],
            OutOfOrderMigration,
            "0002_x is not applied, and 0003_x is",
        ),
    ],
)
def test_a_history_that_the_files_do_not_explain(
    migrations: list[Migration], history: list[Applied], kind: type[MigrationError], says: str
) -> None:
    for plan in (plan_up, plan_down):
        with pytest.raises(kind, match=says):
            plan(migrations, history)


@pytest.mark.parametrize("target", ["0009_x", 9, -1, "", "x", True, "²"])
def test_an_unknown_target(target: str | int) -> None:
    with pytest.raises(UnusableTarget, match=r"name or number; the last ones are 0001_x"):
        plan_up(files, [], target)
    with pytest.raises(UnusableTarget, match=r"name or number"):
        plan_down(files, [row(ONE)], target=target)


def test_a_target_in_the_other_direction() -> None:
    with pytest.raises(UnusableTarget, match=r"use rollback\(target=1\)"):
        plan_up(files, [row(ONE), row(TWO)], 1)
    with pytest.raises(UnusableTarget, match=r"use migrate"):
        plan_down(files, [row(ONE)], target=2)
    with pytest.raises(UnusableTarget, match=r"2 versions.*1 version is applied: ask for .*`--steps`.*0"):
        plan_down(files, [row(ONE)], steps=2)
    for steps in (0, -1, True, 1.5):
        with pytest.raises(InvalidValue, match="whole number"):
            plan_down(files, [row(ONE)], steps=steps)  # type: ignore[arg-type]  # what no type checker saw


def test_an_irreversible_one_is_named_before_anything() -> None:
    kept = version(2, down=None)
    with pytest.raises(IrreversibleMigration, match="0002_x cannot be rolled back") as caught:
        plan_down([ONE, kept, THREE], [row(ONE), row(kept), row(THREE)], target=0)
    assert caught.value.versions == ("0002_x",)


def test_an_interrupted_one_goes_on_where_it_stopped() -> None:
    half = read(
        "-- migrate: up, no transaction\nVACUUM a;\nVACUUM b;\n-- migrate: down\nSELECT;", Path("0002_x.sql")
    )
    progress = Progress(Direction.UP, 1, half.hash_of(Direction.UP, 1))
    history = [row(ONE), row(half, progress)]
    assert [(step.migration, step.done) for step in plan_up([ONE, half], history)] == [(half, 1)]
    with pytest.raises(PartialMigration, match=r"half applied \(1 part is done\): call migrate"):
        plan_down([ONE, half], history)
    mended = read(half.text.replace("VACUUM b", "VACUUM c"), half.path)
    assert [step.done for step in plan_up([ONE, mended], history)] == [1]
    with pytest.raises(ChangedMigration, match="in what is done of it, 1 part,"):
        plan_up([ONE, read(half.text.replace("VACUUM a", "VACUUM c"), half.path)], history)
    down = [row(ONE), row(half, Progress(Direction.DOWN, 0, half.hash_of(Direction.DOWN, 0)))]
    with pytest.raises(PartialMigration, match=r"half rolled back.*call rollback"):
        plan_up([ONE, half], down)


def squashed(number: int, *replaced: Migration, up: str = "SELECT;") -> Migration:
    lines = "".join(f"-- replaces: {each.name} {each.token_hash} {each.up_hash}\n" for each in replaced)
    return read(f"{lines}-- migrate: up\n{up}\n-- migrate: down\nSELECT;", Path(f"{number:04}_squashed.sql"))


def test_a_squashed_file_stands_for_those_that_it_replaces() -> None:
    one = squashed(3, ONE, TWO, THREE)
    check_files([one, FOUR])
    assert [step.migration for step in plan_up([one, FOUR], [])] == [one, FOUR]
    history = [row(ONE), row(TWO), row(THREE)]
    assert [step.migration for step in plan_up([one, FOUR], history)] == [FOUR]
    [found] = folded([one, FOUR], history)
    assert (found.name, found.number, found.origin) == ("0003_squashed", 3, "replaced")
    assert (found.folds, found.token_hash) == (("0001_x", "0002_x", "0003_x"), one.token_hash)
    assert state_of(one, found) == "applied"
    assert [step.migration for step in plan_down([one, FOUR], [*history, row(FOUR)], target=0)] == [FOUR, one]
    assert plan_up([one, FOUR], [row(one), row(FOUR)]) == []
    assert one.token_hash != squashed(3, ONE, TWO, version(3, name="y")).token_hash


def test_a_squashed_file_knows_a_version_whose_way_down_was_put_right() -> None:
    before = replace(row(TWO, token_hash="0"), up_hash=TWO.up_hash)
    history = [row(ONE), before, row(THREE)]
    assert plan_up([squashed(3, ONE, TWO, THREE)], history) == []
    with pytest.raises(ChangedMigration, match="0002_x was applied with other SQL"):
        plan_up([squashed(3, ONE, version(2, up="SELECT 2;"), THREE)], history)


def test_a_squashed_file_may_be_squashed_again() -> None:
    one = squashed(3, ONE, TWO, THREE)
    again = squashed(4, ONE, TWO, THREE, one, FOUR)
    for history in ([row(one), row(FOUR)], [row(each) for each in files], [row(again)]):
        assert plan_up([again], history) == []


def test_a_database_amid_what_a_squashed_file_replaces_is_told_what_to_do() -> None:
    one = squashed(3, ONE, TWO, THREE)
    for plan in (plan_up, plan_down):
        with pytest.raises(PartialMigration, match=r"is at 0002_x, and 0003_squashed.*migrate to 0003 with"):
            plan([one, FOUR], [row(ONE), row(TWO)])
        with pytest.raises(ChangedMigration, match="0002_x was applied with other SQL"):
            plan([one, FOUR], [row(ONE), row(TWO, token_hash=HASH), row(THREE)])
    half = row(THREE, Progress(Direction.UP, 0, THREE.hash_of(Direction.UP, 0)))
    with pytest.raises(PartialMigration, match="with the release that has them"):
        plan_up([one], [row(ONE), row(TWO), half])


def test_states() -> None:
    assert state_of(ONE, None) == "pending"
    assert state_of(ONE, row(ONE)) == "applied"
    assert state_of(ONE, row(ONE, token_hash="0")) == "changed"
    assert state_of(None, row(ONE)) == "missing"
    assert state_of(ONE, row(ONE, Progress(Direction.UP, 0, ONE.hash_of(Direction.UP, 0)))) == "partial"


def test_the_lock_file() -> None:
    path = Path("versions.lock")
    text = lock_text(files)
    assert text.splitlines()[1].split() == ["0002_x", TWO.token_hash, "0001_x"]
    check_files(files, read_lock(path, text))
    check_files(files, read_lock(path, text.replace("\n", "\r\n")))
    with pytest.raises(LockFileMismatch, match=f"add the line\n0004_x {FOUR.token_hash} 0003_x"):
        check_files(files, read_lock(path, lock_text(files[:3])))
    with pytest.raises(LockFileMismatch, match="names 0004_x, and there is no such file"):
        check_files(files[:3], read_lock(path, text))
    with pytest.raises(LockFileMismatch, match=r"0001_x is not what versions\.lock recorded"):
        check_files([version(1, up="SELECT 1;"), *files[1:]], read_lock(path, text))
    for merged in ("<<<<<<< HEAD\n" + text, text + f"0005_y {ONE.token_hash} 0003_x\n", "0001_x\n"):
        with pytest.raises(LockFileMismatch, match=r"versions.lock:\d: expected `NAME HASH"):
            read_lock(path, merged)
