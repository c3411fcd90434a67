"""A text is cleaned by its format, and its visible words are counted: plain text, Markdown, HTML.

``clean(clean(x)) == clean(x)`` by construction: a format's rule is applied until it changes nothing more.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final

from database_handler.utils.addresses import LINK_REL, SCHEMES, safe_attribute
from database_handler.utils.arguments import checked
from database_handler.utils.errors import InvalidValue
from database_handler.utils.markdown import (
    HIDDEN_TAGS,
    INLINE_TAGS,
    markdown_items,
    markdown_pass,
    markdown_text,
)
from database_handler.utils.text import count_words, plain_text, unescaped, verbatim

if TYPE_CHECKING:
    import nh3

__all__ = [
    "HTML_TAGS",
    "MARKUP_CHARS",
    "clean_markup",
    "count_items",
    "count_visible_words",
    "visible_text",
]

MARKUP_CHARS: Final = 100_000
"""The most characters that a text to be cleaned may have, marks included, before and after."""
_BLOCKS: Final = """
blockquote caption col colgroup dd div dl dt figcaption figure h1 h2 h3 h4 h5 h6 hr li ol p pre span table
tbody td tfoot th thead tr ul
"""
HTML_TAGS: Final = INLINE_TAGS | frozenset(_BLOCKS.split())
"""The tags that stay in HTML."""

_ATTRIBUTES: Final = {
    "*": {"lang", "dir"},
    "a": {"href"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}
_PASSES: Final = 12
_BREAKS: Final = str.maketrans("\x0b\x0c\x85", "\n\n\n")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")


@checked
def clean_markup(text: object, content_format: str) -> str:
    """Give a text without what its format must not carry.

    Control characters other than tabs and line breaks go from every format. Of HTML an allow-list of tags
    stays, with addresses of http, https and mailto alone; of Markdown all, its raw HTML and its addresses
    cleaned likewise, its pictures made links, its code kept verbatim.

    Raises
    ------
    InvalidValue
        It is no text, holds half a surrogate pair, is longer than `MARKUP_CHARS`, or does not settle.
    """
    bare = _without_controls(text)
    if content_format not in _RULES:
        raise InvalidValue(f"content_format: one of {', '.join(_RULES)} is wanted")
    return _settled(bare, _RULES[content_format])


def _without_controls(text: object) -> str:
    if isinstance(text, str):
        _within(text)
        text = _CONTROL.sub("", text.translate(_BREAKS))
    return verbatim(text)


def _within(text: str) -> str:
    if len(text) > MARKUP_CHARS:
        raise InvalidValue(f"a text with marks of at most {MARKUP_CHARS:,} characters is allowed")
    return text


def _settled(text: str, rule: Callable[[str], str]) -> str:
    for _ in range(_PASSES):
        cleaned = _within(rule(text))
        if cleaned == text:
            return cleaned
        text = cleaned
    raise InvalidValue("the text's marks are nested so that each cleaning changes them again; simplify them")


# ------------------------------------------------------------------------------------------------------ HTML

_FORMATTING: Final = re.compile(
    r"<(b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/])[^<>]*>", re.IGNORECASE
)
_MOST_COPIES: Final = 1_000_000
_PRE: Final = re.compile(r"(<pre[^<>]*>)\n+")


def _html_pass(text: str) -> str:
    return _PRE.sub(r"\1", _cleaner().clean(_tamed(text)))


def _tamed(text: str) -> str:
    """Take attributes from formatting tags where they are so many that reading them could exhaust memory.

    The standard says that what is not closed is opened again in each block. Of like ones it keeps three; by
    their attributes all can differ.
    """
    count = len(_FORMATTING.findall(text))
    return _FORMATTING.sub(r"<\1>", text) if count * text.count("<") > _MOST_COPIES else text


@cache
def _cleaner() -> "nh3.Cleaner":
    import nh3  # here, for most programs import this module long before they clean a text

    return nh3.Cleaner(
        tags=set(HTML_TAGS),
        clean_content_tags=set(HIDDEN_TAGS),
        attributes=_ATTRIBUTES,
        attribute_filter=safe_attribute,
        url_schemes=set(SCHEMES),
        url_relative="deny",
        link_rel=LINK_REL,
    )


def _markdown_pass(text: str) -> str:
    return markdown_pass(text.replace("\r\n", "\n").replace("\r", "\n"))


def _plain_pass(text: str) -> str:
    return text


_RULES: Final[dict[str, Callable[[str], str]]] = {
    "plain": _plain_pass,
    "markdown": _markdown_pass,
    "html": _html_pass,
}


# ------------------------------------------------------------------------------------------------- measuring

_WITHIN_WORDS: Final = INLINE_TAGS - {"br"} | {"span"}
_TAG: Final = re.compile(r"</?([a-z][a-z0-9]*)(?:[^<>\"]|\"[^\"]*\")*>")


def visible_text(content: str, content_format: str) -> str:
    """Return the words of a cleaned text that a reader sees, without its marks."""
    content = plain_text(content)
    if content_format == "html":
        return unescaped(_TAG.sub(lambda tag: "" if tag[1] in _WITHIN_WORDS else "\n", content))
    return markdown_text(content) if content_format == "markdown" else content


def count_visible_words(content: str, content_format: str) -> int:
    """Count the words of a cleaned text that a reader sees, as `count_words` does."""
    return count_words(visible_text(content, content_format))


def count_items(content: str, content_format: str) -> int:
    """Count the items of a cleaned text's lists; a text without a list has one a line."""
    content = plain_text(content)
    if content_format == "markdown":
        return markdown_items(content)
    lines = sum(1 for line in visible_text(content, content_format).split("\n") if line.strip())
    return (content.count("<li") if content_format == "html" else 0) or lines
