"""The repository of an entity: every call is a verb, a statement, bound values and a record type.

Written once for all entities. It stands over a session and does not know whether that is a unit's or sends
each statement by itself. It is one module because it is the whole vocabulary that the entities share: a
reader of one call wants the others beside it, and each is short.
"""

import builtins
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import groupby
from operator import attrgetter, itemgetter
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar
from uuid import UUID

from database_handler.core.base_model import (
    Change,
    Draft,
    Record,
    assembler,
    filler,
    validated_changes,
)
from database_handler.core.cache import Cache
from database_handler.core.exceptions import (
    AmbiguousRecord,
    DatabaseError,
    DuplicateRecord,
    InvalidValue,
    RecordNotFound,
    StaleRecord,
    StatusMoveRefused,
    UnreadableValue,
)
from database_handler.core.schema import SERVER_COLUMNS, TENANT, Table
from database_handler.core.session import Session, Statement
from database_handler.repositories import bulk, pages, read_through, row_text, statements, upsert_statements
from database_handler.repositories.filters import Order, Where, parse_filters, parse_order, scoped
from database_handler.repositories.metadata import MetadataCheck
from database_handler.repositories.pages import Page
from database_handler.repositories.resources import Resources
from database_handler.utils.choices import Choice
from database_handler.utils.collector import collector_waiting, made
from database_handler.utils.ids import new_id

if TYPE_CHECKING:  # most programs never touch a file
    from database_handler.content.files import Readable
    from database_handler.content.rows import Format
    from database_handler.content.streams import Writable
    from database_handler.repositories.rows import Existing, ExportedRows, Ids, ImportedRows

__all__ = ["Outcome", "Repository", "Upserted"]

D = TypeVar("D", bound=Draft)
R = TypeVar("R", bound=Record)
T = TypeVar("T")

_NOBODYS = UUID(int=0)  # the project of rows that are not there
COPY_FROM = 200  # rows from which COPY, with its two round trips more, beats one INSERT


class Outcome(Choice):
    """What an upsert did to a row."""

    INSERTED = "inserted"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Upserted(Generic[R]):
    """A record after an upsert, and what was done to it."""

    record: R
    outcome: Outcome


class Repository(Generic[D, R]):
    """The records of one entity.

    Parameters
    ----------
    session : Session
        What the statements are sent through.
    project_id : UUID, optional
        Holds every statement to one project.
    resources : Resources, optional
        What the repositories of one database share, such as its file store.
    """

    draft: type[D]
    record: type[R]
    immutable: ClassVar[frozenset[str]] = frozenset({TENANT})

    def __init__(
        self, session: Session, project_id: UUID | None = None, resources: Resources | None = None
    ) -> None:
        self._session = session
        self._project_id = project_id
        self._resources = resources or Resources()

    @property
    def table(self) -> Table:
        """The table of the records."""
        return self.record.table

    def _records(self, rows: Sequence[tuple[Any, ...]], before: int = 0) -> builtins.list[R]:
        """Make records of rows; so many columns stand before theirs."""
        return made(filler(self.record, before), rows)

    @cached_property
    def _fill(self) -> Callable[[tuple[Any, ...]], R]:
        return filler(self.record)

    @property
    def _scoped(self) -> bool:
        return self._project_id is not None

    @property
    def _scope(self) -> list[UUID]:
        return [] if self._project_id is None else [self._project_id]

    # --------------------------------------------------------------------------------------------- create

    def create_one(self, *args: Any, id: UUID | None = None, **fields: Any) -> R:
        """Store one record; `create` is this with the types of the entity."""
        draft = self._one_draft(args, fields)
        statement, values = self._creating(draft, self._new_id(id))
        rows = self._metadata.sent(
            lambda: [getattr(draft, TENANT)],
            lambda: self._session.all(statement, [*values, *self._metadata.mark(draft)]),
            bool,
        )
        return self._fill(rows[0])

    def _creating(self, draft: D, id: UUID) -> tuple[Statement, builtins.list[Any]]:
        """Return what stores one record, and its values."""
        (row,) = self._rows([draft], [id])
        return statements.create(self.table), [*map(self._sent, row)]

    def create_many(
        self, drafts: Iterable[D], *, on_progress: Callable[[int], object] | None = None
    ) -> builtins.list[R]:
        """Store any number of records, all or none, and return them in the order given.

        From some hundreds on they go by COPY: three round trips in a unit, whatever their number. Where
        row-level security holds for the role, the server takes no COPY: then some hundreds go at a time.

        Parameters
        ----------
        on_progress : callable, optional
            Called with the number of rows sent.

        Raises
        ------
        InvalidValue
            Something is no draft, or two of them have one key; both positions are named.
        ConstraintViolation
            The database refused a row; its `position` says which.
        """
        tell = bulk.progress(on_progress, "create_many")
        checked = self._drafts(drafts, "create_many")
        self._refuse_duplicates(checked)
        if not checked:
            return []
        return self._stored(*self._created(checked, [None] * len(checked), tell))

    def _created(
        self,
        drafts: Sequence[D],
        ids: Sequence[UUID | None],
        tell: Callable[[int], object] = bulk.untold,
    ) -> tuple[builtins.list[tuple[Any, ...]], datetime]:
        with collector_waiting(len(drafts)):
            rows = self._rows(drafts, ids)
        try:
            if len(rows) >= COPY_FROM:
                return rows, self._copy(drafts, rows, tell)
            stored_at = self._inserted(self._session, self._metadata, drafts, rows)
        except DatabaseError as failure:
            bulk.name_row(failure, (dict(zip(self._written, row, strict=True)) for row in rows))
            raise
        tell(len(rows))
        return rows, stored_at

    def _inserted(
        self, session: Session, metadata: MetadataCheck, drafts: Sequence[D], rows: Sequence[Sequence[Any]]
    ) -> datetime:
        sent = statements.as_arrays(self.table, rows)
        statement = statements.telling(session, self.table, statements.create_many(self.table), rows)
        stored_at: datetime = self._answer(
            drafts, lambda: session.one(statement, [*sent, *metadata.marks(drafts)]), metadata
        )[0]
        return stored_at

    def _copy(
        self, drafts: Sequence[D], rows: Sequence[Sequence[Any]], tell: Callable[[int], object]
    ) -> datetime:
        with self._session.atomic() as session:
            # Asked first: it is the transaction's moment, so the rows need not be read back.
            metadata = self._checking(session)
            statement = statements.moment(self.table)
            answer = self._answer(drafts, lambda: session.one(statement, metadata.marks(drafts)), metadata)
            stored_at: datetime = answer[0]
            if answer[2]:  # row-level security holds
                for start in range(0, len(rows), COPY_FROM):
                    some = slice(start, start + COPY_FROM)
                    self._inserted(session, metadata, drafts[some], rows[some])
                    tell(min(start + COPY_FROM, len(rows)))
            else:
                tail = (stored_at, stored_at, 1)
                statement = statements.telling(session, self.table, statements.copy(self.table), rows)
                lines = row_text.lines(statements.draft_columns(self.table), rows, tail)
                session.copy(statement, bulk.told_of(lines, row_text.CHUNK, len(rows), tell))
        return stored_at

    def _answer(
        self, drafts: Sequence[D], ask: Callable[[], tuple[Any, ...]], metadata: MetadataCheck
    ) -> tuple[Any, ...]:
        return metadata.sent(lambda: self._projects(drafts), ask, itemgetter(1))

    @cached_property
    def _metadata(self) -> MetadataCheck:
        return self._checking(self._session)

    def _checking(self, session: Session) -> MetadataCheck:
        return MetadataCheck(session, self.table, self._resources.schemas)

    @staticmethod
    def _projects(drafts: Iterable[D]) -> set[UUID]:
        return {getattr(draft, TENANT) for draft in drafts}

    @cached_property
    def _written(self) -> tuple[str, ...]:
        return tuple(column.name for column in statements.draft_columns(self.table))

    @cached_property
    def _drafted(self) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
        """What takes out of a draft all that is written but the id, which comes first."""
        _, *names = self._written
        take = itemgetter(*names)
        return take if len(names) > 1 else lambda held: (take(held),)

    def _stored(self, rows: Sequence[Sequence[Any]], stored_at: datetime) -> builtins.list[R]:
        """Make the records of rows that were written at one moment."""
        make = assembler(self.record, (*self._written, *SERVER_COLUMNS))
        tail = (stored_at, stored_at, 1)
        with collector_waiting(len(rows)):
            return [make((*row, *tail)) for row in rows]

    # ----------------------------------------------------------------------------------------------- read

    def get_by_id(self, id: UUID | str) -> R:
        """Return the record of an id, or raise `RecordNotFound`."""
        found = self.find_by_id(id)
        if found is None:
            raise self._not_found(id)
        return found

    def find_by_id(self, id: UUID | str) -> R | None:
        """Return the record of an id, or None."""
        asked = as_uuid(id)
        if (cache := self._session.cache) is not None and not self._scoped:
            return self._through(cache, [asked], "get_by_id").get(asked)
        rows = self._session.all(statements.get(self.table, self._scoped), [asked, *self._scope])
        self._refuse_ambiguous(len(rows))
        return self._fill(rows[0]) if rows else None

    def _through(self, cache: Cache, ids: Sequence[UUID], call: str) -> dict[UUID, R]:
        return read_through.records(
            cache, self._session, self.record, ids, call=call, refuse_ambiguous=self._refuse_ambiguous
        )

    def get_many(self, ids: Iterable[UUID | str]) -> builtins.list[R]:
        """Return the records found, in the order asked; an id asked twice comes twice."""
        asked = [as_uuid(id) for id in each_of(ids, "get_many")]
        if not asked:
            return []
        if (cache := self._session.cache) is not None and not self._scoped:
            found = self._through(cache, asked, "get_many")
            return [found[id] for id in asked if id in found]
        rows = self._session.all(statements.get_many(self.table, self._scoped), [asked, *self._scope])
        found = {record.id: record for record in self._records(rows)}
        self._refuse_ambiguous(1 + len(rows) - len(found))
        return [found[id] for id in asked if id in found]

    def list(
        self, *, order_by: str | Sequence[str] | None = None, limit: int | None = None, **filters: object
    ) -> builtins.list[R]:
        """Return the records that the filters match, by id unless ordered otherwise."""
        order = parse_order(self.record, order_by)
        statement, values = self._select("list", self._where(filters), order.clause, _limit(limit))
        return self._records(self._session.all(statement, values))

    def page(
        self,
        *,
        order_by: str | Sequence[str] | None = None,
        limit: int = 20,
        after: str | None = None,
        total: Literal["exact"] | int | None = None,
        **filters: object,
    ) -> Page[R]:
        """Return a page of records in one round trip; its depth costs nothing.

        Parameters
        ----------
        after : str, optional
            The ``next_cursor`` of the page before, of the same filters and order.
        total : "exact" or int, optional
            Also count what the filters match: all of it, or no further than a number.
        """
        order, where = parse_order(self.record, order_by), self._where(filters)
        mark = pages.fingerprint(self.table.name, where, order)
        beyond = where
        if after is not None:
            beyond = where & pages.after(self.record, order, pages.decode(self.record, mark, order, after))
        size = _size(limit)
        rows, count = self._page_rows(where, beyond, order, size + 1, _total(total))
        items = [self._fill(row) for row in rows[:size]]
        cursor = pages.encode(mark, items[-1], order) if len(rows) > size else None
        capped = isinstance(total, int) and count is not None and count > total
        return Page(items, cursor, total if isinstance(total, int) and capped else count, capped)

    def _page_rows(
        self, where: Where, beyond: Where, order: Order, size: int, cap: int | None
    ) -> tuple[builtins.list[tuple[Any, ...]], int | None]:
        if cap is None:
            statement, values = self._select("page", beyond, order.clause, size)
            return self._session.all(statement, values), None
        names, table = statements.columns(self.table), self.table.name
        text = (
            f"WITH page AS MATERIALIZED "
            f"(SELECT {names} FROM {table}{beyond.clause}{order.clause} LIMIT {size}), "
            f"counted AS MATERIALIZED (SELECT count(*) AS total FROM "
            f"(SELECT FROM {table}{where.clause} LIMIT %s) AS capped) "
            f"SELECT counted.total, page.* FROM counted LEFT JOIN page ON true{order.clause}"
        )
        limit = None if cap < 0 else cap + 1
        rows = self._session.all(
            Statement(text, f"{table}.page", prepares=True), [*beyond.values, *where.values, limit]
        )
        return [row[1:] for row in rows if row[1 + self.table.column_names.index("id")] is not None], rows[0][
            0
        ]

    def stream(
        self, *, order_by: str | Sequence[str] | None = None, batch: int = 1000, **filters: object
    ) -> Generator[R, None, None]:
        """Iterate over any number of records with at most `batch` in memory.

        Outside a unit it holds a read-only transaction until it is exhausted or closed (``.close()``).
        """
        statement, values = self._select(
            "stream", self._where(filters), parse_order(self.record, order_by).clause, None
        )
        return self._filled(self._session.stream(statement, values, batch=batch))

    def _filled(self, rows: Iterator[tuple[Any, ...]]) -> Generator[R, None, None]:
        # A generator, so that it can be closed: with it goes the only reference to the rows, and their
        # transaction ends.
        yield from map(self._fill, rows)

    def count(self, **filters: object) -> int:
        """Return how many records the filters match."""
        where = self._where(filters)
        text = f"SELECT count(*) FROM {self.table.name}{where.clause}"
        [found] = self._session.one(Statement(text, f"{self.table.name}.count", prepares=True), where.values)
        return int(found)

    def exists(self, **filters: object) -> bool:
        """Return whether the filters match a record."""
        where = self._where(filters)
        text = f"SELECT EXISTS (SELECT FROM {self.table.name}{where.clause})"
        [found] = self._session.one(Statement(text, f"{self.table.name}.exists", prepares=True), where.values)
        return bool(found)

    def _where(self, filters: Mapping[str, object]) -> Where:
        return parse_filters(self.record, filters) & scoped(self.table, self._project_id)

    def _select(
        self, call: str, where: Where, order: str, limit: int | None
    ) -> tuple[Statement, tuple[Any, ...]]:
        bound = "" if limit is None else f" LIMIT {limit}"
        text = f"SELECT {statements.columns(self.table)} FROM {self.table.name}{where.clause}{order}{bound}"
        return Statement(text, f"{self.table.name}.{call}", prepares=True), where.values

    # --------------------------------------------------------------------------------------------- update

    def update(
        self,
        id: UUID | str,
        changes: Mapping[str, Any] | None = None,
        expected_version: int | None = None,
        **fields: Any,
    ) -> R:
        """Change some fields of one record in one round trip, and return it.

        Raises
        ------
        RecordNotFound
            There is no such record.
        StaleRecord
            Its version is not `expected_version`; carries the record as it stands, and nothing was written.
        StatusMoveRefused
            The table's `moves` do not lead from the record's state to the new one; nothing was written.
        """
        if not isinstance(changes, Mapping | None):
            raise InvalidValue(f"update: changes are a mapping, not a {type(changes).__name__}")
        if twice := fields.keys() & (changes or {}).keys():
            raise InvalidValue(f"update: {', '.join(sorted(twice))} is given twice")
        valid = self._changes({**(changes or {}), **fields})
        asked, version = as_uuid(id), as_version(expected_version)
        changed, record = self._beside([asked], "update")._update(asked, valid, version)
        if not changed:
            raise self._left_alone(record, expected_version, valid)
        return record

    def _update(self, id: UUID, valid: Mapping[str, Any], expected: int | None) -> tuple[bool, R]:
        names = tuple(sorted(valid))
        values = [self._sent(valid[name]) for name in names]
        met: builtins.list[R] = []  # the record, once it was seen

        def send() -> tuple[bool, R]:
            marks: builtins.list[Any] = [*self._metadata.change_mark(valid, self._project_id, met)]
            moved = [valid[name] for name in statements.guarded(self.table, names)]
            if marks and self.table.keeps_metadata:
                marks = [*self._scope, *marks]
            sent = [id, *self._scope, *values, expected, *moved, *marks, *self._scope]
            rows = self._session.all(statements.update(self.table, names, self._scoped), sent)
            self._refuse_ambiguous(len(rows))
            if not rows:
                raise self._not_found(id)
            met[:] = [self._fill(rows[0][1:])]
            return rows[0][0], met[0]

        return self._metadata.sent(
            lambda: [self._metadata.project_of(record) for record in met] or self._scope,
            send,
            lambda answer: answer[0] or self._is_in_the_way(answer[1], expected, valid),
        )

    def _is_in_the_way(self, record: R, expected: int | None, valid: Mapping[str, Any]) -> bool:
        """Tell whether a record is stale, or may not make its move; else only a JSON Schema holds it back."""
        return expected not in {None, record.version} or bool(self._moves_refused(record, valid))

    def save(self, record: R) -> R:
        """Write a record that was changed by ``model_copy(update=...)``; its version is the expected one."""
        if not isinstance(record, self.record):
            raise InvalidValue(f"save takes a {self.record.__name__}, not a {type(record).__name__}")
        fields = {name: getattr(record, name) for name in self.draft.model_fields}
        valid = self.draft.model_validate(fields)
        held = type(self)(self._session, self._project_id or fields.get(TENANT), self._resources)
        changes = {name: getattr(valid, name) for name in fields if name not in self.immutable}
        return held.update(record.id, changes, record.version)

    def update_many(
        self, changes: Iterable[Change], *, on_progress: Callable[[int], object] | None = None
    ) -> builtins.list[R]:
        """Change many records, all or none, and return them in the order given.

        Each 10,000 of them are one statement.

        Parameters
        ----------
        on_progress : callable, optional
            Called with the number of rows done.

        Raises
        ------
        RecordNotFound, StaleRecord, StatusMoveRefused
            Some are missing, not at the version expected, or may not make their move: all such of one
            statement are named, and nothing was written.
        ConstraintViolation
            The database refused a row; its `position` says which.
        """
        tell = bulk.progress(on_progress, "update_many")
        given = each_of(changes, "update_many")
        with collector_waiting(known_length(given)):
            asked = [self._change(change, place) for place, change in enumerate(given)]
        _refuse_repeated([change.id.int for change, _ in asked], "update_many", "id")
        found: dict[int, R] = {}
        here = self._beside([change.id for change, _ in asked], "update_many")
        with here._in_parts(len(asked)) as held:
            for part in bulk.parts(len(asked)):
                try:
                    rows = held._update_rows(asked, part)
                except DatabaseError as failure:
                    bulk.name_row(failure, ({"id": change.id, **valid} for change, valid in asked))
                    raise
                if not all(row[0] for row in rows):
                    raise held._in_the_way(rows, asked)
                records = self._records(rows, 2)
                found.update((row[1], record) for row, record in zip(rows, records, strict=True))
                tell(part.stop)
        return [found[place] for place in range(len(asked))]

    @contextmanager
    def _in_parts(self, total: int, most: int | None = None) -> Iterator[Self]:
        """Give the repository that many rows go through, all or none of them: this one, for one part."""
        if total <= (most or bulk.PART):
            yield self
            return
        with self._session.undoable() as session:
            yield type(self)(session, self._project_id, self._resources)

    def _update_rows(
        self, asked: Sequence[tuple[Change, dict[str, Any]]], part: range
    ) -> builtins.list[tuple[Any, ...]]:
        each = [asked[place] for place in part]
        names = tuple(sorted({name for _, valid in each for name in valid}))
        partial = tuple(name for name in names if any(name not in valid for _, valid in each))
        with collector_waiting(len(part)):
            changed = [_change_row(place, *asked[place], names, partial) for place in part]
            sent = row_text.arrays(statements.change_columns(self.table, names, partial), changed)
            del changed
        statement = statements.update_many(self.table, names, partial, self._scoped)
        met: dict[int, R] = {}  # by place: the records that only a JSON Schema stands in the way of

        def send() -> builtins.list[tuple[Any, ...]]:
            marks = self._metadata.change_marks(names, partial, {at: asked[at][1] for at in part}, met)
            rows = self._session.all(statement, [*sent, *self._scope, *marks, *self._scope])
            met.clear()
            met.update(self._held_back(rows, asked))
            return rows

        return self._metadata.sent(
            lambda: {self._metadata.project_of(record) for record in met.values()}, send, lambda _: not met
        )

    def _held_back(
        self, rows: Sequence[tuple[Any, ...]], asked: Sequence[tuple[Change, dict[str, Any]]]
    ) -> dict[int, R]:
        """Return the records that only a JSON Schema holds back; none where anything else is in the way."""
        stopped = [row for row in rows if not row[0]]
        at = self.table.column_names.index("id") + 2
        if any(row[at] is None for row in stopped) or len({row[1] for row in stopped}) < len(stopped):
            return {}
        found = {row[1]: self._fill(row[2:]) for row in stopped}
        if any(
            self._is_in_the_way(record, asked[place][0].expected_version, asked[place][1])
            for place, record in found.items()
        ):
            return {}
        return found

    def _change(self, change: object, place: int) -> tuple[Change, dict[str, Any]]:
        if not isinstance(change, Change):
            raise InvalidValue(f"update_many: position {place} is a {type(change).__name__}, not a Change")
        return change, self._changes(change.changes)

    def _changes(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        if fixed := self.immutable.intersection(changes):
            raise InvalidValue(
                f"{self.record.__name__}: {', '.join(sorted(fixed))} stays as it is; create another"
            )
        return validated_changes(self.draft, changes)

    def _in_the_way(
        self, rows: Sequence[tuple[Any, ...]], asked: Sequence[tuple[Change, dict[str, Any]]]
    ) -> RecordNotFound | StaleRecord | StatusMoveRefused:
        at = self.table.column_names.index("id") + 2
        places = [row[1] for row in rows]
        self._refuse_ambiguous(1 + len(places) - len(set(places)))
        missing = sorted(row[1] for row in rows if row[at] is None)
        current = {row[1]: self._fill(row[2:]) for row in rows if row[at] is not None}
        stale = sorted(p for p in current if asked[p][0].expected_version not in {None, current[p].version})
        if missing:
            ids = ", ".join(str(asked[place][0].id) for place in missing)
            also = f"; stale are positions {stale}" if stale else ""
            return RecordNotFound(
                f"{self.table.name}: no record of positions {missing} ({ids}){also}; nothing was written",
                table=self.table.name,
            )
        if stale:
            return self._stale([current[place] for place in stale], stale)
        return self._refused_moves([(current[place], asked[place][1]) for place in sorted(current)])

    def _left_alone(
        self, record: R, expected: int | None, valid: Mapping[str, Any]
    ) -> StaleRecord | StatusMoveRefused:
        if expected not in {None, record.version}:
            return self._stale([record], [])
        return self._refused_moves([(record, valid)])

    def _refused_moves(self, refused: Sequence[tuple[R, Mapping[str, Any]]]) -> StatusMoveRefused:
        told = [
            f"{record.id} may not go from {name} {held} to {valid[name]} (only to {following})"
            for record, valid in refused
            for name, held, following in self._moves_refused(record, valid)
        ]
        return StatusMoveRefused(
            f"{self.table.name}: {'; '.join(told)}; nothing was written",
            table=self.table.name,
            columns=tuple(self.table.moves),
        )

    def _moves_refused(self, record: R, valid: Mapping[str, Any]) -> builtins.list[tuple[str, str, str]]:
        """Return the fields of a change that may not move so: the field, its state, and what may follow."""
        held = {name: str(getattr(record, name)) for name in self.table.moves if name in valid}
        return [
            (name, state, ", ".join(self.table.moves[name].get(state, ())) or "nothing else")
            for name, state in held.items()
            if str(valid[name]) not in {state, *self.table.moves[name].get(state, ())}
        ]

    # --------------------------------------------------------------------------------------------- upsert

    def upsert(self, draft: D) -> Upserted[R]:
        """Store a record, or bring the one of its natural key up to it; safe under a race."""
        return self.upsert_many([draft])[0]

    def upsert_many(
        self, drafts: Iterable[D], *, on_progress: Callable[[int], object] | None = None
    ) -> builtins.list[Upserted[R]]:
        """Store or bring up to date many records, all or none; an unchanged row is not rewritten.

        NULLs in a key are equal. The outcomes come in the order given. Each 10,000 of them are one message.

        Parameters
        ----------
        on_progress : callable, optional
            Called with the number of rows done.

        Raises
        ------
        ConstraintViolation
            The database refused a row; its `position` says which.
        """
        tell = bulk.progress(on_progress, "upsert_many")
        checked = self._drafts(drafts, "upsert_many")
        self._refuse_duplicates(checked)
        return self._brought_up(checked, [None] * len(checked), tell) if checked else []

    def _brought_up(
        self,
        checked: Sequence[D],
        given: Sequence[UUID | None],
        tell: Callable[[int], object] = bulk.untold,
    ) -> builtins.list[Upserted[R]]:
        with collector_waiting(len(checked)):
            ids = [self._new_id(id) for id in given]
            # In the order of the key, so that two such calls cannot deadlock.
            order = sorted(range(len(checked)), key=lambda place: str(self._key(checked[place])))
        placed: dict[int, Upserted[R]] = {}
        parts = self._parts_of_upsert(checked, order)
        # On a cluster one part is several statements already.
        with self._in_parts(len(parts) + self._session.distributed, 1) as held:
            for part in parts:
                try:
                    placed |= held._brought_up_part(checked, ids, part)
                except DatabaseError as failure:
                    rows = self._rows(checked, ids)
                    bulk.name_row(failure, (dict(zip(self._written, row, strict=True)) for row in rows))
                    raise
                tell(len(placed))
        return [placed[place] for place in range(len(checked))]

    def _parts_of_upsert(self, checked: Sequence[D], order: Sequence[int]) -> builtins.list[Sequence[int]]:
        """Return the places of what goes together: on a cluster, of one project's rows, on one node."""
        most = None if upsert_statements.key_is_exact(self.table) else 1
        apart = [order]
        if self._session.distributed and self.table.is_child:
            # A key begins with the project.
            apart = [[*each] for _, each in groupby(order, lambda place: getattr(checked[place], TENANT))]
        return [places[part.start : part.stop] for places in apart for part in bulk.parts(len(places), most)]

    def _brought_up_part(
        self, checked: Sequence[D], ids: Sequence[UUID], order: Sequence[int]
    ) -> dict[int, Upserted[R]]:
        drafts = [checked[place] for place in order]
        key = self._key
        with collector_waiting(len(order)):
            sent = statements.as_arrays(self.table, self._rows(drafts, [ids[place] for place in order]))
            places = {key(checked[place]): place for place in order}
        send = self._upserted_in_steps if self._session.distributed else self._upserted
        found = self._metadata.sent(
            lambda: self._projects(drafts),
            lambda: send(drafts, [*self._metadata.marks(drafts, order), *sent, len(order)]),
            bool,
        )
        with collector_waiting(len(found)):
            records = self._records(found, 1)
            at = order if len(order) == 1 else self._places(records, places)
            return {
                place: Upserted(record, _outcome(row[0], record.id == ids[place]))
                for place, record, row in zip(at, records, found, strict=True)
            }

    def _upserted(self, drafts: Sequence[D], values: Sequence[Any]) -> builtins.list[tuple[Any, ...]]:
        return self._session.all(upsert_statements.upsert(self.table, self._key_patterns(drafts)), values)

    def _upserted_in_steps(
        self, drafts: Sequence[D], values: Sequence[Any]
    ) -> builtins.list[tuple[Any, ...]]:
        """Send the parts of an upsert one after the other, as a cluster takes them; drafts of one project."""
        patterns = self._key_patterns(drafts)
        project = [*self._projects(drafts)] if self.table.is_child else []
        wrote, left = self._session.one(upsert_statements.write(self.table), values)
        if self.table.moves:
            asking = upsert_statements.moves_refused(self.table, patterns)
            (refused,) = self._session.one(asking, [left, *project * (asking.text.count("%s") - 1)])
            if refused:
                told = str(StatusMoveRefused()).rstrip(".")
                raise StatusMoveRefused(f"{asking.name}: {told}: {refused}", table=self.table.name)
        reading = upsert_statements.read_again(self.table, patterns)
        return self._session.all(reading, [left, wrote, *project * (reading.text.count("%s") - 2)])

    def _places(self, records: Sequence[R], places: Mapping[Any, int]) -> builtins.list[int]:
        try:
            return [*map(places.__getitem__, map(self._key, records))]
        except KeyError:
            pass
        raise UnreadableValue(
            f"{self.table.name}: the database met a row by a key that differs from the one given, as some "
            "collations do, so it is not known which; upsert such rows one by one",
            columns=self.table.key,
        )

    def _key_patterns(self, drafts: Sequence[D]) -> tuple[frozenset[str], ...]:
        """Return the sets of columns that are None in the drafts' keys."""
        if not self.table.nullable_key:
            return (frozenset(),)
        found = {
            frozenset(name for name in self.table.nullable_key if getattr(draft, name) is None)
            for draft in drafts
        }
        return tuple(sorted(found, key=sorted))

    @cached_property
    def _key(self) -> Callable[[D | R], Any]:
        """What takes the natural key out of a draft or a record."""
        return attrgetter(*self.table.key)

    # -------------------------------------------------------------------------------------------- transfer

    def export_rows(
        self,
        target: "str | PathLike[str] | Writable",
        /,
        *,
        file_format: "Format | None" = None,
        order_by: str | Sequence[str] | None = None,
        batch: int = 500,
        on_progress: Callable[[int], object] | None = None,
        **filters: object,
    ) -> "ExportedRows":
        """Write the records that the filters match to a file, as of one moment, with `batch` in memory.

        Parameters
        ----------
        target : path or binary stream
            ``.jsonl``, ``.ndjson``, ``.csv`` or ``.parquet`` say the format; of these all but the last may be
            compressed: ``.csv.gz``, ``.jsonl.zst``. The file has its name only when all of it is stored.
        file_format : {"jsonl", "csv", "parquet"}, optional
            For a stream, or another suffix.
        on_progress : callable, optional
            Called with the number of rows done.

        Raises
        ------
        UnwritableFile, NotARegularFile
            The file cannot be written; nothing has its name.
        """
        from database_handler.repositories.rows import export_rows

        found = self.stream(order_by=order_by, batch=batch, **filters)
        return export_rows(
            self.record, found, target, file_format=file_format, every=batch, on_progress=on_progress
        )

    def import_rows(
        self,
        source: "str | PathLike[str] | Readable",
        /,
        *,
        file_format: "Format | None" = None,
        ids: "Ids" = "keep",
        existing: "Existing" = "refuse",
        values: Mapping[str, Any] | None = None,
        batch: int = 1000,
        by_batch: bool = False,
        after_row: int = 0,
        on_progress: Callable[[int], object] | None = None,
    ) -> "ImportedRows":
        """Store the rows of a file, all or none, each validated as a draft; versions and times begin anew.

        Parameters
        ----------
        source : path or binary stream
            As `export_rows` writes it, or any other with columns of these names; compressed or not.
        ids : {"keep", "new"}
            Rows that have an id keep it, or every row gets a new one: a copy.
        existing : {"refuse", "skip", "update"}
            What becomes of a row whose natural key is there: `DuplicateRecord` as the cause of the refusal,
            nothing, or what `upsert` does.
        values : mapping, optional
            Fields that all rows have, in place of what the file says, such as ``{"project_id": ...}``.
        batch : int
            The most rows that are stored at once.
        by_batch : bool
            Commit each batch by itself (in a unit, its COMMIT decides). The refusal's `stored` says how many
            rows are stored then.
        after_row : int
            So many rows of the file are passed over: those that an earlier run with `by_batch` had stored.
        on_progress : callable, optional
            Called with the number of rows done.

        Raises
        ------
        RowFileRefused
            A row is refused, by its model or by the database, or the file is damaged; names line and field.
        """
        from database_handler.repositories.rows import RowImport

        run = RowImport(
            self.record,
            self._session,
            self._took,
            ids=ids,
            existing=existing,
            values=values,
            batch=batch,
            by_batch=by_batch,
        )
        return run.of(source, file_format, after_row, on_progress)

    def _took(
        self, session: Session, existing: "Existing", drafts: Sequence[D], ids: Sequence[UUID | None]
    ) -> tuple[int, int, int, int]:
        """Store rows of a file; give how many were inserted, updated, found as they are, and skipped."""
        own = type(self)(session, self._project_id, self._resources)
        checked = [own._draft(draft, place) for place, draft in enumerate(drafts)]
        if existing == "update":
            done = [each.outcome for each in own._brought_up_under(checked, ids)]
            return done.count(Outcome.INSERTED), done.count(Outcome.UPDATED), done.count(Outcome.UNCHANGED), 0
        if existing == "skip":
            inserted = own._created_missing(checked, ids)
            return inserted, 0, 0, len(checked) - inserted
        own._created(checked, ids)
        return len(checked), 0, 0, 0

    def _created_missing(self, drafts: Sequence[D], ids: Sequence[UUID | None]) -> int:
        rows = self._rows(drafts, ids)
        statement = statements.create_missing(self.table)
        statement = statements.telling(self._session, self.table, statement, rows)
        sent = statements.as_arrays(self.table, rows)
        answer = self._metadata.sent(
            lambda: self._projects(drafts),
            lambda: self._session.all(statement, [*self._metadata.marks(drafts), *sent]),
            lambda rows: rows[0][0],
        )
        return sum(row[1] is not None for row in answer)

    def _brought_up_under(
        self, drafts: Sequence[D], ids: Sequence[UUID | None]
    ) -> builtins.list[Upserted[R]]:
        """Upsert under the ids given: a row that is there keeps its own, and is met by its natural key."""
        given = [id for id in ids if id is not None]
        there: set[UUID] = set()
        if given:
            rows = self._session.all(statements.there(self.table, self._scoped), [given, *self._scope])
            there = {id for (id,) in rows}
        done = self._brought_up(drafts, [None if id in there else id for id in ids])
        for place, (each, id) in enumerate(zip(done, ids, strict=True)):
            if each.outcome is Outcome.INSERTED and id in there:
                raise DuplicateRecord(
                    f"position {place}: a row of this id is there under another key", table=self.table.name
                )
        return done

    # --------------------------------------------------------------------------------------------- delete

    def delete(self, id: UUID | str, expected_version: int | None = None) -> object:
        """Take one record away, and all that stands below it; a project's says how much that was.

        Raises
        ------
        RecordNotFound, StaleRecord
            As for `update`.
        StillReferenced
            A record that would not go with it refers to it.
        """
        asked = as_uuid(id)
        here = self._beside([asked], "delete")
        rows = self._session.all(
            statements.delete(self.table, here._scoped),
            [asked, *here._scope, as_version(expected_version), *here._scope],
        )
        self._refuse_ambiguous(len(rows))
        if not rows:
            raise self._not_found(id)
        if not rows[0][0]:
            raise self._stale([self._fill(rows[0][1:])], [])
        return None

    def delete_many(
        self, ids: Iterable[UUID | str], *, on_progress: Callable[[int], object] | None = None
    ) -> int:
        """Take records away, all or none, and return how many there were.

        Each 10,000 of them are one statement.

        Parameters
        ----------
        on_progress : callable, optional
            Called with the number of ids done.
        """
        tell = bulk.progress(on_progress, "delete_many")
        asked = [as_uuid(id) for id in each_of(ids, "delete_many")]
        here = self._beside(asked, "delete_many")
        statement, all_gone = statements.delete_many(self.table, here._scoped), 0
        with here._in_parts(len(asked)) as held:
            for part in bulk.parts(len(asked)):
                some = asked[part.start : part.stop]
                gone, ambiguous, *_ = held._session.one(statement, [some, *held._scope, *held._scope])
                self._refuse_ambiguous(1 + ambiguous)
                all_gone += gone
                tell(part.stop)
        return all_gone

    # --------------------------------------------------------------------------------------------- common

    def _beside(self, ids: Sequence[UUID], call: str) -> Self:
        """Return the repository held to the project of some rows, where only that lets them be locked.

        On a cluster the project is looked for first, unless the unit says it: one round trip more.
        """
        if self._scoped or not ids or not self._session.distributed:
            return self
        projects: Sequence[UUID] = ids
        if self.table.scope_column != "id":
            rows = self._session.all(statements.projects_of(self.table), [[*ids]])
            self._refuse_ambiguous(1 + len(rows) - len({id for id, _ in rows}))
            projects = [project for _, project in rows]
        if len(set(projects)) > 1:
            raise InvalidValue(
                f"{self.table.name}.{call}: the rows are of {len(set(projects))} projects, and on a cluster "
                "those of one project can be locked at once: call it for each, in a unit"
            )
        return type(self)(self._session, projects[0] if projects else _NOBODYS, self._resources)

    def _one_draft(self, args: tuple[Any, ...], fields: dict[str, Any]) -> D:
        if len(args) == 0:
            return self._draft(self.draft(**fields), None)
        if len(args) > 1 or fields:
            raise InvalidValue(f"create takes one {self.draft.__name__}, or its fields as keywords")
        return self._draft(args[0], None)

    def _drafts(self, drafts: Iterable[object], call: str) -> builtins.list[D]:
        given = each_of(drafts, call)
        with collector_waiting(known_length(given)):
            return [self._draft(draft, place) for place, draft in enumerate(given)]

    def _draft(self, draft: object, place: int | None) -> D:
        # Pydantic's `isinstance` is Python, and asks for more than the type that nearly all are of.
        if type(draft) is not self.draft and (not isinstance(draft, self.draft) or isinstance(draft, Record)):
            kind = type(draft).__name__
            raise InvalidValue(f"{_at(place)}a {self.draft.__name__} is stored here, not a {kind}")
        if self._project_id is not None and getattr(draft, TENANT, None) != self._project_id:
            raise InvalidValue(
                f"{_at(place)}this unit is held to one project, and the draft is of another, or of none"
            )
        return draft

    def _refuse_duplicates(self, drafts: Sequence[D]) -> None:
        key = self._key
        _refuse_repeated(
            [key(draft) for draft in drafts], self.table.name, f"key ({', '.join(self.table.key)})"
        )

    def _rows(self, drafts: Sequence[D], ids: Iterable[UUID | None]) -> builtins.list[tuple[Any, ...]]:
        """Return what is written of drafts; one whose id is None gets a new one."""
        take = self._drafted
        return [
            (new_id() if id is None else as_uuid(id), *take(draft.__dict__))
            for draft, id in zip(drafts, ids, strict=True)
        ]

    @staticmethod
    def _sent(value: Any) -> Any:
        if isinstance(value, tuple):
            return list(value)
        return memoryview(value) if isinstance(value, bytes) else value

    @staticmethod
    def _new_id(id: object) -> UUID:
        return new_id() if id is None else as_uuid(id)

    def _not_found(self, id: object) -> RecordNotFound:
        return RecordNotFound(f"{self.table.name}: no record has the id {id}", table=self.table.name)

    def _stale(self, current: Sequence[R], places: Sequence[int]) -> StaleRecord:
        which = f" (positions {list(places)})" if places else ""
        versions = ", ".join(f"{record.id} is at version {record.version}" for record in current)
        return StaleRecord(
            f"{self.table.name}: changed by somebody else since it was read{which}: {versions}; nothing was "
            "written. Read it again, or decide with error.current",
            current=current,
            table=self.table.name,
        )

    def _refuse_ambiguous(self, rows: int) -> None:
        if rows > 1:
            raise AmbiguousRecord(
                f"{self.table.name}: two projects hold a row of this id; open the unit with project_id=",
                table=self.table.name,
            )


def _outcome(written: bool, new: bool) -> Outcome:
    return (Outcome.INSERTED if new else Outcome.UPDATED) if written else Outcome.UNCHANGED


def _change_row(
    place: int, change: Change, valid: Mapping[str, Any], names: Sequence[str], partial: Sequence[str]
) -> tuple[Any, ...]:
    """Return the values of `statements.change_columns`."""
    flags = [name in valid for name in partial] if partial else ()
    return (place, change.id, as_version(change.expected_version), *map(valid.get, names), *flags)


def each_of(values: Iterable[T], call: str) -> Iterable[T]:
    if isinstance(values, Iterable):
        return values
    raise InvalidValue(f"{call} takes a list, or any other iterable, not a {type(values).__name__}")


def _at(place: int | None) -> str:
    return "" if place is None else f"position {place}: "


def known_length(values: Iterable[object]) -> int:
    """Return how many they are, and 0 where to find out is to run the caller's code."""
    return len(values) if type(values) in {list, tuple} else 0  # type: ignore[arg-type]  # it has one


def _refuse_repeated(keys: Sequence[Any], call: str, what: str) -> None:
    first: dict[Any, int] = {}
    for place, key in enumerate(keys):
        if first.setdefault(key, place) != place:
            raise InvalidValue(f"{call}: positions {first[key]} and {place} have the same {what}")


def as_uuid(value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        if isinstance(value, str):
            return UUID(value)
    except ValueError:
        pass
    raise InvalidValue("id: a UUID, or its text, is wanted")


def as_version(value: object) -> int | None:
    if value is None or (type(value) is int and 1 <= value < 2**63):
        return value
    raise InvalidValue("expected_version: a whole number from 1 on is wanted, or None")


def _limit(value: object) -> int | None:
    if value is None or (type(value) is int and 0 <= value < 2**63):
        return value
    raise InvalidValue("limit: a whole number from 0 on is wanted, or None")


def _size(value: object) -> int:
    if type(value) is int and 1 <= value <= 10_000:
        return value
    raise InvalidValue("limit: a page has 1 to 10,000 items")


def _total(value: object) -> int | None:
    """Return the cap of the count: none wanted is None, all is -1."""
    if value is None:
        return None
    if value == "exact":
        return -1
    if type(value) is int and 0 <= value < 2**62:
        return value
    raise InvalidValue('total: "exact", a whole number to stop at, or None')
