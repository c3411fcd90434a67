"""The tokens of stored translations: made from the content as stored, read whole or a slice at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from pydantic_core import to_json

from database_handler.content.tokens import Tokens, tokenize
from database_handler.core.exceptions import InvalidValue, RecordNotFound, StaleRecord
from database_handler.core.session import Statement
from database_handler.models.translation import NewTranslation, Translation
from database_handler.repositories.base import Repository, as_uuid, each_of
from database_handler.utils.token_spans import BLOCK, PackedPart, number_of_tokens, packed_spans

__all__ = ["TranslationTokens"]

_ATTEMPTS = 5  # to write tokens of a content that somebody else keeps changing
_BATCH = 200  # translations that are in memory at a time


class TranslationTokens(Repository[NewTranslation, Translation]):
    """What a repository of translations does with tokens."""

    def tokenize(self, id: UUID | str, expected_version: int | None = None) -> Translation:
        """Store the tokens of a translation's content, and return the record: two round trips.

        They are only written where the content still is the one that was cut; tokens that are there already
        are not written again.

        Raises
        ------
        RecordNotFound, StaleRecord
            As for `update`; without `expected_version`, stale is only what changes five times on end.
        """
        return self._tokenize(self.get_by_id(id), expected_version, _ATTEMPTS)

    def _tokenize(self, record: Translation, expected_version: int | None, attempts: int) -> Translation:
        if expected_version not in {None, record.version}:
            raise self._stale([record], [])
        tokens = tokenize(record.content, record.target_language)
        if record.tokens == tokens.packed:
            return record
        try:
            return self.update(record.id, {"tokens": tokens}, record.version)
        except StaleRecord as stale:
            if attempts == 1:
                raise
            [current] = _current(stale)
        return self._tokenize(current, expected_version, attempts - 1)

    def tokenize_many(
        self, project_id: UUID | str | None = None, *, ids: Iterable[UUID | str] | None = None
    ) -> int:
        """Store the tokens of all translations that have none, and return how many were written.

        Two round trips for 200 of them. One that is changed meanwhile is cut anew; no more than 200 are in
        memory at a time. Outside a unit each 200 are committed by themselves, so that a run that was ended
        can be started again.

        Parameters
        ----------
        project_id, ids : optional
            Only those of a project; only those of these ids.
        """
        filters: dict[str, object] = {"tokens__is_null": True}
        if project_id is not None:
            filters["project_id"] = project_id
        if ids is not None:
            filters["id__in"] = [as_uuid(id) for id in each_of(ids, "tokenize_many")]
        written = sum(self._tokenized(filters))
        # Those that somebody changed between the reading and the writing have no tokens yet.
        return written + sum(self._tokenized(filters))

    def _write(self, found: Sequence[Translation]) -> int:
        """Write the tokens of some translations; on a cluster those of each project by themselves."""
        if not self._session.distributed or self._scoped:
            scope = [*self._scope, *self._scope]
            return self._session.run(_write_tokens(self._scoped), [_sent(found), *scope])
        projects = dict.fromkeys(record.project_id for record in found)
        return sum(
            self._session.run(
                _write_tokens(True), [_sent(r for r in found if r.project_id == project), project, project]
            )
            for project in projects
        )

    def _tokenized(self, filters: Mapping[str, object]) -> Iterator[int]:
        """Cut what has no tokens, some at a time, and give how many of those were written."""
        found = self.list(order_by="id", limit=_BATCH, **filters)
        while found:
            yield self._write(found)
            found = self.list(order_by="id", limit=_BATCH, id__gt=found[-1].id, **filters)

    def tokens(self, id: UUID | str, start: int | None = None, stop: int | None = None) -> Tokens:
        """Return a translation's tokens from the `start`-th, counted from 0, to before the `stop`-th.

        One round trip. Of a slice the server sends the packed tokens, and the part of the content, of the
        blocks of 128 tokens that it touches, and nothing else of the row.

        Raises
        ------
        RecordNotFound
            There is no such translation, or it has no tokens: `tokenize` makes them.
        InvalidValue
            `start` or `stop` is negative.
        """
        bounds = [_bound("start", start) or 0, _bound("stop", stop)]
        whole = start is None and stop is None
        rows = self._session.all(_read_slice(self._scoped), [as_uuid(id), *self._scope, *bounds])
        self._refuse_ambiguous(len(rows))
        if not rows:
            raise self._not_found(id)
        found = _Slice(*rows[0])
        if found.codes is None:
            raise RecordNotFound(
                f"{self.table.name}: {id} has no tokens; tokenize(id) makes them", table=self.table.name
            )
        return (
            found.tokens() if whole else found.tokens()[found.first - found.block : found.stop - found.block]
        )

    def _changes(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        content, tokens = changes.get("content"), changes.get("tokens")
        if isinstance(content, str) and tokens is not None:
            # Only the validation of a whole draft sees both; here each field is validated by itself.
            packed_spans(tokens, content)
        return super()._changes(changes)


class _Slice(NamedTuple):
    """What the server sends for a slice: the tokens of its blocks, and the part of the content they span."""

    first: int
    stop: int
    block: int
    codes: memoryview | None  # NULL where there are no tokens
    before: int
    halves: memoryview
    wide: memoryview
    content: str

    def tokens(self) -> Tokens:
        """Return the tokens from the beginning of the first block on."""
        part = PackedPart(
            bytes(self.codes or b""),
            self.before,
            self.stop - self.block,
            bytes(self.halves),
            bytes(self.wide),
        )
        return Tokens.unchecked(self.content, *part.spans(), offset=self.before, first=self.block)


def _current(stale: StaleRecord) -> list[Translation]:
    return [record for record in stale.current if isinstance(record, Translation)]


def _bound(name: str, value: int | None) -> int | None:
    if value is None or (type(value) is int and 0 <= value < 2**31):
        return value
    raise InvalidValue(f"{name}: a whole number from 0 on is wanted, or None")


def _sent(found: Iterable[Translation]) -> str:
    rows = []
    for record in found:
        packed = tokenize(record.content, record.target_language).packed
        rows.append(
            {
                "project_id": record.project_id,
                "id": record.id,
                "expected": record.version,
                "tokens": packed.hex(),
                "token_count": number_of_tokens(packed),
            }
        )
    return to_json(rows).decode()


# ----------------------------------------------------------------------------------------------- statements


@lru_cache
def _write_tokens(scoped: bool) -> Statement:
    """Write tokens where a row still has its version; locked in one order, so that no two calls deadlock."""
    scope = " AND t.project_id = %s" if scoped else ""
    text = (
        "WITH v AS MATERIALIZED (SELECT * FROM json_to_recordset(%s::json) AS v(project_id uuid, id uuid, "
        "expected bigint, tokens text, token_count bigint)), "
        "mine AS MATERIALIZED (SELECT t.project_id, t.id FROM translations AS t JOIN v "
        "ON v.project_id = t.project_id AND v.id = t.id AND v.expected = t.version"
        f"{scope} ORDER BY t.id FOR UPDATE OF t) "
        "UPDATE translations AS t SET tokens = decode(v.tokens, 'hex'), token_count = v.token_count, "
        "version = t.version + 1, updated_at = now() FROM v JOIN mine USING (project_id, id) "
        f"WHERE t.project_id = v.project_id AND t.id = v.id{scope} RETURNING t.id, t.project_id"
    )
    return Statement(text, "translations.tokenize_many", writes=True, table="translations")


@lru_cache
def _read_slice(scoped: bool) -> Statement:
    """Read a part of a packed value by its index, and the part of the content that its blocks span.

    `entry` is the index's entry before the slice's first block, `next` that before the block after its last;
    the parts of the layout are those of `utils.token_spans`. Positions of `substring` count from 1.
    """
    scope = " AND project_id = %s" if scoped else ""
    number = "('x' || encode(substring({} from {} for 4), 'hex'))::bit(32)::bigint".format
    text = (
        "WITH held AS MATERIALIZED (SELECT content, tokens, token_count::integer AS n, "
        f"substring(tokens from 1 for 25) AS head FROM translations WHERE id = %s::uuid{scope} LIMIT 2), "
        "asked AS MATERIALIZED (SELECT *, least(%s::integer, n) AS a, least(%s::integer, n) AS b, "
        f"11 + get_byte(head, 9) AS index_at, (n + {BLOCK - 1}) / {BLOCK} AS blocks FROM held), "
        f"touched AS MATERIALIZED (SELECT *, greatest(least(a, n - 1), 0) / {BLOCK} AS k, "
        f"(greatest(a, b) + {BLOCK - 1}) / {BLOCK} AS m FROM asked), "
        "found AS MATERIALIZED (SELECT *, "
        "CASE WHEN k > 0 THEN substring(tokens from index_at + 8 * (k - 1) for 8) END AS entry, "
        "CASE WHEN m > k AND m < blocks "
        "THEN substring(tokens from index_at + 8 * (m - 1) for 8) END AS next, "
        "index_at + 8 * greatest(blocks - 1, 0) AS halves_at FROM touched), "
        f"placed AS MATERIALIZED (SELECT *, coalesce({number('entry', 1)}, 0)::integer AS before, "
        f"coalesce({number('entry', 5)}, 0)::integer AS wide_from, {number('next', 1)}::integer AS until, "
        f"{number('next', 5)}::integer AS wide_to, halves_at + (n + 1) / 2 AS wide_at FROM found) "
        f"SELECT a, greatest(a, b), k * {BLOCK}, substring(head from 11 for index_at - 11), before, "
        f"substring(tokens from halves_at + k * {BLOCK // 2} for (greatest(a, b) - k * {BLOCK} + 1) / 2), "
        "CASE WHEN until IS NULL THEN substring(tokens from wide_at + wide_from) "
        "ELSE substring(tokens from wide_at + wide_from for wide_to - wide_from) END, "
        "CASE WHEN n IS NULL THEN '' WHEN until IS NULL THEN substring(content from before + 1) "
        "ELSE substring(content from before + 1 for until - before) END FROM placed"
    )
    return Statement(text, "translations.tokens")
