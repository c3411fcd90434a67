"""A project is copied by one message, in the server, however many rows it has.

The text is made from the tables: what a model gains, and the entities that an application adds, are copied
without a line here. Ids are mapped by the order of the rows; each reference joins the mapping of the table
that it leads to. Computed and operational columns are not copied, version and times begin anew.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from database_handler.core.schema import TENANT, Column, Table
from database_handler.core.session import Statement
from database_handler.repositories.files import while_copying
from database_handler.repositories.project_ids import NewIds, id_in_sql
from database_handler.repositories.statements import columns, showing

__all__ = ["clone", "values"]

# Where statistics are missing the planner may take a project for one row, and compare each row of it with
# each other; a hash join is never much worse here. That is said for the planning of one statement: with the
# first row that it reads all is as before, for it calls functions (of computed columns) that are planned too.
_NO_NESTED_LOOPS = (
    "SELECT set_config('database_handler.nestloop', current_setting('enable_nestloop'), true), "
    "set_config('enable_nestloop', 'off', true)"
)
_AS_BEFORE = "SELECT set_config('enable_nestloop', current_setting('database_handler.nestloop'), true)"
_NEW = {"id": "%(project)s::uuid", "created_at": "now()", "updated_at": "now()", "version": "1"}


@lru_cache(maxsize=256)
def clone(project: Table, below: tuple[Table, ...], changed: tuple[str, ...]) -> Statement:
    """Copy a project and all below it under one snapshot; gives the new project, or nothing.

    Parameters
    ----------
    changed : tuple of str
        The project's columns that are given instead of copied.
    """
    mapped = frozenset(table.name for table in below)
    parts = ", ".join(part for table in below for part in (_ids(table), _rows(table, mapped)))
    given = {**_NEW, **{name: f"%({name})s::{project.column(name).type}" for name in changed}}
    copied = ", ".join(given.get(name, f"t.{name}") for name in project.column_names)
    text = (
        f"{_NO_NESTED_LOOPS}, {showing('%(source)s, %(project)s')};"
        f"WITH {parts} INSERT INTO {project.name} ({columns(project)}) "
        f"SELECT {copied} FROM {project.name} AS t WHERE t.id = %(source)s;"
        f"{_AS_BEFORE};SELECT {columns(project)} FROM {project.name} WHERE id = %(project)s"
    )
    return while_copying(Statement(text, f"{project.name}.clone", writes=True, table=project.name))


def values(
    source: UUID, project: UUID, below: Iterable[Table], changes: Mapping[str, Any]
) -> dict[str, object]:
    """Return what `clone` binds, with ids that begin now."""
    bound: dict[str, object] = {"source": source, "project": project, **changes}
    for table in below:
        ids = NewIds.make()
        bound |= {f"head_{table.name}": ids.head, f"tail_{table.name}": ids.tail}
    return bound


def _ids(table: Table) -> str:
    new_id = id_in_sql("number", f"%(head_{table.name})s", f"%(tail_{table.name})s")
    return (
        f"ids_{table.name} AS MATERIALIZED (SELECT id, {new_id} AS new_id FROM "
        f"(SELECT id, row_number() OVER (ORDER BY id) AS number FROM {table.name} "
        f"WHERE {TENANT} = %(source)s AND ({_AS_BEFORE}) IS NOT NULL) AS numbered)"
    )


def _rows(table: Table, mapped: frozenset[str]) -> str:
    references = {key.columns[-1]: key.table for key in table.foreign_keys if key.table in mapped}
    joins = "".join(
        f" LEFT JOIN ids_{target} AS to_{name} ON to_{name}.id = t.{name}"
        for name, target in references.items()
    )
    copied = ", ".join(_copied(table.columns, references))
    return (
        f"copied_{table.name} AS (INSERT INTO {table.name} ({columns(table)}) SELECT {copied} "
        f"FROM {table.name} AS t JOIN ids_{table.name} AS own ON own.id = t.id{joins} "
        f"WHERE t.{TENANT} = %(source)s)"
    )


def _copied(found: Iterable[Column], references: Mapping[str, str]) -> Iterator[str]:
    new = {**_NEW, "id": "own.new_id", TENANT: "%(project)s::uuid"}
    for column in found:
        name = column.name
        yield new.get(name) or (f"to_{name}.new_id" if name in references else f"t.{name}")
