"""Fuzz one target for some seconds: ``python -m benchmarks.fuzz --target NAME --seconds N --json FILE``.

It needs atheris, which is no part of any extra: ``pip install atheris`` (3.0.0 has wheels for Linux, Python
3.11 to 3.13). With ``--corpus DIR`` what was found to reach new code is kept there, and begun with next time.
"""

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic

from benchmarks.fuzz.targets import TARGETS, Target

LONGEST = 4_096  # bytes of an input
HANGS = 20  # seconds that one input may take
MEMORY = 2_048  # MiB
ROOT = Path(__file__).parents[2]
STATE = re.compile(r"#(\d+)\s.*?cov: (\d+) ft: (\d+) corp: (\d+)/")


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to.

    Attributes
    ----------
    coverage, features : int
        Edges of the code that were reached, and edges with how often they were.
    findings : list of dict
        Each kind of failure once, with an input that shows it.
    """

    target: str
    seconds: float
    runs: int
    corpus: int
    coverage: int
    features: int
    findings: list[dict[str, str]]


def main() -> int:
    asked = arguments().parse_args()
    if importlib.util.find_spec("atheris") is None:
        sys.exit("fuzzing needs atheris, which is no part of any extra: pip install atheris")
    with tempfile.TemporaryDirectory() as folder:
        result = fuzzed(asked.target, asked.seconds, Path(folder), asked.corpus, asked.seed)
    print(
        f"{result.target}: {result.runs:,} runs in {result.seconds:.0f} s, corpus {result.corpus}, "
        f"coverage {result.coverage} ({result.features} features), {len(result.findings)} findings"
    )
    for finding in result.findings:
        print(f"  {finding['where']}: {finding['error']}: {finding['message']}\n    {finding['input'][:200]}")
    if asked.json is not None:
        asked.json.write_text(json.dumps(asdict(result), indent=2) + "\n")
    return 1 if result.findings else 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--target", choices=sorted(TARGETS), required=True)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="a folder that inputs are kept in")
    parser.add_argument("--json", type=Path, help="a file for the result")
    return parser


def fuzzed(name: str, seconds: int, folder: Path, corpus: Path | None, seed: int) -> Result:
    """Run the engine, and read what it says."""
    kept, findings = corpus or folder / "corpus", folder / "findings"
    prepared(TARGETS[name], kept, folder / "words")
    findings.touch()
    options = [str(kept), f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-dict={folder / 'words'}"]
    options += [
        f"-seed={seed}",
        f"-timeout={HANGS}",
        f"-rss_limit_mb={MEMORY}",
        f"-artifact_prefix={folder}/",
    ]
    started = monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.fuzz.engine", name, str(findings), *options],
        cwd=ROOT,
        capture_output=True,
        timeout=seconds + 120,
        check=False,
    )
    said = ended.stderr.decode(errors="replace")
    states = STATE.findall(said)
    runs, coverage, features, size = map(int, states[-1]) if states else (0, 0, 0, 0)
    found = [json.loads(line) for line in findings.read_text().splitlines()]
    if ended.returncode != 0:  # a hang, too much memory, or the engine itself
        found.append(
            {"error": f"exit {ended.returncode}", "message": said[-1000:], "where": "?", "input": ""}
        )
    return Result(name, round(monotonic() - started, 1), runs, size, coverage, features, found)


def prepared(target: Target, corpus: Path, words: Path) -> None:
    """Write the seeds and the dictionary."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    words.write_text("".join(f'"{escaped(word)}"\n' for word in target.words))


def escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    sys.exit(main())
