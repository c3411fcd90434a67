"""A snapshot without what `roles apply` gives: rights of its roles, default privileges, policies. Pure."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from database_handler.migrations.schema.snapshot import (
    DefaultPrivileges,
    Grant,
    Kind,
    ObjectId,
    Policy,
    SchemaObject,
    SchemaSnapshot,
    Table,
)

__all__ = ["without_roles"]

_POLICY: Final = "database_handler_"  # how the names of its policies begin


def without_roles(snapshot: SchemaSnapshot, roles: frozenset[str]) -> SchemaSnapshot:
    """Return a snapshot as it would be without these roles (as SQL spells them).

    What PUBLIC may call is left out as well: nothing, once the roles are there.
    """
    guarded = {
        found.id.name for found in snapshot if isinstance(found, Policy) and found.id.part.startswith(_POLICY)
    }
    kept = dict(_kept(snapshot, roles, guarded))
    return replace(snapshot, objects=kept)


def _kept(
    snapshot: SchemaSnapshot, roles: frozenset[str], guarded: set[str]
) -> Iterator[tuple[ObjectId, SchemaObject]]:
    for id, found in snapshot.objects.items():
        if id.kind is Kind.POLICY and id.part.startswith(_POLICY):
            continue
        if isinstance(found, DefaultPrivileges) and id.name in roles:
            continue
        there = replace(found, grants=_others(found, roles))
        if isinstance(there, Table) and id.name in guarded:
            there = replace(there, row_security=False, force_row_security=False)
        yield id, there


def _others(found: SchemaObject, roles: frozenset[str]) -> tuple[Grant, ...] | None:
    """Return the grants to other roles; None where there are none, as if nothing was ever granted."""
    if found.grants is None:
        return None
    left = tuple(grant for grant in found.grants if grant.grantee not in roles)
    return left if any(grant.grantee for grant in left) else None
