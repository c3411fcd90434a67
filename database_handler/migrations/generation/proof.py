"""A change proven on a scratch copy before it is written down: up, down, and the rows that were there.

The rows are valid before and after by every rule of the two schemas. Where there is none such, or where a
valid row makes a statement fail, the proof says so and claims nothing about data.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pydantic import BaseModel

from database_handler.core.quoting import unquoted
from database_handler.core.session import Session
from database_handler.migrations.errors import BackfillNeeded, ProofFailed
from database_handler.migrations.generation.decisions import called
from database_handler.migrations.generation.model_schema import Overlay
from database_handler.migrations.generation.trial import TrialFailed, run_sections
from database_handler.migrations.generation.wanted import Change, Difference, extensions_of, renamed
from database_handler.migrations.safety.safe_way import safe_sections
from database_handler.migrations.schema.schema_diff import diff
from database_handler.migrations.schema.schema_diff.statement import SchemaStatement
from database_handler.migrations.schema.snapshot import Column, Extension, Kind, ObjectId, SchemaSnapshot
from database_handler.migrations.scratch.building import look
from database_handler.migrations.scratch.place import undone
from database_handler.migrations.scratch.placeholders import placeholders
from database_handler.migrations.scratch.seeding import seed
from database_handler.migrations.scratch.surviving import Rows, lost_values, read_rows

__all__ = ["Proof", "Proven", "prove"]


class Proof(BaseModel, frozen=True):
    """What was proven of a version.

    Attributes
    ----------
    irreversible : str, optional
        Why there is no way back, where there is none.
    kept : tuple of str
        The tables whose rows were there before, after, and after the way back.
    unproven : mapping of str to str
        Tables whose rows nothing is claimed of, and why.
    unfit : str, optional
        The statement that fails for some row which was valid before; `preflight` counts such rows.
    lost : tuple of str
        The tables whose rows, and the columns whose values go on purpose: no way back knows them.
    """

    irreversible: str | None = None
    kept: tuple[str, ...] = ()
    unproven: dict[str, str] = {}
    unfit: str | None = None
    lost: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The proof as the header tells it."""
        told = ["up ok", *([] if self.irreversible else ["down ok"])]
        if self.kept:
            where = f" in {', '.join(self.kept)}" if self.unproven else ""
            told.append(f"data kept{where}{f' but for {self._all_lost}' if self.lost else ''}")
        return ", ".join(told)

    @property
    def way_back(self) -> str:
        """Whether there is a way back, as the header tells it: one that brings no values back says so."""
        if self.irreversible:
            return f"no ({self.irreversible})"
        return f"yes, without the values of {self._all_lost}" if self.lost else "yes"

    @property
    def _all_lost(self) -> str:
        return ", ".join(self.lost)


@dataclass(frozen=True)
class Proven:
    """A change both ways; `down` is None where there is no way back."""

    up: Change
    down: Change | None
    made: SchemaSnapshot
    proof: Proof


def prove(session: Session, head: SchemaSnapshot, change: Change, overlay: Overlay) -> Proven:
    """Run a change up and down in `session`, which stands where its renames are done already.

    Raises
    ------
    ProofFailed
        Saying what differs, or which rows did not survive.
    """
    unfit = _unfit(session, head, change, overlay)
    try:
        with session.undoable() as inside:
            proven = _Proving(inside, head, change, overlay).run(with_rows=True)
        return replace(proven, proof=proven.proof.model_copy(update={"unfit": unfit}))
    except TrialFailed as failure:
        if not failure.by_data:
            raise _unrun("up", failure) from None
        told = f"a valid row can fail at: {failure.short}"
    try:
        with session.undoable() as inside:
            proven = _Proving(inside, head, change, overlay).run(with_rows=False)
    except TrialFailed as failure:
        raise _unrun("up", failure) from None
    tables = sorted(unquoted(change.difference.table_before(table)) for table in change.difference.tables())
    unproven = dict.fromkeys(tables, told)
    return replace(proven, proof=proven.proof.model_copy(update={"unproven": unproven}))


def _unfit(session: Session, head: SchemaSnapshot, change: Change, overlay: Overlay) -> str | None:
    """Return the statement that fails for a row that only the old schema's rules hold for."""
    try:
        with undone(session) as inside:
            _Proving(inside, head, change, overlay).up_with_old_rows()
    except TrialFailed as failure:
        return failure.short if failure.by_data else None
    return None


class _Proving:
    """One run up and down, with rows or without."""

    def __init__(self, session: Session, head: SchemaSnapshot, change: Change, overlay: Overlay) -> None:
        self._session = session
        self._head = head
        self._change = change
        self._found = change.difference
        self._overlay = overlay

    def run(self, *, with_rows: bool) -> Proven:
        found = self._found
        tables = found.tables() if with_rows else frozenset[str]()
        seeded = seed(self._session, found.old, tables, also=found.new)
        self._unrename()
        before = read_rows(self._session, self._head, map(found.table_before, seeded.rows))
        run_sections(self._session, self._change.all)
        made = look(self._session, extensions_of(found.new))
        self._check_made(made)
        self._check_rows(before, made, up=True)
        down, why = self._way_back(before, made)
        proof = Proof(
            irreversible=why,
            kept=tuple(
                sorted(unquoted(key) for key in before if ObjectId(Kind.TABLE, key) not in self._gone)
            ),
            unproven={unquoted(found.table_before(table)): why for table, why in seeded.refused.items()},
            lost=tuple(called(statement.object) for statement in found.plan if statement.loses),
        )
        return Proven(self._change, down, made, proof)

    def up_with_old_rows(self) -> None:
        """Run up with rows that need not keep to the new rules."""
        seed(self._session, self._found.old, self._found.tables())
        self._unrename()
        run_sections(self._session, self._change.all)

    def _unrename(self) -> None:
        found = self._found
        restored = renamed(self._session, found.old, found.back)
        if restored != self._head:
            raise _failed("renaming back", diff(restored, self._head).statements)

    def _check_made(self, made: SchemaSnapshot) -> None:
        wanted = self._found.new
        if made == wanted:
            return
        # What is left alone and stands over something changed may read otherwise now: a view, for one.
        residue = diff(made, self._overlay.over(made))
        if residue or wanted.objects.keys() - made.objects.keys():
            raise _failed("up", (residue or diff(made, wanted)).statements)

    # ------------------------------------------------------------------------------------------------ down

    def _way_back(self, before: Mapping[str, Rows], made: SchemaSnapshot) -> tuple[Change | None, str | None]:
        """Return the way back, proven; or why there is none."""
        try:
            with self._session.undoable() as inside:
                return self._down(inside, before, made), None
        except BackfillNeeded as missing:
            names = ", ".join(called(column) for column in missing.missing)
            return None, f"no value is known that {names} could be filled with again"
        except TrialFailed as failure:
            if not failure.by_data:
                raise _unrun("down", failure) from None
            return None, f"rows that are there do not fit what was before: {failure.short}"

    def _down(self, session: Session, before: Mapping[str, Rows], made: SchemaSnapshot) -> Change:
        old = renamed(session, made, self._found.back)
        target = _with_extensions(self._head, made)
        found = Difference(self._found.back, old, target, diff(old, target))
        filling = placeholders(session, old, target)
        sections = safe_sections(found.plan, old, target, backfill=filling)
        run_sections(session, sections)
        restored = look(session, extensions_of(target))
        if restored != target:
            raise _failed("down", diff(restored, target).statements)
        self._check_rows(before, restored, up=False)
        return Change(found, sections)

    # ------------------------------------------------------------------------------------------------ rows

    @cached_property
    def _gone(self) -> frozenset[ObjectId]:
        """The tables and columns, by their names before, that go with their values."""
        kinds = (Kind.TABLE, Kind.COLUMN)
        new = self._found.new.objects
        return frozenset(
            key for key in self._head.objects if key.kind in kinds and self._found.after(key) not in new
        )

    def _changed(self) -> Iterator[ObjectId]:
        """Give the columns, by their names before, that are written otherwise, or filled where NULL was."""
        for thing in self._head:
            now = self._found.new.objects.get(self._found.after(thing.id))
            if isinstance(thing, Column) and isinstance(now, Column) and _is_rewritten(thing, now):
                yield thing.id

    def _check_rows(self, before: Mapping[str, Rows], now: SchemaSnapshot, *, up: bool) -> None:
        """Refuse a change after which rows are not what they were, but for what goes on purpose."""
        found = self._found
        names = {key.name for key in now.objects if key.kind is Kind.TABLE}
        there = [found.after(ObjectId(Kind.TABLE, table)).name if up else table for table in before]
        after = read_rows(self._session, now, names.intersection(there))
        renames = found.renames if up else ()
        wrong = list(lost_values(before, after, renames=renames, changed=self._changed(), gone=self._gone))
        if wrong:
            raise ProofFailed(
                "rows did not survive on a scratch copy, and nothing was written: " + "; ".join(wrong)
            )


def _is_rewritten(old: Column, new: Column) -> bool:
    return old.type != new.type or (new.not_null and not old.not_null)


def _with_extensions(head: SchemaSnapshot, made: SchemaSnapshot) -> SchemaSnapshot:
    """Return `head` with the extensions that stay: by the time of the way back others may use them."""
    kept = {thing.id: thing for thing in made if isinstance(thing, Extension)}
    return head.overlaid({key: thing for key, thing in kept.items() if key not in head.objects})


def _failed(direction: str, residue: Sequence[SchemaStatement]) -> ProofFailed:
    statements = [statement.sql for statement in residue]
    told = "".join(f"\n    {statement};" for statement in statements[:20])
    return ProofFailed(
        f"on a scratch copy the way {direction} did not reach its end, and nothing was written; still "
        f"missing:{told}\nWrite this version by hand, in the folder, and run check() until it is content",
        residue=statements,
    )


def _unrun(direction: str, failure: TrialFailed) -> ProofFailed:
    return ProofFailed(
        f"on a scratch copy the way {direction} failed, and nothing was written: {failure.told}\nWrite this "
        "version by hand, in the folder, and run check() until it is content"
    )
