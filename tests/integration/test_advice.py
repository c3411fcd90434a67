"""Every kind of advice is given where its situation is made on a real server, and not where it is not."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any

import psycopg2
import pytest

from database_handler import Database, NewProject
from database_handler.cli import main
from database_handler.config.settings import VARIABLES
from database_handler.core.exceptions import ConfigurationError, InvalidValue
from database_handler.operations.advice import Advice, AdviceLimits, Finding, FindingKind
from database_handler.operations.advice.indexes import Index, duplicates
from database_handler.operations.advice.sessions import Waiting, roots
from tests.support.faults import eventually

AT_ONCE = AdviceLimits(unused_days=0, long_transaction=0, idle_in_transaction=0, blocked=0)
SECRET = "a value of a row"


def objects(advice: Advice, kind: FindingKind) -> dict[str, Finding]:
    return {finding.object: finding for finding in advice.of(kind)}


def settled(database: Database, script: str) -> Advice:
    """Run a script and ask for advice once the server has counted what it did."""
    database.session.script(script)
    database.session.one("SELECT pg_stat_force_next_flush()")
    return database.advise(limits=AT_ONCE)


@contextmanager
def connected(database: Database) -> Iterator[Any]:
    """A cursor of a session beside the library's, in a transaction."""
    connection = psycopg2.connect(**database.config.connect_arguments())  # type: ignore[call-overload]
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def test_the_librarys_own_schema_needs_no_advice(database: Database) -> None:
    advice = database.advise()
    assert {finding.kind for finding in advice.findings} <= {"setting"}
    assert advice.unseen == ()
    assert (advice.database, advice.server_version) == (
        database.config.name,
        database.health().server_version,
    )
    read = Advice.model_validate_json(advice.model_dump_json())
    assert read == advice


INDEXES = """
CREATE TABLE films (id bigint PRIMARY KEY, title text, year int, tags text[], span int4range,
    EXCLUDE USING gist (span WITH &&), CONSTRAINT films_title UNIQUE (title));
ALTER TABLE films ALTER COLUMN year SET NOT NULL;
CREATE INDEX read_often ON films (year, title);
CREATE INDEX first_of_two ON films (year);                                    -- duplicate: a prefix
CREATE INDEX same_again ON films (year, title);                               -- duplicate, and the younger
CREATE INDEX plain_title ON films (title);                                    -- duplicate of the constraint
CREATE INDEX backwards ON films (year DESC, title);
CREATE INDEX partly ON films (year, title) WHERE year > 2000;
CREATE INDEX for_like ON films (title text_pattern_ops);
CREATE INDEX covering ON films (year) INCLUDE (tags);
CREATE INDEX lowered ON films (lower(title));
CREATE INDEX lowered_again ON films (lower(title));                           -- duplicate
CREATE INDEX tagged ON films USING gin (tags);
CREATE INDEX tagged_again ON films USING gin (tags);                          -- duplicate
CREATE UNIQUE INDEX identity ON films (year, id);
ALTER TABLE films REPLICA IDENTITY USING INDEX identity;
INSERT INTO films SELECT n, 'film ' || n, n, ARRAY['x'] FROM generate_series(1, 500) AS n;
ANALYZE films;
SET enable_seqscan = off;
SELECT count(*) FROM films WHERE year = 7 AND title = 'film 7';
SELECT count(*) FROM films WHERE title LIKE 'film 1%';
CREATE TABLE parted (day int, note text) PARTITION BY RANGE (day);
CREATE TABLE part_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE part_2 PARTITION OF parted FOR VALUES FROM (100) TO (200);
CREATE INDEX parted_day ON parted (day);
CREATE INDEX parted_note ON parted (note);
CREATE INDEX only_here ON ONLY parted (day, note);                            -- invalid: no partition has one
INSERT INTO parted SELECT n, 'note' FROM generate_series(0, 99) AS n;
SELECT count(*) FROM parted WHERE day = 7;
"""


def test_indexes_that_are_unused_double_or_broken(database: Database) -> None:
    with connected(database) as cursor:
        cursor.connection.autocommit = True
        cursor.execute("CREATE TABLE broken (n int); INSERT INTO broken VALUES (1), (1)")
        with pytest.raises(psycopg2.errors.UniqueViolation):
            cursor.execute("CREATE UNIQUE INDEX CONCURRENTLY half ON broken (n)")
    advice = settled(database, INDEXES)
    doubles = objects(advice, "duplicate index")
    assert set(doubles) == {
        f"public.{name}"
        for name in ("first_of_two", "same_again", "plain_title", "lowered_again", "tagged_again")
    }
    assert "public.films_title" in doubles["public.plain_title"].why
    assert doubles["public.same_again"].sql == ("DROP INDEX CONCURRENTLY public.same_again",)
    unused = set(objects(advice, "unused index"))
    assert unused >= {"public.tagged", "public.lowered", "public.parted_note"}
    used_or_needed = (
        "films_pkey",
        "films_title",
        "films_span_excl",
        "identity",
        "parted_day",
        "part_2_day_idx",
    )
    assert not unused & {f"public.{name}" for name in used_or_needed}
    assert objects(advice, "invalid index")["public.half"].sql == ("REINDEX INDEX CONCURRENTLY public.half",)
    assert objects(advice, "invalid index")["public.only_here"].sql == ()
    for name in doubles:  # the advice can be taken as it is
        database.session.script(f"DROP INDEX {name}")
    database.session.script("DELETE FROM broken; REINDEX INDEX half")
    after = database.advise(limits=AT_ONCE)
    assert not objects(after, "duplicate index")
    assert "public.half" not in objects(after, "invalid index")
    assert not database.advise(limits=AdviceLimits(unused_days=1)).of(
        "unused index"
    )  # counted too short a time


def test_an_index_is_a_double_only_of_one_that_serves_all_it_serves() -> None:
    def index(oid: int, *keys: int, **changes: Any) -> Index:
        told = tuple((key, 1, 0, 0) for key in keys)
        facts: dict[str, Any] = {"method": "btree", "unique": False, "shape": "", "needed": False} | changes
        return Index(
            oid, f"i{oid}", "t", keys=told, included=frozenset(facts.pop("included", ())), bytes=0, **facts
        )

    def found(*indexes: Index) -> list[tuple[int, int]]:
        return [(one.oid, other.oid) for one, other in duplicates(indexes)]

    assert found(index(1, 1), index(2, 1)) == [(2, 1)]
    assert found(index(1, 1, unique=True), index(2, 1)) == [(2, 1)]
    assert found(index(1, 1), index(2, 1, unique=True)) == [(1, 2)]
    assert found(index(1, 1, unique=True), index(2, 1, 2, unique=True)) == []
    assert found(index(1, 1, needed=True), index(2, 1, needed=True)) == []
    assert found(index(1, 1, included=[3]), index(2, 1, 2)) == []
    assert found(index(1, 1, included=[2]), index(2, 1, 2)) == [(1, 2)]
    assert found(index(1, 1, method="gin"), index(2, 1, 2, method="gin")) == []
    assert found(index(1, 0, shape="lower(a)"), index(2, 0, 2, shape="lower(a)")) == []
    assert found(index(1, 1), index(2, 1), index(3, 1)) == [(3, 2), (2, 1)]


REFERENCES = """
CREATE TABLE above (a int, b int, PRIMARY KEY (a, b));
CREATE TABLE bare (a int, b int, CONSTRAINT bare_above FOREIGN KEY (a, b) REFERENCES above ON DELETE CASCADE);
CREATE TABLE turned (a int, b int, c int, FOREIGN KEY (a, b) REFERENCES above);
CREATE INDEX ON turned (b, a, c);
CREATE TABLE partly (a int, b int, FOREIGN KEY (a, b) REFERENCES above);
CREATE INDEX ON partly (a, b) WHERE a IS NOT NULL;
CREATE TABLE wrongly (a int, b int, CONSTRAINT wrongly_above FOREIGN KEY (a, b) REFERENCES above);
CREATE INDEX ON wrongly (a, b) WHERE a > 5;
CREATE INDEX ON wrongly (b);
CREATE SEQUENCE fine; SELECT setval('fine', 5000000000);
CREATE TABLE numbered (id serial, small smallserial, big bigserial, wide int DEFAULT 0);
SELECT setval('numbered_id_seq', 2000000000), setval('numbered_small_seq', 25000);
CREATE SEQUENCE of_wide; ALTER SEQUENCE of_wide OWNED BY numbered.wide; SELECT setval('of_wide', 1900000000);
CREATE SEQUENCE round MAXVALUE 10 CYCLE; SELECT setval('round', 10);
"""


def test_references_without_an_index_and_sequences_near_their_end(database: Database) -> None:
    advice = settled(database, REFERENCES)
    lacking = objects(advice, "foreign key without index")
    assert set(lacking) == {"public.bare bare_above", "public.wrongly wrongly_above"}
    assert lacking["public.bare bare_above"].sql == ("CREATE INDEX CONCURRENTLY ON public.bare (a, b)",)
    ending = objects(advice, "sequence near its end")
    assert {name: found.severity for name, found in ending.items()} == {
        "public.numbered_id_seq": "urgent",
        "public.numbered_small_seq": "warning",
        "public.of_wide": "warning",  # the sequence could go on, the column cannot
    }
    assert ending["public.numbered_id_seq"].numbers == {"last": 2e9, "most": 2147483647, "used": 0.9313}
    for each in (*lacking.values(), *ending.values()):
        for statement in each.sql:
            database.session.script(statement.replace(" CONCURRENTLY", ""))
    after = database.advise(limits=AT_ONCE)
    assert not after.of("foreign key without index")
    assert set(objects(after, "sequence near its end")) == {
        "public.numbered_id_seq",
        "public.numbered_small_seq",
    }


WORN = """
CREATE TABLE worn (n int) WITH (autovacuum_enabled = false, autovacuum_vacuum_threshold = 10);
CREATE TABLE young (n int) WITH (autovacuum_enabled = false, autovacuum_vacuum_threshold = 100000,
    autovacuum_analyze_threshold = 100000);
INSERT INTO worn SELECT generate_series(1, 300); INSERT INTO young SELECT generate_series(1, 30);
ANALYZE worn; DELETE FROM worn WHERE n < 200; DELETE FROM young;
CREATE TABLE whole (n int) PARTITION BY LIST (n);
CREATE TABLE part PARTITION OF whole DEFAULT;
INSERT INTO whole SELECT generate_series(1, 300);
CREATE TABLE old (n int) WITH (autovacuum_freeze_max_age = 100000, autovacuum_enabled = false);
INSERT INTO old VALUES (1);
DO $$ BEGIN
    FOR i IN 1..100100 LOOP BEGIN INSERT INTO old VALUES (i); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP;
END $$;
"""


def test_tables_that_want_vacuum_or_analyze_and_ids_that_run_out(database: Database) -> None:
    advice = settled(database, WORN)
    worn = objects(advice, "wants vacuum")
    assert set(worn) == {"public.worn"}
    assert worn["public.worn"].numbers == {"dead": 199, "live": 101, "threshold": 70}
    assert worn["public.worn"].severity == "warning"
    assert "but is off for it; never vacuumed" in worn["public.worn"].why
    stale = objects(advice, "wants analyze")
    assert (
        {"public.worn", "public.whole"}
        <= set(stale)
        <= {"public.worn", "public.whole", "public.part", "public.old"}
    )
    assert "never the whole" in stale["public.whole"].why
    aged = objects(advice, "wraparound")
    assert set(aged) == {"public.old"}
    assert aged["public.old"].numbers["age"] > aged["public.old"].numbers["limit"] == 100_000
    with connected(database) as cursor:
        cursor.connection.autocommit = True
        for finding in (worn["public.worn"], stale["public.whole"], aged["public.old"]):
            cursor.execute(finding.sql[0])  # VACUUM must be alone
        cursor.execute("SELECT pg_stat_force_next_flush()")
    after = database.advise(limits=AT_ONCE)
    for kind in ("wants vacuum", "wraparound"):
        assert not after.of(kind)
    assert not {"public.worn", "public.whole"} & set(objects(after, "wants analyze"))


# ------------------------------------------------------------------------------------------------- sessions


def test_sessions_that_hold_what_others_wait_for(database: Database) -> None:
    database.projects.create(NewProject(name="Locked"))
    with ExitStack() as stack, ThreadPoolExecutor(3) as threads:
        holder, second, third = (stack.enter_context(connected(database)) for _ in range(3))
        holder.execute("LOCK TABLE links IN ACCESS EXCLUSIVE MODE")
        holder.execute(f"SELECT /* films.of_our_own */ '{SECRET}'")
        waiting = [
            threads.submit(second.execute, f"UPDATE links SET title = '{SECRET}'"),
            threads.submit(third.execute, f"SELECT '{SECRET}' FROM links"),
        ]
        pids = [cursor.connection.info.backend_pid for cursor in (holder, second, third)]
        eventually(lambda: _waits(database) == 2)
        began = monotonic()
        advice = database.advise(limits=AT_ONCE, statement_timeout=2)
        assert monotonic() - began < 2  # the lock is in nobody's way for long
        [blocking] = advice.of("blocking session")
        assert blocking.object == f"process {pids[0]}"
        assert blocking.numbers["waiting"] == 2
        assert f"2 sessions ({', '.join(map(str, sorted(pids[1:])))}) wait for postgres" in blocking.why
        [idle] = advice.of("idle in transaction")
        assert idle.object == f"process {pids[0]}"
        assert "films.of_our_own" in idle.why
        assert set(objects(advice, "long transaction")) == {f"process {pid}" for pid in pids[1:]}
        assert SECRET not in advice.model_dump_json()
        assert not database.advise(limits=AdviceLimits(blocked=600)).of("blocking session")
        assert blocking.sql == (f"SELECT pg_terminate_backend({pids[0]})",)
        database.session.script(blocking.sql[0])
        for each in waiting:
            each.result(20)
        second.connection.rollback()
        third.connection.rollback()
        assert not database.advise(limits=AT_ONCE).of("blocking session")


def _waits(database: Database) -> int:
    [found] = database.session.one(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return int(found)


def test_the_head_of_a_queue_is_who_does_not_wait() -> None:
    def behind(**blockers: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
        told = {int(pid[1:]): Waiting(int(pid[1:]), found, 1.0) for pid, found in blockers.items()}
        return roots(told)

    assert behind(p2=(1,), p3=(2,), p4=(3, 2)) == {1: (2, 3, 4)}
    assert behind(p3=(1, 2)) == {1: (3,), 2: (3,)}
    assert behind(p1=(2,), p2=(1,)) == {}  # a deadlock, which the server ends
    assert behind(p1=(2,), p2=(1, 0)) == {0: (1, 2)}  # with a prepared transaction above it


# ------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "limits",
    [
        {"unused_days": -1},
        {"blocked": float("nan")},
        {"sequence_used": 0},
        {"sequence_used": 2},
        {"unheard_of": 1},
    ],
    ids=str,
)
def test_a_limit_that_cannot_be_one_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        AdviceLimits(**limits)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 10**12])
def test_a_timeout_that_cannot_be_one_is_refused(database: Database, seconds: float) -> None:
    with pytest.raises(InvalidValue):
        database.advise(statement_timeout=seconds)


def test_a_question_that_takes_too_long_is_told_and_the_others_go_on(database: Database) -> None:
    with connected(database) as cursor:  # to read an index's expression takes a lock of its table
        cursor.execute("CREATE TABLE locked (n int); CREATE INDEX ON locked (abs(n))")
        cursor.connection.commit()
        cursor.execute("LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
        began = monotonic()
        advice = database.advise()
        assert monotonic() - began < 3
        assert advice.of("setting")
    # Which questions end in a millisecond is the machine's; what does not is told.
    hurried = database.advise(statement_timeout=0.001)
    assert all("Timeout" in unseen for unseen in (*advice.unseen, *hurried.unseen))


Run = Callable[..., tuple[int, str]]


def test_the_command_says_why_and_what_to_do(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    database.session.script("CREATE INDEX twice ON links (id)")
    url = database.config.url(hide_password=False)
    assert main(["advise", "--database-url", url]) == 0
    told = capsys.readouterr().out
    assert "warning, duplicate index: public.twice\n  public.links_id_idx has the same columns" in told
    assert "\n  DROP INDEX CONCURRENTLY public.twice;\n" in told
    assert "urgent, setting: fsync" in told  # as all servers of tests are
    assert main(["advise", "--database-url", url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counted_since"]
    assert [each["object"] for each in found["findings"] if each["kind"] == "duplicate index"] == [
        "public.twice"
    ]
