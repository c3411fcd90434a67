"""The SQL that makes a model's table: every constraint named, and nothing that the model does not say."""

from collections.abc import Iterable, Iterator, Sequence

from database_handler.core.base_model import Record
from database_handler.core.quoting import LONGEST_NAME
from database_handler.core.schema import Column, Computed, ForeignKey, Index, SearchVector, Table
from database_handler.core.text_search import create_text_search, drop_text_search
from database_handler.utils.errors import ConfigurationError

__all__ = ["create_tables", "drop_tables", "name_of", "ordered", "tables_of"]


def create_tables(tables: Sequence[Table]) -> str:
    """Return the statements that make `tables`, referenced ones first, and before them what search needs."""
    search = create_text_search() if _searched(tables) else ()
    made = (statement for table in ordered(tables) for statement in _statements(table))
    return "\n\n".join((*search, *made)) + "\n"


def drop_tables(tables: Sequence[Table]) -> str:
    """Return the statements that drop `tables`, referencing ones first, and then what search needed."""
    search = drop_text_search() if _searched(tables) else ()
    dropped = (f"DROP TABLE {table.name};" for table in reversed(ordered(tables)))
    return "\n".join((*dropped, *search)) + "\n"


def _searched(tables: Iterable[Table]) -> bool:
    return any(isinstance(computed, SearchVector) for table in tables for computed in table.computed)


def ordered(tables: Sequence[Table]) -> list[Table]:
    """Return tables after those they refer to, else in their order; those outside of `tables` are there."""
    names = {table.name for table in tables}
    waiting, done = list(tables), list[Table]()
    while waiting:
        missing = names - {table.name for table in done}
        ready = next((table for table in waiting if not _needs(table) & missing), None)
        if ready is None:
            raise ConfigurationError(f"tables refer to each other in a circle: {[t.name for t in waiting]}")
        done.append(ready)
        waiting.remove(ready)
    return done


def _needs(table: Table) -> set[str]:
    return {reference.table for reference in table.foreign_keys} - {table.name}


def _statements(table: Table) -> Iterator[str]:
    lines = ",\n    ".join(_lines(table))
    yield f"CREATE TABLE {table.name} (\n    {lines}\n);"
    for index in table.indexes:
        yield _index(table, index)


def _lines(table: Table) -> Iterator[str]:
    yield from (_column(column) for column in (*table.columns, *table.operational))
    yield from (_computed(computed) for computed in table.computed)
    yield f"CONSTRAINT {name_of(table.name, 'pkey')} PRIMARY KEY ({', '.join(table.primary_key)})"
    yield f"CONSTRAINT {name_of(table.name, 'key')} {_unique(table)} ({', '.join(table.key)})"
    yield from (_foreign_key(table, reference) for reference in table.foreign_keys)
    for column in (*table.columns, *table.operational):
        if column.checks:
            rule = " AND ".join(f"({check})" for check in column.checks)
            yield f"CONSTRAINT {name_of(table.name, column.name, 'check')} CHECK ({rule})"
    for check in table.checks:
        yield f"CONSTRAINT {name_of(table.name, check.name, 'check')} CHECK ({check.expression})"


def _column(column: Column) -> str:
    default = f" DEFAULT {column.default}" if column.default else ""
    return f"{column.name} {column.type}{'' if column.nullable else ' NOT NULL'}{default}"


def _computed(computed: Computed) -> str:
    return f"{computed.name} {computed.type} GENERATED ALWAYS AS (\n    {computed.expression}\n    ) STORED"


def _unique(table: Table) -> str:
    return "UNIQUE NULLS NOT DISTINCT" if table.nullable_key else "UNIQUE"


def _foreign_key(table: Table, reference: ForeignKey) -> str:
    return (
        f"CONSTRAINT {name_of(table.name, reference.columns[-1], 'fkey')} "
        f"FOREIGN KEY ({', '.join(reference.columns)}) "
        f"REFERENCES {reference.table} ({', '.join(reference.target)}) ON DELETE {reference.on_delete}"
    )


def _index(table: Table, index: Index) -> str:
    unique = "UNIQUE " if index.unique else ""
    method = "" if index.method == "btree" else f"USING {index.method} "
    nulls = " NULLS NOT DISTINCT" if index.unique else ""
    where = f" WHERE {index.where}" if index.where else ""
    name = name_of(table.name, *index.columns, "idx")
    return f"CREATE {unique}INDEX {name} ON {table.name} {method}({', '.join(index.columns)}){nulls}{where};"


def name_of(*parts: str) -> str:
    """Return the name that a constraint or an index gets from its table, its columns and its kind."""
    name = "_".join(parts)
    if len(name.encode()) > LONGEST_NAME:
        raise ConfigurationError(
            f"the name {name} is longer than {LONGEST_NAME} bytes; PostgreSQL would cut it"
        )
    return name


def tables_of(models: Iterable[type["Record"]]) -> list[Table]:
    """Return the tables of record classes, in their order."""
    return [model.table for model in models]
