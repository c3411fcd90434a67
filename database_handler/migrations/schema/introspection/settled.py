"""Brings the server's own text of an expression to the form in which reading it again changes nothing.

``varchar IN ('a', 'b')`` is written out as ``ANY ((ARRAY['a'::character varying])::text[])``. Read again,
the cast goes to each element, and is written out as ``ARRAY[('a'::character varying)::text]``; that form
stays. A schema made from the server's text would otherwise differ from its source for ever.
"""

from collections.abc import Iterator, Sequence

from database_handler.core.sql_text import Token, TokenKind, significant_tokens

__all__ = ["settled"]

_SIGN = "(ARRAY["
_OPENING, _CLOSING = frozenset("(["), frozenset(")]")
_OF_TYPES = frozenset({TokenKind.WORD, TokenKind.QUOTED_IDENTIFIER, TokenKind.NUMBER})


def settled(text: str) -> str:
    """Return the text with every cast of an array written at once moved to its elements."""
    while _SIGN in text and (changed := _first_moved(text)) is not None:
        text = changed
    return text


def _first_moved(text: str) -> str | None:
    tokens = list(significant_tokens(text))
    for place in range(len(tokens) - 2):
        if [token.text for token in tokens[place : place + 3]] == ["(", "ARRAY", "["]:
            moved = _moved(text, tokens, place)
            if moved is not None:
                return moved
    return None


def _moved(text: str, tokens: Sequence[Token], place: int) -> str | None:
    closing = _closing(tokens, place + 2)
    after = tokens[closing + 1 : closing + 3]
    if [token.text for token in after] != [")", "::"]:
        return None
    end = _end_of_array_type(tokens, closing + 3)
    if end is None:
        return None
    type = text[tokens[closing + 3].start : tokens[end - 1].start]
    elements = [text[start:stop] for start, stop in _elements(tokens, place + 2, closing)]
    if any(element.startswith("ARRAY[") for element in elements):
        return None
    inside = ", ".join(f"({element})::{type}" for element in elements)
    return f"{text[: tokens[place].start]}ARRAY[{inside}]{text[tokens[end].end :]}"


def _closing(tokens: Sequence[Token], opening: int) -> int:
    depth = 0
    for place in range(opening, len(tokens)):
        depth += (tokens[place].text in _OPENING) - (tokens[place].text in _CLOSING)
        if depth == 0:
            return place
    return len(tokens)


def _elements(tokens: Sequence[Token], opening: int, closing: int) -> Iterator[tuple[int, int]]:
    """Where each element stands between the brackets."""
    depth, start = 0, tokens[opening].end
    for token in tokens[opening + 1 : closing]:
        depth += (token.text in _OPENING) - (token.text in _CLOSING)
        if token.text == "," and depth == 0:
            yield start, token.start
            start = token.end + 1  # the server writes a blank after each comma
    yield start, tokens[closing].start


def _end_of_array_type(tokens: Sequence[Token], start: int) -> int | None:
    """Where the ``]`` of a type like ``character varying(40)[]`` stands; None where no array type does."""
    place = start
    while place < len(tokens):
        token = tokens[place]
        if token.text == "[":
            ends = place + 1 < len(tokens) and tokens[place + 1].text == "]" and place > start
            return place + 1 if ends else None
        if token.kind not in _OF_TYPES and token.text not in {".", "(", ")", ","}:
            return None
        place += 1
    return None
