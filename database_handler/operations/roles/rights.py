"""Who may do what with each kind of object, and the GRANT and REVOKE statements that lack: pure functions."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from database_handler.core.quoting import identifier
from database_handler.operations.roles.found import PUBLIC, DefaultRights, Found, Granted, Object, Rights
from database_handler.operations.roles.names import LOGINS, PARTS, Part, RoleNames

__all__ = ["Change", "changes_of_database", "changes_of_defaults", "changes_of_objects", "changes_of_schema"]

Wanted = Mapping[Part, frozenset[str]]

_NOTHING: Final[Wanted] = {}
_READ = frozenset({"SELECT"})
_ROWS: Final[Wanted] = {
    "application": frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"}),
    "read_only": _READ,
    "backup": _READ,
}
_LOOK: Final[Wanted] = {"application": _READ, "read_only": _READ, "backup": _READ}
_NUMBERS: Final[Wanted] = {
    "application": frozenset({"USAGE", "SELECT"}),
    "read_only": _READ,
    "backup": _READ,
}
_CALL: Final[Wanted] = {"application": frozenset({"EXECUTE"}), "read_only": frozenset({"EXECUTE"})}
_BY_KIND: Final[Mapping[str, Wanted]] = {
    "TABLE": _ROWS,
    "FOREIGN TABLE": _ROWS,
    "VIEW": _LOOK,
    "MATERIALIZED VIEW": _LOOK,
    "SEQUENCE": _NUMBERS,
    "FUNCTION": _CALL,
    "PROCEDURE": _CALL,
    "AGGREGATE": _CALL,
}
_DEFAULTS: Final[Mapping[str, Wanted]] = {"TABLES": _ROWS, "SEQUENCES": _NUMBERS, "FUNCTIONS": _CALL}
_CONNECT: Final[Wanted] = {
    "owner": frozenset({"CREATE", "TEMPORARY"}),  # for extensions that migrations make
    **{part: frozenset({"CONNECT"}) for part in LOGINS},
}
_ENTER: Final[Wanted] = {
    "owner": frozenset({"USAGE", "CREATE"}),
    **{part: frozenset({"USAGE"}) for part in LOGINS},
}


@dataclass(frozen=True, slots=True)
class Change:
    """One GRANT or REVOKE, and why."""

    sql: str
    why: str


def changes_of_database(names: RoleNames, found: Found) -> Iterator[Change]:
    """Let the five in, and nobody else."""
    on = f"DATABASE {identifier(found.database)}"
    yield from _changes({on: (found.database_rights, found.database_owner, _CONNECT)}, names)


def changes_of_schema(names: RoleNames, found: Found) -> Iterator[Change]:
    """Let the owner make objects in the schema, and the others use them."""
    on = f"SCHEMA {found.spelled}"
    yield from _changes({on: (found.schema_rights, found.schema_owner, _ENTER)}, names)


def changes_of_objects(names: RoleNames, found: Found, *, guarded: bool) -> Iterator[Change]:
    """Give each part its rights on the objects that are there, which belong to the owner by then.

    Parameters
    ----------
    guarded : bool
        With row-level security: what would go around it is for nobody but the owner and the backup.
    """
    places = {
        f"{_keyword(each.kind)} {each.name}": (each.rights, each.owner, _wanted(each, guarded=guarded))
        for each in found.objects
        if each.kind in _BY_KIND
    }
    yield from _changes(places, names)


def _keyword(kind: str) -> str:
    if kind in {"FUNCTION", "PROCEDURE", "AGGREGATE"}:
        return "ROUTINE"
    return "SEQUENCE" if kind == "SEQUENCE" else "TABLE"


def _wanted(each: Object, *, guarded: bool) -> Wanted:
    if each.history:
        return _LOOK
    if guarded and not each.guards:
        return {part: rights for part, rights in _BY_KIND[each.kind].items() if part == "backup"}
    return _BY_KIND[each.kind]


def _changes(places: Mapping[str, tuple[Rights, str, Wanted]], names: RoleNames) -> Iterator[Change]:
    """Give the statements for some places, those that say the same of several as one."""
    lacking: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    surplus: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for place, (rights, owner, wanted) in places.items():
        kind, _, name = place.partition(" ")
        for grantee, privileges in _by_grantee(names, wanted):
            if grantee == owner:
                continue
            held = frozenset(right.privilege for right in rights if right.grantee == grantee)
            if privileges - held:
                lacking[kind, _listed(privileges - held), grantee].append(name)
            if held - privileges:
                surplus[kind, _listed(held - privileges), grantee].append(name)
    for (kind, listed, grantee), among in lacking.items():
        text = f"GRANT {listed} ON {kind} {', '.join(among)} TO {_spelled(grantee)}"
        yield Change(text, f"{names.part_of(grantee)} needs it")
    for (kind, listed, grantee), among in surplus.items():
        text = f"REVOKE {listed} ON {kind} {', '.join(among)} FROM {_spelled(grantee)}"
        yield Change(text, f"{names.part_of(grantee) or 'PUBLIC'} needs no such right")


def _by_grantee(names: RoleNames, wanted: Wanted) -> Iterator[tuple[str, frozenset[str]]]:
    for part in PARTS:
        if part != "owner" or "owner" in wanted:
            yield names.of(part), wanted.get(part, frozenset())
    yield PUBLIC, frozenset()


def _listed(privileges: Iterable[str]) -> str:
    return ", ".join(sorted(privileges))


def _spelled(grantee: str) -> str:
    return identifier(grantee) if grantee else "PUBLIC"


# -------------------------------------------------------------------------------------- what is made later


def changes_of_defaults(names: RoleNames, found: Found, *, guarded: bool) -> Iterator[Change]:
    """Have what the owner or the migrator makes later come with the same rights.

    With row-level security only a backup sees a new table, until it has its policies: closed, not open.
    """
    for maker in (names.owner, names.migrator):
        for kind, wanted in _DEFAULTS.items():
            told: Wanted = {
                part: rights for part, rights in wanted.items() if not guarded or _is_safe(part, kind)
            }
            yield from _of_defaults(names, found, maker, kind, told)
        everywhere = _default(found, maker, "FUNCTIONS", everywhere=True)
        if everywhere is None or Granted(PUBLIC, "EXECUTE") in everywhere.rights:
            start = f"ALTER DEFAULT PRIVILEGES FOR ROLE {identifier(maker)}"
            text = f"{start} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC"
            yield Change(text, "PUBLIC needs no functions made later")


def _is_safe(part: Part, kind: str) -> bool:
    return part == "backup" or kind == "SEQUENCES"


def _of_defaults(names: RoleNames, found: Found, maker: str, kind: str, wanted: Wanted) -> Iterator[Change]:
    there = _default(found, maker, kind, everywhere=False)
    for grantee, privileges in _by_grantee(names, wanted):
        if grantee == maker:
            continue
        rights = there.rights if there else frozenset[Granted]()
        held = frozenset(right.privilege for right in rights if right.grantee == grantee)
        start = f"ALTER DEFAULT PRIVILEGES FOR ROLE {identifier(maker)} IN SCHEMA {found.spelled}"
        if lacking := privileges - held:
            text = f"{start} GRANT {_listed(lacking)} ON {kind} TO {_spelled(grantee)}"
            yield Change(text, f"{names.part_of(grantee)} needs it on {kind.lower()} made later")
        if surplus := held - privileges:
            text = f"{start} REVOKE {_listed(surplus)} ON {kind} FROM {_spelled(grantee)}"
            yield Change(text, f"{names.part_of(grantee) or 'PUBLIC'} needs no {kind.lower()} made later")


def _default(found: Found, maker: str, kind: str, *, everywhere: bool) -> DefaultRights | None:
    return next(
        (
            each
            for each in found.defaults
            if (each.role, each.kind, each.everywhere) == (maker, kind, everywhere)
        ),
        None,
    )
