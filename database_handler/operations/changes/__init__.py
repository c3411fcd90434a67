"""The feed of changes: what others are told of the rows that this library writes, and the outbox of it."""

from database_handler.core.changes import Operation, RowChange
from database_handler.operations.changes.feed import ChangeFeed
from database_handler.operations.changes.outbox import (
    ChangesElsewhere,
    ChangesGone,
    Outbox,
    OutboxReader,
    OutboxReport,
)

__all__ = [
    "ChangeFeed",
    "ChangesElsewhere",
    "ChangesGone",
    "Operation",
    "Outbox",
    "OutboxReader",
    "OutboxReport",
    "RowChange",
]
