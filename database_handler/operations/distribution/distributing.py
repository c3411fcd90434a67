"""Carries a plan of distribution out, table by table, each in a transaction of its own."""

from collections.abc import Sequence

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.exceptions import ConfigurationError, InvalidValue
from database_handler.core.schema import Table
from database_handler.core.session import Statement
from database_handler.core.text_search import create_text_search
from database_handler.core.transaction import Autocommit, Transaction, TransactionOptions
from database_handler.operations.distribution.catalogue import look
from database_handler.operations.distribution.plan import (
    DistributionFinding,
    DistributionPlan,
    DistributionReport,
    ProjectsAs,
    plan_distribution,
)

__all__ = ["DistributionRefused", "distribute", "node_sql"]

_LOOK = TransactionOptions(isolation="repeatable read", read_only=True)


class DistributionRefused(ConfigurationError):
    """A rule of the cluster's is broken; nothing was changed.

    Attributes
    ----------
    findings : tuple of DistributionFinding
        All that stands in the way, not only the first.
    """

    def __init__(self, findings: Sequence[DistributionFinding]) -> None:
        told = "; ".join(f"{each.object}: {each.why} ({each.remedy})" for each in findings)
        super().__init__(f"{told}. Nothing was changed")
        self.findings = tuple(findings)


def distribute(
    config: DatabaseConfig,
    tables: Sequence[Table],
    *,
    projects: ProjectsAs = "distributed",
    dry_run: bool = False,
) -> DistributionReport:
    """Spread the tables by project; what is spread already is left as it is.

    Each table is one transaction, in which it cannot be written to. The next run goes on with one that ended
    in between.

    Raises
    ------
    DistributionRefused
        A rule is broken; all that are, are named.
    """
    if projects not in ("distributed", "reference"):
        raise InvalidValue('projects is "distributed" or "reference"')
    place = config.for_migrations()
    plan = _planned(place, tables, projects)
    if plan.findings and not dry_run:
        raise DistributionRefused(plan.findings)
    if not dry_run:
        session = Autocommit(lambda: dedicated(place)).session
        for step in plan.steps:
            session.all(Statement(step.sql, "distribution.step", writes=True))
    return DistributionReport(**dict(plan), dry_run=dry_run)


def _planned(config: DatabaseConfig, tables: Sequence[Table], projects: ProjectsAs) -> DistributionPlan:
    with Transaction(lambda: dedicated(config), _LOOK) as session:
        state = look(session, [table.name for table in tables])
    return plan_distribution(tables, state, projects=projects)


def node_sql() -> str:
    """Return the script that gives a node what generated columns and searches use."""
    return "".join(f"{statement};\n" for statement in create_text_search())
