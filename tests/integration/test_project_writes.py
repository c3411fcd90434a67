"""Status moves, and projects that go with all below them: exact also while others write."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import product
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest

from database_handler import Change, Database, NewProject, Project, UnitOfWork
from database_handler.core.exceptions import (
    DatabaseHandlerError,
    InvalidValue,
    RecordNotFound,
    StaleRecord,
    StatusMoveRefused,
)
from database_handler.models import ENTITIES, STATUS_MOVES, ProjectStatus
from database_handler.repositories.project_cascade import Deleted
from database_handler.testing.factories import (
    LinkFactory,
    ProjectFactory,
    SummaryFactory,
    TextSourceFactory,
    TranslationFactory,
    VideoFactory,
)
from tests.contract.conftest import Background, until_waiting
from tests.support.faults import eventually
from tests.support.wire import CountingProxy

DRAFT, ACTIVE, COMPLETED, ARCHIVED = ProjectStatus


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    """Yield a `Database` of the test's own on the shared database, which is emptied afterwards."""
    with Database(shared_database.config) as own:
        yield own
    shared_database.session.run("DELETE FROM projects")


# ---------------------------------------------------------------------------------------------------- status

Move = Callable[[Any, Project, ProjectStatus], object]

WAYS: dict[str, Move] = {
    "set_status": lambda over, p, to: over.projects.set_status(p.id, to),
    "set_status_many": lambda over, p, to: over.projects.set_status_many([p.id], to.value),
    "update": lambda over, p, to: over.projects.update(p.id, status=to, name="other"),
    "update_many": lambda over, p, to: over.projects.update_many(
        [Change(p.id, {"status": to, "name": "other"})]
    ),
    "update_many, each its own": lambda over, p, to: over.projects.update_many(
        [Change(p.id, {"status": to}), Change(over.projects.create(name="beside").id, {"owner": "Ada"})]
    ),
    "save": lambda over, p, to: over.projects.save(p.model_copy(update={"status": to, "name": "other"})),
    "upsert": lambda over, p, to: over.projects.upsert(NewProject(name="other", slug=p.slug, status=to)),
    "upsert_many": lambda over, p, to: over.projects.upsert_many(
        [NewProject(name="beside"), NewProject(name="other", slug=p.slug, status=to)]
    ),
}


def test_every_status_has_its_moves() -> None:
    assert set(STATUS_MOVES) == set(ProjectStatus)
    assert all(set(following) <= set(ProjectStatus) - {held} for held, following in STATUS_MOVES.items())
    assert all(ARCHIVED in following for held, following in STATUS_MOVES.items() if held != ARCHIVED)


@pytest.mark.parametrize("way", WAYS)
def test_no_way_leads_round_the_table_of_moves(uow: UnitOfWork, way: str) -> None:
    for held, wanted in product(ProjectStatus, repeat=2):
        project = uow.projects.create(ProjectFactory.build(status=held))
        if wanted == held or wanted in STATUS_MOVES[held]:
            WAYS[way](uow, project, wanted)
            assert uow.projects.get_by_id(project.id).status == wanted
            uow.projects.delete_many([each.id for each in uow.projects.list(slug="beside")])
            continue
        count = uow.projects.count()
        with pytest.raises(StatusMoveRefused) as caught, uow.savepoint():
            WAYS[way](uow, project, wanted)
        assert held.value in str(caught.value)
        assert wanted.value in str(caught.value)
        assert caught.value.table == "projects"
        assert (uow.projects.get_by_id(project.id), uow.projects.count()) == (project, count)


@pytest.mark.parametrize("way", WAYS)
def test_a_refused_move_outside_of_a_unit_stores_nothing(database: Database, way: str) -> None:
    project = database.projects.create(name="held")
    with pytest.raises(StatusMoveRefused, match="nothing was written"):
        WAYS[way](database, project, COMPLETED)
    assert database.projects.list(name__ne="beside") == [project]


def test_a_refused_update_leaves_the_unit_usable(uow: UnitOfWork) -> None:
    project = uow.projects.create(name="held")
    for way in ("set_status", "set_status_many", "update", "save"):
        with pytest.raises(StatusMoveRefused):
            WAYS[way](uow, project, COMPLETED)
    assert uow.projects.get_by_id(project.id) == project


def test_what_may_follow_is_told(uow: UnitOfWork) -> None:
    project = uow.projects.create(name="held")
    with pytest.raises(StatusMoveRefused, match="status draft to completed") as caught:
        uow.projects.set_status(project.id, "completed")
    assert "only to active, archived" in str(caught.value)
    assert str(project.id) in str(caught.value)
    assert caught.value.columns == ("status",)


def test_missing_and_stale_are_told_before_a_refused_move(uow: UnitOfWork) -> None:
    project = uow.projects.create(name="held")
    with pytest.raises(StaleRecord):
        uow.projects.set_status(project.id, COMPLETED, expected_version=2)
    with pytest.raises(StaleRecord):
        uow.projects.update_many([Change(project.id, {"status": COMPLETED}, 2)])
    with pytest.raises(RecordNotFound):
        uow.projects.set_status(uuid4(), COMPLETED)
    with pytest.raises(RecordNotFound):
        uow.projects.set_status_many([project.id, uuid4()], COMPLETED)
    with pytest.raises(InvalidValue, match="status"):
        uow.projects.set_status(project.id, "finished")


def test_many_are_archived_or_none(uow: UnitOfWork) -> None:
    projects = [uow.projects.create(name=f"p {status}", status=status) for status in ProjectStatus]
    archived = uow.projects.archive_many(project.id for project in reversed(projects))
    assert [project.id for project in archived] == [project.id for project in reversed(projects)]
    assert {project.status for project in archived} == {ARCHIVED}
    assert uow.projects.archive_many([]) == []
    active = uow.projects.create(name="active", status=ACTIVE)
    with pytest.raises(StatusMoveRefused) as caught:
        uow.projects.set_status_many([active.id, projects[0].id, projects[1].id], COMPLETED)
    assert str(caught.value).count("from status archived to completed") == 2
    assert uow.projects.get_by_id(active.id) == active
    for wrong in (active.id, str(active.id), 5):
        with pytest.raises(InvalidValue, match="a list of ids"):
            uow.projects.archive_many(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="same id"):
        uow.projects.archive_many([active.id, active.id])


@pytest.mark.parametrize("way", [way for way in WAYS if way != "save"])  # which expects a version
def test_the_second_mover_is_judged_by_what_the_first_left(database: Database, way: str) -> None:
    """It waits for the row's lock; by then the status is another."""
    project = database.projects.create(name="held", status=ACTIVE)
    with database.unit_of_work() as unit:
        unit.projects.set_status(project.id, ARCHIVED)
        waiting = Background(lambda: WAYS[way](database, project, COMPLETED))
        until_waiting(database, 1)
    with pytest.raises(StatusMoveRefused, match="archived"):
        waiting.result()
    assert database.projects.get_by_id(project.id).status == ARCHIVED


def test_an_upsert_is_judged_by_a_row_that_is_younger_than_it(database: Database) -> None:
    """The row is not yet there when the statement begins, and is when it writes."""
    with database.unit_of_work() as unit:
        project = unit.projects.create(name="held", status=ARCHIVED)
        drafts = [NewProject(name="beside"), NewProject(name="held", status=COMPLETED)]
        waiting = Background(lambda: database.projects.upsert_many(drafts))
        until_waiting(database, 1)
    with pytest.raises(StatusMoveRefused, match="archived to completed"):
        waiting.result()
    assert database.projects.list() == [project]


def test_of_many_movers_each_step_is_one_that_the_table_allows(database: Database) -> None:
    """Eight threads move one project about; the version counts the moves that were made."""
    project = database.projects.create(name="busy", status=ACTIVE)
    barrier = Barrier(8)

    def work(seed: int) -> list[tuple[str, str]]:
        barrier.wait(20)
        refused = []
        for turn in range(25):
            wanted = list(ProjectStatus)[(seed * 7 + turn * (seed + 1)) % 4]
            try:
                database.projects.set_status(project.id, wanted)
            except StatusMoveRefused as error:
                refused.append((str(error).split("from status ")[1].split()[0], wanted.value))
        return refused

    refused = [
        each for worker in [Background(partial(work, n)) for n in range(8)] for each in worker.result()
    ]
    assert all(ProjectStatus(to) not in STATUS_MOVES[ProjectStatus(held)] for held, to in refused)
    assert database.projects.get_by_id(project.id).version == 1 + 8 * 25 - len(refused)
    assert database.projects.get_by_id(project.id).status != DRAFT


# --------------------------------------------------------------------------------------------------- cascade


def full(over: Any, sources: int = 2) -> Project:
    """A project with rows of every entity and every kind of reference."""
    project: Project = ProjectFactory.create(over)
    of: dict[str, UUID] = {"project_id": project.id}
    for source in TextSourceFactory.create_batch(sources, over, **of):
        summary = SummaryFactory.create(over, **of, text_source_id=source.id)
        translations = [
            TranslationFactory.create(over, **of, text_source_id=source.id),
            *TranslationFactory.create_batch(2, over, **of, summary_id=summary.id),
        ]
        VideoFactory.create(over, **of, translation_id=translations[0].id)
        VideoFactory.create(over, **of, translation_id=translations[1].id)
    LinkFactory.create_batch(3, over, **of)
    return project


FULL = Deleted(projects=1, text_sources=2, summaries=2, translations=6, videos=4, links=3)


def left(over: Any, project: Project) -> int:
    return sum(getattr(over, each.table.name).count(project_id=project.id) for each in ENTITIES[1:])


def test_the_counts_have_a_field_for_every_entity() -> None:
    assert [*asdict(Deleted())][:-1] == [entity.table.name for entity in ENTITIES]
    assert (FULL.total, FULL.by_entity["videos"]) == (18, 4)
    more = Deleted.of({"projects": 1, "notes": 5})
    assert (more.others, more.total, more.by_entity["notes"]) == ({"notes": 5}, 6, 5)


def test_a_project_goes_with_all_below_it_and_says_what_went(uow: UnitOfWork) -> None:
    kept, gone = full(uow), full(uow)
    assert uow.projects.delete_preview(gone.id) == uow.projects.delete_preview(str(kept.id)) == FULL
    assert uow.projects.delete(gone.id, expected_version=1) == FULL
    assert (left(uow, gone), left(uow, kept)) == (0, FULL.total - 1)
    assert uow.projects.find_by_id(gone.id) is None
    empty = uow.projects.create(name="empty")
    assert uow.projects.delete_preview(empty.id) == uow.projects.delete(empty.id) == Deleted(projects=1)


def test_nothing_goes_of_a_project_that_is_stale_or_not_there(uow: UnitOfWork) -> None:
    project = full(uow)
    current = uow.projects.update(project.id, owner="Ada")
    with pytest.raises(StaleRecord) as caught:
        uow.projects.delete(project.id, expected_version=1)
    assert caught.value.current == (current,)
    assert left(uow, project) == FULL.total - 1
    for call in (uow.projects.delete, uow.projects.delete_preview):
        with pytest.raises(RecordNotFound):
            call(uuid4())
        with pytest.raises(InvalidValue):
            call("no id")
    with pytest.raises(InvalidValue, match="expected_version"):
        uow.projects.delete(project.id, expected_version=0)


def test_a_held_unit_takes_away_its_own_project_only(database: Database) -> None:
    mine, theirs = full(database), full(database)
    with database.unit_of_work(project_id=mine.id) as unit:
        for call in (unit.projects.delete, unit.projects.delete_preview):
            with pytest.raises(RecordNotFound):
                call(theirs.id)
        assert unit.projects.delete_preview(mine.id) == unit.projects.delete(mine.id) == FULL
    assert left(database, theirs) == FULL.total - 1


def test_what_is_added_meanwhile_is_counted(database: Database) -> None:
    """The one who adds has the project's lock shared; the deletion waits, and then sees what was added."""
    project = full(database)
    with database.unit_of_work() as unit:
        LinkFactory.create_batch(4, unit, project_id=project.id)
        SummaryFactory.create(unit, text_source_id=unit.text_sources.list(project_id=project.id)[0].id)
        waiting = Background(lambda: database.projects.delete(project.id))
        until_waiting(database, 1)
    deleted: Deleted = waiting.result()
    assert (deleted.links, deleted.summaries, deleted.total) == (7, 3, FULL.total + 5)
    assert left(database, project) == 0


def test_what_another_takes_away_meanwhile_is_not_counted(database: Database) -> None:
    project = full(database)
    links = database.links.list(project_id=project.id)
    with database.unit_of_work() as unit:
        unit.links.delete_many([links[0].id, links[1].id])
        waiting = Background(lambda: database.projects.delete(project.id))
        until_waiting(database, 1)
    deleted: Deleted = waiting.result()
    assert (deleted.links, deleted.total) == (1, FULL.total - 2)


def test_of_writers_and_one_who_deletes_every_row_is_accounted_for(database: Database) -> None:
    """Four threads add links until the project is gone: those stored are those counted."""
    project = database.projects.create(name="busy")
    barrier = Barrier(5)

    def add(worker: int) -> int:
        barrier.wait(20)
        for number in range(300):
            try:
                database.links.create(project_id=project.id, url=f"https://example.com/{worker}/{number}")
            except DatabaseHandlerError:
                return number
        return 300

    def take() -> Deleted:
        barrier.wait(20)
        eventually(lambda: database.links.exists(project_id=project.id))
        return database.projects.delete(project.id)

    writers = [Background(partial(add, n)) for n in range(4)]
    deleted: Deleted = Background(take).result()
    assert deleted == Deleted(projects=1, links=sum(writer.result() for writer in writers))
    assert database.links.count() == 0


def test_each_call_costs_one_round_trip(database: Database) -> None:
    first, second = (full(database, 1) for _ in range(2))
    calls: list[Callable[[Database], object]] = [
        lambda db: db.projects.set_status(first.id, ARCHIVED),
        lambda db: db.projects.archive_many([first.id, second.id]),
        lambda db: db.projects.upsert(NewProject(name="u", slug=second.slug, status=ACTIVE)),
        lambda db: db.projects.delete_preview(first.id),
        lambda db: db.projects.delete(first.id),
    ]
    database.session.run("UPDATE projects SET status = 'active'")
    with CountingProxy(database.config) as proxy, Database(proxy.config) as counted:
        counted.projects.count()
        for call in calls:
            with proxy.counting() as trips:
                call(counted)
            # Without the pool's ping of a connection that was idle for over a second.
            assert trips.count - trips.texts.count("SELECT") == 1
