"""What an answer comes to (`drifted`, `agrees`, ...) is in its JSON too, for who reads no Python."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer, model_validator

__all__ = ["Judged"]


class Judged(BaseModel, frozen=True):
    """An answer whose properties named in `verdicts` are written with its fields, and not read back."""

    verdicts: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _with_verdicts(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {**write(self), **{name: getattr(self, name) for name in self.verdicts}}

    @model_validator(mode="before")
    @classmethod
    def _without_verdicts(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {name: value for name, value in given.items() if name not in cls.verdicts}
