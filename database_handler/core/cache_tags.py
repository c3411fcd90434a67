"""What a transaction's writes make stale, as tags: each cached entry hangs on three, and lives while all do.

``g`` is everything; ``t:<table>`` a table's rows, ``r:<table>:<id>`` one of them; ``s`` every project's
statistics, ``s:<id>`` one's. A statement whose answer names its rows touches those. One that does not
touches its table, and one that is not the library's touches everything.
"""

from collections.abc import Iterable, Mapping
from uuid import UUID

from database_handler.core.schema import TENANT, Table
from database_handler.core.session import Reply, Statement

__all__ = [
    "EVERYTHING",
    "STATISTICS",
    "Footprint",
    "Touched",
    "row_tag",
    "statistics_tag",
    "table_tag",
]

EVERYTHING = "g"
STATISTICS = "s"
_MOST_ROWS = 1000  # of one table; from there on it is the table that a transaction touches


def table_tag(table: str) -> str:
    """Name the tag of a table's rows."""
    return f"t:{table}"


def row_tag(table: str, id: UUID) -> str:
    """Name the tag of one row."""
    return f"r:{table}:{id}"


def statistics_tag(project: UUID) -> str:
    """Name the tag of one project's statistics."""
    return f"s:{project}"


class Touched:
    """The tables that have cached rows, and what goes with a row of each when it is deleted."""

    def __init__(self, tables: Iterable[Table]) -> None:
        found = tuple(tables)
        self.projects = frozenset(table.name for table in found if not table.is_child)
        below: dict[str, set[str]] = {table.name: set() for table in found}
        for table in found:
            for key in table.foreign_keys:
                if key.on_delete == "CASCADE" and key.table in below:
                    below[key.table].add(table.name)
        self.cascades: Mapping[str, frozenset[str]] = {name: _closed(name, below) for name in below}


def _closed(name: str, below: Mapping[str, set[str]]) -> frozenset[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = below[waiting.pop()] - found
        found |= new
        waiting += new
    return frozenset(found)


class Footprint:
    """What one transaction has touched so far."""

    def __init__(self, touched: Touched) -> None:
        self._touched = touched
        self._everything = False
        self._tables: set[str] = set()
        self._rows: dict[str, set[UUID]] = {}
        self._projects: set[UUID] | None = set()  # None: any

    def everything(self) -> None:
        """Note a statement of which it is not known what it writes."""
        self._everything = True

    def add(self, statement: Statement, reply: Reply) -> None:
        """Note a statement of the library's that writes, by what it answered."""
        table = statement.table
        if table is None:
            self._everything = True
        elif table in self._touched.cascades:
            self._add_rows(table, statement, reply)

    def _add_rows(self, table: str, statement: Statement, reply: Reply) -> None:
        rows = _column(reply, "id", "ids")
        projects = rows if table in self._touched.projects else None
        if projects is None:
            projects = _column(reply, TENANT, f"{TENANT}s")
        if rows is None and not statement.inserts:
            self._tables.add(table)
        elif rows:
            self._rows.setdefault(table, set()).update(rows)
        if projects is None:
            self._projects = None
        elif self._projects is not None:
            self._projects |= projects
        if statement.deletes and (rows is None or rows):
            self._tables |= self._touched.cascades[table]

    @property
    def tags(self) -> tuple[str, ...]:
        """What is stale once the transaction is committed."""
        if self._everything:
            return (EVERYTHING,)
        found = {table_tag(name) for name in self._tables}
        for name, ids in self._rows.items():
            found |= {table_tag(name)} if len(ids) > _MOST_ROWS else {row_tag(name, id) for id in ids}
        if self._projects is None or len(self._projects) > _MOST_ROWS:
            found.add(STATISTICS)
        else:
            found |= {statistics_tag(id) for id in self._projects}
        return tuple(sorted(found))


def _column(reply: Reply, name: str, listed: str) -> set[UUID] | None:
    """Return the ids that an answer names in a column, or all of them in one text; None where it does not."""
    if name in reply.columns:
        at = reply.columns.index(name)
        return {row[at] for row in reply.rows if row[at] is not None}
    if listed in reply.columns:
        at = reply.columns.index(listed)
        return {UUID(id) for row in reply.rows if row[at] for id in row[at].split(",")}
    return None
