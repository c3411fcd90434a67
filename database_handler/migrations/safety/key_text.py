"""A unique constraint taken apart: what its index is made from, and what only the constraint has."""

import re
from dataclasses import dataclass

from database_handler.core.sql_text import TokenKind, significant_tokens

__all__ = ["KeyParts", "key_parts"]


@dataclass(frozen=True, slots=True)
class KeyParts:
    """The kind of key; what follows ON table in CREATE INDEX; what follows USING INDEX name."""

    kind: str
    index: str
    timing: str


_KEY = re.compile(r"(?P<kind>PRIMARY KEY|UNIQUE)(?P<nulls> NULLS NOT DISTINCT)? (?P<rest>\(.*)", re.DOTALL)


def key_parts(definition: str) -> KeyParts | None:
    """Take a unique constraint apart into what its index is made from, and what only the constraint has."""
    matched = _KEY.fullmatch(definition)
    if matched is None or "WITHOUT OVERLAPS" in definition or "USING INDEX TABLESPACE" in definition:
        return None
    rest = matched["rest"]
    timing = _timing_at(rest)
    with_ = _top_level_at(rest[:timing], "WITH")
    keys = rest[:with_].rstrip()
    nulls = matched["nulls"] or ""
    options = f" {rest[with_:timing].rstrip()}" if with_ < timing else ""
    return KeyParts(matched["kind"], f"{keys}{nulls}{options}", f" {rest[timing:]}" if rest[timing:] else "")


def _timing_at(rest: str) -> int:
    return min(_top_level_at(rest, word) for word in ("DEFERRABLE", "NOT", "INITIALLY"))


def _top_level_at(text: str, word: str) -> int:
    """Return where a word stands outside of parentheses; the text's length where it does not."""
    depth = 0
    for token in significant_tokens(text):
        depth += (token.text == "(") - (token.text == ")")
        if not depth and token.kind is TokenKind.WORD and token.text.upper() == word:
            return token.start
    return len(text)
