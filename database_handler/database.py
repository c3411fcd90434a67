"""`Database`: what an application starts with. It puts the parts together and decides nothing else."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import copy
from itertools import count
from os import PathLike
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypedDict, TypeVar, Unpack, get_args
from uuid import UUID

from psycopg2 import sql

from database_handler.config.database import DatabaseConfig
from database_handler.config.files import FilesConfig
from database_handler.config.settings import Settings
from database_handler.core.base_model import Record
from database_handler.core.connection import ConnectionPool, Lease, dedicated
from database_handler.core.exceptions import (
    ConfigurationError,
    DatabaseHandlerError,
    InvalidValue,
    LockTimeout,
    RetriesExhausted,
)
from database_handler.core.session import Limits, Session
from database_handler.core.transaction import Autocommit, Isolation, TransactionOptions
from database_handler.models import ENTITIES
from database_handler.repositories.resources import Resources
from database_handler.unit_of_work import ALREADY_OPEN, OpenUnits, Repositories, UnitOfWork, Unopened
from database_handler.utils.logger import get_logger

if TYPE_CHECKING:  # imported where they are used, which in most programs is nowhere
    import typing_extensions

    from database_handler.content.store import FileStore
    from database_handler.embedded import EmbeddedServer
    from database_handler.migrations import MigrationManager, MigrationReport
    from database_handler.operations.health import Health
    from database_handler.repositories.files import Files

__all__ = ["Database"]

T = TypeVar("T")
# `Database` alone is one of `UnitOfWork`: at run time Python can say such a default from 3.13 on (PEP 696).
if TYPE_CHECKING:
    U_co = typing_extensions.TypeVar("U_co", bound=UnitOfWork, default=UnitOfWork, covariant=True)
else:
    U_co = TypeVar("U_co", bound=UnitOfWork, covariant=True)
_log = get_logger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0  # seconds


class UnitOptions(TypedDict, total=False):
    """The keywords of a unit; timeouts are in seconds, and the settings' where left out."""

    isolation: Isolation | None
    read_only: bool
    deferrable: bool
    statement_timeout: float | None
    lock_timeout: float | None
    project_id: UUID | None
    resolve: bool


class Database(Repositories, Generic[U_co]):
    """A database, its repositories, and its units of work. It connects when it is first used.

    An application with entities of its own makes a subclass, ``class NewsroomDatabase(Newsroom,
    Database[NewsroomUnit])``; `Newsroom` has the entities, `NewsroomUnit` is a `UnitOfWork` with them.

    Attributes
    ----------
    versions : path, optional
        The folder of the application's migrations, which come after the library's. None: it has none.
    history_table : str, optional
        The table that says which of them are applied; left out, ``application_migrations``.

    Parameters
    ----------
    config : DatabaseConfig or str
        The settings, or a ``postgresql://`` URL.
    files : FilesConfig or FileStore, optional
        Where originals are kept and media are read: settings, or a store of the application's own. Left
        out, originals go into ``var/files`` below the current folder once there are any.

    Examples
    --------
    >>> db = Database("postgresql://localhost/films")
    >>> with db.unit_of_work() as uow:
    ...     project = uow.projects.create(name="Launch film")
    """

    versions: ClassVar[str | PathLike[str] | None] = None
    history_table: ClassVar[str | None] = None
    _unit_class: ClassVar[type[UnitOfWork]] = UnitOfWork

    def __init_subclass__(cls, **options: Any) -> None:
        """Take the class of the units from the type argument; it has the same entities."""
        super().__init_subclass__(**options)
        cls._unit_class = _unit_class(cls)
        _refuse_other_entities(cls, cls._unit_class)

    def __init__(
        self, config: DatabaseConfig | str, *, files: "FilesConfig | FileStore | None" = None
    ) -> None:
        self.config = _config(config)
        shared = _resources(files, type(self).records())
        self.pool = ConnectionPool(self.config)
        self._units = OpenUnits()
        self._server: EmbeddedServer | None = None
        self._limits = Limits(
            self.config.deadline, self.config.max_parameter_bytes, self.config.slow_statement
        )
        self._options = self._unit_options({})[0]
        session = Autocommit(self._lend_outside, self._options, self._limits).session
        super().__init__(session, resources=shared)

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Self:
        """Make one from ``DATABASE_URL`` or ``DB_*``: environment, then ``.env``, then YAML."""
        loaded = settings or Settings.load()
        return cls(loaded.database, files=loaded.files)

    @classmethod
    def embedded(
        cls,
        path: str | PathLike[str],
        *,
        durable: bool = True,
        files: "FilesConfig | FileStore | None" = None,
        **changes: Any,
    ) -> Self:
        """Make one on a PostgreSQL of its own, whose data is kept below `path`.

        Processes that open one path share the server; the last one that ends stops it.

        Parameters
        ----------
        durable : bool
            False gives up safety at a power cut for speed: for tests.
        files : FilesConfig or FileStore, optional
            As for `Database`; left out, originals go into the folder ``files`` below `path`.
        **changes
            Fields of `DatabaseConfig`, such as ``pool_size=2``.
        """
        from database_handler.embedded import EmbeddedServer

        server = EmbeddedServer.start(Path(path), durable=durable)
        try:
            kept = FilesConfig(store_url=str(Path(path).absolute() / "files")) if files is None else files
            database = cls(server.config.with_(**changes), files=kept)
        except BaseException:
            server.close()
            raise
        database._server = server
        return database

    # --------------------------------------------------------------------------------------------- sending

    def _lend_outside(self) -> Lease:
        if self._units.stack:
            raise InvalidValue(
                "this thread has a unit of work open: use uow.*, or, to send outside of it on purpose, "
                "db.repositories(outside_unit=True)"
            )
        return self.pool.borrow(purpose="single statement")

    @property
    def models(self) -> tuple[type[Record], ...]:
        """The record classes that are an application's own, each after those it refers to."""
        return tuple(record for record in self.records() if record not in ENTITIES)

    def repositories(self, *, outside_unit: bool = False) -> Self:
        """Return the repositories that send each statement by itself.

        Parameters
        ----------
        outside_unit : bool
            True lets a thread use them that has a unit open, beside that unit: on another connection,
            which sees nothing of what the unit has not committed.
        """
        if not outside_unit:
            return self
        lend = _lender(self.pool, "outside the unit")
        outside = copy(self)
        outside.session = Autocommit(lend, self._options, self._limits).session
        return outside

    @property
    def files(self) -> "Files":
        """The originals and pictures that rows refer to: sweep what no row needs, check what rows need."""
        from database_handler.repositories.files import Files

        return Files(self.session, self.resources, self.resources.records)

    def unit_of_work(
        self, *, savepoint: bool = False, **options: Unpack[UnitOptions]
    ) -> AbstractContextManager[U_co]:
        """Open a unit: it commits on a clean exit and rolls back on an error.

        Parameters
        ----------
        savepoint : bool
            Inside an open unit of this thread, be a savepoint of that; otherwise that is an error.
        **options
            isolation, read_only, deferrable, statement_timeout, lock_timeout (seconds), project_id (holds
            every statement to one project), resolve (ask what became of a COMMIT whose reply was lost).

        Raises
        ------
        TransactionAborted
            On exit: a statement failed and the failure was swallowed; nothing is stored.
        CommitOutcomeUnknown
            On exit: the connection was lost at COMMIT, and the server could not be asked.
        """
        if self._units.stack:
            return self._nested(savepoint, options)
        transaction, project_id = self._unit_options(options)
        lend = _lender(self.pool, "unit of work")
        unit: Any = self._unit_class(
            lend, transaction, self._limits, self._units, project_id=project_id, resources=self.resources
        )
        opened: Unopened[U_co] = Unopened(unit)  # `_unit_class` is the type argument
        return opened

    def _nested(self, savepoint: bool, options: UnitOptions) -> AbstractContextManager[U_co]:
        if not savepoint:
            raise InvalidValue(ALREADY_OPEN)
        if options:
            raise InvalidValue(f"a savepoint takes no {', '.join(options)}: these are the whole unit's")
        innermost: Any = self._units.stack[-1]  # one of this database's
        part: AbstractContextManager[U_co] = innermost.savepoint()
        return part

    def _unit_options(self, options: UnitOptions) -> tuple[TransactionOptions, UUID | None]:
        given: dict[str, Any] = {
            "statement_timeout": self.config.statement_timeout,
            "lock_timeout": self.config.lock_timeout,
            **options,
        }
        project_id = given.pop("project_id", None)
        if not (project_id is None or isinstance(project_id, UUID)):
            raise InvalidValue(f"project_id is a UUID, not a {type(project_id).__name__}")
        if unknown := set(given) - set(UnitOptions.__annotations__):
            allowed = ", ".join(UnitOptions.__annotations__)
            raise InvalidValue(f"unit_of_work takes no {', '.join(sorted(unknown))}; it takes {allowed}")
        return TransactionOptions(**given), project_id

    def run(
        self,
        work: Callable[[U_co], T],
        *,
        retries: int = 3,
        retry_lock_timeouts: bool = False,
        **options: Unpack[UnitOptions],
    ) -> T:
        """Run a whole unit, and run it again where that may help: a lost race, a lost connection.

        `work` is called once a try, each time with a new unit, so it should do nothing but database work.

        Raises
        ------
        RetriesExhausted
            It failed `retries` + 1 times; the last failure is the cause.
        DatabaseHandlerError
            A failure that another try would not mend, as it is; an unknown outcome is one.
        """
        if type(retries) is not int or not 0 <= retries <= 1000:
            raise InvalidValue("retries is a whole number from 0 to 1,000")
        self._unit_options(options)  # refuses savepoint=True too: a part of a unit is not tried again alone
        for tried in count():
            try:
                with self.unit_of_work(**options) as unit:
                    return work(unit)
            except DatabaseHandlerError as failure:
                again = failure.retryable or (retry_lock_timeouts and isinstance(failure, LockTimeout))
                if not again or not retries:
                    raise
                if tried == retries:
                    raise RetriesExhausted(f"the unit failed {tried + 1} times, last: {failure}") from failure
                self._pause(tried, failure)
        raise AssertionError("unreachable: the loop has no end")

    @staticmethod
    def _pause(tried: int, failure: DatabaseHandlerError) -> None:
        # Exponential with full jitter: losers of one race do not meet again at once.
        seconds = random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**tried))  # noqa: S311  # no secret
        _log.info(
            "unit_of_work.retry", tried=tried + 1, error=type(failure).__name__, pause=round(seconds, 3)
        )
        sleep(seconds)

    # ------------------------------------------------------------------------------------------ the database

    def create_if_missing(self) -> bool:
        """Create the database on its server when it is not there; return whether it was created."""
        maintenance = self.config.with_(name="postgres")
        return _created(Autocommit(lambda: dedicated(maintenance)).session, self.config.name)

    @property
    def migrations(self) -> "MigrationManager":
        """What runs, makes and checks the versions: the library's, or an application's on top of them."""
        from database_handler.migrations import MigrationManager

        return MigrationManager(self)

    def migrate(self, target: str | None = None) -> "MigrationReport":
        """Bring the schema to the newest version, or to `target`; any number of processes may call it.

        Where an application has versions of its own, the library's are all applied first, and `target` is
        one of the application's.
        """
        return self.migrations.migrate(target)

    def health(self) -> "Health":
        """Return how the database is; never raises, and takes no longer than a few seconds."""
        from database_handler.migrations import MigrationManager
        from database_handler.operations.health import check

        def own(session: Session) -> tuple[str | None, str | None]:
            if self.versions is None:
                return None, None
            versions = Path(self.versions)
            return MigrationManager(self.config, versions, history_table=self.history_table).heads(session)

        return check(self.pool, MigrationManager(self.config).heads, own)

    def close(self) -> None:
        """Close the pool, and stop the embedded server if nobody else uses it."""
        try:
            self.pool.close()
        finally:
            if self._server is not None:
                self._server.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config.url()!r})"


def _config(config: DatabaseConfig | str) -> DatabaseConfig:
    if isinstance(config, DatabaseConfig):
        return config
    if isinstance(config, str):
        return DatabaseConfig.from_url(config)
    raise InvalidValue(f"Database takes a URL or a DatabaseConfig, not a {type(config).__name__}")


def _resources(files: "FilesConfig | FileStore | None", records: tuple[type[Record], ...]) -> Resources:
    if files is None:
        return Resources(records=records)
    if isinstance(files, FilesConfig):
        return Resources(files, records=records)
    return Resources(given=files, records=records)


def _unit_class(kind: type[Database[Any]]) -> type[UnitOfWork]:
    """Return the type argument that a subclass gives to `Database`, else the class its base has."""
    for base in vars(kind).get("__orig_bases__", ()):
        for argument in get_args(base):
            if isinstance(argument, type) and issubclass(argument, UnitOfWork):
                return argument
    return kind._unit_class


def _refuse_other_entities(database: type[Repositories], unit: type[Repositories]) -> None:
    if database.entities() == unit.entities():
        return
    named = sorted(database.entities().keys() ^ unit.entities().keys()) or ["the classes of repositories"]
    raise ConfigurationError(
        f"{database.__name__} and its units, {unit.__name__}, differ in {', '.join(named)}: declare the "
        "entities in one subclass of Repositories that is a base of both, as in class App(Repositories), "
        "class AppUnit(App, UnitOfWork), class AppDatabase(App, Database[AppUnit])"
    )


def _lender(pool: ConnectionPool, purpose: str) -> Callable[[], Lease]:
    return lambda: pool.borrow(purpose=purpose)


def _created(session: Session, name: str) -> bool:
    if session.maybe("SELECT 1 FROM pg_database WHERE datname = %s", [name]):
        return False
    try:
        session.run(sql.SQL("CREATE DATABASE {} ENCODING 'UTF8'").format(sql.Identifier(name)))
    except DatabaseHandlerError as failure:
        if failure.sqlstate in {"42P04", "23505"}:  # another process was faster
            return False
        raise
    return True
