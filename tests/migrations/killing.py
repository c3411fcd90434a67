"""A process that migrates, killed at a message: before it reaches the server, or right after."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.session import Statement
from database_handler.core.transaction import Autocommit
from database_handler.migrations.runner.recording import without_own
from database_handler.migrations.schema.introspection import introspect
from database_handler.migrations.schema.snapshot import SchemaSnapshot
from tests.migrations.conftest import Folder
from tests.migrations.worker import PATIENCE, Run
from tests.support.faults import eventually
from tests.support.wire import CountingProxy, Message, Relay

When = Literal["before", "after"]
Choose = Callable[[int, str], When | None]


class KillingProxy(CountingProxy):
    """Kills the process that migrates through it, before or after a message: `choose` is asked at each."""

    def __init__(self, config: DatabaseConfig, choose: Choose) -> None:
        super().__init__(config)
        self.choose = choose
        self.victim: int | None = None
        self.seen: list[str] = []

    def meets(self, text: str) -> When | None:
        """Note a message, and say when to kill."""
        self.seen.append(text)
        return self.choose(len(self.seen), text)

    def kill(self) -> None:
        assert self.victim is not None
        os.kill(self.victim, signal.SIGKILL)

    def killed(self, folder: Folder, call: str) -> bool:
        """Call `migrate` or `rollback` in a process of its own; whether it was killed before its end."""
        self.seen.clear()
        with running(self.config, folder, call) as run:
            self.victim = run.process.pid
            run.here.send("go")
            run.process.join(PATIENCE)
            assert not run.process.is_alive()
            died = run.process.exitcode == -signal.SIGKILL
            if not died:
                answer = run.expect()
                assert isinstance(answer, tuple), answer
        return died


class _KillingRelay(Relay):
    def from_client(self, message: Message) -> None:
        assert isinstance(self._proxy, KillingProxy)
        when = self._proxy.meets(message.text) if message.text is not None else None
        if when == "before":
            self._proxy.kill()
            raise ConnectionAbortedError
        super().from_client(message)
        if when == "after":
            self._proxy.kill()
            raise ConnectionAbortedError


KillingProxy.relay = _KillingRelay


@contextmanager
def running(config: DatabaseConfig, folder: Folder, call: str) -> Iterator[Run]:
    run = Run(config, folder, call)
    try:
        assert run.expect() == "ready"
        yield run
    finally:
        run.end()


@dataclass(frozen=True)
class State:
    """What a database holds, as far as two of them can be the same."""

    schema: SchemaSnapshot
    rows: dict[str, int]
    history: list[tuple[object, ...]]
    invalid: list[tuple[object, ...]]


def state(config: DatabaseConfig, tables: list[str]) -> State:
    session = Autocommit(lambda: dedicated(config)).session
    rows: dict[str, int] = {}
    for table in tables:
        text = f"SELECT to_regclass('{table}') IS NOT NULL"
        if session.one(Statement(text, "test.there"))[0]:
            digest = f"SELECT coalesce(sum(hashtext(t::text)::bigint), 0)::text FROM {table} t"
            rows[table] = session.one(Statement(digest, "test.rows"))[0]
    history = session.all(
        "SELECT number, name, token_hash, progress, origin FROM application_migrations ORDER BY number"
    )
    invalid = session.all("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
    return State(without_own(introspect(session)), rows, history, invalid)


def gone(config: DatabaseConfig) -> None:
    """Wait until no session of a run is left: a killed client's statement goes on to its end."""
    session = Autocommit(lambda: dedicated(config)).session
    text = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    eventually(lambda: session.one(text)[0] == 0)


def write_versions(path: Path, *, short: bool = False) -> Folder:
    """Write versions of every sort, with what is not harmless to run twice in each; or some less."""
    for name, text in VERSIONS.items():
        lines = [line for line in text.splitlines(keepends=True) if not short or "-- more" not in line]
        (path / name).write_text("".join(lines), encoding="utf-8")
    return Folder(path)


TABLES = ["notes", "log", "log_archive"]
VERSIONS = {
    "0001_notes.sql": """-- migrate: up
CREATE TYPE mood AS ENUM ('calm');
CREATE TABLE notes (id int PRIMARY KEY, body text, words int, owner text, seen bool);
CREATE TABLE log (what text NOT NULL);
INSERT INTO notes (id, body) SELECT n, 'note ' || n FROM generate_series(1, 40) n;
-- migrate: down
DROP TABLE notes, log;
DROP TYPE mood;
""",
    "0002_indexes.sql": """-- migrate: up
INSERT INTO log VALUES ('0002 begins');
-- migrate: up, no transaction
SET maintenance_work_mem = '8MB';
CREATE INDEX CONCURRENTLY notes_body_idx ON notes (body);
CREATE UNIQUE INDEX CONCURRENTLY notes_body_key ON notes (body, id);
INSERT INTO log VALUES ('0002 between');
DROP INDEX CONCURRENTLY notes_body_idx;
ALTER TYPE mood ADD VALUE 'bright';
REINDEX INDEX CONCURRENTLY notes_body_key; -- more
VACUUM notes; -- more
-- migrate: up
INSERT INTO log VALUES ('0002 ends');
-- migrate: verify
SELECT 1 / count(*) FROM pg_indexes WHERE indexname = 'notes_body_key';
-- migrate: down, no transaction
CREATE INDEX CONCURRENTLY notes_body_idx ON notes (body); -- more
DROP INDEX CONCURRENTLY notes_body_key;
INSERT INTO log VALUES ('0002 undone');
DROP INDEX CONCURRENTLY notes_body_idx; -- more
""",
    "0003_words.sql": """-- migrate: up, batched
UPDATE notes SET words = coalesce(words, 0) + 1
WHERE ctid = ANY (ARRAY(SELECT ctid FROM notes WHERE words IS NULL LIMIT 15));
-- migrate: up
INSERT INTO log VALUES ('0003 ends');
-- migrate: down, batched
UPDATE notes SET words = NULL
WHERE ctid = ANY (ARRAY(SELECT ctid FROM notes WHERE words IS NOT NULL LIMIT 20));
""",
    "0004_owner.py": '''"""Gives every note an owner."""


def up(session):
    session.run("UPDATE notes SET owner = coalesce(owner, '') || 'o' || id")
    session.run("INSERT INTO log VALUES ('0004')")


def verify(session):
    assert session.one("SELECT count(*) FROM notes WHERE owner IS NULL") == (0,), "a note without an owner"


def down(session):
    session.run("UPDATE notes SET owner = NULL")
''',
    "0005_copies.py": '''"""Copies what is logged, and each note, into the log, some at a time."""


def up(session, after):
    rows = session.all("SELECT id FROM notes WHERE id > %s ORDER BY id LIMIT 18", [after or 0])
    for (number,) in rows:
        session.run("INSERT INTO log VALUES (%s)", [f"copied {number}"])
    return rows[-1][0] if rows else None


def down(session, after):
    some = "SELECT ctid FROM log WHERE what LIKE 'copied%' LIMIT 25"
    gone = session.run(f"DELETE FROM log WHERE ctid = ANY (ARRAY({some}))")
    session.run("INSERT INTO log VALUES ('0005 undoes')")
    return (after or 0) + 1 if gone else None
''',
}
