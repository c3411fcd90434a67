"""What is written and what is read are two types: a `Draft` is supplied, a `Record` is what is stored.

Both are frozen. A draft refuses what it cannot take with one `InvalidValue`; a record read from the database
is filled without a second validation, since every row went through its draft and the table's CHECKs.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NoReturn, ParamSpec, Self, TypeVar, get_origin
from uuid import UUID

import pydantic
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from database_handler.core.columns import peeled
from database_handler.core.exceptions import InvalidValue, UnreadableValue
from database_handler.core.schema import Table

__all__ = [
    "Change",
    "Draft",
    "Record",
    "Value",
    "bound_tables",
    "derived",
    "draft_of",
    "filler",
    "initial",
    "validated_changes",
]

P = ParamSpec("P")
R = TypeVar("R", bound="Record")


@dataclass(frozen=True, slots=True)
class Derivation:
    """A default made from other fields; one that follows is made again when those are updated."""

    sources: tuple[str, ...]
    rule: Callable[..., Any]
    follows: bool

    def __call__(self, data: Mapping[str, Any]) -> Any:
        """Derive from the fields validated so far."""
        return self.rule(*(data[source] for source in self.sources))


def derived(source: str | tuple[str, ...], rule: Callable[..., Any]) -> Any:
    """Declare a field that is `rule(source)` unless it is given, also after an update of `source`.

    Of several sources an update changes all, or none: the field could not be made again from a part of them.
    """
    return Field(default_factory=Derivation(_sources(source), rule, follows=True))


def initial(source: str | tuple[str, ...], rule: Callable[..., Any]) -> Any:
    """Declare a field that starts as `rule(source)` unless it is given, and then stays."""
    return Field(default_factory=Derivation(_sources(source), rule, follows=False))


def _sources(source: str | tuple[str, ...]) -> tuple[str, ...]:
    return (source,) if isinstance(source, str) else source


class _Refusing(
    BaseModel,
    frozen=True,
    extra="forbid",
    hide_input_in_errors=True,
    validate_default=True,
    allow_inf_nan=False,
    ser_json_inf_nan="constants",
    ser_json_bytes="base64",
    val_json_bytes="base64",
):
    """Turns pydantic's error into `InvalidValue`, which names the fields and never a value."""

    if not TYPE_CHECKING:  # type checkers see the constructor that the fields make

        def __init__(self, **data: Any) -> None:
            # As pydantic's own does, whose call would cost a third of a small model.
            _refused(type(self), self.__pydantic_validator__.validate_python, data, self_instance=self)

        def __setattr__(self, name: str, value: Any) -> None:
            kind = type(self).__name__
            raise InvalidValue(
                f"{kind} is frozen; to change {name[:60]!r}, use model_copy(update=...) or update()"
            )

        # Without this mark pydantic would call the constructor, in Python, for each model that it validates
        # as a part of something else.
        __init__.__pydantic_base_init__ = True

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate as pydantic does; raise `InvalidValue` instead of its error."""
        return _refused(cls, super().model_validate, obj, **options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Validate JSON as pydantic does; raise `InvalidValue` instead of its error."""
        return _refused(cls, super().model_validate_json, json_data, **options)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy; with `update`, as a new model that is validated, what is derived from a change made again.

        Unlike pydantic's, which takes any value as it is: a changed copy is how a frozen record is edited.
        """
        if update is not None and not isinstance(update, Mapping):
            raise InvalidValue(f"model_copy: update is a mapping, not a {type(update).__name__}")
        if not update:
            return super().model_copy(deep=bool(deep))
        return self.model_validate({**self.__dict__, **validated_changes(type(self), update)})


T = TypeVar("T")


def _refused(model: type[BaseModel], validate: Callable[P, T], /, *given: P.args, **options: P.kwargs) -> T:
    try:
        return validate(*given, **options)
    except pydantic.ValidationError as error:
        refusal = _refusal(model, error)
    raise refusal


class Value(_Refusing, frozen=True):
    """What a call gives back, and no table holds."""


class Draft(_Refusing, frozen=True):
    """What a caller supplies for a new record."""


class Record(_Refusing, frozen=True):
    """What the database holds: the draft's fields and what the server and the library add.

    Attributes
    ----------
    id : UUID
        Version 7, so that keys are in the order of time (RFC 9562).
    created_at, updated_at : datetime
        The server's clock at the beginning of the transaction, in UTC.
    version : int
        1 at first, one more with each update.
    """

    table: ClassVar[Table]

    id: UUID
    created_at: AwareDatetime
    updated_at: AwareDatetime
    version: int = Field(ge=1, le=2**63 - 1)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Let the table take its columns from the finished model."""
        super().__pydantic_init_subclass__(**kwargs)
        if isinstance(cls.__dict__.get("table"), Table):
            cls.table.bind(cls)


def bound_tables() -> dict[str, Table]:
    """Return the tables of all record classes defined so far, an application's too, by name."""
    found: dict[str, Table] = {}
    waiting: list[type[Record]] = [Record]
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        if isinstance(model.__dict__.get("table"), Table):
            found[model.table.name] = model.table
    return found


RECORD_FIELDS = frozenset({"id", "created_at", "updated_at", "version"})


class Change(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True):
    """One row's part in `update_many`: the fields to change, and the version that it is expected to have."""

    id: UUID
    changes: Mapping[str, Any]
    expected_version: int | None = None

    if TYPE_CHECKING:  # the short form, Change(id, {...}, 3), beside the one with keywords

        def __init__(
            self, id: UUID | str, changes: Mapping[str, Any], expected_version: int | None = None
        ) -> None: ...

    else:

        def __init__(self, *values: Any, **named: Any) -> None:
            if values:
                names = ("id", "changes", "expected_version")
                if len(values) > len(names) or not named.keys().isdisjoint(names[: len(values)]):
                    raise InvalidValue(f"Change takes {', '.join(names)}, each once")
                named |= dict(zip(names, values, strict=False))
            _refused(type(self), self.__pydantic_validator__.validate_python, named, self_instance=self)


# --------------------------------------------------------------------------------------------------- errors

_PLAIN_MESSAGES = {
    "missing": "is required",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
    "json_invalid": "is not valid JSON",
    "default_factory_not_called": "follows from another field that was refused",
}


def _refusal(model: type[BaseModel], error: pydantic.ValidationError) -> InvalidValue:
    found = error.errors(include_input=False, include_url=False, include_context=False)
    told = [
        f"{'.'.join(map(str, item['loc'])) or 'the whole'}: {_sentence(model, item)}"
        for item in found
        if item["type"] != "default_factory_not_called" or len(found) == 1
    ]
    columns = [str(item["loc"][0]) for item in found if item["loc"]]
    return InvalidValue(f"{model.__name__}: {'; '.join(told)}", columns=columns)


def _sentence(model: type[BaseModel], item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return f"no such field{nearest(str(item['loc'][-1]), model.model_fields)}"
    return _plain(item)


def _plain(item: Any) -> str:
    message = str(_PLAIN_MESSAGES.get(item["type"], item["msg"]))
    return message.removeprefix("Value error, ")  # pydantic puts it before what our own rules say


def nearest(name: str, allowed: Mapping[str, Any]) -> str:
    """Return ``; did you mean 'x'?`` for a name that is close to one allowed, and else what is allowed."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; allowed are {', '.join(allowed)}"


# -------------------------------------------------------------------------------------------------- changes


def draft_of(record: type[Record]) -> type[Draft]:
    """Return the draft that a record class extends."""
    drafts = [base for base in record.__mro__ if issubclass(base, Draft) and Record not in base.__mro__]
    return drafts[0]


@lru_cache(maxsize=1024)
def field_validator(model: type[BaseModel], name: str) -> Callable[[object], Any]:
    """Return what validates one field."""
    field = model.model_fields[name]
    annotation: Any = field.annotation
    for marker in field.metadata:
        annotation = _annotated(annotation, marker)
    adapter = TypeAdapter[Any](annotation, config=ConfigDict(hide_input_in_errors=True, allow_inf_nan=False))
    return adapter.validator.validate_python


@lru_cache(maxsize=256)
def _following(model: type[BaseModel]) -> tuple[tuple[str, Derivation], ...]:
    """Return the fields that are made again from others, and how."""
    rules = ((name, field.default_factory) for name, field in model.model_fields.items())
    return tuple((name, rule) for name, rule in rules if isinstance(rule, Derivation) and rule.follows)


def _annotated(annotation: Any, marker: Any) -> Any:
    return Annotated[annotation, marker]


def validated_changes(draft: type[BaseModel], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Validate a part of a draft and add what is derived from it.

    Raises
    ------
    InvalidValue
        Nothing to change, a field that a caller does not set, or a value that its field refuses.
    """
    if not isinstance(changes, Mapping) or not changes:
        raise InvalidValue(f"{draft.__name__}: changes are a mapping of at least one field to its new value")
    for name in changes:
        if name not in draft.__pydantic_fields__:
            raise InvalidValue(
                f"{draft.__name__}: no such field as {_shown(name)}{nearest(str(name), draft.model_fields)}"
            )
    valid = {name: validated_field(draft, name, value) for name, value in changes.items()}
    for name, rule in _following(draft):
        if name not in valid:
            given = [source for source in rule.sources if source in valid]
            if len(given) == len(rule.sources):
                valid[name] = validated_field(draft, name, rule(valid))
            elif given:
                raise InvalidValue(
                    f"{draft.__name__}: {name} follows from {' and '.join(rule.sources)}; "
                    "change them together"
                )
    return valid


def _shown(name: object) -> str:
    return repr(str(name)[:60])


def validated_field(model: type[BaseModel], name: str, value: object) -> Any:
    """Validate one value of one field, or raise `InvalidValue` naming the field."""
    try:
        return field_validator(model, name)(value)
    except pydantic.ValidationError as error:
        problems = error.errors(include_input=False, include_url=False, include_context=False)
        told = "; ".join(map(_plain, problems))
        refusal = InvalidValue(f"{model.__name__}: {name}: {told}", columns=[name])
    raise refusal


# -------------------------------------------------------------------------------------------------- reading


@lru_cache(maxsize=256)
def filler(model: type[R], before: int = 0) -> Callable[[tuple[Any, ...]], R]:
    """Return what turns a row (its columns in the order of the model's fields) into the record.

    So many columns stand `before` them, and are passed over.

    Filling skips validation: the driver gives the exact Python type for every column type but three: enums,
    arrays and bytes, which are converted; an enum's value that the model lacks is an `UnreadableValue`.
    """
    return _filling(model, tuple(model.model_fields), dict(_conversions(model)), before)


@lru_cache(maxsize=256)
def assembler(model: type[R], names: tuple[str, ...]) -> Callable[[tuple[Any, ...]], R]:
    """Return what makes the record of values that are a validated draft's and the server's, in this order."""
    return _filling(model, names, {})


_SLOTS = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


def _filling(
    model: type[R],
    names: tuple[str, ...],
    conversions: Mapping[str, Callable[[Any], Any]],
    before: int = 0,
) -> Callable[[tuple[Any, ...]], R]:
    """Write a function for this model, as `dataclasses` does, for it is what each row of each answer costs.

    A dict that is written out is made at its size; one that is filled name by name grows three times, which
    takes as long as all the rest (docs/decisions/0046-read-path.md).
    """
    place = {name: f"v{number}" for number, name in enumerate(names)}
    given = {name: f"to_{at}({at})" if name in conversions else at for name, at in place.items()}
    values = ", ".join(f"{name!r}: {given[name]}" for name in model.model_fields)
    known: dict[str, Any] = {f"to_{place[name]}": convert for name, convert in conversions.items()}
    known |= {f"put{number}": BaseModel.__dict__[slot].__set__ for number, slot in enumerate(_SLOTS)}
    known |= {"new": model.__new__, "model": model, "fields": set(names)}
    text = (
        f"def fill(row):\n ({'_, ' * before}{', '.join(place.values())},) = row\n record = new(model)\n"
        f" put0(record, {{{values}}})\n put1(record, fields)\n put2(record, None)\n put3(record, None)\n"
        " return record"
    )
    exec(text, known)  # noqa: S102  # of field names alone, which are identifiers
    fill: Callable[[tuple[Any, ...]], R] = known["fill"]
    return fill


def _conversions(model: type[BaseModel]) -> list[tuple[str, Callable[[Any], Any]]]:
    found: list[tuple[str, Callable[[Any], Any]]] = []
    for name, field in model.model_fields.items():
        inner = peeled(field.annotation)
        kind, nullable = inner.type, inner.nullable
        if isinstance(kind, type) and issubclass(kind, Enum):
            found.append((name, _enum_reader(name, kind)))
        elif get_origin(kind) is tuple:
            found.append((name, _tuple_or_none if nullable else tuple))
        elif kind is bytes:  # the driver gives a view
            found.append((name, lambda value: None if value is None else bytes(value)))
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            found.append((name, _model_reader(kind)))
    return found


def _tuple_or_none(value: Any) -> tuple[Any, ...] | None:
    return None if value is None else tuple(value)


class _Members(dict[Any, Enum | None]):
    """The members of an enum by what is stored for them."""

    def __init__(self, name: str, kind: type[Enum]) -> None:
        super().__init__({None: None, **{member.value: member for member in kind}})
        self._told = name, kind.__name__

    def __missing__(self, value: object) -> NoReturn:
        name, kind = self._told
        raise UnreadableValue(f"column {name} holds a value that {kind} lacks", columns=[name])


def _enum_reader(name: str, kind: type[Enum]) -> Callable[[Any], Any]:
    return _Members(name, kind).__getitem__


def _model_reader(kind: type[BaseModel]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else kind.model_validate(value)
