"""Markdown keeps its own marks; the HTML and the addresses in it are cleaned, and images become links.

Source: CommonMark 0.31. Code (fences, and spans between backticks) is kept verbatim only where every reader
must see it as code: nothing before it can turn it into a part of a block of HTML, of a list, of a table's
cell, or pair its backticks otherwise. Everywhere else a ``<`` that could begin a tag is one of the allowed
tags, an address between ``<`` and ``>``, or written as ``&lt;``.
"""

import html
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from database_handler.utils.addresses import LINK_REL, safe_address, safe_attribute
from database_handler.utils.text import unescaped

__all__ = ["INLINE_TAGS", "markdown_items", "markdown_pass", "markdown_text"]

_INLINE: Final = """
a abbr b bdi bdo br cite code del em i ins kbd mark q rp rt ruby s samp small strong sub sup u var wbr
"""
_HIDDEN: Final = """
applet audio canvas iframe math noembed noframes noscript object script style svg template textarea title
video xmp
"""
INLINE_TAGS: Final = frozenset(_INLINE.split())
"""The tags of HTML that stay in Markdown; those of blocks go, for they would end Markdown for a while."""
HIDDEN_TAGS: Final = frozenset(_HIDDEN.split())
"""Tags whose content is no text: it goes with them."""

_PUNCTUATION: Final = r"[!-/:-@\[-`{-~]"
_TOKEN: Final = re.compile(rf"\\{_PUNCTUATION}|`+|<|!\[|\]\(|\]:")
_RUN_OR_ESCAPE: Final = re.compile(rf"\\{_PUNCTUATION}|`+")
_RUN: Final = re.compile("`+")

_FENCE: Final = re.compile(r"(`{3,})[^`|]*|(~{3,})[^|]*")  # with a border it may be a table's first row
_PREFIX: Final = r"[\s>*+\-0-9.)(:|#]*"
_HIDDEN_FENCE: Final = re.compile(rf"{_PREFIX}(?:`{{3,}}[^`]*|~{{3,}}.*)")
_BLOCK_OF_HTML: Final = re.compile(rf"^{_PREFIX}<(?:[!?]|[A-Za-z/][^<>]*>\s*$)", re.MULTILINE)

_OPENING: Final = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9-]*)")
_ATTRIBUTE: Final = re.compile(
    r"""\s+([A-Za-z_:][A-Za-z0-9_.:-]*)(?:\s*=\s*([^\s"'=<>`]+|'[^']*'|"[^"]*"))?"""
)
_ENDING: Final = re.compile(r"\s*/?>")
_AUTOLINK: Final = re.compile(r"<([A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*)>")
_EMAIL: Final = re.compile(r"<([a-zA-Z0-9.!#$%&'*+/=?^_{|}~-]+@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*)>")

_TARGET: Final = rf"<[^<>\n\\`]*>|(?:[^\s()<>\\`]|\\{_PUNCTUATION}|\([^\s()<>\\`]*\))+"
_TITLE: Final = r""""[^"\n\\`<>]*"|'[^'\n\\`<>]*'|\([^()\n\\`<>]*\)"""
_SPACE: Final = r"[ \t]*(?:\n[ \t]*)?"  # written so that there is one way alone to read it
_TAIL: Final = re.compile(rf"\]\({_SPACE}({_TARGET})((?:(?:[ \t]*\n)?[ \t]+(?:{_TITLE}))?){_SPACE}\)")
_DEFINITION: Final = re.compile(rf"\]:{_SPACE}(<[^<>\n\\`]*>|[^\s<>`]{{1,2000}}+(?![^\s<>`]))")
# A word and another after it are no address and its title: a footnote, or a sentence.
_WORDS_FOLLOW: Final = re.compile(r"""\]:[ \t]+[^\s<>:/\\`&"'()\[\]]+[ \t]+[^\s"'(<`\\]""")
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]*);")

Replaced = tuple[str, int]  # what to write, and where to go on


def markdown_pass(text: str) -> str:
    """Clean once. Cleaning what was cleaned may change it once more: repeat until it does not."""
    return "\n".join(block if is_code else _clean_chunk(block) for is_code, block in _blocks(text))


# --------------------------------------------------------------------------------------------------- blocks


def _blocks(text: str) -> Iterator[tuple[bool, str]]:
    """Give the text in turn as fenced code (True) and as the runs of lines between blank lines and fences."""
    lines, chunk, place, sure = text.split("\n"), list[str](), 0, True
    while place < len(lines):
        line = lines[place]
        end = _fence_end(lines, place, chunk) if sure else None
        if end is not None or not line.strip(" \t"):
            if chunk:
                yield False, "\n".join(chunk)
                chunk = []
            last = place if end is None else end
            yield True, "\n".join(lines[place : last + 1])
            place = last + 1
            continue
        sure = sure and not _HIDDEN_FENCE.fullmatch(line)
        chunk.append(line)
        place += 1
    if chunk:
        yield False, "\n".join(chunk)


def _fence_end(lines: list[str], place: int, before: list[str]) -> int | None:
    """Return the last line of the fenced code that begins here for every reader, if it does."""
    opened = _FENCE.fullmatch(lines[place])
    if opened is None or _BLOCK_OF_HTML.search("\n".join(before)):
        return None
    mark = opened[1] or opened[2]
    closing = re.compile(rf" {{0,3}}{mark[0]}{{{len(mark)},}}[ \t]*")
    found = (at for at in range(place + 1, len(lines)) if closing.fullmatch(lines[at]))
    return next(found, None)


# --------------------------------------------------------------------------------------------------- inline


def _clean_chunk(chunk: str) -> str:
    code_is_sure = _code_is_sure(chunk)
    written: list[str] = []
    place = 0
    while found := _TOKEN.search(chunk, place):
        written.append(chunk[place : found.start()])
        if found[0][0] == "`":
            piece, place = _code(chunk, found, code_is_sure)
        else:
            piece, place = _RULES[found[0][:2]](chunk, found.start())
        written.append(piece)
    return "".join((*written, chunk[place:]))


def _code_is_sure(chunk: str) -> bool:
    """Tell whether every reader pairs the backticks alike: within each line, no cell's border between."""
    if "`" not in chunk:
        return True
    return _BLOCK_OF_HTML.search(chunk) is None and all(map(_pairs, chunk.split("\n")))


def _pairs(line: str) -> bool:
    place = 0
    while found := _RUN_OR_ESCAPE.search(line, place):
        place = found.end()
        if found[0][0] == "`":
            end = _span_end(line, found)
            if end is None or "|" in line[place:end]:
                return False
            place = end
    return True


def _span_end(text: str, opening: re.Match[str]) -> int | None:
    """Return where the code span ends that a run of backticks begins; it ends by an equal run."""
    runs = _RUN.finditer(text, opening.end())
    return next((run.end() for run in runs if len(run[0]) == len(opening[0])), None)


def _code(chunk: str, found: re.Match[str], sure: bool) -> Replaced:
    end = _span_end(chunk, found) if sure else None
    return (found[0], found.end()) if end is None else (chunk[found.start() : end], end)


def _escape(chunk: str, place: int) -> Replaced:
    # Within a block of HTML a backslash escapes nothing.
    return "&lt;" if chunk[place + 1] == "<" else chunk[place : place + 2], place + 2


def _angle(chunk: str, place: int) -> Replaced:
    if not re.match(r"<[A-Za-z/!?]", chunk[place : place + 2]):
        return "<", place + 1  # before anything else it is a sign, for every reader of HTML
    if chunk.startswith("<!--", place):
        end = _next_end(chunk, "-->", place)
        return ("&lt;", place + 1) if end is None else ("", end)
    if link := _AUTOLINK.match(chunk, place):
        address = safe_address(link[1])
        return (f"<{address}>", link.end()) if address else ("&lt;", place + 1)
    if email := _EMAIL.match(chunk, place):
        return email[0], email.end()
    return _tag(chunk, place)


def _tag(chunk: str, place: int) -> Replaced:
    opened = _OPENING.match(chunk, place)
    if opened is None:
        return "&lt;", place + 1
    at, attributes = opened.end(), dict[str, str]()
    while attribute := _ATTRIBUTE.match(chunk, at):
        attributes.setdefault(attribute[1].lower(), (attribute[2] or "").strip("'\""))
        at = attribute.end()
    ended = _ENDING.match(chunk, at)
    if ended is None:
        return "&lt;", place + 1
    name = opened[2].lower()
    if name in HIDDEN_TAGS and not opened[1]:
        return "", _after_hidden(chunk, name, ended.end())
    written = "" if _alone(chunk, place, ended.end()) else _written_tag(name, bool(opened[1]), attributes)
    return written, ended.end()


def _alone(chunk: str, start: int, end: int) -> bool:
    """Tell whether a tag is all of its line: then it begins a block of HTML, in which no mark is read."""
    before, after = chunk[:start].rpartition("\n")[2], chunk[end:].partition("\n")[0]
    return not after.strip() and re.fullmatch(_PREFIX, before) is not None


def _after_hidden(chunk: str, name: str, place: int) -> int:
    end = _next_end(chunk, rf"</{name}\s*>", place)
    return place if end is None else end


def _next_end(chunk: str, pattern: str, place: int) -> int | None:
    """Return where the next match that begins at a place or later ends."""
    starts, ends = _matches(chunk, pattern)
    index = bisect_left(starts, place)
    return ends[index] if index < len(ends) else None


@lru_cache(maxsize=8)  # many beginnings may ask for one end, and the text is read once
def _matches(chunk: str, pattern: str) -> tuple[list[int], list[int]]:
    found = list(re.finditer(pattern, chunk, re.IGNORECASE | re.ASCII))
    return [each.start() for each in found], [each.end() for each in found]


def _written_tag(name: str, closing: bool, attributes: dict[str, str]) -> str:
    if name not in INLINE_TAGS:
        return ""
    if closing:
        return "" if name in {"br", "wbr"} else f"</{name}>"
    given = {each: attributes[each] for each in ("href", "lang", "dir") if each in attributes}
    kept = {each: safe_attribute(name, each, unescaped(value)) for each, value in given.items()}
    told = "".join(f' {each}="{_quoted(value)}"' for each, value in kept.items() if value is not None)
    return f"<{name}{told}{_REL if name == 'a' else ''}>"


_REL: Final = f' rel="{LINK_REL}"'


def _quoted(value: str) -> str:
    return html.escape(value).replace("`", "&#96;")


def _image(chunk: str, place: int) -> Replaced:
    # A picture would be fetched from elsewhere: what is left is a link to it.
    before = chunk[place - 1 : place]
    return ("\\![" if before.isalnum() or before == "!" else "["), place + 2


def _target(chunk: str, place: int) -> Replaced:
    tail = _TAIL.match(chunk, place)
    if tail is None:
        return "]\\(", place + 2
    given = _read(tail[1])
    address = safe_address(given)
    if address:
        return f"]({_written(address)}{tail[2]})", tail.end()
    return ("]", tail.end()) if ":" in given else ("]\\(", place + 2)


def _definition(chunk: str, place: int) -> Replaced:
    if _WORDS_FOLLOW.match(chunk, place):
        return "]:", place + 2
    found = _DEFINITION.match(chunk, place)
    address = safe_address(_read(found[1])) if found else None
    return (f"]: {_written(address)}", found.end()) if found and address else ("]\\:", place + 2)


def _read(target: str) -> str:
    """Return the address that a target stands for: entities and escapes taken back."""
    bare = target[1:-1] if target.startswith("<") else target
    plain = re.sub(rf"\\({_PUNCTUATION})", r"\1", bare)
    return _ENTITY.sub(lambda entity: unescaped(entity[0]), plain)


def _written(address: str) -> str:
    """Write an address as a target: nothing in it can be read as a mark or an entity."""
    marked = {"(": "%28", ")": "%29"}
    plain = "".join(marked.get(character, character) for character in address)
    return re.sub(r"&(?=#?[A-Za-z0-9]+;)", "&amp;", plain)


_RULES: Final[dict[str, Callable[[str, int], Replaced]]] = {
    **{"\\" + chr(code): _escape for code in range(0x21, 0x7F)},
    "<": _angle,
    "![": _image,
    "](": _target,
    "]:": _definition,
}

# ------------------------------------------------------------------------------------------------- measuring

_ITEM: Final = re.compile(r"[ \t>]*(?:[-*+]|[0-9]{1,9}[.)])[ \t]+\S")
_MARKER: Final = re.compile(r"^[ \t>]*(?:[-*+]|[0-9]{1,9}[.)])[ \t]+", re.MULTILINE)
_DEFINED: Final = re.compile(rf"^[ \t>]*\[[^\]\n]+\]: \S+(?:[ \t]+(?:{_TITLE}))?[ \t]*$", re.MULTILINE)
_TAIL_OR_TAG: Final = re.compile(rf"{_TAIL.pattern}|</?(?:{'|'.join(sorted(INLINE_TAGS))})(?:\s[^<>]*)?>")


def markdown_text(text: str) -> str:
    """Return the words that a reader of cleaned Markdown sees; marks of punctuation may be left in it."""
    return "\n".join(_fenced_text(b) if is_code else _chunk_text(b) for is_code, b in _blocks(text))


def _fenced_text(block: str) -> str:
    return "\n".join(block.split("\n")[1:-1])


def _chunk_text(chunk: str) -> str:
    bare = _MARKER.sub("", _DEFINED.sub("", chunk))
    return unescaped(_TAIL_OR_TAG.sub(lambda found: "\n" if found[0].startswith("<br") else "", bare))


def markdown_items(text: str) -> int:
    """Return how many items its lists have; a text without a list has one a line."""
    lines = [line for is_code, block in _blocks(text) if not is_code for line in block.split("\n")]
    return sum(1 for line in lines if _ITEM.match(line)) or len(lines)
