"""What goes to the server and what comes back, as values: a statement, its message, and the reply."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg2.extensions as driver

from database_handler.core.events import NOBODY, Listeners
from database_handler.core.parameters import Parameters
from database_handler.core.statement_name import named

if TYPE_CHECKING:
    from database_handler.core.cache import Cache
    from database_handler.core.changes import Changes, Written

__all__ = ["Limits", "Message", "Reply", "Row", "Statement"]

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL of the library's own, whose identifiers come from the model.

    A name such as ``projects.get_by_id`` stands in the text as well, in a comment behind the first word,
    where pg_stat_activity and pg_stat_statements show it.

    Attributes
    ----------
    text : str
        SQL with ``%s`` for each value.
    name : str
        What logs and errors call it, such as ``projects.get_by_id``.
    writes, deletes : bool
        Whether it changes rows; whether it takes rows away (the side of a foreign key, for the error).
    uncounted : bool
        Whether a unit's budget leaves it out: it goes on with an earlier one, or the library notes something.
    table : str, optional
        The table whose rows it writes, for a cache: those that its answer names by ``id``, or in a text of
        ``ids``, and below the projects named likewise; any row, where the answer names none. None: it is not
        known what it writes.
    inserts : bool
        Whether the rows that it writes are new ones, made under new ids.
    prepares : bool
        Whether connections keep its plan after a few uses: its text comes again, it takes a list of values,
        and the server can tell the type of each.
    wrote : sequence, optional
        Those rows, where somebody is told of changes and the answer does not name them.
    """

    text: str
    name: str
    writes: bool = False
    deletes: bool = False
    uncounted: bool = False
    table: str | None = None
    inserts: bool = False
    prepares: bool = False
    wrote: "Sequence[Written] | None" = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Write the name into the text, once."""
        object.__setattr__(self, "text", named(self.text, self.name))


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds each message: its time on the client, its parameters' bytes, and when it is called slow.

    Beside that, who hears of it, which cache is to hear of it, and what lies between.

    Attributes
    ----------
    pooled : bool
        Whether a pooler in transaction mode does, which lends its server connections to others in between.
    prepare_after : int, optional
        After how many uses a connection keeps the plan of a statement; None: never.
    distributed : bool
        Whether the rows lie on several servers, where a row's lock is had by naming its project only.
    """

    deadline: float | None = None
    max_parameter_bytes: int = 256 * 1024 * 1024
    slow_statement: float = 60.0  # of what has no settings of its own: migrations and databases take time
    listeners: Listeners = field(default=NOBODY, compare=False, repr=False)  # who hears of it
    cache: "Cache | None" = field(default=None, compare=False, repr=False)
    wrote: Callable[[], object] | None = field(default=None, compare=False, repr=False)
    pooled: bool = False
    prepare_after: int | None = None
    distributed: bool = False
    changes: "Changes | None" = field(default=None, compare=False, repr=False)  # what tells others of changes


# Named tuples: one of each is made for every statement, and takes half as long as a frozen dataclass; a copy
# with another text takes a third.


class Message(NamedTuple):
    """One message as it goes out: the statement, with what was glued before it.

    Attributes
    ----------
    text : str or bytes
        The SQL; bytes once the values are in it.
    timeout : float, optional
        The statement_timeout that holds for it, in seconds.
    lines : iterable of bytes, optional
        What COPY sends after it.
    composed : bool
        Whether values may stand in the text itself, so that the server's words about it are not told.
    statement : str
        What is told of it: the statement alone, with its placeholders.
    reads : bool
        Whether the statement is known to change nothing.
    """

    text: str | bytes
    name: str
    parameters: Parameters = None
    timeout: float | None = None
    deletes: bool = False
    lines: Iterable[bytes] | None = None
    composed: bool = False
    statement: str = ""
    reads: bool = False


class Reply(NamedTuple):
    """What came back: the rows (none where it gives none), how many it affected, its command tag."""

    rows: list[Row]
    affected: int
    tag: str
    description: tuple[driver.Column, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in the order of the values."""
        return tuple(column.name for column in self.description)
