"""Imports point one way: `scripts/test` runs import-linter, and its contracts say what they must."""

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "database_handler" / "models"
MODELS_MAY_IMPORT = (
    "database_handler.models",
    "database_handler.core.base_model",
    "database_handler.core.schema",
    "database_handler.utils.validators",
)


def contract(name: str) -> dict[str, Any]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = {each["name"]: each for each in settings["tool"]["importlinter"]["contracts"]}
    found: dict[str, Any] = named[name]
    assert "ignore_imports" not in found
    return found


def test_layers_stand_in_their_order() -> None:
    assert [
        layer.replace("database_handler.", "") for layer in contract("Layers import downwards only")["layers"]
    ] == [
        "cli",
        "aio",
        "database",
        "unit_of_work",
        "repositories",
        "models",
        "core",
        "config",
        "utils",
    ]


def test_side_packages_know_nothing_of_their_users() -> None:
    found = contract("Side packages know nothing of the layers that use them")
    assert {name.split(".")[1] for name in found["source_modules"]} == {
        *("migrations", "operations", "content", "integrations")
    }
    assert {name.split(".")[1] for name in found["forbidden_modules"]} == {
        *("cli", "aio", "database", "unit_of_work")
    }


def imports_of(path: Path) -> list[str]:
    """The modules of this package that a file imports, at its top or inside a function."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: a relative import hides where it points"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in found if name.split(".")[0] == "database_handler"]


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.py")), ids=lambda path: path.name)
def test_models_import_only_what_describes_them(path: Path) -> None:
    allowed = tuple(f"{name}." for name in MODELS_MAY_IMPORT)
    assert [name for name in imports_of(path) if not f"{name}.".startswith(allowed)] == []
