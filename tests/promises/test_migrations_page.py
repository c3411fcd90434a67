"""docs/migrations.md is walked through as a user would: every command runs, every file is as it is shown."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg2 import sql

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.session import Session
from database_handler.core.transaction import Autocommit
from database_handler.migrations.safety.lint import RULES
from tests.support.pages import Walk, blocks, names_of_tests, only_settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "migrations.md"
LEGACY = (
    "CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE)"
)


@pytest.fixture
def url(database_server: DatabaseConfig) -> Iterator[Callable[[], str]]:
    """Makes empty databases, each dropped afterwards."""
    admin = Autocommit(lambda: dedicated(database_server.with_(name="postgres"))).session
    made: list[str] = []

    def make() -> str:
        made.append(f"test_{uuid4().hex}")
        admin.run(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(made[-1])))
        return database_server.with_(name=made[-1]).url(hide_password=False)

    yield make
    for name in made:
        admin.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def session(url: str) -> Session:
    return Autocommit(lambda: dedicated(DatabaseConfig.from_url(url))).session


class Reader(Walk):
    """A user who does what the page says, in a package of their own."""

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        names: dict[str, str],
    ) -> None:
        super().__init__(monkeypatch, capsys, names)
        self.folder = folder

    def command(self, line: str) -> str:
        self.forget()
        return super().command(line)

    def text(self, code: str) -> None:
        assert code in self.said, "what the command before it printed"

    def diff(self, code: str) -> None:
        """Change a file: the lines of `-` and of the context are there, and make room."""
        name, *lines = code.splitlines()
        file = self.folder / name.removeprefix("# ")
        before = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
        after = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
        text = file.read_text("utf-8")
        assert text.count(before) == 1, before
        file.write_text(text.replace(before, after), "utf-8")

    def python(self, code: str) -> None:
        named = re.match(r"# (newsroom/\S+)\n", code)
        if named is None:
            self.forget()
            super().python(code)
            return
        file = self.folder / named[1]
        file.parent.mkdir(exist_ok=True)
        file.write_text(code, "utf-8")

    def sql(self, code: str) -> None:
        first = code.splitlines()[0].removeprefix("-- ")
        if first == "typed into psql":
            session(self.names["DATABASE_URL"]).script(code)
            return
        file = self.folder / "newsroom" / "versions" / f"{first}.sql"
        if file.exists():
            assert code == file.read_text("utf-8")
        else:
            file.write_text(code, "utf-8")

    @staticmethod
    def forget() -> None:
        """Let the package be imported anew, for its files have changed."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "newsroom"]:
            del sys.modules[name]


@pytest.fixture
def reader(
    url: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Reader]:
    names = {"DATABASE_URL": url(), "LEGACY_URL": url(), "OTHER_URL": url()}
    for name in ("LEGACY_URL", "OTHER_URL"):
        session(names[name]).script(LEGACY)
    for schema in ("tenant_a", "tenant_b"):
        session(names["DATABASE_URL"]).script(f"CREATE SCHEMA {schema}")
    only_settings(
        monkeypatch,
        tmp_path,
        DATABASE_URL=names["DATABASE_URL"],
        DATABASE_CLASS="newsroom.data:NewsroomDatabase",
    )
    monkeypatch.setattr(
        sys, "dont_write_bytecode", True
    )  # a file that changes twice in a second is read twice
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "newsroom").mkdir()
    (tmp_path / "newsroom" / "__init__.py").touch()
    yield Reader(tmp_path, monkeypatch, capsys, names)
    Reader.forget()
    with contextlib.suppress(ValueError):
        sys.path.remove(str(tmp_path))


@pytest.mark.timeout(300)
def test_the_page_is_true(reader: Reader) -> None:
    for block in blocks(PAGE):
        reader.do(PAGE, block)


def test_the_page_lists_the_rules() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \| (.*?) \| (.*) \|$", PAGE.read_text("utf-8"), re.M)
    assert listed == [(name, RULES[name].what, RULES[name].instead) for name in RULES]


def test_each_claim_about_us_names_a_test_that_there_is() -> None:
    page = PAGE.read_text("utf-8")
    named = re.findall(r"\]\(\.\./(tests/[\w/]+\.py) \"(test_\w+)\"\)", page)
    assert len(named) == page.count("](../tests/"), "each says which test of the file it is"
    assert [each for each in named if each[1] not in names_of_tests(ROOT / each[0])] == []
    table = page.partition("## Beside other tools")[2]
    claims = [cells[2] for line in table.splitlines() if len(cells := line.split("|")) > 6][2:]
    told = {"no", "MIT"}
    assert [
        claim.strip() for claim in claims if "](../tests/" not in claim and claim.strip() not in told
    ] == []
