"""How a value stands in the cache: JSON under a header, and nothing else is ever read back.

The header has the format, the tokens that the entry hangs on, the row's version, and a checksum over the
entry's key and its text. What does not fit is garbage, and counts as not there. A value is stored only where
reading it back gives that very value. Nothing is pickled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from json import dumps
from typing import Generic, TypeVar, get_args, get_type_hints

from pydantic import AwareDatetime, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from database_handler.core.exceptions import DatabaseHandlerError

__all__ = ["Codec", "Kind", "header"]

T = TypeVar("T")
_FORMAT = b"1"


class Codec(Generic[T]):
    """Writes values of one type for the cache, and reads them back exactly.

    Parameters
    ----------
    *more : str
        What else a value depends on.

    Attributes
    ----------
    fingerprint : str
        Of the type's fields: a release whose model differs neither reads nor replaces what another stored.
    """

    def __init__(self, kind: type[T], *more: str) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        self._times = tuple(_names_of_times(kind))
        schema = self._adapter.json_schema(mode="serialization")
        told = dumps([kind.__module__, kind.__qualname__, schema, *more], sort_keys=True)
        self.fingerprint = blake2b(told.encode(), digest_size=6).hexdigest()

    def encode(self, value: T) -> bytes | None:
        """Return a value's text; None where it would come back as another."""
        try:
            text = self._adapter.dump_json(value)
            back = self.decode(text)
        except PydanticSerializationError:
            return None
        same = back is not None and back == value and self._adapter.dump_json(back) == text
        return text if same else None

    def decode(self, text: bytes) -> T | None:
        """Return the value of a text; None where it is garbage."""
        try:
            value = self._adapter.validate_json(text)
        except (ValidationError, DatabaseHandlerError, ValueError, RecursionError):
            return None
        for name in self._times:
            found = getattr(value, name)
            if type(found) is datetime:  # in the zone object that the driver gives, past what keeps it frozen
                utc = found.astimezone(UTC) if found.utcoffset() else found.replace(tzinfo=UTC)
                object.__setattr__(value, name, utc)
        return value


def _names_of_times(kind: type[object]) -> Iterator[str]:
    """Give the fields that may hold a time; all are written in UTC."""
    hints = get_type_hints(kind, include_extras=False)
    for name, hint in hints.items():
        if not {datetime, AwareDatetime}.isdisjoint({hint, *get_args(hint)}):
            yield name


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One sort of entry: the tag its group shares, how the tag and the place of one are named, its codec.

    Attributes
    ----------
    name : str
        What is told of it: the entity, or ``statistics``.
    group : str
        The tag of all entries of this sort.
    own : str
        What the tag of one begins with; its id follows.
    """

    name: str
    group: str
    own: str
    codec: Codec[T]

    @property
    def place(self) -> str:
        """What the key of an entry begins with, below the namespace."""
        return f"{self.own}:{self.codec.fingerprint}"

    def pack(self, key: str, tokens: Sequence[bytes], version: int, value: T) -> bytes | None:
        """Return what is stored; None where the value cannot be."""
        text = self.codec.encode(value)
        return None if text is None else header(tokens, version, key, text) + text

    def unpack(self, key: str, tokens: Sequence[bytes], stored: bytes) -> "T | Garbage | Stale":
        """Return the value of an entry that hangs on these tokens."""
        top, _, text = stored.partition(b"\n")
        parts = top.split(b" ")
        if len(parts) != 4 or parts[0] != _FORMAT or not parts[2].isdigit() or len(parts[2]) > 19:
            return GARBAGE
        if header(parts[1].split(b":"), int(parts[2]), key, text) != top + b"\n":
            return GARBAGE
        if parts[1] != b":".join(tokens):
            return STALE
        value = self.codec.decode(text)
        return GARBAGE if value is None else value


class Garbage:
    """What is in an entry's place is no entry."""


class Stale:
    """The entry hangs on a token that is gone."""


GARBAGE = Garbage()
STALE = Stale()


def header(tokens: Sequence[bytes], version: int, key: str, text: bytes) -> bytes:
    """Return the first line of an entry."""
    hangs_on = b"%s %s %d" % (_FORMAT, b":".join(tokens), version)
    checksum = blake2b(b"%s %s\n%s" % (hangs_on, key.encode(), text), digest_size=8).hexdigest()
    return b"%s %s\n" % (hangs_on, checksum.encode())
