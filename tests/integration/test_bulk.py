"""Calls over many rows: in parts yet all or none, told of as they go; a refused row is named, not shown."""

import resource
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Annotated, ClassVar
from uuid import UUID, uuid4

import pytest

from database_handler import (
    Change,
    Database,
    Draft,
    NewLink,
    NewProject,
    Record,
    Repository,
    Table,
    UnitOfWork,
)
from database_handler.core.columns import SqlType
from database_handler.core.ddl import create_tables
from database_handler.core.exceptions import (
    CheckFailed,
    ConstraintViolation,
    DuplicateRecord,
    InvalidValue,
    MissingReference,
    RecordNotFound,
    StaleRecord,
    UnreadableValue,
)
from database_handler.repositories import bulk
from database_handler.repositories.base import Outcome
from tests.support.wire import CountingProxy

SECRET = "nobody-shall-see-this"


@pytest.fixture
def emptied(shared_database: Database) -> Iterator[Database]:
    """Yield a `Database` of the test's own on the shared database, which is emptied afterwards."""
    with Database(shared_database.config) as own:
        yield own
    shared_database.session.run("DELETE FROM projects")


@pytest.fixture
def parts_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PART", 4)


def named(count: int, first: int = 0) -> list[NewProject]:
    return [NewProject(name=f"Project {number}") for number in range(first, first + count)]


# ----------------------------------------------------------------------------------------------------- parts


@pytest.mark.usefixtures("parts_of_four")
def test_parts_take_effect_together_and_each_is_one_statement(emptied: Database) -> None:
    with CountingProxy(emptied.config) as proxy, Database(proxy.config) as counted:
        counted.projects.count()
        with proxy.counting() as trips:
            made = counted.projects.upsert_many(named(10))
        assert trips.count == 3 + 1  # three parts and a COMMIT
        with proxy.counting() as trips:
            changed = counted.projects.update_many(
                [Change(each.record.id, {"owner": f"owner {place}"}) for place, each in enumerate(made)]
            )
        assert trips.count == 3 + 1
        with proxy.counting() as trips:
            assert counted.projects.delete_many([record.id for record in changed]) == 10
        assert trips.count == 3 + 1
    assert [each.record.name for each in made] == [draft.name for draft in named(10)]
    assert {each.outcome for each in made} == {Outcome.INSERTED}
    assert [record.owner for record in changed] == [f"owner {place}" for place in range(10)]


class NewGrade(Draft, frozen=True):
    """Its key is rounded by the database."""

    share: Annotated[Decimal, SqlType("numeric(4, 1)")]
    note: str = ""


class Grade(NewGrade, Record, frozen=True):
    table: ClassVar[Table] = Table("grades", key=("share",))


class Grades(Repository[NewGrade, Grade]):
    draft, record = NewGrade, Grade


def test_upsert_of_a_key_that_the_database_alters_tells_what_became_of_each(uow: UnitOfWork) -> None:
    uow.session.script(create_tables([Grade.table]))
    grades = Grades(uow.session)
    first = grades.upsert_many([NewGrade(share=Decimal(share)) for share in ("0.24", "0.36")])
    assert [each.record.share for each in first] == [Decimal("0.2"), Decimal("0.4")]
    drafts = [NewGrade(share=Decimal(s), note=n) for s, n in (("0.41", "new"), ("0.5", ""), ("0.19", ""))]
    found = grades.upsert_many(drafts)
    assert [each.outcome for each in found] == [Outcome.UPDATED, Outcome.INSERTED, Outcome.UNCHANGED]
    assert [each.record.share for each in found] == [Decimal("0.4"), Decimal("0.5"), Decimal("0.2")]
    assert [each.record.note for each in found] == ["new", "", ""]


def test_upsert_does_not_guess_whose_row_it_is_where_a_trigger_altered_the_key(uow: UnitOfWork) -> None:
    uow.session.script(
        "CREATE FUNCTION altered() RETURNS trigger LANGUAGE plpgsql "
        "AS $$BEGIN NEW.slug := NEW.slug || '-altered'; RETURN NEW; END$$;"
        "CREATE TRIGGER altered BEFORE INSERT ON projects FOR EACH ROW EXECUTE FUNCTION altered()"
    )
    assert uow.projects.upsert(NewProject(name="One")).record.slug == "one-altered"
    with uow.savepoint(), pytest.raises(UnreadableValue, match="upsert such rows one by one") as refused:
        uow.projects.upsert_many([NewProject(name="Two"), NewProject(name="Three")])
    assert "two" not in str(refused.value).lower()


@pytest.mark.usefixtures("parts_of_four")
def test_failure_in_a_later_part_undoes_the_earlier_ones_and_the_unit_goes_on(emptied: Database) -> None:
    records = emptied.projects.create_many(named(10))
    changes = [Change(record.id, {"owner": "new"}, record.version) for record in records]
    changes[9] = Change(records[9].id, {"owner": "new"}, 7)
    with pytest.raises(StaleRecord, match=r"positions \[9\]"):
        emptied.projects.update_many(changes)
    missing = [*changes[:9], Change(uuid4(), {"owner": "new"})]
    with emptied.unit_of_work() as unit:
        with pytest.raises(RecordNotFound, match=r"positions \[9\]"):
            unit.projects.update_many(missing)
        unit.projects.update(records[0].id, owner="by itself")
    assert [record.owner for record in emptied.projects.get_many(r.id for r in records)] == [
        "by itself", *[None] * 9,
    ]  # fmt: skip


@pytest.mark.usefixtures("parts_of_four")
def test_upsert_in_parts_tells_what_became_of_each_in_the_order_given(emptied: Database) -> None:
    emptied.projects.create_many(named(3, first=4))
    drafts = [*named(10)[::-1]]
    drafts[3] = NewProject(name="Project 6", owner="new")  # one of those that are there
    outcomes = [each.outcome.value for each in emptied.projects.upsert_many(drafts)]
    assert outcomes == [*["inserted"] * 3, "updated", *["unchanged"] * 2, *["inserted"] * 4]


@pytest.mark.usefixtures("parts_of_four")
def test_what_breaks_a_json_schema_is_named_by_its_place_in_the_call(emptied: Database) -> None:
    schema = {"type": "object", "properties": {"season": {"type": "integer"}}}
    project = emptied.projects.create(name="One", metadata_schemas={"links": schema})
    links = emptied.links.create_many([link(project.id, number) for number in range(9)])
    changes = [Change(each.id, {"metadata": {"season": 1}}) for each in links]
    changes[6] = Change(links[6].id, {"metadata": {"season": "first"}})
    with pytest.raises(InvalidValue, match="position 6: "):
        emptied.links.update_many(changes)
    again = [each.model_copy(update={"metadata": {"season": 2}}) for each in links]
    drafts = [NewLink(project_id=project.id, url=each.url, metadata=each.metadata) for each in again]
    drafts[7] = NewLink(project_id=project.id, url="https://a.example", metadata={"season": None})
    with pytest.raises(InvalidValue, match="position 7: "):
        emptied.links.upsert_many(drafts)
    assert {str(each.metadata) for each in emptied.links.list()} == {"{}"}


# -------------------------------------------------------------------------------------------------- progress


@pytest.mark.usefixtures("parts_of_four")
def test_progress_tells_the_rows_done(emptied: Database) -> None:
    told: list[int] = []
    records = emptied.projects.create_many(named(1300), on_progress=told.append)
    assert told == [512, 1024, 1300]
    told.clear()
    emptied.projects.create_many(named(3, first=2000), on_progress=told.append)
    emptied.projects.upsert_many(named(6), on_progress=told.append)
    emptied.projects.update_many([Change(r.id, {"owner": "x"}) for r in records[:5]], on_progress=told.append)
    emptied.projects.delete_many([record.id for record in records[:9]], on_progress=told.append)
    assert told == [3, 4, 6, 4, 5, 4, 8, 9]


def test_progress_that_raises_leaves_nothing_stored(emptied: Database) -> None:
    class Enough(Exception):
        pass

    def stop(done: int) -> None:
        if done > 600:
            raise Enough

    with pytest.raises(Enough):
        emptied.projects.create_many(named(1300), on_progress=stop)
    assert emptied.projects.count() == 0
    with pytest.raises(InvalidValue, match="on_progress"):
        emptied.projects.create_many([], on_progress=3)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------- refused rows


def in_unit(database: Database, drafts: list[NewProject]) -> object:
    with database.unit_of_work() as unit:
        return unit.projects.create_many(drafts)


Writes = Callable[[Database, list[NewProject]], object]
WAYS: dict[str, tuple[int, Writes]] = {
    "INSERT": (5, lambda database, drafts: database.projects.create_many(drafts)),
    "COPY": (300, lambda database, drafts: database.projects.create_many(drafts)),
    "COPY in a unit": (300, in_unit),
}


@pytest.mark.parametrize("way", WAYS)
def test_row_whose_key_is_taken_is_named_by_its_place(emptied: Database, way: str) -> None:
    size, write = WAYS[way]
    taken = emptied.projects.create(name=SECRET)
    drafts = named(size)
    drafts[size - 2] = NewProject(name="Another", slug=taken.slug)
    refused(DuplicateRecord, size - 2, lambda: write(emptied, drafts))
    assert emptied.projects.count() == 1


def refused(kind: type[ConstraintViolation], place: int, call: Callable[[], object]) -> None:
    with pytest.raises(kind, match=f"^position {place}: ") as caught:
        call()
    assert caught.value.position == place
    assert SECRET not in str(caught.value)


def test_row_that_refers_to_nothing_is_named_by_its_place(emptied: Database) -> None:
    project, other = emptied.projects.create(name="One"), uuid4()
    for size in (4, 250):
        links = [link(project.id, number) for number in range(size)]
        links[size - 1] = link(other, 0)
        refused(MissingReference, size - 1, partial(emptied.links.create_many, links))
        refused(MissingReference, size - 1, partial(emptied.links.upsert_many, links))


def link(project_id: UUID, number: int) -> NewLink:
    return NewLink(project_id=project_id, url=f"https://example.org/{number}")


def test_change_that_takes_the_key_of_another_is_named_by_its_place(emptied: Database) -> None:
    taken = emptied.projects.create(name=SECRET)
    records = emptied.projects.create_many(named(6))
    changes = [Change(record.id, {"slug": f"new-{place}"}) for place, record in enumerate(records)]
    changes[4] = Change(records[4].id, {"slug": taken.slug})
    refused(DuplicateRecord, 4, lambda: emptied.projects.update_many(changes))


def test_row_that_a_check_of_the_callers_own_refuses_is_named_by_its_place(database: Database) -> None:
    rule = f"ALTER TABLE projects ADD CONSTRAINT own_rule CHECK (owner <> '{SECRET}')"
    database.session.script(rule)
    for size in (5, 220):
        drafts = named(size)
        drafts[3] = NewProject(name="Another", owner=SECRET)
        refused(CheckFailed, 3, partial(database.projects.create_many, drafts))
        refused(CheckFailed, 3, partial(database.projects.upsert_many, drafts))


# ---------------------------------------------------------------------------------------------------- memory


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_million_rows_take_the_memory_of_their_records(database: Database) -> None:
    project = database.projects.create(name="One").id
    database.links.create_many(link(project, -number) for number in range(1, 10_000))
    drafts = (link(project, number) for number in range(1_000_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records = database.links.create_many(drafts)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(records) == 1_000_000
    assert grown < 3_000_000, f"{grown / 1024:.0f} MB"  # KiB
