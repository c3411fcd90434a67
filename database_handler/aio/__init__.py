"""The database for asyncio: `AsyncDatabase`, its units, and what entities of an application are made of."""

from database_handler.aio.calls import AsyncCreate, awaited, iterated
from database_handler.aio.changes import AsyncChangeFeed
from database_handler.aio.database import AsyncDatabase
from database_handler.aio.repositories import AsyncRepository
from database_handler.aio.session import AsyncSession
from database_handler.aio.unit_of_work import AsyncEntity, AsyncRepositories, AsyncUnitOfWork

__all__ = [
    "AsyncChangeFeed",
    "AsyncCreate",
    "AsyncDatabase",
    "AsyncEntity",
    "AsyncRepositories",
    "AsyncRepository",
    "AsyncSession",
    "AsyncUnitOfWork",
    "awaited",
    "iterated",
]
