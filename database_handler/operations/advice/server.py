"""Settings of the server that trade away what this library promises."""

from collections.abc import Iterator

from database_handler.core.session import Session, Statement
from database_handler.operations.advice.findings import AdviceLimits, Finding, Severity

__all__ = ["find_settings"]

_SETTINGS = Statement(
    "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)",
    "advise.settings",
)
# Of each: the value that is told, how bad it is, and why.
_TOLD: dict[str, tuple[frozenset[str], Severity, str]] = {
    "fsync": (frozenset({"off"}), "urgent", "a crash of the machine may destroy the whole database"),
    "full_page_writes": (
        frozenset({"off"}),
        "urgent",
        "a crash of the machine may leave pages half written, which nothing repairs",
    ),
    "synchronous_commit": (
        frozenset({"off"}),
        "warning",
        "what was told to be committed in the last moments before a crash may be gone",
    ),
    "autovacuum": (
        frozenset({"off"}),
        "warning",
        "dead rows stay, statistics grow old, and transaction ids run out",
    ),
    "track_counts": (
        frozenset({"off"}),
        "warning",
        "the server counts nothing: autovacuum does not work, and most of this advice sees nothing",
    ),
    "data_checksums": (
        frozenset({"off"}),
        "note",
        "a page that the disk has damaged is read as if it were right",
    ),
    "ignore_checksum_failure": (frozenset({"on"}), "urgent", "damaged pages are read as if they were right"),
    "zero_damaged_pages": (frozenset({"on"}), "urgent", "damaged pages are emptied without an error"),
}


def find_settings(session: Session, limits: AdviceLimits) -> Iterator[Finding]:
    """Find settings under which the server may lose data, or does not look after itself."""
    del limits
    for name, value in sorted(session.all(_SETTINGS, [list(_TOLD)])):
        told, severity, why = _TOLD[name]
        if value in told:
            yield Finding(
                kind="setting",
                severity=severity,
                object=name,
                why=f"{name} is {value}: {why}",
                remedy="pg_checksums --enable, with the server stopped"
                if name == "data_checksums"
                else "set it back",
                sql=() if name == "data_checksums" else (f"ALTER SYSTEM RESET {name}",),
            )
