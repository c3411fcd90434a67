"""What the server says of roles and rights, as pure values, in one look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from database_handler.core.schema import TENANT
from database_handler.core.session import Session, Statement
from database_handler.models import Project
from database_handler.operations.roles.names import RoleNames
from database_handler.utils.errors import ConfigurationError, shown

__all__ = ["PUBLIC", "DefaultRights", "Found", "Granted", "Membership", "Object", "Policy", "Role", "look"]

PUBLIC = ""
"""Stands for everybody among grantees; no role has this name."""


class Granted(NamedTuple):
    """One privilege of one grantee."""

    grantee: str
    privilege: str


Rights = frozenset[Granted]


class Membership(NamedTuple):
    """A role that is a member of another; what it may do with that."""

    member: str
    role: str
    inherits: bool
    sets: bool


@dataclass(frozen=True, slots=True)
class Role:
    """A role that is there; `settings` are those for this database."""

    name: str
    superuser: bool
    createrole: bool
    createdb: bool
    login: bool
    replication: bool
    bypassrls: bool
    comment: str | None
    settings: frozenset[str]


@dataclass(frozen=True, slots=True)
class Object:
    """A table, view, sequence, routine, type and so on of the schema, but none of an extension.

    Attributes
    ----------
    kind : str
        As ALTER ... OWNER spells it: ``TABLE``, ``VIEW``, ``SEQUENCE``, ``FUNCTION``, ``TYPE``, ...
    name : str
        As SQL spells it, with its schema.
    follows : bool
        Whether its owner is that of a table: a sequence of a column.
    history : bool
        Whether migrations write down there what is applied.
    guards : bool
        Whether who reads it, or runs it, does so with rights of their own: false for a view without
        ``security_invoker``, a materialized view, a routine with SECURITY DEFINER.
    tenant : str, optional
        The column that names the project of a row.
    """

    kind: str
    name: str
    owner: str
    rights: Rights
    follows: bool = False
    history: bool = False
    guards: bool = True
    tenant: str | None = None
    row_security: bool = False
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy of row-level security; `table` and `name` as SQL spells them."""

    table: str
    name: str
    command: str
    permissive: bool
    roles: frozenset[str]
    using: str | None
    check: str | None


@dataclass(frozen=True, slots=True)
class DefaultRights:
    """What objects get that a role makes later; in the schema, or (`everywhere`) in the whole database."""

    role: str
    kind: str
    everywhere: bool
    rights: Rights


@dataclass(frozen=True, slots=True)
class Found:
    """One look at a database, its server's roles and what each may do.

    Attributes
    ----------
    schema, database : str
        As they are called; `spelled` is the schema as SQL spells it.
    beside : tuple of str
        The other schemas of extensions, as SQL spells them.
    user : str
        Who looks; `superuser` and `bypassrls` are its attributes.
    """

    version: int
    database: str
    database_owner: str
    database_rights: Rights
    schema: str
    spelled: str
    schema_owner: str
    schema_rights: Rights
    beside: tuple[str, ...]
    user: str
    superuser: bool
    bypassrls: bool
    roles: Mapping[str, Role]
    memberships: frozenset[Membership]
    objects: tuple[Object, ...]
    policies: tuple[Policy, ...]
    defaults: tuple[DefaultRights, ...]


def _rights(acl: str, default: str) -> str:
    """SQL for the privileges in an access list, as a JSON list of (grantee, privilege)."""
    return (
        "(SELECT coalesce(json_agg(json_build_array("
        f"CASE x.grantee WHEN 0 THEN '{PUBLIC}' ELSE pg_get_userbyid(x.grantee) END, x.privilege_type)), "
        f"'[]') FROM aclexplode(coalesce({acl}, {default})) AS x)"
    )


def _of_no_extension(catalogue: str, oid: str) -> str:
    return (
        f"NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = '{catalogue}'::regclass "
        f"AND d.objid = {oid} AND d.deptype = 'e')"
    )


_PLACE = Statement(
    f"""SELECT current_setting('server_version_num')::int, d.datname, pg_get_userbyid(d.datdba),
    {_rights("d.datacl", "acldefault('d', d.datdba)")},
    n.nspname, quote_ident(n.nspname), pg_get_userbyid(n.nspowner),
    {_rights("n.nspacl", "acldefault('n', n.nspowner)")},
    ARRAY(SELECT DISTINCT quote_ident(o.nspname) FROM pg_extension AS e JOIN pg_namespace AS o
        ON o.oid = e.extnamespace WHERE o.oid <> n.oid AND o.nspname <> 'pg_catalog' ORDER BY 1),
    u.rolname, u.rolsuper, u.rolbypassrls
    FROM pg_database AS d, pg_roles AS u, pg_namespace AS n
    WHERE d.datname = current_database() AND u.rolname = current_user AND n.nspname = coalesce(%s,
        (SELECT h.nspname FROM pg_class AS c JOIN pg_namespace AS h ON h.oid = c.relnamespace
         WHERE c.oid = to_regclass(%s)), current_schema())""",
    "roles.place",
)
_ROLES = Statement(
    "SELECT r.rolname, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication, "
    "r.rolbypassrls, shobj_description(r.oid, 'pg_authid'), coalesce((SELECT s.setconfig "
    "FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase "
    "WHERE s.setrole = r.oid AND d.datname = current_database()), '{}') "
    "FROM pg_roles AS r WHERE r.rolname = ANY(%s)",
    "roles.roles",
)
# The options of a membership are columns from PostgreSQL 16 on.
_MEMBERSHIPS = Statement(
    "SELECT m.rolname, g.rolname, bool_or(coalesce((to_jsonb(a) ->> 'inherit_option')::boolean, "
    "m.rolinherit)), bool_or(coalesce((to_jsonb(a) ->> 'set_option')::boolean, true)) "
    "FROM pg_auth_members AS a JOIN pg_roles AS m ON m.oid = a.member JOIN pg_roles AS g ON g.oid = a.roleid "
    "WHERE m.rolname = ANY(%s) OR m.rolname = current_user GROUP BY 1, 2",
    "roles.memberships",
)
_HISTORY = "number", "name", "token_hash", "applied_at", "applied_by", "library_version"
_OF_RELATION = """acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)"""
_RELATIONS = Statement(
    f"""SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
        WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname), pg_get_userbyid(c.relowner),
    {_rights("c.relacl", _OF_RELATION)},
    c.relkind = 'S' AND EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass
        AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')),
    c.relname = %(snapshot)s OR ARRAY(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = c.oid
        AND a.attnum > 0 AND NOT a.attisdropped) @> %(history)s::text[],
    CASE c.relkind WHEN 'm' THEN false WHEN 'v' THEN coalesce((SELECT o.option_value::boolean
        FROM pg_options_to_table(c.reloptions) AS o WHERE o.option_name = 'security_invoker'), false)
        ELSE true END,
    CASE WHEN c.relkind NOT IN ('r', 'p') THEN NULL ELSE (SELECT a.attname FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.atttypid = 'uuid'::regtype AND NOT a.attisdropped
        AND a.attname = CASE c.relname WHEN %(projects)s THEN 'id' ELSE %(tenant)s END) END,
    c.relrowsecurity, c.relforcerowsecurity
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND {_of_no_extension("pg_class", "c.oid")} ORDER BY 2""",
    "roles.relations",
)
_ROUTINES = Statement(
    f"""SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END,
    format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
    pg_get_userbyid(p.proowner), {_rights("p.proacl", "acldefault('f', p.proowner)")},
    false, false, NOT p.prosecdef
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname = %(schema)s AND {_of_no_extension("pg_proc", "p.oid")} ORDER BY 2""",
    "roles.routines",
)
# What has an owner and no rights of its own. A table's row type and the types of arrays and multiranges go
# with what they were made for.
_TYPES = Statement(
    f"""SELECT 'TYPE', format('%%I.%%I', n.nspname, t.typname), pg_get_userbyid(t.typowner), '[]'::json
    FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
    LEFT JOIN pg_class AS c ON c.oid = t.typrelid
    WHERE n.nspname = %(schema)s AND (t.typtype IN ('d', 'e', 'r') OR c.relkind = 'c')
    AND {_of_no_extension("pg_type", "t.oid")}
    UNION ALL SELECT 'TEXT SEARCH CONFIGURATION', format('%%I.%%I', n.nspname, t.cfgname),
    pg_get_userbyid(t.cfgowner), '[]'::json
    FROM pg_ts_config AS t JOIN pg_namespace AS n ON n.oid = t.cfgnamespace
    WHERE n.nspname = %(schema)s AND {_of_no_extension("pg_ts_config", "t.oid")}
    UNION ALL SELECT 'TEXT SEARCH DICTIONARY', format('%%I.%%I', n.nspname, t.dictname),
    pg_get_userbyid(t.dictowner), '[]'::json
    FROM pg_ts_dict AS t JOIN pg_namespace AS n ON n.oid = t.dictnamespace
    WHERE n.nspname = %(schema)s AND {_of_no_extension("pg_ts_dict", "t.oid")}
    UNION ALL SELECT 'STATISTICS', format('%%I.%%I', n.nspname, t.stxname), pg_get_userbyid(t.stxowner),
    '[]'::json FROM pg_statistic_ext AS t JOIN pg_namespace AS n ON n.oid = t.stxnamespace
    WHERE n.nspname = %(schema)s ORDER BY 1, 2""",
    "roles.types",
)
_POLICIES = Statement(
    "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), quote_ident(p.polname), "
    "CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' "
    "WHEN 'd' THEN 'DELETE' ELSE 'ALL' END, p.polpermissive, "
    f"ARRAY(SELECT CASE r WHEN 0 THEN '{PUBLIC}' ELSE pg_get_userbyid(r) END::text "
    "FROM unnest(p.polroles) AS r), "
    "pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid) FROM pg_policy AS p "
    "JOIN pg_class AS c ON c.oid = p.polrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace "
    "WHERE n.nspname = %(schema)s ORDER BY 1, 2",
    "roles.policies",
)
_DEFAULTS = Statement(
    "SELECT pg_get_userbyid(d.defaclrole), CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' "
    "WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' ELSE 'TYPES' END, d.defaclnamespace = 0, "
    f"{_rights('d.defaclacl', 'd.defaclacl')} FROM pg_default_acl AS d "
    "LEFT JOIN pg_namespace AS n ON n.oid = d.defaclnamespace "
    "WHERE (d.defaclnamespace = 0 OR n.nspname = %(schema)s) "
    "AND pg_get_userbyid(d.defaclrole) = ANY(%(roles)s)",
    "roles.defaults",
)


def look(session: Session, names: RoleNames, schema: str | None = None) -> Found:
    """Read what is there; `schema` is the library's own when left out.

    Raises
    ------
    ConfigurationError
        There is no such schema.
    """
    place = session.maybe(_PLACE, [schema, Project.table.name])
    if place is None:
        wanted = "of the search_path" if schema is None else shown(schema)
        raise ConfigurationError(f"there is no schema {wanted} in this database; create it first")
    bound = _bound(names, place[4])
    return Found(
        version=place[0],
        database=place[1],
        database_owner=place[2],
        database_rights=_granted(place[3]),
        schema=place[4],
        spelled=place[5],
        schema_owner=place[6],
        schema_rights=_granted(place[7]),
        beside=tuple(place[8]),
        user=place[9],
        superuser=place[10],
        bypassrls=place[11],
        roles={row[0]: _role(row) for row in session.all(_ROLES, [list(names.all)])},
        memberships=frozenset(Membership(*row) for row in session.all(_MEMBERSHIPS, [list(names.all)])),
        objects=tuple(_objects(session, bound)),
        policies=tuple(_policy(row) for row in session.all(_POLICIES, bound)),
        defaults=tuple(_default_rights(*row) for row in session.all(_DEFAULTS, bound)),
    )


def _bound(names: RoleNames, schema: str) -> dict[str, object]:
    return {
        "schema": schema,
        "roles": list(names.all),
        "history": list(_HISTORY),
        "snapshot": "database_handler_migrations_snapshot",
        "projects": Project.table.name,
        "tenant": TENANT,
    }


def _objects(session: Session, bound: dict[str, object]) -> Sequence[Object]:
    rows = [row for each in (_RELATIONS, _ROUTINES, _TYPES) for row in session.all(each, bound)]
    return [Object(kind, name, owner, _granted(rights), *rest) for kind, name, owner, rights, *rest in rows]


def _granted(rights: Sequence[Sequence[str]]) -> Rights:
    return frozenset(Granted(grantee, privilege) for grantee, privilege in rights)


def _role(row: tuple[Any, ...]) -> Role:
    name, superuser, createrole, createdb, login, replication, bypassrls, comment, settings = row
    held = superuser, createrole, createdb, login, replication, bypassrls
    return Role(name, *held, comment, frozenset(settings))


def _default_rights(role: str, kind: str, everywhere: bool, rights: Sequence[Sequence[str]]) -> DefaultRights:
    return DefaultRights(role, kind, everywhere, _granted(rights))


def _policy(row: tuple[Any, ...]) -> Policy:
    table, name, command, permissive, roles, using, check = row
    return Policy(table, name, command, permissive, frozenset(roles), using, check)
