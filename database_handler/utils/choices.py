"""`Choice`: one of a few words, as an enum whose refusal is this library's error."""

from enum import EnumMeta, StrEnum
from typing import TYPE_CHECKING, Any, Never, cast

from database_handler.utils.errors import InvalidValue

__all__ = ["Choice"]


class _ChoiceMeta(EnumMeta):
    if not TYPE_CHECKING:  # type checkers know the call of an enum

        def __call__(cls, value: Any, *args: Any, **named: Any) -> Any:
            if isinstance(value, str) or args or named:
                return super().__call__(value, *args, **named)
            raise cls._refusal()  # here, for Python would write the value out, which it may not know how to

    def _refusal(cls) -> InvalidValue:
        words = cast("Any", cls.__members__)
        return InvalidValue(f"{cls.__name__}: one of {', '.join(words.values())} is wanted")


class Choice(StrEnum, metaclass=_ChoiceMeta):
    """An enum of words; anything else is an `InvalidValue` that says which there are."""

    @classmethod
    def _missing_(cls, value: object) -> Never:  # noqa: ARG003  # as the enum calls it
        raise cls._refusal()
