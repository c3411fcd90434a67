"""`Database`: what an application starts with. It puts the parts together and decides nothing else.

It is one module, over 300 lines, because it is the one list of what can be done with a database.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from copy import copy
from dataclasses import replace
from datetime import timedelta
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    Self,
    TypedDict,
    TypeVar,
    Unpack,
    get_args,
)
from uuid import UUID

from psycopg2 import sql

from database_handler.config.cache import CacheConfig
from database_handler.config.database import DatabaseConfig
from database_handler.config.files import FilesConfig
from database_handler.config.settings import Settings
from database_handler.core.base_model import Record
from database_handler.core.budget import Budget
from database_handler.core.cache import IDENTITY, Cache
from database_handler.core.connection import ConnectionPool, Lease, dedicated
from database_handler.core.deadline import Deadline, checked_seconds
from database_handler.core.events import Listeners, Observer, Target, Tries
from database_handler.core.exceptions import ConfigurationError, DatabaseHandlerError, InvalidValue
from database_handler.core.idempotency import Once, forget
from database_handler.core.retry import RetryPolicy, retried
from database_handler.core.session import Limits, Session
from database_handler.core.transaction import Autocommit, Isolation, TransactionOptions
from database_handler.models import ENTITIES
from database_handler.repositories.resources import Resources
from database_handler.unit_of_work import ALREADY_OPEN, OpenUnits, Repositories, UnitOfWork, Unopened
from database_handler.utils.arguments import checked

if TYPE_CHECKING:  # imported where they are used, which in most programs is nowhere
    import typing_extensions

    from database_handler.content.store import FileStore
    from database_handler.embedded import EmbeddedServer
    from database_handler.migrations import MigrationManager, MigrationReport
    from database_handler.operations.advice import Advice, AdviceLimits
    from database_handler.operations.backup import Backups
    from database_handler.operations.health import Health
    from database_handler.operations.roles import RoleNames, Roles
    from database_handler.operations.statements_report import StatementStats, TopOrder
    from database_handler.repositories.files import Files

__all__ = ["Database"]

T = TypeVar("T")
# `Database` alone is one of `UnitOfWork`: at run time Python can say such a default from 3.13 on (PEP 696).
if TYPE_CHECKING:
    U_co = typing_extensions.TypeVar("U_co", bound=UnitOfWork, default=UnitOfWork, covariant=True)
else:
    U_co = TypeVar("U_co", bound=UnitOfWork, covariant=True)


class UnitOptions(TypedDict, total=False):
    """The keywords of a unit; timeouts are in seconds, and the settings' where left out."""

    isolation: Isolation | None
    read_only: bool
    deferrable: bool
    statement_timeout: float | None
    lock_timeout: float | None
    project_id: UUID | None
    resolve: bool
    deadline: float | None
    max_statements: int | None


class _Opening(NamedTuple):
    """The keywords of a unit, checked."""

    options: TransactionOptions
    project_id: UUID | None
    deadline: Deadline
    budget: Budget


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
    cache : CacheConfig or str, optional
        A Redis or Valkey, or its URL, to read single records and statistics through. All processes that
        write to the database need it, or none.

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
        self,
        config: DatabaseConfig | str,
        *,
        files: "FilesConfig | FileStore | None" = None,
        cache: CacheConfig | str | None = None,
    ) -> None:
        self.config = _config(config)
        shared = _resources(files, type(self).records())
        self.pool = ConnectionPool(self.config)
        self._units = OpenUnits()
        self._server: EmbeddedServer | None = None
        self._listeners = Listeners()
        self._limits = Limits(
            self.config.deadline,
            self.config.max_parameter_bytes,
            self.config.slow_statement,
            self._listeners,
            _cache(cache, self.pool, type(self).records()),
        )
        self.project_id = None
        self._options = self._opening({}).options
        session = Autocommit(self._lend_outside, self._options, self._limits).session
        super().__init__(session, resources=shared)
        if self.config.explain_slow is not None:
            from database_handler.operations.monitoring import SlowPlans

            self.observe(SlowPlans(self.config.explain_slow))

    @classmethod
    @checked
    def from_settings(cls, settings: Settings | None = None) -> Self:
        """Make one from ``DATABASE_URL`` or ``DB_*``: environment, then ``.env``, then YAML."""
        loaded = settings or Settings.load()
        return cls(loaded.database, files=loaded.files, cache=loaded.cache)

    @classmethod
    @checked
    def embedded(
        cls,
        path: str | PathLike[str],
        *,
        durable: bool = True,
        files: "FilesConfig | FileStore | None" = None,
        cache: CacheConfig | str | None = None,
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
        cache : CacheConfig or str, optional
            As for `Database`.
        **changes
            Fields of `DatabaseConfig`, such as ``pool_size=2``.
        """
        from database_handler.embedded import EmbeddedServer

        server = EmbeddedServer.start(Path(path), durable=durable)
        try:
            kept = FilesConfig(store_url=str(Path(path).absolute() / "files")) if files is None else files
            database = cls(server.config.with_(**changes), files=kept, cache=cache)
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

    @checked
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

    @checked
    def for_project(self, project_id: UUID) -> Self:
        """Return the repositories that send each statement by itself, held to one project.

        With row-level security these are what shows rows outside a unit: each statement says its project, in
        the same message. Its units are held to the project too.
        """
        held = copy(self)
        held.project_id = project_id
        options = replace(self._options, project_id=project_id)
        held.session = Autocommit(self._lend_outside, options, self._limits).session
        return held

    @property
    def files(self) -> "Files":
        """The originals and pictures that rows refer to: sweep what no row needs, check what rows need."""
        from database_handler.repositories.files import Files

        return Files(self.session, self.resources, self.resources.records)

    @checked
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
            every statement to one project), resolve (ask what became of a COMMIT whose reply was lost),
            deadline (seconds for the whole unit, enforced by the client too), max_statements (one more is
            refused: a query budget).

        Raises
        ------
        TransactionAborted
            On exit: a statement failed and the failure was swallowed; nothing is stored.
        CommitOutcomeUnknown
            On exit: the connection was lost at COMMIT, and the server could not be asked.
        DeadlineExceeded
            In it or on exit: the deadline has passed; nothing is stored.
        StatementBudgetExceeded
            In it: `max_statements` were sent already.
        """
        if self._units.stack:
            return self._nested(savepoint, options)
        return self._opened(self._opening(options))

    def _opened(self, opening: _Opening, tries: Tries | None = None) -> AbstractContextManager[U_co]:
        unit: Any = self._unit_class(
            _lender(self.pool, "unit of work", opening.deadline),
            opening.options,
            self._limits,
            self._units,
            deadline=opening.deadline,
            budget=opening.budget,
            project_id=opening.project_id,
            resources=self.resources,
            tries=tries,
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

    def _opening(self, options: UnitOptions) -> _Opening:
        given: dict[str, Any] = {
            "statement_timeout": self.config.statement_timeout,
            "lock_timeout": self.config.lock_timeout,
            "project_id": self.project_id,
            **options,
        }
        project_id, deadline = given.get("project_id"), given.pop("deadline", None)
        budget = Budget(given.pop("max_statements", None), self.config.repeated_statement)
        checked_seconds("deadline", deadline)
        if unknown := set(given) - set(UnitOptions.__annotations__):
            allowed = ", ".join(UnitOptions.__annotations__)
            raise InvalidValue(f"unit_of_work takes no {', '.join(sorted(unknown))}; it takes {allowed}")
        return _Opening(TransactionOptions(**given), project_id, Deadline(deadline), budget)

    @checked
    def run(
        self,
        work: Callable[[U_co], T],
        *,
        retries: int = 3,
        retry_lock_timeouts: bool = False,
        idempotency_key: str | None = None,
        returns: Any = None,
        **options: Unpack[UnitOptions],
    ) -> T:
        """Run a whole unit, and run it again where that may help: a lost race, a lost connection.

        `work` is called once a try, each time with a new unit, so it should do nothing but database work.

        Parameters
        ----------
        idempotency_key : str, optional
            Your name for what is to be done once. It is written in the unit's own transaction, so the unit
            may be sent again after any failure, an unknown outcome and a failover included, by this process
            or another, and takes effect once: where the key is there already, `work` is not called, and
            what it gave then is returned.
        returns : type, optional
            With a key: what `work` gives, as pydantic takes it (``Project``, ``list[UUID]``); kept as JSON
            beside the key. Left out, `work` gives None.
        **options
            Those of `unit_of_work`; `deadline` bounds all tries and the pauses between them.

        Raises
        ------
        RetriesExhausted
            It failed `retries` + 1 times; the last failure is the cause.
        DeadlineExceeded
            The deadline has passed; nothing is stored.
        DatabaseHandlerError
            A failure that another try would not mend, as it is; an unknown outcome is one without a key.
        """
        opening = self._opening(options)  # refuses savepoint=True too: a part of a unit is not retried alone
        once: Once[T] | None = None if idempotency_key is None else Once(idempotency_key, returns)
        if once is None and returns is not None:
            raise InvalidValue("returns= belongs to an idempotency_key=")
        if once is not None and opening.options.read_only:
            raise InvalidValue("a unit with an idempotency_key writes the key; it cannot be read_only")
        policy = RetryPolicy(
            retries,
            lock_timeouts=retry_lock_timeouts,
            unknown_outcomes=once is not None,
            writes=not opening.options.read_only,
        )
        tries = Tries()
        attempt = partial(self._attempt, work, opening, once, tries)
        return retried(attempt, policy, opening.deadline, partial(self._note_retry, tries))

    def _note_retry(self, tries: Tries, reason: str) -> None:
        tries.number, tries.reason = tries.number + 1, reason
        self.pool.count_retry(reason)
        self._listeners.retry(reason)

    def _attempt(self, work: Callable[[U_co], T], opening: _Opening, once: Once[T] | None, tries: Tries) -> T:
        with self._opened(opening._replace(deadline=opening.deadline.copy()), tries) as unit:
            if once is None:
                return work(unit)
            if (kept := once.begin(unit.session)) is not None:
                return kept.value
            given = work(unit)
            once.keep(unit.session, given)
            return given

    def forget_idempotency_keys(self, *, older_than: timedelta) -> int:
        """Delete the keys that `run` wrote longer ago than that; return how many they were.

        A unit that is sent again after its key is gone is done again, so keep them longer than anybody
        tries.
        """
        return forget(self.session, older_than)

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

    def migrate(self, target: str | None = None, *, or_newer: bool = False) -> "MigrationReport":
        """Bring the schema to the newest version, or to `target`; any number of processes may call it.

        Where an application has versions of its own, the library's are all applied first, and `target` is
        one of the application's.

        Parameters
        ----------
        or_newer : bool
            Leave a database alone that a newer release has migrated further, as a process of the older one
            finds it that starts during a rolling deployment; otherwise that is an error.
        """
        cache = self.cache
        if cache is None or not self.migrations.migrate(target, True, or_newer=or_newer).planned:
            return self.migrations.migrate(target, or_newer=or_newer)
        with cache.announced_everything():  # a migration may change any row
            return self.migrations.migrate(target, or_newer=or_newer)

    @property
    def cache(self) -> Cache | None:
        """What single records are read through, and what can be asked of it; None where there is no cache."""
        return self._limits.cache

    @checked
    def backups(
        self,
        place: str | Path,
        options: Mapping[str, Any] | None = None,
        *,
        programs: str | Path | None = None,
    ) -> "Backups":
        """Return the backups of this database in one place: make, verify, prune and restore them.

        Parameters
        ----------
        place : str or Path
            A folder, or a URL that fsspec reads, such as ``s3://bucket/prefix``.
        options : mapping, optional
            What fsspec gives to the file system; not for a folder.
        programs : path, optional
            The folder of pg_dump and pg_restore; found by the server's version when left out.
        """
        from database_handler import __version__
        from database_handler.operations.backup import Backups, Source

        keeps_files = self.resources.given is not None or self.resources.config.store_url is not None
        source = Source(
            self.config,
            store=(lambda: self.resources.files) if keeps_files else None,
            records=self.records(),
            version=__version__,
            heads=self._heads,
            migrate=self._migrate_other,
        )
        return Backups(source, place, options, programs=programs)

    def _heads(self, session: Session) -> dict[str, str | None]:
        """Return the newest applied migrations; asked inside a transaction, which a failure would end."""
        there = "SELECT to_regclass(quote_ident(%s)) IS NOT NULL"
        return {
            whose: manager.heads(session)[0] if session.one(there, [manager.history_table])[0] else None
            for whose, manager in _managers(self.config, self.versions, self.history_table).items()
        }

    def _migrate_other(self, config: DatabaseConfig) -> None:
        with type(self)(config) as other:
            other.migrate()

    @checked
    def health(
        self,
        *,
        seconds: float = 2.0,
        max_waiting: int | None = None,
        max_replica_lag: float | None = 30.0,
    ) -> "Health":
        """Return how the database is, for the probes of an orchestrator too; a server's state never raises.

        Parameters
        ----------
        seconds : float
            The time for all of it: a server that is frozen or cannot be reached costs no more.
        max_waiting : int, optional
            More borrowers than this in the pool's queue, and it is not ready; as many as the pool has
            connections when left out. Nor is it where none becomes free within half of `seconds`.
        max_replica_lag : float, optional
            Seconds that a standby may be behind and be ready; None: any.
        """
        from database_handler.operations.health import HealthLimits, check

        managers = _managers(self.config, self.versions, self.history_table).values()
        limits = HealthLimits(seconds, max_waiting, max_replica_lag)
        return check(self.pool, *(manager.standing for manager in managers), limits=limits)

    @checked
    def roles(self, names: "RoleNames | None" = None, *, schema: str | None = None) -> "Roles":
        """Return what plans, checks and applies the roles of this database: owner, application and so on.

        Parameters
        ----------
        names : RoleNames, optional
            What they are called; left out, the database's name with ``_owner``, ``_app`` and so on.
        schema : str, optional
            Where the tables are; the library's own schema when left out.
        """
        from database_handler.operations.roles import RoleNames, Roles

        if not (names is None or isinstance(names, RoleNames)):
            raise InvalidValue(f"names are RoleNames, not a {type(names).__name__}")
        return Roles(self.config, names, schema=schema)

    @checked
    def advise(self, *, limits: "AdviceLimits | None" = None, statement_timeout: float = 5.0) -> "Advice":
        """Return what the server's own statistics say should be looked at; nothing is changed.

        Parameters
        ----------
        limits : AdviceLimits, optional
            From when on an index is unused, a transaction long, and so on.
        statement_timeout : float
            Seconds for each question; one that takes longer is told as not seen.
        """
        from database_handler.operations.advice import AdviceLimits, advise

        if not (limits is None or isinstance(limits, AdviceLimits)):
            raise InvalidValue(f"limits are AdviceLimits, not a {type(limits).__name__}")
        return advise(self.pool, limits=limits, statement_timeout=statement_timeout)

    @checked
    def observe(self, observer: Observer, *, name: str | None = None) -> None:
        """Let an observer hear of every statement, unit and retry from now on, until the database is closed.

        Parameters
        ----------
        observer : Observer
            Such as `PrometheusMetrics` or `Tracing` of ``database_handler.operations.monitoring``.
        name : str, optional
            What this database is called there; its own name when left out.
        """
        if not callable(getattr(observer, "attach", None)):
            raise InvalidValue(
                "an observer has a method attach(target): PrometheusMetrics(), Tracing(), or one of your own"
            )
        heads = partial(_heads, self.config, self.versions, self.history_table)
        called = self.config.name if name is None else name
        tables = frozenset(record.table.name for record in self.records())
        self._listeners.add(observer.attach(Target(called, self.config, tables, self.pool, heads)))

    @checked
    def top(
        self, *, limit: int = 20, order: "TopOrder" = "total", reset: bool = False
    ) -> "tuple[StatementStats, ...]":
        """Return the statements that this database spent its time on, with the call that sent each.

        Parameters
        ----------
        order : {"total", "mean", "calls", "rows"}
            Most time in all, slowest, most called, most rows.
        reset : bool
            Have the server forget this database's numbers afterwards.

        Raises
        ------
        ConfigurationError
            The server does not keep them (pg_stat_statements); the message says what to do.
        """
        from database_handler.operations.statements_report import top

        return top(self.session, limit=limit, order=order, reset=reset)

    def close(self) -> None:
        """Close the pool, and stop the embedded server if nobody else uses it."""
        self._listeners.close()
        with ExitStack() as afterwards:  # each is closed though one before it fails
            if self._server is not None:
                afterwards.callback(self._server.close)
            if self.cache is not None:
                afterwards.callback(self.cache.close)
            self.pool.close()

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


def _heads(
    config: DatabaseConfig, versions: str | PathLike[str] | None, table: str | None, session: Session
) -> dict[str, tuple[str | None, str | None]]:
    """Return the applied and the expected newest migration, the library's and the application's."""
    managers = _managers(config, versions, table)
    return {whose: manager.heads(session) for whose, manager in managers.items()}


def _managers(
    config: DatabaseConfig, versions: str | PathLike[str] | None, table: str | None
) -> "dict[str, MigrationManager]":
    """Return what knows the library's versions, and an application's where there are any."""
    from database_handler.migrations import MigrationManager

    found = {"library": MigrationManager(config)}
    if versions is not None:
        found["application"] = MigrationManager(config, Path(versions), history_table=table)
    return found


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


def _cache(
    cache: CacheConfig | str | None, pool: ConnectionPool, records: tuple[type[Record], ...]
) -> Cache | None:
    """Make the cache, which connects to nothing yet; its own question goes beside what a thread has open."""
    if not isinstance(cache, CacheConfig | str | None):
        raise InvalidValue(f"cache is a CacheConfig or a URL, not a {type(cache).__name__}")
    config = CacheConfig.model_validate({"url": cache}) if isinstance(cache, str) else cache
    if config is None or config.url is None:
        return None
    from database_handler.operations.cache_server import RedisServer

    made = Cache(config, RedisServer(config), [record.table for record in records])
    made.bind(lambda: Autocommit(_lender(pool, "cache")).session.one(IDENTITY))
    return made


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


def _lender(pool: ConnectionPool, purpose: str, deadline: Deadline | None = None) -> Callable[[], Lease]:
    if deadline is None:
        return lambda: pool.borrow(purpose=purpose)
    return lambda: pool.borrow(purpose=purpose, within=deadline.within(None))


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
