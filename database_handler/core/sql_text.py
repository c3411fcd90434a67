"""PostgreSQL's SQL text taken apart without a server: tokens, statements, and what no caller may send.

One lexer for two users. The session refuses a second statement and transaction control in a caller's
text; the migrations split, hash and point into their files. It follows the server's `scan.l` with
`standard_conforming_strings` on, reads every character once, and never recurses. Where the server would
refuse the text anyway (trailing junk after a number, say) it need not agree on where a token ends.

One module, somewhat over 300 lines, because what is refused is told by the tokens that only the lexer knows.
"""

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from database_handler.core.exceptions import InvalidSql

__all__ = [
    "Location",
    "Span",
    "SqlTextError",
    "Token",
    "TokenKind",
    "client_copy",
    "control_words",
    "first_words",
    "hash_tokens",
    "locate",
    "refuse_control",
    "significant_tokens",
    "split_tokens",
    "statements",
    "token_hash",
    "tokens",
]


class TokenKind(StrEnum):
    """What a piece of SQL text is to the server's lexer."""

    WORD = "word"
    QUOTED_IDENTIFIER = "quoted_identifier"
    STRING = "string"
    DOLLAR_STRING = "dollar_string"
    NUMBER = "number"
    OPERATOR = "operator"
    PUNCTUATION = "punctuation"
    PARAMETER = "parameter"
    COMMENT = "comment"
    WHITESPACE = "whitespace"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of SQL text and where it stands, in characters from 0; `end` is exclusive."""

    kind: TokenKind
    text: str
    start: int
    end: int


class Span(NamedTuple):
    """A statement without its semicolon, and without the comments and blanks around it."""

    start: int
    end: int

    def of(self, sql: str) -> str:
        """Return the statement's text."""
        return sql[self.start : self.end]


class Location(NamedTuple):
    """A place in a text, as an editor counts it: line and column from 1, and the line itself."""

    line: int
    column: int
    text: str


class SqlTextError(ValueError):
    """The text is not SQL: something in it is never closed, or it holds a character that SQL cannot.

    Attributes
    ----------
    position : int
        Where it begins, in characters from 0.
    reason : str
        What is wrong, without the place.
    """

    def __init__(self, reason: str, sql: str, position: int) -> None:
        place = locate(sql, position)
        super().__init__(f"line {place.line}, column {place.column}: {reason}")
        self.reason = reason
        self.position = position


# From U+0080 on every character may stand in a name. A class that lists what may not is compiled much faster.
_START = r"[^\x00-@\[-\^`{-\x7f]"  # A-Z a-z _
_INSIDE = r"[^\x00-/:-@\[-\^`{-\x7f]"  # and 0-9
_INSIDE_WORD = r"[^\x00-\#%-/:-@\[-\^`{-\x7f]"  # and $
_OPERATORS = r"+\-*/<>=~!@#^&|`?"
# A run longer than any operator may be (63 bytes) is cut, so that `++++...` is not scanned again and again.
_LONGEST_OPERATOR = 66
_MASTER = rf"""
  (?P<WHITESPACE>    [ \t\n\r\f\v]++ )
| (?P<COMMENT>       --[^\n\r]*+ )
| (?P<block>         /\* )
| (?P<escaped>       [eE]' )
| (?P<plain>         (?:[nNbBxX]|[uU]&)?' )
| (?P<quoted>        (?:[uU]&)?" )
| (?P<dollar>        \$(?:{_START}{_INSIDE}*+)?\$ )
| (?P<PARAMETER>     \$[0-9]++ @placeholder@ )
| (?P<WORD>          {_START}{_INSIDE_WORD}*+ )
| (?P<NUMBER>        0[xX](?:_?[0-9A-Fa-f])++ | 0[oO](?:_?[0-7])++ | 0[bB](?:_?[01])++
                   | (?:[0-9](?:_?[0-9])*+ (?:\.(?!\.)(?:[0-9](?:_?[0-9])*+)?)? | \.[0-9](?:_?[0-9])*+)
                     (?:[eE][+\-]?[0-9](?:_?[0-9])*+)? )
| (?P<operator>      (?:[{_OPERATORS}]|@percent@){{1,{_LONGEST_OPERATOR}}}+ )
| (?P<lone>          % )
| (?P<PUNCTUATION>   :: | := | \.\. | . )
"""


def _master(placeholder: str, percent: str) -> re.Pattern[str]:
    text = _MASTER.replace("@placeholder@", placeholder).replace("@percent@", percent)
    return re.compile(text, re.VERBOSE | re.DOTALL)


_SERVER = _master("", "%")
_DRIVER = _master(r"| %s | %\([^()%]*+\)s", "%%")
_CLOSERS = {
    "plain": (re.compile(r"[^']*+(?:''[^']*+)*+'"), TokenKind.STRING, "a string is not closed"),
    "escaped": (re.compile(r"(?:[^'\\]++|''|\\.)*+'", re.DOTALL), TokenKind.STRING, "a string is not closed"),
    "quoted": (
        re.compile(r'[^"]*+(?:""[^"]*+)*+"'),
        TokenKind.QUOTED_IDENTIFIER,
        "a quoted name is not closed",
    ),
}
_KINDS = {kind.name: kind for kind in TokenKind}
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_OPERATOR_END = re.compile(r"--|/\*")
_KEEPS_SIGN = re.compile(r"[~!@#^&|`?%]")
_IGNORED = frozenset({TokenKind.WHITESPACE, TokenKind.COMMENT})

_Piece = tuple[TokenKind, int, int]


def _scan(sql: str, placeholders: bool = False) -> Iterator[_Piece]:
    if "\0" in sql:
        raise SqlTextError("a NUL character", sql, sql.index("\0"))
    match, position, length = (_DRIVER if placeholders else _SERVER).match, 0, len(sql)
    continues = _Continuation()
    while position < length:
        found = match(sql, position)
        if found is None or found.lastgroup is None:  # cannot be: the last alternative takes any character
            raise SqlTextError("an unreadable character", sql, position)
        group = found.lastgroup
        if group == "plain" and continues.escaped and sql[position] == "'":
            group = "escaped"
        kind = _KINDS.get(group)
        end = found.end()
        if kind is None:
            kind, end = _complex(sql, group, position, end)
        continues.see(kind, group, sql, position, end)
        yield kind, position, end
        position = end


class _Continuation:
    """Whether a `'` that comes next goes on with an E'' string: only a line break (and `--`) lies between."""

    __slots__ = ("_after_escaped", "_line_break")

    def __init__(self) -> None:
        self._after_escaped = self._line_break = False

    @property
    def escaped(self) -> bool:
        return self._after_escaped and self._line_break

    def see(self, kind: TokenKind, group: str, sql: str, start: int, end: int) -> None:
        if group == "escaped":
            self._after_escaped, self._line_break = True, False
        elif not self._after_escaped:
            return
        elif kind is TokenKind.WHITESPACE:
            self._line_break = self._line_break or "\n" in sql[start:end] or "\r" in sql[start:end]
        elif group != "COMMENT":
            self._after_escaped = False


def _complex(sql: str, group: str, start: int, opened: int) -> tuple[TokenKind, int]:
    if group == "operator":
        return TokenKind.OPERATOR, start + _operator_length(sql[start:opened])
    if group == "block":
        return TokenKind.COMMENT, _comment_end(sql, start)
    if group == "dollar":
        return TokenKind.DOLLAR_STRING, _dollar_end(sql, start, opened)
    if group == "lone":
        raise SqlTextError("a single %: with parameters, a percent sign is written %%", sql, start)
    closer, kind, reason = _CLOSERS[group]
    found = closer.match(sql, opened)
    if found is None:
        raise SqlTextError(reason, sql, start)
    return kind, found.end()


def _comment_end(sql: str, start: int) -> int:
    depth = 0
    for edge in _COMMENT_EDGE.finditer(sql, start):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    raise SqlTextError("a comment is not closed", sql, start)


def _dollar_end(sql: str, start: int, opened: int) -> int:
    tag = sql[start:opened]
    closed = sql.find(tag, opened)
    if closed < 0:
        raise SqlTextError("a dollar-quoted string is not closed", sql, start)
    return closed + len(tag)


def _operator_length(run: str) -> int:
    if comment := _OPERATOR_END.search(run):
        run = run[: comment.start()]
    if not _KEEPS_SIGN.search(run):  # SQL's own operators never end in a sign: `a=-1` is `=` and `-1`
        run = run[0] + run[1:].rstrip("+-")
    return len(run)


def tokens(sql: str, *, placeholders: bool = False) -> Iterator[Token]:
    """Give every token in order; their texts put together are `sql` again.

    Parameters
    ----------
    sql : str
        Any text, up to many megabytes: each character is looked at a bounded number of times.
    placeholders : bool
        Whether the driver will fill in parameters: `%s` and `%(name)s` are parameters then, `%%` is one
        percent sign, and a single `%` is an error.

    Raises
    ------
    SqlTextError
        For something that is never closed, or a NUL character.
    """
    for kind, start, end in _scan(sql, placeholders):
        yield Token(kind, sql[start:end], start, end)


def significant_tokens(sql: str) -> Iterator[Token]:
    """Give the tokens that mean something to the server: no comments, no whitespace."""
    return (token for token in tokens(sql) if token.kind not in _IGNORED)


def statements(sql: str) -> list[Span]:
    """Return where each statement stands; a semicolon in a function's or a rule's body ends none.

    Raises
    ------
    SqlTextError
        As `tokens` does.
    """
    return _split(sql, _scan(sql))


def split_tokens(sql: str, found: Iterable[Token]) -> list[Span]:
    """Return where each statement stands among some of the tokens of `sql`, without reading it again."""
    return _split(sql, ((token.kind, token.start, token.end) for token in found))


def _split(sql: str, pieces: Iterable[_Piece]) -> list[Span]:
    spans: list[Span] = []
    body = _Body()
    start = end = -1
    for kind, begins, ends in pieces:
        if kind in _IGNORED:
            continue
        # No keyword that matters is longer; a string of many megabytes is not copied to be compared.
        if body.ends_statement(kind, sql[begins:ends] if ends - begins < 16 else ""):
            if start >= 0:
                spans.append(Span(start, end))
            start, body = -1, _Body()
            continue
        if start < 0:
            start = begins
        end = ends
    if start >= 0:
        spans.append(Span(start, end))
    return spans


class _Body:
    """How deep one statement stands in parentheses and in BEGIN ATOMIC bodies.

    The grammar of such a body is `BEGIN ATOMIC (statement ;)* END`, so the END that closes it follows a
    semicolon or ATOMIC, and no other END does: the END of a CASE needs no counting.
    """

    __slots__ = ("_atomic", "_leading", "_parentheses", "_previous")

    def __init__(self) -> None:
        self._parentheses = self._atomic = 0
        self._leading: list[str] = []
        self._previous = ""

    def ends_statement(self, kind: TokenKind, text: str) -> bool:
        # Once a second, for every token of every caller's text: kept flat.
        if kind is TokenKind.PUNCTUATION:
            if text == ";":
                self._previous = text
                return not self._parentheses and not self._atomic
            if text == "(":
                self._parentheses += 1
            elif text == ")" and self._parentheses:
                self._parentheses -= 1
        elif kind is TokenKind.WORD:
            self._word(_upper(text))
            return False
        self._note("" if kind is TokenKind.QUOTED_IDENTIFIER else text)
        return False

    def _note(self, text: str) -> None:
        self._previous = text
        if len(self._leading) < 4:
            self._leading.append(text)

    def _word(self, word: str) -> None:
        if word == "ATOMIC" and self._previous == "BEGIN" and self._in_routine():
            self._atomic += 1
        elif word == "END" and self._atomic and self._previous in (";", "ATOMIC"):
            self._atomic -= 1
        self._note(word)

    def _in_routine(self) -> bool:
        if self._parentheses:  # f(begin atomic): a parameter's name and type
            return False
        lead = self._leading
        kind = lead[3:4] if lead[1:3] == ["OR", "REPLACE"] else lead[1:2]
        return lead[:1] == ["CREATE"] and kind in (["FUNCTION"], ["PROCEDURE"])


def first_words(sql: str, n: int = 1) -> tuple[str, ...]:
    """Return up to `n` words that the text begins with, upper-cased; leading parentheses are skipped."""
    words: list[str] = []
    for kind, start, end in _scan(sql):
        if kind in _IGNORED or (not words and sql[start:end] in ("(", ";")):
            continue
        if kind is not TokenKind.WORD or len(words) >= n:
            break
        words.append(_upper(sql[start:end]))
    return tuple(words[:n])


def _upper(word: str) -> str:
    # The server folds ASCII only: 'ı'.upper() is 'I', and would make another word a keyword.
    return word.upper() if word.isascii() else word


_UNIT = "a unit of work begins and ends its transaction by itself: leave the `with` block to commit"
_CONTROL = {
    "BEGIN": _UNIT,
    "START": _UNIT,
    "COMMIT": _UNIT,
    "END": _UNIT,
    "ROLLBACK": "call rollback() of the unit, or let an error leave its `with` block",
    "ABORT": "call rollback() of the unit, or let an error leave its `with` block",
    "SAVEPOINT": "use savepoint() of the unit",
    "RELEASE": "use savepoint() of the unit",
    "PREPARE TRANSACTION": "two-phase commit is not for callers of this library",
    "SET TRANSACTION": "give the unit isolation=, read_only= or deferrable=",
    "SET LOCAL TRANSACTION": "give the unit isolation=, read_only= or deferrable=",
    "SET SESSION TRANSACTION": "give the unit isolation=, read_only= or deferrable=",
    "SET SESSION CHARACTERISTICS": "give each unit isolation=, read_only= or deferrable=",
}
_CACHED_LENGTH = 20_000


def refuse_control(sql: str, *, placeholders: bool = False) -> None:
    """Let exactly one statement through that neither begins nor ends a transaction.

    Parameters
    ----------
    sql : str
        A caller's text.
    placeholders : bool
        Whether parameters will be filled in. A placeholder inside a string, a quoted name or a comment is
        refused then: the driver fills it in there too, with quotes of its own that end the string.

    Raises
    ------
    InvalidSql
        Naming what stands there, and what to use in its place.
    """
    if len(sql) > _CACHED_LENGTH:
        _refuse_control(sql, placeholders)
    else:
        _remembered(sql, placeholders)


@lru_cache(maxsize=1024)
def _remembered(sql: str, placeholders: bool) -> None:
    _refuse_control(sql, placeholders)


def _refuse_control(sql: str, placeholders: bool) -> None:
    try:
        pieces = list(_scan(sql, placeholders))
        if placeholders:
            _refuse_hidden_placeholders(sql, pieces)
    except SqlTextError as error:
        raise InvalidSql(f"The SQL text cannot be read: {error}") from None
    spans = _split(sql, pieces)
    if not spans:
        raise InvalidSql("There is no statement in the SQL text")
    _refuse_first_words(first_words(sql, 3))
    if len(spans) > 1:
        place = locate(sql, spans[1].start)
        raise InvalidSql(
            f"One statement a call: a second one begins at line {place.line}, column {place.column}"
        )
    _refuse_copy(sql, pieces)


_OPAQUE = frozenset(
    {TokenKind.STRING, TokenKind.DOLLAR_STRING, TokenKind.QUOTED_IDENTIFIER, TokenKind.COMMENT}
)


def _refuse_hidden_placeholders(sql: str, pieces: Iterable[_Piece]) -> None:
    for kind, start, end in pieces:
        if kind in _OPAQUE and "%" in sql[start:end].replace("%%", ""):
            what = kind.value.replace("_", " ")
            raise SqlTextError(
                f"a placeholder or a single % inside a {what}: write the placeholder without quotes, "
                "a percent sign as %%",
                sql,
                start,
            )


def _refuse_first_words(words: tuple[str, ...]) -> None:
    if leading := control_words(words):
        raise InvalidSql(f"{leading} is not for a caller's SQL: {_CONTROL[leading]}")


def control_words(words: tuple[str, ...]) -> str | None:
    """Return the words that make a statement transaction control, out of its first three; else None."""
    leads = (" ".join(words[:length]) for length in range(1, len(words) + 1))
    return next((lead for lead in leads if lead in _CONTROL), None)


def _refuse_copy(sql: str, pieces: Iterable[_Piece]) -> None:
    if copy := _client_copy(sql, pieces):
        raise InvalidSql(f"COPY {copy} moves data beside the statement: use session.copy()")


def client_copy(sql: str) -> str | None:
    """Return `FROM STDIN` or the like where the statement is a COPY whose data goes by the client."""
    return _client_copy(sql, _scan(sql))


def _client_copy(sql: str, pieces: Iterable[_Piece]) -> str | None:
    if first_words(sql) != ("COPY",):
        return None
    previous, depth = "", 0
    for kind, start, end in pieces:
        if kind in _IGNORED:
            continue
        text = _upper(sql[start:end]) if kind in (TokenKind.WORD, TokenKind.PUNCTUATION) else ""
        depth += (text == "(") - (text == ")")
        # The grammar takes FROM STDOUT and TO STDIN as well.
        if not depth and previous in ("FROM", "TO") and text in ("STDIN", "STDOUT"):
            return f"{previous} {text}"
        previous = text
    return None


def token_hash(sql: str) -> str:
    """Return the SHA-256, in hexadecimal, of the tokens that mean something to the server.

    Comments, blanks and line endings (inside strings too) do not change it; every token does, and so does
    the case of a word.
    """
    return hash_tokens(token.text for token in significant_tokens(sql))


def hash_tokens(texts: Iterable[str]) -> str:
    """Return the SHA-256 of a sequence of token texts; each is framed, so that "ab" is not "a", "b"."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.replace("\r\n", "\n").encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()


def locate(sql: str, position: int) -> Location:
    """Return the line, the column and the line's text for a position in characters from 0."""
    begins = sql.rfind("\n", 0, position) + 1
    ends = sql.find("\n", position)
    line = sql[begins : ends if ends >= 0 else len(sql)].rstrip("\r")
    return Location(bisect_left(_line_ends(sql), position) + 1, position - begins + 1, line)


@lru_cache(maxsize=4)  # each of many thousand statements of one file is placed: counting anew takes minutes
def _line_ends(sql: str) -> tuple[int, ...]:
    return tuple(found.start() for found in re.finditer("\n", sql))
