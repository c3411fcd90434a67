"""What each side implements, and the form in which results are compared."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from database_handler import DatabaseConfig

__all__ = ["COLUMNS", "WRITTEN", "Row", "Side", "can"]

COLUMNS = ("id", "name", "slug", "description", "status", "owner", "tags", "metadata", "version")
WRITTEN = tuple(name for name in COLUMNS if name not in {"id", "version"})  # what a draft of ours holds
Row = Mapping[str, Any]


class Side:
    """One library, connected for the length of the run. What it leaves as it is here it cannot do.

    Attributes
    ----------
    orm : bool
        Whether it gives objects of a model and writes by them: the peers that a target is about.
    """

    name: ClassVar[str]
    orm: ClassVar[bool] = False

    def __init__(self, config: DatabaseConfig) -> None:
        raise NotImplementedError

    def get(self, id: UUID) -> Any:
        """Return the object of an id, outside of a unit where there is such a thing."""
        raise NotImplementedError

    def list(self, limit: int) -> Sequence[Any]:
        """Return the first objects by id."""
        raise NotImplementedError

    def create(self, row: Row) -> Any:
        """Store a row and return its object."""
        raise NotImplementedError

    def update(self, id: UUID, description: str) -> object:
        """Change one field, and count the version up."""
        raise NotImplementedError

    def upsert(self, row: Row) -> object:
        """Store a row, or bring the one of its slug up to it."""
        raise NotImplementedError

    def delete(self, id: UUID) -> object:
        """Take one row away."""
        raise NotImplementedError

    def unit(self, ids: Sequence[UUID]) -> object:
        """Read one object after another in one transaction."""
        raise NotImplementedError

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        """Store rows and return objects that hold all that is stored, moments included."""
        raise NotImplementedError

    def update_many(self, changed: Sequence[Row]) -> object:
        """Give each of the rows a description of its own, and the version that it comes with."""
        raise NotImplementedError

    def upsert_many(self, rows: Sequence[Row]) -> object:
        """Store rows, or bring those of their slugs up to them, with the version that they come with."""
        raise NotImplementedError

    def delete_many(self, ids: Sequence[UUID]) -> object:
        """Take rows away."""
        raise NotImplementedError

    def plain(self, found: Any) -> Row:
        """Return an object as a plain row, to be compared."""
        return {name: getattr(found, name) for name in COLUMNS}

    def close(self) -> None:
        """Give everything back."""
        raise NotImplementedError


def can(side: type[Side] | Side, work: Callable[..., Any]) -> bool:
    """Tell whether a side has its own of a method of `Side`."""
    kind = side if isinstance(side, type) else type(side)
    return getattr(kind, work.__name__) is not work
