"""`create`, typed twice: with a draft, and with the draft's own keywords.

A ParamSpec takes the keywords from the draft's constructor, so that editors and type checkers know them on
every repository without a line of theirs.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, overload
from uuid import UUID

from database_handler.core.base_model import Draft, Record

if TYPE_CHECKING:
    from database_handler.repositories.base import Repository

__all__ = ["Create"]

P = ParamSpec("P")
D = TypeVar("D", bound=Draft)
R = TypeVar("R", bound=Record)


class BoundCreate(Generic[P, D, R]):
    """`create` of one repository."""

    def __init__(self, repository: "Repository[D, R]") -> None:
        self._repository = repository

    @overload
    def __call__(self, draft: D, /, *, id: UUID | None = None) -> R: ...
    @overload
    def __call__(self, *args: P.args, **fields: P.kwargs) -> R: ...
    def __call__(self, *args: Any, **fields: Any) -> R:
        """Store one record and return it as it was stored.

        Parameters
        ----------
        draft : Draft
            What to store; or its fields as keywords.
        id : UUID, optional
            One that the caller made, so that a write whose reply was lost can be sent again.

        Raises
        ------
        InvalidValue
            The draft is refused; nothing was sent.
        DuplicateRecord, MissingReference, CheckFailed
            The database refused the row.
        CommitOutcomeUnknown
            Outside a unit: the connection was lost before the answer came.
        """
        return self._repository.create_one(*args, **fields)


class Create(Generic[P, D, R]):
    """Gives a repository its `create`, with the constructor of its draft as the keyword form."""

    def __init__(self, draft: Callable[P, D], record: type[R]) -> None:
        self._draft = draft
        self._record = record

    @overload
    def __get__(self, instance: None, owner: object) -> Self: ...
    @overload
    def __get__(self, instance: "Repository[D, R]", owner: object) -> BoundCreate[P, D, R]: ...
    def __get__(self, instance: "Repository[D, R] | None", owner: object) -> Any:
        """Bind to a repository."""
        return self if instance is None else BoundCreate[P, D, R](instance)
