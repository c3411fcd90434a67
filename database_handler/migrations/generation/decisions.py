"""What only the author of the models can decide, each with the exact line to write; nothing is guessed."""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from database_handler.core.base_model import Record
from database_handler.core.exceptions import InvalidValue
from database_handler.core.quoting import unquoted
from database_handler.migrations.errors import BackfillNeeded, DecisionNeeded
from database_handler.migrations.files.chain import Chain
from database_handler.migrations.generation.model_schema import Overlay
from database_handler.migrations.schema.schema_diff.statement import Rename, SchemaDiff
from database_handler.migrations.schema.snapshot import Kind, ObjectId, SchemaSnapshot

__all__ = ["Deciding", "Drops", "broken", "called", "refuse_without_models"]


def refuse_without_models(chain: Chain) -> None:
    """Refuse to compare versions with no model at all: every table would be one too many."""
    if not chain.own.models:
        raise InvalidValue(
            "there are no models to compare the versions with: MigrationManager(..., models=[Note, ...]) "
            "says which they are; without any, write versions by hand"
        )


def called(thing: ObjectId) -> str:
    """Return what a user calls a table or column: ``notes``, ``notes.body``."""
    return ".".join(unquoted(name) for name in (thing.name, thing.part) if name)


@dataclass(frozen=True)
class Drops:
    """What may be dropped and why, by what a user calls it."""

    reasons: Mapping[str, str]

    def of(self, lost: Iterable[ObjectId]) -> dict[ObjectId, str]:
        """Return the reasons by the ids of what is lost."""
        return {thing: self.reasons[called(thing)] for thing in lost if called(thing) in self.reasons}

    def refuse_others(self, lost: Iterable[ObjectId]) -> None:
        """Refuse a reason that is empty, or for what is not about to be dropped.

        Raises
        ------
        DecisionNeeded
        """
        there = {called(thing) for thing in lost}
        wrong = [
            f"--drop (drop=) names {name!r}, and nothing of that name would lose its values; those that "
            f"would: {', '.join(sorted(there)) or 'none'}"
            for name in self.reasons.keys() - there
        ]
        empty = [
            f"--drop '{name}=...' (drop[{name!r}]) is the reason, in words"
            for name, why in self.reasons.items()
            if not why.strip()
        ]
        if wrong or empty:
            raise DecisionNeeded([*sorted(wrong), *sorted(empty)])


@dataclass(frozen=True)
class Deciding:
    """What was decided: by the models, and by the reasons for what may be dropped."""

    overlay: Overlay
    models: Sequence[type[Record]]
    drops: Drops

    def ask(self, plan: SchemaDiff, head: SchemaSnapshot, wanted: SchemaSnapshot) -> None:
        """Refuse a plan that loses values for no reason given, or breaks what it does not make.

        Raises
        ------
        DecisionNeeded
            With every decision there is, each with what to write.
        """
        losing = {statement.object: statement.loses for statement in plan if statement.loses}
        self.drops.refuse_others(losing)
        lookalikes = {rename.old: rename for rename in plan.lookalikes}
        decisions = [
            self._loss(thing, loses, lookalikes.get(thing))
            if thing not in wanted.objects
            else _narrowing(thing, loses)
            for thing, loses in losing.items()
            if called(thing) not in self.drops.reasons
        ]
        decisions += broken(head, wanted, self.overlay)
        if decisions:
            raise DecisionNeeded(decisions)

    def _loss(self, thing: ObjectId, loses: str, lookalike: Rename | None) -> str:
        name = called(thing)
        lines = [f"{name}: this would lose {loses}. Write one of"]
        if lookalike is not None:
            lines.append(f"{self._rename_line(lookalike)}   if it was renamed to {called(lookalike.new)}")
        elif thing.kind is Kind.COLUMN:
            lines.append(
                f'RenamedFrom("{unquoted(thing.part)}")   on the field that it became, if it was renamed'
            )
        else:
            lines.append(f'Table(..., renamed_from="{name}")   of the model that it belongs to now')
        lines.append(f"--drop '{name}=the reason'   (drop={{'{name}': 'the reason'}}), to lose it")
        lines.append(self._by_hand(thing))
        return "\n    ".join(lines)

    def _by_hand(self, thing: ObjectId) -> str:
        if thing.kind is Kind.COLUMN:
            table, name = unquoted(thing.name), unquoted(thing.part)
            return f'Table("{table}", ..., by_hand=["{name}"])   to keep it, if a migration made it by hand'
        name = unquoted(thing.name)
        return f'by_hand=["{name}"]   in the Table of any model, to keep a table that no model describes'

    def _rename_line(self, rename: Rename) -> str:
        if rename.new.kind is Kind.TABLE:
            return f'Table("{unquoted(rename.new.name)}", ..., renamed_from="{unquoted(rename.old.name)}")'
        return self._field_line(rename.new, f'RenamedFrom("{unquoted(rename.old.part)}")')

    def _field_line(self, column: ObjectId, marker: str) -> str:
        """Return the line of the field that makes a column, with one marker more, as in the source."""
        name = unquoted(column.part)
        model = next((each for each in self.models if each.table.name == unquoted(column.name)), None)
        annotation, default = (None if model is None else _field_source(model, name)) or ("...", "")
        if annotation.startswith("Annotated["):
            return f"{name}: {annotation[:-1]}, {marker}]{default}"
        return f"{name}: Annotated[{annotation}, {marker}]{default}"

    def missing_backfill(self, missing: BackfillNeeded) -> DecisionNeeded:
        """Return the decision that a column asks for which rows that are there have no value for."""
        return DecisionNeeded([self._backfill(column) for column in missing.missing])

    def _backfill(self, column: ObjectId) -> str:
        lines = [
            f"{called(column)} is never NULL, and nothing says what rows that are there hold. Write one of",
            f"{self._field_line(column, 'Backfill(...)')}   with SQL over their columns, as a string",
            "a default of the field, which they get",
            "| None, so that they hold NULL",
        ]
        return "\n    ".join(lines)


def _narrowing(thing: ObjectId, loses: str) -> str:
    """Return the decision about a column that stays and keeps less of its values."""
    name = called(thing)
    lines = [
        f"{name}: its new type would lose {loses}. Write one of",
        f"--drop '{name}=the reason'   (drop={{'{name}': 'the reason'}}), to lose that",
        "a type for the field that keeps them",
    ]
    return "\n    ".join(lines)


def _field_source(model: type, name: str) -> tuple[str, str] | None:
    """Return a field's annotation and default as its class spells them; None where there is no source."""
    for each in model.__mro__:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(each)))
        except (OSError, TypeError, SyntaxError):
            continue
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and node.target.id == name
            ):
                default = f" = {ast.unparse(node.value)}" if node.value else ""
                return ast.unparse(node.annotation), default
    return None


def broken(head: SchemaSnapshot, wanted: SchemaSnapshot, overlay: Overlay) -> Iterator[str]:
    """Name what stays, and needs a table or column that goes: only its author knows what it is to be."""
    kinds = (Kind.TABLE, Kind.COLUMN)
    gone = {key for key in head.objects if key.kind in kinds and key not in wanted.objects}
    for thing in wanted:
        there = head.objects.get(thing.id)
        if there is None or thing.id in overlay.modelled.objects or not (needed := gone & {*there.needs}):
            continue
        yield (
            f"{thing.id.kind.value} {called(thing.id)} needs {', '.join(sorted(map(called, needed)))}, which "
            "goes: write a migration by hand before this one that changes or drops it"
        )
