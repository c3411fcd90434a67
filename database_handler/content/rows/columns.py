"""The columns of a file: those of the entity's table, under the same names, in any order."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from database_handler.content.rows.refusal import RowFileRefused
from database_handler.content.streams import MOST_VALUES, holds_too_much, shown
from database_handler.core.base_model import Record, nearest
from database_handler.core.exceptions import InvalidValue
from database_handler.core.schema import Column

__all__ = ["as_json", "checked_names", "from_text", "is_json", "name_of", "without_gaps"]


def name_of(file: object) -> str:
    """Return what messages call a file: its name, without its folders."""
    return shown(Path(file).name) if isinstance(file, str | os.PathLike) else "the file"


def is_json(column: Column) -> bool:
    """Tell whether a value of this column has no other text than that of JSON."""
    return column.type in {"jsonb", "text[]"}


def as_json(value: Any) -> bytes:
    """Return the JSON text of a value, bytes in it as Base64.

    Raises
    ------
    InvalidValue
        It has none.
    """
    try:
        return to_json(value, bytes_mode="base64", inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, RecursionError):
        pass
    raise InvalidValue("a value has no form in JSON")


def from_text(name: str, text: str, file: str, line: int) -> Any:
    """Return the value of a JSON text, or refuse it."""
    data = text.encode(errors="replace")
    if holds_too_much(data):
        told = f"{name}: it holds more values than the {MOST_VALUES:,} of a row"
    else:
        try:
            return from_json(data, allow_inf_nan=False)
        except ValueError:
            told = f"{name}: it is no JSON, or nested too deeply"
    raise RowFileRefused(told, file=file, line=line, columns=[name])


def checked_names(entity: type[Record], names: Sequence[str], file: str, line: int | None) -> list[Column]:
    """Return the columns that a file names in its head, or refuse one that is not there or stands twice."""
    if not names:
        raise RowFileRefused("it has no columns", file=file, line=line)
    for place, name in enumerate(names):
        if name not in entity.model_fields:
            told = f"{entity.__name__} has no field {name[:60]!r}{nearest(name, entity.model_fields)}"
            raise RowFileRefused(told, file=file, line=line)
        if name in names[:place]:
            raise RowFileRefused(f"column {name} stands twice", file=file, line=line, columns=[name])
    return [entity.table.column(name) for name in names]


def without_gaps(columns: Iterable[Column], values: Iterable[Any]) -> dict[str, Any]:
    """Return the values by name; a gap in a column that may not be NULL leaves the field to its default."""
    return {
        column.name: value
        for column, value in zip(columns, values, strict=True)
        if value is not None or column.nullable
    }
