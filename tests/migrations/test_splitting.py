"""The lexer sees as many statements as the server does, and never closes what the server leaves open."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database_handler.core.connection import dedicated
from database_handler.core.exceptions import DatabaseError
from database_handler.core.session import Session, Statement
from database_handler.core.sql_text import SqlTextError, statements
from database_handler.core.transaction import Autocommit
from database_handler.embedded import EmbeddedServer
from database_handler.migrations.runner.locking import Kept
from tests.support.wire import CountingProxy, Message, Relay

TRIVIA = ["", " ", "\n", "-- ' $$ /*\n", "/* ' /* ; */ \" */", "\t", "\r\n", ";"]
LITERALS = [
    "1", "1.5e3", ".5", "'a''b;'", "E'a\\';b'", "$$;'$$", "$a$ $$;$$ $a$", "U&'\\0061;'", "B'01'", "x'ff'",
    "n';'", "E'a'\n'\\';'", "'a'\n';'", '1 AS "a;""b"', "1 end", "1 AS case", "(SELECT 1)", "-1", "2*-1",
    "CASE WHEN true THEN 1 END", "(ARRAY[1,2])[1:2]", "2-- ;\n-1", "2/* ; */-1", "@ -1", "1 <-1", "1::text",
]  # fmt: skip
BODY = st.lists(st.sampled_from(LITERALS), min_size=1, max_size=3).map(
    lambda found: "".join(f" SELECT {literal};" for literal in found)
)
ROUTINE = BODY.map(
    lambda body: (
        "CREATE OR REPLACE FUNCTION pg_temp.f(begin int, atomic text) RETURNS text "
        f"BEGIN ATOMIC{body} SELECT 'x'::text; END"
    )
)
STATEMENT = st.sampled_from(LITERALS).map(lambda literal: f"SELECT {literal}") | ROUTINE
PIECE = st.tuples(st.sampled_from(TRIVIA), STATEMENT, st.sampled_from(TRIVIA[:-1])).map("".join)
SCRIPT = st.lists(PIECE, max_size=5).map(lambda pieces: ";".join(["SELECT", *pieces]))
LOOSE_PIECES = [
    "'",
    "''",
    '"',
    "$$",
    "$a$",
    "E'",
    "\\",
    "--",
    "/*",
    "*/",
    "\n",
    " ",
    ";",
    "x",
    "1",
    "SELECT ",
]
LOOSE = st.lists(st.sampled_from(LOOSE_PIECES), max_size=15).map(lambda pieces: "".join(["SELECT;", *pieces]))


class Completions(Relay):
    """Counts the statements that the server says it has completed."""

    completed = 0

    def from_server(self, message: Message) -> None:
        Completions.completed += message.kind == b"C"
        super().from_server(message)


class CompletionProxy(CountingProxy):
    relay = Completions


@pytest.fixture(scope="module")
def kept(server: EmbeddedServer) -> Iterator[Session]:
    with CompletionProxy(server.config) as proxy:
        lease = dedicated(proxy.config)
        wrapped = Kept(lease)
        yield Autocommit(lambda: wrapped).session
        lease.release()


@contextmanager
def completions() -> Iterator[list[int]]:
    counted: list[int] = []
    before = Completions.completed
    yield counted
    counted.append(Completions.completed - before)


def refused(session: Session, text: str) -> DatabaseError | None:
    try:
        session.run(Statement(text, "test.script"))
    except DatabaseError as error:
        return error
    return None


def is_closed(text: str) -> bool:
    try:
        statements(text)
    except SqlTextError:
        return False
    return True


@settings(max_examples=150, deadline=None)
@given(SCRIPT)
def test_the_server_completes_as_many_statements(kept: Session, script: str) -> None:
    with completions() as counted:
        error = refused(kept, script)
    assert error is None, f"{script!r}: {error}"
    assert len(statements(script)) == counted[0]


@settings(max_examples=300, deadline=None)
@given(LOOSE)
def test_what_the_server_leaves_open_is_open_here_too(kept: Session, text: str) -> None:
    error = refused(kept, text)
    if error is None:
        assert is_closed(text)
    elif "unterminated" in str(error):
        assert not is_closed(text)
