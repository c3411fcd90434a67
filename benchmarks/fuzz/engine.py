"""The fuzzing process: runs one target under atheris and writes down each kind of failure once.

`benchmarks.fuzz` starts it: ``python -m benchmarks.fuzz.engine TARGET FINDINGS CORPUS [options]``.
"""

import base64
import json
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = ("database_handler", "benchmarks")


def main() -> None:
    atheris: Any = import_module("atheris")  # it has no annotations, and is not installed everywhere
    name, findings, *options = sys.argv[1:]
    atheris.enabled_hooks.add("str")
    with atheris.instrument_imports(include=["database_handler", "benchmarks.fuzz.targets", "langcodes"]):
        targets = import_module("benchmarks.fuzz.targets")
    one_input = noting(targets.TARGETS[name].run, Path(findings))
    atheris.Setup([sys.argv[0], *options], one_input)
    atheris.Fuzz()


def noting(run: Callable[[bytes], None], findings: Path) -> Callable[[bytes], None]:
    """Go on after a failure: it is noted down once, by its class and its place."""
    known: set[tuple[str, str]] = set()

    def one_input(data: bytes) -> None:
        try:
            run(data)
        except Exception as error:  # noqa: BLE001  # it is what is looked for
            found = type(error).__name__, place_of(error)
            if found not in known:
                known.add(found)
                with findings.open("a") as file:
                    file.write(told(error, data))

    return one_input


def place_of(error: BaseException) -> str:
    """Return the line of ours that is nearest to where it was raised."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if any(h in frame.filename for h in HERE)
    ]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


def told(error: Exception, data: bytes) -> str:
    found = {"error": type(error).__name__, "message": str(error)[:300], "where": place_of(error)}
    return json.dumps(found | {"input": base64.b64encode(data).decode()}) + "\n"


if __name__ == "__main__":
    main()
