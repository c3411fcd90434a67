"""What is fuzzed: a target takes any bytes, lets this library's errors pass alone, and says what holds."""

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from pydantic_core import Url, ValidationError

from database_handler.core.exceptions import DatabaseHandlerError, InvalidValue
from database_handler.core.parameters import bound
from database_handler.core.sql_text import SqlTextError, refuse_control, statements, tokens
from database_handler.migrations.errors import MalformedMigration
from database_handler.migrations.files.file_writing import rendered
from database_handler.migrations.files.migration import Migration, parse
from database_handler.migrations.files.planning import lock_text, read_lock
from database_handler.models import ENTITIES, Video
from database_handler.repositories import pages
from database_handler.repositories.filters import parse_filters, parse_order
from database_handler.utils.validators import (
    canonical_language,
    letters_a_word,
    link_kind,
    normalize_url,
    original_url,
    url_host,
)

__all__ = ["TARGETS", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """One reader: what is done with the bytes, what to begin with, and words that mean something to it."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[str, ...] = ()


class Broken(Exception):
    """What must hold does not."""


def held(fact: object, broken: str) -> None:
    if not fact:
        raise Broken(broken)


def text_of(data: bytes) -> str:
    """Read bytes as text; what is no UTF-8 becomes halves of surrogate pairs."""
    return data.decode("utf-8", "surrogateescape")


# ---------------------------------------------------------------------------------------------- migrations


def migration(data: bytes) -> None:
    """A file that is read is read the same when its text, or its sections, are written and read again."""
    path = Path("0007_x.py" if data[:1] == b"p" else "0007_x.sql")
    try:
        found = parse(path, data[1:])
    except MalformedMigration:
        return
    again = parse(path, found.text.encode())
    held(again == found, "its text says something else")
    held(again.token_hash == found.token_hash, "its text has another hash")
    lock = lock_text([found])
    held(lock_text([again]) == lock, "its text has another line in versions.lock")
    held(read_lock(Path("versions.lock"), lock) == {found.name: found.token_hash}, "versions.lock lies")
    if not found.is_python:
        written(path, found)


def written(path: Path, found: Migration) -> None:
    """Write the statements of a file anew, as a generated file would have them, and read that."""
    sections = (
        # The last has no end of its own: where a bracket is not closed, a semicolon is a part of it.
        each.marker + "\n" + "\n;\n".join(statement.text for statement in each.statements)
        for each in found.sections
    )
    again = parse(path, rendered(found.name, sections).encode())
    held(told(found) == told(again), "written anew it says something else")


def told(found: Migration) -> list[Any]:
    return [(each.kind, each.transactional, [s.text for s in each.statements]) for each in found.sections]


# ------------------------------------------------------------------------------------------------- filters

PLAIN = re.compile(r"[A-Za-z0-9_ ():,<>=@&?%\[\]-]*")  # no quote, semicolon or NUL


def filters(data: bytes) -> None:
    """What is asked for is bound, and never part of the SQL text; so is an order."""
    keyword, _, rest = text_of(data[1:]).partition("\n")
    model = ENTITIES[data[0] % len(ENTITIES)] if data else ENTITIES[0]
    value: Any = rest
    with suppress(ValueError, RecursionError):
        value = json.loads(rest)
    with suppress(DatabaseHandlerError):
        where = parse_filters(model, {keyword: value})
        held(PLAIN.fullmatch(where.text), "what was asked for stands in the text")
        held(where.text.count("%s") == len(where.values), "a place without a value")
        bound(where.values, 1 << 20, own=True)
    for asked in (keyword, value):
        with suppress(DatabaseHandlerError):
            held(PLAIN.fullmatch(parse_order(model, asked).clause), "what was asked for stands in the order")


# ------------------------------------------------------------------------------------------------- cursors

MOMENT = dt.datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=dt.UTC)
MARK = "0123456789abcdef"
ORDERS = (["title", "-duration"], ["-created_at"], ["status", "frame_rate", "-width"], ["id"], ["checksum"])


@cache
def video() -> Video:
    given: dict[str, Any] = {"id": UUID(int=7), "created_at": MOMENT, "updated_at": MOMENT, "version": 3}
    given |= {"project_id": UUID(int=8), "title": "ü %_\\", "storage_uri": "a b", "duration": 0.1}
    return Video(**given)


def cursor(data: bytes) -> None:
    """A cursor gives back what was put in; altered in any place, or any other text, it is refused."""
    order = parse_order(Video, ORDERS[data[0] % len(ORDERS)] if data else None)
    given = pages.encode(MARK, video(), order)
    values = [getattr(video(), name) for name, _ in order.columns]
    held(pages.decode(Video, MARK, order, given) == values, "other values came back")
    place, other = data[1] if len(data) > 1 else 0, text_of(data[2:])
    for text in (other, given[:place] + other + given[place + len(other) :]):
        if text == given:
            continue
        try:
            pages.decode(Video, MARK, order, text)
        except InvalidValue:
            continue
        raise Broken("an altered cursor was taken")
    try:
        values = list(json.loads(other))
    except (ValueError, TypeError, RecursionError):
        return
    with suppress(InvalidValue):  # what only who knows the seal can send
        pages.after(Video, order, pages.decode(Video, MARK, order, pages._sealed(MARK, values)))


# -------------------------------------------------------------------------------------------------- values


def url(data: bytes) -> None:
    """An accepted URL is in its last form, and leads other parsers to the same host."""
    text = text_of(data)
    with suppress(InvalidValue):
        original_url(text)
    try:
        found = normalize_url(text)
    except InvalidValue:
        return
    held(normalize_url(found) == found, "its form is not the last")
    host = url_host(found)
    held(urlsplit(found).hostname == host.strip("[]"), "Python reads another host")
    try:
        read = Url(found)
    except ValidationError:
        raise Broken("another parser refuses it") from None
    held((read.host or "").strip("[]") == host.strip("[]"), "another parser reads another host")
    held(read.username is None, "another parser reads a user")
    held(read.password is None, "another parser reads a password")
    link_kind(found)


def language(data: bytes) -> None:
    """An accepted tag is in its last form, is short, and is ASCII."""
    try:
        found = canonical_language(text_of(data))
    except InvalidValue:
        return
    held(canonical_language(found) == found, "its form is not the last")
    held(found.isascii(), "it is not ASCII")
    held(2 <= len(found) <= 63, "its length is not that of a tag")
    held(letters_a_word(found) in {1, 2, 5}, "its words have no length")


def sql(data: bytes) -> None:
    """The tokens of a text are the text, and its statements lie in it in order."""
    text = text_of(data[1:])
    placeholders = data[:1] == b"%"
    with suppress(SqlTextError):
        found = list(tokens(text, placeholders=placeholders))
        held("".join(each.text for each in found) == text, "the tokens are not the text")
        held(all(a.end == b.start for a, b in pairwise(found)), "a gap between tokens")
        ends = [0]
        for start, end in statements(text):
            held(ends[-1] <= start < end <= len(text), "the statements do not lie in the text in order")
            ends.append(end)
    with suppress(DatabaseHandlerError):
        refuse_control(text, placeholders=placeholders)


TARGETS: Mapping[str, Target] = {
    "migrations": Target(
        migration,
        (
            b"s-- 0007_x\n-- migrate: up\nCREATE TABLE t (id int);\n-- migrate: down\nDROP TABLE t;\n",
            b"s-- migrate: up, no transaction\nCREATE INDEX CONCURRENTLY i ON t (a);\n",
            b"s-- migrate: up, batched\nUPDATE t SET a = 1 WHERE ctid IN (SELECT ctid FROM t LIMIT 10);\n",
            b"s-- migrate: up\nDO $a$ BEGIN; END $a$;\n-- migrate: verify\nSELECT 1/count(*) FROM t;\n",
            b"s-- replaces: 0001_a " + b"ab" * 32 + b"\n-- migrate: up\nSELECT 'x;' /* ; */;\n",
            b"pdef up(session):\n    session.run('SELECT 1')\n\n\ndef down(session):\n    pass\n",
            b"pdef up(session):\n    while session.run('DELETE'):\n        yield\n",
        ),
        (
            "-- migrate: ",
            "up",
            "down",
            "verify",
            ", no transaction",
            ", batched",
            "-- replaces: ",
            "$$",
            "/*",
            "*/",
        ),
    ),
    "filters": Target(
        filters,
        (
            b'\x00name__icontains\n"a%_"',
            b'\x01created_at__gte\n"2026-01-01T00:00:00Z"',
            b'\x02id__in\n["00000000-0000-0000-0000-000000000001"]',
            b'\x00metadata__contains\n{"a": [1, null]}',
            b'\x00tags__overlaps\n["a"]',
            b"\x04duration__lt\n1e400",
            b"\x03language__is_null\ntrue",
            b'\x00-created_at\n["name", "-id"]',
        ),
        (
            *("__", "eq", "ne", "in", "not_in", "is_null", "contains", "has_key", "overlaps", "startswith"),
            *(
                "iendswith",
                "gte",
                "true",
                "null",
                "1e999",
                "NaN",
                *sorted({n for e in ENTITIES for n in e.model_fields}),
            ),
        ),
    ),
    "cursors": Target(
        cursor,
        (
            b"\x00\x00A",
            b"\x01\x10AA==",
            b"\x02\x00WyJtYXJrIl0",
            b"\x03\xff=",
            b"\x04\x05-_",
            b'\x00\x00["a", 0.5, "00000000-0000-0000-0000-000000000007"]',
        ),
        ("=", "-", "_", "W1", "IiI", "bnVsbA"),
    ),
    "urls": Target(
        url,
        (
            b"https://Example.ORG:443/a/../b?q=%C3%A9#f",
            "http://bücher.example/ä".encode(),
            b"http://[2001:db8::1]:8080/",
            b"http://192.168.1.1/",
            b"http://0x7f.1/",
            b"http://user:secret@example.org/",
            b"https://xn--bcher-kva.example./",
            b"https://www.youtube.com/watch?v=1",
        ),
        ("http://", "https://", "@", ":80", "[::1]", "%2e", "xn--", "\\", "..", "\u3002", "\u00ad", "#", "?"),
    ),
    "languages": Target(
        language,
        (
            b"en-GB",
            b"zh-Hant-TW",
            b"sl-rozaj-biske",
            b"de-u-co-phonebk",
            b"x-own",
            b"i-klingon",
            b"sr-Latn-RS-x-a",
        ),
        ("-", "x-", "u-", "t-", "Latn", "419", "und", "art-lojban", "zh-min-nan"),
    ),
    "sql": Target(
        sql,
        (
            b" SELECT 'a''b', E'\\'', $x$;$x$, \"q\" /* /* */ */ -- c\n; SELECT 1e5, 0x_f, 1_000",
            b"%SELECT %s, %(name)s, 5 %% 2",
            b" BEGIN; COMMIT",
            b" CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3",
            b" COPY t FROM STDIN",
            b" U&'\\0061' UESCAPE '!'",
        ),
        ("$$", "/*", "*/", "--", "BEGIN", "ATOMIC", "END", "CASE", "E'", 'U&"', "%s", "%(", "COPY", "STDIN"),
    ),
}
