"""Queries and passages, without a database: any text is a query, and none is an error."""

import string
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database_handler.content.passages import passage
from database_handler.content.queries import (
    LATIN,
    Alternative,
    Leaf,
    Literal,
    Phrase,
    Query,
    Run,
    Words,
    alphabet_of,
    parse_query,
    words_of,
)
from database_handler.core.text_search import CONFIGURATIONS
from database_handler.models import Summary, TextSource, Translation
from database_handler.repositories.search_statements import Scope, bound, searching


def wanted(*leaves: Leaf, refused: tuple[Leaf, ...] = ()) -> Alternative:
    return Alternative(leaves, refused)


@pytest.mark.parametrize(
    ("text", "alternatives"),
    [
        ("two words", [wanted(Words("two words"))]),
        ('"a phrase" and', [wanted(Words("and"), Phrase("a phrase"))]),
        ('cat -dog -"old dog"', [wanted(Words("cat"), refused=(Words("dog"), Phrase("old dog")))]),
        ("cat dog or bird OR fish", [wanted(Words(w)) for w in ("cat dog", "bird", "fish")]),
        ("“curly quotes”", [wanted(Phrase("curly quotes"))]),
        ('"never closed', [wanted(Words("never closed"))]),
        ('one "two" three"', [wanted(Words("one three"), Phrase("two"))]),
        ("e-mail well-known -x-ray", [wanted(Words("e-mail well-known"), refused=(Words("x-ray"),))]),
        ("(brackets) 'and' !this & that:*", [wanted(Words("brackets and this that"))]),
        ("cafe\u0301", [wanted(Words("café"))]),
        ("घरों में", [wanted(Words("घरों में"))]),
        ("東京", [wanted(Run("東京"))]),
        (
            "iPhoneケース、東京 -大阪",
            [wanted(Words("iPhone"), Run("ケース"), Run("東京"), refused=(Run("大阪"),))],
        ),
        ('"東京 tower"', [wanted(Literal("東京 tower", (Run("東京"), Words("tower"))))]),
        ("a -b東", [wanted(Words("a"), refused=(Literal("b東", (Words("b"), Run("東"))),))]),
        ("-only -refused", []),
        ("cat or -dog", [wanted(Words("cat"))]),
        ('- -- "" "  " or & | ! <-> :* ( ) \\ \0', []),
    ],
)
def test_a_query_is_taken_apart(text: str, alternatives: list[Alternative]) -> None:
    assert list(parse_query(text).alternatives) == alternatives


PIECES = st.sampled_from(
    [
        "or",
        "OR",
        "-",
        '"',
        "'",
        "“",
        "東京都",
        "東",
        "สวัสดี",
        "word",
        "é",
        "e\u0301",
        "&",
        "|",
        "!",
        "<->",
        ":*",
        "%s",
    ]
)
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.one_of(PIECES, st.sampled_from(string.printable)), max_size=30).map(" ".join),
    st.lists(PIECES, max_size=20).map("".join),
)
TABLES = (TextSource.table, Summary.table, Translation.table)


@settings(deadline=None, max_examples=150)
@given(TEXTS)
def test_any_text_is_a_query_whose_statement_binds_all_that_it_names(text: str) -> None:
    query = parse_query(text)
    for leaf in query.leaves:
        assert leaf.text
        assert not set(leaf.text) & set('"\0')
        assert unicodedata.is_normalized("NFC", leaf.text)
    assert all(each.wanted for each in query.alternatives)
    scope = Scope(TABLES, CONFIGURATIONS[:2], in_project=True, in_language=True, behind=False)
    values = {"project": "", "language": "", "limit": "", **dict.fromkeys(bound(query, None), "")}
    if query.alternatives:
        assert searching(scope, query, None, first=True).text % values  # KeyError for a name without a value


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet="東京都庁ab ", min_size=1, max_size=12))
def test_a_text_that_holds_a_run_holds_all_its_pairs(text: str) -> None:
    for leaf in parse_query(text).leaves:
        if isinstance(leaf, Run):
            assert leaf.text in text
            assert all(pair in text for pair in leaf.pairs)
            assert (leaf.literal is None) == (len(leaf.pairs) < 2)


def test_the_words_that_may_be_misspelt() -> None:
    assert words_of(parse_query('The old lighthuose "of stone" or "東京 tower" -keeper x1234 tower')) == (
        "lighthuose",
        "stone",
        "tower",
    )
    assert len(words_of(parse_query(" ".join(f"word{chr(97 + n)}" for n in range(20))))) == 6


def test_the_letters_that_may_stand_in_a_word_by_mistake() -> None:
    assert alphabet_of("résumé") == LATIN
    assert set("абвюяё") <= set(alphabet_of("маяк"))
    assert "М" not in alphabet_of("маяк")
    assert "ो" in alphabet_of("घरों")


def test_the_query_shows_what_is_marked() -> None:
    query = parse_query('東京 東京都庁 -大阪 "京都 x" word')
    assert query.marked == ("京都 x", "東京都庁", "東京")
    assert query.near == ("京都", "東京", "都庁")
    assert Query(()).marked == ()


LONG = "あ" * 500 + "東京" + "い" * 500


@pytest.mark.parametrize(
    ("of_title", "of_content", "title", "content", "marked", "expected"),
    [
        (None, None, "", "今日の東京は晴れ", ("東京",), "今日の**東京**は晴れ"),
        (None, None, "東京", "晴れ", ("東京",), "**東京**"),
        ("a **hit**", "a passage", "a hit", "a passage", (), "a **hit**"),
        (None, "a **hit** 東京", "", "a hit 東京", ("東京",), "a **hit** **東京**"),
        (None, "a passage", "", "a passage", (), "a passage"),
        (None, None, "", "東京都", ("東京", "京都"), "**東京**都"),
        (None, None, "", "a AbC", ("abc",), "a **AbC**"),
        (None, None, "", LONG, ("東京",), "あ" * 30 + "**東京**" + "い" * 88),
        (None, None, "", "か\u3099く", ("がく",), "**がく**"),
        (None, None, "", "", ("x",), ""),
    ],
)
def test_the_passage_of_a_hit(
    of_title: str | None,
    of_content: str | None,
    title: str,
    content: str,
    marked: tuple[str, ...],
    expected: str,
) -> None:
    assert passage(of_title, of_content, title, content, marked) == expected
