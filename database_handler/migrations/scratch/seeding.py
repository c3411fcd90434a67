"""Puts rows into the tables of a scratch copy, valid by every rule that the catalogue knows.

Whether a value passes a CHECK is asked of the server, for it alone can tell; a table for which no row can be
made is named with the reason, and what was to be proven with its rows is not claimed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product

from database_handler.core.exceptions import DatabaseError
from database_handler.core.session import Session, Statement
from database_handler.core.sql_text import TokenKind, tokens
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    ConstraintType,
    Kind,
    ObjectId,
    SchemaSnapshot,
    Table,
)
from database_handler.migrations.scratch.seed_values import candidates
from database_handler.migrations.scratch.table_rules import TableRules

__all__ = ["Seeded", "in_order", "passing", "seed"]

_ROWS = 3
_TRIES = 12  # rows that are offered to the server for each that is wanted
_JOINED = 400  # combinations of values that are tried where one check stands over several columns
_Row = dict[str, str | None]
_Values = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Seeded:
    """What was put where: rows by table, and why there are none in the others."""

    rows: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


def seed(
    session: Session, snapshot: SchemaSnapshot, wanted: Iterable[str], also: SchemaSnapshot | None = None
) -> Seeded:
    """Put up to three rows into each table of `wanted`, and into those that they refer to.

    The first row has a value everywhere, a later one NULL wherever it may be.

    Parameters
    ----------
    also : SchemaSnapshot, optional
        A later schema, whose checks and keys the rows keep to as well where it has the columns.
    """
    seeding = _Seeding(session, snapshot, also)
    order = in_order(seeding.rules, wanted)
    for _ in range(2):  # tables that refer to each other in a circle have rows to refer to the second time
        for table in order:
            if not seeding.rows.get(table):
                seeding.fill(table)
    session.run(Statement("SET CONSTRAINTS ALL IMMEDIATE", "seed.constraints"))
    counts = {table: len(rows) for table, rows in seeding.rows.items() if rows}
    return Seeded(counts, {table: why for table, why in seeding.refused.items() if table not in counts})


def passing(session: Session, snapshot: SchemaSnapshot, column: Column) -> list[str]:
    """Return texts that the column's own checks let pass; none where none is known."""
    try:
        [choice] = _Seeding(session, snapshot, None).choices(column.id.name, [column])
    except _Refused:
        return []
    return [text for (text,) in choice.values if text is not None]


def in_order(rules: Sequence[TableRules], wanted: Iterable[str]) -> list[str]:
    """Return tables after those that they refer to; a circle is entered somewhere."""
    found: list[str] = []
    waiting: set[str] = set()

    def visit(table: str) -> None:
        if table in found or table in waiting or not rules[0].has(table):
            return
        waiting.add(table)
        for each in rules:
            for reference in each.constraints(table, ConstraintType.FOREIGN_KEY):
                visit(reference.references or "")
        found.append(table)

    for table in sorted(wanted):
        visit(table)
    return found


class _Refused(Exception):
    """No row can be made, for this reason."""


class _Seeding:
    """The rows made so far, by table, as texts."""

    def __init__(self, session: Session, snapshot: SchemaSnapshot, also: SchemaSnapshot | None) -> None:
        self._session = session
        self.rules = [TableRules(each) for each in (snapshot, also) if each is not None]
        self._now = self.rules[0]
        self.rows: dict[str, list[_Row]] = {}
        self.refused: dict[str, str] = {}

    def fill(self, table: str) -> None:
        made = self.rows.setdefault(table, [])
        thing = self._now.snapshot.objects[ObjectId(Kind.TABLE, table)]
        if isinstance(thing, Table) and thing.partition_bound is not None:
            return  # its rows come through the table above it
        try:
            for row in self._offers(table):
                if not self._repeats(table, row) and (stored := self._insert(table, row)) is not None:
                    made.append(stored)
                if len(made) == _ROWS:
                    return
            if not made:
                self.refused[table] = self.refused.get(table, "no combination of values was accepted")
        except _Refused as reason:
            self.refused[table] = str(reason)

    # ------------------------------------------------------------------------------------------- one table

    def _offers(self, table: str) -> Iterator[_Row]:
        """Give rows to try: full ones and sparse ones in turn, with this and that reference left out."""
        columns = [column for column in self._now.columns(table) if _is_written(column)]
        choices = list(self.choices(table, columns))
        absences = self._absences(table)
        for number in range(_TRIES * len(absences)):
            row: _Row = {}
            for choice in choices:
                row |= choice.of(number)
            yield row | self._references(table, number, row, absences[number // _ROWS % len(absences)])

    def _absences(self, table: str) -> list[frozenset[str]]:
        """Return sets of columns of references to leave NULL: none at first, then each, then all."""
        free = [
            frozenset(name for name in reference.columns if not self._not_null(table, name))
            for reference in self._now.constraints(table, ConstraintType.FOREIGN_KEY)
        ]
        nullable = [names for names in dict.fromkeys(free) if names][:6]
        return list(dict.fromkeys([frozenset(), *nullable, frozenset().union(*nullable)]))

    def choices(self, table: str, columns: Sequence[Column]) -> Iterator["_Choice"]:
        """Give the values that pass the checks; columns under one check are chosen together."""
        for group, checks in self._groups(table, columns):
            options = [self._options(column, checks) for column in group]
            yield _Choice([column.id.part for column in group], self._passing(group, options, checks))

    def _options(self, column: Column, checks: Sequence[str]) -> list[str | None]:
        texts = candidates(column.type, checks, self._now.snapshot)
        castable = [text for text in texts[:40] if self._casts(text, column)]
        if not castable and column.not_null:
            raise _Refused(f"no value is known for column {column.id.part} of type {column.type}")
        return [*castable[:20], *([] if column.not_null else [None])]

    def _casts(self, text: str, column: Column) -> bool:
        """Whether a text is a value of the column's type, and of its type in the later schema."""
        table, name = column.id.name, column.id.part
        types = {there.type for rules in self.rules if (there := rules.column(table, name))}
        if len(types) == 1 and column.type in _SAFE:
            return True
        kinds = [column.type, *sorted(types - {column.type})]
        casts = ", ".join(f"%s::{kind.replace('%', '%%')}" for kind in kinds)
        return self._accepts(f"SELECT {casts}", [text] * len(types))

    def _accepts(self, text: str, values: Sequence[object]) -> bool:
        try:
            with self._session.undoable() as session:
                session.all(Statement(text, "seed.try"), list(values))
        except DatabaseError:
            return False
        return True

    def _groups(self, table: str, columns: Sequence[Column]) -> Iterator[tuple[list[Column], list[str]]]:
        """Give columns that some check joins, with the checks over them; most columns stand alone."""
        names = {column.id.part for column in columns}
        checks = {
            (tuple(name for name in check.columns if name in names), _expression(check.definition))
            for rules in self.rules
            for check in rules.constraints(table, ConstraintType.CHECK)
            if names >= set(check.columns)
        }
        waiting = [{column.id.part} for column in columns]
        for joined, _ in sorted(checks):
            touched = [group for group in waiting if group & set(joined)]
            waiting = [group for group in waiting if group not in touched]
            if touched:
                waiting.append(set().union(*touched))
        for group in waiting:
            yield (
                [column for column in columns if column.id.part in group],
                sorted(expression for joined, expression in checks if set(joined) <= group and joined),
            )

    def _passing(
        self, group: Sequence[Column], options: Sequence[Sequence[str | None]], checks: Sequence[str]
    ) -> list[_Values]:
        if not checks:
            return [(value,) for value in options[0]]
        offered = list(_combinations(options))
        text = _offering(group, checks)
        try:
            passed = self._which_pass(text, offered)
        except DatabaseError:  # a check that fails for some value hides what it says of the others
            passed = [values for values in offered if self._passes(text, values)]
        if not passed:
            raise _Refused(f"no value is known that passes {checks[0][:80]}")
        return passed

    def _which_pass(self, text: str, offered: Sequence[_Values]) -> list[_Values]:
        columns = [list(each) for each in zip(*offered, strict=True)]
        with self._session.undoable() as session:
            return [offered[place - 1] for (place,) in session.all(Statement(text, "seed.check"), columns)]

    def _passes(self, text: str, values: _Values) -> bool:
        try:
            return bool(self._which_pass(text, [values]))
        except DatabaseError:
            return False

    def _repeats(self, table: str, row: _Row) -> bool:
        """Whether a row of these values is there by some key, now or later; NULLs count as equal."""
        there = self.rows[table]
        return any(
            all(other.get(name) == row[name] for name in key)
            for rules in self.rules
            for key in rules.keys(table)
            if row.keys() >= set(key)
            for other in there
        )

    # ------------------------------------------------------------------------------------------ references

    def _references(self, table: str, number: int, row: _Row, absent: frozenset[str]) -> _Row:
        """Return the columns that refer to other rows, the widest key first: others must agree with it."""
        found: _Row = {}
        keys = [
            (reference, _referenced(reference.definition))
            for rules in self.rules
            for reference in rules.constraints(table, ConstraintType.FOREIGN_KEY)
            if all(self._now.column(table, name) for name in reference.columns)
        ]
        for reference, target in sorted(keys, key=lambda key: -len(key[0].columns)):
            if nothing := absent & set(reference.columns):
                found |= dict.fromkeys(nothing)
                continue
            pairs = list(zip(reference.columns, target, strict=False))
            there = self._fitting(reference, pairs, found)
            if not there and reference.references == table and all(part in row for _, part in pairs):
                there = [row]  # to itself
            if there:
                chosen = there[number % len(there)]
                found |= {name: chosen[part] for name, part in pairs}
            else:
                found |= dict.fromkeys(self._free(reference, found))
        return found

    def _fitting(self, reference: Constraint, pairs: list[tuple[str, str]], found: _Row) -> list[_Row]:
        return [
            there
            for there in self.rows.get(reference.references or "", [])
            if all(found.get(name, there.get(part)) == there.get(part) for name, part in pairs)
        ]

    def _free(self, reference: Constraint, found: _Row) -> list[str]:
        """Return the columns that may be NULL, so that the reference is to nothing."""
        table = reference.id.name
        free = [name for name in reference.columns if name not in found and not self._not_null(table, name)]
        if not free:
            raise _Refused(f"{reference.references} has no row for it to refer to")
        return free

    def _not_null(self, table: str, name: str) -> bool:
        column = self._now.column(table, name)
        return column is not None and column.not_null

    # --------------------------------------------------------------------------------------------- writing

    def _insert(self, table: str, row: _Row) -> _Row | None:
        names = list(row)
        every = [column.id.part for column in self._now.columns(table)]
        text = _insertion(table, {name: self._type(table, name) for name in names}, every)
        try:
            with self._session.undoable() as session:
                stored = session.one(
                    Statement(text, "seed.insert", writes=True), [row[name] for name in names]
                )
        except DatabaseError as error:
            self.refused[table] = f"the server refuses every row that was offered [{error.sqlstate}]"
            return None
        return dict(zip(every, stored, strict=False))

    def _type(self, table: str, name: str) -> str:
        column = self._now.column(table, name)
        return column.type if column else "text"


class _Choice:
    """Some columns and the values that they may take together: in turn many of them, and few."""

    def __init__(self, names: Sequence[str], values: Sequence[_Values]) -> None:
        self._names = names
        self.values = values
        fewest = min(row.count(None) for row in values)
        most = max(row.count(None) for row in values)
        self._full = [row for row in values if row.count(None) == fewest]
        self._sparse = [row for row in values if row.count(None) == most]

    def of(self, number: int) -> _Row:
        """Return the values for an attempt: every third one is full."""
        rows = self._sparse if number % _ROWS else self._full
        return dict(zip(self._names, rows[number % len(rows)], strict=True))


_SAFE = frozenset({
    "text", "integer", "bigint", "smallint", "boolean", "uuid", "timestamp with time zone", "date", "jsonb",
    "double precision", "real", "bytea", "text[]",
})  # fmt: skip


def _offering(group: Sequence[Column], checks: Sequence[str]) -> str:
    """Return a query that gives the places of those offered values that pass the checks."""
    rule = " AND ".join(f"(({check}) IS NOT FALSE)" for check in checks)
    made = ", ".join(
        f"offered.v{place}::{column.type} AS {column.id.part}" for place, column in enumerate(group)
    )
    names = ", ".join(f"v{place}" for place in range(len(group)))
    text = (
        f'SELECT "?place" FROM (SELECT offered.place AS "?place", {made} FROM unnest(?arrays)'
        f' WITH ORDINALITY AS offered({names}, place)) AS made WHERE {rule} ORDER BY "?place"'
    )
    return text.replace("%", "%%").replace("?arrays", ", ".join(["%s::text[]"] * len(group)), 1)


def _is_written(column: Column) -> bool:
    """Whether a value must be thought of: not where the server has one by itself."""
    return column.generated is None and column.identity is None and column.default is None


def _insertion(table: str, types: Mapping[str, str], every: Sequence[str]) -> str:
    told = ", ".join(f"{name}::text" for name in every) or "NULL"
    values = ", ".join(f"?::{kind}" for kind in types.values())
    given = f"({', '.join(types)}) VALUES ({values})" if types else "DEFAULT VALUES"
    return f"INSERT INTO {table} {given} RETURNING {told}".replace("%", "%%").replace("?::", "%s::")


def _combinations(options: Sequence[Sequence[str | None]]) -> Iterator[_Values]:
    """Give combinations, at most so many: of each column as many values as that allows."""
    each = max(2, int(_JOINED ** (1 / max(1, len(options)))))
    return islice(product(*(_few(values, each) for values in options)), 5 * _JOINED)


def _few(values: Sequence[str | None], number: int) -> list[str | None]:
    few = list(values[:number])
    if None in values and None not in few:
        few[-1] = None
    return few


def _expression(definition: str) -> str:
    """Return what stands in the parentheses of ``CHECK (...)``."""
    return definition.removeprefix("CHECK ").removesuffix(" NO INHERIT")


def _referenced(definition: str) -> tuple[str, ...]:
    """Return the columns that a foreign key refers to, out of ``FOREIGN KEY (a) REFERENCES t(b) ...``."""
    found = [token for token in tokens(definition) if token.kind is not TokenKind.WHITESPACE]
    words = [token.text.upper() for token in found]
    start = words.index("(", words.index("REFERENCES")) + 1
    end = words.index(")", start)
    return tuple(token.text for token in found[start:end] if token.text != ",")
