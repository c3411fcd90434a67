"""A frozen model whose wrong values raise `ConfigurationError`, and never show the value.

The error names the field, the kind of the value and what is allowed: a mistyped setting may well be a
password in the wrong place.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final, Protocol, Self

from pydantic import (
    BaseModel,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails

from database_handler.utils.errors import ConfigurationError, Problem

__all__ = ["NAMES_IN_ERRORS", "Configuration", "Named", "kind_of", "nearest"]

NAMES_IN_ERRORS: Final = "database_handler.names_in_errors"
"""The key of a validation context that gives fields other names (`Named`) in errors."""


class Named(Protocol):
    """What a field is called where its value came from."""

    @property
    def name(self) -> str:
        """The variable and its source, as an error begins with them."""
        ...

    @property
    def variable(self) -> str:
        """The variable alone."""
        ...

    @property
    def where(self) -> str:
        """The source alone."""
        ...


def kind_of(value: object) -> str:
    """Say what sort of value this is, without the value."""
    if value == "":
        return "empty text"
    kinds = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        type(None): "nothing",
    }
    kinds |= {list: "a list", tuple: "a list", dict: "a mapping", SecretStr: "text"}
    return kinds.get(type(value), f"a {type(value).__name__}")


class Configuration(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True):
    """A frozen model whose wrong values raise `ConfigurationError`, however it is made.

    Each field's description says what is allowed; a validation context may give fields other names.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_with_our_error(
        cls, data: object, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        try:
            made = handler(data)
        except ValidationError as error:
            names = info.context.get(NAMES_IN_ERRORS, {}) if isinstance(info.context, dict) else {}
            details = [detail for detail in error.errors() if detail["type"] != "default_factory_not_called"]
            problems = [_problem(cls, detail, names) for detail in details]
        else:
            made._check()
            return made
        raise ConfigurationError.of(problems)  # out here it has no context that would hold the input

    def _check(self) -> None:
        """Raise `ConfigurationError` where fields that are right by themselves contradict each other."""


def _problem(model: type[BaseModel], detail: ErrorDetails, names: Mapping[str, Named]) -> Problem:
    if not detail["loc"]:
        return Problem(f"got {kind_of(detail['input'])}, allowed: the settings by name")
    field = str(detail["loc"][0])
    named = names.get(field)
    told = _told(model, detail, field, field if named is None else named.name)
    return Problem(told) if named is None else Problem(told, named.variable, named.where)


def _told(model: type[BaseModel], detail: ErrorDetails, field: str, name: str) -> str:
    if field not in model.model_fields:
        return f"there is no setting {name}" + nearest(field, model.model_fields)
    allowed = model.model_fields[field].description
    if detail["type"] == "missing":
        return f"{name} is missing; allowed: {allowed}"
    place = detail["loc"][1] if len(detail["loc"]) > 1 else None
    item = f", item {place + 1}" if isinstance(place, int) else ""
    reason = _reason(detail)
    because = f" ({reason})" if reason else ""
    return f"{name}{item}: got {kind_of(detail['input'])}{because}, allowed: {allowed}"


def _reason(detail: ErrorDetails) -> str:
    """Give the words of a validator of ours; a plain ValueError's may quote the value."""
    cause = detail.get("ctx", {}).get("error")
    return "" if isinstance(cause, ipaddress.AddressValueError) or cause is None else str(cause)


def nearest(name: str, known: Sequence[str] | Mapping[str, object], cutoff: float = 0.6) -> str:
    """Give ``"; did you mean X?"`` for the known name that is most like this one, or nothing."""
    found = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {found[0]}?" if found else ""
