"""The server's own text of an expression, where reading it again would give another text.

``x IN ('a', 'b')`` over `character varying` is told as a cast of a whole array; read again, that becomes an
array of casts, which is told otherwise. ``a BETWEEN 1 AND 2 AND b`` is told with brackets inside, which are
gone once it is read again. ``SELECT 'x'`` is told with a cast, and a column of one is named after the type.
So all are written as they were meant.
"""

import re
from collections.abc import Iterator, Sequence

from database_handler.core.sql_text import SqlTextError, Token, TokenKind, tokens

__all__ = ["as_meant", "is_told_otherwise"]

_NAME = r'(?:"(?:[^"]|"")*"|[^\W\d][\w$]*)'
_ITEM = r"'(?:[^']|'')*'::character varying(?:\([0-9]+\))?"
_WHOLE_CAST = re.compile(
    rf"\(({_NAME}(?:\.{_NAME})*)\)::text (= ANY|<> ALL) \(\(ARRAY\[({_ITEM}(?:, {_ITEM})*)\]\)::text\[\]\)"
)
_IN = {"= ANY": "IN", "<> ALL": "NOT IN"}
_RANGES = {"AND": (">=", "<=", "BETWEEN"), "OR": ("<", ">", "NOT BETWEEN")}
_LIST_ENDS = frozenset(
    {",", ")", "]", ";", "FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "OFFSET", "FETCH"}
    | {"FOR", "UNION", "INTERSECT", "EXCEPT"}
)
_OF_TYPES = frozenset({TokenKind.WORD, TokenKind.QUOTED_IDENTIFIER})
_NOT_SEEN = frozenset({TokenKind.WHITESPACE, TokenKind.COMMENT})


def is_told_otherwise(text: str) -> bool:
    """Whether the server, after reading the text, would tell it in other words."""
    return as_meant(text) != text


def as_meant(text: str) -> str:
    """Return the text so that the server tells it as it stands now."""
    if "(ARRAY[" in text:
        text = _WHOLE_CAST.sub(lambda found: f"{found[1]} {_IN[found[2]]} ({found[3]})", text)
    if (" >= " in text and " <= " in text) or (" < " in text and " > " in text):
        text = _with_ranges(text)
    if "SELECT " in text and "::" in text:
        text = _with_no_names(text)
    return text


def _with_no_names(text: str) -> str:
    try:
        found = [token for token in tokens(text) if token.kind not in _NOT_SEEN]
    except SqlTextError:  # a text in a language of its own
        return text
    for end in sorted(_nameless(found), reverse=True):
        text = f'{text[:end]} AS "?column?"{text[end:]}'
    return text


def _nameless(found: Sequence[Token]) -> Iterator[int]:
    """Give where each column of a SELECT ends that is a cast and has no name."""
    lists = [-1]  # for each pair of brackets, where the column begins that stands there; -1 where none does
    casts = [False]
    for place, token in enumerate((*found, Token(TokenKind.PUNCTUATION, ";", 0, 0))):
        if token.text in _LIST_ENDS and found[place - 1].text != "DISTINCT":
            if lists[-1] >= 0 and casts[-1]:
                yield found[place - 1].end
            lists[-1] = place + 1 if token.text == "," and lists[-1] >= 0 else -1
        if token.text in "([":
            lists.append(-1)
            casts.append(False)
        elif token.text in ")]" and len(lists) > 1:
            lists.pop()
            casts.pop()
        elif token.text == "SELECT":
            lists[-1] = place + 1
        elif token.text != "." and (token.kind not in _OF_TYPES or token.text == "AS"):
            casts[-1] = token.text == "::"


def _with_ranges(text: str) -> str:
    try:
        found = [token for token in tokens(text) if token.kind not in _NOT_SEEN]
    except SqlTextError:  # a text in a language of its own
        return text
    for start, end, words in sorted(_ranges(text, found), reverse=True):
        text = text[:start] + words + text[end:]
    return text


def _ranges(text: str, found: Sequence[Token]) -> Iterator[tuple[int, int, str]]:
    """Give each pair of comparisons that was one BETWEEN in a longer condition: where, and the words."""
    closed = _closed(found)
    for opens, closes in closed.items():
        first_end = closed.get(opens + 1)
        if first_end is None or closed.get(first_end + 2) != closes - 1:
            continue
        word = found[first_end + 1].text
        around = {found[place].text for place in (opens - 1, closes + 1) if 0 <= place < len(found)}
        if word in _RANGES and word in around:
            low, high, between = _RANGES[word]
            one = _sides(text, found, closed, opens + 1, low)
            other = _sides(text, found, closed, first_end + 2, high)
            if one and other and one[0] == other[0]:
                words = f"({one[0]} {between} ({one[1]}) AND ({other[1]}))"
                yield found[opens].start, found[closes].end, words


def _closed(found: Sequence[Token]) -> dict[int, int]:
    """Return where each bracket that is opened is closed."""
    waiting, closed = list[int](), dict[int, int]()
    for place, token in enumerate(found):
        if token.text == "(":
            waiting.append(place)
        elif token.text == ")" and waiting:
            closed[waiting.pop()] = place
    return closed


def _sides(
    text: str, found: Sequence[Token], closed: dict[int, int], opens: int, operator: str
) -> tuple[str, str] | None:
    """Return what stands left and right of an operator, the only one of its depth in the brackets."""
    place, closes, middle = opens + 1, closed[opens], list[int]()
    while place < closes:
        if found[place].text == operator and found[place].kind is TokenKind.OPERATOR:
            middle.append(place)
        elif found[place].text in ("AND", "OR"):
            return None
        place = closed.get(place, place) + 1
    if len(middle) != 1:
        return None
    left = text[found[opens].end : found[middle[0]].start].strip()
    return left, text[found[middle[0]].end : found[closes].start].strip()
