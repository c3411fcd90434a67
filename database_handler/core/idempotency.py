"""A key in the unit's own transaction: whoever sends the unit again finds it, and what the unit gave.

It holds after any failure, also where the server that answered is gone: what was committed brought its key
along, and what was not left none. A second unit with the same key waits for the first one's end.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from pydantic import (
    ConfigDict,
    PydanticSchemaGenerationError,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticSerializationError

from database_handler.core.exceptions import InvalidValue, SerializationFailure, UnreadableValue
from database_handler.core.session import Session, Statement

__all__ = ["KEYS", "Kept", "Once", "forget"]

KEYS = "database_handler_keys"
"""The table; the library's third migration makes it."""

_LONGEST_KEY = 200  # bytes
_WRITE = Statement(
    f"INSERT INTO {KEYS} (key, created_at) VALUES (%s, now()) ON CONFLICT DO NOTHING RETURNING true",
    "idempotency.begin",
    writes=True,
    uncounted=True,
    table=KEYS,
)
_READ = Statement(f"SELECT result FROM {KEYS} WHERE key = %s", "idempotency.read", uncounted=True)
_KEEP = Statement(
    f"UPDATE {KEYS} SET result = %s WHERE key = %s",
    "idempotency.keep",
    writes=True,
    uncounted=True,
    table=KEYS,
)
_FORGET = Statement(
    f"DELETE FROM {KEYS} WHERE created_at < now() - %s::interval",
    "idempotency.forget",
    writes=True,
    table=KEYS,
)
# A key that is there when the row is written and gone when it is read was just forgotten.
_TRIES = 3

_EXACT = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """What a unit gave that was done before."""

    value: T


class Once(Generic[T]):
    """One unit's key, and how what the unit gives is kept beside it.

    Parameters
    ----------
    key : str
        1 to 200 bytes, without control characters; the caller's own name for what is to be done once.
    returns : type, optional
        What the unit gives, as pydantic takes it; kept as JSON. Left out, the unit gives None.
    """

    def __init__(self, key: str, returns: Any = None) -> None:
        self._key = _checked(key)
        self._adapter: TypeAdapter[T] = _adapter(type(None) if returns is None else returns)
        self._told = "None" if returns is None else getattr(returns, "__name__", str(returns))

    def begin(self, session: Session) -> Kept[T] | None:
        """Write the key, or return what was kept beside it when it was written before."""
        for _ in range(_TRIES):
            if session.all(_WRITE, [self._key]):
                return None
            if found := session.maybe(_READ, [self._key]):
                return Kept(self._read(found[0]))
        raise SerializationFailure("the idempotency key comes and goes; the unit can be sent again")

    def keep(self, session: Session, value: T) -> None:
        """Keep what the unit gave; `InvalidValue` where it is not what was said it returns."""
        text = self._written(value)
        if text != "null":
            session.run(_KEEP, [text, self._key])

    def _written(self, value: T) -> str:
        with suppress(PydanticSerializationError, ValidationError):
            text = self._adapter.dump_json(value, warnings="error")
            self._adapter.validate_json(text)  # what could not be read again must not be kept
            return text.decode()
        raise InvalidValue(
            f"the unit gave a {type(value).__name__}, and returns says {self._told}: with an "
            "idempotency_key db.run keeps what the unit gives, so returns= names its type"
        )

    def _read(self, text: str | None) -> T:
        with suppress(ValidationError):
            return self._adapter.validate_json("null" if text is None else text)
        raise UnreadableValue(
            f"what the unit with this idempotency_key gave is no {self._told}; "
            "the key was used for something else"
        )


def _checked(key: object) -> str:
    # A lone surrogate is not printable either, so what is left can be encoded.
    if isinstance(key, str) and key.isprintable() and 1 <= len(key.encode()) <= _LONGEST_KEY:
        return key
    raise InvalidValue(f"idempotency_key is text of 1 to {_LONGEST_KEY} bytes without control characters")


def _adapter(returns: Any) -> TypeAdapter[Any]:
    with suppress(PydanticSchemaGenerationError):
        try:
            return TypeAdapter(returns, config=_EXACT)
        except PydanticUserError:  # a model has a configuration of its own
            return TypeAdapter(returns)
    raise InvalidValue(
        f"returns is a type that can be written as JSON, such as a record's class, not {returns!r:.80}"
    )


def forget(session: Session, older_than: timedelta) -> int:
    """Delete the keys written longer ago than that, and return how many they were."""
    if not isinstance(older_than, timedelta) or older_than < timedelta(0):
        raise InvalidValue("older_than is a timedelta of 0 or more")
    return session.run(_FORGET, [older_than])
