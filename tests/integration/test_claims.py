"""Work is taken under a lease: by one worker only, for as long as the lease lasts, by the server's clock."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import pytest

from database_handler import Database, NewVideo, Project, Translation, UnitOfWork, Video
from database_handler.core.exceptions import InvalidValue, LeaseLost, RecordNotFound, StaleRecord
from database_handler.core.session import Statement
from database_handler.models import TranslationStatus, VideoStatus
from database_handler.repositories.claims import Claim, _claim
from database_handler.testing.factories import ProjectFactory, TextSourceFactory, TranslationFactory
from tests.support.faults import eventually
from tests.support.wire import CountingProxy

ENDED = "SELECT NOT EXISTS (SELECT FROM translations WHERE lease_until > clock_timestamp())"


@pytest.fixture
def own(shared_database: Database) -> Iterator[Database]:
    """A database over connections of the test's own; what it stored is taken away afterwards."""
    with Database(shared_database.config.with_(pool_size=16, max_overflow=0)) as own:
        yield own
    shared_database.session.run("TRUNCATE projects CASCADE")


def drafts(over: Any, size: int, **fields: Any) -> list[Translation]:
    stored = TranslationFactory.create_batch(size, over, status="draft", **fields)
    return sorted(stored, key=lambda record: record.id)


def videos(over: Any, project: Project, size: int) -> list[Video]:
    return over.videos.create_many(  # type: ignore[no-any-return]
        NewVideo(project_id=project.id, title=str(n), storage_uri=f"films/{n}.mp4") for n in range(size)
    )


def records(claims: list[Claim[Any]]) -> list[Any]:
    return [claim.record for claim in claims]


def ids(claims: list[Claim[Any]]) -> list[UUID]:
    return [claim.record.id for claim in claims]


# ------------------------------------------------------------------------------------------------------- take


def test_the_oldest_are_taken_first_and_are_then_held(uow: UnitOfWork) -> None:
    stored = drafts(uow, 5)
    first = uow.translations.claim(3, lease=60, worker="Ada")
    assert records(first) == stored[:3]
    assert {claim.worker for claim in first} == {"Ada"}
    assert ids(uow.translations.claim(9)) == [record.id for record in stored[3:]]
    assert uow.translations.claim(1) == []


def test_a_lease_is_no_content(uow: UnitOfWork) -> None:
    [stored] = drafts(uow, 1)
    [claim] = uow.translations.claim()
    assert claim.record == stored
    longer = uow.translations.extend(claim, timedelta(hours=1))
    assert (longer.record, longer.token) == (claim.record, claim.token)
    assert longer.until - claim.until > timedelta(minutes=50)
    assert uow.translations.give_back(longer) == uow.translations.get_by_id(stored.id) == stored


def test_only_what_waits_is_taken_unless_another_status_is_asked_for(uow: UnitOfWork) -> None:
    waiting, reviewed = drafts(uow, 2)
    uow.translations.update(reviewed.id, status="review")
    assert ids(uow.translations.claim(9)) == [waiting.id]
    [claim] = uow.translations.claim(9, status="review")
    assert uow.translations.finish(claim).status is TranslationStatus.APPROVED


def test_work_is_taken_of_one_project_where_one_is_named(uow: UnitOfWork) -> None:
    other, wanted = drafts(uow, 1)[0], drafts(uow, 1)[0]
    assert ids(uow.translations.claim(9, wanted.project_id)) == [wanted.id]
    assert ids(uow.translations.claim(9)) == [other.id]
    with pytest.raises(InvalidValue, match="project_id"):
        uow.translations.claim(1, "no id")  # type: ignore[arg-type]


def test_a_unit_held_to_a_project_takes_of_that_alone(own: Database) -> None:
    mine, other = drafts(own, 1)[0], drafts(own, 1)[0]
    [theirs] = own.translations.claim(1, other.project_id)
    with own.unit_of_work(project_id=mine.project_id) as unit:
        assert ids(unit.translations.claim(9)) == [mine.id]
        assert [held.id for held in unit.translations.claims()] == [mine.id]
        with pytest.raises(InvalidValue, match="another project"):
            unit.translations.claim(1, other.project_id)
        with pytest.raises(InvalidValue, match="another project"):
            unit.translations.finish(theirs)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"n": 0}, "1 to 1,000"),
        ({"n": 1001}, "1 to 1,000"),
        ({"n": True}, "1 to 1,000"),
        ({"lease": 0}, "at most 30 days"),
        ({"lease": float("nan")}, "at most 30 days"),
        ({"lease": float("inf")}, "at most 30 days"),
        ({"lease": timedelta(days=31)}, "at most 30 days"),
        ({"lease": "60"}, "at most 30 days"),
        ({"worker": ""}, "1 to 200"),
        ({"worker": "x" * 201}, "1 to 200"),
        ({"worker": "a\nb"}, "one line"),
        ({"worker": 5}, "worker: a name of 1 to 200"),
        ({"status": "done"}, "status"),
    ],
)
def test_what_is_out_of_range_is_refused(uow: UnitOfWork, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        uow.translations.claim(**options)


def test_none_is_taken_twice_by_sixteen_threads(own: Database) -> None:
    stored = drafts(own, 160)
    taken: list[list[UUID]] = [[] for _ in range(16)]

    def work(mine: list[UUID]) -> None:
        while found := own.translations.claim(3):
            mine += ids(found)

    threads = [Thread(target=work, args=(mine,), daemon=True) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    everything = [id for mine in taken for id in mine]
    assert len(everything) == len(stored)
    assert set(everything) == {record.id for record in stored}


def test_a_claim_in_a_unit_locks_no_more_than_it_takes(own: Database) -> None:
    stored = drafts(own, 5)
    own.translations.claim(1, lease=0.000001)
    with own.unit_of_work() as unit:
        assert ids(unit.translations.claim(2)) == [stored[0].id, stored[1].id]
        others = own.repositories(outside_unit=True).translations
        assert ids(others.claim(9)) == [record.id for record in stored[2:]]


def test_what_another_unit_locks_is_left_out_without_waiting(own: Database) -> None:
    first, second = drafts(own, 2)
    with own.unit_of_work() as unit:
        unit.translations.update(first.id, generator="x")
        assert ids(own.repositories(outside_unit=True).translations.claim(9)) == [second.id]


def test_what_another_unit_only_refers_to_is_taken(own: Database) -> None:
    [stored] = drafts(own, 1)
    outside = own.repositories(outside_unit=True)
    with own.unit_of_work() as unit:
        unit.videos.create(
            project_id=stored.project_id, translation_id=stored.id, title="T", storage_uri="films/t.mp4"
        )
        [claim] = outside.translations.claim()
        assert outside.translations.finish(claim).id == stored.id


# ----------------------------------------------------------------------------------------------------- finish


def test_finish_writes_the_result_and_ends_the_lease(uow: UnitOfWork) -> None:
    [stored] = drafts(uow, 1)
    [claim] = uow.translations.claim()
    done = uow.translations.finish(claim, content="zwei Wörter")
    assert (done.status, done.content, done.word_count) == (TranslationStatus.REVIEW, "zwei Wörter", 2)
    assert (done.version, done.id) == (2, stored.id)
    assert uow.translations.claims() == []
    assert uow.translations.get_by_id(stored.id) == done


def test_only_the_holder_can_finish_extend_and_give_back(uow: UnitOfWork) -> None:
    [stored] = drafts(uow, 1)
    [late] = uow.translations.claim(lease=0.000001)
    [holder] = uow.translations.claim(worker="Grace")
    for call in (uow.translations.finish, uow.translations.extend, uow.translations.give_back):
        with pytest.raises(LeaseLost, match="held by another worker now; nothing was written") as lost:
            call(late)
        assert (lost.value.current, lost.value.worker) == (stored, "Grace")
    uow.translations.finish(holder)
    for claim in (late, holder):
        with pytest.raises(LeaseLost, match="held by nobody"):
            uow.translations.finish(claim)
    uow.translations.delete(stored.id)
    with pytest.raises(RecordNotFound):
        uow.translations.finish(holder)


def test_what_is_no_claim_of_the_entity_is_refused(uow: UnitOfWork) -> None:
    drafts(uow, 1)
    [claim] = uow.translations.claim()
    token: Any = "a token"
    wrong: list[Any] = [None, "claim", claim.record, claim.token, replace(claim, token=token)]
    for call in (uow.translations.finish, uow.translations.extend, uow.translations.give_back):
        for each in wrong:
            with pytest.raises(InvalidValue, match="a Claim of translations is wanted"):
                call(each)
    with pytest.raises(InvalidValue, match="a Claim of videos is wanted"):
        uow.videos.finish(claim)  # type: ignore[arg-type]


def test_a_lease_that_ran_out_and_was_not_taken_is_still_the_holders(uow: UnitOfWork) -> None:
    drafts(uow, 2)
    one, two = uow.translations.claim(2, lease=0.000001)
    assert [held.expired for held in uow.translations.claims()] == [True, True]
    assert uow.translations.finish(one).status is TranslationStatus.REVIEW
    assert uow.translations.extend(two, 60).until > two.until
    assert [held.expired for held in uow.translations.claims()] == [False]


def test_finish_does_not_overwrite_what_somebody_changed_meanwhile(uow: UnitOfWork) -> None:
    drafts(uow, 1)
    [claim] = uow.translations.claim()
    edited = uow.translations.update(claim.record.id, content="by hand")
    with pytest.raises(StaleRecord) as stale:
        uow.translations.finish(claim, content="by machine")
    assert stale.value.current == (edited,)
    assert [held.id for held in uow.translations.claims()] == [edited.id]
    done = uow.translations.finish(claim, "draft", overwrite=True, generator="m")
    assert (done.content, done.generator, done.status, done.version) == ("by hand", "m", "draft", 3)


def test_finish_refuses_what_update_refuses(uow: UnitOfWork) -> None:
    drafts(uow, 1)
    [claim] = uow.translations.claim()
    refused: list[dict[str, Any]] = [
        {"content": ""},
        {"contents": "x"},
        {"project_id": uuid4()},
        {"status": "done"},
    ]
    for wrong in refused:
        with pytest.raises(InvalidValue):
            uow.translations.finish(claim, **wrong)
    with pytest.raises(InvalidValue, match="a Claim of translations is wanted"):
        uow.translations.finish(claim.record)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="a Claim of videos is wanted"):
        uow.videos.finish(claim)  # type: ignore[arg-type]


def test_finish_keeps_to_the_projects_json_schema(uow: UnitOfWork) -> None:
    [stored] = drafts(uow, 1)
    schema = {"type": "object", "properties": {"score": {"type": "number"}}}
    uow.projects.update(stored.project_id, metadata_schemas={"translations": schema})
    [claim] = uow.translations.claim()
    with pytest.raises(InvalidValue, match="score"):
        uow.translations.finish(claim, metadata={"score": "high"})
    assert uow.translations.finish(claim, metadata={"score": 1}).metadata == {"score": 1}


# ----------------------------------------------------------------------------------------------------- videos


def test_a_videos_status_follows_its_lease(uow: UnitOfWork) -> None:
    project = ProjectFactory.create(uow)
    stored = videos(uow, project, 3)
    assert uow.videos.claim(3, uuid4()) == []
    one, two, three = uow.videos.claim(3, project.id)
    assert {claim.record.status for claim in (one, two, three)} == {VideoStatus.PROCESSING}
    assert [claim.record.version for claim in (one, two, three)] == [2, 2, 2]
    assert uow.videos.claim(9) == []
    ready = uow.videos.finish(one, duration=2.5)
    failed = uow.videos.finish(two, VideoStatus.FAILED)
    back = uow.videos.give_back(three)
    assert [video.status for video in (ready, failed, back)] == ["ready", "failed", "pending"]
    assert (ready.duration, ready.version, back.version) == (2.5, 3, 3)
    assert ids(uow.videos.claim(9)) == [stored[2].id]
    assert ids(uow.videos.claim(9, status="failed")) == [stored[1].id]


def test_what_a_dead_worker_left_is_taken_before_what_waits(uow: UnitOfWork) -> None:
    stored = videos(uow, ProjectFactory.create(uow), 4)
    [_, second] = uow.videos.claim(2, lease=0.000001)
    uow.videos.update(second.record.id, status="pending")
    again = uow.videos.claim(3)
    assert ids(again) == [stored[0].id, stored[1].id, stored[2].id]
    assert [claim.record.version for claim in again] == [2, 4, 2]  # the first was PROCESSING already


def test_a_video_set_to_processing_by_hand_is_nobodys_to_take(uow: UnitOfWork) -> None:
    [video] = videos(uow, ProjectFactory.create(uow), 1)
    uow.videos.update(video.id, status="processing")
    assert uow.videos.claim(9) == []


def test_give_back_leaves_a_status_that_somebody_else_set(uow: UnitOfWork) -> None:
    videos(uow, ProjectFactory.create(uow), 1)
    [claim] = uow.videos.claim()
    uow.videos.update(claim.record.id, status="failed")
    given = uow.videos.give_back(claim)
    assert (given.status, given.version) == (VideoStatus.FAILED, 3)


# ------------------------------------------------------------------------------------------------------ clock


def test_in_a_long_unit_leases_go_by_the_clock_and_not_by_its_beginning(own: Database) -> None:
    [stored] = drafts(own, 1)
    outside = own.repositories(outside_unit=True)
    with own.unit_of_work() as unit:
        [began] = unit.session.one("SELECT now()")
        outside.translations.claim(lease=0.05)
        eventually(lambda: bool(outside.session.one(ENDED)[0]))
        [claim] = unit.translations.claim(lease=60)
        assert claim.record == stored
        assert claim.until > began + timedelta(seconds=60.05)


def test_claims_of_a_unit_that_is_rolled_back_were_never_taken(own: Database) -> None:
    drafts(own, 2)
    with own.unit_of_work() as unit:
        assert len(unit.translations.claim(2)) == 2
        unit.rollback()
    assert len(own.translations.claim(2)) == 2


def test_claims_tells_who_holds_what_until_when(own: Database) -> None:
    one, two = drafts(own, 2)
    own.translations.claim(1, lease=600, worker="Ada")
    [later] = own.translations.claim(1, lease=60, worker="Grace")
    first, second = own.translations.claims()
    assert (first.id, first.project_id, first.worker, first.until) == (
        two.id, two.project_id, "Grace", later.until
    )  # fmt: skip
    assert (second.id, second.worker, second.status, second.expired) == (one.id, "Ada", "draft", False)
    assert [held.id for held in own.translations.claims(two.project_id, limit=1)] == [two.id]
    assert own.translations.claims(uuid4()) == []
    with pytest.raises(InvalidValue, match="1 to 10,000"):
        own.translations.claims(limit=0)


# ------------------------------------------------------------------------------------------------------- cost

CALLS: dict[str, Callable[[Database, Claim[Translation]], object]] = {
    "claim": lambda db, held: db.translations.claim(10),
    "extend": lambda db, held: db.translations.extend(held, 60),
    "finish": lambda db, held: db.translations.finish(held, content="x", metadata={}),
    "give_back": lambda db, held: db.translations.give_back(held),
    "claims": lambda db, held: db.translations.claims(),
    "set_status_many": lambda db, held: db.translations.set_status_many([held.record.id], "approved"),
    "missing": lambda db, held: db.translations.missing(held.record.project_id, ["de"], limit=1),
    "subtitles": lambda db, held: db.translations.subtitles(held.record.id, "vtt", (0, 10)),
    "videos.claim": lambda db, held: db.videos.claim(10),
}


def test_each_call_costs_one_round_trip(own: Database) -> None:
    drafts(own, len(CALLS))
    with CountingProxy(own.config) as proxy, Database(proxy.config) as counted:
        found = {}
        for (name, call), held in zip(CALLS.items(), counted.translations.claim(len(CALLS)), strict=True):
            with proxy.counting() as trips:
                call(counted, held)
            found[name] = trips.count - trips.texts.count("SELECT")  # the pool's ping of an idle connection
    assert found == dict.fromkeys(CALLS, 1)


FILL = """
INSERT INTO translations (id, project_id, text_source_id, source_language, target_language, content, status,
    generator, metadata, word_count, lease_until, lease_holder)
SELECT gen_random_uuid(), %s, %s, 'en', 'de', 'x', CASE WHEN n %% 4 = 0 THEN 'approved' ELSE 'draft' END,
    n::text, '{}', 1, CASE WHEN n %% 4 < 3 AND n < 3900 THEN now() + interval '1 hour' END, gen_random_uuid()
FROM generate_series(1, 4000) AS n
"""


def read(plan: Any) -> int:
    """How many rows of the table a plan read, also those that it left out."""
    own = 0
    if plan.get("Relation Name") and "Scan" in plan["Node Type"]:
        own = plan["Actual Loops"] * (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0))
    return int(own) + sum(read(part) for part in plan.get("Plans", []))


def test_a_claim_reads_few_rows_where_most_are_leased_or_done(own: Database) -> None:
    source = TextSourceFactory.create(own)
    own.session.run(FILL, [source.project_id, source.id])
    own.session.run("ANALYZE translations")
    explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {_claim(Translation.table, 1, False, False).text}"
    values = ["draft", 10, "draft", 10, 10, uuid4(), "me", 60.0]
    [[[told]]] = own.session.all(Statement(explained, "test.explain", writes=True), values)
    assert 0 < read(told["Plan"]) <= 60
