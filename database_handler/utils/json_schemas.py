"""A JSON document is held to a JSON Schema; what is told of it is where it breaks which rule, never a value.

The package `jsonschema` (extra `jsonschema`) does the work, and is imported when a schema is first used.
Nothing is fetched: a schema that refers outside itself is refused.
"""

import importlib.util
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from database_handler.utils.errors import InvalidValue, MissingExtra
from database_handler.utils.json_values import json_object

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

__all__ = ["metadata_schemas", "violations"]

_ENTITY: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TOLD: Final = 10
"""The most violations that one refusal tells."""
_SHOWN: Final = 80
"""The most characters of a schema's own words, or of a key, that a refusal repeats."""
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef"})
_INSTALL: Final = "JSON Schemas need: pip install 'database-handler[jsonschema]'"


def metadata_schemas(value: object) -> dict[str, Any]:
    """Give JSON Schemas by entity unaltered; a key that can name no table, or another value, is refused."""
    given = json_object(value)
    for entity, schema in given.items():
        if not _ENTITY.fullmatch(entity):
            raise InvalidValue("a JSON Schema is kept by its entity's name, such as text_sources")
        if not isinstance(schema, dict):
            raise InvalidValue(f"{entity}: a JSON Schema is a JSON object, not {type(schema).__name__}")
        _refuse_unusable(entity, schema)
    return given


def _refuse_unusable(entity: str, schema: Mapping[str, Any]) -> None:
    try:
        validator = _compiled(to_json(schema))
        with _followed():
            _look_up_references(validator.schema)
        violations(schema, {})  # one that refers to nothing but itself ends here
    except InvalidValue as error:
        refusal = InvalidValue(f"{entity}: {error}")
    else:
        return
    raise refusal


def violations(schema: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    """Return where a document breaks a schema, each as ``path: rule``; none where it keeps to it.

    Raises
    ------
    InvalidValue
        The schema refers outside itself, or to itself without end.
    """
    validator = _compiled(to_json(schema))
    with _followed():
        try:
            errors = zip(validator.iter_errors(document), range(_TOLD), strict=False)
            return list(dict.fromkeys(_told(error) for error, _ in errors))
        except ArithmeticError:
            return ["the whole: holds a number too large to be compared with the schema's"]


@contextmanager
def _followed() -> Iterator[None]:
    """Say in one error of ours what a schema that leads nowhere, or round and round, ends in."""
    try:
        yield
    except Exception as error:
        # The last two are the packages' own, over parts that an older dialect's rules do not look at.
        known = isinstance(error, RecursionError | re.error | AttributeError | TypeError)
        if not known and type(error).__module__.partition(".")[0] not in {"referencing", "jsonschema"}:
            raise
    else:
        return
    raise InvalidValue("the JSON Schema cannot be followed: it refers outside itself, or to itself")


def _look_up_references(schema: Any) -> None:
    """Go through a schema and all within it, and look up whatever it refers to in the whole."""
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012

    whole: Resource[Any] = Resource.from_contents(schema, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource(whole.id() or "", whole)
    pending = [(registry.resolver_with_root(whole), whole)]
    while pending:
        resolver, part = pending.pop()
        if isinstance(part.contents, dict):
            for name in _REFERENCES & part.contents.keys():
                resolver.lookup(str(part.contents[name]))
        pending += [(resolver.in_subresource(each), each) for each in part.subresources()]


@lru_cache(maxsize=256)
def _compiled(schema: bytes) -> "Validator":
    """Return the validator of a schema, given as JSON text so that an equal one is met again."""
    if importlib.util.find_spec("jsonschema") is None:
        raise MissingExtra(_INSTALL)
    from jsonschema import SchemaError
    from pydantic_core import from_json
    from referencing import Registry

    content = from_json(schema)
    dialect = _dialect(content)
    try:
        dialect.check_schema(content)
    except SchemaError as error:
        refusal = InvalidValue(f"this is no JSON Schema: {_path(error.absolute_path) or 'the whole'}")
    else:
        # An empty registry of its own: the package's default one fetches what it does not know.
        return dialect(content, registry=Registry())
    raise refusal


def _dialect(schema: Mapping[str, Any]) -> "type[Validator]":
    """Return the class of validators for what a schema says that it is written in; 2020-12 unless it does."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    named = schema.get("$schema", Draft202012Validator.META_SCHEMA["$id"])
    if isinstance(named, str):
        with suppress(ValueError):  # no URL at all
            found: type[Validator] = validator_for({"$schema": named}, default=Draft202012Validator)
            known = found.META_SCHEMA.get("$id") or found.META_SCHEMA["id"]
            if known.rstrip("#") == named.rstrip("#"):
                return found
    raise InvalidValue("this is no JSON Schema: its $schema names no dialect that is known")


def _told(error: Any) -> str:
    return f"{_path(error.absolute_path) or 'the whole'}: {_rule(error)}"


def _rule(error: Any) -> str:
    """Say the rule in the schema's own words; the package's message holds the value."""
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance][:_TOLD]
        return f"{', '.join(map(_short, missing))} is required"
    if error.validator == "additionalProperties":
        return "holds a key that is not allowed"
    if error.validator is None:
        return "is not allowed"
    return f"{error.validator} {_short(error.validator_value)} is wanted"


def _short(words: object) -> str:
    text = words if isinstance(words, str) else to_json(words).decode()
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "\u2026"


def _path(steps: Any) -> str:
    return "".join(_steps(steps)).lstrip(".")


def _steps(steps: Any) -> Iterator[str]:
    for step in steps:
        if isinstance(step, int):
            yield f"[{step}]"
        else:
            yield f".{step}" if re.fullmatch(r"\w{1,80}", step) else f"[{_short(step)!r}]"
