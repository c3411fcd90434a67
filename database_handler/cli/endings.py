"""Every exit code of the command line is given here, by a command's value or by its error."""

import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import singledispatch
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from database_handler.cli.cache_reports import CheckedCache
from database_handler.cli.commands import Initialised, Probed
from database_handler.cli.config_reports import CheckedSettings
from database_handler.cli.replica_reports import CheckedReplicas
from database_handler.cli.reports import Checked, CheckedMetadata, CheckedVideos, Covered, Linked
from database_handler.core.exceptions import (
    ConfigurationError,
    DatabaseHandlerError,
    InvalidValue,
    SchemaMismatch,
)
from database_handler.migrations import MigrationLockTimeout, MigrationStatus, errors
from database_handler.migrations.runner.many_schemas import SchemasReport
from database_handler.operations.health import Health, Unready
from database_handler.operations.roles import RolesCheck
from database_handler.utils.logger import encoded

if TYPE_CHECKING:  # loaded with the commands that return them
    from database_handler.migrations.generation.checking import Verified
    from database_handler.migrations.live.comparing import Comparison

__all__ = ["DecisionNeeded", "Ending", "UsageProblem", "ending", "know_versions", "silence_stdout", "tell"]

_LOCK_NOT_AVAILABLE = "55P03"


class Ending(IntEnum):
    """The exit codes."""

    DONE = 0
    ERROR = 1
    PENDING = 2
    DRIFT = 3
    DECISION = 4
    LINT = 5
    LOCK = 6
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class DecisionNeeded(DatabaseHandlerError):
    """What would be destroyed was not agreed to; nothing was done."""


@runtime_checkable
class UsageProblem(Protocol):
    """An error about the options; known by what it can do, for its class has no public name."""

    exit_code: int

    def format_message(self) -> str:
        """Say what is wrong."""
        ...


@singledispatch
def ending(value: object) -> Ending:  # noqa: ARG001  # what the other kinds are told apart by
    """Return the exit code that a command's value stands for: 0 unless its kind says otherwise."""
    return Ending.DONE


@ending.register
def _(value: Health) -> Ending:
    if value.ready:
        return Ending.DONE
    only_behind = all(reason.kind is Unready.BEHIND for reason in value.reasons)
    return Ending.PENDING if only_behind else Ending.ERROR


@ending.register
def _(value: Probed) -> Ending:
    return Ending.DONE if value.passed else Ending.ERROR  # container runtimes know 0 and 1 only


@ending.register
def _(value: Initialised) -> Ending:
    return ending(value.health)


@ending.register
def _(value: Covered) -> Ending:
    lacking = any(totals.missing for totals in value.coverage.totals.values())
    return Ending.PENDING if lacking else Ending.DONE


@ending.register
def _(value: CheckedMetadata) -> Ending:
    return Ending.PENDING if value.violations else Ending.DONE


@ending.register
def _(value: Checked) -> Ending:
    return Ending.ERROR if value.report.problems else Ending.DONE


@ending.register
def _(value: CheckedVideos) -> Ending:
    return Ending.ERROR if value.report.problems else Ending.DONE


@ending.register
def _(value: Linked) -> Ending:
    return Ending.ERROR if value.added.refused else Ending.DONE


@ending.register
def _(value: CheckedCache) -> Ending:
    return Ending.DONE if value.check.ok else Ending.ERROR


@ending.register
def _(value: CheckedReplicas) -> Ending:
    return Ending.DONE if value.ok else Ending.ERROR


@ending.register
def _(value: CheckedSettings) -> Ending:
    return Ending.DONE if value.ok else Ending.ERROR


@ending.register
def _(value: RolesCheck) -> Ending:
    return Ending.DRIFT if value.differs else Ending.DONE


@ending.register
def _(value: MigrationStatus) -> Ending:
    if any(item.state in {"changed", "missing"} for item in value.items):
        return Ending.ERROR
    return Ending.DONE if value.at_head else Ending.PENDING


@ending.register
def _(value: SchemasReport) -> Ending:
    return Ending.ERROR if value.failed else Ending.DONE


def know_versions() -> None:
    """Learn the exit codes of the values that only some commands on versions load."""
    from database_handler.migrations.generation import checking
    from database_handler.migrations.live import comparing, drift, linting, preflight

    ending.register(checking.Checked, lambda value: _if(not value.agrees, Ending.PENDING))
    ending.register(checking.Verified, _of_verified)
    ending.register(drift.DriftReport, lambda value: _if(value.drifted, Ending.DRIFT))
    ending.register(comparing.Comparison, _of_comparison)
    ending.register(preflight.PreflightReport, lambda value: _if(value.violated, Ending.DECISION))
    ending.register(linting.LintReports, lambda value: _if(value.failed, Ending.LINT))


def _if(met: bool, code: Ending) -> Ending:
    return code if met else Ending.DONE


def _of_verified(value: "Verified") -> Ending:
    if any(version.problems for version in value.versions):
        return Ending.ERROR
    return _if(not value.holds, Ending.PENDING)


def _of_comparison(value: "Comparison") -> Ending:
    return Ending.DRIFT if value.schema_differences else _if(bool(value.versions), Ending.PENDING)


def tell(error: Exception, *, as_json: bool, verbose: bool, misuse: int) -> int:
    """Tell an error, on standard error or as a JSON object on standard output; return the exit code.

    With `verbose` the frames follow on standard error: without the error's own text, which may quote a
    value where the error is none of ours.
    """
    line = "\n".join(str(encoded(part)) for part in _line(error).split("\n"))
    if not (as_json and _printed(json.dumps({"error": line} | dict(_facts(error)), default=str))):
        print(line, file=sys.stderr)
    if verbose:
        print("".join(traceback.format_tb(error.__traceback__)), end="", file=sys.stderr)
    return _code(error, misuse)


# What an error knows beside its words: where in which file, of which versions, what the server called it.
_FACTS = ("path", "line", "column", "stored", "versions", "sqlstate", "applied", "rolled_back", "decisions")


def _facts(error: BaseException) -> Iterator[tuple[str, object]]:
    if not isinstance(error, DatabaseHandlerError):
        return
    yield from ((name, value) for name in _FACTS if (value := getattr(error, name, None)))
    others: Sequence[DatabaseHandlerError] = getattr(error, "others", ())
    if others:
        yield "others", [{"error": _line(each)} | dict(_facts(each)) for each in others]


def _printed(line: str) -> bool:
    """Print on standard output; False where that takes nothing, such as on a full disk."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        return False
    return True


def _line(error: Exception) -> str:
    kind = type(error).__name__
    if isinstance(error, DatabaseHandlerError):
        hint = "; run `database-handler migrate` first" if isinstance(error, SchemaMismatch) else ""
        return f"{kind}: {error}{hint}"
    if isinstance(error, UsageProblem):
        context = getattr(error, "ctx", None)
        seen = f" (see: {context.command_path} --help)" if context else ""
        return f"UsageError: {' '.join(error.format_message().split())}{seen}"
    if isinstance(error, OSError) and error.strerror:
        return f"{kind}: {error.strerror}{f': {error.filename}' if error.filename else ''}"
    return f"unexpected {kind}, a fault of database-handler: run again with --verbose to see where"


def _code(error: Exception, misuse: int) -> int:
    if isinstance(error, MigrationLockTimeout) or getattr(error, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
        return Ending.LOCK
    if isinstance(error, DecisionNeeded | errors.DecisionNeeded):
        return Ending.DECISION
    if isinstance(error, errors.SchemaDiffers):
        return Ending.DRIFT
    wrong = isinstance(error, ConfigurationError | InvalidValue | UsageProblem)
    return misuse if wrong else Ending.ERROR


def silence_stdout() -> None:
    """Send what is still to be written to nowhere, for the interpreter flushes it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
