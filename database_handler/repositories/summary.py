"""The repository of summaries: a change of a content is judged by the format and kind that its row has."""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from database_handler.core.base_model import Change, validated_field
from database_handler.core.exceptions import StaleRecord
from database_handler.core.session import Statement
from database_handler.models.summary import (
    TOGETHER,
    ContentFormat,
    NewSummary,
    Summary,
    SummaryKind,
    completed,
    prepared,
)
from database_handler.repositories.create import Create
from database_handler.repositories.search import Searched
from database_handler.utils.text import letters_a_word

__all__ = ["Compression", "SummaryRepository"]

T = TypeVar("T")

_TRIES = 100  # so often a row may be changed by others between its reading and its change


@dataclass(frozen=True, slots=True)
class Compression:
    """How many words of its source a summary takes.

    Attributes
    ----------
    words, source_words : int
        As they are counted: each letter is a word in scripts that are written without spaces.
    """

    summary_id: UUID
    text_source_id: UUID
    kind: SummaryKind
    language: str
    words: int
    source_language: str
    source_words: int

    @property
    def estimated(self) -> bool:
        """Whether the words of the two languages are counted differently, so that the ratio is estimated."""
        return letters_a_word(self.language) != letters_a_word(self.source_language)

    @property
    def ratio(self) -> float | None:
        """Words of the summary for one word of the source; None where the source has none.

        Between languages with and without spaces both are taken in words of a language with spaces: two
        letters of Chinese or Japanese, or five of Thai, Lao, Burmese or Khmer, make one.
        """
        if not self.source_words:
            return None
        words = self.words / letters_a_word(self.language)
        return words / (self.source_words / letters_a_word(self.source_language))


class SummaryRepository(Searched[NewSummary, Summary]):
    """Reads, writes and searches `Summary` records."""

    draft = NewSummary
    record = Summary
    create = Create(NewSummary, Summary)

    def update(
        self,
        id: UUID | str,
        changes: Mapping[str, Any] | None = None,
        expected_version: int | None = None,
        **fields: Any,
    ) -> Summary:
        """Change some fields of one summary, and return it.

        One round trip where content, format and kind are all given, or none of them; else the row is read
        first, for a content is cleaned by its format and measured against its kind.

        Raises
        ------
        RecordNotFound, StaleRecord
            As for every record.
        InvalidValue
            Nothing is left of the content once it is cleaned, or it is too long for the kind.
        """
        given = {**(changes if isinstance(changes, Mapping) else {}), **fields}
        if not self._is_part(given):
            return super().update(id, changes, expected_version, **fields)
        held = self.get_by_id(id)
        known = {held.id: held}

        def change() -> Summary:
            record = known[held.id]
            version = record.version if expected_version is None else expected_version
            return super(SummaryRepository, self).update(id, completed(given, record), version)

        return _again(change, known, known.keys() if expected_version is None else frozenset())

    def update_many(
        self, changes: Iterable[Change], *, on_progress: Callable[[int], object] | None = None
    ) -> list[Summary]:
        """Change many summaries, all or none, and return them in the order given.

        One round trip for each 10,000, and one more where a change names only some of content, format and
        kind.

        Parameters
        ----------
        on_progress : callable, optional
            Called with the number of rows done.

        Raises
        ------
        RecordNotFound, StaleRecord
            Some are missing, or not at the version expected: all such are named, and nothing was written.
        """
        given: object = changes
        if not isinstance(given, Iterable):  # which is refused there, by name
            return super().update_many(changes, on_progress=on_progress)
        asked = list(changes)
        is_part = [isinstance(each, Change) and self._is_part(each.changes) for each in asked]
        parts = [each for each, part in zip(asked, is_part, strict=True) if part]
        known = {record.id: record for record in self.get_many(each.id for each in parts)}
        free = {each.id for each in parts if each.expected_version is None}

        def change() -> list[Summary]:
            whole = [_whole(each, known) if part else each for each, part in zip(asked, is_part, strict=True)]
            return super(SummaryRepository, self).update_many(whole, on_progress=on_progress)

        return _again(change, known, free)

    def _changes(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return super()._changes(prepared(changes))

    def _is_part(self, given: Mapping[str, Any]) -> bool:
        """Tell whether the row must be read for these changes; refuse at once what no row could take."""
        wrong = self.immutable & given.keys() or given.keys() - NewSummary.model_fields.keys()
        if wrong or not given.keys() & TOGETHER or given.keys() >= TOGETHER:
            return False
        for name, value in given.items():
            plain = prepared({name: value})[name] if name == "content" else value
            validated_field(NewSummary, name, plain)
        return True

    def compression(self, id: UUID | str) -> Compression:
        """Return how many words of its source a summary takes, in one round trip.

        Raises
        ------
        RecordNotFound
            There is no such summary.
        """
        found = self._compressions({"id": id})
        self._refuse_ambiguous(len(found))
        if not found:
            raise self._not_found(id)
        return found[0]

    def compressions(self, project_id: UUID | str) -> list[Compression]:
        """Return how many words of its source each summary of a project takes, by id, in one round trip."""
        return self._compressions({"project_id": project_id})

    def _compressions(self, filters: Mapping[str, object]) -> list[Compression]:
        where = self._where(filters)
        text = (
            "SELECT s.id, t.id, s.kind, s.language, s.word_count, t.language, t.word_count "
            f"FROM (SELECT * FROM summaries{where.clause}) AS s JOIN text_sources AS t "
            "ON t.project_id = s.project_id AND t.id = s.text_source_id ORDER BY s.id"
        )
        rows = self._session.all(Statement(text, "summaries.compressions"), where.values)
        return [Compression(row[0], row[1], SummaryKind(row[2]), *row[3:]) for row in rows]


# ----------------------------------------------------------------------------------------------- in two steps

_NOWHERE = {"content": "-", "content_format": ContentFormat.PLAIN, "kind": SummaryKind.DETAILED}


def _whole(change: Change, known: Mapping[UUID, Summary]) -> Change:
    """Complete a change from the row that was read, and hold it to that row's version."""
    record = known.get(change.id)
    if record is None:  # it is not there, and the statement says so with all others
        return Change(change.id, {**_NOWHERE, **change.changes}, change.expected_version)
    version = record.version if change.expected_version is None else change.expected_version
    return Change(change.id, completed(change.changes, record), version)


def _again(change: Callable[[], T], known: dict[UUID, Summary], free: Set[UUID]) -> T:
    """Change; where rows changed since they were read, of which no version was expected, begin again."""
    for _ in range(_TRIES):
        try:
            return change()
        except StaleRecord as stale:
            current = {each.id: each for each in stale.current if isinstance(each, Summary)}
            if not current.keys() <= free:
                raise
            known.update(current)
    return change()
