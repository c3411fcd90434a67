"""A project goes with everything below it, and what went is counted by the rows that went.

The project is locked by a statement of its own, so that nobody can add to it; the next one, under a new
snapshot, sees what was added until then. Both are one message. Rows are counted by deleting them, not
before: one that somebody else takes away meanwhile is theirs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Self

from database_handler.core.schema import Table
from database_handler.core.session import Statement
from database_handler.repositories.statements import columns, scope
from database_handler.utils.arguments import checked

__all__ = ["Deleted", "ProjectCounts", "delete", "preview"]


@dataclass(frozen=True, slots=True)
class ProjectCounts:
    """How many rows of each entity.

    Attributes
    ----------
    others : mapping
        Of an application's own entities, by the names of their tables.
    """

    projects: int = 0
    text_sources: int = 0
    summaries: int = 0
    translations: int = 0
    videos: int = 0
    links: int = 0
    others: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    @checked
    def of(cls, counted: Mapping[str, int]) -> Self:
        """Make them of counts by table."""
        named = {each.name for each in fields(cls)} - {"others"}
        others = {name: number for name, number in counted.items() if name not in named}
        return cls(**{name: counted.get(name, 0) for name in named}, others=others)

    @property
    def by_entity(self) -> dict[str, int]:
        """Return the counts by table, those of an application's own entities last."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "others"}
        return {**own, **self.others}

    @property
    def total(self) -> int:
        """Return the number of all rows."""
        return sum(self.by_entity.values())


@dataclass(frozen=True, slots=True)
class Deleted(ProjectCounts):
    """What went with a project, itself among it; or what would go."""


@lru_cache(maxsize=256)
def delete(project: Table, below: tuple[Table, ...], scoped: bool) -> Statement:
    """Lock a project, then take it and all below it away.

    Gives how many rows went of each table (all zero where the version is another) and the project as it was;
    nothing where there is none.
    """
    held = scope(project, scoped).replace("%s", "%(scope)s")
    gone = "".join(f", {_gone(table)}" for table in below)
    counts = "".join(f"(SELECT count(*) FROM gone_{table.name}), " for table in below)
    text = (
        f"SELECT FROM {project.name} WHERE id = %(id)s{held} FOR UPDATE;"
        f"WITH current AS MATERIALIZED (SELECT {columns(project)} FROM {project.name} "
        f"WHERE id = %(id)s{held} FOR UPDATE), "
        f"gone AS (DELETE FROM {project.name} AS t USING current WHERE t.id = current.id "
        "AND current.version = coalesce(%(version)s::bigint, current.version) RETURNING 1)"
        f"{gone} SELECT (SELECT count(*) FROM gone), {counts}{columns(project)} FROM current"
    )
    return Statement(text, f"{project.name}.delete", writes=True, deletes=True, table=project.name)


def _gone(table: Table) -> str:
    # After the project, whose going takes away first what an application keeps from going by itself.
    return (
        f"gone_{table.name} AS (DELETE FROM {table.name} "
        f"WHERE {table.scope_column} = %(id)s AND EXISTS (SELECT FROM gone) RETURNING 1)"
    )


@lru_cache(maxsize=256)
def preview(project: Table, below: tuple[Table, ...], scoped: bool) -> Statement:
    """Count a project and all below it; gives nothing where there is none."""
    held = scope(project, scoped).replace("%s", "%(scope)s")
    counts = "".join(
        f", (SELECT count(*) FROM {table.name} WHERE {table.scope_column} = %(id)s)" for table in below
    )
    text = f"SELECT 1{counts} FROM {project.name} WHERE id = %(id)s{held}"
    return Statement(text, f"{project.name}.delete_preview")


def counted(tables: tuple[Table, ...], row: tuple[Any, ...]) -> dict[str, int]:
    """Return the counts that a row begins with, by table."""
    return dict(zip((table.name for table in tables), row, strict=False))
