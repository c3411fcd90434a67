"""Every repository, whatever is called in whatever order, is what a plain dict of rows is.

The dict predicts versions, duplicate keys, what goes with a row or keeps it, order, and what is left after
a rollback. Hypothesis draws the calls; how a failing run is repeated is said in `test_pool_machine`. It is
one module because the rules of a machine are methods of one class.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from copy import deepcopy
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from database_handler import Change, Database, Outcome, Repositories
from database_handler.core.base_model import validated_field
from database_handler.core.exceptions import (
    DatabaseHandlerError,
    DuplicateRecord,
    InvalidValue,
    RecordNotFound,
    StaleRecord,
    StatusMoveRefused,
    StillReferenced,
    TransactionAborted,
)
from database_handler.core.schema import TENANT, ForeignKey
from database_handler.repositories import base
from database_handler.testing import factories
from tests.contract.conftest import ENTITIES, Subject, stored
from tests.contract.test_create import HOSTILE
from tests.contract.test_select import given_values, holds, operators, ranks
from tests.faults.test_pool_machine import run, told

Row = dict[str, Any]
World = dict[str, dict[UUID, Row]]  # by table and id
Refusal = type[DatabaseHandlerError]

# Where a rule of the model's own ties references together: exactly one of them is given.
ONE_OF = {"translations": ("text_source_id", "summary_id")}

pieces = st.sampled_from((*HOSTILE[:-1], "a", "B ", "Straße", "%", "_", "<b>", "\U0001d4b3", "e", "\u0301"))
texts = st.lists(pieces, max_size=3).map("".join)
numbers = st.sampled_from((0.1, 0.0, 5e-324, 1 / 3, 23.976, 999.5, 1e15))
scalars = st.none() | st.booleans() | st.sampled_from((0, 1, -1, 2**63, 10**40)) | numbers | texts
documents = st.dictionaries(
    texts, scalars | st.lists(scalars, max_size=2) | st.dictionaries(texts, scalars, max_size=1), max_size=2
)
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "text": texts,
    "text[]": st.lists(texts, max_size=3).map(tuple),
    "jsonb": documents,
    "bigint": st.sampled_from((0, 1, 2**31, 2**53 + 1, 2**63 - 1)),
    "integer": st.sampled_from((1, 90, 270, 2**31 - 1)),
    "double precision": numbers,
}
places = st.integers(0, 4)
versions = st.sampled_from(("any", "any", "right", "stale"))
ISOLATION = (None, "repeatable read", "serializable")


class Undone(Exception):
    """Ends a unit, or a part of one, by an error."""


def exact(value: Any) -> Any:
    """Tell true from 1, which Python holds for equal and JSON does not."""
    if isinstance(value, dict):
        return {key: exact(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [exact(each) for each in value]
    return ("bool", value) if isinstance(value, bool) else value


def same(one: Row, other: Row) -> bool:
    return bool(exact(one) == exact(other))


class RepositoryMachine(RuleBasedStateMachine):
    """The repositories of one database beside a dict of all rows; one of them is called most."""

    def __init__(self, database: Database, name: str, tally: Counter[str]) -> None:
        super().__init__()
        self.database, self.name, self.tally = database, name, tally
        self.over: Any = database  # or the unit that is open
        self.world: World = {each: {} for each in ENTITIES}
        # The unit that is open, then its savepoints: how each is left, and what there was before it.
        self.open: list[tuple[AbstractContextManager[Any], World]] = []

    @property
    def subject(self) -> Subject:
        return self.of(self.name)

    def of(self, table: str) -> Subject:
        return Subject(table, self.over)

    @property
    def repository(self) -> Any:
        return self.subject.repository

    @property
    def rows(self) -> dict[UUID, Row]:
        return self.world[self.name]

    def picked(self, place: int) -> Row | None:
        rows = [*self.rows.values()]
        return rows[place % len(rows)] if rows else None

    # ---------------------------------------------------------------------------------------- what is drawn

    def fields(self, subject: Subject, *, key: bool) -> list[str]:
        """The fields of a draft that may be drawn one by one."""
        tied = {*(each.columns[-1] for each in subject.table.foreign_keys), "metadata_schemas"}
        tied |= {name for _, name in subject.derived()}
        return [n for n in subject.repository.draft.model_fields if n not in tied | self.keys(subject, key)]

    def keys(self, subject: Subject, key: bool) -> set[str]:
        """The fields that the natural key is made of, where they are to be left out."""
        sources = {source for source, name in subject.derived() if name in subject.table.key}
        return set() if key else {*subject.table.key, *sources}

    def drawn(self, draw: Any, subject: Subject, least: int, most: int, *, key: bool) -> Row:
        names = st.sampled_from(self.fields(subject, key=key))
        chosen = draw(st.lists(names, min_size=least, max_size=most, unique=True))
        return {name: self.value(draw, subject, name) for name in chosen}

    def value(self, draw: Any, subject: Subject, name: str) -> Any:
        """What was drawn for the column, where the field takes it, and else what the factory makes."""
        column = subject.table.column(name)
        if column.nullable and draw(st.sampled_from((False, False, True))):
            return None
        values = BY_TYPE.get(column.type)
        if values is not None:
            with suppress(InvalidValue):
                return validated_field(subject.repository.draft, name, draw(values))
        factories.seed(draw(st.integers(0, 99)))
        return getattr(subject.factory.build(), name)

    def draft(self, draw: Any, subject: Subject, met: Row | None = None) -> Any:
        """A draft under parents of its own, or one with the natural key of a row that is there."""
        fixed = self.references(draw, subject) if met is None else self.of_row(subject, met)
        chosen = self.drawn(draw, subject, 0, 3, key=met is None)
        factories.seed(draw(st.integers(0, 99)))
        try:
            return subject.factory.build(**fixed | chosen)
        except InvalidValue:  # fields that are right one by one and wrong together
            return subject.factory.build(**fixed)

    def of_row(self, subject: Subject, row: Row) -> Row:
        """What a draft of a row's own takes, without what follows from it."""
        follows = {name for _, name in subject.derived()}
        return {n: row[n] for n in subject.repository.draft.model_fields if n not in follows}

    def references(self, draw: Any, subject: Subject) -> Row:
        found: Row = {TENANT: self.parent(draw, "projects", None)} if subject.table.is_child else {}
        one = draw(st.sampled_from(ONE_OF[subject.name])) if subject.name in ONE_OF else None
        for key in subject.table.foreign_keys:
            field, nullable = key.columns[-1], subject.table.column(key.columns[-1]).nullable
            if field == TENANT:
                continue
            given = field == one if nullable and one else not nullable or draw(st.booleans())
            found[field] = self.parent(draw, key.table, found[TENANT]) if given else None
        return found

    def parent(self, draw: Any, table: str, project: UUID | None) -> UUID:
        """One of the project's that is there, or a new one."""
        there = [row["id"] for row in self.world[table].values() if project in (None, row.get(TENANT))]
        place = draw(st.integers(0, 2))
        if place < len(there):
            return UUID(str(there[place]))
        subject = self.of(table)
        fixed = {} if project is None else {TENANT: project}
        above = self.references_within(draw, subject, project)
        factories.seed(draw(st.integers(0, 99)))
        draft = subject.factory.build(**fixed, **above)
        return self.learn(subject, subject.repository.create_one(draft), dict(draft))

    def references_within(self, draw: Any, subject: Subject, project: UUID | None) -> Row:
        fields = [key for key in subject.table.foreign_keys if key.columns[-1] != TENANT]
        if subject.name in ONE_OF:
            fields = [key for key in fields if key.columns[-1] == ONE_OF[subject.name][0]]
        return {key.columns[-1]: self.parent(draw, key.table, project) for key in fields}

    # ----------------------------------------------------------------------------------------- what is there

    def learn(self, subject: Subject, record: Any, fields: Row, before: Row | None = None) -> UUID:
        """Take a record that was written into the dict, once it is what it must be."""
        row = stored(record)
        assert isinstance(record, subject.repository.record)
        assert same({name: row[name] for name in fields}, fields)
        if before is None:
            assert (row["version"], row["updated_at"]) == (1, row["created_at"])
        else:
            assert (row["id"], row["version"]) == (before["id"], before["version"] + 1)
            assert row["created_at"] == before["created_at"] <= before["updated_at"] <= row["updated_at"]
        self.world[subject.name][record.id] = row
        return UUID(str(record.id))

    def holder(self, fields: Row, subject: Subject | None = None) -> Row | None:
        """The row that has this natural key; None is a value like others."""
        table = (subject or self.subject).table
        rows = self.world[table.name].values()
        return next((row for row in rows if all(row[n] == fields[n] for n in table.key)), None)

    def refused(self, error: Refusal, call: Callable[[], object]) -> Any:
        """Expect an error; a savepoint keeps what the unit did before."""
        part = self.over.savepoint() if self.open else nullcontext()
        with pytest.raises(error) as caught, part:
            call()
        self.tally[f"{error.__name__}"] += 1
        return caught.value

    def changed(self, row: Row, changes: Row) -> Row:
        """A row's fields after a change, with what follows from it."""
        pairs = self.subject.derived()
        derived = {name for _, name in pairs}
        names = self.repository.draft.model_fields
        made = self.repository.draft(**self.of_row(self.subject, row) | changes)
        again = {*changes}
        for source, name in pairs:
            again |= {name} if source in again else set()
        return {n: getattr(made, n) if n in again or n not in derived else row[n] for n in names}

    def may_move(self, row: Row, changes: Row) -> bool:
        moves = self.subject.table.moves
        return all(
            str(changes[name]) in {str(row[name]), *allowed[str(row[name])]}
            for name, allowed in moves.items()
            if name in changes
        )

    # ------------------------------------------------------------------------------------------------- create

    @initialize(data=st.data())
    def some(self, data: st.DataObject) -> None:
        self.create_many(data, [False] * 4)

    @rule(data=st.data(), place=places, again=st.booleans())
    def create(self, data: st.DataObject, place: int, again: bool) -> None:
        draft = self.draft(data.draw, self.subject, self.picked(place) if again else None)
        if self.holder(dict(draft)):
            self.refused(DuplicateRecord, lambda: self.repository.create(draft))
        else:
            self.learn(self.subject, self.repository.create(draft), dict(draft))

    @rule(data=st.data(), name=st.sampled_from(ENTITIES))
    def create_beside(self, data: st.DataObject, name: str) -> None:
        """A row of any entity, so that there is something to go with a row or to keep it."""
        subject = self.of(name)
        draft = self.draft(data.draw, subject)
        if self.holder(dict(draft), subject) is None:
            self.learn(subject, subject.repository.create_one(draft), dict(draft))

    def several(self, draw: Any, again: Sequence[bool]) -> list[Any]:
        return [
            self.draft(draw, self.subject, self.picked(place) if met else None)
            for place, met in enumerate(again)
        ]

    def repeated(self, drafts: Sequence[Any]) -> bool:
        keys = [tuple(getattr(draft, name) for name in self.subject.table.key) for draft in drafts]
        return len({*keys}) < len(keys)

    @rule(data=st.data(), again=st.lists(st.sampled_from((False, False, True)), max_size=3))
    def create_many(self, data: st.DataObject, again: list[bool]) -> None:
        drafts = self.several(data.draw, again)
        if self.repeated(drafts):
            self.refused(InvalidValue, lambda: self.repository.create_many(drafts))
        elif any(self.holder(dict(draft)) for draft in drafts):
            self.refused(DuplicateRecord, lambda: self.repository.create_many(drafts))
        else:
            for record, draft in zip(self.repository.create_many(iter(drafts)), drafts, strict=True):
                self.learn(self.subject, record, dict(draft))

    @rule(data=st.data(), again=st.lists(st.booleans(), min_size=1, max_size=3), one=st.booleans())
    def upsert(self, data: st.DataObject, again: list[bool], one: bool) -> None:
        drafts = self.several(data.draw, again[:1] if one else again)
        if self.repeated(drafts):
            self.refused(InvalidValue, lambda: self.repository.upsert_many(drafts))
            return
        met = [self.holder(dict(draft)) for draft in drafts]
        if any(row and not self.may_move(row, dict(d)) for row, d in zip(met, drafts, strict=True)):
            self.refused(StatusMoveRefused, lambda: self.repository.upsert_many(drafts))
            return
        found = [self.repository.upsert(drafts[0])] if one else self.repository.upsert_many(drafts)
        for each, draft, row in zip(found, drafts, met, strict=True):
            self.learn_upserted(each, dict(draft), row)

    def learn_upserted(self, found: Any, fields: Row, row: Row | None) -> None:
        self.tally[found.outcome] += 1
        if row is not None and same({name: row[name] for name in fields}, fields):
            assert found.outcome is Outcome.UNCHANGED
            assert same(stored(found.record), row)
            return
        assert found.outcome is (Outcome.INSERTED if row is None else Outcome.UPDATED)
        self.learn(self.subject, found.record, fields, row)

    # ------------------------------------------------------------------------------------------------- change

    def expected(self, row: Row | None, which: str) -> int | None:
        held = 1 if row is None else row["version"]
        return {"any": None, "right": held, "stale": held + 1}[which]

    def hindrance(self, row: Row | None, changes: Row, which: str) -> Refusal | None:
        """What stands in the way of one change, the first thing first."""
        if row is None:
            return RecordNotFound
        try:
            after = self.changed(row, changes)
        except InvalidValue:
            return InvalidValue
        if which == "stale":
            return StaleRecord
        if not self.may_move(row, changes):
            return StatusMoveRefused
        other = self.holder(after)
        return DuplicateRecord if other is not None and other is not row else None

    @rule(data=st.data(), place=places, which=versions)
    def update(self, data: st.DataObject, place: int, which: str) -> None:
        row = self.picked(place) if place < 4 else None
        changes = self.drawn(data.draw, self.subject, 1, 3, key=True)
        id, version = row["id"] if row else uuid4(), self.expected(row, which)
        error = self.hindrance(row, changes, which)
        if error is not None:
            failure = self.refused(error, lambda: self.repository.update(id, changes, version))
            self.check_current(failure, row)
        elif row is not None:
            record = self.repository.update(id, changes, version)
            self.learn(self.subject, record, self.changed(row, changes), row)

    def check_current(self, failure: Any, row: Row | None) -> None:
        if isinstance(failure, StaleRecord):
            assert [stored(record) for record in failure.current] == [row]

    @rule(data=st.data(), place=places, which=versions)
    def save(self, data: st.DataObject, place: int, which: str) -> None:
        row = self.picked(place)
        if row is None:
            return
        changes = self.drawn(data.draw, self.subject, 1, 3, key=False)
        error = self.hindrance(row, changes, which)
        if error is InvalidValue:
            return
        record = self.repository.get_by_id(row["id"]).model_copy(update=changes)
        if error is not None:
            record = record.model_copy(update={"version": self.expected(row, which) or row["version"]})
            self.check_current(self.refused(error, lambda: self.repository.save(record)), row)
        else:
            self.learn(self.subject, self.repository.save(record), self.changed(row, changes), row)

    @rule(
        data=st.data(), which=st.lists(versions, max_size=3), missing=st.sampled_from((False,) * 5 + (True,))
    )
    def update_many(self, data: st.DataObject, which: list[str], missing: bool) -> None:
        rows = [*[*self.rows.values()][: len(which)], *[None] * missing]
        asked = [
            (row, self.drawn(data.draw, self.subject, 1, 2, key=False), version)
            for row, version in zip(rows, [*which, "any"], strict=False)
        ]
        changes = [Change(r["id"] if r else uuid4(), c, self.expected(r, w)) for r, c, w in asked]
        errors = {self.hindrance(*each) for each in asked}
        for error in (InvalidValue, RecordNotFound, StaleRecord, StatusMoveRefused):
            if error in errors:
                self.refused(error, lambda: self.repository.update_many(changes))
                return
        for record, (row, change, _) in zip(self.repository.update_many(changes), asked, strict=True):
            self.learn(self.subject, record, self.changed(row or {}, change), row)

    # ------------------------------------------------------------------------------------------------- delete

    def going(self, table: str, id: UUID) -> dict[str, set[UUID]]:
        """A row and all that goes with it, by table."""
        gone: dict[str, set[UUID]] = {table: {id}}
        waiting = [(table, id)]
        while waiting:
            above = waiting.pop()
            for key, child, row in self.below(*above):
                if key.on_delete == "CASCADE" and row["id"] not in gone.setdefault(child, set()):
                    gone[child].add(row["id"])
                    waiting.append((child, row["id"]))
        return gone

    def below(self, table: str, id: UUID) -> Iterator[tuple[ForeignKey, str, Row]]:
        for child, rows in self.world.items():
            for key in self.of(child).table.foreign_keys:
                if key.table == table:
                    yield from ((key, child, row) for row in rows.values() if row[key.columns[-1]] == id)

    def is_kept(self, gone: dict[str, set[UUID]]) -> bool:
        """Whether a row that would stay refers to one that would go."""
        return any(
            key.on_delete == "RESTRICT" and row["id"] not in gone.get(child, ())
            for table, ids in gone.items()
            for id in ids
            for key, child, row in self.below(table, id)
        )

    def forget(self, gone: dict[str, set[UUID]]) -> None:
        for table, ids in gone.items():
            for id in ids:
                self.world[table].pop(id, None)

    @rule(place=places, which=versions)
    def delete(self, place: int, which: str) -> None:
        row = self.picked(place) if place < 4 else None
        version = self.expected(row, which)
        if row is None:
            self.refused(RecordNotFound, lambda: self.repository.delete(uuid4(), version))
            return
        gone = self.going(self.name, row["id"])
        error = StaleRecord if which == "stale" else StillReferenced if self.is_kept(gone) else None
        if error is not None:
            failure = self.refused(error, lambda: self.repository.delete(row["id"], version))
            self.check_current(failure, row)
            return
        counts = self.repository.delete(row["id"], version)
        if counts is not None:
            assert {n: c for n, c in counts.by_entity.items() if c} == {
                n: len(i) for n, i in gone.items() if i
            }
        self.forget(gone)

    @rule(chosen=st.lists(places, max_size=3))
    def delete_many(self, chosen: list[int]) -> None:
        rows = [row for place in chosen if (row := self.picked(place))]
        ids = [row["id"] for row in rows]
        gone: dict[str, set[UUID]] = {}
        for id in ids:
            for table, others in self.going(self.name, id).items():
                gone[table] = gone.get(table, set()) | others
        if self.is_kept(gone):
            self.refused(StillReferenced, lambda: self.repository.delete_many(ids))
        else:
            assert self.repository.delete_many([*ids, uuid4()]) == len({*ids})
            self.forget(gone)

    @rule(place=places)
    def delete_above(self, place: int) -> None:
        """A parent goes, and takes rows with it."""
        parents = [key.table for key in self.subject.table.foreign_keys] or ["text_sources"]
        there = [(table, id) for table in parents for id in self.world[table]]
        if not there:
            return
        table, id = there[-1 - place % len(there)]
        gone = self.going(table, id)
        if self.is_kept(gone):
            self.refused(StillReferenced, lambda: self.of(table).repository.delete(id))
        else:
            self.of(table).repository.delete(id)
            self.forget(gone)

    # --------------------------------------------------------------------------------------------------- read

    @rule(chosen=st.lists(places, max_size=4))
    def get(self, chosen: list[int]) -> None:
        rows = [self.picked(place) if place else None for place in chosen]
        ids = [row["id"] if row else uuid4() for row in rows]
        found = self.repository.get_many(ids)
        assert [stored(record) for record in found] == [row for row in rows if row]
        for id, row in zip(ids, rows, strict=True):
            record = self.repository.find_by_id(str(id))
            assert (record and stored(record)) == row
            if row:
                assert self.repository.get_by_id(id) == record
            else:
                self.refused(RecordNotFound, partial(self.repository.get_by_id, id))

    @rule(data=st.data(), size=st.integers(1, 3))
    def select(self, data: st.DataObject, size: int) -> None:
        filters, wanted = self.filtered(data.draw)
        order_by, wanted = self.ordered(data.draw, wanted)
        repository = self.repository
        ids = [row["id"] for row in wanted]

        def are(records: Any) -> bool:
            return [record.id for record in records] == ids

        assert are(repository.list(order_by=order_by, **filters))
        assert are([*repository.list(order_by=order_by, limit=size, **filters), *wanted_rest(wanted, size)])
        assert are(repository.stream(order_by=order_by, batch=size, **filters))
        assert are(self.pages(order_by, size, len(ids), filters))
        assert (repository.count(**filters), repository.exists(**filters)) == (len(ids), bool(ids))

    def filtered(self, draw: Any) -> tuple[Row, list[Row]]:
        """A filter, where it is drawn, and the rows that it leaves."""
        rows = [*self.rows.values()]
        column = draw(st.sampled_from(self.subject.table.columns))
        operator = draw(st.sampled_from(operators(column.type)))
        given = given_values(column.type, operator, [row[column.name] for row in rows])
        if not given or draw(st.booleans()):
            return {}, rows
        value = draw(st.sampled_from(given))
        rank = ranks(self.subject, column.name, records(rows))
        left = [row for row in rows if holds(column.type, operator, rank, row[column.name], value)]
        return {f"{column.name}__{operator}": value}, left

    def ordered(self, draw: Any, rows: list[Row]) -> tuple[list[str], list[Row]]:
        """What to order by, and the rows so: NULLs last going up, first going down; last by the id."""
        columns = [c.name for c in self.subject.table.columns if c.type not in {"jsonb", "text[]"}]
        chosen = draw(st.lists(st.sampled_from(columns), max_size=2, unique=True))
        named = {name: draw(st.booleans()) for name in chosen}
        names = [*named.items()]
        if "id" not in named:
            names.append(("id", names[-1][1] if names else False))
        for name, down in reversed(names):
            rank = ranks(self.subject, name, records(rows))
            rows = sorted(
                rows,
                key=lambda row: (row[name] is None, 0 if row[name] is None else rank(row[name])),
                reverse=down,
            )
        return [f"-{name}" if down else name for name, down in named.items()], rows

    def pages(self, order_by: list[str], size: int, total: int, filters: Row) -> Iterator[Any]:
        after: str | None = None
        for _ in range(total + 1):
            page = self.repository.page(order_by=order_by, limit=size, after=after, total="exact", **filters)
            assert page.total == total
            yield from page.items
            after = page.next_cursor
            if after is None:
                return
        raise AssertionError("there is no last page")

    # -------------------------------------------------------------------------------------------------- units

    @precondition(lambda self: not self.open)
    @rule(isolation=st.sampled_from(ISOLATION))
    def begin(self, isolation: Any) -> None:
        unit = self.database.unit_of_work(isolation=isolation)
        self.enter(unit)

    def enter(self, part: AbstractContextManager[Any]) -> None:
        before = deepcopy(self.world)
        self.over = part.__enter__()
        self.open.append((part, before))

    @precondition(lambda self: 0 < len(self.open) < 4)
    @rule()
    def savepoint(self) -> None:
        self.enter(self.over.savepoint())

    @precondition(lambda self: self.open)
    @rule(undone=st.booleans())
    def leave(self, undone: bool) -> None:
        """End the innermost part, or the unit: what is undone was never there."""
        part, before = self.open.pop()
        if undone:
            assert not part.__exit__(Undone, Undone(), None)
            self.world = before
        else:
            part.__exit__(None, None, None)
        self.tally["undone" if undone else "kept"] += 1
        if not self.open:
            self.over = self.database
        self.check_all(self.over, self.world)

    @precondition(lambda self: self.open)
    @rule()
    def look_from_outside(self) -> None:
        """What a unit has not committed nobody else sees."""
        self.check(self.database.repositories(outside_unit=True), self.open[0][1], self.name)

    @precondition(lambda self: len(self.open) == 1 and self.rows)
    @rule(data=st.data())
    def swallow(self, data: st.DataObject) -> None:
        """A failure that is swallowed costs the whole unit, and it says so."""
        draft = self.draft(data.draw, self.subject, self.picked(0))
        with pytest.raises(DuplicateRecord):
            self.repository.create(draft)
        with pytest.raises(TransactionAborted):
            self.repository.count()
        part, self.world = self.open.pop()
        with pytest.raises(TransactionAborted):
            part.__exit__(None, None, None)
        self.over = self.database
        self.tally["swallowed"] += 1

    # ---------------------------------------------------------------------------------------- what must hold

    @invariant()
    def is_the_dict(self) -> None:
        self.tally["steps"] += 1
        self.check(self.over, self.world, self.name)

    def check(self, over: Repositories, world: World, name: str) -> None:
        found = {record.id: stored(record) for record in Subject(name, over).repository.list()}
        assert same(found, world[name])  # type: ignore[arg-type]  # by id

    def check_all(self, over: Repositories, world: World) -> None:
        for name in ENTITIES:
            self.check(over, world, name)

    def teardown(self) -> None:
        fails = sys.exc_info()[0] is not None
        while self.open:
            if fails:
                with suppress(Undone, DatabaseHandlerError):
                    self.open.pop()[0].__exit__(Undone, Undone(), None)
            else:
                self.leave(undone=False)
        if not fails:
            self.check_all(self.database, self.world)
            self.tally["orders"] += 1
        for table in ("videos", "projects"):
            self.database.session.run(f"DELETE FROM {table}")


def references(subject: Subject) -> list[str]:
    return [key.columns[-1] for key in subject.table.foreign_keys]


def records(rows: Sequence[Row]) -> list[Any]:
    return [SimpleNamespace(**row) for row in rows]


def wanted_rest(rows: Sequence[Row], size: int) -> list[Any]:
    return records(rows[size:])


def run_repository(
    database: Database, name: str, patch: pytest.MonkeyPatch, orders: int, steps: int
) -> Counter[str]:
    patch.setattr(base, "COPY_FROM", 3)  # so that three rows go by COPY
    tally: Counter[str] = Counter()

    class OnDatabase(RepositoryMachine):
        def __init__(self) -> None:
            super().__init__(database, name, tally)

    run(OnDatabase, orders, steps)
    print(f"{name}: {told(tally)}")  # noqa: T201
    return tally


@pytest.mark.timeout(600)  # the smallest order that fails takes a while to find
@pytest.mark.parametrize("name", ENTITIES)
def test_every_repository_is_a_dict(name: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_repository(database, name, monkeypatch, 4, 30)["steps"] >= 100


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ENTITIES)
def test_every_repository_is_a_dict_in_a_long_run(
    name: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_repository(database, name, monkeypatch, 100, 40)["steps"] >= 2_000
