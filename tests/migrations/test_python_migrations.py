"""Python migrations: what is wrong is found before any is run, what fails is placed, batches are resumed."""

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.session import Session
from database_handler.core.transaction import Transaction
from database_handler.migrations import (
    IrreversibleMigration,
    MalformedMigration,
    MigrationFailed,
    MigrationManager,
)
from database_handler.migrations.files.migration import Direction, read_folder
from database_handler.migrations.runner.applying import run_inside
from tests.migrations.conftest import Folder

Make = Callable[..., MigrationManager]


@pytest.fixture
def write(folder: Folder, session: Session) -> Callable[[str], Path]:
    session.run("CREATE TABLE t (a int PRIMARY KEY, b text)")
    session.run("INSERT INTO t SELECT n FROM generate_series(1, 100) n")

    def wrote(text: str, name: str = "0001_fill") -> Path:
        path = folder.path / f"{name}.py"
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return wrote


Write = Callable[..., Path]
FILL = '''
    """Fills b."""
    from __future__ import annotations

    from dataclasses import dataclass


    @dataclass
    class Row:
        a: int


    def up(session):
        for (a,) in session.all("SELECT a FROM t"):
            session.run("UPDATE t SET b = %s WHERE a = %s", [f"b {Row(a).a}", a])


    def verify(session):
        assert session.one("SELECT count(*) FROM t WHERE b IS NULL") == (0,)


    def down(session):
        session.run("UPDATE t SET b = NULL")
'''


def left(session: Session) -> int:
    [found] = session.one("SELECT count(*) FROM t WHERE b IS NULL")
    assert isinstance(found, int)
    return found


def test_up_verify_and_down(write: Write, folder: Folder, session: Session, manager: Make) -> None:
    write(FILL)
    folder.write("0002_sql", "CREATE TABLE u (a int);", "DROP TABLE u;")
    paths, modules = list(sys.path), set(sys.modules)
    [planned, _] = manager().migrate(dry_run=True).planned
    assert planned.sql == "-- up() of 0001_fill.py\n"
    assert manager().migrate().applied == ("0001_fill", "0002_sql")
    assert left(session) == 0
    assert manager().rollback(2).rolled_back == ("0002_sql", "0001_fill")
    assert left(session) == 100
    assert (sys.path, sorted(path.name for path in folder.path.iterdir())) == (
        paths,
        ["0001_fill.py", "0002_sql.sql"],
    )
    assert not [name for name in set(sys.modules) - modules if "fill" in name]


def test_status_and_the_head_run_none_of_its_code(write: Write, manager: Make) -> None:
    write(FILL)
    manager().migrate()
    write(FILL)
    path = write("raise SystemExit('run')\n\n\ndef up(session): ...\n", "0002_exits")
    assert manager().status().pending == ("0002_exits",)
    assert not manager().migrate(1).changed
    with pytest.raises(MigrationFailed, match=r"0002_exits.py:1:1: SystemExit: run"):
        manager().migrate()
    path.unlink()


def test_without_down_it_cannot_be_rolled_back(write: Write, manager: Make) -> None:
    write("def up(session):\n    pass\n")
    manager().migrate()
    with pytest.raises(IrreversibleMigration, match="0001_fill"):
        manager().rollback()


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("def upp(session): ...", 1, "no function `up`"),
        ("up = print", 1, "no function `up`"),
        ("x = 1\ndef up(session:\n    pass", 2, "it is not Python: '(' was never closed"),
        ("def up(): ...", 1, "`up`: it takes ()"),
        ("\ndef up(session, config): ...", 2, "`up`: it takes (session, config)"),
        ("def up(session, after, more): ...", 1, "`up`: it takes (session, after, more)"),
        ("def up(session, *, after=None): ...", 1, "`up`: it takes more than a session"),
        ("def up(session): ...\ndef down(*session): ...", 2, "`down`: it takes more than a session"),
        ("async def up(session): ...", 1, "`up`: it is async"),
        ("def up(session):\n    for x in ():\n        yield x", 1, "`up`: it yields"),
        ("def up(session): ...\ndef verify(session, after): ...", 2, "`verify`: it is called once"),
        ("def up(session): ...\0", 1, "it is not Python"),
    ],
)
def test_a_wrong_file_is_told_with_its_line(
    write: Write, manager: Make, session: Session, text: str, line: int, says: str
) -> None:
    path = write(text, "0002_wrong")
    write(FILL)
    for call in (manager().migrate, manager().status):
        with pytest.raises(MalformedMigration) as caught:
            call()
        assert (caught.value.path, caught.value.line) == (path, line)
        assert says in str(caught.value)
        assert "def up(session):" in str(caught.value) or "not Python" in str(caught.value)
    assert left(session) == 100


def test_one_that_cannot_be_imported_stops_before_any_other_is_run(
    write: Write, manager: Make, session: Session
) -> None:
    write(FILL)
    path = write("import os\nimport no_such_module_here\ndef up(session): ...\n", "0002_imports")
    with pytest.raises(MigrationFailed, match="ModuleNotFoundError") as caught:
        manager().migrate()
    assert (caught.value.path, caught.value.line) == (path, 2)
    assert "Nothing of it was run" in str(caught.value)
    assert (left(session), manager().status().head) == (100, None)


@pytest.mark.parametrize(
    ("body", "line", "says", "hidden"),
    [
        ("raise ValueError('no owner for some')", 2, "ValueError: no owner for some", ""),
        ("assert 1 == 2, 'sums differ'", 2, "AssertionError: sums differ", ""),
        ("int('swordfish')", 2, ": ValueError", "swordfish"),
        ("{}['swordfish']", 2, ": KeyError", "swordfish"),
        ("helper()", 5, "RuntimeError: in a helper", ""),
        ("session.run('SELECT * FROM nowhere')", 2, 'relation "nowhere" does not exist [42P01]', ""),
        ("session.run('COMMIT')", 2, "COMMIT is not for a caller's SQL", ""),
        ("session.script('SELECT 1; COMMIT')", 2, "COMMIT is not for a migration", ""),
        ("session.run('SELECT 1; SELECT 2')", 2, "One statement a call", ""),
        ("session.one('SELECT a FROM t WHERE a < 0')", 2, "exactly one row was expected, none came", ""),
        ("session.run('INSERT INTO t VALUES (1)')", 2, "[23505", "(a)=(1)"),
        ("session.run('VACUUM')", 2, "`-- migrate: up, no transaction`", ""),
        ("raise SystemExit(3)", 2, "SystemExit: 3", ""),
    ],
)  # fmt: skip
def test_what_fails_is_placed_and_undone(
    write: Write, manager: Make, session: Session, body: str, line: int, says: str, hidden: str
) -> None:
    path = write(f"def up(session):\n    {body}\n\ndef helper():\n    raise RuntimeError('in a helper')\n")
    with pytest.raises(MigrationFailed) as caught:
        manager().migrate()
    assert (caught.value.path, caught.value.line) == (path, line)
    message = str(caught.value)
    assert says in message
    shown = path.read_text().splitlines()[line - 1]
    assert f"{line:>5} | {shown}" in message
    assert "rolled back as a whole" in message
    assert not hidden or hidden not in message.replace(shown, "")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or not hidden
    assert manager().status().head is None


BATCHED = """
    def up(session, after):
        rows = session.all("SELECT a FROM t WHERE a > %s ORDER BY a LIMIT 30", [after or 0])
        for (a,) in rows:
            session.run("UPDATE t SET b = coalesce(b, '') || 'x', a = a WHERE a = %s", [a])
            assert a != STOP, "stopped"
        return rows[-1][0] if rows else None
"""


def test_batches_go_on_where_they_stopped(write: Write, manager: Make, session: Session) -> None:
    write(BATCHED.replace("STOP", "75"))
    with pytest.raises(MigrationFailed, match="AssertionError: stopped") as caught:
        manager().migrate()
    assert "those before it stand (2 batches, on record)" in str(caught.value)
    assert left(session) == 40
    assert manager().status().items[0].state == "partial"
    write(BATCHED.replace("STOP", "-1"))
    assert manager().migrate().applied == ("0001_fill",)
    assert session.all("SELECT DISTINCT b FROM t") == [("x",)]


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("object()", "it returned a object: return where it stopped as a value that JSON holds"),
        ("(after or 0) * 0", "it returned the same place twice"),
        ("float('nan')", "it returned a float"),
    ],
)
def test_a_batch_that_says_nothing_of_use_is_stopped(
    write: Write, manager: Make, returned: str, says: str
) -> None:
    write(f"def up(session, after):\n    return {returned}\n")
    with pytest.raises(MigrationFailed, match=says):
        manager().migrate()


def test_places_of_other_types_come_back_as_text(write: Write, manager: Make, session: Session) -> None:
    write(
        """
        from datetime import date, timedelta
        from uuid import UUID

        def up(session, after):
            session.run("INSERT INTO t SELECT max(a) + 1, %s FROM t", [repr(after)])
            if after is None:
                return UUID(int=1)
            return [date(2025, 1, 1), 2] if isinstance(after, str) else None
        """
    )
    manager().migrate()
    stored = [b for (b,) in session.all("SELECT b FROM t WHERE a > 100 ORDER BY a")]
    assert stored == ["None", "'00000000-0000-0000-0000-000000000001'", "['2025-01-01', 2]"]


def test_what_a_session_leaves_behind_does_not_free_the_lock(
    write: Write, manager: Make, session: Session
) -> None:
    write(
        """
        def up(session):
            session.run("SET search_path = pg_catalog")
            session.run("CREATE TEMP TABLE left_behind (a int)")
        """
    )
    write(
        """
        def up(session):
            mine = "locktype = 'advisory' AND pid = pg_backend_pid()"
            held = session.one(f"SELECT count(*) FROM pg_locks WHERE {mine}")
            assert held == (1,), "the lock was let go"
            session.run("INSERT INTO t VALUES (0)")
        """,
        "0002_looks",
    )
    assert len(manager().migrate().applied) == 2


def test_inside_one_transaction_for_a_scratch_copy(
    write: Write, config: DatabaseConfig, folder: Folder, session: Session
) -> None:
    write(BATCHED.replace("STOP", "-1"))
    write(FILL, "0002_fill")
    with Transaction(lambda: dedicated(config)) as inside:
        for migration in read_folder(folder.path):
            for part in migration.parts(Direction.UP):
                run_inside(inside, migration, part)
    assert left(session) == 0
