"""Tokens of every script: nothing visible is lost, no cluster is cut, and the packed form is exact."""

import json
import time
import unicodedata
from uuid import uuid4

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from database_handler import NewTranslation
from database_handler.content.tokens import Token, TokenKind, Tokens, detokenize, tokenize
from database_handler.core.exceptions import InvalidValue
from database_handler.utils.token_spans import BLOCK
from tests.support.scripts_corpus import HARD, PROSE

CORPUS = {**{code: text for code, (_, text) in PROSE.items()}, **HARD}
LANGUAGES = ("und", "fr", "fi")
# Letters that behave in ways of their own, between any others.
AWKWARD = st.sampled_from(
    "👩🚀🏽🇩🇪❤\ufe0f\u20e3"
    "\u200d\u200c\u0301\u0e33\u200b\u00ad\u200f\r\n \t\u0600\u1100\u1161\u11a8가ក\u17d2က\u1039\u103a"
    "#1a.,'’:\"漢カﾞー_เกะ\U000e0061\U000e0100\u2028\x01\u09be\u202f\u180eכ"
)
TEXTS = st.one_of(st.text(max_size=40), st.text(AWKWARD, max_size=30))


def cut(text: str, language: str = "und") -> list[str]:
    return tokenize(text, language).texts


# ----------------------------------------------------------------------------------------------- every text


@settings(deadline=None, max_examples=120)
@given(TEXTS, st.sampled_from(LANGUAGES))
def test_put_together_again_it_is_the_text(text: str, language: str) -> None:
    tokens = tokenize(text, language)
    assert detokenize(tokens) == text
    assert tokens == Tokens(text, tokens.spans)  # which checks them


@settings(deadline=None, max_examples=120)
@given(TEXTS)
def test_what_can_be_seen_is_in_a_token_and_white_space_is_not(text: str) -> None:
    tokens = tokenize(text)
    assert all(invisible(character) for gap in tokens.gaps for character in gap)
    assert not any(token.text.isspace() for token in tokens)


def invisible(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) in {"Cc", "Cf"}


@settings(deadline=None, max_examples=120)
@given(TEXTS)
def test_no_token_begins_with_what_belongs_to_the_character_before(text: str) -> None:
    for token in tokenize(text):
        before = text[token.start - 1 : token.start]
        attached = unicodedata.category(token.text[0])[0] == "M" or token.text[0] in "\u0e33\u0eb3\u200d"
        # A mark may begin a token only where there is nothing that it could stand on.
        assert not attached or before == "" or unicodedata.category(before) in {"Cc", "Cf", "Zl", "Zp"}


@pytest.mark.parametrize("name", CORPUS)
def test_of_every_script(name: str) -> None:
    text = CORPUS[name]
    for language in LANGUAGES:
        tokens = tokenize(text, language)
        assert detokenize(tokens) == text
        assert Tokens.unpacked(text, tokens.packed) == tokens
        assert "".join(tokens.texts) == "".join(text[start:end] for start, end in tokens.spans)


def test_the_corpus_has_thirty_scripts() -> None:
    assert len(PROSE) >= 30


# ---------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "language", "tokens"),
    [
        ("It isn't 1,234.56!", "en", ["It", "isn't", "1,234.56", "!"]),
        ("l'homme d’aujourd’hui", "fr", ["l'", "homme", "d’", "aujourd’hui"]),
        ("l'homme", "en", ["l'homme"]),
        ("dell'arte", "it-CH", ["dell'", "arte"]),
        ("1'000 l'", "fr", ["1'000", "l", "'"]),
        ("EU:n k:lo 12:30", "fi", ["EU:n", "k:lo", "12", ":", "30"]),
        ("EU:n", "en", ["EU", ":", "n"]),
        ("col·lecció", "ca", ["col·lecció"]),
        ('צה״ל כ"כ', "he", ["צה״ל", 'כ"כ']),
        ("1\u202f234 dit-il\u202f!", "fr", ["1\u202f234", "dit", "-", "il", "!"]),
        ("e.g. v1.2.3 x.5", "en", ["e.g", ".", "v1.2.3", "x", ".", "5"]),
        ("٣٬٤٥٦ طائرًا،", "ar", ["٣٬٤٥٦", "طائرًا", "،"]),
        ("कि क्षत्रिय।", "hi", ["कि", "क्षत्रिय", "।"]),
        ("می‌خواند", "fa", ["می‌خواند"]),
        ("船在哪里？𠮷", "zh-Hans", ["船", "在", "哪", "里", "？", "𠮷"]),
        ("コーヒーを飲む", "ja", ["コーヒー", "を", "飲", "む"]),
        ("ｶﾞｷﾞ らーめん", "ja", ["ｶﾞｷﾞ", "らー", "め", "ん"]),
        ("เปี่ยมน้ำ ๑๒๓", "th", ["เปี่", "ย", "ม", "น้ำ", "๑๒๓"]),
        ("ក្រុង", "km", ["ក្រុ", "ង"]),
        ("မြန်မာ သင်္ဘော", "my", ["မြန်", "မာ", "သင်္ဘော"]),
        ("བོད་ཡིག", "bo", ["བོད", "་", "ཡིག"]),
        ("ᠬᠠᠭᠠᠨ\u202fᠤ ᠰᠠᠷ᠎ᠠ", "mn-Mong", ["ᠬᠠᠭᠠᠨ\u202fᠤ", "ᠰᠠᠷ᠎ᠠ"]),
        ("👩🏽‍🚀🇩🇪🇫🇷🏳️‍🌈", "und", ["👩🏽‍🚀", "🇩🇪", "🇫🇷", "🏳️‍🌈"]),
        ("ok👍🏿1️⃣", "und", ["ok", "👍🏿", "1️⃣"]),
        ("한글\u1112\u1161\u11ab", "ko", ["한글\u1112\u1161\u11ab"]),
        (
            "soft\u00adhyphen zero\u200bwidth \u200fend\u200e",
            "en",
            ["soft\u00adhyphen", "zero", "width", "end"],
        ),
        ("a \u0301b\n\u0301", "en", ["a", " \u0301", "b", "\u0301"]),
        ("葛\U000e0100城", "ja", ["葛\U000e0100", "城"]),
        ("\u0600١٢", "ar", ["\u0600١٢"]),
    ],
)
def test_is_cut_so(text: str, language: str, tokens: list[str]) -> None:
    assert cut(text, language) == tokens


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("3rd", TokenKind.WORD),
        ("船", TokenKind.WORD),
        ("1,234.5", TokenKind.NUMBER),
        ("½", TokenKind.NUMBER),
        ("—", TokenKind.PUNCTUATION),
        ("€", TokenKind.SYMBOL),
        ("👩🏽‍🚀", TokenKind.SYMBOL),
    ],
)
def test_a_token_knows_its_kind(text: str, kind: TokenKind) -> None:
    [token] = tokenize(text)
    assert token.kind is kind


def test_language_is_checked() -> None:
    with pytest.raises(InvalidValue):
        tokenize("text", "engl!sh")


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "é",
        "a'",
        "'",
        "1.",
        ".",
        " \u0301",
        " ",
        "\u200d",
        "\u00ad",
        "a\u00ad",
        "เ",
        "ក្",
        "👩\u200d",
        "🇩",
        "\u0301",
    ],
)
def test_time_grows_with_the_length_only(unit: str) -> None:
    """Ten times the text may take thirty times as long, not a hundred."""
    tokenize(unit)
    seconds = []
    for count in (10_000, 100_000):
        text = unit * (count // len(unit))
        started = time.process_time()
        tokenize(text)
        seconds.append(time.process_time() - started)
    assert seconds[1] < 30 * max(seconds[0], 0.002)


# --------------------------------------------------------------------------------------------------- Tokens


def test_a_slice_spans_a_part_of_the_text() -> None:
    tokens = tokenize("  One, two; three.\n")
    part = tokens[2:4]
    assert (part.content, part.offset, part.first) == ("two;", 7, 2)
    assert list(part) == [Token("two", 7, 10), Token(";", 10, 11)]
    assert part[1:][0] == Token(";", 10, 11)
    assert tokens[-1] == Token(".", 17, 18)
    assert len(tokens[9:]) == 0
    assert detokenize(part) == "two;"
    assert hash(tokens) == hash(tokenize("  One, two; three.\n"))
    assert repr(tokens) == "<Tokens: 6 of 19 characters>"
    with pytest.raises(InvalidValue, match="without a step"):
        tokens[::2]
    with pytest.raises(InvalidValue, match="no packed form"):
        _ = part.packed


def test_other_texts_go_into_the_old_gaps() -> None:
    tokens = tokenize(" The keeper\tsleeps. ")
    assert detokenize(tokens, ["Der", "Wärter", "schläft", "!"]) == " Der Wärter\tschläft! "
    with pytest.raises(InvalidValue, match="4 tokens need as many texts, not 1"):
        detokenize(tokens, ["Der"])


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Spans that lie in order, with gaps and lengths that have codes and such that have none."""
    found, at = [], 0
    count = draw(st.sampled_from([0, 1, 2, 15, 127, 128, 129, 400]))
    widths = st.one_of(st.integers(0, 3), st.integers(0, 70), st.integers(0, 40_000))
    few = draw(st.lists(widths, min_size=1, max_size=25))
    for place in range(count):
        at += few[place % len(few)]
        start, at = at, at + 1 + few[(3 * place + 1) % len(few)]
        found.append((start, at))
    return found


@settings(deadline=None, max_examples=60)
@given(spans())
def test_packed_and_read_back_they_are_the_same(given_spans: list[tuple[int, int]]) -> None:
    content = " " * (given_spans[-1][1] if given_spans else 0)
    tokens = Tokens(content, given_spans)
    assert Tokens.unpacked(content, tokens.packed).spans == given_spans


@settings(deadline=None, max_examples=120)
@given(st.binary(max_size=60), st.booleans())
@example(b"\0\0\0\0\0\x10" + bytes(16), True)  # sixteen codes, where a digit tells fifteen apart
def test_bytes_from_elsewhere_are_read_or_refused(data: bytes, plausible: bool) -> None:
    packed = b"\x01\0\0\0" + data if plausible else data
    try:
        tokens = Tokens.unpacked(" " * 200, packed)
    except InvalidValue:
        return
    assert all(0 <= start < end <= 200 for start, end in tokens.spans)


def test_a_token_takes_less_than_a_byte_and_json_forty() -> None:
    for code in ("Latn", "Deva", "Hans", "Thai", "Cyrl"):
        tokens = tokenize(PROSE[code].text * 20, PROSE[code].language)
        objects = json.dumps([{"start": start, "end": end} for start, end in tokens.spans])
        assert len(tokens) > 2 * BLOCK
        assert len(tokens.packed) < len(tokens)
        assert len(tokens.packed) * 3 < len(objects)


# -------------------------------------------------------------------------------------------------- a draft


def draft(**fields: object) -> NewTranslation:
    given: dict[str, object] = {
        "project_id": uuid4(), "text_source_id": uuid4(), "source_language": "en", "target_language": "de",
        "content": "Der Wärter wartet.",
    }  # fmt: skip
    return NewTranslation.model_validate(given | fields)


WAITS = [(0, 3), (4, 10), (11, 17), (17, 18)]


@pytest.mark.parametrize(
    "given_tokens",
    [
        WAITS,
        tokenize("Der Wärter wartet.", "de"),
        list(tokenize("Der Wärter wartet.", "de")),
        tokenize("Der Wärter wartet.", "de").packed,
        memoryview(tokenize("Der Wärter wartet.", "de").packed),
        (list(span) for span in WAITS),
    ],
)
def test_a_draft_takes_tokens_in_each_form(given_tokens: object) -> None:
    translation = draft(tokens=given_tokens)
    assert translation.token_count == 4
    assert translation.token_list == tokenize("Der Wärter wartet.", "de")


@pytest.mark.parametrize(
    ("given_tokens", "told"),
    [
        ([(0, 3), (4, 19)], r"token 1 \(4, 19\) of a content of 18 characters lies outside"),
        ([(0, 3), (-1, 5), (9, 8)], r"token 1 \(-1, 5\) .* lies outside"),
        ([(0, 3), (3, 3), (2, 30)], r"token 1 \(3, 3\) .* is empty"),
        ([(4, 10), (0, 3)], r"token 1 \(0, 3\) .* begins before 10, where the one before it ends"),
        ([(0, 5), (4, 6)], r"token 1 \(4, 6\) .* begins before 5"),
        ([(0, 3), (True, 9)], r"token 1 is no pair"),
        ([(0, 3), "ab"], r"token 1 is no pair"),
        (["x"], r"token 0 is no pair"),
        (7, r"not int"),
        (b"", r"damaged"),
        (b"\x01" * 40, r"damaged"),
        ("no base64!", r"base64"),
        (tokenize("Another text."), r"another text"),
        (tokenize("Der Wärter wartet.")[1:], r"another text, or only some"),
    ],
)
def test_wrong_tokens_are_refused_by_the_first(given_tokens: object, told: str) -> None:
    with pytest.raises(InvalidValue, match=told) as refusal:
        draft(tokens=given_tokens)
    assert "Wärter" not in str(refusal.value)


def test_tokens_go_with_their_content() -> None:
    translation = draft(tokens=WAITS)
    assert translation.model_copy(update={"status": "review"}).token_count == 4
    changed = translation.model_copy(update={"content": "Kurz."})
    assert (changed.tokens, changed.token_count, changed.token_list) == (None, None, None)
    assert translation.model_copy(update={"content": "Kurz.", "tokens": [(0, 4)]}).token_count == 1


def test_the_count_is_not_for_the_caller() -> None:
    with pytest.raises(InvalidValue, match="token_count follows from tokens"):
        draft(tokens=WAITS, token_count=3)


def test_json_and_back_is_exact() -> None:
    translation = draft(tokens=WAITS)
    text = translation.model_dump_json()
    assert NewTranslation.model_validate_json(text) == translation
    assert NewTranslation.model_validate(json.loads(text)) == translation
    assert NewTranslation.model_validate(translation.model_dump()) == translation
    shown = NewTranslation.model_json_schema()["properties"]["tokens"]["anyOf"][0]
    assert shown == {"type": "string", "contentEncoding": "base64"}
