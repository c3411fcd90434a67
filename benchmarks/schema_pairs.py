"""Many random pairs of schemas turned into each other and back: the long run of the tests' property.

``python -m benchmarks.schema_pairs --count 10000`` takes up where an earlier run with the same seed and file
stopped. It prints the pairs that fail, by what they say, and writes the counts as JSON. Every 20th pair is
turned both ways for good as well, and what `pg_dump` says of it is compared.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.exceptions import DatabaseHandlerError
from database_handler.core.transaction import Autocommit
from database_handler.embedded import EmbeddedServer
from tests.support.schema_random import Pair, random_pair, renaming_pair
from tests.support.schemas import Broken, Scratch, check_dumps, check_pair, make_roles

_FOR_GOOD = "pairs_for_good"  # the database of what is not rolled back
_BETWEEN = (
    500  # pairs after which the catalogue, full of what was rolled back, is cleaned, and progress written
)


_PROVEN = ("held", "broken", "refused")


class Outcome(NamedTuple):
    """What became of a pair: ``held``, ``broken`` (and why), or ``refused`` by the rows.

    Of its dumps: ``dumped alike``, or ``dumped otherwise`` (and what differs).
    """

    word: str
    message: str = ""


def dumped(server: EmbeddedServer, pair: Pair) -> Outcome:
    try:
        check_dumps(server.config.with_(name=_FOR_GOOD), server.bin_dir, pair)
    except Broken as broken:
        return Outcome("dumped otherwise", str(broken))
    except DatabaseHandlerError as error:
        return Outcome("dumped otherwise", f"seed {pair.seed}: {error.driver_error or error}")
    return Outcome("dumped alike")


def proven(config: DatabaseConfig, pair: Pair, *, filled: bool) -> Outcome:
    try:
        with Scratch(config) as scratch:
            check_pair(scratch, pair, filled=filled)
    except Broken as broken:
        return Outcome("broken", str(broken))
    except DatabaseHandlerError as error:
        return Outcome("refused" if filled else "broken", f"seed {pair.seed}: {error.driver_error or error}")
    return Outcome("held")


def pairs(first: int, count: int, done: int) -> Iterator[tuple[Pair, bool]]:
    """Plain pairs, every fifth with rows, every tenth of renamings (with rows)."""
    for seed in range(first + done, first + count):
        yield (renaming_pair(seed), True) if seed % 10 == 7 else (random_pair(seed), seed % 5 == 0)


def run(server: EmbeddedServer, first: int, count: int, file: Path | None, every: int) -> dict[str, int]:
    """Try the pairs that an earlier run did not come to; `every` so many, their dumps too."""
    config = server.config
    _prepare(config)
    counts = Counter(_earlier(file, first))
    done = _pairs(counts)
    started = perf_counter()
    for number, (pair, filled) in enumerate(pairs(first, count, done), done + 1):
        outcomes = [proven(config, pair, filled=filled)]
        outcomes += [dumped(server, pair)] if every and pair.seed % every == 0 else []
        for outcome in outcomes:
            counts[outcome.word] += 1
            if outcome.message and outcome.word != "refused":
                print(outcome.message, flush=True)
        if number % _BETWEEN == 0 or number == count:
            _tidy(config)
            _write(file, first, counts)
            print(f"{number} of {count}, {perf_counter() - started:.0f} s: {dict(counts)}", flush=True)
    return dict(counts)


def _prepare(config: DatabaseConfig) -> None:
    session = Autocommit(lambda: dedicated(config)).session
    make_roles(session)
    session.run(f"CREATE DATABASE {_FOR_GOOD}")


def _pairs(counts: Mapping[str, int]) -> int:
    return sum(counts.get(word, 0) for word in _PROVEN)


def _tidy(config: DatabaseConfig) -> None:
    Autocommit(lambda: dedicated(config)).session.script("VACUUM")


def _earlier(file: Path | None, first: int) -> dict[str, int]:
    if file is None or not file.exists():
        return {}
    stored = json.loads(file.read_text(encoding="utf-8"))
    return stored["counts"] if stored["first"] == first else {}


def _write(file: Path | None, first: int, counts: dict[str, int]) -> None:
    if file is not None:
        text = json.dumps({"first": first, "pairs": _pairs(counts), "counts": counts}, indent=1)
        file.write_text(text + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--first", type=int, default=0, help="the first pair's seed")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--dump-every", type=int, default=20, help="so many pairs; 0: none is dumped")
    parser.add_argument("--json", type=Path, help="where the counts are kept, and read when a run goes on")
    chosen = parser.parse_args()
    with TemporaryDirectory() as folder, EmbeddedServer.start(Path(folder) / "pg", durable=False) as server:
        counts = run(server, chosen.first, chosen.count, chosen.json, chosen.dump_every)
    return 1 if counts.get("broken") or counts.get("dumped otherwise") else 0


if __name__ == "__main__":
    sys.exit(main())
