"""A statement of the library's that comes again is planned once a connection; a lost plan is made anew."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pytest

from database_handler import Database, FilesConfig, NewLink, NewProject, Project, UnitOfWork
from database_handler.core.exceptions import DuplicateRecord, QueryError
from tests.support.wire import CountingProxy

PREPARED = (
    "SELECT count(*), count(*) FILTER (WHERE statement LIKE '%%projects.get_by_id%%') "
    "FROM pg_prepared_statements"
)


@pytest.fixture
def single(shared_database: Database) -> Iterator[Database]:
    """Yield a database of one connection, on the shared one, which is emptied afterwards."""
    with Database(shared_database.config.with_(pool_size=1, max_overflow=0)) as own:
        yield own
    shared_database.session.run("DELETE FROM projects")


def read(database: Database | UnitOfWork, project: Project, times: int = 1) -> None:
    for _ in range(times):
        assert database.projects.get_by_id(project.id) == project


def prepared(database: Database) -> tuple[int, int]:
    """Return how many plans the connection keeps, and how many of them read a project."""
    every, reading = database.session.one(PREPARED, [])
    return every, reading


def lose_plans(database: Database) -> None:
    """Take the plans away behind the library's back."""
    lease = database.pool.borrow()
    with lease.connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    lease.release()


def test_sixth_use_is_prepared_in_its_own_message(single: Database) -> None:
    project = single.projects.create(name="One")
    with CountingProxy(single.config) as proxy, Database(proxy.config) as counted:
        counted.session.one("SELECT 1")
        with proxy.counting() as trips:
            read(counted, project, 7)
        assert trips.count == 7
        first, sixth, seventh = trips.texts[0], trips.texts[5], trips.texts[6]
    assert first.startswith("SELECT ")
    assert sixth.startswith("PREPARE plan_1 AS SELECT ")
    assert seventh.startswith("EXECUTE ")
    assert "projects.get_by_id" in seventh
    assert str(project.id) in seventh


def test_plan_that_is_lost_is_made_anew(single: Database) -> None:
    project = single.projects.create(name="One")
    read(single, project, 7)
    assert prepared(single)[1] == 1
    lose_plans(single)
    read(single, project)
    with single.unit_of_work() as unit:
        read(unit, project, 7)
    single.session.run("DEALLOCATE ALL")  # a caller's own SQL: the session is reset before its next use
    read(single, project, 7)
    assert prepared(single)[1] == 1


def test_unit_whose_plan_is_lost_can_be_run_again(single: Database) -> None:
    project = single.projects.create(name="One")
    read(single, project, 7)
    lose_plans(single)
    with pytest.raises(QueryError) as lost, single.unit_of_work() as unit:
        read(unit, project)
    assert (lost.value.sqlstate, lost.value.retryable) == ("26000", True)
    read(single, project, 7)
    lose_plans(single)
    assert single.run(lambda unit: unit.projects.get_by_id(project.id)) == project


def test_plan_whose_answer_has_another_form_is_made_anew(database: Database) -> None:
    with Database(database.config.with_(pool_size=1)) as own:
        project = own.projects.create(name="One", description="as it was")
        read(own, project, 7)
        database.session.script("ALTER TABLE projects ALTER COLUMN description TYPE varchar(10000)")
        read(own, project, 7)


@pytest.mark.parametrize("turned_off", [{"prepare_after": None}, {"pgbouncer": True}], ids=str)
def test_nothing_is_prepared_where_that_is_turned_off(
    single: Database, turned_off: dict[str, object]
) -> None:
    project = single.projects.create(name="One")
    with Database(single.config.with_(**turned_off)) as plain:
        read(plain, project, 20)
        assert prepared(plain) == (0, 0)


def test_use_that_fails_as_it_is_prepared_leaves_nothing_half_known(single: Database) -> None:
    with Database(single.config.with_(prepare_after=0)) as eager:
        project = eager.projects.create(name="One")
        link, id = eager.links.create(project_id=project.id, url="https://example.org"), uuid4()
        with Database(eager.config) as other:
            with pytest.raises(DuplicateRecord):
                other.links.create(project_id=project.id, url="https://example.org")
            other.links.create(NewLink(project_id=project.id, url="https://example.net"), id=id)
            assert {each.id for each in other.links.list()} == {link.id, id}


def test_no_more_than_so_many_plans_are_kept(single: Database) -> None:
    with Database(single.config.with_(prepare_after=0)) as eager:
        eager.projects.create_many([NewProject(name=f"Project {number}") for number in range(140)])
        for limit in (*range(1, 141), *range(1, 141)):
            assert len(eager.projects.list(limit=limit)) == limit
        assert prepared(eager)[0] == 128


def test_statement_that_another_goes_before_is_never_prepared(single: Database, tmp_path: Path) -> None:
    with Database(single.config.with_(prepare_after=0), files=FilesConfig(store_url=str(tmp_path))) as eager:
        project = eager.projects.create(name="One")
        for number in range(3):
            content = f"Text {number}".encode()
            eager.text_sources.create_from_file(project.id, BytesIO(content), filename=f"{number}.txt")
        assert eager.text_sources.count() == 3
