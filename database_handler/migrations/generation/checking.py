"""`check` compares models with versions; `verify` tries every version, there and back, with rows."""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel

from database_handler.config.database import DatabaseConfig
from database_handler.core.session import Session
from database_handler.core.sql_text import first_words
from database_handler.migrations.errors import MigrationFailed
from database_handler.migrations.files.chain import Chain
from database_handler.migrations.files.migration_values import Direction, Migration
from database_handler.migrations.generation.decisions import broken, refuse_without_models
from database_handler.migrations.generation.wanted import difference, versions_and_models
from database_handler.migrations.schema.introspection import introspect
from database_handler.migrations.schema.schema_diff import diff
from database_handler.migrations.schema.snapshot import Column, Index, Kind, ObjectId, SchemaSnapshot
from database_handler.migrations.scratch.building import build, confirm, unbuild
from database_handler.migrations.scratch.ladder import Ladder, climb
from database_handler.migrations.scratch.place import UNSAFE_USE, guard
from database_handler.migrations.scratch.seeding import seed
from database_handler.migrations.scratch.surviving import Rows, lost_values, read_rows
from database_handler.migrations.verdicts import Judged

__all__ = ["Checked", "Verified", "VerifiedVersion", "check", "verify", "writes_rows"]


class Checked(Judged, frozen=True):
    """What the models ask for and no version does.

    Attributes
    ----------
    statements : tuple of str
        What is pending; none where models and versions agree.
    loses : tuple of str
        What of that would lose values, in words.
    broken : tuple of str
        Why the statements cannot run as they stand, and what to write before: one for each thing in the way.
    unmodelled : tuple of str
        Objects that were not compared.
    """

    verdicts: ClassVar = ("agrees",)

    statements: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    unmodelled: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether nothing is pending."""
        return not self.statements


def check(config: DatabaseConfig, chain: Chain) -> Checked:
    """Compare what the chain's own models ask for with what its versions make, on scratch copies.

    Raises
    ------
    InvalidValue
        There are no models.
    """
    refuse_without_models(chain)
    chain = chain.again()
    with versions_and_models(config, chain) as (session, head, overlay):
        found = difference(session, head, overlay)
        guard(session, config)
    return Checked(
        statements=found.statements,
        loses=tuple(statement.loses for statement in found.plan if statement.loses),
        broken=tuple(broken(found.old, found.new, overlay)),
        unmodelled=tuple(f"{kind} {name}" for kind, name in head.unmodelled),
    )


# --------------------------------------------------------------------------------------------------- verify


class VerifiedVersion(BaseModel, frozen=True):
    """What one version did on a scratch copy.

    Attributes
    ----------
    reversible : bool
        Whether it has a way back; that it restores what was before is proven then, unless there are problems.
    kept : tuple of str
        The tables of which rows were there before, after it, and after its way back.
    changed : tuple of str
        What it did to those rows, where it has statements for rows.
    unproven : mapping of str to str
        Tables that it touches and whose rows nothing is said of, and why.
    problems : tuple of str
        What is wrong.
    """

    name: str
    reversible: bool
    kept: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unproven: dict[str, str] = {}
    problems: tuple[str, ...] = ()
    seconds: float = 0.0


class Verified(Judged, frozen=True):
    """What became of the whole chain, from empty.

    Attributes
    ----------
    models : Checked, optional
        Whether the end is what the models ask for; None where the chain did not come to its end, or where
        there are no models.
    """

    verdicts: ClassVar = ("holds",)

    versions: tuple[VerifiedVersion, ...] = ()
    models: Checked | None = None
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether every version does and undoes what it says, and the end is what the models ask for."""
        return not any(version.problems for version in self.versions) and (
            self.models is None or self.models.agrees
        )


def verify(config: DatabaseConfig, chain: Chain) -> Verified:
    """Take a scratch copy through every version of the chain's own folder, up and down, with rows in it."""
    started = time.monotonic()
    chain = chain.again()
    versions = climb(config, chain.all, lambda ladder: tuple(_verified(ladder, chain)))
    ended = len(versions) == len(chain.migrations) and not any(version.problems for version in versions)
    models = check(config, chain) if ended and chain.own.models else None
    return Verified(versions=versions, models=models, seconds=round(time.monotonic() - started, 3))


def _verified(ladder: Ladder, chain: Chain) -> Iterator[VerifiedVersion]:
    ladder.advance(chain.before)
    with ladder.trial() as session:
        before = introspect(session)
    for migration in chain.migrations:
        started = time.monotonic()
        found, after = _tried(ladder, migration, before)
        yield found.model_copy(update={"seconds": round(time.monotonic() - started, 3)})
        if after is None:
            return
        before = after


def _tried(
    ladder: Ladder, migration: Migration, before: SchemaSnapshot
) -> tuple[VerifiedVersion, SchemaSnapshot | None]:
    """Try one version; where it cannot be gone on from, there is no schema after it."""
    try:
        return _step(ladder, migration, before)
    except MigrationFailed as failure:
        if failure.sqlstate == UNSAFE_USE and not ladder.in_sections:
            raise  # it is tried again where sections are transactions
        return _result(migration, problems=(str(failure),)), None


def _step(
    ladder: Ladder, migration: Migration, before: SchemaSnapshot
) -> tuple[VerifiedVersion, SchemaSnapshot]:
    """Try one version and go on to it; return what was found, and the schema after it."""
    try:
        with ladder.trial() as session:
            build(session, [migration])
            after = introspect(session)
    except MigrationFailed as failure:
        if failure.sqlstate != UNSAFE_USE or not ladder.in_sections:
            raise
        return _in_sections(ladder, migration, before)
    found = _Version(ladder, migration, before, after).verified()
    ladder.advance([migration])
    return found, after


def _in_sections(
    ladder: Ladder, migration: Migration, before: SchemaSnapshot
) -> tuple[VerifiedVersion, SchemaSnapshot]:
    """Go on to a version that no one transaction takes, and try its way back from there."""
    ladder.advance([migration])
    with ladder.trial() as session:
        after = introspect(session)
    return _Version(ladder, migration, before, after).undone(), after


def _result(migration: Migration, **found: Any) -> VerifiedVersion:
    return VerifiedVersion(name=migration.name, reversible=migration.reversible, **found)


@dataclass(frozen=True)
class _Version:
    """One version, with the schema before and after it."""

    ladder: Ladder
    migration: Migration
    before: SchemaSnapshot
    after: SchemaSnapshot

    def verified(self) -> VerifiedVersion:
        """Try it with rows; without, where a valid row makes it fail."""
        try:
            with self.ladder.trial() as session:
                return self._round(session, self._touched())
        except MigrationFailed as failure:
            if not (failure.sqlstate or "").startswith(("22", "23")):
                return _result(self.migration, problems=(str(failure),))
            told = f"a valid row can fail: {str(failure).splitlines()[0]}"
        try:
            with self.ladder.trial() as session:
                found = self._round(session, frozenset())
        except MigrationFailed as failure:
            return _result(self.migration, problems=(str(failure),))
        return found.model_copy(update={"unproven": dict.fromkeys(sorted(self._touched()), told)})

    def undone(self) -> VerifiedVersion:
        """Try its way back alone, without rows, from a copy that it was applied to for good."""
        problems: tuple[str, ...] = ()
        try:
            with self.ladder.trial() as session:
                if self.migration.reversible:
                    unbuild(session, self.migration)
                    problems = (*self._residue(introspect(session)),)
        except MigrationFailed as failure:
            problems = (str(failure),)
        told = "a label that it adds is used in a later section of it, which was tried without rows"
        return _result(
            self.migration, problems=problems, unproven=dict.fromkeys(sorted(self._touched()), told)
        )

    def _round(self, session: Session, tables: frozenset[str]) -> VerifiedVersion:
        seeded = seed(session, self.before, tables, also=self.after)
        rows = read_rows(session, self.before, seeded.rows)
        build(session, [self.migration])
        wrong = list(self._differences(session, rows, self.after))
        problems = [*self._unconfirmed(session)]
        if self.migration.reversible:
            unbuild(session, self.migration)
            residue = [*self._residue(introspect(session))]
            problems += residue
            wrong += [] if residue else self._differences(session, rows, self.before)
        writes = writes_rows(self.migration)
        return _result(
            self.migration,
            kept=tuple(sorted(table for table in rows if not wrong)),
            changed=tuple(dict.fromkeys(wrong)) if writes else (),
            unproven=dict(seeded.refused),
            problems=(*problems, *(() if writes else dict.fromkeys(wrong))),
        )

    def _unconfirmed(self, session: Session) -> Iterator[str]:
        """Say that its verify section fails, whatever rows hold: a name in it is wrong, or its grammar."""
        try:
            with session.undoable() as inside:
                confirm(inside, self.migration)
        except MigrationFailed as failure:
            if (failure.sqlstate or "").startswith("42"):
                yield f"its verify section fails: {failure}"

    def _differences(self, session: Session, rows: Mapping[str, Rows], now: SchemaSnapshot) -> Iterator[str]:
        there = read_rows(session, now, [table for table in rows if _table(table) in self.after.objects])
        gone = {key for key in self.before.objects if key not in self.after.objects}
        return lost_values(rows, there, changed=self._retyped(), gone=gone)

    def _retyped(self) -> Iterator[ObjectId]:
        for thing in self.before:
            now = self.after.objects.get(thing.id)
            if isinstance(thing, Column) and isinstance(now, Column) and _is_rewritten(thing, now):
                yield thing.id

    def _residue(self, restored: SchemaSnapshot) -> Iterator[str]:
        """Say what the way back leaves otherwise than it was; extensions may stay."""
        left = [each for each in diff(restored, self.before) if each.object.kind is not Kind.EXTENSION]
        if left:
            statements = "".join(f"\n    {statement.sql};" for statement in left[:20])
            yield f"its way back does not restore what was before it; still missing:{statements}"

    def _touched(self) -> frozenset[str]:
        """Return the tables from before that it changes, and those whose rows it may change."""
        changed = {
            key
            for key in self.before.objects.keys() | self.after.objects.keys()
            if self.before.objects.get(key) != self.after.objects.get(key)
        }
        names = {key.name for key in changed} | {self._table_of(key) for key in changed}
        if writes_rows(self.migration):
            names |= set(re.findall(r"\w+", self.migration.text))
        return frozenset(name for name in names if _table(name) in self.before.objects)

    def _table_of(self, key: ObjectId) -> str:
        thing = self.before.objects.get(key) or self.after.objects.get(key)
        return thing.table if isinstance(thing, Index) else ""


def _is_rewritten(old: Column, new: Column) -> bool:
    return (old.type, old.not_null) != (new.type, new.not_null)


def _table(name: str) -> ObjectId:
    return ObjectId(Kind.TABLE, name)


_ROW_WORDS = frozenset(
    {"INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "WITH", "DO", "COPY", "SELECT", "CALL"}
)


def writes_rows(migration: Migration) -> bool:
    """Whether it has a statement that may change rows by itself: then that they are others is no defect."""
    parts = [part for direction in Direction for part in migration.parts(direction)]
    return migration.is_python or any(
        not _ROW_WORDS.isdisjoint(first_words(statement.text))
        for part in parts
        for statement in part.statements
    )
