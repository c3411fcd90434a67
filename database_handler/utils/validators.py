"""Pure rules on values, and the annotated types that put them on models.

A rule either gives the value back in its one documented form or raises `InvalidValue`, whose text says what
was wrong and what is allowed and never holds the value. Lengths and ranges stand in the annotation as
`annotated_types` markers, so that the table's CHECK constraints follow from them; the functions say the rest.

The module is long because it is one vocabulary: each type is three lines that lean on the same few rules.

Sources: RFC 3986 and the WHATWG URL standard (URLs; where they differ, what both read alike); RFC 5891, 5892
and 5893 (international host names); BCP 47 (languages); UAX #15 (normalisation); UAX #29 (words).
"""

import hashlib
import ipaddress
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Final

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from langcodes import Language
from langcodes.tag_parser import LanguageTagError
from pydantic import (
    AfterValidator,
    AllowInfNan,
    AwareDatetime,
    BeforeValidator,
    JsonValue,
    Strict,
    StringConstraints,
)

from database_handler.utils.errors import InvalidValue

__all__ = [
    "CHECKSUM_PATTERN",
    "KEY_BYTES",
    "MIME_PATTERN",
    "SLUG_PATTERN",
    "Checksum",
    "Count",
    "Description",
    "Duration",
    "Filename",
    "FrameRate",
    "JsonObject",
    "LanguageCode",
    "MimeType",
    "Name",
    "PositiveInt32",
    "RelativePath",
    "RequiredText",
    "Slug",
    "StorageUri",
    "Tags",
    "Text",
    "Title",
    "Url",
    "UtcDatetime",
    "canonical_language",
    "count_words",
    "filename",
    "json_object",
    "label",
    "mime_type",
    "nfc_stripped",
    "normalize_url",
    "relative_path",
    "sha256_hex",
    "slugify",
    "storage_uri",
    "tags",
    "url_host",
    "utc",
    "verbatim",
]

KEY_BYTES: Final = 2_000
"""The bytes that text may take where it is part of a key: a B-tree entry holds about 2,700."""

SLUG_PATTERN: Final = r"^[a-z0-9]+(-[a-z0-9]+)*$"
CHECKSUM_PATTERN: Final = r"^[0-9a-f]{64}$"
MIME_PATTERN: Final = r"^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$"


# --- text -------------------------------------------------------------------------------------------------

_CHUNK: Final = 1 << 20
_NOT_IN_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_NOT_IN_LINE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def verbatim(value: object) -> str:
    """Give text back unaltered, or refuse it: NUL and lone surrogates cannot be stored as they are."""
    text = _text(value)
    if "\0" in text:
        raise InvalidValue("text holds a NUL character, which PostgreSQL cannot store")
    if not text.isascii():
        _refuse_surrogates(text)
    return text


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise InvalidValue(f"text is needed, not {type(value).__name__}")


def _refuse_surrogates(text: str) -> None:
    try:
        for start in range(0, len(text), _CHUNK):  # in pieces: a second copy of a large text is not needed
            text[start : start + _CHUNK].encode()
    except UnicodeEncodeError:
        pass
    else:
        return
    raise InvalidValue("text holds half of a surrogate pair, which is no character")


def nfc_stripped(value: object) -> str:
    """Give text in NFC without white space at its ends; line breaks and tabs inside are kept."""
    text = unicodedata.normalize("NFC", verbatim(value)).strip()
    if _NOT_IN_TEXT.search(text):
        raise InvalidValue("text holds a control character; only tab and line breaks are allowed")
    return text


def label(value: object) -> str:
    """Give one line of text in NFC without white space at its ends; something in it can be seen."""
    text = nfc_stripped(value)
    if _NOT_IN_LINE.search(text):
        raise InvalidValue("text holds a control character or a line break; one line is allowed")
    if text and not any(_visible(character) for character in text):
        raise InvalidValue("text holds invisible characters only")
    return text


def _visible(character: str) -> bool:
    return unicodedata.category(character)[0] not in "ZCM"


def _within_key(text: str) -> str:
    if len(text.encode()) > KEY_BYTES:
        raise InvalidValue(f"text is longer than {KEY_BYTES} bytes of UTF-8, the most that a key holds")
    return text


def sha256_hex(text: str) -> str:
    """Give the SHA-256 of the text's UTF-8 as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(verbatim(text).encode()).hexdigest()


_FOLDED: Final = str.maketrans(
    {
        "æ": "ae",
        "œ": "oe",
        "ø": "o",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "ł": "l",
        "ħ": "h",
        "ı": "i",
        "ŋ": "n",
        "ŧ": "t",
    }
)


def slugify(name: str) -> str:
    """Make a slug of ASCII letters and digits from a name, the same one each time.

    Accents are folded away. Where letters of another script had to be left out, eight digits of the name's
    SHA-256 tell such names apart; a name that leaves nothing becomes ``p-`` and those digits.
    """
    plain = unicodedata.normalize("NFKD", verbatim(name)).casefold()
    folded = unicodedata.normalize("NFKD", plain).translate(_FOLDED)
    bare = "".join(character for character in folded if not unicodedata.combining(character))
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"['\u2019]", "", bare)).strip("-")
    if slug and not any(character.isalnum() and not character.isascii() for character in bare):
        return slug[:200].strip("-")
    return f"{slug[:191].strip('-') or 'p'}-{sha256_hex(unicodedata.normalize('NFC', plain).strip())[:8]}"


_ONE_BY_ONE: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)


def count_words(text: str) -> int:
    """Count words without a dictionary.

    A word is a run of letters, digits and marks, held together by an apostrophe or underscore inside it and
    by a point or comma between digits. Scripts written without spaces (Han, kana, Thai, Lao, Khmer, Burmese)
    count each letter as one word: as word processors do for the first two, an upper bound for the others.
    """
    return sum(1 for _ in _word().finditer(text))


@cache
def _word() -> re.Pattern[str]:
    """Compile the pattern once, on first use: `re` has no class for marks, and listing them takes a while."""
    marks = "".join(chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M")
    piece = f"(?:[^\\W_{_ONE_BY_ONE}]++|[{marks}]++)++"  # possessive: no text makes it try twice
    joined = f"['\u2019_]{piece}|(?<=\\d)[.,](?=\\d){piece}"
    return re.compile(f"(?=[^\\W_])(?:[{_ONE_BY_ONE}]|{piece}(?:{joined})*+)")


# --- languages --------------------------------------------------------------------------------------------

_LANGUAGE_CHARS: Final = 63
_LANGUAGE_NAMES: Final = {  # for suggestions only: langcodes has no names of its own
    "arabic": "ar", "bengali": "bn", "bulgarian": "bg", "catalan": "ca", "chinese": "zh", "croatian": "hr",
    "czech": "cs", "danish": "da", "dutch": "nl", "english": "en", "estonian": "et", "finnish": "fi",
    "french": "fr", "german": "de", "greek": "el", "hebrew": "he", "hindi": "hi", "hungarian": "hu",
    "indonesian": "id", "italian": "it", "japanese": "ja", "korean": "ko", "latvian": "lv",
    "lithuanian": "lt", "malay": "ms", "norwegian": "no", "persian": "fa", "polish": "pl",
    "portuguese": "pt", "romanian": "ro", "russian": "ru", "serbian": "sr", "slovak": "sk",
    "slovenian": "sl", "spanish": "es", "swahili": "sw", "swedish": "sv", "tamil": "ta", "thai": "th",
    "turkish": "tr", "ukrainian": "uk", "urdu": "ur", "vietnamese": "vi",
}  # fmt: skip


def canonical_language(tag: object) -> str:
    """Give a BCP 47 tag in its canonical form; one whose subtags are not registered is refused.

    Case and separators are made regular, ISO 639-2 codes shortened (``deu`` to ``de``), deprecated subtags
    replaced (``iw`` to ``he``). Script and region stay as written, even where they could be left out, and a
    language is never folded into its macrolanguage: ``cmn`` is not ``zh``, ``nb`` is not ``no``.
    """
    text = verbatim(tag).strip()
    found = _language(text) if len(text) <= _LANGUAGE_CHARS and text.isascii() else None
    if found is None:
        raise InvalidValue(f"a BCP 47 language tag such as en, pt-BR or zh-Hans is needed{_suggestion(text)}")
    return found


def _language(text: str) -> str | None:
    if re.match(r"[A-Za-z]{4}", text):  # no language has such a code; langcodes makes "und" of "root"
        return None
    try:
        language = Language.get(text)
        tag = language.to_tag()
    except LanguageTagError:
        return None
    if not language.is_valid():
        return None
    return tag if tag == text else _language(tag)  # until nothing more is replaced


def _suggestion(text: str) -> str:
    subtags = re.split(r"[-_.@ ]", text[:_LANGUAGE_CHARS].lower())
    prefixes = ("-".join(subtags[:count]) for count in range(len(subtags) - 1, 0, -1))
    known = next((tag for prefix in prefixes if prefix.isascii() and (tag := _language(prefix))), None)
    names = get_close_matches(subtags[0], _LANGUAGE_NAMES, n=1, cutoff=0.8)
    nearest = known or (_LANGUAGE_NAMES[names[0]] if names else None)
    return f"; did you mean {nearest}?" if nearest else ""


# --- URLs -------------------------------------------------------------------------------------------------

_URL: Final = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.IGNORECASE)
_BIDI: Final = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_NOT_IN_URL: Final = re.compile(rf"[\x00-\x1f\x7f-\x9f\s\\{_BIDI}]")
_HOST_AND_PORT: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]+)(?::([0-9]{0,5}))?")
_ASCII_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_IN_PATH: Final = _UNRESERVED | frozenset("!$&'()*+,;=:@/")
_IN_QUERY: Final = _IN_PATH | frozenset("?")
_DEFAULT_PORT: Final = {"http": 80, "https": 443}
_DEVIATIONS: Final = frozenset("ß\u03c2\u200c\u200d")  # the two IDNA standards make different hosts of them
_LATIN_GOES_WITH: Final = frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"})


def normalize_url(value: object) -> str:
    """Give an http or https URL written anew from its parts, so that every parser sees the same host.

    Scheme and host are lower-case, an international host is in its ASCII form, the default port and an empty
    query or fragment are left out, percent-encoding is upper-case and only where it is needed, dot segments
    are resolved. A fragment is kept: it is part of what the link says. Spaces at the ends are dropped.

    Raises
    ------
    InvalidValue
        For another scheme, user info, a control, bidi or white-space character, a backslash, a host that is
        written oddly (``0x7f.1``, ``2130706433``), mixes scripts or is read in two ways; over 2,000 bytes.
    """
    text = verbatim(value).strip(" ")
    if len(text) > 4 * KEY_BYTES:
        raise InvalidValue(f"a URL of at most {KEY_BYTES} bytes is allowed")
    if _NOT_IN_URL.search(text):
        raise InvalidValue("a URL must hold no control, bidi or white-space character and no backslash")
    match = _URL.fullmatch(text)
    if match is None:
        raise InvalidValue("a URL must start with http:// or https://")
    scheme, authority, path, query, fragment = match.groups(default="")
    scheme = scheme.lower()
    where = _authority(authority, _DEFAULT_PORT[scheme])
    path = _without_dots(_encoded(path, _IN_PATH)) or "/"
    query = "?" + _encoded(query, _IN_QUERY) if query else ""
    fragment = "#" + _encoded(fragment, _IN_QUERY) if fragment else ""
    return _within_key(f"{scheme}://{where}{path}{query}{fragment}")


def url_host(url: str) -> str:
    """Give the host of a URL in its ASCII form; an IPv6 address comes without brackets."""
    match = _URL.fullmatch(normalize_url(url))
    host = _HOST_AND_PORT.fullmatch(match[2]) if match else None
    return host[1].strip("[]") if host else ""


def _authority(authority: str, default_port: int) -> str:
    if "@" in authority:
        raise InvalidValue("a URL must hold no user name or password")
    match = _HOST_AND_PORT.fullmatch(authority)
    if match is None:
        raise InvalidValue("a URL must name a host, with a port of digits if any")
    host, port = match[1], int(match[2] or default_port)
    if not 1 <= port <= 65535:
        raise InvalidValue("a URL's port must be 1 to 65535")
    written = f"[{_ipv6(host[1:-1])}]" if host.startswith("[") else _host(host)
    return written if port == default_port else f"{written}:{port}"


def _ipv6(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        address = None
    if address is None or address.scope_id or address.ipv4_mapped:
        raise InvalidValue(
            "a URL's IPv6 address must be well-formed, without zone, and no IPv4 address in disguise"
        )
    return str(address)


def _host(host: str) -> str:
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(labels)
    name = ".".join(_label(text) for text in labels)
    if len(name) > 253:
        raise InvalidValue("a URL's host must have at most 253 characters in its ASCII form")
    return name


def _ipv4(labels: Sequence[str]) -> str:
    try:
        return str(ipaddress.IPv4Address(".".join(labels)))
    except ValueError:
        pass
    raise InvalidValue("a URL's host that ends in a number must be four decimal numbers from 0 to 255")


def _label(text: str) -> str:
    lowered = text.lower()
    if lowered.startswith("xn--") and lowered.isascii():
        return _checked_punycode(lowered)
    composed = unicodedata.normalize("NFC", lowered)
    ascii_form = composed if composed.isascii() else _punycode(composed)
    if not _ASCII_LABEL.fullmatch(ascii_form) or composed[2:4] == "--":
        raise InvalidValue("a label of a URL's host must be 1 to 63 letters, digits and inner hyphens")
    return ascii_form


def _checked_punycode(label_text: str) -> str:
    try:
        decoded = label_text[4:].encode("ascii").decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        decoded = ""
    if decoded.isascii() or not _read_alike(decoded) or _punycode(decoded) != label_text:
        raise InvalidValue(
            "a label of a URL's host starts with xn-- but is no name that is read alike everywhere"
        )
    return label_text


def _punycode(text: str) -> str:
    if not _read_alike(text):
        raise InvalidValue("a URL's host holds a character that is not read alike everywhere")
    scripts = {unicodedata.name(character, "").partition(" ")[0] for character in text if character.isalpha()}
    if len(scripts) > 1 and not scripts <= _LATIN_GOES_WITH:
        raise InvalidValue("a label of a URL's host mixes scripts, as look-alike names do")
    return "xn--" + text.encode("punycode").decode("ascii")


def _read_alike(text: str) -> bool:
    """Tell whether both IDNA standards make the same host of this label: else two readers see two hosts."""
    return (
        unicodedata.normalize("NFKC", text) == text == text.lower()
        and not _DEVIATIONS.intersection(text)
        and all(_in_host(character) for character in text)
        and unicodedata.category(text[0])[0] != "M"
        and _one_direction(text)
    )


def _in_host(character: str) -> bool:
    return character == "-" or unicodedata.category(character) in {"Ll", "Lo", "Lm", "Mn", "Mc", "Nd"}


def _one_direction(text: str) -> bool:
    """Tell whether a label reads in one direction (a strict part of the bidi rule of RFC 5893)."""
    kinds = [unicodedata.bidirectional(character) for character in text]
    right_to_left = {"R", "AL", "AN"}.intersection(kinds)
    return not right_to_left or (kinds[0] in {"R", "AL"} and "L" not in kinds)


def _encoded(text: str, allowed: frozenset[str]) -> str:
    """Percent-encode what must be, decode what need not be, and write the digits in upper case."""
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", text):
        raise InvalidValue("a URL's '%' must stand before two hexadecimal digits other than 00; write %25")
    return re.sub(r"%[0-9A-Fa-f]{2}|.", lambda found: _encoded_one(found[0], allowed), text, flags=re.DOTALL)


def _encoded_one(piece: str, allowed: frozenset[str]) -> str:
    if len(piece) == 3:
        character = chr(int(piece[1:], 16))
        return character if character in _UNRESERVED else piece.upper()
    return piece if piece in allowed else "".join(f"%{byte:02X}" for byte in piece.encode())


def _without_dots(path: str) -> str:
    """Resolve ``.`` and ``..`` as RFC 3986, section 5.2.4, does for a path that starts with a slash."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            kept[-1:] = []
        elif segment != ".":
            kept.append(segment)
    ends_open = segments[-1:] in (["."], [".."])
    return "".join(f"/{segment}" for segment in kept) + ("/" if ends_open else "")


# --- files, tags, JSON, times -----------------------------------------------------------------------------


def mime_type(value: object) -> str:
    """Give a media type (``video/mp4``) in lower case; parameters are refused."""
    text = verbatim(value).strip().lower()
    if not re.fullmatch(MIME_PATTERN[1:-1], text):
        raise InvalidValue("a media type such as video/mp4 is needed, without parameters")
    return text


def storage_uri(value: object) -> str:
    """Give the path or URI of a stored file unaltered; a control character or over 2,000 bytes is refused."""
    text = verbatim(value)
    if _NOT_IN_LINE.search(text):
        raise InvalidValue("a file's path or URI must hold no control character or line break")
    return _within_key(text)


def filename(value: object) -> str:
    """Give a file's name in NFC; one that could be a path or a command's option is refused."""
    text = label(value)
    if re.search(r"[/\\]", text) or text in {".", ".."} or text.startswith("-"):
        raise InvalidValue("a file's name must hold no slash, start with no hyphen, and be neither . nor ..")
    if len(text.encode()) > 255:
        raise InvalidValue("a file's name must be 1 to 255 bytes of UTF-8")
    return text


def relative_path(value: object) -> str:
    """Give a file's path below some folder, in NFC with ``/``; one that could lead out of it is refused."""
    parts = _text(value).split("/")
    return _within_key("/".join(filename(part) for part in parts))


def tags(value: object) -> tuple[str, ...]:
    """Give tags as labels in the order given, each once."""
    if not isinstance(value, list | tuple | set | frozenset):
        raise InvalidValue(f"a list of tags is needed, not {type(value).__name__}")
    given: Iterable[object] = sorted(map(_text, value)) if isinstance(value, set | frozenset) else value
    return tuple(dict.fromkeys(label(tag) for tag in given))


_JSON_DEPTH: Final = 100
_JSON_VALUES: Final = 2_000_000
_JSON_INT_BITS: Final = 14_000  # Python turns an int of more than 4,300 digits neither into text nor back


def json_object(value: object) -> dict[str, JsonValue]:
    """Give a JSON object unaltered, or refuse what JSON or PostgreSQL's jsonb would not give back the same.

    Allowed are dict with text keys, list, str, int, finite float, bool and None, of exactly these types, to a
    depth of 100; NUL and lone surrogates are refused in keys too. It walks without recursion.
    """
    if type(value) is not dict:
        raise InvalidValue(f"a JSON object (dict) is needed, not {type(value).__name__}")
    left = _JSON_VALUES
    stack: list[Iterator[object]] = [iter([value])]
    while stack:
        item = next(stack[-1], stack)
        if item is stack:
            stack.pop()
            continue
        left -= 1
        inside = _json_items(item)
        if inside is not None:
            stack.append(inside)
        if (
            len(stack) > _JSON_DEPTH + 1 or left < 0
        ):  # the count also ends a value that holds itself many times
            raise InvalidValue(f"JSON of at most {_JSON_DEPTH} levels and {_JSON_VALUES:,} values is allowed")
    return value


def _json_items(item: object) -> Iterator[object] | None:
    """Check one value of JSON, and give what is inside it."""
    if type(item) is dict:
        for key in item:
            _json_key(key)
        return iter(item.values())
    if type(item) is list:
        return iter(item)
    _json_scalar(item)
    return None


def _json_key(key: object) -> None:
    if type(key) is not str:
        raise InvalidValue(f"a key of a JSON object must be text, not {type(key).__name__}")
    verbatim(key)


def _json_scalar(item: object) -> None:
    if type(item) is str:
        verbatim(item)
    elif type(item) is float:
        if not math.isfinite(item):
            raise InvalidValue("JSON has no NaN and no Infinity")
    elif type(item) is int:
        if item.bit_length() > _JSON_INT_BITS:
            raise InvalidValue("a whole number in JSON must have at most 4,200 digits")
    elif item is not None and type(item) is not bool:
        raise InvalidValue(
            f"JSON holds dict, list, str, int, float, bool and None, not {type(item).__name__}"
        )


def utc(value: datetime) -> datetime:
    """Give an aware time in UTC; one without a zone, or outside the years 1 to 9999 in UTC, is refused."""
    if value.utcoffset() is None:
        raise InvalidValue("a time with a time zone is needed")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        pass
    raise InvalidValue("a time within the years 1 to 9999 in UTC is needed")


def _time_or_text(value: object) -> object:
    if isinstance(value, datetime | str):
        return value
    raise InvalidValue(f"a datetime or ISO 8601 text is needed, not {type(value).__name__}")


# --- types ------------------------------------------------------------------------------------------------

Title = Annotated[str, MinLen(1), MaxLen(500), BeforeValidator(label)]
"""One line, NFC, stripped, 1 to 500 characters (so at most 2,000 bytes)."""
Name = Annotated[str, MinLen(1), MaxLen(200), BeforeValidator(label)]
"""One line, NFC, stripped, 1 to 200 characters."""
Slug = Annotated[str, MinLen(1), MaxLen(200), StringConstraints(pattern=SLUG_PATTERN), BeforeValidator(_text)]
"""ASCII words in lower case joined by single hyphens, 1 to 200 characters; never altered."""
Description = Annotated[str, MaxLen(10_000), BeforeValidator(nfc_stripped)]
"""Text of several lines, NFC, stripped, at most 10,000 characters."""
Text = Annotated[str, BeforeValidator(verbatim)]
"""Content: stored verbatim, or refused."""
RequiredText = Annotated[str, MinLen(1), BeforeValidator(verbatim)]
"""Content of at least one character: stored verbatim, or refused."""
LanguageCode = Annotated[str, MinLen(2), MaxLen(_LANGUAGE_CHARS), BeforeValidator(canonical_language)]
"""A BCP 47 tag in canonical form."""
Url = Annotated[str, MinLen(1), MaxLen(KEY_BYTES), BeforeValidator(normalize_url)]
"""An http or https URL, written anew from its parts, ASCII, at most 2,000 bytes."""
MimeType = Annotated[str, MinLen(3), MaxLen(255), BeforeValidator(mime_type)]
"""A media type in lower case, without parameters."""
Checksum = Annotated[
    str, MinLen(64), MaxLen(64), StringConstraints(pattern=CHECKSUM_PATTERN), BeforeValidator(_text)
]
"""A SHA-256: 64 lower-case hexadecimal digits."""
StorageUri = Annotated[str, MinLen(1), MaxLen(KEY_BYTES), BeforeValidator(storage_uri)]
"""The path or URI of a stored file, verbatim, 1 to 2,000 bytes."""
Filename = Annotated[str, MinLen(1), MaxLen(255), BeforeValidator(filename)]
"""The name of a file without its folder, NFC, 1 to 255 bytes."""
RelativePath = Annotated[str, MinLen(1), MaxLen(KEY_BYTES), BeforeValidator(relative_path)]
"""A file's path below some folder, such as ``scenes/opening.docx``; at most 2,000 bytes."""
Tags = Annotated[tuple[Annotated[str, MinLen(1), MaxLen(100)], ...], MaxLen(100), BeforeValidator(tags)]
"""At most 100 different labels of 1 to 100 characters, in the order given."""
JsonObject = Annotated[dict[str, JsonValue], BeforeValidator(json_object)]
"""A JSON object that jsonb gives back as it was."""
Count = Annotated[int, Strict(), Ge(0), Le(2**63 - 1)]
"""A whole number from 0 to 2**63 - 1."""
PositiveInt32 = Annotated[int, Strict(), Ge(1), Le(2**31 - 1)]
"""A whole number from 1 to 2**31 - 1."""
Duration = Annotated[float, Strict(), AllowInfNan(False), Ge(0)]
"""Seconds, finite, 0 or more."""
FrameRate = Annotated[float, Strict(), AllowInfNan(False), Gt(0), Le(1_000)]
"""Frames a second, more than 0, at most 1,000."""
UtcDatetime = Annotated[AwareDatetime, BeforeValidator(_time_or_text), AfterValidator(utc)]
"""An aware time, turned to UTC."""
