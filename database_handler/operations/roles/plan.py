"""What lacks until the five roles are as they should be, as a value: the statements, in their order.

The plan is made of one look at the server and of nothing else, so that it can be shown, compared and tested
without running it; where nothing lacks it is empty.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import ClassVar, Final, Literal

from pydantic import BaseModel

from database_handler.core.quoting import identifier, literal
from database_handler.migrations.verdicts import Judged
from database_handler.operations.roles.found import Found, Membership, Object, Role
from database_handler.operations.roles.names import LOGINS, PARTS, Login, Part, RoleNames
from database_handler.operations.roles.rights import (
    Change,
    changes_of_database,
    changes_of_defaults,
    changes_of_objects,
    changes_of_schema,
)
from database_handler.operations.roles.row_security import POLICIES, is_on, row_security_off, row_security_on
from database_handler.utils.arguments import checked

__all__ = ["RoleConflict", "RolePlan", "RoleStatement", "plan_roles"]

_MARK: Final = re.compile(r" ?\(database_handler: \w+ of .*?\)")

Kind = Literal["role", "membership", "ownership", "right", "default", "setting", "row security", "password"]
# What a role may be a member of besides: it shows what the server counts, no rows, and `top` and `advise`
# ask for it.
_WATCHING = frozenset({"pg_monitor", "pg_read_all_settings", "pg_read_all_stats"})
_OPTIONS_FROM = 160_000  # the version whose memberships say whether they inherit and may be set


class RoleStatement(BaseModel, frozen=True):
    """One statement of a plan, and why it is there; a password is not shown."""

    kind: Kind
    sql: str
    why: str


class RoleConflict(BaseModel, frozen=True):
    """A role that is there already and may do more than its part needs.

    Attributes
    ----------
    sql : str
        What takes that away; it is run only when `plan` is asked to correct.
    """

    role: str
    part: Part
    what: str
    sql: str


class RolePlan(Judged, frozen=True):
    """What `apply` will run, in one transaction.

    Attributes
    ----------
    row_security : bool
        Whether the plan is for a database with row-level security by project.
    conflicts : tuple of RoleConflict
        What stands in the way until the plan is asked to correct it.
    notes : tuple of str
        What to know beside the statements.
    """

    verdicts: ClassVar = ("differs",)

    database: str
    schema_name: str
    names: RoleNames
    row_security: bool
    statements: tuple[RoleStatement, ...]
    conflicts: tuple[RoleConflict, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether anything is other than it should be."""
        return bool(self.statements or self.conflicts)


@checked
def plan_roles(
    names: RoleNames,
    found: Found,
    *,
    row_security: bool | None = None,
    correct: bool = False,
    passwords: Collection[Login] = (),
) -> RolePlan:
    """Say what lacks; pure.

    Parameters
    ----------
    row_security : bool, optional
        Whether rows are shown by project; as it is when left out.
    correct : bool
        Take away what roles that are there already may do beside their part.
    passwords : collection of str
        The parts that get a new password.
    """
    guarded = is_on(found) if row_security is None else row_security
    conflicts = tuple(_conflicts(names, found))
    statements = [
        *(RoleStatement(kind="role", sql=each.sql, why=each.what) for each in conflicts if correct),
        *_roles(names, found, guarded=guarded),
        *_comments(names, found),
        *_passwords(names, passwords),
        *_members(names, found),
        *_settings(names, found),
        *_owned(names, found, guarded=guarded),
    ]
    return RolePlan(
        database=found.database,
        schema_name=found.schema,
        names=names,
        row_security=guarded,
        statements=tuple(statements),
        conflicts=() if correct else conflicts,
        notes=tuple(_notes(names, found, guarded=guarded)),
    )


def _told(kind: Kind, changes: Iterable[Change]) -> Iterator[RoleStatement]:
    return (RoleStatement(kind=kind, sql=change.sql, why=change.why) for change in changes)


# --------------------------------------------------------------------------------------- the roles themselves


def _roles(names: RoleNames, found: Found, *, guarded: bool) -> Iterator[RoleStatement]:
    for part in PARTS:
        name, role = names.of(part), found.roles.get(names.of(part))
        bypass = " BYPASSRLS" if part == "backup" and guarded and _may_bypass(found) else ""
        login = "NOLOGIN" if part == "owner" else "LOGIN"
        if role is None:
            text = f"CREATE ROLE {identifier(name)} {login}{bypass}"
            yield RoleStatement(kind="role", sql=text, why=f"the {part} is not there")
            continue
        lacking = [" LOGIN"] if part != "owner" and not role.login else []
        lacking += [bypass] if bypass and not role.bypassrls else []
        if lacking:
            text = f"ALTER ROLE {identifier(name)}{''.join(lacking)}"
            yield RoleStatement(kind="role", sql=text, why=f"the {part} needs it")


def _comments(names: RoleNames, found: Found) -> Iterator[RoleStatement]:
    """Mark each role in its comment, by which the rest of the library knows it; what else it says stays."""
    for part in PARTS:
        role = found.roles.get(names.of(part))
        held = (role and role.comment) or ""
        mark = f"(database_handler: {part} of {found.database})"
        if mark not in held:
            told = f"{_MARK.sub('', held)} {mark}".strip()
            text = f"COMMENT ON ROLE {identifier(names.of(part))} IS {literal(told)}"
            yield RoleStatement(kind="role", sql=text, why="it is known by that")


def _may_bypass(found: Found) -> bool:
    return found.superuser or (found.bypassrls and found.version >= _OPTIONS_FROM)


def _passwords(names: RoleNames, parts: Collection[Login]) -> Iterator[RoleStatement]:
    for part in LOGINS:
        if part in parts:
            text = f"ALTER ROLE {identifier(names.of(part))} PASSWORD '***'"
            yield RoleStatement(kind="password", sql=text, why="a password was given")


def _conflicts(names: RoleNames, found: Found) -> Iterator[RoleConflict]:
    for part in PARTS:
        role = found.roles.get(names.of(part))
        if role is None:
            continue
        if surplus := _surplus(part, role):
            told = " ".join(surplus)
            text = f"ALTER ROLE {identifier(role.name)} {' '.join(f'NO{each}' for each in surplus)}"
            yield RoleConflict(role=role.name, part=part, what=f"has {told}", sql=text)
        for member in sorted(found.memberships):
            wanted = member.role in _WATCHING or (part == "migrator" and member.role == names.owner)
            if member.member == role.name and not wanted:
                text = f"REVOKE {identifier(member.role)} FROM {identifier(role.name)}"
                yield RoleConflict(role=role.name, part=part, what=f"is a member of {member.role}", sql=text)


def _surplus(part: Part, role: Role) -> list[str]:
    surplus = {
        "SUPERUSER": role.superuser,
        "CREATEROLE": role.createrole,
        "CREATEDB": role.createdb,
        "REPLICATION": role.replication,
        "BYPASSRLS": role.bypassrls and part != "backup",
        "LOGIN": role.login and part == "owner",
    }
    return [name for name, held in surplus.items() if held]


def _members(names: RoleNames, found: Found) -> Iterator[RoleStatement]:
    if Membership(names.migrator, names.owner, True, True) not in found.memberships:
        text = _membership((names.owner,), names.migrator, found)
        yield RoleStatement(kind="membership", sql=text, why="migrations run as the owner")


def _membership(roles: Iterable[str], member: str, found: Found) -> str:
    options = " WITH INHERIT TRUE, SET TRUE" if found.version >= _OPTIONS_FROM else ""
    return f"GRANT {', '.join(map(identifier, roles))} TO {identifier(member)}{options}"


def _settings(names: RoleNames, found: Found) -> Iterator[RoleStatement]:
    path = ", ".join((found.spelled, *found.beside, "pg_temp"))
    for part in PARTS:
        name = names.of(part)
        wanted: dict[str, tuple[str, str, str]] = {}
        if part != "owner":
            wanted["search_path"] = (path, path, "names mean the same whoever makes others")
        if part == "migrator":
            wanted["role"] = (names.owner, identifier(names.owner), "migrations run as the owner")
        role = found.roles.get(name)
        held = role.settings if role else frozenset[str]()
        for setting, (stored, sql, why) in wanted.items():
            if f"{setting}={stored}" not in held:
                text = (
                    f"ALTER ROLE {identifier(name)} IN DATABASE {identifier(found.database)} "
                    f"SET {setting} = {sql}"
                )
                yield RoleStatement(kind="setting", sql=text, why=why)


# ---------------------------------------------------------------------------------------------- what they own


def _owned(names: RoleNames, found: Found, *, guarded: bool) -> Iterator[RoleStatement]:
    """Give what touches objects; who is no superuser is a member of the owner for as long as that takes."""
    after = _as_owned(names, found)
    statements = [
        *_places_handed_over(names, found),
        *_told("right", changes_of_database(names, after)),
        *_told("right", changes_of_schema(names, after)),
        *_objects_handed_over(names, found),
        *_told("right", changes_of_objects(names, after, guarded=guarded)),
        *_told("default", changes_of_defaults(names, after, guarded=guarded)),
        *_told("row security", row_security_on(names, after) if guarded else row_security_off(after)),
    ]
    lent = (
        [] if found.superuser else [name for name in (names.owner, names.migrator) if not _has(name, found)]
    )
    if not statements or not lent:
        yield from statements
        return
    yield RoleStatement(
        kind="membership",
        sql=_membership(lent, found.user, found),
        why=f"{found.user}, who is no superuser, acts for them until the end of this",
    )
    yield from statements
    text = f"REVOKE {', '.join(map(identifier, lent))} FROM {identifier(found.user)}"
    yield RoleStatement(kind="membership", sql=text, why=f"{found.user} needs it no longer")


def _has(name: str, found: Found) -> bool:
    return Membership(found.user, name, True, True) in found.memberships


def _places_handed_over(names: RoleNames, found: Found) -> Iterator[RoleStatement]:
    """Take database and schema from one of the other four: who owns them may drop them."""
    owner = identifier(names.owner)
    places = [
        (f"DATABASE {identifier(found.database)}", found.database_owner),
        (f"SCHEMA {found.spelled}", found.schema_owner),
    ]
    for place, held in places:
        if held in names.all and held != names.owner:
            yield _handed_over(f"ALTER {place} OWNER TO {owner}", held)


def _objects_handed_over(names: RoleNames, found: Found) -> Iterator[RoleStatement]:
    owner = identifier(names.owner)
    for each in found.objects:
        if each.owner != names.owner and not each.follows:
            yield _handed_over(f"ALTER {each.kind} {each.name} OWNER TO {owner}", each.owner)


def _handed_over(sql: str, held: str) -> RoleStatement:
    return RoleStatement(kind="ownership", sql=sql, why=f"it belongs to {held}")


def _as_owned(names: RoleNames, found: Found) -> Found:
    """Return what there will be once the owner has all: with ownership go the rights of who had it."""

    def owned(each: Object) -> Object:
        rights = frozenset(right for right in each.rights if right.grantee != each.owner)
        return replace(each, owner=names.owner, rights=rights)

    after = replace(found, objects=tuple(map(owned, found.objects)))
    ours = set(names.all) - {names.owner}
    if found.database_owner in ours:
        kept = frozenset(each for each in found.database_rights if each.grantee != found.database_owner)
        after = replace(after, database_owner=names.owner, database_rights=kept)
    if found.schema_owner in ours:
        kept = frozenset(each for each in found.schema_rights if each.grantee != found.schema_owner)
        after = replace(after, schema_owner=names.owner, schema_rights=kept)
    return after


def _notes(names: RoleNames, found: Found, *, guarded: bool) -> Iterator[str]:
    if not guarded:
        return
    role = found.roles.get(names.backup)
    if not _may_bypass(found) and not (role and role.bypassrls):
        yield (
            f"{names.backup} cannot be given BYPASSRLS by {found.user}: it sees every row by a policy; "
            "`backup create` makes use of it, and a pg_dump by hand needs --enable-row-security"
        )
    around = [each.name for each in found.objects if not each.guards]
    if around:
        yield (
            f"{', '.join(around)}: whoever may use it sees every project's rows, so no right on it is given "
            "(a view needs WITH (security_invoker = true), a routine SECURITY INVOKER)"
        )
    others = [f"{each.name} on {each.table}" for each in found.policies if each.name not in POLICIES]
    if others:
        yield f"there are policies that are not of this plan: {', '.join(others)}"
