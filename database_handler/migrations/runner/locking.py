"""Only one run at a time: a polled advisory lock, and a look at who is in the way.

`pg_advisory_lock` would wait inside a statement, whose snapshot keeps CREATE INDEX CONCURRENTLY of the holder
waiting in turn: a deadlock. So the lock is asked for again and again, each time in a statement that ends.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import SystemRandom
from threading import Event, Thread
from typing import NamedTuple

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import Lease, dedicated
from database_handler.core.exceptions import ConfigurationError, DatabaseHandlerError
from database_handler.core.quoting import qualified
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Autocommit, Lent, Transaction
from database_handler.migrations.errors import MigrationLockTimeout, PoolerInTheWay, ReadOnlyTarget
from database_handler.utils.logger import get_logger

__all__ = ["BlockerWatch", "Held", "Kept", "LockRetries", "acquire", "backoff", "lock_key"]

_log = get_logger(__name__)
_jitter = SystemRandom()
_POLL_SECONDS = 0.02, 0.25  # at first, and at most: a run that has just died is soon followed
_TELL_SECONDS = 5.0
_TELL_BLOCKERS = 30.0


@dataclass(frozen=True, slots=True)
class LockRetries:
    """How long a transaction waits for a table's lock (seconds), and how often it tries.

    Attributes
    ----------
    concurrent_deadline : float
        Seconds that a statement outside of a transaction may take, such as CREATE INDEX CONCURRENTLY.
    """

    timeout: float = 2.0
    attempts: int = 30
    concurrent_deadline: float = 3600.0


class Kept:
    """The run's one connection, lent to one transaction after the other; giving it back keeps it."""

    tainted: bool = False

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.last_statement = ""
        self.spoiled = False  # it is kept whatever happens: it holds the lock
        self.connection = lease.connection
        self.guard = lease.guard
        self.backend_pid = lease.backend_pid
        self.retire = lease.retire
        self.trace = lease.trace
        self.plans = lease.plans

    def __setattr__(self, name: str, value: object) -> None:
        """Set anything but `tainted`: the reset that it asks for would release the lock.

        What matters is reset by the history's statements.
        """
        if name != "tainted":
            super().__setattr__(name, value)

    def release(self, *, discard: bool = False) -> None:
        """Keep the connection; one that must not be used again is closed."""
        if discard:
            self.connection.close()


class Held(NamedTuple):
    """The lock, as it is held: the server process, and the schema of the history table."""

    backend: int
    schema: str | None


def lock_key(database: str, table: str) -> int:
    """Return the advisory lock's 64-bit key for one history table of one database, in its schema public.

    In another schema the server makes another key of it, so that schemas are migrated side by side.
    """
    digest = hashlib.sha256(f"database_handler migrations\0{database}\0{table}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


# CASE, unlike AND, is evaluated in order: a server that takes no writes is not locked.
_TRY = Statement(
    "SELECT pg_backend_pid(), read_only, key, schema,"
    " CASE WHEN read_only OR schema IS NULL THEN false ELSE pg_try_advisory_lock(key) END"
    " FROM (SELECT *, CASE schema WHEN 'public' THEN %s ELSE hashtextextended(schema, %s) END AS key"
    " FROM (SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,"
    " coalesce((SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
    " ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)), %s, current_schema())::text AS schema"
    " OFFSET 0) s OFFSET 0) k",
    "migrations.lock",
)
_HOLDERS = Statement(
    "SELECT a.pid, a.application_name, to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
    " FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND l.objsubid = 1 AND (l.classid::bigint << 32 | l.objid::bigint) = %s",
    "migrations.lock_holders",
)
_PID = Statement("SELECT pg_backend_pid()", "migrations.backend")


def acquire(
    lease: Kept, config: DatabaseConfig, table: str, *, wait: float, schema: str | None = None
) -> Held:
    """Take the migrations' lock of this database and table, polling for up to `wait` seconds.

    The table is the one in `schema`; the search path decides when that is left out.

    Raises
    ------
    MigrationLockTimeout
        Another process had it all the time; the message names it.
    ReadOnlyTarget
        The server is a standby, or takes no writes.
    PoolerInTheWay
        Two connections share one server process: the lock would belong to anybody.
    ConfigurationError
        The database cannot hold every text, for its encoding is not UTF8, or there is no schema to be in.
    """
    _refuse_encoding(lease)
    session = Autocommit(lambda: lease).session
    key = lock_key(config.name, table)
    named = qualified(schema, table)
    waiting = _Waiting(session, wait)
    while True:
        backend, read_only, found, there, locked = session.one(_TRY, [key, key, named, schema])
        if read_only:
            raise ReadOnlyTarget(
                "versions are pending, and this server takes no writes (a standby, or default_transaction_"
                "read_only is on): migrate the primary"
            )
        if there is None:
            raise ConfigurationError(
                "no schema of the search_path exists, so that there is no place to make tables in: create "
                "it, or set another search_path for the role; nothing was run"
            )
        if locked:
            _refuse_pooler(lease, config, backend)
            return Held(backend, there)
        waiting.again(found)


def _refuse_encoding(lease: Kept) -> None:
    encoding = lease.connection.get_parameter_status("server_encoding")  # told at the start: no round trip
    if encoding not in {"UTF8", None}:
        raise ConfigurationError(
            f"the database's encoding is {encoding}, which cannot hold every text: create one WITH ENCODING "
            "'UTF8' TEMPLATE template0; nothing was run"
        )


class _Waiting:
    """Bounds the wait for the lock, and tells now and then for whom."""

    def __init__(self, session: Session, seconds: float) -> None:
        self._session = session
        self._seconds = seconds
        self._tries = 0
        self._started = self._told = time.monotonic()
        self._told -= _TELL_SECONDS

    def again(self, key: int) -> None:
        now = time.monotonic()
        left = self._started + self._seconds - now
        if now - self._told >= _TELL_SECONDS or left <= 0:
            self._told = now
            holders = self._holders(key)
            if left <= 0:
                raise MigrationLockTimeout(
                    f"the migrations' lock was not had within {self._seconds:g} s: {holders} has it. Wait "
                    "for that run to end and try again; if it hangs, end it with pg_terminate_backend(pid)"
                )
            _log.info("migrations.waiting", holder=holders, seconds_left=round(left, 1))
        self._tries += 1
        pause = min(_POLL_SECONDS[0] * 1.5 ** min(self._tries, 20), _POLL_SECONDS[1])
        time.sleep(min(max(left, 0.0), _jitter.uniform(0.3, 1.0) * pause))

    def _holders(self, key: int) -> str:
        rows = self._session.all(_HOLDERS, [key])
        told = [
            f"process {pid} ({name or 'without a name'}, connected since {at}Z)" for pid, name, at in rows
        ]
        return ", ".join(told) or "a process that has just ended"


def _refuse_pooler(lease: Kept, config: DatabaseConfig, backend: int) -> None:
    """Refuse a pooler that does not keep a server process for each client connection.

    A pooler makes up the process number that a connection is greeted with. Then a second connection that is
    in a transaction must not stand on the process that holds the lock.
    """
    if lease.backend_pid == backend:
        return
    for _ in range(3):
        with Transaction(lambda: dedicated(config)) as session:
            shared = session.one(_PID)[0] == backend
        if shared or Autocommit(lambda: lease).session.one(_PID)[0] != backend:
            raise PoolerInTheWay(
                "a pooler in transaction mode lies between, where no lock can be held: set migration_url "
                "to the server's own address; nothing was run"
            )


# ------------------------------------------------------------------------------------------------- blockers

_BLOCKERS = Statement(
    "SELECT a.pid, a.application_name, a.state,"
    " round(extract(epoch FROM clock_timestamp() - a.xact_start))::int"
    " FROM unnest(pg_blocking_pids(%s)) AS b(pid) JOIN pg_stat_activity a USING (pid)",
    "migrations.blockers",
)


class BlockerWatch:
    """Looks, over a connection of its own, for who keeps a server process waiting.

    It connects only when a statement takes longer than `interval`, so that a quick run never does.
    """

    def __init__(self, config: DatabaseConfig, backend: int, interval: float) -> None:
        self._config = config
        self._backend = backend
        self._interval = interval
        self._version = ""
        self.blockers = ""

    @contextmanager
    def watching(self, version: str = "") -> Iterator[None]:
        """Watch while the block runs; `blockers` tells those seen last; the log does too, for a version."""
        self.blockers, self._version = "", version
        over = Event()
        thread = Thread(target=self._watch, args=(over,), name="migrations-blockers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(timeout=1.0)

    def _watch(self, over: Event) -> None:
        if over.wait(self._interval):
            return
        with suppress(DatabaseHandlerError):  # only what it would have told is lost
            lease = dedicated(self._config)
            try:
                self._look(Kept(lease), over)
            finally:
                lease.release()

    def _look(self, lease: Lent, over: Event) -> None:
        session = Autocommit(lambda: lease).session
        told = -_TELL_BLOCKERS
        while not over.is_set():
            rows = session.all(_BLOCKERS, [self._backend])
            if rows:
                self.blockers = ", ".join(
                    f"process {pid} ({name or 'without a name'}, {state}, in transaction for {age or 0} s)"
                    for pid, name, state, age in rows
                )
            if rows and self._version and time.monotonic() - told >= _TELL_BLOCKERS:
                told = time.monotonic()
                _log.warning("migration.waits", version=self._version, blockers=self.blockers)
            over.wait(self._interval)


def backoff(attempt: int, *, base: float = 0.1, cap: float = 5.0) -> float:
    """Return seconds to wait before the next attempt: full jitter under an exponential ceiling."""
    return _jitter.uniform(0.0, min(cap, base * 2.0 ** min(attempt, 20)))
