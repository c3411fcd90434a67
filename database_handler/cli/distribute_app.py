"""The command that spreads the tables over a Citus cluster, and its values laid out for people."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import RenderableType

from database_handler.cli.endings import Ending, ending
from database_handler.cli.options import Run
from database_handler.cli.program import app, command
from database_handler.cli.tables import exact, laid_out, phrase
from database_handler.operations.distribution import DistributionReport, node_sql
from database_handler.utils.text import counted

__all__: list[str] = []


class ProjectsAs(StrEnum):
    """Where the rows of projects lie."""

    DISTRIBUTED = "distributed"
    REFERENCE = "reference"


class NodeScript(BaseModel, frozen=True):
    """What a node is prepared with."""

    sql: str


@command(
    app,
    "database-handler distribute --dry-run",
    "database-handler distribute --projects reference",
    "database-handler distribute --node-sql | psql postgresql://worker-1/films",
)
def distribute(
    run: Run,
    *,
    projects: Annotated[
        ProjectsAs, typer.Option(help="By their id, or a copy on every node, where slugs stay unique.")
    ] = ProjectsAs.DISTRIBUTED,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the SQL, and run nothing.")] = False,
    node_script: Annotated[
        bool, typer.Option("--node-sql", help="Print what a worker is prepared with; no database is needed.")
    ] = False,
) -> DistributionReport | NodeScript:
    """Spread the tables over the nodes of a Citus cluster by project; what is spread already stays as it is.

    Exit codes: 0 all tables are where they should be, 1 a rule is broken and nothing was changed. Of a dry
    run: 2 there is something to do, 4 a rule is broken.
    """
    if node_script:
        return NodeScript(sql=node_sql())
    with run.database() as db:
        return db.distribute(projects=projects.value, dry_run=dry_run)


@ending.register
def _(value: DistributionReport) -> Ending:
    if value.findings:
        return Ending.DECISION
    return Ending.PENDING if value.dry_run and value.steps else Ending.DONE


@laid_out.register
def _(value: NodeScript, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield exact(value.sql)


@laid_out.register
def _(value: DistributionReport, lines: bool) -> Iterator[RenderableType]:
    del lines
    for finding in value.findings:
        yield phrase(f"{finding.rule}: {finding.object}: {finding.why}. {finding.remedy}", "red")
    for statement in value.statements:
        yield phrase(f"{statement};")
    version = "no Citus" if value.citus is None else f"Citus {value.citus}"
    yield phrase(f"{value.database}: {version}, {counted(len(value.workers), 'worker')}; {_told(value)}")


def _told(value: DistributionReport) -> str:
    if value.findings:
        return f"{counted(len(value.findings), 'rule')} broken, nothing was changed"
    there = f"{counted(len(value.placed), 'table')} in place already"
    verb = "to spread" if value.dry_run else "spread"
    return f"{counted(len(value.steps), 'table')} {verb}, {there}"
