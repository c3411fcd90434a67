"""One statement of a plan: what it does, to which object, and what must stand before it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, overload

from database_handler.migrations.schema.snapshot import ObjectId, Unmodelled

__all__ = ["Action", "Rename", "SchemaDiff", "SchemaStatement"]


class Action(StrEnum):
    """What a statement does to its object; who rewrites a plan (the safe way round) goes by these."""

    CREATE = "create"
    DROP = "drop"
    RENAME = "rename"
    REPLACE = "replace"  # CREATE OR REPLACE, in place
    SET_TYPE = "set type"
    SET_NOT_NULL = "set not null"
    DROP_NOT_NULL = "drop not null"
    SET_DEFAULT = "set default"
    DROP_DEFAULT = "drop default"
    VALIDATE = "validate"
    ADD_VALUE = "add value"  # a label of an enum
    ALTER = "alter"  # any other change in place
    COMMENT = "comment"
    GRANT = "grant"
    OWNER = "owner"


class Rename(NamedTuple):
    """An object that keeps its contents under a new name; `new` is its id afterwards."""

    old: ObjectId
    new: ObjectId

    def inverted(self) -> "Rename":
        """Return the way back."""
        return Rename(self.new, self.old)


@dataclass(frozen=True, slots=True)
class SchemaStatement:
    """One statement, without its semicolon.

    Attributes
    ----------
    object : ObjectId
        What it is about: the new id, but for a DROP the old one.
    produces, destroys : frozenset of ObjectId
        What is there only after it; what is there only before it.
    needs : frozenset of ObjectId
        What must be there when it runs.
    loses : str, optional
        What data it throws away, in words (``the values of notes.body``); None where it loses none.
    transactional : bool
        False where it cannot run in a transaction, or what it makes cannot be used in the same one.
    """

    sql: str
    action: Action
    object: ObjectId
    produces: frozenset[ObjectId] = frozenset()
    destroys: frozenset[ObjectId] = frozenset()
    needs: frozenset[ObjectId] = frozenset()
    loses: str | None = None
    transactional: bool = True


@dataclass(frozen=True)
class SchemaDiff(Sequence[SchemaStatement]):
    """The statements that turn one schema into another, in order; and what they cannot turn.

    Attributes
    ----------
    unmodelled : tuple of Unmodelled
        Objects of either schema that no snapshot models.
    lookalikes : tuple of Rename
        A drop and an addition that look like one renaming that nobody declared: a decision is needed.
    """

    statements: tuple[SchemaStatement, ...]
    unmodelled: tuple[Unmodelled, ...] = ()
    lookalikes: tuple[Rename, ...] = field(default=())

    @overload
    def __getitem__(self, place: int) -> SchemaStatement: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[SchemaStatement]: ...
    def __getitem__(self, place: int | slice) -> SchemaStatement | Sequence[SchemaStatement]:
        return self.statements[place]

    def __len__(self) -> int:
        return len(self.statements)

    def __iter__(self) -> Iterator[SchemaStatement]:
        return iter(self.statements)

    @property
    def script(self) -> str:
        """The statements as one SQL text, each with its semicolon on a line of its own."""
        return script(self.statements)


def script(statements: Iterable[SchemaStatement]) -> str:
    """Return statements as one SQL text."""
    return "".join(f"{statement.sql};\n" for statement in statements)
