"""The feed of changes: what is written is told, once it is committed, and nothing else is."""

import datetime as dt
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from database_handler import Change, Database, NewLink, Project
from database_handler.core.changes import CHANNEL, OUTBOX
from database_handler.core.exceptions import (
    ConfigurationError,
    DatabaseHandlerError,
    InvalidValue,
    RecordNotFound,
    ReleasedConnection,
    SchemaMismatch,
)
from database_handler.core.session import Statement
from database_handler.operations.changes import (
    ChangeFeed,
    ChangesElsewhere,
    ChangesGone,
    Operation,
    RowChange,
)
from database_handler.operations.changes import feed as feed_of_changes
from tests.support import valid_arguments
from tests.support.faults import PATIENCE, eventually
from tests.support.repository_calls import call, methods, needed
from tests.support.valid_arguments import Scene, scene_of
from tests.support.wire import CountingProxy


@pytest.fixture
def db(shared_database: Database) -> Iterator[Database]:
    """A database that keeps its changes, emptied afterwards."""
    with Database(
        shared_database.config.with_(changes="outbox"), files=shared_database.resources.config
    ) as own:
        own.outbox.prepare()
        yield own
    shared_database.session.run("TRUNCATE projects CASCADE")
    shared_database.session.script(f"DROP TABLE {OUTBOX}, database_handler_change_readers")


def told(feed: ChangeFeed, number: int) -> list[RowChange]:
    """The next changes; every one of them comes in time."""
    found = list(islice(feed, number))
    assert len(found) == number
    return found


def facts(changes: list[RowChange]) -> list[tuple[Any, ...]]:
    return [(each.operation, each.entity, each.id, each.project_id, each.version) for each in changes]


def more(db: Database, after: str | None) -> list[tuple[Any, ...]]:
    """All that came after a position; a mark that is written now says that it was all."""
    mark = db.projects.create(name=f"mark {uuid4()}")
    with db.changes(after=after, wait=PATIENCE) as feed:
        found: list[RowChange] = []
        while not found or found[-1].id != mark.id:
            found.append(next(feed))
    return facts(found[:-1])


def of(project: Project, operation: Operation, version: int | None = None) -> tuple[Any, ...]:
    return operation, "projects", project.id, project.id, version or project.version


# ------------------------------------------------------------------------------------------- what is written


def test_what_a_unit_does_is_told_with_its_commit_and_in_its_order(db: Database) -> None:
    with db.changes(wait=0) as feed:
        with db.unit_of_work() as uow:
            one = uow.projects.create(name="one")
            link = uow.links.create(project_id=one.id, url="https://example.org/")
            uow.projects.update(one.id, description="d")
            uow.links.delete(link.id)
            assert list(feed) == []
        changes = told(db.changes(after=feed.position, wait=PATIENCE), 4)
    assert facts(changes) == [
        of(one, Operation.INSERT),
        (Operation.INSERT, "links", link.id, one.id, 1),
        of(one, Operation.UPDATE, 2),
        (Operation.DELETE, "links", link.id, one.id, 1),
    ]
    assert changes[0].at == one.created_at
    after = changes[-1].position
    with suppress(KeyError), db.unit_of_work() as uow:
        uow.projects.create(name="undone")
        raise KeyError
    with pytest.raises(DatabaseHandlerError):
        db.projects.create(name="one")  # the slug is there
    with pytest.raises(DatabaseHandlerError):
        db.projects.update(one.id, {"description": "stale"}, expected_version=1)
    assert more(db, after) == []


def test_savepoints_that_are_undone_tell_nothing(db: Database) -> None:
    made: dict[str, Project] = {}
    with db.unit_of_work() as uow:
        made["a"] = uow.projects.create(name="a")
        with uow.savepoint():
            made["b"] = uow.projects.create(name="b")
            with suppress(KeyError), uow.savepoint():
                uow.projects.create(name="undone")
                with uow.savepoint():
                    uow.projects.create(name="undone too")
                raise KeyError
            made["c"] = uow.projects.create(name="c")
        with suppress(KeyError), uow.savepoint():
            raise KeyError
        with suppress(KeyError), uow.savepoint(), uow.savepoint():
            raise KeyError
        with uow.savepoint():
            pass
    assert more(db, "0.0") == [of(each, Operation.INSERT) for each in made.values()]


def test_many_rows_are_told_each(db: Database) -> None:
    project = db.projects.create(name="one")
    urls = [f"https://example.org/{number}" for number in range(2500)]
    with db.unit_of_work() as uow:
        links = uow.links.create_many(NewLink(project_id=project.id, url=url) for url in urls)
        few = uow.links.create_many(NewLink(project_id=project.id, url=f"{url}/a") for url in urls[:3])
        changed = uow.links.update_many(
            [Change(links[0].id, {"title": "t"}), Change(few[0].id, {"title": "t"})]
        )
        uow.links.delete_many([links[1].id, few[1].id])
    found = more(db, "0.0")
    assert found[1:2504] == [(Operation.INSERT, "links", each.id, project.id, 1) for each in (*links, *few)]
    rest = {(operation, id, project) for operation, _, id, project, _ in found[2504:]}
    assert rest == {(Operation.UPDATE, each.id, project.id) for each in changed} | {
        (Operation.DELETE, each.id, project.id) for each in (links[1], few[1])
    }
    assert len(found) == 2508


ROWS = " UNION ALL ".join(
    f"SELECT '{record.table.name}', id, {record.table.scope_column}, version FROM {record.table.name}"
    for record in Database.records()
)
MAY_TELL_MORE = (
    "claim",
    "extend",
    "finish",
    "give_back",
)  # a lease that was taken or kept is told as a change


def rows(database: Database) -> dict[tuple[str, UUID], tuple[UUID, int]]:
    return {
        (name, id): (project, n) for name, id, project, n in database.session.all(Statement(ROWS, "rows"))
    }


def differences(before: Any, after: Any) -> set[tuple[str, str, UUID]]:
    """What changed between two looks; what went with its project is not told by itself."""
    found = {("insert", *key) for key in after.keys() - before.keys()}
    found |= {("update", *key) for key in before.keys() & after.keys() if before[key] != after[key]}
    gone = before.keys() - after.keys()
    whole = {id for name, id in gone if name == "projects"}
    return found | {("delete", *key) for key in gone if key[0] == "projects" or before[key][0] not in whole}


def test_every_method_that_writes_tells_what_it_wrote(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valid_arguments, "introspect", lambda *_: None)  # it takes long, and nobody asks

    def fresh() -> Scene:
        return scene_of(db, db.config, tmp_path)

    scene, kinds, wrong = fresh(), set[str](), list[str]()
    for public in methods():
        if public.again and not public.name.endswith((".delete_many", ".update", ".claim")):
            continue
        before, [mark] = rows(db), db.session.one(f"SELECT coalesce(max(position), 0) FROM {OUTBOX}")
        with suppress(DatabaseHandlerError):
            call(scene, public, needed(scene, public))
        changed = differences(before, rows(db))
        text = f"SELECT operation, entity, id, project_id FROM {OUTBOX} WHERE position > %s"
        answers = db.session.all(Statement(text, "told"), [mark])
        many = {(entity, project) for operation, entity, _, project in answers if operation == "many"}
        exact = {(operation, entity, id) for operation, entity, id, _ in answers if operation != "many"}
        known = {**rows(db), **before}
        lacking = {
            each
            for each in changed - exact
            if not {(each[1], None), (each[1], known[each[1], each[2]][0])} & many
        }
        surplus = set() if public.name.endswith(MAY_TELL_MORE) else exact - changed
        if lacking or surplus:
            wrong.append(f"{public}: not told {lacking}, told and not so {surplus}")
        kinds |= {operation for operation, *_ in changed} | ({"many"} if many else set())
        if changed:
            scene = fresh()
    assert not wrong, "\n".join(wrong)
    assert kinds == {"insert", "update", "delete", "many"}


def test_it_costs_a_unit_no_round_trip_and_a_single_write_one(db: Database) -> None:
    def work(database: Database) -> None:
        with database.unit_of_work() as uow:
            for number in range(3):
                uow.projects.create(name=f"n {uuid4()} {number}")

    with CountingProxy(db.config) as proxy:
        for mode, alone in (("off", 1), ("notify", 2), ("outbox", 2)):
            with Database(proxy.config.with_(changes=mode, pool_size=1, max_overflow=0)) as counted:
                counted.projects.count()
                with proxy.counting() as trips:
                    work(counted)
                assert trips.count == 4
                assert trips.texts[-1].endswith("COMMIT")
                assert (trips.texts[-1] == "COMMIT") is (mode == "off")
                with proxy.counting() as trips:
                    counted.projects.create(name=f"n {uuid4()}")
                assert trips.count == alone
                with proxy.counting() as trips:
                    counted.projects.list(limit=1)
                assert trips.count == 1


# ------------------------------------------------------------------------------------------------ the outbox


def test_a_reader_goes_on_where_it_acknowledged(db: Database) -> None:
    ignored = db.projects.create(name="before")
    with db.changes(reader="search", wait=PATIENCE) as feed:
        made = [db.projects.create(name=f"n {number}") for number in range(4)]
        assert [each.id for each in told(feed, 3)] == [each.id for each in made[:3]]
        feed.acknowledge()
        assert told(feed, 1)[0].id == made[3].id  # and no acknowledgement
    with db.changes(reader="search", wait=PATIENCE) as feed:
        [again] = told(feed, 1)
        assert again.id == made[3].id
        with suppress(KeyError), db.unit_of_work() as uow:
            feed.acknowledge(session=uow.session)
            raise KeyError
    with db.changes(reader="search", wait=PATIENCE) as feed:
        [again] = told(feed, 1)
        with db.unit_of_work() as uow:
            feed.acknowledge(again, session=uow.session)
        feed.acknowledge(again)  # twice is once
        last = db.projects.create(name="last")
        assert told(feed, 1)[0].id == last.id
    report = db.outbox.report()
    assert (report.rows, [(each.name, each.behind) for each in report.readers]) == (6, [("search", 1)])
    db.outbox.move("search", "0.0")
    with db.changes(reader="search", wait=PATIENCE) as feed:
        assert told(feed, 1)[0].id == ignored.id
        db.outbox.forget("search")
        with pytest.raises(RecordNotFound, match="forgotten"):
            feed.acknowledge()
    with pytest.raises(RecordNotFound, match="no reader is called search"):
        db.outbox.forget("search")


def test_an_acknowledgement_that_its_unit_undid_is_not_passed_over_while_the_reader_rests(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_of_changes, "_IDLE", 0.0)
    with db.changes(reader="search", kinds=["projects"], wait=PATIENCE) as feed:
        made = db.projects.create(name="one")
        [change] = told(feed, 1)
        with suppress(KeyError), db.unit_of_work() as uow:
            feed.acknowledge(change, session=uow.session)
            raise KeyError
        assert resting(feed) == []
    with db.changes(reader="search", kinds=["projects"], wait=PATIENCE) as feed:
        [again] = told(feed, 1)
        assert again.id == made.id
        with db.unit_of_work() as uow:
            feed.acknowledge(again, session=uow.session)
        db.links.create(project_id=made.id, url="https://example.org/")  # which this reader passes over
        eventually(lambda: not resting(feed) and db.outbox.report().readers[0].behind == 0)


def resting(feed: ChangeFeed) -> list[RowChange]:
    """What a feed gives that waits for nothing."""
    feed._wait = 0
    return list(feed)


def test_filters_pass_over_what_is_not_asked_for(db: Database) -> None:
    one, other = db.projects.create(name="one"), db.projects.create(name="other")
    link = db.links.create(project_id=one.id, url="https://example.org/")
    db.links.create(project_id=other.id, url="https://example.org/")
    everything = dict[str, Any](after="0.0", wait=PATIENCE)
    assert [each.id for each in told(db.changes(one.id, **everything), 2)] == [one.id, link.id]
    assert [each.id for each in told(db.changes(one.id, ["links"], **everything), 1)] == [link.id]
    assert [each.id for each in told(db.for_project(one.id).changes(**everything), 2)] == [one.id, link.id]
    with db.changes(kinds=["videos"], after="0.0", wait=0) as feed:
        assert list(feed) == []
        passed = feed.position
    assert more(db, passed) == []  # it need not look at them again
    with pytest.raises(InvalidValue, match="another project"):
        db.for_project(one.id).changes(other.id)


def test_what_all_have_read_is_taken_away(db: Database) -> None:
    with db.changes(reader="slow", wait=PATIENCE) as slow, db.changes(reader="quick", wait=PATIENCE) as quick:
        [db.projects.create(name=f"n {number}") for number in range(3)]
        first = told(slow, 1)[0]
        told(quick, 3)
        slow.acknowledge()
        quick.acknowledge()
        assert db.outbox.prune() == 0  # they are young
        assert db.outbox.prune(keep=dt.timedelta(0)) == 1
        told(slow, 2)
        slow.acknowledge()
    assert first.position is not None
    with pytest.raises(ChangesGone, match="anew"), db.changes(after="0.0"):
        pass
    with pytest.raises(ChangesGone):
        db.outbox.move("late", "0.1")
    db.outbox.move("late", "0.0")  # all that is kept
    db.outbox.forget("late")
    with db.changes(after=first.position, wait=PATIENCE) as feed:
        told(feed, 2)
    assert db.outbox.prune(keep=dt.timedelta(0)) == 2
    assert db.outbox.report().rows == 0


def test_a_restored_outbox_is_refused_until_it_is_numbered_anew(db: Database) -> None:
    with db.changes(reader="search", wait=PATIENCE) as feed:
        made = [db.projects.create(name=f"n {number}") for number in range(3)]
        told(feed, 1)
        feed.acknowledge()
    db.session.script(f"UPDATE {OUTBOX} SET xid = (xid::text::bigint + 100000)::text::xid8")
    db.session.script(
        "UPDATE database_handler_change_readers SET xid = (xid::text::bigint + 100000)::text::xid8"
    )
    with pytest.raises(ChangesElsewhere, match="changes prepare"), db.changes(reader="search"):
        pass
    later = db.projects.create(name="later")  # with a lower number than what was restored
    assert db.outbox.prepare()
    assert not db.outbox.prepare()
    with db.changes(reader="search", wait=PATIENCE) as feed:
        found: list[Any] = []
        while not found or found[-1] != later.id:
            found.append(next(feed).id)
        feed.acknowledge()
    assert found[-3:] == [made[1].id, made[2].id, later.id]
    # On a server whose transactions have such numbers as well, by chance: rows would be passed over.
    db.session.script(
        "UPDATE database_handler_change_readers SET position = position + 1 WHERE name = '(server)'"
    )
    with pytest.raises(ChangesElsewhere, match="changes prepare"), db.changes(reader="search"):
        pass
    assert db.outbox.prepare()
    with db.changes(reader="search", wait=0) as feed:  # some come again, and the last of them is the last
        assert [each.id for each in feed][-1:] == [later.id]
    assert [reader.name for reader in db.outbox.report().readers] == ["search"]


def test_without_its_table_nothing_is_written_and_it_is_said_why(db: Database) -> None:
    db.session.script(f"ALTER TABLE {OUTBOX} RENAME TO elsewhere")
    try:
        with pytest.raises(SchemaMismatch, match=OUTBOX):
            db.projects.create(name="lost")
        assert db.projects.count() == 0
        for ask in (lambda: next(db.changes(wait=0)), db.outbox.report, db.outbox.prune):
            with pytest.raises(ConfigurationError, match="changes prepare"):
                ask()
    finally:
        db.session.script(f"ALTER TABLE elsewhere RENAME TO {OUTBOX}")


def test_migrations_neither_miss_it_nor_find_it(db: Database) -> None:
    assert not db.migrations.drift().drifted


def test_through_pgbouncer_it_is_polled(db: Database) -> None:
    with Database(db.config.with_(pgbouncer=True)) as polled:
        with polled.changes(wait=PATIENCE, poll=0.01) as feed:
            made = db.projects.create(name="one")
            assert told(feed, 1)[0].id == made.id
        with pytest.raises(ConfigurationError, match="outbox"):
            Database(polled.config.with_(changes="notify")).changes()


def test_what_cannot_be_is_refused(db: Database) -> None:
    with pytest.raises(ConfigurationError, match="DB_CHANGES"):
        Database(db.config.with_(changes="off")).changes()
    with pytest.raises(ConfigurationError, match="off, notify, outbox"):
        db.config.with_(changes="always")
    assert db.config.with_(changes=False).changes == "off"  # as YAML reads it
    tried: tuple[dict[str, Any], ...] = (
        {"kinds": ["nowhere"]}, {"kinds": "links"}, {"after": "x"}, {"after": "1.99999999999999999999"},
        {"reader": "a b"}, {"reader": ""}, {"reader": "r", "after": "0.0"}, {"wait": -1}, {"poll": 0},
    )  # fmt: skip
    for refused in tried:
        with pytest.raises(InvalidValue):
            db.changes(**refused)
    feed = db.changes(wait=0)
    with pytest.raises(InvalidValue, match="reader"):
        feed.acknowledge()
    feed.close()
    with pytest.raises(ReleasedConnection):
        next(feed)


# --------------------------------------------------------------------------------------------------- notices


@pytest.fixture
def telling(database: Database) -> Iterator[Database]:
    with Database(database.config.with_(changes="notify")) as own:
        yield own


def test_who_listens_hears_of_what_is_committed(telling: Database) -> None:
    ignored = telling.projects.create(name="before")
    with telling.changes(wait=PATIENCE) as feed, telling.changes(kinds=["links"], wait=PATIENCE) as links:
        for hostile in ('[["drop", 1], {}]', '[["insert", "links", null, null, 1e999]]', "[" * 5000):
            telling.session.all("SELECT pg_notify(%s, %s)", [CHANNEL, hostile])  # anybody can
        with telling.unit_of_work() as uow:
            one = uow.projects.create(name="one")
            with suppress(KeyError), uow.savepoint():
                uow.projects.create(name="undone")
                raise KeyError
        telling.projects.delete(ignored.id)
        assert facts(told(feed, 2)) == [of(one, Operation.INSERT), of(ignored, Operation.DELETE)]
        drafts = [NewLink(project_id=one.id, url=f"https://example.org/{n}") for n in range(1000)]
        made = telling.links.create_many(drafts[:100])
        assert [each.id for each in told(links, 100)] == [each.id for each in made]
        telling.links.create_many(drafts[100:])
        assert facts(told(links, 1)) == [(Operation.MANY, "links", None, one.id, None)]
        assert feed.position is None
        with pytest.raises(InvalidValue, match="no place"):
            feed.acknowledge()
    with pytest.raises(InvalidValue, match="not kept"):
        telling.changes(reader="search")


def test_who_was_cut_off_hears_that_something_may_be_missed(telling: Database) -> None:
    listening = (
        "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' AND datname = current_database()"
    )
    with telling.changes(wait=PATIENCE) as feed:
        [pid] = telling.session.one(Statement(listening, "test"))
        telling.session.one("SELECT pg_terminate_backend(%s)", [pid])
        eventually(lambda: telling.session.maybe(Statement(listening, "test")) is None)
        telling.projects.create(name="unheard")
        assert facts(told(feed, 1)) == [(Operation.MISSED, "", None, None, None)]
        one = telling.projects.create(name="heard")
        assert told(feed, 1)[0].id == one.id


def test_drafts_of_the_feed_are_values() -> None:
    change = RowChange(Operation.INSERT, "links", UUID(int=1))
    assert hash(change) == hash(RowChange(Operation.INSERT, "links", UUID(int=1)))
    with pytest.raises(AttributeError):
        change.entity = "projects"  # type: ignore[misc]  # that is what is tried
