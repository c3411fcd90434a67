"""`Database`: what an application starts with. It puts the parts together and decides nothing else.

It is one module, over 300 lines, because it is the one list of what can be done with a database.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from copy import copy
from dataclasses import replace
from datetime import timedelta
from functools import partial
from os import PathLike
from pathlib import Path
from time import monotonic
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
from database_handler.config.database import ChangesMode, DatabaseConfig
from database_handler.config.files import FilesConfig
from database_handler.config.settings import Settings
from database_handler.core.base_model import Record
from database_handler.core.budget import Budget
from database_handler.core.cache import IDENTITY, Cache
from database_handler.core.connection import ConnectionPool, Lease, dedicated
from database_handler.core.deadline import Deadline, checked_seconds
from database_handler.core.events import Listeners, Observer, Target, Tries
from database_handler.core.exceptions import (
    ConfigurationError,
    DatabaseHandlerError,
    InvalidValue,
    ReadOnlyServer,
)
from database_handler.core.idempotency import Once, forget
from database_handler.core.retry import RetryPolicy, retried
from database_handler.core.session import Limits, Session
from database_handler.core.transaction import Autocommit, Isolation, Lend, Transaction, TransactionOptions
from database_handler.models import ENTITIES
from database_handler.repositories.resources import Resources
from database_handler.unit_of_work import ALREADY_OPEN, OpenUnits, Repositories, UnitOfWork, Unopened
from database_handler.utils.arguments import checked

if TYPE_CHECKING:  # imported where they are used, which in most programs is nowhere
    import sqlalchemy
    import typing_extensions

    from database_handler.content.store import FileStore
    from database_handler.core.changes import Changes
    from database_handler.core.position import Position
    from database_handler.core.replicas import Replicas, ReplicaStatus
    from database_handler.embedded import EmbeddedServer
    from database_handler.migrations import MigrationManager, MigrationReport
    from database_handler.operations.advice import Advice, AdviceLimits
    from database_handler.operations.backup import Backups
    from database_handler.operations.changes import ChangeFeed, Outbox
    from database_handler.operations.distribution import DistributionReport
    from database_handler.operations.distribution.plan import ProjectsAs
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
    replica: bool | None
    after: str | None


class _Opening(NamedTuple):
    """The keywords of a unit, checked."""

    options: TransactionOptions
    project_id: UUID | None
    deadline: Deadline
    budget: Budget
    replica: bool
    after: "Position | None"


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
        self._replicas = _replicas(self.config, self.pool)
        self._units = OpenUnits()
        self._server: EmbeddedServer | None = None
        self._listeners = Listeners()
        self._limits = Limits(
            self.config.deadline,
            self.config.max_parameter_bytes,
            self.config.slow_statement,
            self._listeners,
            _cache(cache, self.pool, type(self).records()),
            pooled=self.config.pgbouncer,
            prepare_after=None if self.config.pgbouncer else self.config.prepare_after,
            distributed=self.config.citus,
            wrote=None if self._replicas is None else self._replicas.wrote,
            changes=_changes(self.config.changes, type(self).records()),
        )
        self._engines: dict[tuple[UUID | None, bool], sqlalchemy.Engine] = {}
        self._beside_units = False
        self.project_id = None
        self._to_replica = False
        self._after: Position | None = None
        self._options = self._opening({}).options
        super().__init__(self._session(), resources=shared)
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
            self._refuse_in_unit()
        return self.pool.borrow(purpose="single statement")

    def _refuse_in_unit(self) -> None:
        if self._units.stack and not self._beside_units:
            raise InvalidValue(
                "this thread has a unit of work open: use uow.*, or, to send outside of it on purpose, "
                "db.repositories(outside_unit=True)"
            )

    def _session(self) -> Session:
        """Return what sends each statement by itself: beside an open unit or not, to replicas or not."""
        lend = _lender(self.pool, "outside the unit") if self._beside_units else self._lend_outside
        primary = Autocommit(lend, self._options, self._limits)
        if self._replicas is None or not self._to_replica:
            return primary.session
        from database_handler.core.replica_reads import ReplicaReads

        way = ReplicaReads(
            self._replicas, primary, lend, self._options, check=self._refuse_in_unit, after=self._after
        )
        return way.session

    def _lend_to_sqlalchemy(self) -> Lease:
        if self._units.stack and not self._beside_units:
            raise InvalidValue(
                "this thread has a unit of work open: use uow.sqlalchemy(), or, to send outside of it on "
                "purpose, db.repositories(outside_unit=True).sqlalchemy_engine()"
            )
        return self.pool.borrow(purpose="SQLAlchemy")

    @property
    def models(self) -> tuple[type[Record], ...]:
        """The record classes that are an application's own, each after those it refers to."""
        return tuple(record for record in self.records() if record not in ENTITIES)

    @checked
    def repositories(
        self, *, outside_unit: bool = False, replica: bool = False, after: str | None = None
    ) -> Self:
        """Return the repositories that send each statement by itself.

        Parameters
        ----------
        outside_unit : bool
            True lets a thread use them that has a unit open, beside that unit: on another connection,
            which sees nothing of what the unit has not committed.
        replica : bool
            True sends what only reads to the replica that lags least, and to the primary where none fits or
            there are none. A thread finds there what it has committed itself; other rows may be as old as
            ``replica_max_lag`` says. What writes goes to the primary.
        after : str, optional
            With ``replica``: what `position` gave, in any process; all that was committed before is found.
        """
        if after is not None and not replica:
            raise InvalidValue("after= belongs to replica=True: the primary has all that was committed")
        if not (outside_unit or replica):
            return self
        other = copy(self)
        other._beside_units = outside_unit or self._beside_units
        other._to_replica, other._after = replica, _position(after)
        other.session = other._session()
        return other

    def position(self) -> str:
        """Return a token for ``after=``: who gives it there, in any process, finds all committed until now.

        It costs a round trip to the primary, and is safe to show.

        Raises
        ------
        ReadOnlyServer
            This database is a standby itself.
        """
        from database_handler.core.position import written

        try:
            found = written(self._lend_outside, self.config.deadline)
        except ReadOnlyServer:  # perhaps an old primary, whose connections are given up now
            found = written(self._lend_outside, self.config.deadline)
        return found.position.token

    @property
    def replica_pools(self) -> tuple[ConnectionPool, ...]:
        """The pool of each replica, in the order of their URLs; what a pool says of itself is in `stats`."""
        return () if self._replicas is None else self._replicas.pools

    def replicas(self) -> "tuple[ReplicaStatus, ...]":
        """Ask the replicas how they are, each within ``replica_wait``; a server's state never raises."""
        if self._replicas is None:
            return ()
        self._replicas.look(now=True)
        return self._replicas.status()

    @checked
    def for_project(self, project_id: UUID) -> Self:
        """Return the repositories that send each statement by itself, held to one project.

        With row-level security these are what shows rows outside a unit: each statement says its project, in
        the same message. Its units are held to the project too.
        """
        held = copy(self)
        held.project_id = project_id
        held._options = replace(self._options, project_id=project_id)
        held.session = held._session()
        return held

    def sqlalchemy_engine(self) -> "sqlalchemy.Engine":
        """Return a SQLAlchemy Engine over this database's pool; the same one at each call.

        Each of its connections is borrowed from the pool until it is closed, and its transactions begin and
        end as units do: a COMMIT that stores nothing is an error, and one whose reply was lost is resolved.
        In a thread that has a unit open it is refused, as `db.*` is: `UnitOfWork.sqlalchemy` gives a
        connection in the unit.

        Raises
        ------
        MissingExtra
            SQLAlchemy is not installed.
        """
        from database_handler.integrations.sqlalchemy.driver import Opening
        from database_handler.integrations.sqlalchemy.engine import engine_over

        which = (self.project_id, self._beside_units)
        if (found := self._engines.get(which)) is not None:
            return found
        budget = Budget(repeats=self.config.repeated_statement)
        options = replace(self._options, project_id=self.project_id)
        opening = Opening(
            self._lend_to_sqlalchemy, lambda: self.pool.is_entered, options, self._limits, budget
        )
        return self._engines.setdefault(which, engine_over(self.config, opening))

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
            refused: a query budget), replica (where a read-only unit goes: left out, or True, to a replica
            if one fits; False, to the primary), after (what such a unit is to find: see `position`).

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
        lend, begin = self._lending(opening, tries)
        unit: Any = self._unit_class(
            lend,
            opening.options,
            self._limits,
            self._units,
            deadline=opening.deadline,
            budget=opening.budget,
            project_id=opening.project_id,
            resources=self.resources,
            tries=tries,
            engine=self.sqlalchemy_engine,
            begin=begin,
        )
        opened: Unopened[U_co] = Unopened(unit)  # `_unit_class` is the type argument
        return opened

    def _lending(self, opening: _Opening, tries: Tries | None) -> tuple[Lend, Callable[..., Transaction]]:
        """Return what lends to a unit, and what begins it: one that reads only goes to a replica, once."""
        lend = _lender(self.pool, "unit of work", opening.deadline)
        if self._replicas is None or not opening.replica or (tries is not None and tries.number):
            return lend, Transaction
        from database_handler.core.replica_reads import ReplicaTransaction, Route

        return Route(self._replicas, lend, opening.after, opening.deadline), ReplicaTransaction

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
        replica, after = given.pop("replica", None), given.pop("after", None)
        budget = Budget(given.pop("max_statements", None), self.config.repeated_statement)
        checked_seconds("deadline", deadline)
        if unknown := set(given) - set(UnitOptions.__annotations__):
            allowed = ", ".join(UnitOptions.__annotations__)
            raise InvalidValue(f"unit_of_work takes no {', '.join(sorted(unknown))}; it takes {allowed}")
        begins = TransactionOptions(**given)
        goes = _goes_to_replica(begins, replica, after)
        found = self._after if after is None else _position(after)
        return _Opening(begins, project_id, Deadline(deadline), budget, goes, found)

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
        from database_handler.operations.backup import Backups, Source

        keeps_files = self.resources.given is not None or self.resources.config.store_url is not None
        source = Source(
            self.config,
            store=(lambda: self.resources.files) if keeps_files else None,
            records=self.records(),
            # Not by an import, which by the names of the package would lead to what stands above this module.
            version=sys.modules[__name__.partition(".")[0]].__version__,
            heads=self._heads,
            migrate=self._migrate_other,
        )
        return Backups(source, place, options, programs=programs)

    @checked
    def changes(
        self,
        project_id: UUID | None = None,
        kinds: Iterable[str] | None = None,
        *,
        after: str | None = None,
        reader: str | None = None,
        wait: float | None = None,
        poll: float = 0.5,
    ) -> "ChangeFeed":
        """Return an iterator over changes of rows, as they are committed, by the outbox or by notices.

        Parameters
        ----------
        project_id : UUID, optional
            Of this project only.
        kinds : iterable of str, optional
            Of these entities only: ``["translations"]``.
        after : str, optional
            The position of the last change that is done, ``change.position``; ``"0.0"``: all that is kept.
        reader : str, optional
            A name whose place is kept in the database: what it acknowledges it does not get again, what it
            does not it gets again at the next start. A new one begins now.
        wait : float, optional
            Seconds to wait for the next change before the iteration ends; None: for ever, 0: not at all.
        poll : float
            Seconds between two looks at the outbox while no notice comes.

        Raises
        ------
        ConfigurationError
            Nobody is told of changes (`changes` of the settings is "off"), or there is no outbox.
        """
        from database_handler.operations.changes import ChangeFeed

        if self.project_id is not None and project_id not in (None, self.project_id):
            raise InvalidValue("this database is held to another project")
        return ChangeFeed(
            Autocommit(_lender(self.pool, "changes"), self._options, self._limits).session,
            self.config,
            self.config.changes,
            project_id=project_id or self.project_id,
            kinds=kinds,
            known=[record.table.name for record in self.records()],
            after=after,
            reader=reader,
            wait=wait,
            poll=poll,
        )

    @property
    def outbox(self) -> "Outbox":
        """The table that keeps changes, where `changes` of the settings is "outbox": make it, look, prune."""
        from database_handler.operations.changes import Outbox

        owner = self.config.for_migrations()
        return Outbox(self.session, lambda: Autocommit(lambda: dedicated(owner)).session)

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
        until = monotonic() + seconds
        found = check(self.pool, *(manager.standing for manager in managers), limits=limits)
        if self._replicas is None:
            return found
        self._replicas.look(until=until)
        return found.model_copy(update={"replicas": self._replicas.status()})

    @checked
    def distribute(
        self, *, projects: "ProjectsAs" = "distributed", dry_run: bool = False
    ) -> "DistributionReport":
        """Spread the tables over the nodes of a Citus cluster by project; what is spread already stays.

        It connects past the pooler, as migrations do. Each table is a transaction, in which it cannot be
        written to; a run that ended in between is gone on with.

        Parameters
        ----------
        projects : {"distributed", "reference"}
            By their id, or as a copy on every node, where slugs stay unique over all of them.
        dry_run : bool
            Return the plan with its findings, and change nothing.

        Raises
        ------
        DistributionRefused
            A rule of the cluster's is broken; the message names each, and what to do.
        """
        from database_handler.operations.distribution import distribute

        tables = [record.table for record in self.records()]
        return distribute(self.config, tables, projects=projects, dry_run=dry_run)

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
        target = Target(called, self.config, tables, self.pool, heads, self._replicas)
        self._listeners.add(observer.attach(target))

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
            if self._replicas is not None:
                afterwards.callback(self._replicas.close)
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


def _replicas(config: DatabaseConfig, pool: ConnectionPool) -> "Replicas | None":
    """Make what knows the replicas, where there are any; it connects to nothing yet."""
    if not config.replica_urls:
        return None
    from database_handler.core.replicas import Replicas

    return Replicas(config, pool)


def _position(after: str | None) -> "Position | None":
    if after is None:
        return None
    from database_handler.core.position import Position

    return Position.of(after)


def _goes_to_replica(options: TransactionOptions, replica: object, after: object) -> bool:
    """Whether a unit may be one of a replica's; refuses what contradicts itself."""
    if not isinstance(replica, bool | None):
        raise InvalidValue("replica is True, False or None")
    if not options.read_only and (replica or after is not None):
        raise InvalidValue("replica= and after= belong to a unit that only reads: say read_only=True as well")
    if replica is False and after is not None:
        raise InvalidValue("after= does not go with replica=False: the primary has all that was committed")
    serializable = options.isolation == "serializable"
    if replica and serializable:
        raise InvalidValue("a standby has no serializable transactions: leave out replica=, or isolation=")
    return options.read_only and replica is not False and not serializable


def _changes(mode: ChangesMode, records: tuple[type[Record], ...]) -> "Changes | None":
    """Make what tells others of changes; nothing where nobody is to be told."""
    if mode == "off":
        return None
    from database_handler.core.changes import Changes

    return Changes(mode, [record.table for record in records])


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
