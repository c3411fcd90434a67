"""The cache in front of single records and statistics: what comes from it, and how it hears of writes."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NoReturn
from uuid import uuid4

import pytest
from psycopg2 import sql

from database_handler import Database, NewLink, NewProject, Project
from database_handler.config.cache import CacheConfig
from database_handler.core.cache_entries import Codec, Garbage, Kind, Stale
from database_handler.core.cache_reading import Loaded
from database_handler.core.cache_server import CacheServer, Filling
from database_handler.core.events import NOBODY, Events
from database_handler.core.exceptions import (
    AmbiguousRecord,
    ConfigurationError,
    DatabaseHandlerError,
    InvalidValue,
    RecordNotFound,
)
from database_handler.repositories.project_statistics import ProjectStatistics
from tests.support import valid_arguments
from tests.support.caching import Make, cache, cached_databases, created, stats
from tests.support.repository_calls import call, methods, needed
from tests.support.valid_arguments import Scene, scene_of
from tests.support.valkey import Valkey

TIMEOUT = 5.0  # seconds: a busy machine is no slow cache


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.fixture
def make(shared_database: Database, valkey: Valkey) -> Iterator[Make]:
    with cached_databases(shared_database, valkey, timeout=TIMEOUT) as maker:
        yield maker


# --------------------------------------------------------------------------------------------------- reading


def test_single_records_and_statistics_are_read_through_it(make: Make) -> None:
    writer, reader = make(), make()
    one, two = created(writer, metadata={"a": [1, 2.5, None, "é\u2028"]}), created(writer)
    assert reader.projects.get_by_id(one.id) == one
    assert reader.projects.find_by_id(str(one.id)) == one
    assert reader.projects.get_many([two.id, one.id, uuid4(), two.id]) == [two, one, two]
    figures = reader.projects.statistics(one.id)
    assert reader.projects.statistics_many([one.id, one.id]) == [figures, figures]
    found = stats(reader)
    assert (found.hits, found.misses, found.fills) == (3, 4, 3)  # two projects and figures; one is nowhere
    with pytest.raises(RecordNotFound):
        reader.projects.get_by_id(uuid4())
    with pytest.raises(RecordNotFound):
        reader.projects.statistics(uuid4())
    assert reader.projects.get_many([]) == []
    with pytest.raises(InvalidValue):
        reader.projects.get_by_id("no id")


def test_what_comes_from_it_is_what_the_database_gave(
    make: Make, shared_database: Database, tmp_path: Any
) -> None:
    database = make()
    scene = scene_of(database, shared_database.config, tmp_path)
    hits = stats(database).hits
    for name, record in scene.records.items():
        repository = getattr(database, name)
        given, kept = repository.get_by_id(record.id), repository.get_by_id(record.id)
        assert given == kept == record
        assert repr(given) == repr(kept)  # the types inside, too
        assert given.model_fields_set == kept.model_fields_set
        assert type(given) is type(kept)
    assert repr(database.projects.statistics(scene.project.id)) == repr(
        database.projects.statistics(scene.project.id)
    )
    assert stats(database).hits >= hits + len(scene.records) + 1
    assert stats(database).unfit == 0


def test_units_and_project_scopes_read_for_themselves(make: Make, valkey: Valkey) -> None:
    database = make()
    project, foreign = created(database), created(database)
    for each in (project, foreign):
        database.projects.get_by_id(each.id)
    before = stats(database)
    with database.unit_of_work(read_only=True) as unit:
        assert unit.projects.get_by_id(project.id) == project
        assert unit.projects.statistics(project.id).rows == 0
        aside = database.repositories(outside_unit=True)
        assert aside.projects.get_by_id(project.id) == project  # this one may
    assert stats(database).hits == before.hits + 1
    held = database.for_project(project.id)
    assert held.projects.get_by_id(project.id) == project
    assert held.projects.find_by_id(foreign.id) is None
    with database.unit_of_work(project_id=project.id) as unit:
        assert unit.projects.find_by_id(foreign.id) is None
        assert unit.projects.get_many([foreign.id]) == []
    assert stats(database).hits == before.hits + 1
    assert len(valkey.held("*:e:*")) == 2


def test_observers_hear_what_it_answered(make: Make) -> None:
    database = make()
    heard: list[tuple[str, str]] = []

    class Listener(Events):
        def cache(self, entity: str, result: str) -> None:
            heard.append((entity, result))

    class Listening:
        def attach(self, target: object) -> Events:
            return Listener()

    database.observe(Listening())
    project = created(database)
    database.projects.get_by_id(project.id)
    database.projects.get_by_id(project.id)
    database.projects.update(project.id, name="changed")
    database.projects.get_by_id(project.id)
    database.projects.statistics(project.id)
    assert heard == [
        ("projects", "miss"),
        ("projects", "hit"),
        ("projects", "stale"),
        ("statistics", "miss"),
    ]


# --------------------------------------------------------------------------------------------------- writing


def test_after_each_call_of_each_repository_every_reader_sees_what_is_there(
    make: Make, shared_database: Database, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The methods are found by reflection: a new one that writes behind the cache's back fails here."""
    monkeypatch.chdir(tmp_path)
    writer, reader, plain = make(), make(), shared_database
    scene = scene_of(writer, shared_database.config, tmp_path)
    monkeypatch.setattr(valid_arguments, "introspect", lambda *_: scene.schema)  # once is enough
    changed: set[str] = set()
    tried = 0
    for public in sorted(methods(), key=lambda public: public.again):
        name = public.name.rpartition(".")[2]
        if public.again and public.over != "links" and name not in changed:
            continue  # one function at several entities, which changed nothing at the first
        tried += 1
        if None in seen(plain, scene):
            scene = scene_of(writer, shared_database.config, tmp_path)
        before = seen(reader, scene)
        assert before == seen(plain, scene)
        with suppress(DatabaseHandlerError, LookupError):
            call(scene, public, needed(scene, public))
        after = seen(plain, scene)
        assert seen(reader, scene) == after, f"{public} left something old behind"
        if after != before:
            changed.add(name)
    assert changed >= {"create_one", "create_many", "update", "update_many", "save", "upsert", "upsert_many"}
    assert changed >= {"delete", "delete_many", "tokenize", "set_status", "add_many", "archive_many"}
    assert stats(reader).hits > 3 * tried
    assert stats(writer).unannounced == stats(writer).errors == stats(reader).errors == 0


def seen(database: Database, scene: Scene) -> list[Any]:
    """Return the rows of a scene and the figures of its project, each read by itself."""
    found: list[Any] = [
        getattr(database, name).find_by_id(record.id) for name, record in scene.records.items()
    ]
    return [*found, database.projects.statistics_many([scene.project.id])]


def test_work_that_is_taken_and_finished_is_told(make: Make) -> None:
    database, reader = make(), make()
    project = created(database)
    video = database.videos.create(project_id=project.id, title="a", storage_uri="https://example.org/a.mp4")
    statuses = [reader.videos.get_by_id(video.id).status]
    [claim] = database.videos.claim(1)
    statuses.append(reader.videos.get_by_id(video.id).status)
    database.videos.finish(claim)
    statuses.append(reader.videos.get_by_id(video.id).status)
    assert statuses == ["pending", "processing", "ready"]
    assert reader.projects.statistics(project.id).videos.statuses[statuses[-1]].rows == 1


def test_own_sql_makes_everything_unreadable(make: Make) -> None:
    database, reader = make(), make()
    project = created(database)

    def expect(name: str) -> None:
        assert reader.projects.get_by_id(project.id).name == name
        reader.projects.get_by_id(project.id)

    expect(project.name)
    text = "UPDATE projects SET name = %s WHERE id = %s"
    database.session.run(text, ["by itself", project.id])
    expect("by itself")
    with database.unit_of_work() as unit:
        unit.session.run(text, ["in a unit", project.id])
    expect("in a unit")
    database.session.script("UPDATE projects SET name = 'by a script'")
    expect("by a script")
    with database.unit_of_work() as unit:
        unit.session.script("UPDATE projects SET name = 'by a script in a unit'")
    expect("by a script in a unit")
    hits = stats(reader).hits
    database.session.all("SELECT count(*) FROM projects")
    with database.unit_of_work(read_only=True) as unit:
        unit.session.all("SELECT pg_advisory_xact_lock(1)")  # it may do anything, but not here
    expect("by a script in a unit")
    assert stats(reader).hits == hits + 2
    database.session.run("ANALYZE projects")  # which stands in no transaction with others


def test_a_row_that_many_change_is_told_as_its_table(make: Make) -> None:
    database, reader = make(), make()
    project = created(database)
    records = database.projects.create_many([NewProject(name=f"p{n}") for n in range(1100)])
    for each in (records[0], project):
        reader.projects.get_by_id(each.id)
    database.projects.delete_many([each.id for each in records])
    assert reader.projects.find_by_id(records[0].id) is None
    assert reader.projects.get_by_id(project.id) == project


def test_a_write_to_one_project_leaves_the_others_entries(make: Make) -> None:
    database = make()
    one, two = created(database), created(database)
    for _ in range(2):
        for each in (one, two):
            database.projects.statistics(each.id)
            database.projects.get_by_id(each.id)
    hits = stats(database).hits
    database.links.create_many([NewLink(project_id=one.id, url="https://example.org/1")])
    database.links.create(project_id=one.id, url="https://example.org/2")
    database.links.delete_many([each.id for each in database.links.list(project_id=one.id)])
    assert database.projects.statistics(two.id).rows == 0
    for each in (one, two):
        database.projects.get_by_id(each.id)
    assert stats(database).hits == hits + 3
    assert database.projects.statistics(one.id).links.rows == 0


def test_an_id_of_two_projects_is_refused_from_the_cache_too(make: Make) -> None:
    database = make()
    one, two = created(database), created(database)
    link = database.links.create(project_id=one.id, url="https://example.org/")
    database.links.get_by_id(link.id)
    database.links.create(NewLink(project_id=two.id, url="https://example.org/"), id=link.id)
    with pytest.raises(AmbiguousRecord):
        database.links.get_by_id(link.id)


def test_a_migration_makes_everything_unreadable(make: Make, database: Database) -> None:
    own = make(database.config)
    project = created(own)
    own.projects.get_by_id(project.id)
    own.migrate()  # nothing is to be done, so nothing is forgotten
    own.projects.get_by_id(project.id)
    assert stats(own).hits == 1
    own.migrations.rollback()
    own.migrate()
    assert own.projects.get_by_id(project.id) == project
    assert stats(own).hits == 1


# ------------------------------------------------------------------------------------------- who shares what


def test_two_databases_share_nothing_and_two_ways_to_one_share_all(
    make: Make, database: Database, valkey: Valkey
) -> None:
    here, elsewhere = make(), make(database.config)
    project = created(here)
    here.projects.get_by_id(project.id)
    assert elsewhere.projects.find_by_id(project.id) is None  # another database of one server
    again = make(here.config.with_(application_name="another way"))
    assert again.projects.get_by_id(project.id) == project
    assert stats(again).hits == 1
    copied = make(namespace="copy")
    copied.projects.get_by_id(project.id)
    assert stats(copied).hits == 0


def test_roles_share_no_entries_and_hear_of_each_others_writes(make: Make, valkey: Valkey) -> None:
    owner = make()
    name = f"reader_{uuid4().hex}"
    role = sql.Identifier(name)
    owner.session.run(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'pw'").format(role))
    try:
        owner.session.run(sql.SQL("GRANT SELECT, UPDATE ON projects TO {}").format(role))
        other = make(owner.config.with_(user=name, password="pw"))
        project = created(owner)
        owner.projects.get_by_id(project.id)
        assert other.projects.get_by_id(project.id) == project
        assert stats(other).hits == 0
        other.projects.get_by_id(project.id)
        assert stats(other).hits == 1
        changed = owner.projects.update(project.id, name="changed")
        assert other.projects.get_by_id(project.id) == changed
        other.close()
    finally:
        owner.session.run(sql.SQL("DROP OWNED BY {}").format(role))
        owner.session.run(sql.SQL("DROP ROLE {}").format(role))


class NewRenamed(NewProject, frozen=True):
    """A project as a release has it whose model has a field less or more."""

    mood: str = "calm"


def test_a_release_with_other_fields_takes_no_others_entries() -> None:
    assert Codec(NewRenamed).fingerprint != Codec(NewProject).fingerprint
    assert Codec(ProjectStatistics).fingerprint != Codec(ProjectStatistics, "notes").fingerprint
    assert Codec(NewProject).fingerprint == Codec(NewProject).fingerprint


def test_an_entry_is_bound_to_its_key_and_tokens(make: Make) -> None:
    project = created(make())
    kind = Kind("projects", "t:projects", "r:projects", Codec(Project))
    tokens = [b"t1", b"t2", b"t3"]
    stored = kind.pack("key", tokens, 1, project)
    assert stored is not None
    assert kind.unpack("key", tokens, stored) == project
    assert isinstance(kind.unpack("another", tokens, stored), Garbage)
    assert isinstance(kind.unpack("key", [b"t1", b"t2", b"t4"], stored), Stale)
    for place in range(len(stored)):
        damaged = stored[:place] + bytes([stored[place] ^ 1]) + stored[place + 1 :]
        assert isinstance(kind.unpack("key", tokens, damaged), Garbage)


def test_a_value_that_would_come_back_as_another_is_not_stored(make: Make) -> None:
    database = make()
    project = created(database)
    database.session.run("UPDATE projects SET name = '  not stripped '")
    found = database.projects.get_by_id(project.id)
    assert found.name == "  not stripped "
    assert database.projects.get_by_id(project.id) == found
    assert stats(database).unfit == 2
    small = make(max_value_bytes=100)
    small.projects.get_by_id(project.id)
    assert stats(small).unfit == 1


# ------------------------------------------------------------------------------------------------ its limits


def test_entries_live_for_up_to_a_fifth_less_than_the_longest(make: Make, valkey: Valkey) -> None:
    database = make(ttl=100)
    projects = [created(database) for _ in range(30)]
    database.projects.get_many([each.id for each in projects])
    lives = [valkey.client.pttl(key) for key in valkey.held("*:e:*")]
    assert len(lives) == 30
    assert all(75_000 < each <= 100_000 for each in lives)
    assert max(lives) - min(lives) > 5_000
    assert all(valkey.client.pttl(key) > 0 for key in valkey.held())  # nothing stays for ever


def test_an_older_row_never_overwrites_a_newer(make: Make) -> None:
    database = make()
    server: CacheServer = cache(database).server
    named: dict[str, Any] = {"loader": "ab", "within": 5}
    leases = server.lease(["g", "t"], ["o"], ["x:e:1"], seconds=(60, 60), **named)
    shared = list(zip(["g", "t"], leases.tags, strict=False))

    def fill(version: int) -> int:
        value = b"1 %s %d x\n{}" % (b":".join(leases.tags), version)
        filling = Filling("x:e:1", "o", leases.tags[-1], version, value, 60)
        return server.fill(leases.run, shared, [filling], **named)

    assert (fill(5), fill(4), fill(6)) == (1, 0, 1)
    server.mark(["o"], writer="cd", seconds=60, within=5)
    assert fill(7) == 0
    server.release(["o"], writer="cd", within=5)
    assert fill(7) == 0  # the token is gone


def test_writers_of_one_tag_do_not_take_each_others_marks(make: Make) -> None:
    server = cache(make()).server

    def marked() -> bool:
        [value] = server.read((), ["o"], within=5).tags
        return value is not None and value.startswith(b"m")

    server.mark(["o"], writer="aa", seconds=60, within=5)
    server.mark(["o"], writer="bb", seconds=60, within=5)
    server.release(["o"], writer="aa", within=5)
    assert marked()
    server.release(["o"], writer="-", within=5)  # of somebody who forgets
    assert marked()
    server.release(["o"], writer="bb", within=5)
    assert not marked()


def test_what_a_standby_says_is_not_stored(make: Make) -> None:
    database = make()
    project = created(database)
    kind = Kind("projects", "t:projects", "r:projects", Codec(Project))

    def read(*, primary: bool) -> None:
        loaded = Loaded({project.id: (project, 1)}, primary)
        assert cache(database).read(kind, [project.id], lambda _: loaded, NOBODY) == {project.id: project}

    read(primary=False)
    assert stats(database).fills == 0
    read(primary=True)
    assert stats(database).fills == 1


def test_the_server_that_answers_says_whether_it_is_a_standby(make: Make, database: Database) -> None:
    name = database.config.name
    database.session.script(
        "CREATE SCHEMA behind; CREATE FUNCTION behind.pg_is_in_recovery() RETURNS boolean RETURN true;"
        f"ALTER DATABASE {name} SET search_path = behind, pg_catalog, public"
    )
    own = make(database.config)
    project = database.projects.create(name="Launch film")
    for _ in range(2):
        assert own.projects.get_by_id(project.id) == project
        assert own.projects.get_many([project.id]) == [project]
        assert own.projects.statistics(project.id).rows == 0
    assert (stats(own).fills, stats(own).hits, stats(own).misses) == (0, 0, 6)


def test_a_load_that_fails_gives_its_lease_back(make: Make, valkey: Valkey) -> None:
    database = make(wait=30)
    project = created(database)
    kind = Kind("projects", "t:projects", "r:projects", Codec(Project))

    def fails(_: object) -> NoReturn:
        raise KeyError

    with pytest.raises(KeyError):
        cache(database).read(kind, [project.id], fails, NOBODY)
    assert valkey.held("*:l:*") == []
    assert database.projects.get_by_id(project.id) == project


# ------------------------------------------------------------------------------------------------ for people


def test_forget_clear_and_contents(make: Make, valkey: Valkey) -> None:
    database, other = make(), make()
    one, two = created(database), created(database)
    link = database.links.create(project_id=one.id, url="https://example.org/")

    def warm() -> None:
        for _ in range(2):
            other.projects.get_many([one.id, two.id])
            other.links.get_by_id(link.id)
            other.projects.statistics(one.id)

    def hits() -> int:
        before = stats(other).hits
        other.projects.get_by_id(one.id)
        other.projects.get_by_id(two.id)
        other.links.get_by_id(link.id)
        other.projects.statistics(one.id)
        return stats(other).hits - before

    warm()
    assert hits() == 4
    cache(database).forget("projects", [one.id])
    assert hits() == 2
    cache(database).forget("projects")
    assert hits() == 1
    cache(database).forget()
    assert hits() == 0
    contents = cache(database).contents()
    assert contents.entries == {"links": 1, "projects": 2, "statistics": 1}
    assert (contents.marked, contents.complete) == (0, True)
    assert not cache(database).contents(most=1).complete or len(valkey.held()) < 1000
    assert cache(database).clear() == 4
    assert valkey.held("*:e:*") == []
    for table, ids in ((None, [one.id]), ("no such", ()), (3, ()), ("projects", ["x"])):
        with pytest.raises(InvalidValue):
            cache(database).forget(table, ids)  # type: ignore[arg-type]  # that is what is tried
    with pytest.raises(InvalidValue):
        cache(database).contents(most="many")  # type: ignore[arg-type]  # likewise


def test_check_tells_what_is_unwise(make: Make, valkey: Valkey) -> None:
    checked = cache(make()).check()
    assert checked.ok
    assert checked.server is not None
    assert checked.server.software == "Valkey"
    assert any("maxmemory is not set" in each for each in checked.warnings)
    valkey.client.config_set("maxmemory", "64mb")
    try:
        assert any("noeviction" in each for each in cache(make()).check().warnings)
        valkey.client.config_set("maxmemory-policy", "allkeys-lru")
        assert cache(make()).check().warnings == ()
    finally:
        valkey.client.config_set("maxmemory", "0")
        valkey.client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://example.org"},
        {"url": "redis://"},
        {"url": "redis://user:s3cret@host:port"},
        {"url": "redis://:s3cret@host/films"},
        {"url": "redis://host?socket_timeout=s3cret"},
        {"url": "unix://no/absolute/path"},
        {"url": "redis://ho st"},
        {"url": 3},
        {"ttl": 0},
        {"ttl": "s3cret"},
        {"timeout": 11},
        {"pause": -1},
        {"wait": float("nan")},
        {"max_value_bytes": 0},
        {"namespace": "a:b"},
        {"strict": "s3cret"},
        {"no_such": 1},
    ],
)
def test_wrong_settings_are_refused_without_their_values(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        CacheConfig.model_validate(wrong)
    assert next(iter(wrong)) in str(refused.value)
    assert "s3cret" not in str(refused.value)
    if "url" in wrong and isinstance(wrong["url"], str):
        with pytest.raises(ConfigurationError):
            Database("postgresql://localhost/films", cache=wrong["url"])


def test_no_text_shows_the_password(valkey: Valkey, shared_database: Database) -> None:
    url = valkey.url.replace("unix://", "unix://:s3cret@")
    with Database(shared_database.config, cache=url) as database:
        found = cache(database).check()  # nobody has that password here
        told = [found, cache(database), cache(database).config, database, cache(database).stats()]
        assert not found.ok
        assert not any("s3cret" in repr(each) for each in told)
    with pytest.raises(InvalidValue):
        Database(shared_database.config, cache=3)  # type: ignore[arg-type]  # that is what is tried
