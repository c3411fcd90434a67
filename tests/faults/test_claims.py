"""Workers die at their work, by SIGKILL: what they held is taken again, once, and nothing is done twice."""

from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

import pytest

from database_handler import Database, Translation
from database_handler.core.exceptions import CommitOutcomeUnknown, LeaseLost
from database_handler.testing.factories import TranslationFactory
from tests.faults.claim_worker import Worker, take, take_in_a_unit, work
from tests.support.faults import FaultProxy, eventually

ENDED = "SELECT NOT EXISTS (SELECT FROM translations WHERE lease_until > clock_timestamp())"
SHORTEN = "UPDATE translations SET lease_until = clock_timestamp() + interval '0.2 s'"


@pytest.fixture
def own(shared_database: Database) -> Iterator[Database]:
    """A database of the test's own connections; what it stored is taken away afterwards."""
    with Database(shared_database.config) as own:
        yield own
    shared_database.session.run("TRUNCATE projects CASCADE")


def drafts(database: Database, size: int) -> list[Translation]:
    return TranslationFactory.create_batch(size, database, status="draft")


def wait_for_leases(database: Database) -> None:
    eventually(lambda: bool(database.session.one(ENDED)[0]))


def test_work_of_a_killed_worker_is_taken_again_when_its_lease_ends_and_not_before(own: Database) -> None:
    stored = {record.id for record in drafts(own, 3)}
    with closing(Worker(take, own, 3600)) as worker:
        assert set(worker.said()) == stored
        worker.kill()
        assert own.translations.claim(9) == []
        assert {held.id for held in own.translations.claims()} == stored
        own.session.run(SHORTEN)
        wait_for_leases(own)
        again = own.translations.claim(9)
        assert {claim.record.id for claim in again} == stored
        assert {own.translations.finish(claim).version for claim in again} == {2}


def test_work_of_a_worker_killed_inside_its_unit_is_free_at_once(own: Database) -> None:
    stored = {record.id for record in drafts(own, 3)}
    with closing(Worker(take_in_a_unit, own, 3600)) as worker:
        assert set(worker.said()) == stored
        assert own.translations.claim(9) == []
        worker.kill()
        found: set[UUID] = set()

        def all_found() -> bool:
            found.update(claim.record.id for claim in own.translations.claim(9))
            return found == stored

        eventually(all_found)


def test_all_work_is_done_once_though_workers_are_killed(own: Database) -> None:
    stored = {record.id for record in drafts(own, 150)}
    with closing(Worker(work, own, 0.7)) as first, closing(Worker(work, own, 0.7)) as second:
        for worker in (
            first.wait(),
            second.wait(),
        ):  # so that neither has done it all before the other is there
            worker.go()
        told = [worker.said() for _ in range(4) for worker in (first, second)]
        first.kill()
        second.kill()
        told += [*first.rest(), *second.rest()]
    with closing(Worker(work, own, 30)) as third:
        third.wait().go()
        told += third.rest()
    wait_for_leases(own)
    with closing(Worker(work, own, 30)) as last:
        last.wait().go()
        told += last.rest()
    done = [id for id in told if id is not None]
    assert len(done) == len(set(done))
    assert set(done) <= stored
    left = own.translations.list(status="review")
    assert {record.id for record in left} == stored
    assert {record.version for record in left} == {2}


def test_a_claim_whose_reply_was_lost_is_free_when_its_lease_ends(own: Database) -> None:
    [stored] = drafts(own, 1)
    with FaultProxy(own.config) as proxy, Database(proxy.config) as faulty:
        proxy.lose("reply", "SKIP LOCKED")
        with pytest.raises(CommitOutcomeUnknown):
            faulty.translations.claim(lease=0.2)
    wait_for_leases(own)
    assert [claim.record for claim in own.translations.claim()] == [stored]


def test_a_finish_whose_reply_was_lost_can_be_told_from_one_that_was_not_made(own: Database) -> None:
    drafts(own, 1)
    with FaultProxy(own.config) as proxy, Database(proxy.config) as faulty:
        [claim] = faulty.translations.claim()
        proxy.lose("reply", "lease_holder = NULL")
        with pytest.raises(CommitOutcomeUnknown):
            faulty.translations.finish(claim)
    with pytest.raises(LeaseLost) as lost:
        own.translations.finish(claim)
    stored = own.translations.get_by_id(claim.record.id)
    assert (lost.value.current, stored.version) == (stored, claim.record.version + 1)
