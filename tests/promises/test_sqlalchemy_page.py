"""docs/sqlalchemy.md is true: its examples run, and its guide is followed from the first file to the last."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from alembic.config import main as alembic
from psycopg2 import sql
from sqlalchemy import exc

from database_handler.config.database import DatabaseConfig
from database_handler.core import exceptions
from database_handler.core.connection import dedicated
from database_handler.core.transaction import Autocommit
from database_handler.integrations.sqlalchemy.errors import as_both
from tests.support.pages import Block, Walk, blocks, only_settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sqlalchemy.md"
GUIDE = "\n## Replace one repository in an evening\n"
# What the application of the guide has beside what the page shows: Alembic, at its first revision.
GIVEN = {
    "alembic.ini": "[alembic]\nscript_location = alembic\n",
    "alembic/script.py.mako": "",
    "alembic/env.py": """
import os

from alembic import context
from sqlalchemy import NullPool, create_engine

from cinema.models import Base

with create_engine(os.environ["DATABASE_URL"], poolclass=NullPool).connect() as connection:
    context.configure(connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()
""",
    "alembic/versions/0001_films.py": """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None


def upgrade():
    op.create_table(
        "films",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("title", sa.Text, nullable=False, unique=True),
        sa.Column("year", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.create_table(
        "screenings",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("film_id", sa.Uuid, sa.ForeignKey("films.id"), nullable=False),
        sa.Column("hall", sa.Text, nullable=False),
    )
""",
    "cinema/__init__.py": "",
}


class Reader(Walk):
    """A user of SQLAlchemy who does what the page says, in an application of theirs."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        super().__init__(monkeypatch, capsys)
        self.folder = folder

    def python(self, code: str) -> None:
        """Write a file where the first line names one, else run the block."""
        named = re.match(r"# ((?:cinema|alembic)/\S+)\n", code)
        if named is None:
            self.forget()
            super().python(code)
        else:
            (self.folder / named[1]).write_text(code, "utf-8")

    def diff(self, code: str) -> None:
        """Change a file: the lines of `-` and of the context are there, in one place, and make room."""
        name, *lines = code.splitlines()
        file = self.folder / name.removeprefix("# ")
        before = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
        after = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
        text = file.read_text("utf-8")
        places = [match.start() for match in re.finditer(f"^{re.escape(before)}", text, re.M)]
        assert len(places) == 1, before
        file.write_text(text[: places[0]] + after + text[places[0] + len(before) :], "utf-8")

    def console(self, code: str) -> None:
        for line in code.splitlines():
            self.forget()
            if line.startswith("$ alembic "):  # ends with a SystemExit where anything is wrong
                alembic(argv=shlex.split(line)[2:])
            elif not line.startswith("$ pip install "):
                self.command(line)

    @staticmethod
    def forget() -> None:
        """Let the application be imported anew, for its files have changed; what it has open is closed."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "cinema"]:
            module = sys.modules.pop(name)
            if name == "cinema.data":
                module.db.close()
            if hasattr(module, "engine"):
                module.engine.dispose()


@pytest.fixture
def reader(
    database_server: DatabaseConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Reader]:
    admin = Autocommit(lambda: dedicated(database_server.with_(name="postgres"))).session
    name = f"test_{uuid4().hex}"
    admin.run(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = database_server.with_(name=name).url(hide_password=False)
    only_settings(monkeypatch, tmp_path, DATABASE_URL=url)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file that changes twice in a second
    monkeypatch.syspath_prepend(str(tmp_path))
    for path, text in GIVEN.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, "utf-8")
    yield Reader(tmp_path, monkeypatch, capsys)
    Reader.forget()
    admin.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def parts() -> tuple[list[Block], list[Block]]:
    """The blocks before the guide, and those of the guide."""
    text = PAGE.read_text("utf-8")
    begins = text.count("\n", 0, text.index(GUIDE))
    found = blocks(PAGE)
    return [b for b in found if b.line < begins], [b for b in found if b.line > begins]


def test_examples_run(reader: Reader) -> None:
    examples, _ = parts()
    assert len([block for block in examples if block.language == "python"]) > 4
    for block in examples:
        reader.do(PAGE, block)


def test_guide_is_followed_to_its_end(reader: Reader) -> None:
    _, guide = parts()
    for block in guide:
        reader.do(PAGE, block)
    assert "class Films" not in (reader.folder / "cinema/repositories.py").read_text("utf-8")


def test_errors_are_those_of_the_table() -> None:
    table = PAGE.read_text("utf-8").partition("| this library's |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.*?) \| `(\w+)` \|$", table, re.M)
    assert len(rows) == 6
    for named, theirs in rows:
        for ours in re.findall(r"`(\w+)`", named):
            failure = getattr(exceptions, ours)("x")
            assert isinstance(as_both(failure), getattr(exc, theirs)), ours
    assert not isinstance(as_both(exceptions.InvalidValue("x")), exc.SQLAlchemyError)
