"""A version written from the models: compared, made safe, proven both ways, and only then a file."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from database_handler.config.database import DatabaseConfig
from database_handler.core.quoting import literal
from database_handler.core.sql_text import significant_tokens
from database_handler.migrations.files.chain import Chain
from database_handler.migrations.files.file_writing import message_line, next_name, rendered, write_version
from database_handler.migrations.files.migration import parse
from database_handler.migrations.generation.decisions import (
    Deciding,
    Drops,
    called,
    refuse_without_models,
)
from database_handler.migrations.generation.proof import Proof, Proven, prove
from database_handler.migrations.generation.rehearsal import rehearse, stage
from database_handler.migrations.generation.wanted import (
    Change,
    difference,
    extensions_of,
    versions_and_models,
    way_of,
)
from database_handler.migrations.safety.safe_way import PlannedSection
from database_handler.migrations.scratch.place import guard
from database_handler.migrations.verdicts import Judged

__all__ = ["Generated", "generate"]


class Generated(Judged, frozen=True):
    """What `generate` wrote: nothing where nothing changed.

    Attributes
    ----------
    path : Path, optional
        The file.
    statements : tuple of str
        What turns the head into what the models ask for, as compared; the file does it the safe way round.
    proof : Proof, optional
        What was proven of it.
    locks : str
        The locks that it takes, as measured.
    unmodelled : tuple of str
        Objects of the schema that were not compared.
    """

    verdicts: ClassVar = ("changed",)

    name: str | None = None
    path: Path | None = None
    text: str = ""
    statements: tuple[str, ...] = ()
    proof: Proof | None = None
    locks: str = ""
    unmodelled: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether there was anything to write."""
        return self.path is not None


def generate(
    config: DatabaseConfig, chain: Chain, message: str, *, drop: Mapping[str, str] | None = None
) -> Generated:
    """Write the next version of the chain's own folder from its models, proven on scratch copies.

    Parameters
    ----------
    message : str
        What it does, in a few words; the file is called after it.
    drop : mapping of str to str, optional
        Why values may be lost, by ``"notes.body"`` or ``"notes"``.

    Raises
    ------
    InvalidValue
        The message has no words, or there are no models.
    DecisionNeeded
        Only the author of the models can tell what is meant; the message says what to write.
    ProofFailed
        The version does not do on a scratch copy what it is there for; nothing was written.
    """
    started = time.monotonic()
    if not drop:
        refuse_without_models(chain)
    name = next_name(chain.own.versions, message)
    written = _Generating(config, chain.again(), drop or {}, name, message).run()
    return written.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


@dataclass(frozen=True)
class _Generating:
    """One call of `generate`."""

    config: DatabaseConfig
    chain: Chain
    drop: Mapping[str, str]
    name: str
    message: str

    def run(self) -> Generated:
        with versions_and_models(self.config, self.chain) as (session, head, overlay):
            found = difference(session, head, overlay)
            unmodelled = tuple(f"{kind} {which}" for kind, which in head.unmodelled)
            drops = Drops(self.drop)
            if not found:
                drops.refuse_others(())
                return Generated(unmodelled=unmodelled)
            change = way_of(found, overlay, Deciding(overlay, self.chain.own.models, drops))
            with stage(self.config, self.chain, extensions_of(found.new)) as scratch:
                proven = prove(session, head, change, overlay)
                guard(session, self.config)
                return self._written(proven, scratch, unmodelled)

    def _written(
        self, proven: Proven, scratch: Future[DatabaseConfig], unmodelled: tuple[str, ...]
    ) -> Generated:
        folder = self.chain.own.versions
        draft = self._text(proven)
        locks = rehearse(scratch, parse(folder / f"{self.name}.sql", draft.encode()), proven)
        text = self._text(proven, locks)
        return Generated(
            name=self.name,
            path=write_version(folder, self.name, text),
            text=text,
            statements=proven.up.difference.statements,
            proof=proven.proof,
            locks=locks,
            unmodelled=unmodelled,
        )

    # ------------------------------------------------------------------------------------------------ text

    def _text(self, proven: Proven, locks: str = "") -> str:
        up = [section.text("up") for section in proven.up.all]
        down = [section.text("down") for section in proven.down.all] if proven.down else []
        header = [*self._said(), *self._header(proven, locks)]
        return rendered(self.name, [*up, *_verify(proven.up), *down], header)

    def _said(self) -> Iterator[str]:
        """Give the message's line where it says more than the name."""
        if self.name.partition("_")[2].split("_") != self.message.lower().split():
            yield message_line(self.message)

    def _header(self, proven: Proven, locks: str) -> Iterator[str]:
        proof = proven.proof
        yield f"reversible: {_one_line(proof.way_back)}   proof: {proof.line}"
        for table, why in proof.unproven.items():
            yield f"data not proven: {table} ({_one_line(why)})"
        if proof.unfit:
            yield f"rows may be in the way of: {_one_line(proof.unfit)}; migrations preflight counts them"
        for statement in proven.up.difference.plan:
            if statement.loses:
                reason = self.drop[called(statement.object)]
                yield f"data lost: {called(statement.object)} ({_one_line(reason)})"
        if locks:
            yield f"locks: {locks}"


def _one_line(text: str) -> str:
    return message_line(text).removeprefix("message: ")


def _verify(change: Change) -> Iterator[str]:
    """Give a section that fails where an index that was built beside the traffic is not there and valid."""
    names = [literal(name) for name in _built(change.sections)]
    if names:
        yield "-- migrate: verify\n" + "".join(_CHECK.format(name) for name in names)


_CHECK = "SELECT 1 / count(*) FROM pg_index WHERE indexrelid = {}::regclass AND indisvalid;\n"


def _built(sections: Sequence[PlannedSection]) -> list[str]:
    """Return the indexes that are built beside the traffic, by the names that they have in the end.

    One that takes another's place is built under a spare name, and gets its own when the other is gone.
    """
    names: dict[str, str] = {}
    for statement in (each for section in sections for each in section.statements):
        words = [token.text for token in significant_tokens(statement)]
        told = [word.upper() for word in words]
        if told[0] == "CREATE" and "CONCURRENTLY" in told[:4]:
            name = words[told.index("CONCURRENTLY") + 1]
            names[name] = name
        elif told[:2] == ["ALTER", "INDEX"] and "RENAME" in told:
            _renamed(names, words[2], words[-1])
        elif told[:2] == ["ALTER", "TABLE"] and "USING" in told and "CONSTRAINT" in told:
            _renamed(names, words[told.index("USING") + 2], words[told.index("CONSTRAINT") + 1])
    return list(names.values())


def _renamed(names: dict[str, str], old: str, new: str) -> None:
    if old in names:
        names[old] = new
