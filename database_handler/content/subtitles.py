"""The words of subtitles (SRT, WebVTT): what is spoken, without numbers, times and styling.

Sources: W3C, "WebVTT: The Web Video Text Tracks Format", section 4; SubRip has no standard, so its cues
are read the same way, with a comma before the milliseconds.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Cue", "cues"]

_TIME = r"(?:(\d{1,3}):)?(\d{2}):(\d{2})[.,](\d{3})"
_TIMING = re.compile(rf"\s*{_TIME}[ \t]*-->[ \t]*{_TIME}")
_TAG = re.compile(r"</?(?:[a-z][^<>]*|\d[\d:.]*)>|\{\\[^{}]*\}", re.IGNORECASE)
_BLANK = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True, slots=True)
class Cue:
    """One piece of subtitle: its times in seconds and its lines as shown."""

    start: float
    end: float
    text: str


def cues(text: str) -> Iterator[Cue]:
    """Give the cues of an SRT or WebVTT text in their order; what is no cue (notes, styles) is left out."""
    for block in _BLANK.split(text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip("\n").split("\n")
        for number, line in enumerate(lines[:2]):
            if times := _TIMING.match(line):
                words = html.unescape(_TAG.sub("", "\n".join(lines[number + 1 :]))).strip()
                yield Cue(_seconds(*times.groups()[:4]), _seconds(*times.groups()[4:]), words)
                break


def _seconds(hours: str | None, minutes: str, seconds: str, thousandths: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(thousandths) / 1000
