"""Plans how tables are spread by project, from what the models say and what the catalogue holds alone.

Projects go by their id, every child by its project, all in one colocation group, so that a project and all
that is below it lie on one node. Where a rule of Citus is broken, the plan has a finding, and is not run.

Sources: Citus documentation, "Creating and Modifying Distributed Objects (DDL)" (what keys may be) and "Citus
Utility Functions"; a trial on Citus 13.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from database_handler.core.quoting import literal
from database_handler.core.schema import TENANT, Table

__all__ = [
    "ClusterState",
    "DistributionFinding",
    "DistributionPlan",
    "DistributionReport",
    "DistributionStep",
    "ForeignKeyFound",
    "Placed",
    "ProjectsAs",
    "UniqueKey",
    "plan_distribution",
]

PROJECTS = "projects"
ProjectsAs = Literal["distributed", "reference"]
Rule = Literal["citus", "table", "unique key", "foreign key", "trigger", "placement", "node"]


# ------------------------------------------------------------------------------------------ what is there


@dataclass(frozen=True, slots=True)
class UniqueKey:
    """A unique index, those of primary keys and unique constraints among them."""

    table: str
    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForeignKeyFound:
    """A foreign key as the catalogue has it; `on_delete` in SQL's words, such as SET NULL."""

    table: str
    name: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]
    on_delete: str


@dataclass(frozen=True, slots=True)
class Placed:
    """A table that Citus knows: by which column it is distributed, or None for a copy on every node."""

    table: str
    column: str | None
    colocation: int


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What the catalogue of the coordinator, and its workers, say.

    Attributes
    ----------
    citus : str, optional
        The version; None where the extension is not there.
    available : bool
        Whether the extension could be created.
    workers : tuple of str
        ``host:port`` of each.
    triggers : tuple of (str, str)
        The table and the name of each.
    lacking : tuple of (str, str)
        The worker, and what it has not, of what generated columns and searches use.
    """

    database: str
    citus: str | None = None
    available: bool = False
    workers: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    placed: tuple[Placed, ...] = ()
    unique_keys: tuple[UniqueKey, ...] = ()
    foreign_keys: tuple[ForeignKeyFound, ...] = ()
    triggers: tuple[tuple[str, str], ...] = ()
    lacking: tuple[tuple[str, str], ...] = ()


# ----------------------------------------------------------------------------------------- what is to be done


class DistributionFinding(BaseModel, frozen=True):
    """A rule that is broken, by what, why that is one, and what to do."""

    rule: Rule
    object: str
    why: str
    remedy: str


class DistributionStep(BaseModel, frozen=True):
    """One table's turn; its column is None for a copy on every node."""

    table: str
    column: str | None
    sql: str


class DistributionPlan(BaseModel, frozen=True):
    """The statements in their order, or what stands in the way of them.

    Attributes
    ----------
    placed : tuple of str
        The tables that are where they should be.
    findings : tuple of DistributionFinding
        With any of them, nothing is run.
    """

    database: str
    citus: str | None
    workers: tuple[str, ...]
    placed: tuple[str, ...]
    steps: tuple[DistributionStep, ...]
    findings: tuple[DistributionFinding, ...]

    @property
    def statements(self) -> tuple[str, ...]:
        """Return the SQL of the steps."""
        return tuple(step.sql for step in self.steps)


class DistributionReport(DistributionPlan, frozen=True):
    """A plan, and whether it was run."""

    dry_run: bool


def plan_distribution(
    tables: Sequence[Table], state: ClusterState, *, projects: ProjectsAs = "distributed"
) -> DistributionPlan:
    """Return what spreads the tables by project; a second plan, over the state that it makes, is empty.

    Parameters
    ----------
    tables : sequence of Table
        Of the models, each after those it refers to, for Citus takes a parent before its children.
    projects : {"distributed", "reference"}
        By their id, or as a copy on every node, where slugs stay unique over all of them.
    """
    columns = {table.name: _column(table, projects) for table in tables}
    placed = {each.table: each for each in state.placed}
    right = [name for name in columns if name in placed and placed[name].column == columns[name]]
    steps = [_step(name, columns) for name in columns if name not in placed]
    return DistributionPlan(
        database=state.database,
        citus=state.citus,
        workers=state.workers,
        placed=tuple(right),
        steps=tuple(steps),
        findings=tuple(_findings(columns, state)),
    )


def _column(table: Table, projects: ProjectsAs) -> str | None:
    if table.name == PROJECTS:
        return "id" if projects == "distributed" else None
    return TENANT if table.is_child else None


def _step(name: str, columns: Mapping[str, str | None]) -> DistributionStep:
    column = columns[name]
    if column is None:
        return DistributionStep(
            table=name, column=None, sql=f"SELECT create_reference_table({literal(name)})"
        )
    first = _first(columns)
    group = "none" if name == first else first
    given = f"{literal(name)}, {literal(column)}, colocate_with => {literal(group)}"
    return DistributionStep(table=name, column=column, sql=f"SELECT create_distributed_table({given})")


def _first(columns: Mapping[str, str | None]) -> str:
    """Return the table that the others lie beside: projects, or the first of the children."""
    return next(name for name, column in columns.items() if column is not None)


# ------------------------------------------------------------------------------------------------- findings


def _findings(columns: Mapping[str, str | None], state: ClusterState) -> Iterator[DistributionFinding]:
    yield from _of_the_server(columns, state)
    yield from _of_unique_keys(columns, state)
    yield from _of_foreign_keys(columns, state)
    for table, name in state.triggers:
        if columns.get(table) is not None:
            yield DistributionFinding(
                rule="trigger",
                object=f"{table}.{name}",
                why="Citus runs no triggers on distributed tables",
                remedy=f"DROP TRIGGER {name} ON {table}, and have the application do what it did",
            )
    yield from _of_placements(columns, state)


_CREATE = "CREATE EXTENSION citus in this database, on every node"
_INSTALL = (
    "install Citus on every node, set shared_preload_libraries = 'citus', restart, and CREATE EXTENSION "
    "citus in a database of this name on each"
)


def _of_the_server(columns: Mapping[str, str | None], state: ClusterState) -> Iterator[DistributionFinding]:
    if state.citus is None:
        yield DistributionFinding(
            rule="citus",
            object=state.database,
            why="the extension citus is not in this database",
            remedy=_CREATE if state.available else _INSTALL,
        )
    for name in columns:
        if name not in state.tables:
            yield DistributionFinding(
                rule="table", object=name, why="there is no such table", remedy="migrate first"
            )
    for node, what in state.lacking:
        yield DistributionFinding(
            rule="node",
            object=node,
            why=f"it has no {what}, which generated columns and searches use",
            remedy="run what `database-handler distribute --node-sql` prints there, in this database",
        )


def _of_unique_keys(columns: Mapping[str, str | None], state: ClusterState) -> Iterator[DistributionFinding]:
    for key in state.unique_keys:
        column = columns.get(key.table)
        if column is None or column in key.columns:
            continue
        remedy = f"drop {key.name}, or make it one with {column} in it"
        if key.table == PROJECTS:
            remedy = (
                "have a copy of projects on every node (projects='reference', --projects reference), which "
                f"keeps it unique; or ALTER TABLE projects DROP CONSTRAINT {key.name}, and go without: two "
                "projects may then have one slug, and the server refuses upsert of projects"
            )
        yield DistributionFinding(
            rule="unique key",
            object=f"{key.table}.{key.name} ({', '.join(key.columns)})",
            why=f"it lacks {column}, and no node can see whether another has the value",
            remedy=remedy,
        )


def _of_foreign_keys(columns: Mapping[str, str | None], state: ClusterState) -> Iterator[DistributionFinding]:
    for key in state.foreign_keys:
        if key.table not in columns:
            if columns.get(key.target) is not None:
                yield _foreign(key, f"{key.table} is no model's, and stays on the coordinator", "drop it")
        elif key.target not in columns:
            yield _foreign(
                key,
                f"{key.target} is no model's, and stays on the coordinator",
                "have a copy of it on every node (SELECT create_reference_table(...)), or drop the key",
            )
        elif why := _why_not(key, columns):
            yield _foreign(key, why, "let both sides begin with the project, ON DELETE CASCADE or RESTRICT")


def _why_not(key: ForeignKeyFound, columns: Mapping[str, str | None]) -> str:
    own, target = columns[key.table], columns[key.target]
    if key.on_delete in {"SET NULL", "SET DEFAULT"} and own in key.columns:
        return f"ON DELETE {key.on_delete} would change the column that says where a row lies"
    if target is None:
        return ""
    pairs = set(zip(key.columns, key.target_columns, strict=True))
    return "" if (own, target) in pairs else "the row that it refers to may lie on another node"


def _foreign(key: ForeignKeyFound, why: str, remedy: str) -> DistributionFinding:
    return DistributionFinding(rule="foreign key", object=f"{key.table}.{key.name}", why=why, remedy=remedy)


def _of_placements(columns: Mapping[str, str | None], state: ClusterState) -> Iterator[DistributionFinding]:
    groups = {each.colocation for each in state.placed if each.column and columns.get(each.table)}
    for each in state.placed:
        wanted = columns.get(each.table)
        if each.table in columns and each.column != wanted:
            yield DistributionFinding(
                rule="placement",
                object=each.table,
                why=f"it is {_as(each.column)} already, and should be {_as(wanted)}",
                remedy=f"SELECT undistribute_table({literal(each.table)}, cascade_via_foreign_keys => true)",
            )
    if len(groups) > 1:
        yield DistributionFinding(
            rule="placement",
            object=", ".join(sorted(each.table for each in state.placed if columns.get(each.table))),
            why="they are in several colocation groups, so that a project's rows lie on several nodes",
            remedy="SELECT update_distributed_table_colocation(...) until they are in one",
        )


def _as(column: str | None) -> str:
    return "copied to every node" if column is None else f"distributed by {column}"
