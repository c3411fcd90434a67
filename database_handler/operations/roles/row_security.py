"""Row-level security by project: what each table needs, and the statements that lack. Pure functions.

A policy for the application and the read-only role shows the rows of the projects that the transaction names
in the setting `PROJECT_SETTING`, and none where it names none. Owner, migrator and backup have policies of
their own that show every row: so FORCE can hold for everybody, and no role needs BYPASSRLS for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from database_handler.core.quoting import identifier
from database_handler.core.transaction import PROJECT_SETTING
from database_handler.operations.roles.found import Found, Object, Policy
from database_handler.operations.roles.names import RoleNames
from database_handler.operations.roles.rights import Change

__all__ = ["POLICIES", "is_on", "policies_of", "row_security_off", "row_security_on"]

_OF_PROJECT, _ALL, _BACKUP = "database_handler_project", "database_handler_all", "database_handler_backup"
POLICIES: Final = frozenset({_OF_PROJECT, _ALL, _BACKUP})
"""The names of the policies; what others are called is not ours."""

# As it is written, and as PostgreSQL 15 to 18 spell it back. Once a statement, not once a row.
_SHOWN: Final = (
    "{column} = ANY ((SELECT string_to_array(current_setting('" + PROJECT_SETTING + "', true), ',')::uuid[])"
    "::uuid[])"
)
_STORED: Final = (
    "({column} = ANY (( SELECT (string_to_array(current_setting('" + PROJECT_SETTING + "'::text, true), "
    "','::text))::uuid[] AS string_to_array)::uuid[]))"
)


@dataclass(frozen=True, slots=True)
class _Written:
    """A policy as it is made, beside how the server tells of it."""

    sql: str
    stored: Policy


def is_on(found: Found) -> bool:
    """Whether some table has a policy of ours."""
    return any(policy.name in POLICIES for policy in found.policies)


def policies_of(names: RoleNames, table: Object) -> tuple[_Written, ...]:
    """Return the three policies of a table."""
    shown, stored = (text.format(column=table.tenant) for text in (_SHOWN, _STORED))
    scoped = frozenset({names.application, names.read_only})
    every = frozenset({names.owner, names.migrator})
    return (
        _written(table, _OF_PROJECT, "ALL", scoped, (shown, stored)),
        _written(table, _ALL, "ALL", every, ("true", "true")),
        _written(table, _BACKUP, "SELECT", frozenset({names.backup}), ("true", "true")),
    )


def _written(
    table: Object, name: str, command: str, roles: frozenset[str], expression: tuple[str, str]
) -> _Written:
    shown, stored = expression
    checks = command == "ALL"
    text = (
        f"CREATE POLICY {name} ON {table.name} FOR {command} TO {', '.join(map(identifier, sorted(roles)))} "
        f"USING ({shown})" + (f" WITH CHECK ({shown})" if checks else "")
    )
    return _Written(text, Policy(table.name, name, command, True, roles, stored, stored if checks else None))


def row_security_on(names: RoleNames, found: Found) -> Iterator[Change]:
    """Enable and force it on every table with a project, each with its policies."""
    there = {(policy.table, policy.name): policy for policy in found.policies}
    for table in found.objects:
        if table.tenant is None:
            continue
        for wanted in policies_of(names, table):
            held = there.get((table.name, wanted.stored.name))
            if held == wanted.stored:
                continue
            if held is not None:
                yield Change(f"DROP POLICY {held.name} ON {table.name}", "the policy is another one")
            yield Change(wanted.sql, "rows are shown to who may see them")
        if not table.row_security:
            yield Change(f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY", "no policy, no rows")
        if not table.forced:
            yield Change(
                f"ALTER TABLE {table.name} FORCE ROW LEVEL SECURITY", "the owner too keeps to policies"
            )


def row_security_off(found: Found) -> Iterator[Change]:
    """Take our policies away, and with the last of a table's the security itself."""
    for table in found.objects:
        held = [policy for policy in found.policies if policy.table == table.name]
        ours = [policy for policy in held if policy.name in POLICIES]
        for policy in ours:
            yield Change(f"DROP POLICY {policy.name} ON {table.name}", "row-level security is not wanted")
        if ours and len(ours) == len(held):
            yield Change(
                f"ALTER TABLE {table.name} NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY",
                "row-level security is not wanted",
            )
