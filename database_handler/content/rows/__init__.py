"""Rows of one entity as a file: JSON Lines, CSV and Parquet, written and read some rows at a time.

A format turns records into bytes, and bytes into one JSON object a row, which the entity's model then takes
or refuses. Nothing here touches a database.
"""

from database_handler.content.rows.formats import (
    FORMATS,
    Format,
    GivenRow,
    RowFileRefused,
    name_of,
    read_rows,
    writing_rows,
)

__all__ = [
    "FORMATS",
    "Format",
    "GivenRow",
    "RowFileRefused",
    "name_of",
    "read_rows",
    "writing_rows",
]
