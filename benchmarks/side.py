"""What each side implements, and the form in which results are compared."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol
from uuid import UUID

from database_handler import DatabaseConfig

COLUMNS = ("id", "name", "slug", "description", "status", "owner", "tags", "metadata", "version")
Row = Mapping[str, Any]


class Side(Protocol):
    """One library, connected for the length of the run."""

    name: ClassVar[str]

    def __init__(self, config: DatabaseConfig) -> None: ...

    def get(self, id: UUID) -> Any:
        """Return the object of an id."""
        ...

    def list(self, limit: int) -> Sequence[Any]:
        """Return the first objects by id."""
        ...

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        """Store rows and return objects that hold all that is stored, moments included."""
        ...

    def plain(self, found: Any) -> Row:
        """Return an object as a plain row, to be compared."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...
