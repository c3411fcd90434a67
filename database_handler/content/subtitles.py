"""Subtitles as SRT and WebVTT: cues are written, read back equal, and spread over a span of time.

What each format can carry is in `to_srt` and `to_vtt`; what it cannot is refused with the cue's number, never
altered. Times are whole milliseconds in both: others are rounded when written.

Sources: W3C, "WebVTT: The Web Video Text Tracks Format", 2019, section 4; SubRip has no standard, so its cues
are read the same way, with a comma before the milliseconds.
"""

import html
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from database_handler.content.errors import DamagedFile
from database_handler.content.subtitle_lines import line_rule, subtitle_lines
from database_handler.core.exceptions import InvalidValue
from database_handler.utils.text import unescaped
from database_handler.utils.validators import verbatim

__all__ = ["Cue", "cues", "parse_srt", "parse_vtt", "reading_speed", "timed", "to_srt", "to_vtt"]

_TIME = r"(?:(\d{1,3}):)?(\d{2}):(\d{2})[.,](\d{3})"
_TIMING = re.compile(rf"\s*{_TIME}[ \t]*-->[ \t]*{_TIME}")
_TAG = re.compile(r"</?(?:[a-z][^<>]*|\d[\d:.]*)>", re.IGNORECASE)
_OVERRIDE = re.compile(r"\{\\[^{}]*\}")  # of SSA, met in SRT files
_BLANK = re.compile(r"\n[ \t]*\n")
_BLANK_LINE = re.compile(r"^[ \t]*$", re.MULTILINE)
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_LONGEST = 1000 * 3600  # seconds: the hours have three digits


@dataclass(frozen=True, slots=True)
class Cue:
    """One piece of subtitle: its times in seconds and its lines as shown."""

    start: float
    end: float
    text: str

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the text; none where it is empty."""
        return tuple(self.text.split("\n")) if self.text else ()


def cues(text: str) -> Iterator[Cue]:
    """Give the cues of an SRT or WebVTT text in their order, as words: without styling, and forgiving.

    What is no cue (notes, styles, damage) is left out; `parse_srt` and `parse_vtt` are exact.
    """
    for block in _BLANK.split(_with_newlines(text)):
        lines = block.strip("\n").split("\n")
        for number, line in enumerate(lines[:2]):
            if times := _times(line):
                yield Cue(*times, _words(_OVERRIDE.sub("", "\n".join(lines[number + 1 :]))).strip())
                break


def _words(text: str) -> str:
    return unescaped(_TAG.sub("", text))


def _with_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _times(line: str) -> tuple[float, float] | None:
    found = _TIMING.match(line)
    return (_seconds(*found.groups()[:4]), _seconds(*found.groups()[4:])) if found else None


def _seconds(hours: str | None, minutes: str, seconds: str, thousandths: str) -> float:
    # Divided once, so that it is the float nearest to the decimal.
    return ((int(hours or 0) * 60 + int(minutes)) * 60_000 + int(seconds) * 1000 + int(thousandths)) / 1000


# ----------------------------------------------------------------------------------------------------- write


def to_srt(cues: Iterable[Cue]) -> str:
    r"""Write cues as SRT; `parse_srt` gives them back.

    SRT has no escapes, so the text stands as it is: what looks like a tag (``<i>``, ``{\an8}``) is one to a
    player, as in any SRT file.

    Raises
    ------
    InvalidValue
        Names the cue: its times are negative, out of order, overlapping or empty, or its text holds a blank
        line (which ends a cue), a carriage return, NUL, or a line that would be read as times.
    """
    blocks = (
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{_srt_text(number, cue.text)}"
        for number, start, end, cue in _checked(cues)
    )
    return "\n\n".join(blocks) + "\n"


def to_vtt(cues: Iterable[Cue]) -> str:
    """Write cues as WebVTT, ``&``, ``<`` and ``>`` escaped; `parse_vtt` gives them back.

    Raises
    ------
    InvalidValue
        Names the cue: its times are negative, out of order, overlapping or empty, or its text holds a blank
        line (which ends a cue), a carriage return, or NUL.
    """
    blocks = (
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{html.escape(cue.text, quote=False)}"
        for _, start, end, cue in _checked(cues)
    )
    return "\n\n".join(("WEBVTT", *blocks)) + "\n"


def _checked(cues: Iterable[Cue]) -> Iterator[tuple[int, int, int, Cue]]:
    """Give each cue with its number and its times in milliseconds, or refuse it."""
    if not isinstance(cues, Iterable):
        raise InvalidValue(f"a list of cues is wanted, not a {type(cues).__name__}")
    before = 0
    for number, cue in enumerate(cues, 1):
        _refuse_other(f"cue {number}", cue)
        start, end = _milliseconds(f"cue {number}", cue.start), _milliseconds(f"cue {number}", cue.end)
        if end <= start:
            raise InvalidValue(f"cue {number}: it ends before it starts, or as it does; an end comes later")
        if start < before:
            raise InvalidValue(f"cue {number}: it starts before cue {number - 1} ends; cues come one by one")
        _refuse_text(number, cue.text)
        before = end
        yield number, start, end, cue


def _refuse_other(what: str, cue: object) -> None:
    if not isinstance(cue, Cue):
        raise InvalidValue(f"{what}: a Cue is wanted, not a {type(cue).__name__}")
    if not isinstance(cue.text, str):
        raise InvalidValue(f"{what}: its text is a {type(cue.text).__name__}; text is wanted")


def _milliseconds(what: str, seconds: float) -> int:
    if type(seconds) in {int, float} and -0.0005 < seconds < _LONGEST - 0.0005:  # nan is not
        return round(seconds * 1000)
    raise InvalidValue(f"{what}: times are seconds from 0 to less than 1,000 hours")


def _refuse_text(number: int, text: str) -> None:
    if "\0" in text or _HALF_PAIR.search(text):
        raise InvalidValue(f"cue {number}: the text holds NUL or half of a surrogate pair; no file can")
    if "\r" in text:
        raise InvalidValue(f"cue {number}: the text holds a carriage return; lines end with \\n")
    if text and _BLANK_LINE.search(text):
        raise InvalidValue(f"cue {number}: the text holds a blank line, which would end the cue")


def _srt_text(number: int, text: str) -> str:
    if any(_TIMING.match(line) for line in text.split("\n")):
        raise InvalidValue(f"cue {number}: a line of the text would be read as times; SRT cannot carry it")
    return text


def _clock(milliseconds: int, point: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{point}{thousandths:03}"


# ------------------------------------------------------------------------------------------------------ read


def parse_srt(text: str) -> tuple[Cue, ...]:
    """Read an SRT text exactly: the lines of each cue as they stand, tags included.

    Raises
    ------
    DamagedFile
        Something is no cue; names the line.
    """
    return tuple(_parsed(_blocks(text), str))


def parse_vtt(text: str) -> tuple[Cue, ...]:
    """Read a WebVTT text exactly: each cue as plain text, its escapes resolved and its tags taken out.

    Notes, styles, regions, identifiers and settings are left out.

    Raises
    ------
    DamagedFile
        It does not begin with WEBVTT, or something is no cue; names the line.
    """
    header, *blocks = [*_blocks(text)] or [(1, [""])]
    if not re.fullmatch(r"WEBVTT(?:[ \t].*)?", header[1][0]):
        raise DamagedFile("line 1: a WebVTT text begins with WEBVTT")
    below = [place for place, line in enumerate(header[1]) if "-->" in line][:1]  # a cue, in every player
    first = [(header[0] + place, header[1][place:]) for place in below]
    own = (block for block in blocks if not _ASIDE.match(block[1][0]))
    return tuple(_parsed((*first, *own), _words))


_ASIDE = re.compile(r"(?:NOTE|STYLE|REGION)(?:[ \t]|$)")


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Give what stands between blank lines, and the number of its first line."""
    held: list[str] = []
    lines = [*_with_newlines(verbatim(text).removeprefix("\ufeff")).split("\n"), ""]
    for number, line in enumerate(lines, 1):
        if line.strip(" \t"):
            held.append(line)
        elif held:
            yield number - len(held), held
            held = []


def _parsed(blocks: Iterable[tuple[int, list[str]]], read: Callable[[str], str]) -> Iterator[Cue]:
    for number, lines in blocks:
        place = 0 if "-->" in lines[0] else 1
        times = _times(lines[place]) if place < len(lines) else None
        if times is None:
            raise DamagedFile(f"line {number}: a cue's times are wanted, as 00:00:01.000 --> 00:00:02.500")
        _refuse_times_in(lines[place + 1 :], number + place + 1)
        yield Cue(*times, read("\n".join(lines[place + 1 :])))


def _refuse_times_in(lines: list[str], first: int) -> None:
    """Refuse a cue that holds the times of another, which would be lost as its text."""
    for number, line in enumerate(lines, first):
        if _TIMING.match(line):
            raise DamagedFile(f"line {number}: times within a cue; a blank line is wanted before each cue")


# ------------------------------------------------------------------------------------------------------ time


def timed(
    text: str,
    start: float,
    end: float,
    language: str = "und",
    *,
    chars: int | None = None,
    lines: int | None = None,
) -> tuple[Cue, ...]:
    """Break a text into cues and spread them over a span of time, each as long as its share of characters.

    Raises
    ------
    InvalidValue
        The span has not one millisecond a cue, or as for `subtitle_lines`.
    """
    shown = subtitle_lines(text, language, chars, lines)
    first, last = _milliseconds("start", start), _milliseconds("end", end)
    if last <= first:
        raise InvalidValue("end: it comes after the start")
    if last - first < max(len(shown), 1):
        raise InvalidValue(f"from start to end there must be a millisecond for each of {len(shown)} cues")
    rule = line_rule(language)
    weights = [max(sum(rule.cells(line) for line in cue), 1) for cue in shown]
    ends = _shares(weights, last - first)
    starts = [0, *ends]
    return tuple(
        Cue((first + begin) / 1000, (first + stop) / 1000, "\n".join(cue))
        for begin, stop, cue in zip(starts, ends, shown, strict=False)
    )


def _shares(weights: list[int], span: int) -> list[int]:
    """Return where each share of the span ends, in whole milliseconds, at least one each."""
    total, spare, passed = sum(weights), span - len(weights), 0
    found: list[int] = []
    for number, weight in enumerate(weights, 1):
        passed += weight
        found.append(number + spare * passed // total)
    return found


def reading_speed(cue: Cue, language: str = "und") -> float:
    """Return the characters a second of a cue, counted by its language's rule (`LineRule.speed` is most)."""
    _refuse_other("reading_speed", cue)
    duration = _milliseconds("end", cue.end) - _milliseconds("start", cue.start)
    if duration <= 0:
        raise InvalidValue("a cue that is read takes time: its end comes after its start")
    return 1000 * sum(line_rule(language).width(line) for line in cue.lines) / duration
