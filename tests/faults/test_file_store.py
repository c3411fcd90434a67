"""Rows and files through kills, lost connections and races: no row ever lacks its file."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest
from psycopg2 import sql

from database_handler import Database, NewProject, NewTextSource, Project
from database_handler.content.store import FileStore, checksum_of
from database_handler.core.exceptions import DatabaseHandlerError, DuplicateRecord
from database_handler.core.session import Statement
from database_handler.repositories.files import SweepReport, while_copying
from tests.support.faults import FaultProxy

ROOT = Path(__file__).parents[2]
TEXT = b"The lamp turns, and it waits."


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


@pytest.fixture
def db(shared_database: Database, store: FileStore) -> Iterator[Database]:
    """Yield a `Database` with a file store of the test's own on the shared database, emptied afterwards."""
    with Database(shared_database.config, files=store) as own:
        yield own
    shared_database.session.run("TRUNCATE projects CASCADE")


@pytest.fixture
def project(db: Database) -> Project:
    return db.projects.create(NewProject(name="Files"))


def create(db: object, project: Project, data: bytes = TEXT) -> str:
    text = db.text_sources.create_from_file(project.id, data, title="t", language="en")  # type: ignore[attr-defined]  # a Database or a unit
    return str(text.storage_uri)


# Killed.

CHILD = """
import os, signal, sys
from uuid import UUID
from database_handler import Database
from database_handler.content.store import FileStore

url, store, project, moment = sys.argv[1:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Dying(FileStore):
    def put(self, source, **more):
        if moment == "before the file":
            die()
        if moment == "amid the file":
            with self._place.draft() as (draft, name):
                draft.write(source[:10])
                draft.flush()
                die()
        stored = super().put(source, **more)
        if moment == "after the file":
            die()
        return stored

with Database(url, files=Dying(store)) as db, db.unit_of_work() as uow:
    uow.text_sources.create_from_file(UUID(project), sys.stdin.buffer.read(), title="t", language="en")
    if moment == "after the commit":
        uow.on_commit(die)
"""


@pytest.mark.parametrize(
    ("moment", "rows", "files"),
    [
        ("before the file", 0, 0),
        ("amid the file", 0, 0),
        ("after the file", 0, 1),
        ("after the commit", 1, 1),
    ],
)
def test_a_kill_leaves_at_most_a_file_without_a_row(
    db: Database, project: Project, store: FileStore, moment: str, rows: int, files: int
) -> None:
    url = db.config.url(hide_password=False)
    command = [sys.executable, "-c", CHILD, url, store.url, str(project.id), moment]
    done = subprocess.run(command, cwd=ROOT, input=TEXT, timeout=60, check=False, stderr=subprocess.PIPE)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert (db.text_sources.count(), len(list(store.iterate()))) == (rows, files)
    unfinished = list((Path(store.url) / "unfinished").iterdir())
    assert len(unfinished) == (moment == "amid the file")
    for path in unfinished:
        os.utime(path, (0, 0))
    assert db.files.sweep() == SweepReport(
        removed=files - rows,
        bytes=len(TEXT) * (files - rows),
        kept=rows,
        unfinished=len(unfinished),
    )
    assert db.files.check().problems == ()
    assert (len(list(store.iterate())), list((Path(store.url) / "unfinished").iterdir())) == (rows, [])
    with suppress(DuplicateRecord):  # the next try finds nothing in its way
        assert store.read(create(db, project)) == TEXT


# A sweep beside others.


def test_a_sweep_leaves_what_a_slow_unit_is_about_to_refer_to(
    db: Database, project: Project, store: FileStore
) -> None:
    store.put(TEXT)  # there already, and nobody's
    with db.unit_of_work() as uow:
        uri = create(uow, project)
        swept = in_another_thread(db.files.sweep)
        assert (swept.removed, swept.skipped) == (0, 1)
    assert store.read(uri) == TEXT
    assert db.files.sweep() == SweepReport(kept=1)


def test_a_sweep_leaves_what_is_being_copied_from_row_to_row(
    db: Database, project: Project, store: FileStore
) -> None:
    uri = create(db, project)
    other = db.projects.create(NewProject(name="Copy"))
    [source] = db.text_sources.list()
    draft = NewTextSource(
        project_id=other.id, title="copy", content=source.content, checksum=source.checksum, storage_uri=uri
    )
    with db.unit_of_work() as uow:
        uow.session.run(while_copying(Statement("SELECT", "copy")))
        uow.text_sources.create(draft)
        in_another_thread(lambda: db.text_sources.delete(source.id))
        assert in_another_thread(db.files.sweep).skipped == 1
    assert store.read(uri) == TEXT


def in_another_thread(work: Callable[[], object]) -> SweepReport:
    """Run something on another connection, and return what it returned."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join(30)
    [result] = results
    return result  # type: ignore[return-value]  # where it is used


def test_a_writer_waits_for_a_sweep_of_its_folder_and_then_puts_the_file_again(
    db: Database, project: Project, store: FileStore
) -> None:
    folder = int(checksum_of(store.put(TEXT).uri)[:2], 16)
    with db.unit_of_work() as uow:
        uow.session.all("SELECT pg_advisory_xact_lock(%s, %s)", [0x66696C65, folder])  # as a sweep does
        done: list[str] = []
        writer = threading.Thread(target=lambda: done.append(create(db, project)))
        writer.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until = monotonic() + 20
        while uow.session.one(waiting) == (0,):
            assert monotonic() < until
        for file in store.iterate():
            store.delete(file.uri)
    writer.join(30)
    [uri] = done
    assert store.read(uri) == TEXT


@pytest.mark.parametrize("part", ["request", "reply"])
def test_a_sweep_that_loses_its_connection_brings_back_what_it_had_set_aside(
    db: Database, store: FileStore, part: str
) -> None:
    uri = store.put(TEXT).uri
    with FaultProxy(db.config) as proxy, Database(proxy.config, files=store) as cut:
        cut.projects.count()
        proxy.lose("request" if part == "request" else "reply", "COMMIT")
        with pytest.raises(DatabaseHandlerError):
            cut.files.sweep()
        assert proxy.fired == 1
    assert (store.set_asides(), store.read(uri)) == ([], TEXT)
    assert db.files.sweep().removed == 1


def test_what_a_killed_sweep_had_set_aside_comes_back_if_a_row_needs_it(
    db: Database, project: Project, store: FileStore
) -> None:
    needed, loose = create(db, project), store.put(b"loose").uri
    for uri in (needed, loose):
        store.set_aside(uri)
    assert db.files.check().problems[0].problem == "missing"
    assert db.files.sweep() == SweepReport(removed=1, bytes=5, kept=1)
    assert (store.read(needed), store.set_asides()) == (TEXT, [])


def test_a_sweep_sees_the_newest_rows_whatever_isolation_the_server_begins_with(
    database: Database, store: FileStore
) -> None:
    setting = sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'")
    database.session.run(setting.format(sql.Identifier(database.config.name)))
    with Database(database.config, files=store) as strict:
        assert strict.session.one("SHOW transaction_isolation") == ("serializable",)
        project = strict.projects.create(NewProject(name="Files"))
        create(strict, project)
        store.put(b"loose")
        assert strict.files.sweep() == SweepReport(removed=1, bytes=5, kept=1)


ROUNDS = 25


def test_no_race_of_writers_and_sweeps_takes_a_file_that_a_row_needs(db: Database, store: FileStore) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")  # noqa: T201  # shown when it fails
    failures, swept, writing = list[BaseException](), list[int](), threading.Event()
    contents = [f"text {number}".encode() for number in range(5)]

    def write(own: random.Random) -> None:
        """Write and delete in a project of its own; the files are everybody's."""
        project, stored = db.projects.create(NewProject(name=f"project {own.random()}")), dict[bytes, str]()
        with db.unit_of_work() as uow:  # so that there is something to sweep, whoever runs when
            create(uow, project, f"of nobody {own.random()}".encode())
            uow.rollback()
        for _ in range(ROUNDS):
            data = own.choice(contents)
            if data in stored:
                assert store.read(stored.pop(data)) == data
                db.text_sources.delete(
                    db.text_sources.list(project_id=project.id, content=data.decode())[0].id
                )
                continue
            with db.unit_of_work() as uow:
                uri = create(uow, project, data)
                if own.random() < 0.3:
                    uow.rollback()
                    continue
            stored[data] = uri
            assert store.read(uri) == data

    def sweep(_: random.Random) -> None:
        while not writing.is_set():
            swept.append(db.files.sweep().removed)

    def watched(work: Callable[[random.Random], None], number: int) -> None:
        try:
            work(random.Random(seed + number))
        except BaseException as error:  # noqa: BLE001  # told below
            failures.append(error)

    threads = [
        threading.Thread(target=watched, args=(work, number))
        for number, work in enumerate([write, write, write, sweep, sweep])
    ]
    for thread in threads:
        thread.start()
    for thread in threads[:3]:
        thread.join(30)
    writing.set()
    for thread in threads[3:]:
        thread.join(30)
    assert failures == []
    assert sum(swept) > 0
    assert db.files.check().problems == ()
    db.files.sweep()
    assert {file.uri for file in store.iterate()} == {text.storage_uri for text in db.text_sources.list()}
