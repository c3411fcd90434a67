"""Texts of many scripts become subtitle lines as long as their guides allow, broken at good places."""

import re
import time
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from database_handler.content.subtitle_lines import clusters, line_rule, subtitle_lines
from database_handler.core.exceptions import InvalidValue
from tests.support.scripts_corpus import PROSE

FAMILY = "👩‍👩‍👧"
TEXTS = {
    "en": "Fishing boats leave the harbour before the sun is up, and Dr. Smith said so. Nobody cared.",
    "de": "Größere Schiffe müssen vor der Brücke warten, weil der Kapitän noch schläft und keiner ihn weckt.",
    "ja": "駅前の本屋は夜十時まで開いています。コンピューターがある「部屋」に入って、3.5キロのパンを買った。",
    "zh-Hans": "春天的茶叶在清晨采摘，然后送到山下的茶厂。他说：“我们明天再来！”于是大家都回家了。",
    "ko": "바닷가 마을에는 등대가 하나 있다. 그 등대는 밤마다 어두운 바다를 비춘다.",
    "th": "ตลาดน้ำเปิดทุกเช้าวันเสาร์ และปิดตอนเที่ยงวันเพราะอากาศร้อนมากจนไม่มีใครอยากเดินเล่นริมน้ำอีกต่อไป",
    "ar": "يفتح سوق المدينة أبوابه عند الفجر، ويغلق عند غروب الشمس كل يوم ما عدا الجمعة.",
    "hi": "नदी के किनारे हर शाम संगीत बजता है। लोग दूर दूर से सुनने आते हैं और देर रात तक रुकते हैं।",
    "km": "ភាសាខ្មែរជាភាសាផ្លូវការរបស់ព្រះរាជាណាចក្រកម្ពុជានិងត្រូវបាននិយាយដោយប្រជាជនភាគច្រើន",
    "my": "မြန်မာဘာသာစကားသည်မြန်မာနိုင်ငံ၏ရုံးသုံးဘာသာစကားဖြစ်သည်။",
}
NOT_FIRST = re.compile(
    r"[、。，．！？：；）」』”ーァィゥェォッャュョぁぃぅぇぉっゃゅょ々,.!?;:)\]}»’\u0e30\u0e32\u0e33\u0e46]"
)
NOT_LAST = re.compile(r"[（「『“(\[{«¿\u0e40-\u0e44]$")


def flat(text: str) -> str:
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("script", [*TEXTS, *PROSE])
def test_lines_are_as_long_as_the_guide_allows_and_lose_nothing(script: str) -> None:
    language, text = PROSE[script] if script in PROSE else (script, TEXTS[script])
    rule = line_rule(language)
    cues = subtitle_lines(f"{text} {text}", language)
    assert flat("".join(line for cue in cues for line in cue)) == flat(text) * 2
    for cue in cues:
        assert 1 <= len(cue) <= rule.lines
        for line in cue:
            assert line == line.strip()
            assert rule.width(line) <= rule.chars
            assert not NOT_FIRST.match(line)
            assert not NOT_LAST.search(line)
            assert unicodedata.category(line[0])[0] != "M"


@pytest.mark.parametrize("language", ["en", "de", "ko", "ar", "hi"])
def test_words_stay_whole(language: str) -> None:
    words = TEXTS[language].split()
    assert [
        word for cue in subtitle_lines(TEXTS[language], language) for word in " ".join(cue).split()
    ] == words


@pytest.mark.parametrize(
    ("language", "chars", "lines", "speed", "wide"),
    [
        ("en", 42, 2, 20, False), ("fr-CA", 42, 2, 17, False),
        ("ja", 13, 2, 4, True),
        ("zh-Hant", 16, 2, 9, True),
        ("yue", 16, 2, 9, True),
        ("ko-KR", 16, 2, 12, True),
        ("th", 35, 2, 17, False),
        ("ar", 42, 2, 17, False),
        ("ja-Latn", 42, 2, 17, False),
        ("und", 42, 2, 17, False),
    ],
)  # fmt: skip
def test_each_language_has_its_rule(language: str, chars: int, lines: int, speed: float, wide: bool) -> None:
    rule = line_rule(language)
    assert (rule.chars, rule.lines, rule.speed, rule.wide) == (chars, lines, speed, wide)


@pytest.mark.parametrize(
    ("language", "text", "lines"),
    [
        ("en", "It fits on one line.", ["It fits on one line."]),
        (
            "en",
            "He asked the keeper of the light because the ship was lost at sea.",
            ["He asked the keeper of the light", "because the ship was lost at sea."],
        ),
        (
            "en",
            "Mr. Holmes and Dr. Watson walked along the river to the old bridge.",
            ["Mr. Holmes and Dr. Watson walked", "along the river to the old bridge."],
        ),
        (
            "de",
            "Sie wartet auf dem Deck, aber der Kapitän kommt heute nicht mehr.",
            ["Sie wartet auf dem Deck,", "aber der Kapitän kommt heute nicht mehr."],
        ),
        ("ja", "駅前の本屋は夜十時まで開いています。", ["駅前の本屋は夜十時まで", "開いています。"]),
        ("ja", "コンピューターとコンピューター", ["コンピューターと", "コンピューター"]),
        (
            "zh",
            "春天的茶叶在清晨采摘，然后送到山下的茶厂。",
            ["春天的茶叶在清晨采摘，", "然后送到山下的茶厂。"],
        ),
        ("ko", "그 등대는 밤마다 바다를 비춘다, 그래서", ["그 등대는 밤마다", "바다를 비춘다, 그래서"]),
    ],
)
def test_breaks_are_where_a_reader_pauses(language: str, text: str, lines: list[str]) -> None:
    assert subtitle_lines(text, language) == (tuple(lines),)


def test_cues_end_where_sentences_do() -> None:
    text = (
        "Well, I think that this will be a fairly long sentence. It says what Dr. Smith said. Then it ends."
    )
    assert subtitle_lines(text, "en") == (
        ("Well, I think that this will", "be a fairly long sentence."),
        ("It says what Dr. Smith said. Then it ends.",),
    )


def test_a_blank_line_begins_a_cue_and_other_white_space_is_none_of_the_lines() -> None:
    assert subtitle_lines("one\ntwo\t three\r\n \r\n\n four \n") == (("one two three",), ("four",))
    assert subtitle_lines(" \n\n ") == ()


def test_a_word_longer_than_a_line_is_cut_between_its_characters() -> None:
    word = "e\u0301" * 5 + FAMILY + "한"
    [cue] = subtitle_lines(word, "en", chars=6, lines=4)
    assert "".join(cue) == word
    assert all(unicodedata.category(line[0]) != "Mn" and line[0] != "\u200d" for line in cue)


def test_a_word_of_characters_that_take_no_room_is_cut_in_bounded_time() -> None:
    word = "\u200b" * 5_000 + "a" * 30 + "\u200b" * 5_000 + "b" * 30
    began = time.process_time()
    [cue] = subtitle_lines(word)
    assert ("".join(cue), len(cue)) == (word, 2)
    assert time.process_time() - began < 5


def test_chars_and_lines_can_be_chosen() -> None:
    text = TEXTS["en"]
    assert all(len(line) <= 20 for cue in subtitle_lines(text, "en", 20, 1) for line in cue)
    assert {len(cue) for cue in subtitle_lines(text, "en", 20, 1)} == {1}
    assert max(len(cue) for cue in subtitle_lines(text, "en", 20, 4)) > 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"chars": 3}, "4 to 1,000"),
        ({"chars": 1001}, "4 to 1,000"),
        ({"chars": True}, "4 to 1,000"),
        ({"lines": 0}, "1 to 10"), ({"lines": 2.0}, "1 to 10"), ({"language": "klingonese"}, "BCP 47"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        subtitle_lines("text", **options)


def test_clusters_are_what_a_reader_takes_for_one_character() -> None:
    whole = [FAMILY, "🇯🇵", "🇧🇷", "e\u0301", "\u1112\u1161\u11ab", "각", "क्षि", "น้ำ", "👍🏽", "ｶﾞ", "\r\n", "x"]
    assert list(clusters("".join(whole))) == whole


LETTERS = st.sampled_from("\u200baé.、。「」ーっ漢かカกเำ่ 한ᄒ👩\u200d🇯\u0301\n\t-—\u00a0\u2060क्ष")


@given(
    st.text(LETTERS, max_size=60),
    st.sampled_from(["en", "ja", "th", "ko", "hi"]),
    st.integers(4, 12),
    st.integers(1, 3),
)
@example("。" * 50, "ja", 13, 2)
@example("(" * 50, "en", 4, 1)
@settings(deadline=None, max_examples=150)
def test_any_text_keeps_its_characters_and_its_limits(
    text: str, language: str, chars: int, lines: int
) -> None:
    rule = line_rule(language)
    cues = subtitle_lines(text, language, chars, lines)
    assert flat("".join(line for cue in cues for line in cue)) == flat(text)
    assert all(1 <= len(cue) <= lines for cue in cues)
    assert all(rule.width(line) <= chars and line == line.strip() for cue in cues for line in cue)
