"""Keyset pages: the next page begins after the last row seen, so that depth costs nothing.

A cursor is opaque text that holds the ordering values of that row, sealed with a mark of the query it belongs
to: altered anywhere, or given to another query, it is refused. It hides nothing.
NULLs come last going up and first going down (PostgreSQL's default), in mixed directions too.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic_core import to_json, to_jsonable_python

from database_handler.core.base_model import Record, validated_field
from database_handler.core.exceptions import InvalidValue
from database_handler.repositories.filters import Order, Where

__all__ = ["Page"]

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Some records, and how to ask for those that follow.

    Attributes
    ----------
    next_cursor : str or None
        What to give as ``after``; None on the last page.
    total : int or None
        How many records the filters match, where it was asked for.
    capped : bool
        Whether there are more than `total`, which then is the cap.
    """

    items: list[R]
    next_cursor: str | None = None
    total: int | None = None
    capped: bool = False


def fingerprint(table: str, where: Where, order: Order) -> str:
    """Mark a query: its table, filters with their values, and order."""
    return hashlib.sha256(to_json([table, where.text, where.values, order.columns])).hexdigest()[:16]


def encode(mark: str, record: Record, order: Order) -> str:
    """Return the cursor that stands after `record`."""
    values = [to_jsonable_python(getattr(record, name)) for name, _ in order.columns]
    return _sealed(mark, values)


def _sealed(mark: str, values: list[Any]) -> str:
    seal = hashlib.sha256(json.dumps([mark, *values]).encode()).hexdigest()[:16]
    return base64.urlsafe_b64encode(json.dumps([seal, *values]).encode()).decode().rstrip("=")


def decode(model: type[Record], mark: str, order: Order, cursor: str) -> list[Any]:
    """Return the ordering values in a cursor; `InvalidValue` for one that is damaged or of another query."""
    refusal = InvalidValue("after: no cursor of this query; pass page.next_cursor as it was given")
    try:
        _, *values = json.loads(base64.b64decode(_padded(cursor), altchars=b"-_", validate=True))
        if _sealed(mark, values) == cursor:
            names = [name for name, _ in order.columns]
            return [_value(model, name, value) for name, value in zip(names, values, strict=True)]
    except (binascii.Error, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise refusal from None
    raise refusal


def _padded(cursor: str) -> bytes:
    return cursor.encode("ascii") + b"=" * (-len(cursor) % 4)


def _value(model: type[Record], name: str, value: Any) -> Any:
    if value is None and model.table.column(name).nullable:
        return None
    return validated_field(model, name, value)


def after(model: type[Record], order: Order, values: Sequence[Any]) -> Where:
    """Return the condition of the rows that follow those values."""
    nullable = any(model.table.column(name).nullable for name, _ in order.columns)
    directions = {down for _, down in order.columns}
    if not nullable and len(directions) == 1:
        names = ", ".join(name for name, _ in order.columns)
        places = ", ".join(f"%s::{model.table.column(name).type}" for name, _ in order.columns)
        return Where(f"({names}) {'<' if directions == {True} else '>'} ({places})", tuple(values))
    return _expanded(model, order, values)


def _expanded(model: type[Record], order: Order, values: Sequence[Any]) -> Where:
    """Row comparison written out: it has one direction and knows no NULLs."""
    alternatives: list[Where] = []
    same = Where()
    for (name, down), value in zip(order.columns, values, strict=True):
        place = f"%s::{model.table.column(name).type}"
        beyond = _beyond(name, place, down, value, nullable=model.table.column(name).nullable)
        if beyond is not None:
            alternatives.append(same & beyond)
        same &= Where(f"{name} IS NULL") if value is None else Where(f"{name} = {place}", (value,))
    if not alternatives:
        return Where("false")
    text = " OR ".join(f"({part.text})" for part in alternatives)
    return Where(f"({text})", tuple(value for part in alternatives for value in part.values))


def _beyond(name: str, place: str, down: bool, value: Any, *, nullable: bool) -> Where | None:
    if value is None:
        return Where(f"{name} IS NOT NULL") if down else None
    if down:
        return Where(f"{name} < {place}", (value,))
    more = f" OR {name} IS NULL" if nullable else ""
    return Where(f"({name} > {place}{more})", (value,))
