"""SQLAlchemy's Engine over the pool, and its Connection on the transaction of a unit.

Both have one dialect: PostgreSQL's for psycopg2, whose driver is this library (`driver`). What that dialect
would ask the server on its first connection, or set on each, the library knows or has set already.
"""

from threading import Lock
from typing import Any, NoReturn

import sqlalchemy
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.pool import NullPool

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import InvalidValue
from database_handler.core.transaction import Transaction
from database_handler.integrations.sqlalchemy.driver import (
    DRIVER,
    UNIT_COMMITS,
    DriverConnection,
    Opening,
    PooledConnection,
    UnitConnection,
)

__all__ = ["connection_on", "engine_over"]


class Dialect(PGDialect_psycopg2):
    """PostgreSQL through this library."""

    supports_statement_cache = True

    def __init__(self, **options: Any) -> None:
        # hstore would be asked for on each connection; SQLAlchemy reads it by itself then.
        super().__init__(use_native_hstore=False, **options)  # type: ignore[no-untyped-call]
        self._facts: tuple[str | None, int] | None = None
        self._initializing = Lock()

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return this library's driver."""
        return DRIVER

    def on_connect(self) -> None:
        """Nothing to do: the library reads values as what they are."""

    def initialize(self, connection: Any) -> None:
        """Ask the server for its version and its schema, once, in one statement."""
        if self._facts is None:
            facts = _driver_of(connection).facts()
            with self._initializing:
                self._facts = facts
                super().initialize(connection)  # type: ignore[no-untyped-call]

    def _get_server_version_info(self, connection: object) -> tuple[int, int]:  # noqa: ARG002  # SQLAlchemy's name
        number = self._facts[1] if self._facts else 0
        return number // 10_000, number % 10_000

    def _get_default_schema_name(self, connection: object) -> str:  # noqa: ARG002  # likewise
        return (self._facts and self._facts[0]) or "public"

    def _set_backslash_escapes(self, connection: object) -> None:  # noqa: ARG002  # likewise
        self._backslash_escapes = False  # standard_conforming_strings is pinned by the library

    def get_default_isolation_level(self, dbapi_conn: object) -> NoReturn:
        """Say that it is not known: it is the administrator's, and nobody has asked."""
        raise NotImplementedError

    def get_isolation_level(self, dbapi_connection: Any) -> Any:
        """Return the one that was set; else ask the server."""
        if dbapi_connection.autocommit:
            return "AUTOCOMMIT"
        return dbapi_connection.isolation or dbapi_connection.isolation_in_force()

    def set_isolation_level(self, dbapi_connection: Any, level: str) -> None:
        """Set it for the transactions that follow; it goes with their BEGIN."""
        dbapi_connection.autocommit = level == "AUTOCOMMIT"
        dbapi_connection.isolation = None if dbapi_connection.autocommit else level

    def reset_isolation_level(self, dbapi_conn: Any) -> None:
        """Go back to the server's own."""
        dbapi_conn.autocommit, dbapi_conn.isolation = False, None

    def do_savepoint(self, connection: Any, name: str) -> None:
        """Make a savepoint of the transaction's."""
        _driver_of(connection).savepoint(name)

    def do_rollback_to_savepoint(self, connection: Any, name: str) -> None:
        """Undo what was sent since then."""
        _driver_of(connection).undo_savepoint(name)

    def do_release_savepoint(self, connection: Any, name: str) -> None:
        """Keep what was sent since then."""
        _driver_of(connection).release_savepoint(name)

    def do_begin_twophase(self, connection: object, xid: object) -> NoReturn:  # noqa: ARG002  # likewise
        """Refuse: what is prepared outlives its connection, and nobody would end it."""
        raise InvalidValue("two-phase transactions are not offered")

    def do_recover_twophase(self, connection: object) -> NoReturn:  # noqa: ARG002  # likewise
        """Refuse likewise."""
        raise InvalidValue("two-phase transactions are not offered")


registry.register("postgresql.database_handler", __name__, "Dialect")


def _driver_of(connection: Any) -> DriverConnection:
    found: DriverConnection = connection.connection.dbapi_connection
    return found


def engine_over(config: DatabaseConfig, opening: Opening) -> sqlalchemy.Engine:
    """Return an engine that borrows each of its connections from the pool, and keeps none itself."""
    # For people to read: it connects to nothing.
    several = "/" in config.host or "," in config.host
    url = sqlalchemy.URL.create(
        "postgresql+database_handler",
        username=config.user,
        host=None if several else config.host,
        port=None if several else config.port,
        database=config.name,
        query={"host": config.host} if several else {},
    )
    return sqlalchemy.create_engine(
        url, creator=lambda: PooledConnection(opening), poolclass=NullPool, hide_parameters=True
    )


class _Connection(sqlalchemy.Connection):
    """A SQLAlchemy Connection that leaves the end of its transaction to the unit.

    What is overridden is what SQLAlchemy itself would explain wrongly, or could not tell apart.
    """

    __module__ = sqlalchemy.Connection.__module__  # Polars tells whose a connection is by this

    def begin(self) -> sqlalchemy.RootTransaction:
        """Refuse while the unit's transaction is open, which it is from the start."""
        if self.in_transaction():
            raise InvalidValue(
                "the unit of work has begun this transaction; for a part that can be undone by itself there "
                "are begin_nested() and uow.savepoint()"
            )
        return super().begin()

    def commit(self) -> None:
        """Refuse: the unit commits."""
        raise InvalidValue(UNIT_COMMITS)

    def begin_twophase(self, xid: Any = None) -> NoReturn:  # noqa: ARG002  # likewise
        """Refuse: the unit has one transaction."""
        raise InvalidValue("two-phase transactions are not offered")

    def close(self) -> None:
        """End its use; what it has sent stays the unit's."""
        if self.closed:
            return
        unit = _unit_of(self)
        unit.leaving = True
        unit.close()
        super().close()


def _unit_of(connection: sqlalchemy.Connection) -> UnitConnection:
    found = _driver_of(connection)
    if not isinstance(found, UnitConnection):
        raise InvalidValue("this connection is no unit of work's")
    return found


def connection_on(engine: sqlalchemy.Engine, transaction: Transaction) -> sqlalchemy.Connection:
    """Return a connection that sends in a transaction which is not its own to end.

    What it compiles is kept by the engine, from one unit to the next.
    """
    pool = NullPool(lambda: UnitConnection(transaction), dialect=engine.dialect)  # type: ignore[arg-type]
    # Not to be renewed: a new one would be a connection of the pool's, outside of the unit.
    connection = _Connection(engine, connection=pool.connect(), _allow_revalidate=False)
    engine.dialect.initialize(connection)
    connection.begin()
    return connection
