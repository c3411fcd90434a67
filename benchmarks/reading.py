"""Ways from the wire to frozen models: what each costs, with the collector of cycles coming by and without.

10,000 rows of twelve columns (a UUID, an enum, an array, two of jsonb, two moments), into records that are
equal to those of the library. All ways read over one connection, in turn, so a busy machine tells ratios.
"""

import gc
from collections.abc import Callable, Sequence
from contextlib import closing
from statistics import median
from time import perf_counter
from types import GenericAlias
from typing import Annotated, Any

from pydantic import BeforeValidator, Json, TypeAdapter, create_model

from benchmarks.peers.raw import connected
from benchmarks.workloads import made_rows, seeded
from database_handler import Database, Project

__all__ = ["NAME", "measured", "show"]

NAME = "reading"
ROWS = 10_000
_NAMES = Project.table.column_names
_AS_TEXT = {"tags": "array_to_json(tags)::text"}
OURS, LIMIT = "the library's list", "tuples, the driver's own types"

Ways = dict[str, Callable[[], Sequence[Any]]]


def measured(database: Database, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of each way in each round, with the collector and without it."""
    seeded(database, made_rows(ROWS, seed=1))
    figures: dict[str, dict[str, list[float]]] = {}
    with closing(connected(database.config)) as connection:
        ways = _ways(connection, database)
        _refuse_different(ways)
        for number in range(rounds + 1):
            for name, way in ways.items():
                for collector in ("collector on", "collector off"):
                    seconds = _seconds(way, on=collector == "collector on")
                    if number:  # the first warms up
                        figures.setdefault(name, {}).setdefault(collector, []).append(seconds)
    return figures


def _seconds(way: Callable[[], object], *, on: bool) -> float:
    gc.collect()
    if not on:
        gc.disable()
    try:
        started = perf_counter()
        found = way()
        seconds = perf_counter() - started
        del found
    finally:
        gc.enable()
    return seconds


def _ways(connection: Any, database: Database) -> Ways:
    def fetched(text: str) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(text)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def named(text: str) -> list[dict[str, Any]]:
        return [dict(zip(_NAMES, row, strict=True)) for row in fetched(text)]

    every = f"SELECT {', '.join(_NAMES)} FROM projects"
    plain = f"{every} ORDER BY id"
    texts = ", ".join(_AS_TEXT.get(name, f"{name}::text") for name in _NAMES)
    texts = f"SELECT {texts} FROM projects ORDER BY id"
    nested = f"SELECT json_agg(row_to_json(p) ORDER BY id)::text FROM ({every}) AS p"
    many: Any = TypeAdapter(list[Project])
    from_text: Any = TypeAdapter(_list_of(_read_from_text()))
    return {
        LIMIT: lambda: fetched(plain),
        "tuples, all text": lambda: fetched(texts),
        OURS: database.projects.list,
        "Model(**row)": lambda: [Project(**row) for row in named(plain)],
        "one TypeAdapter(list)": lambda: many.validate_python(named(plain)),
        "all text, then a TypeAdapter(list)": lambda: from_text.validate_python(named(texts)),
        "json_agg, then validate_json": lambda: many.validate_json(fetched(nested)[0][0]),
    }


def _list_of(model: Any) -> Any:
    return GenericAlias(list, (model,))


def _read_from_text() -> Any:
    """Return the model with validators that read PostgreSQL's text of the columns that are no text."""
    iso = BeforeValidator(lambda text: text.replace(" ", "T", 1) + ":00")
    kinds: dict[str, Any] = {name: field.annotation for name, field in Project.model_fields.items()}
    json: Any = Json
    marked: Any = Annotated
    fields: dict[str, Any] = {n: (json[kinds[n]], ...) for n in ("tags", "metadata", "metadata_schemas")}
    fields |= {n: (marked[kinds[n], iso], ...) for n in ("created_at", "updated_at")}
    return create_model("ProjectFromText", __base__=Project, **fields)


def _refuse_different(ways: Ways) -> None:
    wanted = [record.model_dump() for record in ways[OURS]()]
    for name, way in ways.items():
        found = way()
        if not isinstance(found[0], tuple) and [record.model_dump() for record in found] != wanted:
            raise SystemExit(f"{name}: other records than the library's")


def show(figures: dict[str, dict[str, list[float]]]) -> None:
    """Print the medians, and each as a multiple of the tuples that the driver makes."""
    base = figures[LIMIT]
    for name, sides in figures.items():
        told = [f"{name:36}"]
        for collector, seconds in sides.items():
            ratio = median(a / b for a, b in zip(seconds, base[collector], strict=True))
            told.append(f"{collector} {median(seconds) * 1e3:7.1f} ms {ratio:5.2f} x")
        print("   ".join(told))
