"""Runs a script of `scripts/` in the process of the tests: its start would take most of the time."""

import runpy
import subprocess
import sys

import pytest

__all__ = ["run_here"]


def run_here(
    script: str, *arguments: str, patch: pytest.MonkeyPatch, printed: pytest.CaptureFixture[str]
) -> subprocess.CompletedProcess[str]:
    """Return how it ended and what it printed, as `subprocess.run` does."""
    patch.setattr(sys, "argv", [script, *arguments])
    printed.readouterr()
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    assert isinstance(ended.value.code, int)
    return subprocess.CompletedProcess([script, *arguments], ended.value.code, *printed.readouterr())
