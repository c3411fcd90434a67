"""The lexer agrees with the server on what is a string, a comment, a statement; and it never hangs."""

import contextlib
import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_handler.core.exceptions import InvalidSql
from database_handler.core.sql_text import (
    SqlTextError,
    TokenKind,
    first_words,
    locate,
    refuse_control,
    significant_tokens,
    statements,
    token_hash,
    tokens,
)

PIECES = [
    "'",
    "''",
    '"',
    "$$",
    "$a$",
    "$1",
    "E'",
    "U&'",
    'u&"',
    "\\",
    "\\'",
    "--",
    "/*",
    "*/",
    "\n",
    "\r\n",
    " ",
    ";",
    "(",
    ")",
    "BEGIN ATOMIC",
    "END",
    "CREATE FUNCTION",
    "select",
    "é",
    "1",
    "1.5e-3",
    "..",
    "+",
    "-",
    "@",
    "%s",
    "%%",
    "%(a)s",
    ":",
    "::",
    "\ufeff",
    "\ud800",
    "x",
]
sql_like = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=80)


@given(sql_like, st.booleans())
def test_tokens_cover_any_text_or_refuse_it(sql: str, placeholders: bool) -> None:
    try:
        found = list(tokens(sql, placeholders=placeholders))
    except SqlTextError as error:
        position = error.position
        found = list(tokens(sql[:position], placeholders=placeholders))  # what stands before it is sound
        sql = sql[:position]
    assert "".join(token.text for token in found) == sql
    assert [token.start for token in found] == [0, *(token.end for token in found)][: len(found)]
    assert all(token.text == sql[token.start : token.end] for token in found)


@given(sql_like)
def test_statements_are_in_order_and_hold_every_token_but_semicolons(sql: str) -> None:
    try:
        spans = statements(sql)
    except SqlTextError:
        return
    outside = {
        token.text for token in significant_tokens(sql) if not any(s <= token.start < e for s, e in spans)
    }
    assert outside <= {";"}
    assert all(before.end <= after.start for before, after in itertools.pairwise(spans))


def kinds(sql: str, placeholders: bool = False) -> list[tuple[str, str]]:
    return [
        (token.kind.value, token.text)
        for token in tokens(sql, placeholders=placeholders)
        if token.kind is not TokenKind.WHITESPACE
    ]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("'it''s'", [("string", "'it''s'")]),
        (r"'a\'", [("string", r"'a\'")]),
        (r"E'a\'b'", [("string", r"E'a\'b'")]),
        ("E'a'\n'b\\'c'", [("string", "E'a'"), ("string", "'b\\'c'")]),
        ("E'a' --c\n'b\\'c'", [("string", "E'a'"), ("comment", "--c"), ("string", "'b\\'c'")]),
        ("E'a' 'b\\'", [("string", "E'a'"), ("string", "'b\\'")]),
        ("E'a',\n'b\\'", [("string", "E'a'"), ("punctuation", ","), ("string", "'b\\'")]),
        ("U&'d\\0061' B'01' x'ff' n'a'", [("string", t) for t in ("U&'d\\0061'", "B'01'", "x'ff'", "n'a'")]),
        ('"a""b" U&"c"', [("quoted_identifier", '"a""b"'), ("quoted_identifier", 'U&"c"')]),
        ("$$a'b$$", [("dollar_string", "$$a'b$$")]),
        ("$b$ $$ $a$ $b$", [("dollar_string", "$b$ $$ $a$ $b$")]),
        ("a$b$c", [("word", "a$b$c")]),
        ("$1 $2", [("parameter", "$1"), ("parameter", "$2")]),
        ("1.5e-3 .5 0x1F 1_000 1..2", [
            ("number", "1.5e-3"),
            ("number", ".5"),
            ("number", "0x1F"),
            ("number", "1_000"),
            ("number", "1"),
            ("punctuation", ".."),
            ("number", "2"),
        ]),
        ("a=-1", [("word", "a"), ("operator", "="), ("operator", "-"), ("number", "1")]),
        ("a@-1", [("word", "a"), ("operator", "@-"), ("number", "1")]),
        ("a+--b\n", [("word", "a"), ("operator", "+"), ("comment", "--b")]),
        ("a*/*b*/c", [("word", "a"), ("operator", "*"), ("comment", "/*b*/"), ("word", "c")]),
        ("/* a /* b */ 'c */", [("comment", "/* a /* b */ 'c */")]),
        ("a::int[1:2]", [("word", "a"), ("punctuation", "::"), ("word", "int"), ("punctuation", "["),
                         ("number", "1"), ("punctuation", ":"), ("number", "2"), ("punctuation", "]")]),
        ("a %s", [("word", "a"), ("operator", "%"), ("word", "s")]),
    ],
)  # fmt: skip
def test_token_kinds(sql: str, expected: list[tuple[str, str]]) -> None:
    assert kinds(sql) == expected


def test_placeholders_only_on_request() -> None:
    found = kinds("a=%s AND b=%(name)s AND c%%2", placeholders=True)
    assert [text for kind, text in found if kind == "parameter"] == ["%s", "%(name)s"]
    assert ("operator", "%%") in found
    with pytest.raises(SqlTextError, match="line 1, column 3: a single %"):
        list(tokens("a % b", placeholders=True))


@pytest.mark.parametrize(
    ("sql", "position", "reason"),
    [
        ("a '", 2, "string is not closed"),
        ("a 'b''", 2, "string is not closed"),
        ("E'\\'", 0, "string is not closed"),
        ('a "b', 2, "quoted name"),
        ("a $x$ $y$", 2, "dollar-quoted"),
        ("a /* /* */", 2, "comment is not closed"),
        ("abc\0", 3, "NUL"),
    ],
)
def test_what_is_never_closed_is_refused_with_its_place(sql: str, position: int, reason: str) -> None:
    with pytest.raises(SqlTextError, match=reason) as caught:
        list(tokens(sql))
    assert caught.value.position == position


ATOMIC = """CREATE OR REPLACE FUNCTION f(begin int, atomic int) RETURNS int
BEGIN ATOMIC
  SELECT CASE WHEN begin > 1 THEN 1 ELSE 2 END;
  SELECT 1 end;
  SELECT x AS case FROM t;
END"""


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", []),
        (" ;; -- nothing;\n /* ; */", []),
        ("a; b", ["a", "b"]),
        ("/* c */ a /* d */ ; -- e\n b -- f", ["a", "b"]),
        ("SELECT ';' ; SELECT $$;$$", ["SELECT ';'", "SELECT $$;$$"]),
        (f"{ATOMIC}; SELECT 1", [ATOMIC, "SELECT 1"]),
        ("CREATE PROCEDURE p() BEGIN ATOMIC END; x", ["CREATE PROCEDURE p() BEGIN ATOMIC END", "x"]),
        ("CREATE FUNCTION f(begin atomic) RETURNS int RETURN 1; x",
         ["CREATE FUNCTION f(begin atomic) RETURNS int RETURN 1", "x"]),
        ("SELECT begin atomic; x", ["SELECT begin atomic", "x"]),
        ("CREATE RULE r AS ON INSERT TO t DO (a; b); c", ["CREATE RULE r AS ON INSERT TO t DO (a; b)", "c"]),
        ("a); b", ["a)", "b"]),
    ],
)  # fmt: skip
def test_statements(sql: str, expected: list[str]) -> None:
    assert [span.of(sql) for span in statements(sql)] == expected


def test_first_words() -> None:
    assert first_words("/* x */ select a") == ("SELECT",)
    assert first_words("((with t", 2) == ("WITH", "T")
    assert first_words("prepare transaction 'x'", 3) == ("PREPARE", "TRANSACTION")
    assert first_words("'x' a") == ()
    assert first_words("commıt") == ("commıt",)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("", "no statement"),
        (" -- only a comment", "no statement"),
        ("select 1; select 2", "second one begins at line 1, column 11"),
        ("select 1;\n;\n drop table x", "line 3, column 2"),
        ("begin", "unit of work"),
        ("START TRANSACTION", "unit of work"),
        ("commit", "unit of work"),
        ("/* x */ End", "unit of work"),
        ("rollback to a", r"rollback\(\)"),
        ("abort", r"rollback\(\)"),
        ("savepoint a", r"savepoint\(\)"),
        ("release a", r"savepoint\(\)"),
        ("prepare transaction 'x'", "two-phase"),
        ("set transaction read only", "isolation="),
        ("set local transaction read only", "isolation="),
        ("set session characteristics as transaction read only", "isolation="),
        ("copy t from stdin", r"session\.copy"),
        ("COPY (select a from stdin) TO STDOUT", r"session\.copy"),
        ("select 'x", "not closed"),
        ("select \0", "NUL"),
    ],
)
def test_control_is_refused(sql: str, says: str) -> None:
    for _again in range(2):  # the second time out of the cache
        with pytest.raises(InvalidSql, match=says):
            refuse_control(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select 1",
        "select 1 ;; -- end",
        "update t set begin = 1",
        "prepare q as select 1",
        "set local work_mem = '1MB'",
        "copy t from '/a/file'",
        "do $$ begin perform 1; end $$",
        "select 'a; commit'",
        ATOMIC,
        "select 10 % 3",
    ],
)
def test_one_statement_passes(sql: str) -> None:
    refuse_control(sql)


@pytest.mark.parametrize(
    "sql",
    ["select '%s'", 'select "%(a)s"', "select 1 -- %s", "select $$%s$$", "select 5 % 3", "select '5 %'"],
)
def test_a_placeholder_that_the_driver_would_quote_inside_quotes_is_refused(sql: str) -> None:
    refuse_control(sql)
    with pytest.raises(InvalidSql, match="%"):
        refuse_control(sql, placeholders=True)


def test_percent_signs_doubled_are_taken() -> None:
    refuse_control("select %s like '5 %%' and 7 %% 2 = %(b)s", placeholders=True)


@pytest.mark.parametrize(
    "edited",
    [
        "SELECT  1 , 'a\nb'",
        "-- why\nSELECT 1, 'a\nb' /* c */",
        "SELECT\r\n1,\r\n'a\r\nb'",
    ],
)
def test_comments_blanks_and_line_endings_do_not_change_the_hash(edited: str) -> None:
    assert token_hash(edited) == token_hash("SELECT 1, 'a\nb'")


@pytest.mark.parametrize(
    "edited", ["select 1, 'a\nb'", "SELECT 2, 'a\nb'", "SELECT 1 'a\nb'", "SELECT 1, 'a b'"]
)
def test_any_token_changes_the_hash(edited: str) -> None:
    assert token_hash(edited) != token_hash("SELECT 1, 'a\nb'")


def test_locate_counts_as_an_editor_does() -> None:
    sql = "first\r\nsecönd\nthird"
    assert locate(sql, 0) == (1, 1, "first")
    assert locate(sql, sql.index("nd")) == (2, 5, "secönd")
    assert locate(sql, len(sql)) == (3, 6, "third")


MILLION = 1_000_000


@pytest.mark.parametrize(
    "sql",
    [
        "'" * 10 * MILLION,
        "E'" + "\\'" * MILLION,
        '"' * MILLION,
        "/*" * MILLION + "*/" * MILLION,
        "/*" * MILLION,
        "+" * (MILLION // 5),
        "$a" * MILLION,
        "(" * (MILLION // 4),
        "E'a'\n" * (MILLION // 10),
    ],
    ids=lambda sql: f"{sql[:4]!r} x {len(sql)}",
)
def test_hostile_text_takes_linear_time(sql: str) -> None:
    started = time.process_time()
    with contextlib.suppress(SqlTextError):
        statements(sql)
    # Quadratic time would be hours; the bound leaves room for a machine that is busy elsewhere.
    assert time.process_time() - started < 20
