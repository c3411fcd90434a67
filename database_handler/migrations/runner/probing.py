"""What became of a statement that was cut off: told by the catalogue, and what is left of it put away.

Only what cannot run in a transaction is asked about: everything else is on record in the transaction that it
ran in. Before such a statement is begun, what the catalogue says is written down; an index of that name that
was there before is not taken for the statement's own.

One module: each probe is a few lines, and they are the cases of one rule.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import ClassVar, Protocol

from database_handler.core.exceptions import DatabaseError
from database_handler.core.session import Session, Statement
from database_handler.core.sql_text import Token, TokenKind, significant_tokens
from database_handler.migrations.files.statement_checks import words_of
from database_handler.utils.logger import get_logger

__all__ = ["Before", "Probe", "Verdict", "probe_of"]

_log = get_logger(__name__)
Before = Mapping[str, object]


class Verdict(Enum):
    """What to do about a statement that was begun."""

    DONE = "its effect is there"
    AGAIN = "it left no effect, or none that harms: run it again"
    UNKNOWN = "nobody can tell"


class Probe(Protocol):
    """Looks at the catalogue before a statement, and after it was cut off."""

    repeats: ClassVar[bool]
    """Whether the statement may be run again after it failed by a lock."""

    def before(self, session: Session) -> Before:
        """Return what to remember, as JSON holds it."""
        ...

    def settle(self, session: Session, before: Before) -> Verdict:
        """Say what became of it, and put away what is left of one that was cut off."""
        ...


# ---------------------------------------------------------------------------------------------------- indexes

_INDEX = Statement(
    "SELECT c.oid::bigint, coalesce(i.indisvalid, true), format('%%I.%%I', n.nspname, c.relname),"
    " EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = c.oid)"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid"
    " WHERE c.relname = (parse_ident(%s))[1]::name"
    " AND c.relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = to_regclass(%s))",
    "migrations.probe_index",
)


class _CreateIndex:
    repeats: ClassVar[bool] = True

    def __init__(self, index: str, table: str, *, unless_there: bool) -> None:
        self._named = [index, table]
        self._unless_there = unless_there

    def before(self, session: Session) -> Before:
        found = session.maybe(_INDEX, self._named)
        if found and self._unless_there and not found[1] and not found[3]:
            # IF NOT EXISTS would be content with what an earlier, interrupted build left behind.
            _drop(session, found[2])
            found = None
        return {"oid": found[0] if found else None}

    def settle(self, session: Session, before: Before) -> Verdict:
        found = session.maybe(_INDEX, self._named)
        if not found or found[0] == before.get("oid"):
            return Verdict.AGAIN
        if found[1]:
            return Verdict.DONE
        _drop(session, found[2])
        return Verdict.AGAIN


def _drop(session: Session, index: str) -> None:
    session.run(Statement(f"DROP INDEX CONCURRENTLY IF EXISTS {index}", "migrations.drop_invalid_index"))
    _log.info("migration.invalid_index_dropped", index=index)


_RELATION = Statement("SELECT to_regclass(%s)::oid::bigint", "migrations.probe_relation")


class _DropIndex:
    repeats: ClassVar[bool] = True

    def __init__(self, index: str) -> None:
        self._index = index

    def before(self, session: Session) -> Before:
        return {"oid": session.one(_RELATION, [self._index])[0]}

    def settle(self, session: Session, before: Before) -> Verdict:
        [now] = session.one(_RELATION, [self._index])
        was_there = "oid" not in before or before["oid"] is not None
        gone = now is None or now != before.get("oid", now)
        return Verdict.DONE if was_there and gone else Verdict.AGAIN


_LEFT_BEHIND = Statement(
    "SELECT c.oid::bigint, format('%I.%I', n.nspname, c.relname)"
    " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' AND NOT EXISTS"
    " (SELECT FROM pg_catalog.pg_stat_progress_create_index p"
    " WHERE c.oid = p.index_relid OR i.indrelid = p.relid)",
    "migrations.probe_reindex",
)


class _Reindex:
    """REINDEX CONCURRENTLY leaves copies named `_ccnew` or `_ccold` behind; it can be run again always."""

    repeats: ClassVar[bool] = True

    def before(self, session: Session) -> Before:
        return {"invalid": [oid for oid, _ in session.all(_LEFT_BEHIND)]}

    def settle(self, session: Session, before: Before) -> Verdict:
        known = before.get("invalid")
        if isinstance(known, list):  # an earlier release did not say
            for oid, index in session.all(_LEFT_BEHIND):
                if oid not in known:
                    self._drop(session, index)
        return Verdict.AGAIN

    def _drop(self, session: Session, index: str) -> None:
        try:
            _drop(session, index)
        except DatabaseError as error:  # it takes room and harms nothing; the index itself is valid
            _log.warning("migration.invalid_index_kept", index=index, sqlstate=error.sqlstate)


# ----------------------------------------------------------------------------------------------------- others

_PARTITION = Statement(
    "SELECT inhdetachpending FROM pg_catalog.pg_inherits"
    " WHERE inhparent = to_regclass(%s) AND inhrelid = to_regclass(%s)",
    "migrations.probe_partition",
)


class _Detach:
    repeats: ClassVar[bool] = True

    def __init__(self, parent: str, partition: str) -> None:
        self._named = [parent, partition]

    def before(self, session: Session) -> Before:
        return {"attached": session.maybe(_PARTITION, self._named) is not None}

    def settle(self, session: Session, before: Before) -> Verdict:
        found = session.maybe(_PARTITION, self._named)
        if found is None:
            return Verdict.DONE if before.get("attached", True) else Verdict.AGAIN
        if not found[0]:
            return Verdict.AGAIN
        parent, partition = self._named
        text = f"ALTER TABLE {parent} DETACH PARTITION {partition} FINALIZE"
        session.run(Statement(text, "migrations.finish_detach"))
        return Verdict.DONE


_CATALOGUES = {
    "DATABASE": "pg_database WHERE datname",
    "TABLESPACE": "pg_tablespace WHERE spcname",
    "SUBSCRIPTION": "pg_subscription WHERE subname",
}


class _Shared:
    """CREATE and DROP of what lies beside the schemas: there, or not there, as a whole."""

    repeats: ClassVar[bool] = True

    def __init__(self, kind: str, name: str, *, creates: bool) -> None:
        text = f"SELECT EXISTS (SELECT FROM pg_catalog.{_CATALOGUES[kind]} = (parse_ident(%s))[1]::name)"
        self._there = Statement(text, "migrations.probe_shared")
        self._name = name
        self._creates = creates

    def before(self, session: Session) -> Before:
        return {"there": session.one(self._there, [self._name])[0]}

    def settle(self, session: Session, before: Before) -> Verdict:
        [there] = session.one(self._there, [self._name])
        changed = there is self._creates and before.get("there", not self._creates) is not self._creates
        return Verdict.DONE if changed else Verdict.AGAIN


class _Repeatable:
    """What may be run twice: VACUUM, ALTER SYSTEM, anything with IF [NOT] EXISTS."""

    repeats: ClassVar[bool] = True

    def before(self, session: Session) -> Before:  # noqa: ARG002  # nothing is to be remembered
        return {"repeats": True}

    def settle(self, session: Session, before: Before) -> Verdict:  # noqa: ARG002
        return Verdict.AGAIN


class _Opaque:
    """A DO or CALL that commits by itself, or something else that cannot be looked up."""

    repeats: ClassVar[bool] = False

    def before(self, session: Session) -> Before:  # noqa: ARG002
        return {"opaque": True}

    def settle(self, session: Session, before: Before) -> Verdict:  # noqa: ARG002
        # An earlier release ran it again without a question, and wrote nothing down.
        return Verdict.UNKNOWN if before else Verdict.AGAIN


# -------------------------------------------------------------------------------------------- which one it is

_AGAIN = ("VACUUM", "ANALYZE", "ANALYSE", "CLUSTER", "CHECKPOINT", "DISCARD", "LOAD", "ALTER SYSTEM",
          "ALTER DATABASE", "ALTER SUBSCRIPTION", "REFRESH")  # fmt: skip


def probe_of(sql: str) -> Probe:
    """Return the probe for a statement that cannot run in a transaction, chosen by its words."""
    found = list(significant_tokens(sql))
    words = words_of(found)
    try:
        known = _concurrent(found, words) or _beside_schemas(found, words)
    except IndexError:  # the server will not take it either
        known = None
    if known:
        return known
    if words.startswith(_AGAIN) or " IF EXISTS " in words[:80] or " IF NOT EXISTS " in words[:80]:
        return _Repeatable()
    return _Opaque()


def _concurrent(found: Sequence[Token], words: str) -> Probe | None:
    if words.startswith("REINDEX"):
        return _Reindex()
    at = 1 + next((place for place, token in enumerate(found) if _is(token, "CONCURRENTLY")), len(found))
    if words.startswith(("CREATE INDEX CONCURRENTLY", "CREATE UNIQUE INDEX CONCURRENTLY")):
        unless_there = _is(found[at], "IF")
        index, at = _name(found, at + 3 if unless_there else at)
        at += 1 + _is(found[at + 1], "ONLY")
        return _unless_escaped(index, _CreateIndex(index, _name(found, at)[0], unless_there=unless_there))
    if words.startswith("DROP INDEX CONCURRENTLY"):
        index, _ = _name(found, at + 2 if _is(found[at], "IF") else at)
        return _unless_escaped(index, _DropIndex(index))
    if words.startswith("ALTER TABLE") and " DETACH PARTITION " in words:
        at = 4 if _is(found[2], "IF") else 2
        parent, at = _name(found, at + _is(found[at], "ONLY"))
        return _Detach(parent, _name(found, at + 2)[0])
    return None


def _beside_schemas(found: Sequence[Token], words: str) -> Probe | None:
    verb, kind = [*words.split(" ", 2), "", ""][:2]
    if verb not in {"CREATE", "DROP"} or kind not in _CATALOGUES:
        return None
    name, _ = _name(found, 4 if _is(found[2], "IF") else 2)
    return _unless_escaped(name, _Shared(kind, name, creates=verb == "CREATE"))


def _unless_escaped(name: str, probe: Probe) -> Probe | None:
    return None if name.upper().startswith("U&") else probe  # parse_ident cannot read it


def _is(token: Token, word: str) -> bool:
    return token.kind is TokenKind.WORD and token.text.upper() == word


def _name(found: Sequence[Token], at: int) -> tuple[str, int]:
    """Return the name, with its schema, that begins at a token, and the place after it."""
    text = found[at].text
    while found[at + 1 : at + 2] and found[at + 1].text == ".":
        text += f".{found[at + 2].text}"
        at += 2
    return text, at + 1
