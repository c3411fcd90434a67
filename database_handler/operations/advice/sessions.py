"""Sessions that hold what others need: long and idle transactions, prepared ones, and who blocks whom."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from database_handler.core.session import Session, Statement
from database_handler.core.statement_name import name_in
from database_handler.operations.advice.findings import AdviceLimits, Finding
from database_handler.utils.text import counted

__all__ = ["Waiting", "find_blocking", "find_long", "find_prepared", "roots"]

# A role without pg_read_all_stats sees when others began nowhere, and so none of them here.
_LONG = Statement(
    """SELECT a.pid, a.usename, extract(epoch FROM now() - a.xact_start)::float8,
    extract(epoch FROM now() - a.state_change)::float8, a.state LIKE 'idle in transaction%%',
    coalesce(age(a.backend_xmin), age(a.backend_xid))::float8, a.query
    FROM pg_stat_activity AS a WHERE a.datname = current_database() AND a.backend_type = 'client backend'
    AND a.pid <> pg_backend_pid() AND a.xact_start < now() - make_interval(secs => %s)
    ORDER BY a.xact_start""",
    "advise.transactions",
)


def find_long(session: Session, limits: AdviceLimits) -> Iterator[Finding]:
    """Find transactions that began long ago, and those in which nothing happens."""
    least = min(limits.long_transaction, limits.idle_in_transaction)
    for pid, role, seconds, still, idle, held, query in session.all(_LONG, [least]):
        if idle and still >= limits.idle_in_transaction:
            doing = f"it has sent nothing for {still:,.0f} s, last {_called(query)}"
        elif seconds >= limits.long_transaction:
            doing = f"it runs {_called(query)}"
        else:
            continue
        yield Finding(
            kind="idle in transaction" if idle else "long transaction",
            severity="warning",
            object=f"process {pid}",
            why=f"a transaction of {role} began {seconds:,.0f} s ago: {doing}"
            + (
                ""
                if held is None
                else f"; no row that died in the last {held:,.0f} transactions can be removed"
            ),
            remedy="end it where its program has forgotten it, and set idle_in_transaction_session_timeout"
            if idle
            else "let it end; if it should not take so long, end it",
            sql=(f"SELECT pg_terminate_backend({pid})",),
            numbers={"seconds": round(seconds, 1), "idle_seconds": round(still, 1) if idle else 0.0},
        )


def _called(query: str | None) -> str:
    """Name a statement: by the call that sent it, or by its first word; the rest may hold a row's values."""
    if not query:
        return "nothing"
    words = query.split(None, 1)
    first = words[0][:20] if words and words[0].isalpha() else "a statement"
    return name_in(query) or first


_PREPARED = Statement(
    "SELECT quote_literal(gid), 'ROLLBACK PREPARED ' || quote_literal(gid), owner, "
    "extract(epoch FROM now() - prepared)::float8, "
    "age(transaction)::float8 "
    "FROM pg_prepared_xacts WHERE database = current_database() "
    "AND prepared < now() - make_interval(secs => %s) ORDER BY prepared",
    "advise.prepared",
)


def find_prepared(session: Session, limits: AdviceLimits) -> Iterator[Finding]:
    """Find prepared transactions that nobody has ended: they outlive every session, and a restart."""
    for name, undo, owner, seconds, held in session.all(_PREPARED, [limits.long_transaction]):
        yield Finding(
            kind="prepared transaction",
            severity="warning",
            object=f"prepared transaction {name}",
            why=f"{owner} prepared it {seconds:,.0f} s ago, and it holds its locks and the rows that died in "
            f"{held:,.0f} transactions",
            remedy="commit it or roll it back: ask its transaction manager which",
            sql=(undo,),
            numbers={"seconds": round(seconds, 1), "transactions": held},
        )


# ------------------------------------------------------------------------------------------- who blocks whom

# Only of those that wait for a lock is it asked who is in their way, for that looks into the lock table.
_BLOCKED = Statement(
    """SELECT a.pid, pg_blocking_pids(a.pid), a.usename, a.query,
    coalesce(extract(epoch FROM clock_timestamp() - w.since), 0)::float8
    FROM pg_stat_activity AS a
    JOIN (SELECT pid, min(waitstart) AS since FROM pg_locks WHERE NOT granted GROUP BY pid) AS w USING (pid)
    WHERE a.datname = current_database()""",
    "advise.blocked",
)
_BLOCKERS = Statement(
    "SELECT pid, usename, state, query, extract(epoch FROM now() - xact_start)::float8 "
    "FROM pg_stat_activity WHERE pid = ANY(%s)",
    "advise.blockers",
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A session that waits for a lock, and for whom it waits; 0 stands for a prepared transaction."""

    pid: int
    blockers: tuple[int, ...]
    seconds: float


def roots(waiting: Mapping[int, Waiting]) -> dict[int, tuple[int, ...]]:
    """Return, of each session that blocks and does not wait itself, all that wait behind it, in order."""
    behind: dict[int, set[int]] = {}
    for pid in waiting:
        for root in _roots_of(pid, waiting):
            behind.setdefault(root, set()).add(pid)
    return {root: tuple(sorted(pids)) for root, pids in behind.items()}


def _roots_of(pid: int, waiting: Mapping[int, Waiting]) -> set[int]:
    """Go up the chain; a ring, which the server is about to break, has no root."""
    seen, ends, todo = {pid}, set[int](), list(waiting[pid].blockers)
    while todo:
        above = todo.pop()
        if above in seen:
            continue
        seen.add(above)
        if above in waiting:
            todo += waiting[above].blockers
        else:
            ends.add(above)
    return ends


def find_blocking(session: Session, limits: AdviceLimits) -> Iterator[Finding]:
    """Find the sessions that others wait for, each with all that wait behind it."""
    rows = session.all(_BLOCKED)
    waiting = {row[0]: Waiting(row[0], tuple(row[1]), row[4]) for row in rows}
    found = {
        root: pids
        for root, pids in roots(waiting).items()
        if max(waiting[pid].seconds for pid in pids) >= limits.blocked
    }
    known = {row[0]: row[1:] for row in session.all(_BLOCKERS, [sorted(found)])} if found else {}
    for root, pids in sorted(found.items(), key=lambda item: -len(item[1])):
        longest = max(waiting[pid].seconds for pid in pids)
        yield _blocking(root, known.get(root), pids, longest)


def _blocking(
    root: int, known: tuple[str, str, str, float | None] | None, pids: tuple[int, ...], longest: float
) -> Finding:
    told = "a prepared transaction" if root == 0 else "a session that cannot be seen"
    if known is not None:
        role, state, query, seconds = known
        since = "" if seconds is None else f", for {seconds:,.0f} s in its transaction"
        told = f"{role} ({state or 'not shown'}{since}, {_called(query)})"
    listed = ", ".join(map(str, pids[:20])) + ("..." if len(pids) > 20 else "")
    return Finding(
        kind="blocking session",
        severity="urgent",
        object=f"process {root}",
        why=f"{counted(len(pids), 'session')} ({listed}) wait for {told}, the longest for {longest:,.1f} s",
        remedy="commit or roll back there; end it if its program has forgotten it",
        sql=(f"SELECT pg_terminate_backend({root})",) if root else (),
        numbers={"waiting": len(pids), "seconds": round(longest, 1)},
    )
