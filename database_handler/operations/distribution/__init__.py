"""Tables are spread over the nodes of a Citus cluster by project, or it is said what stands in the way."""

from database_handler.operations.distribution.catalogue import look
from database_handler.operations.distribution.distributing import DistributionRefused, distribute, node_sql
from database_handler.operations.distribution.plan import (
    ClusterState,
    DistributionFinding,
    DistributionPlan,
    DistributionReport,
    DistributionStep,
    ForeignKeyFound,
    Placed,
    UniqueKey,
    plan_distribution,
)

__all__ = [
    "ClusterState",
    "DistributionFinding",
    "DistributionPlan",
    "DistributionRefused",
    "DistributionReport",
    "DistributionStep",
    "ForeignKeyFound",
    "Placed",
    "UniqueKey",
    "distribute",
    "look",
    "node_sql",
    "plan_distribution",
]
