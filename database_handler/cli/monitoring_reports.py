"""What the commands on monitoring return."""

from pydantic import BaseModel

from database_handler.operations.monitoring import Metric
from database_handler.operations.statements_report import StatementStats, TopOrder

__all__ = ["Metrics", "Served", "Top"]


class Top(BaseModel, frozen=True):
    """The statements that a database spent its time on; `reset` tells that the numbers begin anew."""

    database: str
    order: TopOrder
    statements: tuple[StatementStats, ...]
    reset: bool = False


class Metrics(BaseModel, frozen=True):
    """Every metric that is exported."""

    metrics: tuple[Metric, ...]


class Served(BaseModel, frozen=True):
    """Where metrics were served, and for how long."""

    url: str
    seconds: float
