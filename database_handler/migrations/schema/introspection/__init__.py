"""Reads a schema out of the catalogue: `introspect`."""

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.exceptions import DatabaseHandlerError
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Transaction, TransactionOptions
from database_handler.migrations.errors import SchemaInMotion, UnknownSchema
from database_handler.migrations.schema.introspection.attached import (
    read_policies,
    read_rules,
    read_statistics,
    read_triggers,
)
from database_handler.migrations.schema.introspection.catalogue import Catalogue, Class, Draft
from database_handler.migrations.schema.introspection.comments import read_comments
from database_handler.migrations.schema.introspection.constraints import read_constraints, read_indexes
from database_handler.migrations.schema.introspection.dependencies import read_dependencies
from database_handler.migrations.schema.introspection.environment import (
    read_default_privileges,
    read_extensions,
    read_schemas,
)
from database_handler.migrations.schema.introspection.own_calls import shorten_own_calls
from database_handler.migrations.schema.introspection.relations import read_relations
from database_handler.migrations.schema.introspection.routines import read_functions
from database_handler.migrations.schema.introspection.settled import settled
from database_handler.migrations.schema.introspection.text_search import read_text_search
from database_handler.migrations.schema.introspection.types import read_types
from database_handler.migrations.schema.introspection.unmodelled import read_unmodelled
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    Domain,
    ObjectId,
    Policy,
    SchemaObject,
    SchemaSnapshot,
)
from database_handler.utils.arguments import checked

__all__ = ["introspect", "take_snapshot"]

# Asked before the search path is set: which schemas, where the extensions' objects are, the path to go back
# to, and which catalogues are worth a query: whatever has a schema depends on it, and the rest is counted.
_START = Statement(
    f"""
    WITH named AS (
        SELECT n.oid, pg_catalog.quote_ident(n.nspname) AS name FROM pg_catalog.pg_namespace AS n
        WHERE n.nspname = ANY(coalesce(%(names)s::text[], ARRAY[current_schema()::text]))
    )
    SELECT current_setting('search_path'), current_setting('server_version_num')::int,
           (SELECT pg_catalog.json_object_agg(oid, name) FROM named),
           ARRAY(SELECT DISTINCT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension AS e
                 JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
                 WHERE n.nspname <> 'pg_catalog' ORDER BY 1),
           ARRAY(SELECT DISTINCT d.classid::int FROM pg_catalog.pg_depend AS d
                 WHERE d.refclassid = {Class.SCHEMA} AND d.refobjid IN (SELECT oid FROM named)
                 UNION ALL SELECT {Class.EXTENSION} FROM pg_catalog.pg_extension WHERE oid >= 16384
                 UNION ALL SELECT {Class.POLICY} FROM pg_catalog.pg_policy
                 UNION ALL SELECT {Class.CAST} FROM pg_catalog.pg_cast WHERE oid >= 16384
                 UNION ALL SELECT {Class.TRANSFORM} FROM pg_catalog.pg_transform
                 UNION ALL SELECT {Class.EVENT_TRIGGER} FROM pg_catalog.pg_event_trigger
                 UNION ALL SELECT {Class.PUBLICATION} FROM pg_catalog.pg_publication
                 UNION ALL SELECT {Class.SECURITY_LABEL} FROM pg_catalog.pg_seclabel)
    """,
    "introspection.start",
)
_PATH = Statement("SELECT pg_catalog.set_config('search_path', %s, true)", "introspection.path")


@checked
def introspect(session: Session, schema: str | Sequence[str] | None = None) -> SchemaSnapshot:
    """Return all that a schema holds, as the server tells it.

    It only reads, also what the session's own transaction has made and not committed; outside of one it
    opens a transaction. The search path is as before afterwards.

    Parameters
    ----------
    schema : str or sequence of str, optional
        The schema's name as it is, unquoted; the first of the search path when left out. With a sequence,
        even of one, every name in the snapshot is qualified, and the schemas are objects of it.

    Raises
    ------
    UnknownSchema
        There is no such schema.
    SchemaInMotion
        It was changed by others while it was read; the transaction may be of no use any more.
    """
    names = [schema] if isinstance(schema, str) else None if schema is None else list(dict.fromkeys(schema))
    with session.atomic() as inside:
        before, version, found, brought, filled = inside.one(_START, {"names": names})
        schemas = {int(oid): name for oid, name in (found or {}).items()}
        if len(schemas) < len(names or [""]):
            raise UnknownSchema(_unknown(names, schemas.values()))
        qualified = not isinstance(schema, str) and schema is not None
        path = [] if qualified else list(dict.fromkeys([*schemas.values(), *(brought or ())]))
        with _path(inside, ", ".join([*path, "pg_temp"]), before), _uncollected():
            return _read(Catalogue(inside, schemas, qualified=qualified, version=version, filled=filled))


def _unknown(names: Sequence[str] | None, found: Iterable[str]) -> str:
    if names is None:
        return "no schema of the search path exists: name the schema to read"
    there = {name[1:-1].replace('""', '"') if name.startswith('"') else name for name in found}
    missing = ", ".join(name[:63] for name in sorted(set(names) - there))
    return f"there is no schema {missing} in this database: give a schema's name as it is, without quotes"


@contextmanager
def _path(session: Session, path: str, before: str) -> Iterator[None]:
    session.all(_PATH, [path])
    try:
        yield
    except BaseException:
        with suppress(DatabaseHandlerError):  # the first error is the one to see
            session.all(_PATH, [before])
        raise
    session.all(_PATH, [before])


@contextmanager
def _uncollected() -> Iterator[None]:
    """Hold the garbage collector back: of a large schema all that is made stays, and looking costs a half."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _read(catalogue: Catalogue) -> SchemaSnapshot:
    for read in (
        read_schemas,
        read_extensions,
        read_relations,
        read_types,
        read_constraints,
        read_indexes,
        read_functions,
        read_triggers,
        read_rules,
        read_policies,
        read_statistics,
        read_text_search,
        read_default_privileges,
        read_dependencies,
        read_comments,
        read_unmodelled,
        shorten_own_calls,
    ):
        read(catalogue)
    objects = {draft.id: _made(draft) for draft in sorted(catalogue.drafts, key=_by_id)}
    return SchemaSnapshot(objects, tuple(sorted(catalogue.unmodelled)), catalogue.version)


def _by_id(draft: Draft) -> ObjectId:
    return draft.id


_EXPRESSIONS: dict[type[SchemaObject], tuple[str, ...]] = {
    Column: ("default", "expression"),
    Domain: ("default",),
    Policy: ("using", "check"),
}


def _made(draft: Draft) -> SchemaObject:
    for name in _EXPRESSIONS.get(draft.type, ("definition",)):
        text = draft.fields.get(name)
        if isinstance(text, str) and "(ARRAY[" in text:
            draft.fields[name] = settled(text)
            if draft.type is Constraint and draft.fields[name] != text:
                draft.fields["spelled"] = text
    return draft.type(id=draft.id, needs=tuple(sorted(draft.needs)), **draft.fields)


@checked
def take_snapshot(config: DatabaseConfig, schema: str | Sequence[str] | None = None) -> SchemaSnapshot:
    """Return all that a schema holds at one instant, over a connection of its own, which changes nothing.

    Raises
    ------
    UnknownSchema
        There is no such schema.
    SchemaInMotion
        It was changed by others while it was read, several times over.
    """
    for _ in range(_AGAIN):
        with suppress(SchemaInMotion):
            return _look(config, schema)
    return _look(config, schema)


_AGAIN = 4


def _look(config: DatabaseConfig, schema: str | Sequence[str] | None) -> SchemaSnapshot:
    options = TransactionOptions(isolation="repeatable read", read_only=True)
    with Transaction(lambda: dedicated(config, purpose="introspection"), options) as session:
        return introspect(session, schema)
