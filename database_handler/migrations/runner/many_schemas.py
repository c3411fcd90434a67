"""One set of versions for many schemas of one database, such as one for each tenant: side by side, bounded.

Each schema has a history and a lock of its own. What fails in one does not stop the others; the report says
of each which versions it got, where it stands, and why it failed.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Protocol, Self

from pydantic import BaseModel, Field

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.exceptions import DatabaseHandlerError, InvalidValue
from database_handler.core.quoting import identifier
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Autocommit
from database_handler.migrations.errors import UnusableTarget
from database_handler.migrations.runner.locking import Kept
from database_handler.utils.errors import shown
from database_handler.utils.logger import get_logger

__all__ = ["SchemaConfig", "SchemaOutcome", "SchemasReport", "in_schema", "matching", "migrate_schemas"]

_log = get_logger(__name__)
_MOST_JOBS = 64


class SchemaConfig(DatabaseConfig, frozen=True):
    """A database as one of its schemas sees it: the search path begins with it, and outlives RESET ALL."""

    schema_name: str = Field(description="the name of a schema")
    beside: tuple[str, ...] = Field(default=(), description="names of further schemas of the search path")

    def connect_arguments(self) -> dict[str, str | int]:
        """Give the keywords for `psycopg2.connect`, with the search path among the start-up options."""
        given = super().connect_arguments()
        path = ",".join(map(identifier, (self.schema_name, *self.beside)))
        escaped = re.sub(r"([\\\s])", r"\\\1", path)  # the server splits the options at blanks
        return given | {"options": f"{given.get('options', '')} -c search_path={escaped}".strip()}

    @classmethod
    def of(cls, config: DatabaseConfig, schema: str, beside: Sequence[str]) -> Self:
        """Return the configuration for one schema of the database that `config` reaches."""
        fields = {name: getattr(config, name) for name in config.model_fields_set}
        return cls.model_validate(fields | {"schema_name": schema, "beside": tuple(beside)})


class SchemaOutcome(BaseModel, frozen=True):
    """What came of one schema.

    Attributes
    ----------
    error, kind : str, optional
        Why it failed, and the class of the error.
    """

    schema_name: str
    applied: tuple[str, ...] = ()
    head: str | None = None
    error: str | None = None
    kind: str | None = None
    seconds: float = 0.0


class SchemasReport(BaseModel, frozen=True):
    """What came of every schema, in the order of their names."""

    outcomes: tuple[SchemaOutcome, ...]
    seconds: float = 0.0

    @property
    def failed(self) -> tuple[SchemaOutcome, ...]:
        """Those in which something went wrong."""
        return tuple(outcome for outcome in self.outcomes if outcome.error)

    @property
    def applied(self) -> tuple[SchemaOutcome, ...]:
        """Those that got versions."""
        return tuple(outcome for outcome in self.outcomes if outcome.applied and not outcome.error)

    @property
    def at_head(self) -> tuple[SchemaOutcome, ...]:
        """Those that had nothing pending."""
        return tuple(outcome for outcome in self.outcomes if not outcome.applied and not outcome.error)


class Migrated(Protocol):
    """What a migration of one schema gives, such as a `MigrationReport`."""

    @property
    def applied(self) -> tuple[str, ...]:
        """The versions that were applied."""
        ...

    @property
    def head(self) -> str | None:
        """Where it stands."""
        ...


Migrate = Callable[[SchemaConfig], Migrated]
Progress = Callable[[SchemaOutcome, int, int], object]

_SCHEMAS = Statement(
    "SELECT nspname::text FROM pg_catalog.pg_namespace"
    r" WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY nspname",
    "migrations.schemas",
)
_EXTENSIONS = Statement(
    "SELECT DISTINCT nspname::text FROM pg_catalog.pg_extension e"
    " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE nspname <> 'pg_catalog' ORDER BY 1",
    "migrations.extension_schemas",
)


def in_schema(config: DatabaseConfig, schema: str) -> SchemaConfig:
    """Return a configuration whose connections stand in `schema`, with those of extensions behind it.

    Raises
    ------
    UnusableTarget
        There is no such schema.
    """
    with _asking(config) as session:
        if schema not in (name for (name,) in session.all(_SCHEMAS)):
            raise UnusableTarget(f"there is no schema {schema!r} in this database; create it first")
        return SchemaConfig.of(config, schema, _extensions(session, schema))


def _extensions(session: Session, schema: str) -> tuple[str, ...]:
    return tuple(name for (name,) in session.all(_EXTENSIONS) if name != schema)


@contextmanager
def _asking(config: DatabaseConfig) -> Iterator[Session]:
    lease = dedicated(config, purpose="migrations of schemas")
    try:
        yield Autocommit(lambda: Kept(lease)).session
    finally:
        lease.release()


def matching(names: Sequence[str], pattern: str) -> tuple[str, ...]:
    """Return the names that a pattern matches: ``*`` and ``%`` stand for any characters, ``?`` for one.

    >>> matching(["tenant_1", "tenant_2", "public"], "tenant_*")
    ('tenant_1', 'tenant_2')
    """
    wild = {"*": ".*", "%": ".*", "?": "."}
    wanted = re.compile("".join(wild.get(letter) or re.escape(letter) for letter in pattern), re.DOTALL)
    return tuple(name for name in names if wanted.fullmatch(name))


def migrate_schemas(
    config: DatabaseConfig,
    pattern: str,
    migrate: Migrate,
    *,
    jobs: int = 4,
    progress: Progress | None = None,
) -> SchemasReport:
    """Migrate every schema whose name matches, `jobs` at a time.

    Parameters
    ----------
    pattern : str
        ``*`` and ``%`` stand for any characters, ``?`` for one.
    migrate : callable
        Migrates one schema, over connections made with the configuration that it is given.
    jobs : int
        How many at once, each with a connection, or two: 1 to 64.
    progress : callable, optional
        Told each outcome as it comes, with how many are done and how many there are.

    Raises
    ------
    UnusableTarget
        No schema matches.
    """
    if type(jobs) is not int or not 1 <= jobs <= _MOST_JOBS:
        raise InvalidValue(f"jobs is a whole number from 1 to {_MOST_JOBS}")
    started = time.monotonic()
    outcomes: list[SchemaOutcome] = []
    configs = _configs(config, pattern)
    with ThreadPoolExecutor(jobs, thread_name_prefix="migrations-schema") as pool:
        waiting = [pool.submit(_outcome, each, migrate) for each in configs]
        for outcome in _as_they_come(waiting):
            outcomes.append(outcome)
            _log.info("migrations.schema", schema=outcome.schema_name, applied=len(outcome.applied))
            if progress:
                progress(outcome, len(outcomes), len(waiting))
    ordered = sorted(outcomes, key=lambda outcome: outcome.schema_name)
    return SchemasReport(outcomes=tuple(ordered), seconds=time.monotonic() - started)


def _configs(config: DatabaseConfig, pattern: str) -> list[SchemaConfig]:
    with _asking(config) as session:
        names = [name for (name,) in session.all(_SCHEMAS)]
        beside = _extensions(session, "")
    found = matching(names, pattern)
    if not found:
        raise UnusableTarget(
            f"no schema matches {shown(pattern)} (% or * for any characters, ? for one); there are "
            f"{', '.join(names[:20])}"
        )
    return [SchemaConfig.of(config, name, [each for each in beside if each != name]) for name in found]


def _as_they_come(waiting: Sequence[Future[SchemaOutcome]]) -> Iterator[SchemaOutcome]:
    try:
        for future in as_completed(waiting):
            yield future.result()
    finally:
        for future in waiting:
            future.cancel()  # interrupted: those under way are ended by themselves, no other is begun


def _outcome(config: SchemaConfig, migrate: Migrate) -> SchemaOutcome:
    started = time.monotonic()
    name = config.schema_name
    try:
        report = migrate(config)
    except DatabaseHandlerError as error:
        _log.warning("migrations.schema_failed", schema=name, error=type(error).__name__)
        failed = SchemaOutcome(schema_name=name, error=str(error), kind=type(error).__name__)
        return failed.model_copy(update={"seconds": time.monotonic() - started})
    return SchemaOutcome(
        schema_name=name, applied=report.applied, head=report.head, seconds=time.monotonic() - started
    )
