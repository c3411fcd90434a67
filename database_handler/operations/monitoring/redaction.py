"""SQL, and what the server makes of it, without the values that were written into it."""

from functools import lru_cache

from database_handler.core.sql_text import SqlTextError, Token, TokenKind, tokens

__all__ = ["redacted", "redacted_plan"]

_VALUES = frozenset({TokenKind.STRING, TokenKind.DOLLAR_STRING, TokenKind.NUMBER})
_UNREADABLE = "?"
_LONGEST = 20_000  # characters; such a text is values for the most part


def redacted(text: str, *, placeholders: bool = False) -> str:
    """Put ``?`` for each literal, and leave comments out.

    Text that the lexer cannot read, or that is very long, becomes ``?`` as a whole.
    """
    return _UNREADABLE if len(text) > _LONGEST else _redacted(text, placeholders)


@lru_cache(maxsize=1024)
def _redacted(text: str, placeholders: bool) -> str:
    try:
        pieces = list(tokens(text, placeholders=placeholders))
    except SqlTextError:
        return _UNREADABLE
    return " ".join("".join(_told(piece) for piece in pieces).split())


def _told(piece: Token) -> str:
    if piece.kind in _VALUES:
        return "?"
    return " " if piece.kind is TokenKind.COMMENT else piece.text


def redacted_plan(plan: object) -> object:
    """Return a plan of EXPLAIN's JSON, its texts without literals; the numbers are the planner's."""
    if isinstance(plan, dict):
        return {str(key): redacted_plan(value) for key, value in plan.items()}
    if isinstance(plan, list):
        return [redacted_plan(item) for item in plan]
    return redacted(plan) if isinstance(plan, str) else plan
