"""What a database has besides its content: its owner, who may connect, settings. No dump of content holds it.

Whoever replaces a database keeps these, or the application could not connect to the new one, or would run
with other settings.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from psycopg2 import sql

from database_handler.core.session import Session, Statement

__all__ = ["Traits", "read_traits"]

_DATABASE = Statement(
    "SELECT pg_get_userbyid(datdba)::text, datconnlimit, datacl IS NOT NULL FROM pg_catalog.pg_database "
    "WHERE datname = %s",
    "backup.database",
)
_RIGHTS = Statement(
    "SELECT CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee)::text END, "
    "a.privilege_type, a.is_grantable "
    "FROM pg_catalog.pg_database d, aclexplode(d.datacl) a WHERE d.datname = %s",
    "backup.rights",
)
_SETTINGS = Statement(
    "SELECT CASE s.setrole WHEN 0 THEN NULL ELSE pg_get_userbyid(s.setrole)::text END, unnest(s.setconfig) "
    "FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase "
    "WHERE d.datname = %s",
    "backup.settings",
)
# Settings that are lists of names: PostgreSQL, guc_tables.c, GUC_LIST_QUOTE.
_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}
_ITEM = re.compile(r'"((?:[^"]|"")*)"|([^",\s]+)')


@dataclass(frozen=True, slots=True)
class Traits:
    """Of one database: rights and settings by role, None for everybody."""

    owner: str
    connections: int
    restricted: bool
    rights: tuple[tuple[str | None, str, bool], ...]
    settings: tuple[tuple[str | None, str], ...]

    def statements(self, name: str, *, owner: bool) -> Iterator[sql.Composed]:
        """Give the statements that give another database of this server the same."""
        database = sql.Identifier(name)
        if owner:
            yield sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, sql.Identifier(self.owner))
        yield sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(database, sql.Literal(self.connections))
        if self.restricted:
            yield sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database)
        for role, right, grantable in self.rights:
            yield sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                sql.SQL(_RIGHT_NAMES[right]),
                database,
                sql.SQL("PUBLIC") if role is None else sql.Identifier(role),
                sql.SQL(" WITH GRANT OPTION" if grantable else ""),
            )
        for role, setting in self.settings:
            key, _, value = setting.partition("=")
            whose = sql.SQL("DATABASE {}").format(database)
            if role is not None:
                whose = sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(role), database)
            parameter = sql.SQL(".").join(map(sql.Identifier, key.split(".")))
            yield sql.SQL("ALTER {} SET {} TO {}").format(whose, parameter, _value(key, value))


_RIGHT_NAMES = {"CONNECT": "CONNECT", "CREATE": "CREATE", "TEMPORARY": "TEMPORARY"}


def _value(key: str, value: str) -> sql.Composable:
    if key not in _LISTS:
        return sql.Literal(value)
    items = [quoted.replace('""', '"') or plain for quoted, plain in _ITEM.findall(value)]
    return sql.SQL(", ").join(map(sql.Literal, items or [""]))


def read_traits(session: Session, name: str) -> Traits:
    """Return what a database of this server has."""
    owner, connections, restricted = session.one(_DATABASE, [name])
    return Traits(
        owner,
        connections,
        restricted,
        tuple((role, right, grantable) for role, right, grantable in session.all(_RIGHTS, [name])),
        tuple((role, setting) for role, setting in session.all(_SETTINGS, [name])),
    )
