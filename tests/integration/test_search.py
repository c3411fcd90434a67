"""Search finds what it should in every kind of language, ranks it, shows it, and pages through it exactly."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from database_handler import Database, MigrationManager, Project, UnitOfWork
from database_handler.core.exceptions import InvalidValue
from database_handler.core.session import Statement
from database_handler.models import Summary, SummaryKind, TextSource, Translation
from database_handler.repositories.search import SearchPage, search_everything

TEXTS = {  # by a name: language, title, content
    "en": ("en", "The coast", "Two lighthouses stand at the harbour near the old keeper's house"),
    "en-resume": ("en", "Papers", "She sent her résumé to the editor"),
    "fr": ("fr", "Le garçon", "Les garçons naïfs mangeaient des crêpes"),
    "de": ("de", "Die Stadt", "Zwei Häuser stehen am Fluß, hinter den Straßen"),
    "es": ("es", "El niño", "Los niños corrían por los caminos"),
    "pt": ("pt-BR", "Anúncio", "As traduções chegaram ontem"),
    "ru": ("ru", "Берег", "Маяки стояли на берегу, ёлки за ними"),
    "el": ("el", "Θάλασσα", "Ο φάρος της Αλεξάνδρειας"),
    "ar": ("ar", "كتاب", "المكتبات القديمة في المدينة"),
    "hi": ("hi", "घर", "बच्चे घरों में खेलते हैं"),
    "ko": ("ko", "여행", "서울에서 부산까지 기차로"),
    "ja": ("ja", "天気予報", "東京都庁の天気は晴れです。カメラはガラスの中。"),
    "ja-apart": ("ja", "散歩", "京都と東京、そして都庁へ行く。"),
    "zh": ("zh-Hans", "北京", "我爱北京天安门,天安门上太阳升。"),
    "th": ("th", "ข่าว", "สวัสดีชาวโลก วันนี้อากาศดีมาก"),
    "lo": ("lo", "ຂ່າວ", "ສະບາຍດີຊາວໂລກ"),
    "km": ("km", "ព័ត៌មាន", "សួស្តីពិភពលោក"),
    "my": ("my", "သတင်း", "မင်္ဂလာပါကမ္ဘာလောက"),
    "mixed": ("en", "Notes", "The word 富士山 is a mountain, and MacBookケース a case"),
    "und": ("und", "Ω", "Ω ß plain words"),
}


@pytest.fixture(scope="module")
def texts(shared_database: Database) -> Iterator[dict[str, TextSource]]:
    """Store the texts for the whole module; nothing in it changes them."""
    project = shared_database.projects.create(name=f"search {uuid4()}")
    yield {
        name: shared_database.text_sources.create(
            project_id=project.id, language=language, title=title, content=content
        )
        for name, (language, title, content) in TEXTS.items()
    }
    shared_database.projects.delete(project.id)


@pytest.fixture
def project(uow: UnitOfWork) -> Project:
    return uow.projects.create(name=f"search {uuid4()}")


def found(database: Database, texts: dict[str, TextSource], query: str, **scope: Any) -> list[str]:
    """The names of the texts that a query finds exactly, in the order of their names."""
    page = database.text_sources.search(query, project_id=texts["en"].project_id, **scope)
    names = {text.id: name for name, text in texts.items()}
    return [] if page.fuzzy else sorted(names[hit.record.id] for hit in page)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("lighthouse", ["en"]),
        ("LIGHTHOUSE standing", ["en"]),
        ("resume", ["en-resume"]),
        ("résumés", ["en-resume"]),
        ("cafe\u0301 or re\u0301sume\u0301", ["en-resume"]),
        ("garcon naif", ["fr"]),
        ("crêpe", ["fr"]),
        ("haus", ["de"]),
        ("fluss strasse", ["de"]),
        ("nino", ["es"]),
        ("niño camino", ["es"]),
        ("traducoes", ["pt"]),
        ("маяк", ["ru"]),
        ("елка", ["ru"]),
        ("φαρος", ["el"]),
        ("مكتبة", ["ar"]),
        ("घर", ["hi"]),
        ("서울", ["ko"]),
        ("부산 서울", ["ko"]),
        ("東京", ["ja", "ja-apart"]),
        ("東京都", ["ja"]),
        ("東京都庁", ["ja"]),
        ("都庁", ["ja", "ja-apart"]),
        ("都", ["ja", "ja-apart"]),
        ("庁", ["ja", "ja-apart"]),
        ("晴れ 天気", ["ja"]),
        ("カメラ", ["ja"]),
        ("カ\u3099ラス", ["ja"]),
        ('"京都と東京"', ["ja-apart"]),
        ("北京", ["zh"]),
        ("天安门 太阳", ["zh"]),
        ("京北", []),
        ("สวัสดี", ["th"]),
        ("อากาศดี", ["th"]),
        ("ชาวโลก -ข่าว", []),
        ("ສະບາຍດີ", ["lo"]),
        ("ពិភពលោក", ["km"]),
        ("ကမ္ဘာ", ["my"]),
        ("富士山 mountain", ["mixed"]),
        ("富士 macbook", ["mixed"]),
        ("ω", ["und"]),
        ('"old keeper"', ["en"]),
        ('"keeper old"', []),
        ('"word 富士山 is"', ["mixed"]),
        ('"富士山 word"', []),
        ("lighthouse -keeper", []),
        ('lighthouse -"keeper old"', ["en"]),
        ("東京 -東京都庁", ["ja-apart"]),
        ("東京都庁 or haus", ["de", "ja"]),
        ("東京 -天気 or маяк or nothing", ["ja-apart", "ru"]),
        ("-lighthouse", []),
        ("the", []),
        ("the -keeper", []),
    ],
)
def test_what_a_query_finds(
    shared_database: Database, texts: dict[str, TextSource], query: str, expected: list[str]
) -> None:
    assert found(shared_database, texts, query) == expected


@pytest.mark.parametrize(
    ("query", "expected", "mark"),
    [
        ("lighthuose", "en", "**lighthouses**"),
        ("ligthouses keper", "en", "**keeper**"),
        ("lighthauze", "en", "**lighthouses**"),
        ("garsons", "fr", "**garçons**"),
        ("маеки", "ru", "**Маяки**"),
        ("φαρως", "el", "**φάρος**"),
        ("天安門", "zh", "**天安**"),
    ],
)
def test_a_misspelt_word_finds_what_is_near_to_it_and_says_so(
    shared_database: Database, texts: dict[str, TextSource], query: str, expected: str, mark: str
) -> None:
    page = shared_database.text_sources.search(query, project_id=texts["en"].project_id)
    assert page.fuzzy
    assert page[0].record == texts[expected]
    assert page[0].fuzzy
    assert mark in page[0].snippet


def test_nothing_near_is_nothing(shared_database: Database, texts: dict[str, TextSource]) -> None:
    page = shared_database.text_sources.search("zzyzx qwrtpl", project_id=texts["en"].project_id)
    assert (list(page), page.next_cursor, page.fuzzy) == ([], None, False)


@pytest.mark.parametrize(
    ("query", "snippet"),
    [
        ("lighthouse harbour", "**lighthouses** stand at the **harbour**"),
        ("resume", "her **résumé** to"),
        ("coast", "The **coast**"),
        ("都", "東京**都**庁"),
        ("東京都庁", "**東京都庁**の天気"),
        ("天気予報", "**天気予報**"),
        ("富士山 mountain", "**富士山** is a **mountain**"),
        ('"word 富士山"', "**word 富士山** is"),
    ],
)
def test_the_snippet_marks_what_matches(
    shared_database: Database, texts: dict[str, TextSource], query: str, snippet: str
) -> None:
    page = shared_database.text_sources.search(query, project_id=texts["en"].project_id)
    assert any(snippet in hit.snippet for hit in page)


def test_a_language_is_a_range(shared_database: Database, texts: dict[str, TextSource]) -> None:
    expected = {"pt": ["pt"], "pt-BR": ["pt"], "pt-PT": [], "fr": []}
    for language, names in expected.items():
        assert found(shared_database, texts, "traduções", language=language) == names
    assert found(shared_database, texts, "北京", language="zh") == ["zh"]
    assert found(shared_database, texts, "北京", language="zh-Hant") == []


HOSTILE = [
    "'", '"', "\\", "%", "%s %(limit)s", "a & | b", "a <-> b", "!!", ":*", "a:* b:AB", "((((",
    "')); DROP TABLE projects; --", "or or or", "- - -", "-" * 5000, '"' * 999, "東'京\\:*",
    "\ufeff\u200b", "\x01\x7f", "é" * 10_000,
    "a " * 5_000, "東" * 10_000, "\U0001f600 emoji", "\uffff", "x" * 10_000,
    " ".join("word" + chr(97 + n) for n in range(26)),
]  # fmt: skip


@pytest.mark.parametrize("query", HOSTILE, ids=lambda query: ascii(query[:12]))
def test_a_hostile_query_is_no_error(uow: UnitOfWork, query: str) -> None:
    assert list(uow.text_sources.search(query)) == [] or "**" in uow.text_sources.search(query)[0].snippet
    assert uow.text_sources.search("word", after=None) is not None  # the unit goes on


@pytest.mark.parametrize(
    "wrong",
    [
        {"query": ""},
        {"query": " \t"},
        {"query": "a\0b"},
        {"query": "a\ud800b"},
        {"query": "a" * 10_001},
        {"query": " ".join(f"-a{n}" for n in range(101)) + " b"},
        {"query": " ".join(f"a{n}" for n in range(201))},
        {"query": 5},
        {"query": "a", "limit": 0},
        {"query": "a", "limit": 1001},
        {"query": "a", "limit": True},
        {"query": "a", "language": "no such language"},
        {"query": "a", "project_id": "no id"},
        {"query": "a", "after": "no cursor"},
        {"query": "a", "after": "bm8gY3Vyc29y"},
        {"query": "a", "after": 5},
        {"query": "-a", "after": "no cursor"},
    ],
    ids=ascii,
)
def test_what_cannot_be_searched_is_refused_before_it_is_sent(uow: UnitOfWork, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        uow.text_sources.search(**wrong)
    with pytest.raises(InvalidValue):
        search_everything(uow.session, **wrong)
    assert uow.text_sources.count() >= 0


def pages(search: Any, query: str, limit: int, **scope: Any) -> Iterator[SearchPage[Any]]:
    after = None
    for _ in range(100):
        page = search(query, limit=limit, after=after, **scope)
        yield page
        after = page.next_cursor
        if after is None:
            return
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize(("query", "limit"), [("river", 1), ("river", 23), ("東京都", 4), ("rivver", 5)])
def test_the_pages_hold_every_hit_once_where_ranks_are_equal(
    uow: UnitOfWork, project: Project, query: str, limit: int
) -> None:
    contents = [f"river {'stone ' * (n % 3)}東京都 {n:02}" for n in range(23)]
    stored = [uow.text_sources.create(project_id=project.id, title="t", content=c) for c in contents]
    whole = uow.text_sources.search(query, project_id=project.id, limit=100)
    hits = [
        hit for page in pages(uow.text_sources.search, query, limit, project_id=project.id) for hit in page
    ]
    assert hits == list(whole)
    assert sorted(hit.record.id for hit in hits) == sorted(text.id for text in stored)
    assert {hit.fuzzy for hit in hits} == {query == "rivver"}
    assert len({hit.rank for hit in hits}) < len(hits)
    assert [(-hit.rank, hit.record.id) for hit in hits] == sorted((-hit.rank, hit.record.id) for hit in hits)


def test_a_cursor_of_another_query_is_refused(uow: UnitOfWork, project: Project) -> None:
    for number in range(3):
        uow.text_sources.create(
            project_id=project.id, title="t", content=f"river stone {number}", language="en"
        )
    cursor = uow.text_sources.search("river", limit=1).next_cursor
    assert cursor
    assert len(uow.text_sources.search("river", limit=2, after=cursor)) == 2
    others: list[dict[str, Any]] = [{"query": "stone"}, {"language": "en"}, {"project_id": project.id}]
    for other in others:
        with pytest.raises(InvalidValue, match="after"):
            uow.text_sources.search(**{"query": "river", "after": cursor, **other})
    with pytest.raises(InvalidValue, match="after"):
        search_everything(uow.session, "river", after=cursor)
    with pytest.raises(InvalidValue, match="after"):
        uow.text_sources.search("river", after=cursor[:-2])


def test_a_unit_finds_only_what_its_project_has(
    shared_database: Database, texts: dict[str, TextSource]
) -> None:
    with shared_database.unit_of_work() as unit:
        other = unit.projects.create(name=f"other {uuid4()}")
        mine = unit.text_sources.create(
            project_id=other.id, title="t", content="another lighthouse", language="en"
        )
        unit.summaries.create(
            project_id=other.id,
            text_source_id=mine.id,
            kind=SummaryKind.BRIEF,
            language="en",
            content="lighthouse",
        )
    with shared_database.unit_of_work(project_id=other.id) as unit:
        assert [hit.record for hit in unit.text_sources.search("lighthouse")] == [mine]
        assert unit.text_sources.search("lighthuose")[0].record == mine
        assert len(search_everything(unit.session, "lighthouse", held=other.id)) == 2
        with pytest.raises(InvalidValue, match="held"):
            unit.text_sources.search("lighthouse", project_id=texts["en"].project_id)
        with pytest.raises(InvalidValue, match="held"):
            search_everything(unit.session, "a", held=other.id, project_id=texts["en"].project_id)
    shared_database.projects.delete(other.id)


def made_everything(uow: UnitOfWork, project: Project) -> tuple[TextSource, Summary, Translation]:
    source = uow.text_sources.create(
        project_id=project.id, title="The lamp", content="A lamp in the harbour. " * 3, language="en"
    )
    summary = uow.summaries.create(
        project_id=project.id,
        text_source_id=source.id,
        kind=SummaryKind.BRIEF,
        language="en",
        content="One lamp in the harbour",
    )
    translation = uow.translations.create(
        project_id=project.id, text_source_id=source.id, source_language="en", target_language="de",
        content="Der Lamp steht in den Häfen, 東京",
    )  # fmt: skip
    return source, summary, translation


def test_all_entities_are_searched_at_once(uow: UnitOfWork, project: Project) -> None:
    source, summary, translation = made_everything(uow, project)
    page = search_everything(uow.session, "lamp", project_id=project.id)
    assert {hit.entity: hit.record for hit in page} == {
        "text_sources": source,
        "summaries": summary,
        "translations": translation,
    }
    assert [hit.rank for hit in page] == sorted((hit.rank for hit in page), reverse=True)
    assert all("**" in hit.snippet for hit in page)
    by_one = [hit for each in pages(search_all(uow), "lamp", 1, project_id=project.id) for hit in each]
    assert by_one == list(page)
    assert [hit.record for hit in search_everything(uow.session, "Hafen", project_id=project.id)] == [
        translation
    ]
    assert [hit.record for hit in search_everything(uow.session, "東京", project_id=project.id)] == [
        translation
    ]
    german = search_everything(uow.session, "lamp", project_id=project.id, language="de")
    assert [hit.record for hit in german] == [translation]
    misspelt = search_everything(uow.session, "harbuor", project_id=project.id)
    assert misspelt.fuzzy
    assert {hit.entity for hit in misspelt} == {"text_sources", "summaries"}


def search_all(uow: UnitOfWork) -> Any:
    return lambda query, **scope: search_everything(uow.session, query, **scope)


def test_each_repository_of_them_searches_its_own(uow: UnitOfWork, project: Project) -> None:
    _, summary, translation = made_everything(uow, project)
    assert [hit.record for hit in uow.summaries.search("lamps", project_id=project.id)] == [summary]
    assert [hit.record for hit in uow.translations.search("hafen", project_id=project.id)] == [translation]
    [hit] = uow.translations.search("hafen", language="de", project_id=project.id)
    assert "**Häfen**" in hit.snippet


def test_a_page_is_a_sequence_of_hits(uow: UnitOfWork, project: Project) -> None:
    made_everything(uow, project)
    page = uow.text_sources.search("lamp", project_id=project.id)
    assert (len(page), bool(page), page[0], page[:1]) == (1, True, page.items[0], page.items)
    assert page == uow.text_sources.search("lamp", project_id=project.id)
    assert page == page.items
    assert page != uow.text_sources.search("lampe zeppelin", project_id=project.id)
    assert "next_cursor=None" in repr(page)


def test_an_update_is_found_by_what_it_says_now(uow: UnitOfWork, project: Project) -> None:
    source = uow.text_sources.create(project_id=project.id, title="t", content="before", language="en")
    uow.text_sources.update(source.id, content="afterwards 東京")
    assert [
        list(uow.text_sources.search(q, project_id=project.id)) == [] for q in ("before", "afterwards")
    ] == [
        True,
        False,
    ]
    uow.text_sources.update(source.id, language="de", content="Häuser")
    assert len(uow.text_sources.search("haus", project_id=project.id)) == 1


LIMITS = {
    "ideographs of four bytes": "".join(chr(0x20000 + (n * 7919) % 40_000) for n in range(100_000)),
    "ideographs, words after them": "東京都" * 33_000 + " lighthouse",
    "marks that NFC joins": "e\u0301" * 50_000 + " end",
    "marks that it takes apart": "\U0001d160" * 90_000 + "\u0301",
    "one letter and one ideograph": "a東" * 50_000,
}


@pytest.mark.parametrize("content", LIMITS.values(), ids=LIMITS)
def test_no_text_is_too_much_for_the_vector_of_pairs(uow: UnitOfWork, project: Project, content: str) -> None:
    source = uow.text_sources.create(project_id=project.id, title="東" * 500, content=content, language="ja")
    [size] = uow.session.one("SELECT length(search_vector) FROM text_sources WHERE id = %s", [source.id])
    assert size > 0
    tail = content[60_000:60_002]
    assert tail not in LIMITS["ideographs of four bytes"] or len(uow.text_sources.search(tail)) == 1


def test_rows_from_before_get_their_vectors_and_go_back(database: Database) -> None:
    manager = MigrationManager(database)
    manager.rollback(target=1)
    text = """
        WITH p AS (INSERT INTO projects (id, name, slug, status, tags, metadata)
                   VALUES (gen_random_uuid(), 'p', 'p', 'active', '{}', '{}') RETURNING id)
        INSERT INTO text_sources (id, project_id, title, content, content_type, language, size_bytes,
                                  checksum, word_count, char_count, metadata)
        SELECT gen_random_uuid(), id, 'Résumé', 'Häuser, 東京都', 'text/plain', 'de', 1,
               repeat('a', 64), 1, 1, '{}' FROM p
    """
    database.session.run(Statement(text, "test", writes=True))
    vector = Statement("SELECT search_vector::text FROM text_sources", "test")
    before = database.session.one(vector)
    manager.migrate()
    assert [len(database.text_sources.search(query)) for query in ("resume", "haus", "京都")] == [1, 1, 1]
    manager.rollback(target=1)
    assert database.session.one(vector) == before


def test_what_is_stored_follows_no_search_path(uow: UnitOfWork, project: Project) -> None:
    uow.session.run(Statement("SET LOCAL search_path TO ''", "test"))
    [schema] = uow.session.one(
        "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'text_sources'"
    )
    text = (
        f"INSERT INTO {schema}.text_sources (id, project_id, title, content, content_type, language, "
        "size_bytes, checksum, word_count, char_count, metadata) VALUES (gen_random_uuid(), %s, 't', %s, "
        "'text/plain', 'fr', 1, repeat('a', 64), 1, 1, '{}') RETURNING search_vector::text"
    )
    rows = uow.session.all(Statement(text, "test", writes=True), [project.id, "les crêpes, 東京"])
    uow.session.run(Statement("SET LOCAL search_path TO DEFAULT", "test"))
    assert "'crep':" in rows[0][0]
    assert "'東京':" in rows[0][0]


def test_a_slip_is_not_taken_for_the_beginning_of_the_word(uow: UnitOfWork) -> None:
    """Stemmers of other languages cut the misspelt word so short that a shorter one seems near to it."""
    project = uow.projects.create(name="slips")
    house, _ = (
        uow.text_sources.create(project_id=project.id, title=title, content=content, language="en")
        for title, content in (("One", "A lighthouse on the rock."), ("Two", "The light goes out."))
    )
    for misspelt in ("lighthuose", "lighthose", "lighthousse"):
        page = uow.text_sources.search(misspelt, project_id=project.id)
        assert [(hit.record.id, hit.fuzzy) for hit in page] == [(house.id, True)]
        assert "**lighthouse**" in page[0].snippet
