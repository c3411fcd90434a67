"""`Repositories`, the one list of entities, and `UnitOfWork`, one transaction over them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import local
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload
from uuid import UUID

from database_handler.core.base_model import Record
from database_handler.core.budget import Budget
from database_handler.core.ddl import ordered
from database_handler.core.deadline import Deadline
from database_handler.core.events import Tries, UnitWatch
from database_handler.core.exceptions import AfterCommitFailed, InvalidValue, ReleasedConnection
from database_handler.core.session import Limits, Session
from database_handler.core.transaction import Lend, Transaction, TransactionOptions
from database_handler.repositories import (
    LinkRepository,
    ProjectRepository,
    Repository,
    SummaryRepository,
    TextSourceRepository,
    TranslationRepository,
    VideoRepository,
)
from database_handler.repositories.resources import Resources
from database_handler.repositories.search import Everything, SearchPage, search_everything
from database_handler.utils.logger import get_logger

if TYPE_CHECKING:
    import sqlalchemy

    from database_handler.repositories.files import UnitFiles

__all__ = ["ALREADY_OPEN", "Entity", "OpenUnits", "Repositories", "UnitOfWork", "Unopened"]

T = TypeVar("T", bound=Repository[Any, Any])
_log = get_logger(__name__)


class Entity(Generic[T]):
    """Gives `db.projects` and `uow.projects` as the same class over the owner's session."""

    def __init__(self, repository: type[T]) -> None:
        self.repository = repository

    @overload
    def __get__(self, instance: None, owner: object) -> Self: ...
    @overload
    def __get__(self, instance: "Repositories", owner: object) -> T: ...
    def __get__(self, instance: "Repositories | None", owner: object) -> Self | T:
        """Make the repository for the owner's session."""
        if instance is None:
            return self
        return self.repository(instance.session, instance.project_id, instance.resources)


class Repositories:
    """The entities: an application adds its own in a subclass, one line each.

    ``class Newsroom(Repositories): notes = Entity(NoteRepository)``, which then is a base of the
    application's unit of work and of its database beside `UnitOfWork` and `Database`.

    Parameters
    ----------
    session : Session
        What all of them send through.
    project_id : UUID, optional
        Holds every statement of theirs to one project.
    resources : Resources, optional
        What all of them share beside the session: the file store.
    """

    projects = Entity(ProjectRepository)
    text_sources = Entity(TextSourceRepository)
    summaries = Entity(SummaryRepository)
    translations = Entity(TranslationRepository)
    videos = Entity(VideoRepository)
    links = Entity(LinkRepository)

    def __init__(
        self, session: Session, project_id: UUID | None = None, resources: Resources | None = None
    ) -> None:
        self.session = session
        self.project_id = project_id
        self.resources = resources or Resources(records=type(self).records())

    def search(
        self,
        query: str,
        *,
        project_id: UUID | str | None = None,
        language: str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> SearchPage[Everything]:
        """Search text sources, summaries and translations at once, ranked together, in one round trip.

        The parameters are those of each repository's own `search`.
        """
        return search_everything(
            self.session,
            query,
            held=self.project_id,
            project_id=project_id,
            language=language,
            limit=limit,
            after=after,
        )

    @classmethod
    def entities(cls) -> dict[str, type[Repository[Any, Any]]]:
        """Return the repository classes by name, in the order of the list."""
        found: dict[str, type[Repository[Any, Any]]] = {}
        for owner in reversed(cls.__mro__):
            found |= {n: e.repository for n, e in vars(owner).items() if isinstance(e, Entity)}
        return found

    @classmethod
    def records(cls) -> tuple[type[Record], ...]:
        """Return the record classes of the entities, each after those it refers to."""
        by_table = {each.record.table: each.record for each in cls.entities().values()}  # pyright: ignore[reportGeneralTypeIssues]  # each has its own
        return tuple(by_table[table] for table in ordered(list(by_table)))


ALREADY_OPEN = (
    "this thread has a unit of work open already; pass it on, or ask for a part of it that can be undone by "
    "itself with uow.savepoint() or db.unit_of_work(savepoint=True)"
)


_UNBOUNDED = Budget()


class OpenUnits(local):
    """The units that each thread has open, innermost last."""

    def __init__(self) -> None:
        self.stack: list[UnitOfWork] = []


class UnitOfWork(Repositories):
    """One transaction: it commits on a clean exit and rolls back on an error.

    n statements cost n + 1 round trips; with no statement nothing is sent and no connection is borrowed.
    It belongs to the thread that opened it, and is used once.
    """

    def __init__(
        self,
        lend: Lend,
        options: TransactionOptions,
        limits: Limits,
        units: OpenUnits,
        *,
        deadline: Deadline | None = None,
        budget: Budget = _UNBOUNDED,
        project_id: UUID | None = None,
        resources: Resources | None = None,
        tries: Tries | None = None,
        engine: "Callable[[], sqlalchemy.Engine] | None" = None,
        begin: Callable[..., Transaction] = Transaction,
    ) -> None:
        self._engine = engine
        self._sqlalchemy: sqlalchemy.Connection | None = None
        self._watch = UnitWatch(limits.listeners, tries)
        self._transaction = begin(lend, options, limits, deadline=deadline, budget=budget)
        super().__init__(self._transaction.session, project_id, resources)
        self._units = units
        self._opened_among: list[UnitOfWork] = []
        self._on_commit: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        """Open the unit; nothing is sent yet."""
        if self._units.stack:
            raise InvalidValue(ALREADY_OPEN)
        self._transaction.claim()
        self._opened_among = self._units.stack
        self._opened_among.append(self)
        self._watch.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit or roll back, give the connection back, then run what waits for the commit."""
        commits = error is None and not self._transaction.is_over
        failure = error
        try:
            self._transaction.__exit__(kind, error, trace)
        except BaseException as raised:
            failure = raised
            raise
        finally:
            # Of the thread that opened it: the collector, or a framework, may close it in another.
            self._opened_among.remove(self)
            self._watch.end(failure, commits=commits)
        if commits:
            self._run_hooks()

    @property
    def is_open(self) -> bool:
        """Whether it was entered, and not left."""
        return self in self._opened_among

    @property
    def files(self) -> "UnitFiles":
        """Keeps files for rows that this unit writes."""
        from database_handler.repositories.files import UnitFiles

        return UnitFiles(self.session, self.resources)

    @contextmanager
    def savepoint(self) -> Iterator[Self]:
        """Open a block that is undone by itself when it fails; the unit goes on.

        What the block gave to `on_commit` is forgotten with it.
        """
        waiting = len(self._on_commit)
        try:
            with self._transaction.savepoint():
                yield self
        except BaseException:
            del self._on_commit[waiting:]
            raise

    def sqlalchemy(self) -> "sqlalchemy.Connection":
        """Return a SQLAlchemy Connection on this unit's own connection and transaction.

        It sees what the unit wrote, and what it writes is stored when the unit commits. Closing it ends only
        its own use; ``commit()`` is refused, ``begin_nested()`` is a savepoint, and after ``rollback()`` the
        unit stores nothing and ends with `TransactionAborted`. It is the same one at each call, until it is
        closed.

        Raises
        ------
        MissingExtra
            SQLAlchemy is not installed.
        ReleasedConnection
            The unit is over.
        """
        from database_handler.integrations.sqlalchemy.engine import connection_on

        if self._transaction.is_over or self._engine is None:
            raise ReleasedConnection("this unit of work is over; open another")
        if self._sqlalchemy is None or self._sqlalchemy.closed:
            self._sqlalchemy = connection_on(self._engine(), self._transaction)
        return self._sqlalchemy

    def deadline(self, seconds: float) -> None:
        """Let the whole unit end within `seconds` from now, COMMIT included; never later than said before.

        Each wait on the way (for a connection, the server, a lock) gets what is left. Once it has passed,
        nothing more is sent, and the unit ends with `DeadlineExceeded`: nothing of it is stored.
        """
        self._transaction.deadline.narrow(seconds)

    def rollback(self) -> None:
        """Undo everything; the unit is over, and its clean exit commits nothing."""
        self._transaction.rollback()

    def on_commit(self, call: Callable[[], object]) -> None:
        """Have `call` run after the COMMIT, when the connection is back; never after a rollback.

        All of them run; the first failure is the cause of an `AfterCommitFailed`, which causes no retry.
        """
        if not callable(call):
            raise InvalidValue("on_commit takes something to call")
        if self._transaction.is_over:
            raise ReleasedConnection("this unit of work is over; nothing will be run after it")
        self._on_commit.append(call)

    def _run_hooks(self) -> None:
        failures: list[Exception] = []
        for call in self._on_commit:
            try:
                call()
            except Exception as failure:  # noqa: BLE001  # the others run all the same
                failures.append(failure)
                _log.error("unit_of_work.on_commit_failed", error=type(failure).__name__)
        if failures:
            raise AfterCommitFailed from failures[0]


U = TypeVar("U", bound=UnitOfWork)


class Unopened(AbstractContextManager[U]):
    """A unit that ``with`` opens; dropped while it is open, it is rolled back."""

    def __init__(self, unit: U) -> None:
        self._unit = unit

    def __enter__(self) -> U:
        """Open the unit."""
        return self._unit.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit or roll back."""
        self._unit.__exit__(kind, error, trace)

    def __del__(self) -> None:
        # Also after an interruption that came in the middle of opening or closing.
        if self._unit.is_open:
            self._unit.__exit__(GeneratorExit, GeneratorExit(), None)

    if not TYPE_CHECKING:  # type checkers know that it has no repositories

        def __getattr__(self, name: str) -> object:
            if name.startswith("_"):
                raise AttributeError(name)
            raise InvalidValue("this unit of work is not open: with db.unit_of_work() as uow: ...")
