"""Comments, owners, privileges, policies: what is said about an object, not what it is."""

from collections.abc import Iterable, Iterator, Mapping

from database_handler.core.quoting import literal
from database_handler.migrations.schema.schema_diff.fates import Change
from database_handler.migrations.schema.schema_diff.names import KEYWORD, dollar_quoted, target
from database_handler.migrations.schema.schema_diff.statement import Action
from database_handler.migrations.schema.schema_diff.step import Step, chained
from database_handler.migrations.schema.snapshot import (
    Column,
    DefaultPrivileges,
    Function,
    Grant,
    Kind,
    ObjectId,
    Policy,
    SchemaObject,
    View,
)

__all__ = ["alter_policy", "create_policy", "default_privileges", "said", "said_anew"]

_OWNED = frozenset(KEYWORD) - {Kind.EXTENSION, Kind.INDEX} | {Kind.FUNCTION}
_ALL_OF_TABLE = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"})
_BY_DEFAULT: Mapping[Kind, frozenset[Grant]] = {
    Kind.TABLE: frozenset({Grant("", "ALL")}),
    Kind.VIEW: frozenset({Grant("", "ALL")}),
    Kind.MATERIALIZED_VIEW: frozenset({Grant("", "ALL")}),
    Kind.SEQUENCE: frozenset({Grant("", "ALL")}),
    Kind.SCHEMA: frozenset({Grant("", "ALL")}),
    Kind.FUNCTION: frozenset({Grant("", "EXECUTE"), Grant("PUBLIC", "EXECUTE")}),
    Kind.ENUM: frozenset({Grant("", "USAGE"), Grant("PUBLIC", "USAGE")}),
    Kind.DOMAIN: frozenset({Grant("", "USAGE"), Grant("PUBLIC", "USAGE")}),
    Kind.COMPOSITE: frozenset({Grant("", "USAGE"), Grant("PUBLIC", "USAGE")}),
    Kind.RANGE: frozenset({Grant("", "USAGE"), Grant("PUBLIC", "USAGE")}),
}
_ON = {
    "TABLES": Kind.TABLE,
    "SEQUENCES": Kind.SEQUENCE,
    "FUNCTIONS": Kind.FUNCTION,
    "TYPES": Kind.ENUM,
    "SCHEMAS": Kind.SCHEMA,
}


def said_anew(each: SchemaObject, before: SchemaObject | None, change: Change) -> Iterator[Step]:
    """Give what is said about an object that is made: `before` is what it was when it is made again."""
    if isinstance(each, DefaultPrivileges):
        return
    owner = (before.owner if before else "") or each.owner
    if owner and each.id.kind in _OWNED:
        yield Step.alter(f"ALTER {target(each)} OWNER TO {owner}", each.id, Action.OWNER)
    yield from _comments(each, None)
    yield from _privileges(each, None, _given_by_default(each, change))
    if isinstance(each, View):
        yield from _view_columns(each, None)


def said(before: SchemaObject, after: SchemaObject, change: Change) -> Iterator[Step]:
    """Give what is said otherwise about an object that stays."""
    yield from _comments(after, before)
    if isinstance(after, Column) and after.grants and _table_revokes(after, change):
        yield from _privileges(after, before, frozenset())
    elif before.grants != after.grants:
        yield from _privileges(after, before, _held(before))
    if isinstance(before, View) and isinstance(after, View):
        yield from _view_columns(after, before)


def _comments(after: SchemaObject, before: SchemaObject | None) -> Iterator[Step]:
    if after.comment != (before.comment if before else None):
        yield _comment(target(after), after.comment, after.id)


def _comment(what: str, text: str | None, id: ObjectId) -> Step:
    said = "NULL" if text is None else literal(text)
    return Step.alter(f"COMMENT ON {what} IS {said}", id, Action.COMMENT)


def _held(each: SchemaObject) -> frozenset[Grant]:
    if each.grants is not None:
        return frozenset(each.grants)
    return _BY_DEFAULT.get(each.id.kind, frozenset())


def _given_by_default(each: SchemaObject, change: Change) -> frozenset[Grant]:
    """Return what an object is granted as it is made: by the server, and by default privileges."""
    found = _held_by_default(each)
    for rule in change.rules:
        if _applies(rule, each):
            found |= frozenset(rule.grants or ())
    return found


def _held_by_default(each: SchemaObject) -> frozenset[Grant]:
    return _BY_DEFAULT.get(each.id.kind, frozenset())


def _applies(rule: DefaultPrivileges, each: SchemaObject) -> bool:
    kind = Kind.TABLE if isinstance(each, View) else each.id.kind
    if kind in (Kind.DOMAIN, Kind.COMPOSITE, Kind.RANGE):
        kind = Kind.ENUM
    return _ON.get(rule.on) is kind and (not rule.schema or each.id.name.startswith(f"{rule.schema}."))


def _privileges(after: SchemaObject, before: SchemaObject | None, held: frozenset[Grant]) -> Iterator[Step]:
    where, column = _granted_on(after)
    owner = (before.owner if before else "") or after.owner or "CURRENT_USER"
    statements = _changes(held, _held(after), where, column, owner)
    yield from chained(Step.alter(sql, after.id, Action.GRANT) for sql in statements)


def _granted_on(each: SchemaObject) -> tuple[str, str]:
    match each:
        case Column():
            return f"TABLE {each.id.name}", each.id.part
        case View():
            return f"TABLE {each.id.name}", ""
        case Function(type="AGGREGATE"):
            return f"FUNCTION {target(each).removeprefix('AGGREGATE ')}", ""
        case _:
            return target(each), ""


def _changes(
    held: frozenset[Grant], wanted: frozenset[Grant], where: str, column: str, owner: str
) -> Iterator[str]:
    lost = {grant for grant in held - wanted if not _only_more(grant, wanted)}
    less = {grant for grant in lost if grant.grantable and grant._replace(grantable=False) in wanted}
    for front, grants in (("REVOKE", lost - less), ("REVOKE GRANT OPTION FOR", less)):
        for (grantee, _), privileges in _by_grantee(grants):
            yield f"{front} {_listed(privileges, column)} ON {where} FROM {grantee or owner}"
    names = {grant.grantee for grant in lost}
    again = {grant for grant in wanted & held if grant.grantee in names and _swallowed(grant, held - wanted)}
    for (grantee, grantable), privileges in _by_grantee((wanted - held) | again):
        if grantable or not all(Grant(grantee, each, True) in held for each in privileges):
            option = " WITH GRANT OPTION" if grantable else ""
            yield f"GRANT {_listed(privileges, column)} ON {where} TO {grantee or owner}{option}"


def _only_more(grant: Grant, wanted: frozenset[Grant]) -> bool:
    """Whether the same privilege stays, and may be passed on besides."""
    return not grant.grantable and grant._replace(grantable=True) in wanted


def _swallowed(grant: Grant, revoked: frozenset[Grant]) -> bool:
    """Whether a privilege that stays goes with what is revoked from the same role."""
    return any(
        each.grantee == grant.grantee and "ALL" in (each.privilege, grant.privilege) for each in revoked
    )


def _by_grantee(grants: Iterable[Grant]) -> list[tuple[tuple[str, bool], list[str]]]:
    found: dict[tuple[str, bool], list[str]] = {}
    for grantee, privilege, grantable in sorted(grants):
        found.setdefault((grantee, grantable), []).append(privilege)
    return sorted(found.items())


def _listed(privileges: Iterable[str], column: str) -> str:
    return ", ".join(f"{privilege} ({column})" if column else privilege for privilege in privileges)


def _table_revokes(column: Column, change: Change) -> bool:
    """Whether a privilege of the whole table is revoked: that takes those of its columns along."""
    id = ObjectId(Kind.TABLE, column.id.name)
    before, after = change.old.objects.get(id), change.new.objects.get(id)
    return before is not None and after is not None and bool(_held(before) - _held(after))


def _view_columns(after: View, before: View | None) -> Iterator[Step]:
    had, has = dict(before.column_comments if before else ()), dict(after.column_comments)
    there = {name for name, _ in after.columns}
    for column in sorted(had.keys() | has.keys()):
        if had.get(column) != has.get(column) and (column in has or column in there):
            yield _comment(f"COLUMN {after.id.name}.{column}", has.get(column), after.id)
    granted, wanted = _column_grants(before), _column_grants(after)
    owner = (before.owner if before else "") or after.owner or "CURRENT_USER"
    for column in sorted(granted.keys() | wanted.keys()):
        one, other = granted.get(column, frozenset()), wanted.get(column, frozenset())
        statements = _changes(one, other, f"TABLE {after.id.name}", column, owner)
        yield from chained(Step.alter(sql, after.id, Action.GRANT) for sql in statements)


def _column_grants(view: View | None) -> dict[str, frozenset[Grant]]:
    found: dict[str, frozenset[Grant]] = {}
    for column, grant in view.column_grants if view else ():
        found[column] = found.get(column, frozenset()) | {grant}
    return found


def create_policy(each: Policy, change: Change) -> Iterator[Step]:
    """Give the statement that makes a policy."""
    kind = "" if each.permissive else " AS RESTRICTIVE"
    command = "" if each.command == "ALL" else f" FOR {each.command}"
    sql = f"CREATE POLICY {each.id.part} ON {each.id.name}{kind}{command}{_rules(each)}"
    yield Step.create(sql, each.id, change.new.needs(each.id))


def _rules(each: Policy, before: Policy | None = None) -> str:
    default = ("PUBLIC",) if before is None else before.roles
    roles = "" if each.roles == default else f" TO {', '.join(each.roles)}"
    using = f" USING ({each.using})" if each.using is not None else ""
    check = f" WITH CHECK ({each.check})" if each.check is not None else ""
    if before is not None and before.using == each.using:
        using = ""
    if before is not None and before.check == each.check:
        check = ""
    return f"{roles}{using}{check}"


def alter_policy(before: Policy, after: Policy, change: Change) -> Iterator[Step]:
    """Give the statement that changes a policy."""
    if rules := _rules(after, before):
        sql = f"ALTER POLICY {after.id.part} ON {after.id.name}{rules}"
        needs, releases = change.new.needs(after.id), change.old.needs(after.id)
        yield Step.alter(sql, after.id, needs=needs, releases=releases)


def default_privileges(before: DefaultPrivileges | None, after: DefaultPrivileges | None) -> Iterator[Step]:
    """Give what changes the privileges that objects made later get."""
    each = after or before
    if each is None:
        return
    held = frozenset(before.grants or ()) if before else frozenset[Grant]()
    wanted = frozenset(after.grants or ()) if after else frozenset[Grant]()
    place = f"IN SCHEMA {each.schema or '%1$I'}"
    front = f"ALTER DEFAULT PRIVILEGES FOR ROLE {each.id.name} {place}"
    made, gone = (after is not None and before is None), after is None
    for sql in _changes(held, wanted, each.on, "", each.id.name):
        text = f"{front} {sql}" if each.schema else _in_this_schema(f"{front} {sql}")
        step = Step.alter(text, each.id, Action.GRANT)
        if made:
            step = Step.create(text, each.id)
        elif gone:
            step = Step.drop(text, each.id, ())
        yield step


def _in_this_schema(sql: str) -> str:
    body = f"\nBEGIN\n    EXECUTE format({dollar_quoted(sql)}, current_schema());\nEND\n"
    return f"DO {dollar_quoted(body, 'do')}"
