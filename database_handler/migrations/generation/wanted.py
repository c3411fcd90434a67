"""From the versions' schema to the models': what is renamed, what is changed, and the sections that do it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from database_handler.config.database import DatabaseConfig
from database_handler.core.ddl import create_tables
from database_handler.core.exceptions import DatabaseError
from database_handler.core.quoting import unquoted
from database_handler.core.session import Session, Statement
from database_handler.core.text_search import VECTOR_FUNCTION, create_text_search
from database_handler.migrations.errors import BackfillNeeded, MigrationFailed, ProofFailed
from database_handler.migrations.files.chain import Chain
from database_handler.migrations.files.migration_values import Migration
from database_handler.migrations.generation.decisions import Deciding
from database_handler.migrations.generation.model_schema import (
    Overlay,
    following_renames,
    marked_renames,
    rename_statements,
)
from database_handler.migrations.safety.safe_change import renaming_allowed
from database_handler.migrations.safety.safe_way import PlannedSection, safe_sections
from database_handler.migrations.schema.schema_diff import diff
from database_handler.migrations.schema.schema_diff.statement import Rename, SchemaDiff
from database_handler.migrations.schema.snapshot import Kind, ObjectId, SchemaSnapshot
from database_handler.migrations.scratch.building import build, look, made_extensions
from database_handler.migrations.scratch.place import UNSAFE_USE, copy_of, guard, undone

__all__ = [
    "Change",
    "Difference",
    "difference",
    "extensions_of",
    "read_head",
    "rename_section",
    "renamed",
    "versions_and_models",
    "way_of",
]


@contextmanager
def versions_and_models(
    config: DatabaseConfig, chain: Chain
) -> Iterator[tuple[Session, SchemaSnapshot, Overlay]]:
    """Give a scratch copy at the chain's head, its schema, and what the models would make in its place.

    Raises
    ------
    ProofFailed
        PostgreSQL refuses the models' tables.
    """
    with ExitStack() as stack:
        yield _on_one_copy(stack, config, chain) or _on_two_copies(stack, config, chain)


_Found = tuple[Session, SchemaSnapshot, Overlay]


def _on_one_copy(stack: ExitStack, config: DatabaseConfig, chain: Chain) -> _Found | None:
    """Make the models' tables on what was there before, undo that, and go on with the versions."""
    with ExitStack() as attempt:
        session = attempt.enter_context(copy_of(config, chain.before, then=chain.migrations))
        overlay = _overlay(session, chain)
        try:
            build(session, chain.migrations)
        except MigrationFailed as failure:
            if failure.sqlstate != UNSAFE_USE:
                raise
            return None
        guard(session, config)
        stack.enter_context(attempt.pop_all())
        return session, _head(session, chain), overlay


def _on_two_copies(stack: ExitStack, config: DatabaseConfig, chain: Chain) -> _Found:
    with copy_of(config, chain.before) as session:
        overlay = _overlay(session, chain)
    session = stack.enter_context(copy_of(config, chain.all))
    return session, _head(session, chain), overlay


def _head(session: Session, chain: Chain) -> SchemaSnapshot:
    return read_head(session, chain.all)


def _overlay(session: Session, chain: Chain) -> Overlay:
    """Make the models' tables on a copy of the folders before, read what came of it, and undo it."""
    tables = chain.own.tables
    text = create_tables(tables)
    before = made_extensions(version.text for version in chain.before)
    base = look(session, before) if chain.before else SchemaSnapshot({})
    if any(key.kind is Kind.FUNCTION and key.name.startswith(VECTOR_FUNCTION) for key in base.objects):
        text = text.removeprefix("\n\n".join((*create_text_search(), "")))  # an earlier folder made that
    with undone(session) as inside:
        if tables:
            _make(inside, text)
        modelled = look(inside, before | made_extensions([text]))
    return Overlay(modelled, base, tables)


def _make(session: Session, text: str) -> None:
    try:
        session.script(text)
    except DatabaseError as error:
        refusal = ProofFailed(
            f"the models' tables cannot be made on a scratch copy, and nothing was written: {error}. What a "
            "model refers to is made by another model, or by a folder that comes before this one"
        )
    else:
        return
    raise refusal


def read_head(session: Session, migrations: Iterable[Migration]) -> SchemaSnapshot:
    """Return the schema that `migrations` have made in a copy."""
    return look(session, made_extensions(version.text for version in migrations))


# -------------------------------------------------------------------------------------------- the difference


@dataclass(frozen=True)
class Difference:
    """How the versions' schema differs from the models'.

    Attributes
    ----------
    renames : tuple of Rename
        What is renamed first, in order.
    old : SchemaSnapshot
        The versions' schema once that is done.
    new : SchemaSnapshot
        The schema wanted.
    plan : SchemaDiff
        What turns `old` into `new`.
    """

    renames: tuple[Rename, ...]
    old: SchemaSnapshot
    new: SchemaSnapshot
    plan: SchemaDiff

    def __bool__(self) -> bool:
        return bool(self.renames or self.plan)

    @property
    def statements(self) -> tuple[str, ...]:
        """Every statement, the renames first, without semicolons."""
        return tuple(each.sql for each in (*rename_statements(self.renames), *self.plan))

    @property
    def back(self) -> tuple[Rename, ...]:
        """The renames undone, the last one first."""
        return tuple(rename.inverted() for rename in reversed(self.renames))

    def after(self, thing: ObjectId) -> ObjectId:
        """Return what a table or column is called once the renames are done."""
        names = dict[ObjectId, ObjectId](self.renames)
        table = names.get(ObjectId(Kind.TABLE, thing.name))
        moved = thing._replace(name=table.name) if table else thing
        return names.get(moved, moved)

    def table_before(self, table: str) -> str:
        """Return what a table of `old` is called before the renames."""
        names = {rename.new: rename.old for rename in self.renames}
        return names.get(ObjectId(Kind.TABLE, table), ObjectId(Kind.TABLE, table)).name

    def tables(self) -> frozenset[str]:
        """Return the tables of `old` that some statement is about."""
        named = {name for statement in self.plan for name in self._tables_of(statement.object)}
        named |= {rename.new.name for rename in self.renames if rename.new.kind is not Kind.INDEX}
        return frozenset(name for name in named if ObjectId(Kind.TABLE, name) in self.old.objects)

    def _tables_of(self, thing: ObjectId) -> Iterator[str]:
        yield thing.name
        for snapshot in (self.old, self.new):
            yield getattr(snapshot.objects.get(thing), "table", "")


def difference(session: Session, head: SchemaSnapshot, overlay: Overlay) -> Difference:
    """Compare; what models mark as renamed is renamed in `session`, so that the server tells what follows.

    Parameters
    ----------
    session : Session
        Of the scratch copy whose schema is `head`.
    """
    marked = marked_renames(head, overlay.modelled, overlay.tables)
    old = renamed(session, head, marked)
    following = following_renames(old, overlay.over(old))
    old = renamed(session, old, following)
    new = overlay.over(old)
    return Difference((*marked, *following), old, new, diff(old, new))


def renamed(session: Session, snapshot: SchemaSnapshot, renames: Sequence[Rename]) -> SchemaSnapshot:
    """Rename in `session` and return the schema then; no extension comes or goes."""
    for statement in rename_statements(renames):
        session.run(Statement(statement.sql, "generate.rename", writes=True))
    return look(session, extensions_of(snapshot)) if renames else snapshot


def extensions_of(snapshot: SchemaSnapshot) -> frozenset[str]:
    """Return the names of the extensions in a snapshot."""
    return frozenset(key.name for key in snapshot.objects if key.kind is Kind.EXTENSION)


# -------------------------------------------------------------------------------------------------- sections


@dataclass(frozen=True)
class Change:
    """A difference, and the sections that make it the safe way round; the renames come first."""

    difference: Difference
    sections: tuple[PlannedSection, ...]

    @property
    def all(self) -> tuple[PlannedSection, ...]:
        """Every section, in order."""
        return (*rename_section(self.difference.renames), *self.sections)


def way_of(found: Difference, overlay: Overlay, deciding: Deciding) -> Change:
    """Return the sections for a difference, when all is decided that has to be.

    Raises
    ------
    DecisionNeeded
        Naming each decision, with what to write.
    """
    deciding.ask(found.plan, found.old, found.new)
    losing = [statement.object for statement in found.plan if statement.loses]
    try:
        sections = safe_sections(
            found.plan, found.old, found.new,
            backfill=_backfill(overlay, found.new), reasons=deciding.drops.of(losing),
        )  # fmt: skip
    except BackfillNeeded as missing:
        needed = deciding.missing_backfill(missing)
    else:
        return Change(found, sections)
    raise needed


def _backfill(overlay: Overlay, new: SchemaSnapshot) -> Mapping[ObjectId, str]:
    expressions = {
        (table.name, column.name): column.backfill
        for table in overlay.tables
        for column in (*table.columns, *table.operational)
    }
    named = {key: (unquoted(key.name), unquoted(key.part)) for key in new.objects if key.kind is Kind.COLUMN}
    return {key: told for key, name in named.items() if (told := expressions.get(name))}


def rename_section(renames: Sequence[Rename]) -> tuple[PlannedSection, ...]:
    """Return the section that renames; none where nothing is renamed."""
    statements = tuple(map(renaming_allowed, rename_statements(renames)))
    return (PlannedSection(statements),) if statements else ()
