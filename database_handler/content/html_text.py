"""The visible words and the title of an HTML document; scripts, styles and templates are left out.

For reading, not for showing: nothing here makes HTML safe. The time taken grows with the length of the text
and no faster, whatever is in it, which the standard library's parser does not promise: every search here
goes on from where the one before ended, and one that finds nothing ends the document, as the standard says.

Source: WHATWG, "HTML Living Standard", section 13.2.5 "Tokenization", as far as words depend on it.
"""

import math
import re
import string
from collections.abc import Iterator
from time import monotonic
from typing import Literal

from database_handler.content.errors import ExtractionTimeout
from database_handler.utils.text import unescaped

__all__ = ["HtmlText", "html_text"]

_HIDDEN = frozenset({"script", "style", "template", "noscript", "svg", "math", "head", "object", "select"})
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "div", "dl", "dt"}
    | {"fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header"}
    | {"hr", "li", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot"}
    | {"thead", "tr", "ul"}
)
_RAW = frozenset({"script", "style", "xmp", "iframe", "noembed", "noframes"})  # no tags inside
_RAW_WITH_REFERENCES = frozenset({"title", "textarea"})
_LOOK = 1024  # pieces between two looks at the clock
_SPACES = re.compile(r"[ \t\r\n\f]+")
_NO_TAGS_INSIDE = _RAW | _RAW_WITH_REFERENCES
_LETTERS = frozenset(string.ascii_letters)
_MARKUP = re.compile(r"<(?=[A-Za-z!?]|/.)", re.DOTALL)
_NAME = re.compile(r"[^\t\n\f\r />]+")
_QUOTE_OR_END = re.compile(r"=[ \t\n\f\r]*(?:\"[^\"]*(\")?|'[^']*(')?)|>")
_COMMENT_END = re.compile(r"--!?>")


_Token = tuple[Literal["text", "start", "end"], str]
"""A piece of a document: words, or the name of a tag."""


def _tokens(source: str) -> Iterator[_Token]:
    """Give the words and the tags of a document in their order."""
    place = 0
    while (opening := _MARKUP.search(source, place)) is not None:
        if opening.start() > place:
            yield "text", unescaped(source[place : opening.start()])
        token, place = _markup(source, opening.start())
        if token is not None:
            yield token
            if token[1] in _NO_TAGS_INSIDE and token[0] == "start":
                words, place = _raw(source, token[1], place)
                yield words
    yield "text", unescaped(source[place:])


def _markup(source: str, place: int) -> tuple[_Token | None, int]:
    """Read a tag or a comment, and tell where it ends."""
    following = source[place + 1]
    if following == "/":
        return _tag(source, place + 2, "end") if source[place + 2] in _LETTERS else _bogus(source, place)
    if following in _LETTERS:
        return _tag(source, place + 1, "start")
    return (None, _comment(source, place)) if source.startswith("<!--", place) else _bogus(source, place)


def _bogus(source: str, place: int) -> tuple[None, int]:
    end = source.find(">", place + 2)
    return None, len(source) if end < 0 else end + 1


def _tag(source: str, place: int, kind: Literal["start", "end"]) -> tuple[_Token | None, int]:
    name = _NAME.match(source, place)
    end = name.end() if name else place
    while (found := _QUOTE_OR_END.search(source, end)) is not None:
        end = found.end()
        if found[0] == ">":
            return (kind, name[0].lower() if name else ""), end
        if not (found[1] or found[2]):
            break  # a value that nothing ends
    return None, len(source)


def _comment(source: str, place: int) -> int:
    if source.startswith((">", "->"), place + 4):
        return source.index(">", place) + 1
    end = _COMMENT_END.search(source, place + 4)
    return len(source) if end is None else end.end()


def _raw(source: str, name: str, place: int) -> tuple[_Token, int]:
    end = re.compile(rf"</{name}(?=[\t\n\f\r />])", re.IGNORECASE).search(source, place)
    stop = len(source) if end is None else end.start()
    words = source[place:stop]
    return ("text", unescaped(words) if name in _RAW_WITH_REFERENCES else words), stop


class HtmlText:
    """Collects text while it is given tags and words; `text()` and `title` hold the result."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._hidden: str | None = None
        self._depth = 0
        self._kept_as_is = 0
        self._title: list[str] | None = None
        self.title: str | None = None

    def feed(self, source: str, seconds: float = math.inf) -> None:
        """Take a whole document; `ExtractionTimeout` when that takes longer than `seconds`."""
        deadline = monotonic() + seconds
        take = {"text": self._words, "start": self._start, "end": self._end}
        for number, (kind, value) in enumerate(_tokens(source)):
            take[kind](value)
            if number % _LOOK == 0 and monotonic() > deadline:
                raise ExtractionTimeout(f"reading the document took longer than {seconds:g} s")

    def _start(self, tag: str) -> None:
        """Open an element: a block starts a line, a hidden one is skipped to its end."""
        if tag == "title" and self.title is None and self._hidden in (None, "head"):
            self._title = []
        elif self._hidden is not None:
            self._depth += tag == self._hidden
            self._leave_head(tag)
        elif tag in _HIDDEN:
            self._hidden, self._depth = tag, 1
        else:
            self._open(tag)

    def _leave_head(self, tag: str) -> None:
        # </head> may be left out: the body, or the first block, ends it.
        if self._hidden == "head" and tag in _BLOCKS:
            self._hidden = None
            self._open(tag)

    def _open(self, tag: str) -> None:
        self._kept_as_is += tag == "pre"
        if tag == "br":
            self._pieces.append("\n")
        elif tag in ("td", "th"):
            self._pieces.append("\t")
        elif tag in _BLOCKS:
            self._pieces.append("\n" if tag in {"li", "tr"} else "\n\n")

    def _end(self, tag: str) -> None:
        if tag == "title" and self._title is not None:
            self.title, self._title = " ".join("".join(self._title).split()) or None, None
        elif self._hidden is not None:
            self._depth -= tag == self._hidden
            self._hidden = self._hidden if self._depth else None
        else:
            self._kept_as_is -= tag == "pre" and self._kept_as_is > 0
            if tag in _BLOCKS:
                self._pieces.append("\n")

    def _words(self, words: str) -> None:
        """Take words: runs of white space are one space, save in `pre`."""
        if self._title is not None:
            self._title.append(words)
        elif self._hidden is None:
            self._pieces.append(words if self._kept_as_is else _SPACES.sub(" ", words))

    def text(self) -> str:
        """Return what was collected: one line a block, an empty line between paragraphs."""
        lines = (line.strip(" \t") for line in "".join(self._pieces).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def html_text(source: str, seconds: float = math.inf) -> HtmlText:
    """Return the words and the title of an HTML text, however broken it is.

    Raises
    ------
    ExtractionTimeout
        It took longer than `seconds`.
    """
    found = HtmlText()
    found.feed(source, seconds)
    return found
