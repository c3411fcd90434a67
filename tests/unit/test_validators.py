"""Rules on values: one documented form each, or a refusal that does not repeat the value."""

import hashlib
import math
import time
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import pytest
from annotated_types import Ge, Le, MaxLen, MinLen
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from database_handler.utils import validators as rules
from database_handler.utils.errors import InvalidValue

anything = st.text(st.characters(), max_size=60)


def refused(annotation: Any, value: object) -> str:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(value)
    return caught.value.errors()[0]["msg"]


def taken(annotation: Any, value: object) -> object:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    return adapter.validate_python(value)


# --- text


@given(anything)
def test_content_is_stored_verbatim_or_refused(text: str) -> None:
    storable = "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
    if storable:
        assert taken(rules.Text, text) == text
    else:
        assert "text holds" in refused(rules.Text, text)


def test_surrogates_are_found_far_into_a_large_text() -> None:
    large = "é" * (3 << 20)
    assert rules.verbatim(large) is large
    with pytest.raises(InvalidValue, match="surrogate"):
        rules.verbatim(large + "\udc00")


@pytest.mark.parametrize("value", [b"bytes", 5, None, ["a"], bytearray(b"x")])
@pytest.mark.parametrize("annotation", [rules.Text, rules.Title, rules.Slug, rules.Url, rules.Checksum])
def test_only_text_is_text(annotation: Any, value: object) -> None:
    assert "text is needed, not " in refused(annotation, value)


@given(anything)
def test_a_title_is_stripped_nfc_and_stays_as_it_is(text: str) -> None:
    try:
        title = taken(rules.Title, text)
    except ValidationError:
        return
    assert isinstance(title, str)
    assert title == title.strip() == unicodedata.normalize("NFC", title)
    assert taken(rules.Title, title) == title


@pytest.mark.parametrize(
    "text",
    ["", "  ", "\u200b", "\u0301", "a\nb", "a\tb", "a\0b", "a\x1bb", "\x85a\x85b", "x\u2028y", "x" * 501],
)
def test_a_title_is_one_visible_line_of_at_most_500_characters(text: str) -> None:
    refused(rules.Title, text)


def test_lengths_count_after_stripping_and_composing() -> None:
    assert taken(rules.Title, " " + "e\u0301" * 500 + "\n") == "é" * 500
    assert taken(rules.Description, " a\r\n\tb ") == "a\r\n\tb"
    assert taken(rules.Description, "") == ""
    assert "10000" in refused(rules.Description, "x" * 10_001)
    assert "1 character" in refused(rules.RequiredText, "")
    assert taken(rules.RequiredText, " ") == " "


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=250))
@example("東京")
@example("İ" * 200)
@example("℡ Ⅷ ﬃ")
def test_every_slug_is_a_slug(name: str) -> None:
    slug = rules.slugify(name)
    assert taken(rules.Slug, slug) == slug
    assert rules.slugify(name) == slug
    assert rules.slugify(slug) == slug
    assert rules.slugify(unicodedata.normalize("NFD", name)) == slug


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Launch Film", "launch-film"),
        ("  Éléphant & Ærø: Straße  ", "elephant-aero-strasse"),
        ("Don’t stop", "dont-stop"),
        ("C++", "c"),
    ],
)
def test_slugs_fold_accents(name: str, slug: str) -> None:
    assert rules.slugify(name) == slug


def test_names_in_other_scripts_get_slugs_that_differ() -> None:
    slugs = {
        rules.slugify(name) for name in ["東京", "大阪", "東京 2020", "大阪 2020", "Москва", "!!!", "🎬"]
    }
    assert len(slugs) == 7
    assert rules.slugify("東京") == "p-130016b2"
    assert rules.slugify("東京 2020").startswith("2020-")


@pytest.mark.parametrize("slug", ["", "a--b", "-a", "a-", "A", "é", "a b", "a\n", "a" * 201])
def test_a_slug_is_never_altered(slug: str) -> None:
    refused(rules.Slug, slug)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("— … !", 0),
        ("Don't stop, it’s 3.14 or 1,000.", 6),
        ("well-known snake_case", 3),
        ("café e\u0301te\u0301", 2),
        ("नमस्ते दुनिया", 2),
        ("日本語です", 5),
        ("한국어 문장", 2),
        ("iPhone を買う", 4),
        ("مرحبا بالعالم", 2),
        ("v1.x", 2),
    ],
)
def test_words(text: str, count: int) -> None:
    assert rules.count_words(text) == count


@given(anything, anything)
def test_words_of_two_texts_add_up(left: str, right: str) -> None:
    assert rules.count_words(f"{left} {right}") == rules.count_words(left) + rules.count_words(right)


@pytest.mark.parametrize("unit", ["a'", "1.", "_", "a\u0301", "\u0301", "ก", " ' "])
def test_words_are_counted_in_linear_time(unit: str) -> None:
    begin = time.perf_counter()
    rules.count_words(unit * 100_000)
    assert time.perf_counter() - begin < 5


def test_checksums() -> None:
    digest = rules.sha256_hex("é")
    assert digest == hashlib.sha256("é".encode()).hexdigest()
    assert taken(rules.Checksum, digest) == digest
    for wrong in (digest.upper(), digest[:-1], digest + "\n", digest[:-1] + "g"):
        refused(rules.Checksum, wrong)


# --- languages


@pytest.mark.parametrize(
    ("tag", "canonical"),
    [
        ("EN_us", "en-US"),
        ("zh-hans", "zh-Hans"),
        ("zh-Hant-HK", "zh-Hant-HK"),
        ("sr-latn", "sr-Latn"),
        ("pt-br", "pt-BR"),
        ("ru-Cyrl", "ru-Cyrl"),
        ("deu", "de"),
        ("iw", "he"),
        ("cmn", "cmn"),
        ("ZH_cmn", "cmn"),
        ("zh-cmn-hans", "cmn-Hans"),
        ("yue", "yue"),
        ("nb", "nb"),
        ("no", "no"),
        ("i-klingon", "tlh"),
        ("en-x-pirate", "en-x-pirate"),
        ("de-DE-u-co-phonebk", "de-DE-u-co-phonebk"),
        (" en ", "en"),
    ],
)
def test_languages_have_one_form(tag: str, canonical: str) -> None:
    assert taken(rules.LanguageCode, tag) == canonical
    assert rules.canonical_language(canonical) == canonical


@pytest.mark.parametrize(
    ("tag", "suggestion"),
    [
        ("english", "en?"),
        ("Portugese", "pt?"),
        ("Deutsch", "de?"),
        ("Français", "fr?"),
        ("zh-cmnx", "zh?"),
        ("en_US.UTF-8", "en-US?"),
        ("zh-Hanz", "zh-Hans?"),
        ("zh-CHT", "zh-Hant?"),
        ("sr-Latin", "sr-Latn?"),
        ("pt-Brazil", "pt-BR?"),
        ("eng-usa", "en-US?"),
        ("ar-arb", "arb?"),
        ("jp", "ja?"),
        ("en-fooba", "en?"),
        ("klingonese", ""),
        ("", ""),
        ("xx", ""),
        ("a-b", ""),
        ("root", ""),
        ("é", ""),
        ("en" + "-x" * 100, "en"),
        ("en\0", ""),
        ("en; DROP TABLE projects", ""),
    ],
)
def test_a_wrong_language_is_refused_with_a_suggestion(tag: str, suggestion: str) -> None:
    message = refused(rules.LanguageCode, tag)
    assert suggestion in message
    assert "DROP" not in message


@given(st.text(st.sampled_from("abdehnrstuxzALN019-_"), max_size=20))
def test_any_tag_is_refused_or_reaches_its_form_at_once(tag: str) -> None:
    try:
        canonical = rules.canonical_language(tag)
    except InvalidValue:
        return
    assert rules.canonical_language(canonical) == canonical


# --- URLs


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTP://Example.COM:80", "http://example.com/"),
        ("https://example.com:443/a/./b/../c?q=%7e%c3%A9#F%20x", "https://example.com/a/c?q=~%C3%A9#F%20x"),
        ("http://example.com:0080/", "http://example.com/"),
        ("http://example.com:8080", "http://example.com:8080/"),
        ("http://example.com.:/?#", "http://example.com/"),
        ("http://bücher.de/ü?ü", "http://xn--bcher-kva.de/%C3%BC?%C3%BC"),
        ("http://XN--Bcher-kva.de/", "http://xn--bcher-kva.de/"),
        ("http://日本語.jp", "http://xn--wgv71a119e.jp/"),
        ("http://[2001:DB8:0::1]:80/", "http://[2001:db8::1]/"),
        ("http://127.0.0.1/%2e%2e/%2f", "http://127.0.0.1/%2F"),
        ("http://a/../../b", "http://a/b"),
        ("http://a/b/..", "http://a/"),
        ("http://a//b/", "http://a//b/"),
        ("  http://a/  ", "http://a/"),
        ("http://a/{x}|\"'", "http://a/%7Bx%7D%7C%22'"),
        ("http://a?x", "http://a/?x"),
        ("http://my_host/@x:y", "http://my_host/@x:y"),
    ],
)
def test_urls_have_one_form(url: str, normal: str) -> None:
    assert taken(rules.Url, url) == normal
    assert rules.normalize_url(normal) == normal


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt://example.com/%0aalert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "ftp://example.com/",
        "//example.com/",
        "example.com",
        "http:example.com",
        "http:/example.com",
        "http:///example.com",
        "http://",
        "http://?x",
        "http://user@example.com/",
        "http://user:hunter2@example.com/",
        "http://good.com@evil.com/",
        "http://good.com\\@evil.com/",
        "http:\\\\evil.com",
        "http://evil.com\\.good.com",
        "http://good.com\t.evil.com/",
        "http://good.com/\r\nHost: evil",
        "\x01http://good.com/",
        "http://good.com/\x7f",
        "http://good.com/a b",
        "http://good.com/\u00a0",
        "http://good.com/\u202egpj.exe",
        "http://good\u200b.com/",
        "http://go\u00adod.com/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://017700000001/",
        "http://2130706433/",
        "http://127.1/",
        "http://127.0.0.01/",
        "http://127.0.0.256/",
        "http://1.2.3.4.5/",
        "http://a.b.0x1/",
        "http://１２７.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::1%25eth0]/",
        "http://[::1]x/",
        "http://[::1/",
        "http://[v1.x]/",
        "http://::1/",
        "http://a..b/",
        "http://.a/",
        "http://a../",
        "http://-a.com/",
        "http://a-.com/",
        "http://ab--c.com/",
        "http://" + "a" * 64 + ".com/",
        "http://" + ".".join(["a" * 60] * 5) + "/",
        "http://exa%6dple.com/",
        "http://a,b/",
        "http://аpple.com/",
        "http://pаypal.com/",
        "http://gооgle.com/",
        "http://ｅxample.com/",
        "http://example。com/",
        "http://faß.de/",
        "http://a\u200db.com/",
        "http://xn--a.com/",
        "http://xn--.com/",
        "http://xn--example-/",
        "http://xn--80ak6aa92e-\u00e9.com/",
        "http://xn--" + "9" * 59 + ".com/",
        "http://א1a.com/",
        "http://\u0301a.com/",
        "http://a:0/",
        "http://a:65536/",
        "http://a:80x/",
        "http://a:８０/",
        "http://a:1:2/",
        "http://a/%",
        "http://a/%zz",
        "http://a/%00",
        "http://a/\0",
        "http://a/\ud800",
        "http://a/" + "é" * 400,
        "http://a/" + "x" * 20_000,
        "",
    ],
)
def test_a_hostile_url_is_refused_without_being_repeated(url: str) -> None:
    message = refused(rules.Url, url)
    assert "hunter2" not in message
    assert "evil" not in message


hosts = st.from_regex(r"[a-zA-Z0-9.:\[\]@%\\xX_éаß日א-]{1,20}", fullmatch=True)


@given(st.sampled_from(["http://", "HTTPS://"]), hosts | anything, anything)
@example("http://", "a", "/.//..//./..")
@example("http://", "a", "/%2e%2E/%252e")
def test_an_accepted_url_is_stable_and_keeps_its_host_in_another_parser(
    scheme: str, host: str, rest: str
) -> None:
    try:
        url = rules.normalize_url(scheme + host + rest)
    except InvalidValue:
        return
    assert rules.normalize_url(url) == url
    assert url.isascii()
    assert len(url) <= rules.KEY_BYTES
    parsed = urlsplit(url)
    assert parsed.hostname == rules.url_host(url)
    assert parsed.username is None
    assert parsed.geturl() == url


def test_the_host_of_a_url() -> None:
    assert rules.url_host("HTTPS://Bücher.DE:8443/x") == "xn--bcher-kva.de"
    assert rules.url_host("http://[::1]:81/") == "::1"


# --- files and tags


def test_media_types() -> None:
    assert taken(rules.MimeType, " Video/MP4 ") == "video/mp4"
    for wrong in ("video", "text/html; charset=utf-8", "a/b/c", "/", "a/\n", "é/x", "x/" + "y" * 300):
        refused(rules.MimeType, wrong)


def test_storage_uris_are_verbatim() -> None:
    for right in ("/data/ a b ", "s3://bucket/é", "../x", "e\u0301"):
        assert taken(rules.StorageUri, right) == right
    for wrong in ("", "a\0", "a\nb", "a\x1b", "é" * 1_001, "\ud800"):
        refused(rules.StorageUri, wrong)


def test_file_names_are_no_paths_and_no_options() -> None:
    assert taken(rules.Filename, " a b.docx ") == "a b.docx"
    assert taken(rules.Filename, ".env") == ".env"
    for wrong in ("", ".", "..", "a/b", "a\\b", "-rf", "a\0b", "a\nb", "é" * 128):
        refused(rules.Filename, wrong)


def test_tags_keep_their_order_and_lose_their_doubles() -> None:
    assert taken(rules.Tags, ["b", " a ", "b", "e\u0301", "é"]) == ("b", "a", "é")
    assert taken(rules.Tags, {"b", "a"}) == ("a", "b")
    assert taken(rules.Tags, []) == ()
    for wrong in ("abc", [""], ["a\nb"], [5], ["x" * 101], [str(n) for n in range(101)], {"a": 1}, None):
        refused(rules.Tags, wrong)


# --- JSON

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e15, 1e15) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_json_is_given_back_as_it_was_or_refused(value: dict[str, Any]) -> None:
    text = repr(value)
    try:
        assert taken(rules.JsonObject, value) == value
    except ValidationError:
        assert "\\x00" in text or "\\ud" in text


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_json_has_at_most_100_levels() -> None:
    assert taken(rules.JsonObject, nested(100)) == nested(100)
    for depth in (101, 100_000):
        assert "100 levels" in refused(rules.JsonObject, nested(depth))
    inner: list[Any] = []
    for _ in range(100_000):
        inner = [inner]
    assert "100 levels" in refused(rules.JsonObject, {"a": inner})
    endless: dict[str, Any] = {}
    endless["self"] = endless
    assert "100 levels" in refused(rules.JsonObject, endless)


def test_json_that_holds_itself_many_times_is_refused_in_bounded_time() -> None:
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    assert "values" in refused(rules.JsonObject, {"a": value})


@pytest.mark.parametrize(
    "value",
    [
        {"a": math.nan},
        {"a": [math.inf]},
        {"a": -math.inf},
        {"a\0": 1},
        {"a": "\0"},
        {"a": ["\ud800"]},
        {"\udfff": 1},
        {1: 2},
        {None: 2},
        {"a": (1,)},
        {"a": {1}},
        {"a": b"x"},
        {"a": 10**5_000},
        {"a": object()},
        {"a": datetime(2024, 1, 1, tzinfo=UTC)},
        [],
        "{}",
        None,
    ],
)
def test_json_refuses_what_would_not_come_back(value: object) -> None:
    refused(rules.JsonObject, value)


# --- numbers and times


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        (rules.Count, [0, 2**63 - 1], [-1, 2**63, 1.0, "1", True, math.nan]),
        (rules.PositiveInt32, [1, 2**31 - 1], [0, 2**31, 1.5, True]),
        (rules.Duration, [0, 0.5, 10**9], [-0.1, math.nan, math.inf, "1", True]),
        (rules.FrameRate, [23.976, 30000 / 1001, 1_000], [0, -1, 1_000.1, math.nan]),
    ],
)
def test_numbers(annotation: object, right: list[object], wrong: list[object]) -> None:
    for value in right:
        assert taken(annotation, value) == value
    for value in wrong:
        refused(annotation, value)


def test_times_are_aware_and_become_utc() -> None:
    east = timezone(timedelta(hours=2))
    for given_time in (datetime(2024, 1, 1, 2, tzinfo=east), "2024-01-01T02:00:00+02:00"):
        time_taken = taken(rules.UtcDatetime, given_time)
        assert isinstance(time_taken, datetime)
        assert time_taken == datetime(2024, 1, 1, tzinfo=UTC)
        assert time_taken.tzinfo is UTC
    for wrong in (datetime(2024, 1, 1), "2024-01-01T02:00:00", 5, datetime.min.replace(tzinfo=east)):
        refused(rules.UtcDatetime, wrong)
    with pytest.raises(InvalidValue, match="time zone"):
        rules.utc(datetime(2024, 1, 1))


# --- what the table's CHECK constraints are made from


class _Sample(BaseModel):
    title: rules.Title
    slug: rules.Slug
    url: rules.Url
    count: rules.Count


def test_limits_can_be_read_from_the_annotations() -> None:
    fields = _Sample.model_fields
    assert {MinLen(1), MaxLen(500)} <= set(filter(_is_limit, fields["title"].metadata))
    assert {MinLen(1), MaxLen(200)} <= set(filter(_is_limit, fields["slug"].metadata))
    assert rules.MaxBytes(2_000) in fields["url"].metadata
    assert {Ge(0), Le(2**63 - 1)} <= set(filter(_is_limit, fields["count"].metadata))
    patterns = [getattr(marker, "pattern", None) for marker in fields["slug"].metadata]
    assert rules.SLUG_PATTERN in patterns


def _is_limit(marker: object) -> bool:
    return isinstance(marker, MinLen | MaxLen | Ge | Le)
