"""Ways to store where tokens stand, side by side: bytes a token, time to write, to read one row and 10,000.

The texts are the translations that Django brings, sentences of twelve languages, in rows of about a hundred
tokens and in rows of some thousands. Every way reads back what it stored, in every round.
"""

import gettext
import json
import random
import sys
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import django
from psycopg2 import sql

from database_handler import Database, NewProject, NewTextSource, TextSource
from database_handler.content.tokens import Tokens, tokenize

Span = tuple[int, int]
LANGUAGES = ("ar", "de", "el", "es", "fi", "fr", "hi", "ja", "ko", "ru", "th", "vi", "zh-Hans")
NAME = "tokens"
ROWS, TOKENS = 10_000, 100  # rows of ordinary length, and how many tokens each has, about
SLICE = 100  # tokens
_SLICE = f"{SLICE} tokens of a long text"


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
        "two integer[]",
        "a integer[], b integer[]",
        _arrays,
        lambda row: list(zip(row[0], row[1], strict=True)),
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
        "varints, zlib",
        "a bytea",
        lambda tokens: [memoryview(zlib.compress(_varints(tokens), 9))],
        lambda row: _of_steps(_of_varints(zlib.decompress(row[0]))),
    ),
    Way("half bytes with an index", "a bytea", lambda tokens: [memoryview(tokens.packed)], _of_packed),
    Way(
        "half bytes, zlib",
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
            messages = vars(gettext.GNUTranslations(file))["_catalog"].values()  # all that there are
        found += [text for text in messages if len(text) >= 20 and "%" not in text and "{" not in text]
    return found


def ordinary(language: str) -> list[Tokens]:
    """Return texts of about `TOKENS` tokens, made of a language's sentences."""
    pool, chance = sentences(language), random.Random(language)
    made = []
    for _ in range(ROWS // len(LANGUAGES) + 1):
        text = ""
        while len(tokenize(text, language)) < TOKENS:
            text += " ".join(chance.choices(pool, k=2)) + "\n"
        made.append(tokenize(text, language))
    return made


def whole(language: str) -> Tokens:
    """Return one long text: each sentence of the language once, for repeated ones pack too well."""
    return tokenize("\n".join(dict.fromkeys(sentences(language))), language)


# ------------------------------------------------------------------------------------------------ measuring


def measured(database: Database, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return by row and way what each round took: seconds, or bytes where the row says so."""
    rows = [tokens for language in LANGUAGES for tokens in ordinary(language)][:ROWS]
    long = [whole(language) for language in LANGUAGES]
    figures: dict[str, dict[str, list[float]]] = {}
    for way in WAYS:
        for name, value in _of_way(database, way, rows, long, rounds):
            figures.setdefault(f"{NAME}: {name}", {}).setdefault(way.name, []).append(value)
        print(f"{NAME}: {way.name}", file=sys.stderr)
    for name, side, value in chain(_cutting(rounds), _slices(database, rounds)):
        figures.setdefault(f"{NAME}: {name}", {}).setdefault(side, []).append(value)
    return figures


def _of_way(
    database: Database, way: Way, rows: Sequence[Tokens], long: Sequence[Tokens], rounds: int
) -> Iterator[tuple[str, float]]:
    _store(database, way, long)
    yield "bytes a token, long texts", _bytes_a_token(database, way, long)
    for _ in range(rounds):
        yield f"write {ROWS:,}", _seconds(lambda: _store(database, way, rows))
        yield f"read {ROWS:,}", _seconds(lambda: _read(database, way, rows))
        yield "read 1, 100 times", _seconds(lambda: _read_each(database, way, rows, 100))
    yield f"bytes a token, texts of about {TOKENS}", _bytes_a_token(database, way, rows)


def _bytes_a_token(database: Database, way: Way, rows: Sequence[Tokens]) -> float:
    """Return what the columns take on the server, as they lie there, for each token."""
    size = sql.SQL(" + ").join(
        sql.SQL("pg_column_size({})").format(sql.Identifier(name.split()[0]))
        for name in way.columns.split(", ")
    )
    [total] = database.session.one(sql.SQL("SELECT sum({}) FROM stored_tokens").format(size))
    return float(total) / sum(map(len, rows))


def _store(database: Database, way: Way, rows: Sequence[Tokens]) -> None:
    """Make the table of a way and fill it, a hundred rows a statement."""
    columns = way.columns.split(", ")
    typed = [sql.SQL(" ").join(map(sql.SQL, _words(column))) for column in columns]
    one = sql.SQL("({})").format(sql.SQL(", ").join(sql.Placeholder() * (1 + len(columns))))
    with database.unit_of_work() as uow:
        uow.session.run("DROP TABLE IF EXISTS stored_tokens")
        uow.session.run(
            sql.SQL("CREATE TABLE stored_tokens (id integer PRIMARY KEY, {})").format(
                sql.SQL(", ").join(typed)
            )
        )
        for at in range(0, len(rows), 100):
            part = rows[at : at + 100]
            values = [v for place, tokens in enumerate(part, at) for v in (place, *way.write(tokens))]
            uow.session.run(
                sql.SQL("INSERT INTO stored_tokens VALUES {}").format(sql.SQL(", ").join([one] * len(part))),
                values,
            )


def _words(column: str) -> Sequence[Any]:
    return column.split()


def _read(database: Database, way: Way, rows: Sequence[Tokens], at: int | None = None) -> None:
    """Read all rows, or one, back into spans; a way that lost something stops the run."""
    session = database.session
    if at is None:
        found = session.all("SELECT * FROM stored_tokens ORDER BY id")
    else:
        found = [session.one("SELECT * FROM stored_tokens WHERE id = %s", [at])]
    for number, *columns in found:
        if list(way.read(columns)) != rows[number].spans:
            raise SystemExit(f"{way.name}: not what was stored")


def _read_each(database: Database, way: Way, rows: Sequence[Tokens], count: int) -> None:
    for at in range(count):
        _read(database, way, rows, at)


def _seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def _cutting(rounds: int) -> Iterator[tuple[str, str, float]]:
    """Return megabytes of UTF-8 that are cut in a second, by language."""
    for language in LANGUAGES:
        text = whole(language).content * 10
        for _ in range(rounds):
            started = process_time()  # nothing is waited for, so only this process's time counts
            tokenize(text, language)
            yield "cut, MB a second", language, len(text.encode()) / 1e6 / (process_time() - started)


def _slices(database: Database, rounds: int) -> Iterator[tuple[str, str, float]]:
    """Return the seconds for a slice of a long text at its beginning, in its middle, and for all of it."""
    text = (whole("de").content + "\n") * 100
    source = _source(database)
    translation = database.translations.create(
        project_id=source.project_id, text_source_id=source.id, source_language="en", target_language="de",
        content=text, tokens=tokenize(text, "de").packed,
    )  # fmt: skip
    for _ in range(rounds):
        for name, start in (
            ("at the beginning", 200),
            ("in the middle", (translation.token_count or 0) // 2),
        ):
            yield (
                _SLICE,
                name,
                _seconds(partial(database.translations.tokens, translation.id, start, start + SLICE)),
            )
        yield (
            _SLICE,
            "the whole row",
            _seconds(lambda: database.translations.get_by_id(translation.id).token_list),
        )


def _source(database: Database) -> TextSource:
    with database.unit_of_work() as uow:
        project = uow.projects.create(NewProject(name="Tokens"))
        return uow.text_sources.create(
            NewTextSource(
                project_id=project.id,
                title="Tokens",
                content="Tokens",
                content_type="text/plain",
                language="en",
            )
        )


def show(figures: dict[str, dict[str, list[float]]]) -> None:
    """Print the best of the rounds, for other work on the machine only ever adds; of speeds the highest."""
    for name, sides in figures.items():
        speed, size = "MB" in name, "bytes" in name
        print(f"\n{name}")
        for side, values in sides.items():
            best = max(values) if speed else min(values)
            print(
                f"  {side:26} {best if speed or size else 1000 * best:9.2f}{'' if speed or size else ' ms'}"
            )
