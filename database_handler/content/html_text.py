"""The visible words and the title of an HTML document; scripts, styles and templates are left out.

For reading, not for showing: nothing here makes HTML safe.
"""

import re
from html.parser import HTMLParser

__all__ = ["HtmlText", "html_text"]

_HIDDEN = frozenset({"script", "style", "template", "noscript", "svg", "math", "head", "object", "select"})
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "div", "dl", "dt"}
    | {"fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header"}
    | {"hr", "li", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot"}
    | {"thead", "tr", "ul"}
)
_SPACES = re.compile(r"[ \t\r\n\f]+")


class HtmlText(HTMLParser):
    """Collects text while it is fed; `text()` and `title` hold the result."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []
        self._hidden: str | None = None
        self._depth = 0
        self._kept_as_is = 0
        self._title: list[str] | None = None
        self.title: str | None = None
        self.language: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element: a block starts a line, a hidden one is skipped to its end."""
        if tag == "html":
            self.language = dict(attrs).get("lang")
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

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Treat `<br/>` as `<br>`; a self-closed hidden element hides nothing after it."""
        if tag not in _HIDDEN:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        """Close an element."""
        if tag == "title" and self._title is not None:
            self.title, self._title = " ".join("".join(self._title).split()) or None, None
        elif self._hidden is not None:
            self._depth -= tag == self._hidden
            self._hidden = self._hidden if self._depth else None
        else:
            self._kept_as_is -= tag == "pre" and self._kept_as_is > 0
            if tag in _BLOCKS:
                self._pieces.append("\n")

    def handle_data(self, data: str) -> None:
        """Take words: runs of white space are one space, save in `pre`."""
        if self._title is not None:
            self._title.append(data)
        elif self._hidden is None:
            self._pieces.append(data if self._kept_as_is else _SPACES.sub(" ", data))

    def text(self) -> str:
        """Return what was collected: one line a block, an empty line between paragraphs."""
        lines = (line.strip(" \t") for line in "".join(self._pieces).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def html_text(source: str) -> HtmlText:
    """Return the words and the title of an HTML text, however broken it is."""
    parser = HtmlText()
    parser.feed(source)
    parser.close()
    return parser
