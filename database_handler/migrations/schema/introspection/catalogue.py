"""The catalogue while it is read: rows in, drafts of objects out, every number mapped to an `ObjectId`.

An object is drafted while its kind is read, and made once all kinds were read: only then are the names known
that it needs, and its comment.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from database_handler.core.exceptions import DatabaseHandlerError
from database_handler.core.session import Session, Statement
from database_handler.migrations.errors import SchemaInMotion
from database_handler.migrations.schema.snapshot import Grant, ObjectId, SchemaObject, Unmodelled

__all__ = [
    "Catalogue",
    "Class",
    "Draft",
    "Key",
    "acl",
    "grants_of",
    "not_of_extension",
    "options_of",
    "owner",
]


# What a row says is as old as the transaction; what the server deparses for it is as of now. So an object
# that was dropped in between has no text, or makes the server stumble over something that is not there.
_INTERNAL = "XX000"
_MOVED = (
    "the schema was changed while it was read: nothing is known of it; read it again, in a new transaction"
)


class Class:
    """The fixed numbers of the system catalogues, as pg_depend and pg_description name them."""

    RELATION = 1259
    TYPE = 1247
    FUNCTION = 1255
    DEFAULT = 2604
    CONSTRAINT = 2606
    REWRITE = 2618
    TRIGGER = 2620
    SCHEMA = 2615
    DEFAULT_ACL = 826
    EXTENSION = 3079
    POLICY = 3256
    STATISTICS = 3381
    DICTIONARY = 3600
    CONFIGURATION = 3602
    CAST = 2605
    COLLATION = 3456
    CONVERSION = 2607
    EVENT_TRIGGER = 3466
    OPERATOR = 2617
    OPERATOR_CLASS = 2616
    OPERATOR_FAMILY = 2753
    PUBLICATION = 6104
    SECURITY_LABEL = 3596
    TEXT_SEARCH_PARSER = 3601
    TEXT_SEARCH_TEMPLATE = 3764
    TRANSFORM = 3576


Key = tuple[int, int, int]
"""What the server calls a thing: the catalogue it is in, its number there, and the column's in it, or 0."""


@dataclass(slots=True)
class Draft:
    """An object that lacks only what it needs and its comment."""

    type: type[SchemaObject]
    id: ObjectId
    key: Key
    fields: dict[str, Any]
    needs: set[ObjectId] = field(default_factory=set)


class Catalogue:
    """One reading of some schemas.

    Parameters
    ----------
    session : Session
        In a transaction whose search_path is set already.
    schemas : mapping
        The schemas to read: their numbers, and their names as SQL spells them.
    qualified : bool
        Whether names are written with their schema; not when one schema is read.
    filled : collection of int
        The catalogues, by `Class`, that hold anything which may belong to the schemas; the others are not
        read at all.
    """

    def __init__(
        self,
        session: Session,
        schemas: Mapping[int, str],
        *,
        qualified: bool,
        version: int,
        filled: Collection[int],
    ) -> None:
        self.session = session
        self.filled = frozenset(filled)
        self.schemas = dict(schemas)
        self.qualified = qualified
        self.version = version
        self.drafts: list[Draft] = []
        self.ids: dict[Key, ObjectId] = {}
        self.relations: dict[int, str] = {}  # names as they go into ids
        self.places: dict[int, str] = {}  # names as the server qualifies them where it always does
        self.columns: dict[int, dict[int, str]] = {}
        self.attributes: dict[int, tuple[tuple[str, str, str | None], ...]] = {}  # of composite types
        self.indexed = self.ruled = self.triggered = False  # whether any relation is
        self.unmodelled: set[Unmodelled] = set()

    def holds(self, *catalogues: int) -> bool:
        """Whether one of these may hold anything of the schemas."""
        return not self.filled.isdisjoint(catalogues)

    def rows(self, query: str, name: str, **parameters: object) -> list[tuple[Any, ...]]:
        """Return what `query` finds in the schemas, which it names ``%(schemas)s``."""
        values = {"schemas": list(self.schemas), **parameters}
        try:
            return self.session.all(Statement(query, f"introspection.{name}"), values)
        except DatabaseHandlerError as failure:
            if failure.sqlstate != _INTERNAL:
                raise
            moved = failure
        raise SchemaInMotion(_MOVED) from moved

    def after(self, start: str, text: str | None) -> str:
        """Return what follows `start` in a text of the server's, which it takes from the present."""
        if text is None or not text.startswith(start):
            raise self.moved()
        return text.removeprefix(start)

    def moved(self) -> SchemaInMotion:
        """Return the error for a text that does not fit its row."""
        return SchemaInMotion(_MOVED)

    def name(self, schema: int, name: str) -> str:
        """Return a quoted name as ids hold it."""
        return self.place(schema, name) if self.qualified else name

    def place(self, schema: int, name: str) -> str:
        """Return a quoted name with its schema."""
        return f"{self.schemas[schema]}.{name}"

    def draft(self, made: type[SchemaObject], id: ObjectId, key: Key, **fields: Any) -> Draft:
        """Note an object that was found, and the number that dependencies and comments know it by."""
        draft = Draft(made, id, key, fields)
        self.drafts.append(draft)
        self.ids[key] = id
        return draft

    def also(self, kind: str, name: str) -> None:
        """Note that something is there that no snapshot models."""
        self.unmodelled.add(Unmodelled(kind, name))

    def see(self, visible: bool, name: str) -> None:
        """Note a name that means something else to the server: what uses it is written with the schema."""
        if not visible and not self.qualified:
            self.also("name that a built-in one hides", name)

    def column_names(self, relation: int, numbers: Iterable[int] | None) -> tuple[str, ...]:
        """Return the columns of these numbers; 0 is an expression's, which has no name."""
        names = self.columns.get(relation)
        return tuple(names[number] for number in numbers if number in names) if names and numbers else ()

    def relation_id(self, relation: int) -> ObjectId | None:
        """Return the id of a table, view or sequence that was read."""
        return self.ids.get((Class.RELATION, relation, 0))


# ----------------------------------------------------------------------------------------- pieces of queries


def not_of_extension(catalogue: str, alias: str) -> str:
    """Return the condition that no extension brought the object along."""
    return (
        f"NOT EXISTS (SELECT FROM pg_depend AS brought WHERE brought.classid = '{catalogue}'::regclass "
        f"AND brought.objid = {alias}.oid AND brought.deptype = 'e')"
    )


def owner(column: str) -> str:
    """Return the expression for an owner: empty for the role that looks."""
    return (
        f"CASE WHEN {column} <> (SELECT oid FROM pg_roles WHERE rolname = current_user) "
        f"THEN quote_ident(pg_get_userbyid({column})) ELSE '' END"
    )


def acl(column: str, kind: str, owned_by: str) -> str:
    """Return the expression for privileges as JSON: NULL where they are what they would be by default."""
    default = f"acldefault('{kind}', {owned_by})"
    return (
        f"CASE WHEN {column} IS NOT NULL AND NOT ({column} @> {default} AND {default} @> {column}) THEN "
        f"(SELECT coalesce(json_agg(json_build_array(CASE given.grantee WHEN {owned_by} THEN '' "
        "WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given.grantee)) END, "
        f"given.privilege_type, given.is_grantable)), '[]') FROM aclexplode({column}) AS given) END"
    )


_ALL = {
    "r": {"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"},
    "c": {"SELECT", "INSERT", "UPDATE", "REFERENCES"},
    "s": {"SELECT", "UPDATE", "USAGE"},
    "n": {"CREATE", "USAGE"},
}


def grants_of(found: list[list[Any]] | None, kind: str) -> tuple[Grant, ...] | None:
    """Return privileges, sorted; who has all that there are has ``ALL``, whatever a version adds to them."""
    if found is None:
        return None
    held: dict[tuple[str, bool], set[str]] = {}
    for grantee, privilege, grantable in found:
        held.setdefault((grantee, grantable), set()).add(privilege)
    return tuple(
        sorted(
            Grant(grantee, privilege, grantable)
            for (grantee, grantable), privileges in held.items()
            for privilege in _shortened(privileges, kind)
        )
    )


def _shortened(privileges: set[str], kind: str) -> set[str]:
    everything = _ALL.get(kind)
    if everything is None or not everything <= privileges:
        return privileges
    return {"ALL"}


def options_of(found: Iterable[str] | None) -> tuple[tuple[str, str], ...]:
    """Return ``name=value`` options as pairs, sorted."""
    return tuple(sorted((name, value) for name, _, value in (each.partition("=") for each in found or ())))
