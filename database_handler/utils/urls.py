"""A URL is written anew from its parts, so that every parser sees the same host in it, or it is refused.

Sources: RFC 3986 and the WHATWG URL standard (where they differ, what both read alike); RFC 5891, 5892 and
5893 (international host names).
"""

import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from database_handler.utils.errors import InvalidValue
from database_handler.utils.text import KEY_BYTES, verbatim, within_key

__all__ = ["ORIGINAL_URL_CHARS", "normalize_url", "original_url", "url_host"]

ORIGINAL_URL_CHARS: Final = 4 * KEY_BYTES
"""The most characters that a URL may have as it is given."""

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
# Letters that look like Latin ones, and the top domains at home in their script. Source: the look-alikes that
# browsers show in their ASCII form.
_TWINS: Final = (
    (
        frozenset("асԁеһіјӏорԗԛѕԝхуъьҽпгѵѡ"),
        frozenset({"bg", "by", "kg", "kz", "mk", "mn", "rs", "ru", "su", "tj", "ua", "uz"}),
    ),
    (frozenset("αγεηικνορτυωϲϳ"), frozenset({"gr", "cy", "eu"})),
    (frozenset("ɑɡɩɪʀʏʙɢɴʜʟ" + "".join(map(chr, range(0x1D00, 0x1D2C)))), frozenset[str]()),
)
# Beside Latin letters these look like a slash, a hyphen, a dot.
_TWINS_OF_SIGNS: Final = frozenset("ノンソゾ丶丿一ーㅡ丨乛〳〵〱〆彡ㆍ")
_IGNORED: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_HIDES_IPV4: Final = tuple(
    map(
        ipaddress.IPv6Network,
        ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16"),
    )
)
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
        written oddly (``0x7f.1``, ``2130706433``), hides an IPv4 address in an IPv6 one, mixes scripts, looks
        like another host (``аррӏе.com`` in Cyrillic) or is read in two ways; over 2,000 bytes.
    """
    text = verbatim(value).strip(" ")
    if len(text) > ORIGINAL_URL_CHARS:
        raise InvalidValue(f"a URL of at most {KEY_BYTES} bytes is allowed")
    return _normalized(text)


@lru_cache(maxsize=256)  # a model asks for one URL's form, host and kind in turn
def _normalized(text: str) -> str:
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
    return within_key(f"{scheme}://{where}{path}{query}{fragment}")


def original_url(value: object) -> str:
    """Give a URL as it was given, unaltered; one that `normalize_url` refuses is refused."""
    normalize_url(value)
    return verbatim(value)


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
    if address is None or address.scope_id or _hides_ipv4(address):
        raise InvalidValue(
            "a URL's IPv6 address must be well-formed, without zone, and no IPv4 address in disguise"
        )
    return str(address)


def _hides_ipv4(address: ipaddress.IPv6Address) -> bool:
    return int(address) > 1 and any(address in network for network in _HIDES_IPV4)


def _host(host: str) -> str:
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(labels)
    written = [_label(text) for text in labels]
    for label in written:
        _refuse_twin(label, home=written[-1])
    name = ".".join(written)
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


def _refuse_twin(label: str, home: str) -> None:
    """Refuse a label in letters that look like Latin ones, or with letters that look like signs."""
    text = label[4:].encode("ascii").decode("punycode") if label.startswith("xn--") else ""
    letters = {character for character in text if character.isalpha()}
    among_latin = any(character.isascii() for character in letters) and _TWINS_OF_SIGNS & letters
    alike = any(
        letters and letters <= twins and home not in homes and not home.startswith("xn--")
        for twins, homes in _TWINS
    )
    if alike or among_latin or letters & _TWINS[-1][0]:
        raise InvalidValue("a label of a URL's host is written in letters that look like others")


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
        unicodedata.normalize("NFKC", text) == text == text.lower() == text.casefold()
        and not _IGNORED.search(text)
        and not _DEVIATIONS.intersection(text)
        and text == text.strip("-")
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
