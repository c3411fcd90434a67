"""Many versions made one file, proven equal to them; databases that have them go on from where they stand.

The file is the difference between what was there before the first of them and what is there after the last,
and the rows that they put in. It names each version that it stands for with its hash: a database whose
history has them all is past it, and an empty one runs it.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel

from database_handler.config.database import DatabaseConfig
from database_handler.migrations.errors import ProofFailed, UnusableTarget
from database_handler.migrations.files.chain import Chain
from database_handler.migrations.files.file_writing import rendered, replace_versions
from database_handler.migrations.files.migration import parse
from database_handler.migrations.files.migration_values import Migration
from database_handler.migrations.generation.checking import writes_rows
from database_handler.migrations.generation.wanted import extensions_of, read_head
from database_handler.migrations.safety.safe_way import safe_sections
from database_handler.migrations.schema.schema_diff import diff
from database_handler.migrations.schema.schema_diff.statement import SchemaDiff
from database_handler.migrations.schema.snapshot import Extension, SchemaSnapshot
from database_handler.migrations.scratch.building import build, look, unbuild
from database_handler.migrations.scratch.content_rows import Content, read_content
from database_handler.migrations.scratch.place import copy_of, guard
from database_handler.utils.errors import shown

__all__ = ["Squashed", "squash"]


class Squashed(BaseModel, frozen=True):
    """What `squash` wrote.

    Attributes
    ----------
    replaced : tuple of str
        The versions that the file stands for; their files are gone.
    rows : mapping of str to int
        How many rows the file puts into which table, as those versions did.
    worked_on_rows : tuple of str
        Those of the versions that have statements for rows. What they do to rows that are there, databases
        past them have; a new database has none.
    reversible : bool
        Whether it can be rolled back, to before the first version.
    """

    name: str
    path: Path
    text: str
    replaced: tuple[str, ...]
    rows: dict[str, int] = {}
    worked_on_rows: tuple[str, ...] = ()
    reversible: bool = True
    seconds: float = 0.0


def squash(config: DatabaseConfig, chain: Chain, upto: str | int) -> Squashed:
    """Replace the own folder's versions up to and with `upto` by one file that makes the same.

    Raises
    ------
    UnusableTarget
        There are not two versions to squash.
    ProofFailed
        The file does not make on a scratch copy what the versions make; nothing was written.
    """
    started = time.monotonic()
    chain = chain.again()
    versions = _chosen(chain, upto)
    with copy_of(config, (*chain.before, *versions)) as session:
        head = read_head(session, (*chain.before, *versions))
        rows = read_content(session, head)
        guard(session, config)
    with copy_of(config, chain.before) as session:
        base = read_head(session, chain.before)
        rows = rows.without(read_content(session, base))
    draft = _Draft(versions, base, head, rows)
    path = chain.own.versions / f"{draft.name}.sql"
    _prove(config, chain, draft, parse(path, draft.text.encode()))
    return Squashed(
        name=draft.name,
        path=replace_versions(chain.own.versions, draft.name, draft.text, [each.path for each in versions]),
        text=draft.text,
        replaced=tuple(version.name for version in versions),
        rows={table: len(values) for table, values in rows.tables.items()},
        worked_on_rows=tuple(version.name for version in versions if writes_rows(version)),
        reversible=draft.reversible,
        seconds=round(time.monotonic() - started, 3),
    )


def _chosen(chain: Chain, upto: str | int) -> tuple[Migration, ...]:
    """Return the versions up to one, named or numbered."""
    last = next(
        (each for each in chain.migrations if upto in (each.name, each.number, str(each.number))), None
    )
    if last is None:
        known = ", ".join(each.name for each in chain.migrations[-5:]) or "none"
        raise UnusableTarget(
            f"there is no version {shown(upto)} in {chain.own.versions}; the last ones are {known}"
        )
    versions = tuple(each for each in chain.migrations if each.number <= last.number)
    if len(versions) < 2:
        raise UnusableTarget(f"up to {last.name} there is one version, and nothing to squash it with")
    return versions


# ------------------------------------------------------------------------------------------------- the file


@dataclass(frozen=True)
class _Draft:
    """The file to be written."""

    versions: tuple[Migration, ...]
    base: SchemaSnapshot
    head: SchemaSnapshot
    rows: Content

    @property
    def name(self) -> str:
        return f"{self.versions[-1].number:04}_squashed"

    @property
    def reversible(self) -> bool:
        return all(version.reversible for version in self.versions)

    @cached_property
    def text(self) -> str:
        up = _sections("up", self.base, self.head)
        rows = "".join(f"{statement};\n" for statement in self.rows.statements(self.head))
        if rows:
            up.append(f"-- migrate: up\n{rows}")
        down = _sections("down", self.head, self.bottom) if self.reversible else []
        told = (
            f"reversible: {'yes' if self.reversible else 'no (one of them was not)'}   proof: equal to them"
        )
        return rendered(self.name, [*up, *down], [told, *self._replaces()])

    @property
    def bottom(self) -> SchemaSnapshot:
        """What there was before the first version, and the extensions, which others may use by now."""
        kept = {thing.id: thing for thing in self.head if isinstance(thing, Extension)}
        return self.base.overlaid({key: thing for key, thing in kept.items() if key not in self.base.objects})

    def _replaces(self) -> Iterator[str]:
        """Give a line for each version that a history may name: those of earlier squashes too."""
        for version in self.versions:
            for old in version.replaces:
                yield f"replaces: {old.name} {old.token_hash} {old.up_hash or ''}".rstrip()
            yield f"replaces: {version.name} {version.token_hash} {version.up_hash}"


def _sections(direction: str, old: SchemaSnapshot, new: SchemaSnapshot) -> list[str]:
    return [section.text(direction) for section in safe_sections(diff(old, new), old, new)]


def _prove(config: DatabaseConfig, chain: Chain, draft: _Draft, migration: Migration) -> None:
    with copy_of(config, chain.before, then=[migration]) as session:
        before = read_content(session, draft.base)
        build(session, [migration])
        _check(draft, "up", diff(look(session, extensions_of(draft.head)), draft.head))
        if read_content(session, draft.head).without(before) != draft.rows:
            raise ProofFailed(
                "on a scratch copy the one file puts in other rows than the versions do, and nothing was "
                "written: a rule or trigger changes them, or they refer to each other in a circle",
                [draft.name],
            )
        if draft.reversible:
            unbuild(session, migration)
            _check(draft, "down", diff(look(session, extensions_of(draft.bottom)), draft.bottom))


def _check(draft: _Draft, direction: str, residue: SchemaDiff) -> None:
    if residue:
        statements = [statement.sql for statement in residue]
        told = "".join(f"\n    {statement};" for statement in statements[:20])
        raise ProofFailed(
            f"on a scratch copy the one file does not come out where the versions do (the way {direction}), "
            f"and nothing was written; still missing:{told}",
            [draft.name],
            statements,
        )
