"""Links: one row for all spellings of a URL, the spelling kept, and a kind by rules that can be extended."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from database_handler import Change, Database, NewLink, UnitOfWork
from database_handler.core.exceptions import DuplicateRecord, InvalidValue, MissingReference
from database_handler.models.link import LinkKind
from database_handler.repositories.link import MOST_URLS, RefusedUrl, RepeatedUrl
from database_handler.testing.factories import LinkFactory, ProjectFactory
from database_handler.utils.link_kinds import (
    LINK_RULES,
    LinkRule,
    forget_link_rule,
    link_rules,
    register_link_rule,
)
from database_handler.utils.validators import link_kind, normalize_url
from tests.support.wire import CountingProxy


def draft(url: str, **fields: Any) -> NewLink:
    return NewLink(project_id=uuid4(), url=url, **fields)


# --------------------------------------------------------------------------------------------------- kinds


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://www.youtube.com/watch?v=1", "video"),
        ("https://YOUTU.BE/1", "video"),
        ("https://evilyoutube.com/watch", "website"),
        ("https://youtube.com.evil.example/", "website"),
        ("https://example.org/youtube.com", "website"),
        ("https://example.org/film.MP4?x=1#t=5", "video"),
        ("https://example.org/film.mp4/about", "website"),
        ("https://example.org/?file=a.mp4", "website"),
        ("https://example.org/a.mp3", "audio"),
        ("https://music.youtube.com/watch", "audio"),
        ("https://example.org/a.%70%6Eg", "image"),
        ("https://example.org/report.pdf", "document"),
        ("https://docs.google.com/document/d/1", "document"),
        ("https://github.com/a/b", "code"),
        ("https://github.com/a/b/blob/main/guide.pdf", "code"),
        ("https://raw.githubusercontent.com/a/b/main/guide.pdf", "document"),
        ("https://gitlab.com/a/b/-/blob/main/x.png", "code"),
        ("https://old.reddit.com/r/x", "social"),
        ("https://www.bbc.co.uk/news/1", "news"),
        ("https://www.google.com/maps/place/x", "map"),
        ("https://www.google.com/mapsabout", "website"),
        ("https://maps.google.com/?q=x", "map"),
        ("https://web.archive.org/web/2020/https://example.org/a.pdf", "archive"),
        ("https://archive.org/download/x/a.mp4", "video"),
        ("https://example.org/a.tar.gz", "archive"),
        ("https://en.wikipedia.org/wiki/File:X.jpg", "image"),
        ("https://en.wikipedia.org/wiki/Node.js", "code"),
        ("https://example.org/", "website"),
        ("http://[::1]/x", "website"),
    ],
)
def test_a_kind_is_told_by_host_and_path(url: str, kind: str) -> None:
    assert draft(url).kind == kind == link_kind(normalize_url(url))


def test_a_kind_that_is_given_wins() -> None:
    assert draft("https://youtube.com/x", kind=LinkKind.NEWS).kind == "news"


@pytest.fixture
def rules() -> Iterator[None]:
    """Leave the table as it was."""
    yield
    for rule in link_rules()[len(LINK_RULES) :]:
        forget_link_rule(rule)


@pytest.mark.usefixtures("rules")
def test_an_application_adds_rules_of_its_own() -> None:
    register_link_rule(LinkRule(LinkKind.VIDEO, hosts=("media.example",)))
    assert draft("https://cdn.media.example/1").kind == "video"
    assert draft("https://media.example/1.pdf").kind == "document"  # a file's ending says more than a host
    own = register_link_rule(LinkRule(LinkKind.AUDIO, hosts=("media.example",), path="/podcast/"))
    assert draft("https://media.example/podcast/1.pdf").kind == "audio"
    register_link_rule(LinkRule(LinkKind.NEWS, hosts=("youtube.com",)))  # an equal one: the last wins
    assert draft("https://youtube.com/1").kind == "news"
    forget_link_rule(own)
    assert draft("https://media.example/podcast/1.pdf").kind == "document"
    with pytest.raises(InvalidValue, match="no such rule"):
        forget_link_rule(own)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "video", "hosts": ("a.example",)},
        {"kind": LinkKind.VIDEO},
        {"kind": LinkKind.VIDEO, "hosts": "a.example"},
        {"kind": LinkKind.VIDEO, "hosts": ("https://a.example/",)},
        {"kind": LinkKind.VIDEO, "hosts": ("A.example",)},
        {"kind": LinkKind.VIDEO, "hosts": ("",)},
        {"kind": LinkKind.VIDEO, "endings": ("mp4",)},
        {"kind": LinkKind.VIDEO, "path": "("},
        {"kind": LinkKind.VIDEO, "path": ["/video"]},
        {"kind": LinkKind.VIDEO, "hosts": ("a.example",), "path": None},
    ],
)
def test_a_rule_that_could_never_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="link rule"):
        LinkRule(**wrong)
    for no_rule in ("video", None):
        with pytest.raises(InvalidValue, match="LinkRule"):
            register_link_rule(no_rule)  # type: ignore[arg-type]  # that is the point


# ---------------------------------------------------------------------------------------- one row, as given


GIVEN = "HTTPS://WWW.Example.ORG:443/a/../Film.mp4?q=ü"
NORMAL = "https://www.example.org/Film.mp4?q=%C3%BC"


def test_the_normal_form_is_stored_and_the_original_kept(uow: UnitOfWork) -> None:
    project = ProjectFactory.create(uow).id
    stored = uow.links.create(project_id=project, url=GIVEN)
    assert (stored.url, stored.original_url) == (NORMAL, GIVEN)
    assert (stored.host, stored.kind) == ("www.example.org", "video")
    assert uow.links.get_by_id(stored.id) == stored
    assert uow.links.list(url=NORMAL) == [stored]
    with pytest.raises(DuplicateRecord) as caught, uow.savepoint():
        uow.links.create(project_id=project, url=NORMAL)
    assert "example.org" not in str(caught.value)


def test_a_host_is_that_of_the_url(uow: UnitOfWork) -> None:
    project = uow.projects.create(name="p")
    url = "https://example.org/a"
    with pytest.raises(InvalidValue, match="host is that of the URL"):
        NewLink(project_id=project.id, url=url, host="evil.example")
    stored = uow.links.create(project_id=project.id, url=url, host="example.org")
    for changes in (
        {"host": "evil.example"},
        {"host": "example.org"},
        {"url": url + "b", "host": "evil.example"},
    ):
        with pytest.raises(InvalidValue, match="host is that of the URL"):
            uow.links.update(stored.id, changes)
    with pytest.raises(InvalidValue, match="host is that of the URL"):
        stored.model_copy(update={"host": "evil.example"})
    assert uow.links.save(stored.model_copy(update={"title": "t"})).host == "example.org"


def test_another_url_brings_its_own_original_host_and_kind(uow: UnitOfWork) -> None:
    one, other, third = (LinkFactory.create(uow, kind="news") for _ in range(3))
    saved = uow.links.save(third.model_copy(update={"url": GIVEN}))
    [many] = uow.links.update_many([Change(other.id, {"url": GIVEN})])
    for changed in (uow.links.update(one.id, url=GIVEN), many, saved):
        assert (changed.url, changed.original_url) == (NORMAL, GIVEN)
        assert (changed.host, changed.kind) == ("www.example.org", "video")
    assert uow.links.update(one.id, title="t").original_url == GIVEN
    assert (
        uow.links.update(one.id, url="http://a.example", kind="map", original_url="http://A.example").kind
        == "map"
    )


def test_a_wrong_url_is_told_once_and_never_repeated(uow: UnitOfWork) -> None:
    wrong = "javascript:secret"
    calls: list[Any] = [
        lambda: draft(wrong),
        lambda: uow.links.update(uuid4(), url=wrong),
        lambda: LinkFactory.build().model_copy(update={"url": wrong}),
        lambda: LinkFactory.build(original_url=wrong),
    ]
    for call in calls:
        with pytest.raises(InvalidValue) as caught:
            call()
        assert str(caught.value).count("must start with") == 1
        assert "secret" not in str(caught.value)


def test_a_text_that_is_longer_than_a_url_is_refused() -> None:
    dotted = "http://a.example/" + "./" * 3_900
    assert (draft(dotted).url, draft(dotted).original_url) == ("http://a.example/", dotted)
    with pytest.raises(InvalidValue, match="2000 bytes"):
        draft("http://a.example/" + "./" * 4_000)


# ----------------------------------------------------------------------------------------------- many URLs


def test_many_are_added_and_each_is_accounted_for(uow: UnitOfWork) -> None:
    project = ProjectFactory.create(uow).id
    known = uow.links.create(
        project_id=project, url="https://known.example/", title="kept", kind=LinkKind.NEWS
    )
    urls: list[Any] = [
        "https://b.example", "javascript:secret", "HTTPS://KNOWN.example:443", "http://a.example/x.mp4",
        "https://B.example/#", 5, "http://u:p@evil.example/", "https://known.example/./",
    ]  # fmt: skip
    added = uow.links.add_many(project, iter(urls))
    assert [link.original_url for link in added.created] == ["https://b.example", "http://a.example/x.mp4"]
    assert [link.kind for link in added.created] == ["website", "video"]
    assert added.existing == (known,)
    assert added.repeated == (RepeatedUrl(4, 0), RepeatedUrl(7, 2))
    assert [refused.place for refused in added.refused] == [1, 5, 6]
    assert added.refused[0] == RefusedUrl(1, "a URL must start with http:// or https://")
    assert "secret" not in repr(added.refused)
    assert uow.links.count(project_id=project) == 3
    again = uow.links.add_many(project, [url for url in urls if isinstance(url, str)])
    assert again.created == ()
    assert {link.id for link in again.existing} == {link.id for link in (*added.created, known)}
    assert uow.links.add_many(project, []) == type(added)((), (), (), ())
    assert uow.links.add_many(project, ["no URL"]).refused[0].place == 0


def test_wrong_calls_of_add_many(uow: UnitOfWork) -> None:
    project = ProjectFactory.create(uow).id
    for wrong in ("https://a.example", 5, None, {"https://a.example": 1}):
        with pytest.raises(InvalidValue, match="list of URLs"):
            uow.links.add_many(project, wrong)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(InvalidValue, match="50,000"):
        uow.links.add_many(project, ("" for _ in range(MOST_URLS + 1)))
    with pytest.raises(InvalidValue, match="project_id"):
        uow.links.add_many("no id", [])
    with pytest.raises(MissingReference), uow.savepoint():
        uow.links.add_many(uuid4(), ["https://a.example"])


def test_a_schema_for_the_metadata_of_links_holds_for_added_ones_too(uow: UnitOfWork) -> None:
    project = ProjectFactory.create(uow).id
    assert len(uow.links.add_many(project, ["https://a.example"]).created) == 1
    uow.projects.update(project, metadata_schemas={"links": {"required": ["campaign"]}})
    with pytest.raises(InvalidValue, match="campaign"):
        uow.links.add_many(project, ["https://a.example", "https://b.example"])
    uow.projects.update(project, metadata_schemas={"links": {"maxProperties": 0}})
    assert len(uow.links.add_many(project, ["https://a.example", "https://b.example"]).created) == 1


@pytest.fixture
def committed(shared_database: Database) -> Iterator[Database]:
    """The shared database, emptied afterwards."""
    yield shared_database
    shared_database.session.run("TRUNCATE projects CASCADE")


def test_a_unit_held_to_a_project_reaches_no_other(committed: Database) -> None:
    with committed.unit_of_work() as unit:
        own, other = (LinkFactory.create(unit).project_id for _ in range(2))
    with committed.unit_of_work(project_id=own) as unit:
        assert len(unit.links.add_many(own, ["https://a.example"]).created) == 1
        calls: list[Any] = [
            lambda: unit.links.add_many(other, ["https://a.example"]),
            lambda: unit.links.by_kind(other),
            lambda: unit.links.counts_by_kind(other),
        ]
        for call in calls:
            with pytest.raises(InvalidValue, match="another project"):
                call()


def test_links_by_kind(uow: UnitOfWork) -> None:
    project = ProjectFactory.create(uow).id
    urls = [f"https://example.org/{n}.{'mp4' if n % 3 else 'pdf'}" for n in range(9)]
    links = uow.links.add_many(project, [*urls, "https://example.org/"]).created
    LinkFactory.create(uow)
    found = uow.links.by_kind(project)
    assert list(found) == [LinkKind.WEBSITE, LinkKind.VIDEO, LinkKind.DOCUMENT]
    assert {kind: [*each] for kind, each in found.items()} == {
        kind: sorted((link for link in links if link.kind == kind), key=lambda link: link.id)
        for kind in found
    }
    few = uow.links.by_kind(project, limit=2)
    assert {kind: each[:2] for kind, each in found.items()} == few
    counts = uow.links.counts_by_kind(project)
    assert list(counts) == list(LinkKind)
    assert (counts[LinkKind.VIDEO], counts[LinkKind.DOCUMENT], counts[LinkKind.MAP]) == (6, 3, 0)
    assert uow.links.by_kind(uuid4()) == {}
    for wrong in (0, 10_001, True, "5"):
        with pytest.raises(InvalidValue, match="limit"):
            uow.links.by_kind(project, limit=wrong)  # type: ignore[arg-type]  # that is the point


def test_round_trips(committed: Database) -> None:
    with committed.unit_of_work() as unit:
        project = ProjectFactory.create(unit).id
    calls: list[Any] = [
        lambda db: db.links.add_many(project, [f"https://example.org/{n}" for n in range(1_000)]),
        lambda db: db.links.by_kind(project),
        lambda db: db.links.counts_by_kind(project),
    ]
    with CountingProxy(committed.config) as proxy, Database(proxy.config) as counted:
        counted.links.count()
        for call in calls:
            with proxy.counting() as trips:
                call(counted)
            assert trips.count - trips.texts.count("SELECT") == 1
    assert committed.links.count(project_id=project) == 1_000
