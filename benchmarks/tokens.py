"""Ways to store where tokens stand, side by side: bytes a token, time to write, to read one row and 10,000.

The texts are the translations that Django brings, sentences of twelve languages, in rows of about a hundred
tokens and in rows of some thousands. Every way reads back what it stored, in every round.
"""

import gettext
import json
import random
import statistics
import sys
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from time import perf_counter
from typing import Any

import django
from psycopg2 import sql

from database_handler import Database
from database_handler.content.tokens import Tokens, tokenize

Span = tuple[int, int]
LANGUAGES = ("ar", "de", "el", "es", "fi", "fr", "hi", "ja", "ko", "ru", "th", "vi", "zh-Hans")
SHORT, LONG = 100, 3_000  # tokens a row, about


@dataclass(frozen=True, slots=True)
class Way:
    """One way to store spans: the columns, and how spans become values and values spans."""

    name: str
    columns: str
    write: Callable[[Tokens], Sequence[Any]]
    read: Callable[[Sequence[Any]], Iterable[Span]]


def _steps(tokens: Tokens) -> Iterator[int]:
    before = 0
    for start, end in tokens.spans:
        yield start - before
        yield end - start
        before = end


def _of_steps(steps: Iterable[int]) -> list[Span]:
    positions = list(accumulate(steps))
    return list(zip(positions[::2], positions[1::2], strict=True))


def _varints(tokens: Tokens) -> bytes:
    found = bytearray()
    for step in _steps(tokens):
        rest = step
        while rest > 0x7F:
            found.append(rest & 0x7F | 0x80)
            rest >>= 7
        found.append(rest)
    return bytes(found)


def _of_varints(data: bytes) -> Iterator[int]:
    value = place = 0
    for byte in data:
        value |= (byte & 0x7F) << place
        place += 7
        if byte < 0x80:
            yield value
            value = place = 0


def _arrays(tokens: Tokens) -> tuple[list[int], list[int]]:
    spans = tokens.spans
    return [start for start, _ in spans], [end for _, end in spans]


def _of_packed(row: Sequence[Any]) -> Iterable[Span]:
    return Tokens.unpacked(" " * int.from_bytes(row[0][5:9], "big"), bytes(row[0])).spans


WAYS = (
    Way(
        "JSON objects (jsonb)",
        "a jsonb",
        lambda tokens: [json.dumps([{"start": start, "end": end} for start, end in tokens.spans])],
        lambda row: [(each["start"], each["end"]) for each in row[0]],
    ),
    Way(
        "JSON pairs (jsonb)",
        "a jsonb",
        lambda tokens: [json.dumps(tokens.spans)],
        lambda row: [(start, end) for start, end in row[0]],
    ),
    Way(
        "two integer[]", "a integer[], b integer[]", _arrays, lambda row: list(zip(row[0], row[1], strict=True))
    ),
    Way(
        "positions, 4 bytes each",
        "a bytea",
        lambda tokens: [memoryview(array("I", chain.from_iterable(tokens.spans)).tobytes())],
        lambda row: _pairs(array("I", bytes(row[0]))),
    ),
    Way(
        "gap and length, varints",
        "a bytea",
        lambda tokens: [memoryview(_varints(tokens))],
        lambda row: _of_steps(_of_varints(bytes(row[0]))),
    ),
    Way(
        "the same, zlib",
        "a bytea",
        lambda tokens: [memoryview(zlib.compress(_varints(tokens), 9))],
        lambda row: _of_steps(_of_varints(zlib.decompress(row[0]))),
    ),
    Way("half bytes with an index", "a bytea", lambda tokens: [memoryview(tokens.packed)], _of_packed),
    Way(
        "the same, zlib",
        "a bytea",
        lambda tokens: [memoryview(zlib.compress(tokens.packed, 9))],
        lambda row: _of_packed([zlib.decompress(row[0])]),
    ),
)


def _pairs(positions: Sequence[int]) -> list[Span]:
    return list(zip(positions[::2], positions[1::2], strict=True))


# ------------------------------------------------------------------------------------------------------ texts


def sentences(language: str) -> list[str]:
    """Return the sentences among Django's messages in a language."""
    folder = Path(django.__file__).parent
    found = []
    for path in sorted(folder.glob(f"**/locale/{language.replace('-', '_')}/LC_MESSAGES/django.mo")):
        with path.open("rb") as file:
            messages = gettext.GNUTranslations(file)._catalog.values()  # type: ignore[attr-defined]  # all of them
        found += [text for text in messages if len(text) >= 20 and "%" not in text and "{" not in text]
    return found


def texts(language: str, tokens: int, count: int) -> list[Tokens]:
    """Return texts of about so many tokens, made of a language's sentences."""
    pool, chance = sentences(language), random.Random(language)
    made = []
    for _ in range(count):
        text = ""
        while len(tokenize(text, language)) < tokens:
            text += " ".join(chance.choices(pool, k=1 + tokens // 50)) + "\n"
        made.append(tokenize(text, language))
    return made


# ---------------------------------------------------------------------------------------------------- measuring


def bytes_a_token(database: Database, way: Way, rows: Sequence[Tokens]) -> float:
    """Return what a row takes on the server, as it lies there, for each of its tokens."""
    _store(database, way, rows)
    column = way.columns.split()[0::2]
    size = " + ".join(f"pg_column_size({name})" for name in column)
    [total] = database.session.one(sql.SQL(f"SELECT sum({size}) FROM stored_tokens"))  # type: ignore[arg-type]
    return float(total) / sum(map(len, rows))


def _store(database: Database, way: Way, rows: Sequence[Tokens]) -> None:
    session = database.session
    session.run("DROP TABLE IF EXISTS stored_tokens")
    session.run(sql.SQL(f"CREATE TABLE stored_tokens (id integer PRIMARY KEY, {way.columns})"))
    _insert(database, way, rows)


def _insert(database: Database, way: Way, rows: Sequence[Tokens]) -> None:
    places = ", ".join(["%s"] * (1 + way.columns.count(",") + 1))
    values = sql.SQL(f"INSERT INTO stored_tokens VALUES ({places})")
    with database.unit_of_work() as uow:
        for number, tokens in enumerate(rows):
            uow.session.run(values, [number, *way.write(tokens)])
