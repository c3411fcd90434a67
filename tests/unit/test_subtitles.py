"""Subtitles go out as SRT and WebVTT and come back equal, or are refused with the cue's number."""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from database_handler.content.errors import DamagedFile
from database_handler.content.subtitles import (
    Cue,
    parse_srt,
    parse_vtt,
    reading_speed,
    timed,
    to_srt,
    to_vtt,
)
from database_handler.core.exceptions import InvalidValue

WRITERS = {"srt": (to_srt, parse_srt), "vtt": (to_vtt, parse_vtt)}
TWO = (Cue(1.0, 2.5, "One & <two>\n- three"), Cue(2.5, 3661.007, "Четыре"))

SEEN_AS_TIMES = "00:00:01,000 --> 00:00:02,000"
BEGINS_WITH_TIMES = re.compile(rf"\s*\d?{SEEN_AS_TIMES}")  # hours may have three digits
MARKS = "--> & &amp; &lt < </c> <i> {\\an8} WEBVTT STYLE 1 שלום é 👩‍👩‍👧 &#0; &nbsp"
SPACES = ("\ufeff", "\n", "\r", "\0", "\u2028", "\x85", "\x0b", "\u3000", " ", "\t")
HOSTILE = st.sampled_from([*MARKS.split(), "NOTE x", SEEN_AS_TIMES, *SPACES])
TEXTS = st.lists(HOSTILE | st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=6).map(
    "".join
)


@st.composite
def cue_lists(draw: st.DrawFn) -> list[Cue]:
    """Cues in order, on whole milliseconds."""
    times = sorted(draw(st.sets(st.integers(0, 3_599_999_999), max_size=8)))
    pairs = zip(times[::2], times[1::2], strict=False)
    return [Cue(start / 1000, end / 1000, draw(TEXTS)) for start, end in pairs]


@pytest.mark.parametrize("form", WRITERS)
@given(cue_lists())
@example([Cue(0.0, 1.0, "a --> b"), Cue(1.0, 2.0, "")])
@example([Cue(0.0, 1.0, "&amp;lt; {\\b1} <00:00:01.000>")])
@settings(deadline=None, max_examples=80)
def test_what_is_written_is_read_back_equal_or_was_refused(form: str, cues: list[Cue]) -> None:
    write, read = WRITERS[form]
    bad = [number for number, cue in enumerate(cues, 1) if not can_carry(form, cue.text)]
    if bad:
        with pytest.raises(InvalidValue, match=f"^cue {bad[0]}: "):
            write(cues)
        return
    written = write(cues)
    assert read(written) == tuple(cues)
    assert read("\ufeff" + written.replace("\n", "\r\n")) == tuple(cues)


def can_carry(form: str, text: str) -> bool:
    """What the documentation says that a format cannot."""
    blank = text != "" and any(not line.strip(" \t") for line in text.split("\n"))
    times = form == "srt" and any(BEGINS_WITH_TIMES.match(line) for line in text.split("\n"))
    return not (blank or times or "\r" in text or "\0" in text)


def test_srt_is_as_players_expect_it() -> None:
    assert to_srt(TWO) == (
        "1\n00:00:01,000 --> 00:00:02,500\nOne & <two>\n- three\n\n2\n00:00:02,500 --> 01:01:01,007\nЧетыре\n"
    )


def test_vtt_is_as_browsers_expect_it() -> None:
    assert to_vtt(TWO) == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.500\nOne &amp; &lt;two&gt;\n- three\n\n"
        "00:00:02.500 --> 01:01:01.007\nЧетыре\n"
    )
    assert to_vtt([]) == "WEBVTT\n"


@pytest.mark.parametrize(
    ("cues", "told"),
    [
        ([Cue(0, 1, "a"), Cue(0.5, 2, "b")], "cue 2: it starts before cue 1 ends"),
        ([Cue(5, 6, "a"), Cue(1, 2, "b")], "cue 2: it starts before cue 1 ends"),
        ([Cue(-1, 1, "a")], "cue 1: times are seconds from 0"),
        ([Cue(0, 1, "a"), Cue(2, 2, "b")], "cue 2: it ends before it starts"),
        ([Cue(0, 1, "a"), Cue(3, 2, "b")], "cue 2: it ends before it starts"),
        ([Cue(0, float("nan"), "a")], "cue 1: times are seconds"),
        ([Cue(0, float("inf"), "a")], "cue 1: times are seconds"),
        ([Cue(0, 3_600_000.0, "a")], "cue 1: times are seconds"),
        ([Cue(0, 0.0004, "a")], "cue 1: it ends before it starts"),
        ([Cue(0, 1, "a\n\nb")], "cue 1: the text holds a blank line"),
        ([Cue(0, 1, "a\n \t\nb")], "cue 1: the text holds a blank line"),
        ([Cue(0, 1, "a\n")], "cue 1: the text holds a blank line"),
        ([Cue(0, 1, "a\r\nb")], "cue 1: the text holds a carriage return"),
        ([Cue(0, 1, "a\0")], "cue 1: the text holds NUL"),
        ([Cue(0, 1, "a\ud83d")], "cue 1: the text holds NUL or half"),
        (["text"], "cue 1: a Cue is wanted"),
    ],
)
@pytest.mark.parametrize("form", WRITERS)
def test_wrong_cues_are_refused_by_their_number(form: str, cues: list[Any], told: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        WRITERS[form][0](cues)
    assert told in str(raised.value)


def test_a_line_of_times_is_refused_in_srt_and_carried_in_vtt() -> None:
    hostile = [Cue(0, 1, "so:\n00:00:01,000 --> 00:00:02,000")]
    with pytest.raises(InvalidValue, match="cue 1: a line of the text would be read as times"):
        to_srt(hostile)
    assert parse_vtt(to_vtt(hostile)) == tuple(hostile)


def test_vtt_of_others_is_read_as_plain_text() -> None:
    text = (
        "\ufeffWEBVTT - film\r\n\r\nNOTE not\r\nspoken\r\n\r\nSTYLE\r\n::cue {color:red}\r\n\r\n"
        "intro\r\n00:01.000 --> 00:02.500 align:left\r\n<v Ann>Fish &amp; <i>chips</i>&nbsp;!\r\n"
    )
    assert parse_vtt(text) == (Cue(1.0, 2.5, "Fish & chips\xa0!"),)


def test_srt_of_others_is_read_as_it_stands() -> None:
    first = "\n7\n0:00:01.000 --> 00:00:02,500 X1:0\n<i>{\\an8}Hm.</i>\n  two\n\n\n"
    text = first + "00:00:03,000 --> 00:00:04,000\nno number\n"
    assert parse_srt(text) == (Cue(1.0, 2.5, "<i>{\\an8}Hm.</i>\n  two"), Cue(3.0, 4.0, "no number"))


@pytest.mark.parametrize("text", ["", "1\n00:00:01,000 --> 00:00:02,000\na", "WEBVTTX\n\n", "\nWEBVTX"])
def test_a_vtt_without_its_header_is_refused(text: str) -> None:
    with pytest.raises(DamagedFile, match="WEBVTT"):
        parse_vtt(text)


@pytest.mark.parametrize("text", ["1", "1\nhello\n00:00:01,000 --> 00:00:02,000", "1\n00:00:1,000 --> 2\nx"])
def test_damage_is_named_by_its_line(text: str) -> None:
    with pytest.raises(DamagedFile, match="line 3: a cue's times are wanted"):
        parse_srt("\n\n" + text)


@pytest.mark.parametrize("read", [parse_srt, parse_vtt])
def test_times_within_a_cue_are_damage_and_no_text_of_it(read: Callable[[str], tuple[Cue, ...]]) -> None:
    text = "WEBVTT\n\n1\n00:00:01,000 --> 00:00:02,000\none\n2\n00:00:03,000 --> 00:00:04,000\ntwo"
    with pytest.raises(DamagedFile, match="line 7: times within a cue"):
        read(text if read is parse_vtt else text.replace("WEBVTT", ""))


def test_a_cue_right_below_the_header_is_one() -> None:
    text = "WEBVTT\nKind: captions\n00:01.000 --> 00:02.000\none\n\n00:03.000 --> 00:04.000\ntwo"
    assert [cue.text for cue in parse_vtt(text)] == ["one", "two"]
    with pytest.raises(DamagedFile, match="line 2: "):
        parse_vtt("WEBVTT\n00:01 --> 00:02\none")


@pytest.mark.parametrize("wrong", [None, 5, [Cue(0, 1, None)], [Cue(0, 1, b"x")]])  # type: ignore[arg-type]
def test_what_is_no_list_of_cues_is_refused(wrong: Any) -> None:
    for write in (to_srt, to_vtt):
        with pytest.raises(InvalidValue, match="is wanted"):
            write(wrong)


def test_a_text_is_spread_over_a_span_by_its_characters() -> None:
    shown = timed("Short one.\n\nA second cue that is much longer.", 10, 20, "en")
    assert [(cue.start, cue.end) for cue in shown] == [(10.0, 12.326), (12.326, 20.0)]
    assert [cue.lines for cue in shown] == [("Short one.",), ("A second cue that is much longer.",)]
    assert parse_srt(to_srt(shown)) == shown


@given(TEXTS, st.integers(0, 10_000), st.integers(1, 600_000))
@settings(deadline=None, max_examples=100)
def test_spread_cues_fill_the_span_and_can_be_written(text: str, start: int, span: int) -> None:
    try:
        shown = timed(text, start / 1000, (start + span) / 1000, "en", chars=6)
    except InvalidValue:
        assert span < len(text) or "\0" in text  # too short for its cues, or no text
        return
    if shown:
        assert (shown[0].start, shown[-1].end) == (start / 1000, (start + span) / 1000)
    assert all(one.end == two.start for one, two in pairwise(shown))
    assert parse_vtt(to_vtt(shown)) == shown


def test_reading_speed_counts_as_the_language_does() -> None:
    assert reading_speed(Cue(0, 2, "Twenty characters it\nis here"), "en") == 13.5
    assert reading_speed(Cue(1, 3, "駅前の本屋は"), "ja") == 3.0
    assert reading_speed(Cue(1, 3, "駅前のA4"), "ja") == 2.0
    with pytest.raises(InvalidValue, match="its end comes after"):
        reading_speed(Cue(1, 1, "x"))
    for no_cue in (5, Cue("1", 2, "x")):  # type: ignore[arg-type]
        with pytest.raises(InvalidValue):
            reading_speed(no_cue)  # type: ignore[arg-type]
