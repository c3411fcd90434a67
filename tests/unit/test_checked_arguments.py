"""`checked` holds a caller to the annotations, and an error's message can always be logged."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pytest

from database_handler.core.exceptions import DatabaseHandlerError, InvalidValue
from database_handler.models import NewProject, ProjectStatus
from database_handler.utils.arguments import checked

if TYPE_CHECKING:
    from decimal import Decimal


@checked
def call(
    number: int = 0,
    *more: str,
    seconds: float | None = None,
    names: Iterable[str] = (),
    reasons: Mapping[str, str] | None = None,
    one_or_many: str | Sequence[str] = "",
    done: Callable[[], object] | None = None,
    model: type[NewProject] = NewProject,
    word: Literal["a", "b"] = "a",
    anything: Any = None,
    unseen: "Decimal | None" = None,
) -> tuple[Any, ...]:
    return (number, *more, *names)


TAKEN: list[dict[str, Any]] = [
    {"number": 5, "seconds": 1},
    {"seconds": 1.5, "names": ["a"], "reasons": {"a": "b"}},
    {"one_or_many": "text"},
    {"one_or_many": ["text"], "done": print, "anything": object(), "unseen": "whatever"},
    {"names": {"a": 1}, "model": NewProject, "word": "b"},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"number": True}, "call: number takes int, not bool"),
    ({"number": 1.0}, "number takes int, not float"),
    ({"seconds": "1"}, "seconds takes float or int or None, not str"),
    ({"names": "text"}, "names takes Iterable, not str"),
    ({"names": ["a", 1]}, "names holds str, not int"),
    ({"names": iter(["a", None])}, "names holds str, not NoneType"),
    ({"reasons": {1: "b"}}, "reasons holds str, not int"),
    ({"reasons": {"a": None}}, "reasons holds str, not NoneType"),
    ({"one_or_many": b"text"}, "one_or_many takes str or Sequence, not bytes"),
    ({"done": 5}, "done takes Callable or None, not int"),
    ({"model": int}, "model takes a class below NewProject, not type"),
    ({"word": 1}, "word takes str, not int"),
]


@pytest.mark.parametrize("given", TAKEN, ids=" ".join)
def test_what_the_annotations_name_is_taken(given: dict[str, Any]) -> None:
    assert call(**given)[0] == given.get("number", 0)


@pytest.mark.parametrize(("given", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_what_they_do_not_name_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        call(**given)


def test_the_arguments_arrive_as_they_were_given() -> None:
    assert call(1, "x", "y", names=(name for name in "ab")) == (1, "x", "y", "a", "b")


def test_a_word_that_is_none_of_an_enum_names_those_there_are() -> None:
    wrong: tuple[Any, ...] = ("no such", 5, [[]], 10**5000)
    for value in wrong:
        with pytest.raises(InvalidValue, match="ProjectStatus: one of draft, active, "):
            ProjectStatus(value)
    assert ProjectStatus("draft") is ProjectStatus.DRAFT


def test_a_message_can_be_logged_whatever_it_names() -> None:
    told = str(DatabaseHandlerError(f"no field a\0\x1b[2J\u202e\ud800 of {'x' * 9999}\nand more"))
    assert told == f"no field a\\x00\\x1b[2J\\u202e\\ud800 of {'x' * 60}...\nand more"
