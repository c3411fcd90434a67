"""Databases made for a restore: dropped whatever happens, or given their name at the very end.

Each is made under a name of its own, and whoever works on it holds an advisory lock in the maintenance
database, which ends with its connection: what a killed run left is dropped by the next one.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Thread

from psycopg2 import sql

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.deadline import Deadline
from database_handler.core.exceptions import DatabaseHandlerError
from database_handler.core.quoting import LONGEST_NAME
from database_handler.core.session import Limits, Session, Statement
from database_handler.core.transaction import Autocommit, Transaction
from database_handler.migrations.runner.locking import Kept
from database_handler.operations.backup.errors import RestoreFailed, TargetExists
from database_handler.utils.logger import get_logger

__all__ = ["SCRATCH", "Scratch", "databases", "exists", "scratch_database", "swap"]

_log = get_logger(__name__)
SCRATCH = "database_handler_scratch_"
_LOCKS = 0x6261636B  # this module's, of PostgreSQL's advisory locks of two numbers
_MAINTENANCE = "postgres"
_DROP_SECONDS = 30.0
_SWAPS = 5
_KILL_EVERY = 0.05  # seconds
_IN_USE, _THERE = "55006", "42P04"

_SCRATCHES = Statement(
    "SELECT datname::text FROM pg_catalog.pg_database WHERE left(datname, %s) = %s", "backup.scratches"
)
_TRY = Statement(f"SELECT pg_try_advisory_lock({_LOCKS}, %s)", "backup.lock", writes=True)
_UNLOCK = Statement(f"SELECT pg_advisory_unlock({_LOCKS}, %s)", "backup.unlock", writes=True)
_EXISTS = Statement("SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", "backup.exists")
_END = Statement(
    "SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity "
    "WHERE datname = %s AND pid <> pg_backend_pid()",
    "backup.end_sessions",
    writes=True,
)


@contextmanager
def databases(config: DatabaseConfig, deadline: Deadline | None = None) -> Iterator[Session]:
    """Give a session on a server's maintenance database, over one connection, which holds its locks."""
    bound = deadline or Deadline()
    maintenance = config.with_(name=_MAINTENANCE)
    lease = dedicated(maintenance, timeout=bound.within(config.connect_timeout), purpose="backup")
    try:
        kept = Kept(lease)
        yield Autocommit(lambda: kept, limits=Limits(bound.within(None))).session
    finally:
        lease.release()


def exists(session: Session, name: str) -> bool:
    """Tell whether a server has a database of this name."""
    return session.maybe(_EXISTS, [name]) is not None


@dataclass
class Scratch:
    """A database under a name that nobody else uses; dropped unless it was `kept`."""

    config: DatabaseConfig
    session: Session
    kept: bool = field(default=False)

    @property
    def name(self) -> str:
        """Its name for now."""
        return self.config.name

    def rename(self, name: str) -> None:
        """Give it its name for good.

        Raises
        ------
        TargetExists
            Somebody has made one of that name meanwhile.
        """
        renaming = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        for attempt in range(_SWAPS):
            try:
                with _sessions_ended(self.config, self.name):
                    self.session.run(renaming.format(sql.Identifier(self.name), sql.Identifier(name)))
            except DatabaseHandlerError as error:
                if error.sqlstate == _IN_USE and attempt < _SWAPS - 1:
                    continue
                if error.sqlstate == _THERE:
                    raise TargetExists(f"a database of the name {name} was made meanwhile") from None
                raise
            self.kept = True
            return


@contextmanager
def scratch_database(config: DatabaseConfig, encoding: str, deadline: Deadline) -> Iterator[Scratch]:
    """Make an empty database on a server, and drop it afterwards unless it was given a name."""
    with databases(config, deadline) as session:
        drop_abandoned(session)
        number = secrets.randbelow(2**31)
        name = f"{SCRATCH}{number:08x}"
        session.one(_TRY, [number])
        scratch = Scratch(config.with_(name=name), session)
        try:
            # template0: what a site has put into its template1 would collide with what the dump holds.
            session.run(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {}").format(
                    sql.Identifier(name), sql.Literal(encoding)
                )
            )
            yield scratch
        finally:
            if not scratch.kept:
                _drop(config, name)


def drop_abandoned(session: Session) -> None:
    """Drop the databases that killed runs have left: those whose lock nobody holds."""
    for (name,) in session.all(_SCRATCHES, [len(SCRATCH), SCRATCH]):
        with suppress(ValueError, DatabaseHandlerError):  # another one's, or being dropped by another
            number = int(name.removeprefix(SCRATCH), 16)
            if session.one(_TRY, [number])[0]:
                session.run(_dropping(name))
                session.one(_UNLOCK, [number])
                _log.info("backup.scratch_dropped", database=name)


def _dropping(name: str) -> sql.Composed:
    return sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))


def _drop(config: DatabaseConfig, name: str) -> bool:
    """Drop a database over a new connection; tell whether it is gone (the next run drops a scratch one)."""
    try:
        with databases(config, Deadline(_DROP_SECONDS)) as session:
            session.run(_dropping(name))
    except DatabaseHandlerError as error:
        _log.warning("backup.database_left", database=name, reason=type(error).__name__)
        return False
    return True


# ------------------------------------------------------------------------------------------------ swapping


def swap(scratch: Scratch, live: str, *, drop_old: bool, deadline: Deadline) -> str | None:
    """Put a scratch database in the place of a live one, in one transaction; return the old one's name now.

    While the renaming holds the live database's lock nobody new comes in, and those who are in are ended.
    """
    old = _name_before(live)
    for attempt in range(_SWAPS):
        try:
            with _sessions_ended(scratch.config, live, scratch.name):
                _rename_both(scratch, live, old, deadline)
            break
        except DatabaseHandlerError as error:
            if error.sqlstate != _IN_USE or attempt == _SWAPS - 1:
                raise RestoreFailed(
                    f"{live} could not be replaced, and stands as it was: {error}", sqlstate=error.sqlstate
                ) from error
    scratch.kept = True
    return None if drop_old and _drop(scratch.config, old) else old


def _rename_both(scratch: Scratch, live: str, old: str, deadline: Deadline) -> None:
    maintenance = scratch.config.with_(name=_MAINTENANCE)
    renaming = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    with Transaction(lambda: dedicated(maintenance), limits=Limits(deadline.within(None))) as session:
        session.run(renaming.format(sql.Identifier(live), sql.Identifier(old)))
        session.run(renaming.format(sql.Identifier(scratch.name), sql.Identifier(live)))


def _name_before(live: str) -> str:
    ending = f"_before_{datetime.now(UTC):%Y%m%d_%H%M%S}"
    room = LONGEST_NAME - len(ending)
    return live.encode()[:room].decode(errors="ignore") + ending


@contextmanager
def _sessions_ended(config: DatabaseConfig, *names: str) -> Iterator[None]:
    """End the sessions of some databases again and again while the block runs, over another connection."""
    over = Event()
    thread = Thread(target=_end_sessions, args=(config, names, over), name="backup-sessions", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_DROP_SECONDS)


def _end_sessions(config: DatabaseConfig, names: tuple[str, ...], over: Event) -> None:
    with suppress(DatabaseHandlerError), databases(config, Deadline(_DROP_SECONDS)) as session:
        while True:
            for name in names:
                session.all(_END, [name])
            if over.wait(_KILL_EVERY):
                return
