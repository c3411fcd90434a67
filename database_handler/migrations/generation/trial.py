"""Sections tried inside one transaction, in the form that a transaction takes."""

from collections.abc import Iterable

from database_handler.core.exceptions import DatabaseError
from database_handler.core.session import Session, Statement
from database_handler.migrations.safety.safe_way import PlannedSection
from database_handler.migrations.scratch.building import in_transaction

__all__ = ["TrialFailed", "run_sections"]

_TOLD = 120
_MOST_BATCHES = 1_000  # a scratch copy has a handful of rows: a batch that changes some for ever is a defect


class TrialFailed(Exception):
    """A statement failed on the scratch copy.

    Attributes
    ----------
    sqlstate : str, optional
        The server's code.
    told : str
        The statement's beginning and what the server said of it.
    short : str
        The statement's beginning and the code.
    """

    def __init__(self, statement: str, error: DatabaseError) -> None:
        self.sqlstate = error.sqlstate
        told = " ".join(line for line in statement.splitlines() if not line.startswith("--"))
        beginning = " ".join(told.split())[:_TOLD]
        self.short = f"{beginning} [{self.sqlstate}]"
        self.told = f"{beginning}: {str(error).partition(': ')[2] or error}"
        super().__init__(self.told)

    @property
    def by_data(self) -> bool:
        """Whether a row is what it failed for."""
        return (self.sqlstate or "").startswith(("22", "23"))


def run_sections(session: Session, sections: Iterable[PlannedSection]) -> None:
    """Run sections in the session's own transaction; a batched one until it touches no row.

    Raises
    ------
    TrialFailed
        A statement fails.
    """
    for section in sections:
        # Else what is checked at the end keeps the next ALTER TABLE waiting ("pending trigger events").
        session.run(Statement("SET CONSTRAINTS ALL IMMEDIATE", "trial.constraints"))
        for statement in section.statements:
            if (text := in_transaction(statement)) is not None:
                _run(session, Statement(text, "trial", writes=True), batched=section.batched)


def _run(session: Session, statement: Statement, *, batched: bool) -> None:
    for _ in range(_MOST_BATCHES):
        try:
            touched = session.run(statement)
        except DatabaseError as error:
            failure = TrialFailed(statement.text, error)
        else:
            if not touched or not batched:
                return
            continue
        raise failure
    raise RuntimeError("a batched section changes the same rows again and again")
