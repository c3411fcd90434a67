"""A place to try migrations in, of which nothing stays: a schema rolled back, or a database dropped.

A scratch schema costs a transaction and no right but CREATE in the database, and its transaction may hold no
lock on anything that stood before. What cannot be tried there (a text that names its schema, an enum's label
used in the transaction that added it) is tried in a scratch database, or on an embedded server where the role
may not create one.
"""

import secrets
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.exceptions import PermissionDenied, ReadOnlyServer
from database_handler.core.quoting import literal
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Autocommit, Transaction, TransactionOptions
from database_handler.migrations.errors import MigrationFailed, ScratchUnavailable
from database_handler.migrations.files.migration import Direction, Migration
from database_handler.migrations.runner.locking import Kept
from database_handler.migrations.scratch.building import build, build_part, made_extensions, needs_database
from database_handler.utils.errors import ConfigurationError

__all__ = [
    "UNSAFE_USE",
    "build",
    "build_for_good",
    "copy_of",
    "guard",
    "rolled_back",
    "schemas_of",
    "scratch_database",
    "scratch_schema",
    "undone",
]

_LOCK_TIMEOUT = 2.0  # seconds; a scratch transaction waits for nobody's table, and for no catalogue row long
UNSAFE_USE = "55P04"
"""The SQLSTATE of a label of an enum that is used in the transaction that added it."""
_LOCK_NOT_HAD = "55P03"
_ATTEMPTS = 10
_PREFIX = "database_handler_scratch_"
_STALE = 86_400  # seconds after which a scratch database was left behind by a process that was killed


# ------------------------------------------------------------------------------------------------- a schema


@contextmanager
def scratch_schema(config: DatabaseConfig) -> Iterator[Session]:
    """Give a session in a schema of its own, inside a transaction that is always rolled back.

    The search path is the scratch schema, then those of the installed extensions.

    Raises
    ------
    ScratchUnavailable
        The role may not create a schema.
    """
    with rolled_back(config.for_migrations()) as session:
        _enter_schema(session, f"scratch_{secrets.token_hex(8)}")
        yield session


@contextmanager
def rolled_back(config: DatabaseConfig) -> Iterator[Session]:
    """Give the session of a transaction that is rolled back when the block ends."""
    lease = dedicated(config, purpose="scratch")
    kept = Kept(lease)
    options = TransactionOptions(lock_timeout=_LOCK_TIMEOUT, resolve=False)
    transaction = Transaction(lambda: kept, options)
    try:
        yield transaction.session
    finally:
        transaction.rollback()
        lease.release()


class _Undo(Exception):
    """Undoes a savepoint."""


@contextmanager
def undone(session: Session) -> Iterator[Session]:
    """Give the session of a transaction for work that is undone when the block ends."""
    with suppress(_Undo), session.undoable() as inside:
        # A savepoint goes with the first statement, and a syntax error in that would keep both from running.
        inside.run(Statement("SELECT", "scratch.savepoint"))
        yield inside
        raise _Undo


_PATH = (
    "SELECT set_config('search_path', concat_ws(', ', %s, (SELECT string_agg(DISTINCT quote_ident(nspname),"
    " ', ') FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
    " WHERE nspname <> 'pg_catalog')), true)"
)


def _enter_schema(session: Session, name: str) -> None:
    try:
        session.one(Statement(f"CREATE SCHEMA {name};{_PATH}", "scratch.create", writes=True), [name])
    except PermissionDenied as error:
        raise ScratchUnavailable(
            "a scratch copy needs a schema of its own, and this role may not create one: GRANT CREATE ON "
            "DATABASE to it, or point the migrations at a development database (it is rolled back, and "
            "nothing of it is ever seen by others)"
        ) from error
    except ReadOnlyServer as error:
        raise ScratchUnavailable(
            "a scratch copy is made and rolled back, and this server takes no writes: use the primary, or a "
            "development database"
        ) from error


# --------------------------------------------------------------------------------------------------- a copy


@contextmanager
def copy_of(
    config: DatabaseConfig, migrations: Sequence[Migration], *, then: Sequence[Migration] = ()
) -> Iterator[Session]:
    """Give a session in which the up parts of `migrations` were run, in whichever place they can be.

    Parameters
    ----------
    then : sequence of Migration
        What the caller will `build` in it later: it counts for the choice of the place.

    Raises
    ------
    MigrationFailed
        A statement of them failed.
    ScratchUnavailable
        There is no place for them; the message says what would make one.
    """
    with ExitStack() as stack:
        yield _copy(stack, config.for_migrations(), migrations, (*migrations, *then))


def _copy(
    stack: ExitStack, config: DatabaseConfig, migrations: Sequence[Migration], told: Sequence[Migration]
) -> Session:
    for left in reversed(range(_ATTEMPTS)):
        with ExitStack() as attempt:
            session = attempt.enter_context(scratch_schema(config))
            if needs_database(told, schemas_of(session)):
                break
            try:
                build(session, migrations)
                guard(session, config)
            except MigrationFailed as error:
                if error.sqlstate == UNSAFE_USE:
                    break
                # Another scratch copy may be making the same extension: its name is waited for.
                if error.sqlstate != _LOCK_NOT_HAD or not left:
                    raise
            else:
                stack.enter_context(attempt.pop_all())
                return session
    return _copy_in_database(stack, config, migrations, told)


def _copy_in_database(
    stack: ExitStack, config: DatabaseConfig, migrations: Sequence[Migration], told: Sequence[Migration]
) -> Session:
    made = made_extensions(migration.text for migration in told)
    scratch = stack.enter_context(scratch_database(config, without=made))
    build_for_good(scratch, migrations)
    return stack.enter_context(rolled_back(scratch))


def build_for_good(scratch: DatabaseConfig, migrations: Sequence[Migration]) -> None:
    """Run the up parts of migrations in a scratch database, each part in a transaction that is committed."""
    lease = dedicated(scratch, purpose="scratch")
    try:
        kept = Kept(lease)
        for migration, part in ((each, part) for each in migrations for part in each.parts(Direction.UP)):
            with Transaction(lambda: kept) as session:
                build_part(session, migration, part)
    finally:
        lease.release()


def schemas_of(session: Session) -> tuple[str, ...]:
    """Return the names of the schemas that a text might name, ``public`` among them."""
    text = "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname !~ '^(pg_|information_schema$)'"
    found = {name for (name,) in session.all(Statement(text, "scratch.schemas"))}
    return tuple(sorted(found | {"public"}))


# ------------------------------------------------------------------------------------------------ the guard

# Told by a second connection, which sees nothing of the scratch schema: what it can name stood before.
_OUTSIDE = Statement(
    "SELECT DISTINCT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_catalog.pg_locks l"
    " JOIN pg_catalog.pg_class c ON c.oid = l.relation"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE l.pid = %s AND l.locktype = 'relation' AND n.nspname !~ '^(pg_|information_schema$)'"
    " AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass"
    " AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1",
    "scratch.outside",
)
_BACKEND = Statement("SELECT pg_backend_pid()", "scratch.backend")
_SUSPECT = Statement(
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation"
    " LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE l.pid = pg_backend_pid()"
    " AND l.locktype = 'relation' AND l.database > 0 AND (c.oid IS NULL OR n.nspname <> current_schema()"
    " AND n.nspname !~ '^(pg_|information_schema$)'))",
    "scratch.suspect",
)


def guard(session: Session, config: DatabaseConfig) -> None:
    """Refuse a scratch transaction that has touched a table outside of its schema.

    Raises
    ------
    ScratchUnavailable
        Naming what it touched.
    """
    if not session.one(_SUSPECT)[0]:
        return
    [backend] = session.one(_BACKEND)
    alone = Autocommit(lambda: dedicated(config.for_migrations(), purpose="scratch")).session
    touched = [name for (name,) in alone.all(_OUTSIDE, [backend])]
    if touched:
        raise ScratchUnavailable(
            f"on a scratch copy the versions reached {', '.join(touched[:5])}, which no version makes: a "
            "name was found further down the search path. It was rolled back. Write a version that makes "
            "it, or let the folder that does come before this one"
        )


# ----------------------------------------------------------------------------------------------- a database


@contextmanager
def scratch_database(config: DatabaseConfig, *, without: Collection[str] = ()) -> Iterator[DatabaseConfig]:
    """Give an empty database of the same locale and with the same extensions.

    Where the role may not create one, it is made on an embedded server that ends with it.

    Parameters
    ----------
    without : collection of str
        Extensions to leave out, as SQL spells them: those that a version makes.

    Raises
    ------
    ScratchUnavailable
        Neither is possible; the message says what to do.
    """
    config = config.for_migrations()
    with ExitStack() as stack:
        try:
            scratch = _create(stack, config)
        except PermissionDenied:
            scratch = stack.enter_context(_embedded())
        _furnish(config, scratch, without)
        yield scratch


def _create(stack: ExitStack, config: DatabaseConfig) -> DatabaseConfig:
    alone = Autocommit(lambda: dedicated(config, purpose="scratch")).session
    name = f"{_PREFIX}{int(time.time())}_{secrets.token_hex(4)}"
    rows: dict[str, dict[str, Any]] = dict(alone.all(_LOCALES))
    text = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'{_locale(rows)}"
    alone.run(Statement(text, "scratch.create_database", writes=True))
    stack.callback(_drop, alone, name)
    for (stale,) in alone.all(_LEFT_BEHIND, [f"^{_PREFIX}[0-9]+_[0-9a-f]+$", time.time() - _STALE]):
        _drop(alone, stale)
    return config.with_(name=name)


def _drop(alone: Session, name: str) -> None:
    alone.run(Statement(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", "scratch.drop_database", writes=True))


_LOCALES = Statement(
    "SELECT CASE datname WHEN 'template0' THEN 'template' ELSE 'own' END, to_jsonb(d)"
    " FROM pg_catalog.pg_database d WHERE datname IN ('template0', current_database())",
    "scratch.locales",
)
_LEFT_BEHIND = Statement(
    "SELECT datname::text FROM pg_catalog.pg_database d WHERE datname ~ %s"
    " AND split_part(datname, '_', 4)::numeric < %s AND pg_has_role(datdba, 'USAGE')"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid)",
    "scratch.left_behind",
)
_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}
_OF_PROVIDER = {"i": "ICU_LOCALE", "b": "BUILTIN_LOCALE"}


def _locale(rows: dict[str, dict[str, Any]]) -> str:
    """Return what CREATE DATABASE must say of the locale; nothing where the template has the same."""
    own, template = rows["own"], rows["template"]
    named = ("datcollate", "datctype", "datlocprovider", "daticulocale", "datlocale")
    if all(own.get(name) == template.get(name) for name in named):
        return ""
    provider = own["datlocprovider"]
    words = {"LC_COLLATE": own["datcollate"], "LC_CTYPE": own["datctype"]}
    if provider in _OF_PROVIDER:
        words[_OF_PROVIDER[provider]] = own.get("datlocale") or own.get("daticulocale")
    told = "".join(f" {word} {literal(value)}" for word, value in words.items())
    return f"{told} LOCALE_PROVIDER {_PROVIDERS[provider]}"


@contextmanager
def _embedded() -> Iterator[DatabaseConfig]:
    from database_handler.embedded import EmbeddedServer

    with tempfile.TemporaryDirectory(prefix="database_handler_scratch_") as folder:
        try:
            server = EmbeddedServer.start(Path(folder) / "pg", database="scratch", durable=False)
        except ConfigurationError as error:
            raise ScratchUnavailable(
                "a scratch database is needed, and this role may not create one: ALTER ROLE ... CREATEDB, or "
                "install the extra database-handler[embedded], whose server is used instead"
            ) from error
        with server:
            yield server.config


_FURNITURE = Statement(
    "SELECT quote_ident(current_schema()), coalesce((SELECT json_agg(json_build_array(quote_ident(extname),"
    " quote_ident(nspname)) ORDER BY e.oid) FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n"
    " ON n.oid = e.extnamespace WHERE nspname <> 'pg_catalog'), '[]')",
    "scratch.furniture",
)


def _furnish(config: DatabaseConfig, scratch: DatabaseConfig, without: Collection[str]) -> None:
    """Make the schema of the real tables, and the extensions that a migration expects to find elsewhere."""
    schema, extensions = Autocommit(lambda: dedicated(config)).session.one(_FURNITURE)
    brought = [(name, where) for name, where in extensions if name not in without]
    text = "".join(_furniture(schema or "public", brought))
    session = Autocommit(lambda: dedicated(scratch)).session
    session.run(Statement(text, "scratch.furnish", writes=True))


def _in_format(name: str) -> str:
    return name.replace("'", "''").replace("%", "%%")


def _furniture(schema: str, extensions: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, where in extensions:
        yield f"CREATE SCHEMA IF NOT EXISTS {where};"
        yield f"CREATE EXTENSION IF NOT EXISTS {name} SCHEMA {where};"
    yield f"CREATE SCHEMA IF NOT EXISTS {schema};"
    yield (
        "DO $do$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path TO "
        f"{_in_format(schema)}', current_database()); END $do$;"
    )
