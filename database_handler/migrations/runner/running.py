"""One folder of versions against one database: read, planned, and run under its lock."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.quoting import qualified
from database_handler.core.session import Session
from database_handler.core.transaction import Autocommit
from database_handler.migrations.errors import PoolerInTheWay
from database_handler.migrations.files.chain import Folder
from database_handler.migrations.files.migration import Migration
from database_handler.migrations.files.planning import Applied, Step, folded
from database_handler.migrations.runner.applying import Applier, LockRetries
from database_handler.migrations.runner.history import History
from database_handler.migrations.runner.locking import Held, Kept, acquire
from database_handler.migrations.runner.recording import head_of, recording

__all__ = ["FolderRun", "Plan", "RunOptions", "connected"]

Plan = Callable[[Sequence[Migration], Sequence[Applied]], list[Step]]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What holds for every run of a manager; seconds.

    Attributes
    ----------
    pooled : bool
        Whether the settings say that a pooler lies between.
    """

    lock_wait: float = 60.0
    retries: LockRetries = field(default_factory=LockRetries)
    pooled: bool = False


@contextmanager
def connected(config: DatabaseConfig, purpose: str = "migrations") -> Iterator[Kept]:
    """Give a connection that is kept until the block ends; with it goes every lock that it holds."""
    lease = dedicated(config, purpose=purpose)
    try:
        yield Kept(lease)
    finally:
        lease.release()


class FolderRun:
    """Runs one folder of versions over a connection that its caller keeps.

    Parameters
    ----------
    config : DatabaseConfig
        For further connections, such as the one that looks for blockers; one of `in_schema` says where the
        tables are.
    """

    def __init__(self, config: DatabaseConfig, folder: Folder, options: RunOptions) -> None:
        self.config = config
        self.folder = folder
        self.table = folder.history_table
        self._options = options
        self._schema: str | None = getattr(config, "schema_name", None)

    @property
    def qualified(self) -> str:
        """The history's name as a search for it is spelled."""
        return qualified(self._schema, self.table)

    @cached_property
    def files(self) -> tuple[Migration, ...]:
        """The folder's versions, read and checked once."""
        return self.folder.migrations()

    def history(self, session: Session) -> tuple[Applied, ...]:
        """Read the history in one SELECT; empty where there is none yet.

        What a squashed file replaces is told as that file's one row.
        """
        return folded(self.files, self.rows(session))

    def rows(self, session: Session) -> tuple[Applied, ...]:
        """Read the history as it is stored; the files are not looked at."""
        return History(self.table, self._schema).read(session) or ()

    def run(self, lease: Kept, plan: Plan, done: list[Step]) -> str | None:
        """Do what `plan` finds to do, and put each step that was run to those `done`; return the head then.

        Nothing is locked where there is nothing to do.
        """
        migrations = self.files
        session = Autocommit(lambda: lease).session
        history = self.history(session)
        steps = plan(migrations, history)
        if not steps:
            return head_of(history)
        held, found = self.lock(lease)
        rows = found.read(session)
        steps = plan(migrations, rows or ())  # again: another run may have ended while this one waited
        if steps:
            found.settle(session, migrations, rows or (), held.backend)
        self._apply(lease, held, found, steps, done)
        return head_of(found.read(session) or ())

    def settle(self, lease: Kept) -> None:
        """Bring the history up to date, under the lock, as a run does before it writes."""
        held, found = self.lock(lease)
        session = Autocommit(lambda: lease).session
        found.settle(session, self.files, found.read(session) or (), held.backend)

    def lock(self, lease: Kept) -> tuple[Held, History]:
        """Take the migrations' lock, which goes with the connection; give the history in its schema too."""
        if self._options.pooled:
            raise PoolerInTheWay(
                "the migrations' lock is wanted, and its settings say that a pooler lies between, where none "
                "can be held: set migration_url to the server's own address; nothing was run"
            )
        held = acquire(lease, self.config, self.table, wait=self._options.lock_wait, schema=self._schema)
        return held, History(self.table, held.schema)

    def _apply(self, lease: Kept, held: Held, history: History, steps: list[Step], done: list[Step]) -> None:
        applier = Applier(lease, self.config, history, held, self._options.retries)
        applier.prepare(steps)
        with recording(lease, history, self.files) if steps else nullcontext():
            for step in steps:
                applier.run(step)
                done.append(step)
