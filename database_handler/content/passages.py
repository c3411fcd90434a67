"""The passage that a hit shows: the server's, or one around characters of a script without spaces."""

import re
import unicodedata
from functools import lru_cache

__all__ = ["MARK", "passage"]

MARK = "**"
BEFORE, LENGTH = 30, 120  # characters of a passage before what matches, and in all


def passage(
    of_title: str | None, of_content: str | None, title: str, content: str, marked: tuple[str, ...]
) -> str:
    """Return a passage with what matches between `MARK`.

    Parameters
    ----------
    of_title, of_content : str, optional
        The server's, where the query has words; marked where those are in it.
    marked : tuple of str
        What matches as it is written, longest first.
    """
    found = _of(of_content, content, marked) or _of(of_title, title, marked)
    return found or of_content or content[:LENGTH]


def _of(given: str | None, text: str, marked: tuple[str, ...]) -> str | None:
    """Return a passage of `text` with a mark in it, or None."""
    pattern = _pattern(marked)
    if given is not None and MARK in given:
        return given if pattern is None else pattern.sub(_mark, given)
    if pattern is None or not (match := pattern.search(plain := unicodedata.normalize("NFC", text))):
        return None
    start = max(match.start() - BEFORE, 0)
    return pattern.sub(_mark, plain[start : max(start + LENGTH, match.end())])


@lru_cache(maxsize=256)
def _pattern(marked: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile(f"(?:{'|'.join(map(re.escape, marked))})+", re.IGNORECASE) if marked else None


def _mark(match: re.Match[str]) -> str:
    return f"{MARK}{match[0]}{MARK}"
