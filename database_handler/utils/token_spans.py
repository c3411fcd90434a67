"""Where the tokens of a text stand: checked against the text, packed into few bytes, read whole or in part.

Packed, a token takes about half a byte: what lies before it and its length together are one of sixteen codes.
The layout, whose numbers are big-endian and whose positions are characters of the content:

=====================  ====================================================================================
1 byte                 the layout: 1
4 bytes                the number of tokens, n
4 bytes                where the last token ends
1 byte                 how many codes follow, at most 15; none stands for the codes of `_USUAL`
1 byte each            the codes: gap (2 bits) and length (6 bits)
8 bytes each           for each block of 128 tokens but the first: where the token before it ends (4), and
                       how many bytes of the last part belong to earlier blocks (4)
(n + 1) // 2 bytes     half a byte a token, the first of two in the upper half: its code; 15 is none of them
the rest               for each token of code 15 a byte of gap and length; if its length is 0, two numbers
                       follow, gap and length, in LEB128
=====================  ====================================================================================

It is one module, because the layout should be read in one place.
"""

import base64
import binascii
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, repeat
from operator import le, lt, sub
from typing import Annotated, Any, Final, NamedTuple, NoReturn, Self, overload

from annotated_types import MinLen
from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

from database_handler.utils.arguments import checked
from database_handler.utils.choices import Choice
from database_handler.utils.errors import InvalidValue

__all__ = [
    "BLOCK",
    "PackedPart",
    "Token",
    "TokenKind",
    "TokenSpans",
    "Tokens",
    "number_of_tokens",
    "packed_spans",
]

BLOCK: Final = 128
"""How many tokens stand between two entries of the index."""

Span = tuple[int, int]
_HEADER: Final = 10
_LAYOUT: Final = 1
_ENTRY: Final = 8
_WIDEST_GAP: Final = 3
_WIDEST: Final = 63
_USUAL: Final = (*((1, length) for length in range(1, 11)), *((0, length) for length in range(1, 6)))
_DIGITS: Final = "0123456789abcde"
_OTHER: Final = "f"
_USUAL_CODES: Final = bytes(gap << 6 | length for gap, length in _USUAL)
_GAPS: Final = bytes(code >> 6 for code in range(256))
_LENGTHS: Final = bytes(code & 63 for code in range(256))


class TokenKind(Choice):
    """What a token is, by its characters."""

    WORD = "word"
    NUMBER = "number"
    PUNCTUATION = "punctuation"
    SYMBOL = "symbol"


class Token(NamedTuple):
    """A span of the content: characters `start` to `end`, the latter not included."""

    text: str
    start: int
    end: int

    @property
    def kind(self) -> TokenKind:
        """A word where it holds a letter, else a number where it holds a digit, else a sign by its first."""
        if any(map(str.isalpha, self.text)):
            return TokenKind.WORD
        if any(map(str.isnumeric, self.text)):
            return TokenKind.NUMBER
        punctuation = unicodedata.category(self.text[0])[0] == "P"
        return TokenKind.PUNCTUATION if punctuation else TokenKind.SYMBOL


class Tokens(Sequence[Token]):
    """The tokens of a text, or some that follow each other, with the text; a `Token` is made when asked for.

    Parameters
    ----------
    content : str
        The text.
    spans : iterable of (int, int) or Token
        Where each token begins and ends, in characters: in order, none empty, none over another.

    Attributes
    ----------
    content : str
        The text; of a slice, the part from its first token to its last.
    offset : int
        How many characters of the whole text stand before `content`.
    first : int
        The number of the first token in the whole text, from 0.

    Raises
    ------
    InvalidValue
        The first span that is wrong, by its number.
    """

    __slots__ = ("_ends", "_starts", "content", "first", "offset")

    def __init__(self, content: str, spans: Iterable[Span | Token]) -> None:
        if not isinstance(content, str):
            raise InvalidValue(f"tokens are of a text, not of a {type(content).__name__}")
        starts, ends = _columns(spans)
        _refuse_wrong(starts, ends, len(content))
        self._set(content, starts, ends, 0, 0)

    def _set(self, content: str, starts: Sequence[int], ends: Sequence[int], offset: int, first: int) -> None:
        self.content, self.offset, self.first = content, offset, first
        self._starts, self._ends = starts, ends

    @classmethod
    def unchecked(
        cls, content: str, starts: Sequence[int], ends: Sequence[int], offset: int = 0, first: int = 0
    ) -> Self:
        """Make tokens of spans that are known to be right; `content` begins at `offset` of the whole text."""
        tokens = cls.__new__(cls)
        tokens._set(content, starts, ends, offset, first)
        return tokens

    @classmethod
    @checked
    def unpacked(cls, content: str, packed: bytes) -> Self:
        """Read the packed form back; one that does not fit the content is refused as spans are."""
        starts, ends = _part(bytes(packed)).spans()
        _refuse_wrong(starts, ends, len(content))
        return cls.unchecked(content, starts, ends)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Token: ...
    @overload
    def __getitem__(self, index: slice) -> "Tokens": ...
    def __getitem__(self, index: int | slice) -> "Token | Tokens":
        """Return a token; for a slice the tokens in it, with the part of the text that they span."""
        if isinstance(index, slice):
            return self._slice(*index.indices(len(self)))
        start, end = self._starts[index], self._ends[index]
        return Token(self.content[start - self.offset : end - self.offset], start, end)

    def _slice(self, first: int, stop: int, step: int) -> "Tokens":
        if step != 1:
            raise InvalidValue("tokens are sliced without a step: a slice is a part of the text")
        starts, ends = self._starts[first:stop], self._ends[first:stop]
        if not starts:
            return Tokens.unchecked("", [], [], self.offset, self.first + first)
        text = self.content[starts[0] - self.offset : ends[-1] - self.offset]
        return Tokens.unchecked(text, starts, ends, starts[0], self.first + first)

    def __iter__(self) -> Iterator[Token]:
        return map(Token, self.texts, self._starts, self._ends)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokens):
            return NotImplemented
        mine, theirs = ((each.content, each.offset, each.first, *each.spans) for each in (self, other))
        return mine == theirs

    def __hash__(self) -> int:
        return hash((self.content, self.offset, self.first, len(self)))

    def __repr__(self) -> str:
        return f"<Tokens: {len(self):,} of {len(self.content):,} characters>"

    @property
    def columns(self) -> tuple[Sequence[int], Sequence[int]]:
        """Where the tokens begin, and where they end, in characters of the whole text."""
        return self._starts, self._ends

    @property
    def spans(self) -> list[Span]:
        """Where each token begins and ends, in characters of the whole text."""
        return list(zip(self._starts, self._ends, strict=True))

    @property
    def texts(self) -> list[str]:
        """The text of each token."""
        content, offset = self.content, self.offset
        if offset == 0:
            return [content[start:end] for start, end in zip(self._starts, self._ends, strict=True)]
        return [content[s - offset : e - offset] for s, e in zip(self._starts, self._ends, strict=True)]

    @property
    def gaps(self) -> list[str]:
        """What stands before each token and, last, after all of them: one more than there are tokens."""
        content, offset = self.content, self.offset
        before = zip(chain((offset,), self._ends), chain(self._starts, (offset + len(content),)), strict=True)
        return [content[end - offset : start - offset] for end, start in before]

    @property
    def packed(self) -> bytes:
        """The form that is stored; only tokens of a whole text have one."""
        if self.offset or self.first:
            raise InvalidValue("a slice of tokens has no packed form; take that of all tokens")
        return _packed(self._starts, self._ends)


# ------------------------------------------------------------------------------------------------- checking


def _columns(spans: Iterable[Any]) -> tuple[list[int], list[int]]:
    """Take pairs, or tokens, apart into where they begin and where they end."""
    if not isinstance(spans, Iterable):
        raise InvalidValue(f"spans are a list of (start, end), not a {type(spans).__name__}")
    starts, ends = [], []
    for place, span in enumerate(spans):
        start, end = (span.start, span.end) if isinstance(span, Token) else _pair(span, place)
        starts.append(start)
        ends.append(end)
    return starts, ends


def _pair(span: object, place: int) -> Span:
    if isinstance(span, Sequence) and len(span) == 2 and all(type(position) is int for position in span):
        return span[0], span[1]
    raise InvalidValue(f"token {place} is no pair of whole numbers (start, end)")


def _refuse_wrong(starts: Sequence[int], ends: Sequence[int], length: int | None) -> None:
    """Raise for the first span that is empty, out of order or, where the length is known, out of the text."""
    in_order = all(map(lt, starts, ends)) and all(map(le, chain((0,), ends), starts))
    if in_order and (length is None or not ends or ends[-1] <= length):
        return
    before = 0
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        _refuse_span(place, start, end, before, length)
        before = end


def _refuse_span(place: int, start: int, end: int, before: int, length: int | None) -> None:
    inside = start >= 0 and (length is None or end <= length)
    if inside and start < end and before <= start:
        return
    allowed = "" if length is None else f" of a content of {length} characters"
    told = (
        "lies outside"
        if not inside
        else "is empty"
        if start >= end
        else f"begins before {before}, where the one before it ends"
    )
    raise InvalidValue(
        f"token {place} ({start}, {end}){allowed} {told}; tokens are spans of the content, in order"
    )


# -------------------------------------------------------------------------------------------------- packing


def _packed(starts: Sequence[int], ends: Sequence[int]) -> bytes:
    gaps, lengths = map(sub, starts, chain((0,), ends)), map(sub, ends, starts)
    steps = list(zip(gaps, lengths, strict=False))
    codes, own = _codebook(steps)
    digit = dict(zip(codes, _DIGITS, strict=False))
    digits = "".join(map(digit.get, steps, repeat(_OTHER)))
    wide = [
        b"".join(_wide(step) for step in steps[at : at + BLOCK] if step not in digit) for at in _blocks(steps)
    ]
    offsets = accumulate(map(len, wide))
    index = (
        _number(ends[at - 1]) + _number(offset)
        for at, offset in zip(_blocks(steps)[1:], offsets, strict=False)
    )
    header = (
        bytes([_LAYOUT]),
        _number(len(steps)),
        _number(ends[-1] if steps else 0),
        bytes([len(own)]),
        own,
    )
    return b"".join((*header, *index, bytes.fromhex(digits + "0" * (len(digits) % 2)), *wide))


def _blocks(steps: Sequence[Any]) -> range:
    return range(0, len(steps), BLOCK)


def _codebook(steps: Sequence[Span]) -> tuple[Sequence[Span], bytes]:
    """Return the fifteen steps that get a code, and how they are said: by nothing for the usual ones.

    A code saves its step the byte in the last part, so codes of the text's own pay when they save more than
    their own bytes.
    """
    counted = Counter(steps)
    few = [step for step in counted if step[0] <= _WIDEST_GAP and step[1] <= _WIDEST]
    own = sorted(sorted(few, key=lambda step: (-counted[step], step))[: len(_DIGITS)])
    gain = sum(counted[step] for step in own) - sum(counted[step] for step in _USUAL)
    if gain <= len(own):
        return _USUAL, b""
    return own, b"".join(map(_wide, own))


def _wide(step: Span) -> bytes:
    gap, length = step
    if gap <= _WIDEST_GAP and length <= _WIDEST:
        return bytes([gap << 6 | length])
    return b"\0" + _varint(gap) + _varint(length)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


# ------------------------------------------------------------------------------------------------ unpacking


class PackedPart(NamedTuple):
    """A part of a packed value, from the beginning of a block: what a slice is read from.

    Attributes
    ----------
    codes : bytes
        The codes of the text's own, empty for the usual ones.
    before : int
        Where the token before the part ends.
    length : int
        How many tokens are read.
    halves, wide : bytes
        The half bytes, and the bytes for tokens without a code, from the part's on.
    """

    codes: bytes
    before: int
    length: int
    halves: bytes
    wide: bytes

    def spans(self) -> tuple[list[int], list[int]]:
        """Return where the tokens begin and where they end; `InvalidValue` for what is no packed part."""
        codes = self.codes or _USUAL_CODES
        digits = self.halves.hex().encode()[: self.length]
        known = _DIGITS[: len(codes)].encode()
        if len(codes) > len(_DIGITS) or len(digits) < self.length:
            _damaged()
        if digits.translate(None, known + _OTHER.encode()):
            _damaged()
        flat = [0] * (2 * self.length)
        flat[::2] = digits.translate(bytes.maketrans(known, codes.translate(_GAPS)))
        flat[1::2] = digits.translate(bytes.maketrans(known, codes.translate(_LENGTHS)))
        self._widen(digits, flat)
        if flat:
            flat[0] += self.before
        positions = list(accumulate(flat))
        return positions[::2], positions[1::2]

    def _widen(self, digits: bytes, flat: list[int]) -> None:
        """Put in what has no code."""
        steps, other = _wide_steps(self.wide), _OTHER.encode()
        place = digits.find(other)
        while place >= 0:
            step = next(steps, None)
            if step is None:
                _damaged()
            flat[2 * place : 2 * place + 2] = step
            place = digits.find(other, place + 1)


def _wide_steps(data: bytes) -> Iterator[Span]:
    rest = iter(data)
    for code in rest:
        yield (code >> 6, code & _WIDEST) if code & _WIDEST else (_varint_of(rest), _varint_of(rest))


def _varint_of(rest: Iterator[int]) -> int:
    value = 0
    for place, byte in zip(range(0, 35, 7), rest, strict=False):
        value |= (byte & 0x7F) << place
        if byte < 0x80:
            break
    else:
        _damaged()
    return value


def _damaged() -> NoReturn:
    raise InvalidValue("packed tokens: these bytes are damaged, or were packed otherwise")


def number_of_tokens(packed: bytes | None) -> int | None:
    """Give the number of tokens that a packed value says, None for none."""
    if not isinstance(packed, bytes | None):
        raise InvalidValue(f"packed tokens are bytes, not a {type(packed).__name__}")
    return None if packed is None else int.from_bytes(packed[1:5], "big")


def _part(packed: bytes) -> PackedPart:
    """Return all tokens of a packed value as one part."""
    count = number_of_tokens(packed) or 0
    if len(packed) < _HEADER or packed[0] != _LAYOUT or count > 2 * len(packed):
        _damaged()
    index = _HEADER + packed[9]
    halves = index + _ENTRY * max(0, (count - 1) // BLOCK)
    wide = halves + (count + 1) // 2
    return PackedPart(packed[_HEADER:index], 0, count, packed[halves:wide], packed[wide:])


# ------------------------------------------------------------------------------------------------ the field


def token_spans(value: object, info: ValidationInfo) -> bytes:
    """Give tokens packed, checked against the field ``content`` validated before, where there is one."""
    return packed_spans(value, (info.data or {}).get("content"))


def packed_spans(value: object, content: str | None) -> bytes:
    """Give tokens packed: from `Tokens`, spans, or their packed form (in JSON: its base64).

    Raises
    ------
    InvalidValue
        The first that is empty, out of order or, where the content is given, not in it; by its number. Or
        they are the `Tokens` of another text.
    """
    if isinstance(value, Tokens) and content is not None and (value.content, value.offset) != (content, 0):
        raise InvalidValue("these are the tokens of another text, or only some of them")
    starts, ends = _given(value)
    _refuse_wrong(starts, ends, None if content is None else len(content))
    return _packed(starts, ends)


def _given(value: object) -> tuple[Sequence[int], Sequence[int]]:
    if isinstance(value, Tokens):
        return value.columns
    if isinstance(value, str):
        return _part(_from_base64(value)).spans()
    if isinstance(value, bytes | bytearray | memoryview):
        return _part(bytes(value)).spans()
    if isinstance(value, Iterable):
        return _columns(value)
    raise InvalidValue(
        f"tokens are Tokens, (start, end) pairs or their packed form, not {type(value).__name__}"
    )


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise InvalidValue("packed tokens as text are base64")


def _base64(packed: bytes) -> str:
    return base64.b64encode(packed).decode()


TokenSpans = Annotated[
    bytes,
    MinLen(_HEADER),
    BeforeValidator(token_spans),
    PlainSerializer(_base64, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
"""Where the tokens of the field ``content`` stand, packed; given as `Tokens`, pairs or packed."""
