"""Statements that no transaction takes: cut off, failed, or kept waiting, they leave nothing behind."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.session import Session, Statement
from database_handler.core.sql_text import hash_tokens
from database_handler.core.transaction import Transaction, TransactionOptions
from database_handler.migrations import MigrationFailed, MigrationManager, PartialMigration
from tests.migrations.conftest import Folder, run_alone
from tests.migrations.killing import KillingProxy, When, running
from tests.migrations.worker import PATIENCE
from tests.support.faults import eventually

Make = Callable[..., MigrationManager]
OUTSIDE = "-- migrate: up, no transaction\n"


@contextmanager
def old_transaction(config: DatabaseConfig, text: str = "SELECT 1 FROM pg_class LIMIT 1") -> Iterator[None]:
    """Keep a transaction with an old snapshot open, which CONCURRENTLY waits for."""
    options = TransactionOptions(isolation="repeatable read")
    with Transaction(lambda: dedicated(config.with_(application_name="report")), options) as session:
        session.run(Statement(text, "test.holds"))
        yield


def invalid(session: Session) -> list[str]:
    rows = session.all("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
    return [name for (name,) in rows]


def oid(session: Session, name: str) -> int | None:
    [found] = session.one("SELECT to_regclass(%s)::oid::bigint", [name])
    assert found is None or isinstance(found, int)
    return found


@pytest.fixture
def table(session: Session) -> None:
    session.run("CREATE TABLE t (a int, b int)")
    session.run("INSERT INTO t SELECT n, n % 5 FROM generate_series(1, 500) n")


def killed_in(
    config: DatabaseConfig, folder: Folder, text: str, when: When = "after", call: str = "migrate"
) -> None:
    """Run in a process that is killed before or after the message that begins with a text."""
    with KillingProxy(config, lambda _, sent: when if sent.startswith(text) else None) as proxy:
        assert proxy.killed(folder, call)


# -------------------------------------------------------------------------------------------------- cut off


@pytest.mark.usefixtures("table")
def test_a_build_cut_off_amid_its_work_is_put_away_and_done_anew(
    config: DatabaseConfig, folder: Folder, session: Session, manager: Make
) -> None:
    folder.write("0001_i", OUTSIDE + "CREATE INDEX CONCURRENTLY t_a ON t (a);")
    with old_transaction(config):
        with running(config, folder, "migrate") as run:
            run.here.send("go")
            eventually(lambda: invalid(session) == ["t_a"])
            assert run.process.pid is not None
            os.kill(run.process.pid, signal.SIGKILL)
            run.process.join(PATIENCE)
        # The server would go on with it: its process is ended too, as when the server itself goes down.
        session.all("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%'")
    eventually(lambda: session.one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == (0,))
    assert invalid(session) == ["t_a"]
    left = oid(session, "t_a")
    assert manager().migrate().applied == ("0001_i",)
    assert (invalid(session), oid(session, "t_a")) != ([], left)


@pytest.mark.usefixtures("table")
def test_a_build_that_the_server_ended_alone_is_not_done_twice(
    config: DatabaseConfig, folder: Folder, session: Session, manager: Make
) -> None:
    path = folder.write("0001_i", OUTSIDE + "CREATE INDEX CONCURRENTLY t_a ON t (a);")
    killed_in(config, folder, "CREATE INDEX")
    eventually(lambda: oid(session, "t_a") is not None and invalid(session) == [])
    built = oid(session, "t_a")
    [(progress,)] = session.all("SELECT progress FROM application_migrations")
    assert (progress["parts"], progress["begun"]["oid"]) == (0, None)
    path.write_text(path.read_text().replace("t_a", "t_c"))
    with pytest.raises(PartialMigration, match=r":3: a run was cut off in another statement"):
        manager().migrate()
    path.write_text(path.read_text().replace("t_c", "t_a"))
    assert manager().migrate().applied == ("0001_i",)
    assert oid(session, "t_a") == built


DROPPED = "DROP INDEX CONCURRENTLY t_b"


@pytest.mark.parametrize(
    ("before", "statement", "holds"),
    [
        ("CREATE INDEX t_b ON t (b)", DROPPED, "to_regclass('t_b') IS NULL"),
        ("CREATE INDEX t_b ON t (b)", DROPPED + " RESTRICT", "to_regclass('t_b') IS NULL"),
        ("SELECT", 'CREATE UNIQUE INDEX CONCURRENTLY "T A" ON ONLY public.t (a)',
         "to_regclass('\"T A\"') IS NOT NULL"),
        ("CREATE INDEX t_b ON t (b)", "REINDEX (VERBOSE) TABLE CONCURRENTLY t",
         "to_regclass('t_b') IS NOT NULL"),
        ("SELECT", "VACUUM (ANALYZE) t", "true"),
        ("SELECT", "ALTER SYSTEM RESET deadlock_timeout", "true"),
        ("SELECT", "CREATE DATABASE outside_made STRATEGY file_copy",
         "EXISTS (SELECT FROM pg_database WHERE datname = 'outside_made')"),
        ("SELECT", "DROP DATABASE outside_made",
         "NOT EXISTS (SELECT FROM pg_database WHERE datname = 'outside_made')"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("table")
def test_cut_off_before_its_record_it_is_not_done_twice(
    config: DatabaseConfig,
    folder: Folder,
    session: Session,
    manager: Make,
    before: str,
    statement: str,
    holds: str,
) -> None:
    session.run(Statement(before, "test.before"))
    if statement.startswith("DROP DATABASE"):
        run_alone(config, "CREATE DATABASE outside_made STRATEGY file_copy")
    folder.write("0001_i", f"{OUTSIDE}{statement};\nCREATE TABLE once (a int);")
    killed_in(config, folder, statement)
    assert manager().migrate().applied == ("0001_i",)
    assert session.one(Statement(f"SELECT {holds}", "test.holds"))[0]
    assert (invalid(session), oid(session, "once") is not None) == ([], True)
    run_alone(config, "DROP DATABASE IF EXISTS outside_made")


BLOCK = "DO $$ BEGIN INSERT INTO t VALUES (0, 0); COMMIT; INSERT INTO t VALUES (0, 1); END $$"


@pytest.mark.parametrize(("chosen", "stored"), [(0, 2), (1, 4)], ids=["done", "again"])
@pytest.mark.usefixtures("table")
def test_what_nobody_can_tell_is_asked(
    config: DatabaseConfig, folder: Folder, session: Session, manager: Make, chosen: int, stored: int
) -> None:
    path = folder.write("0001_do", f"{OUTSIDE}{BLOCK};\nCREATE TABLE once (a int);")
    sent: list[str] = []

    def second(_: int, text: str) -> When | None:
        sent.append(text)  # the first was tried in a transaction, and undone by the server
        return "after" if text == BLOCK else None

    with KillingProxy(config, second) as proxy:
        assert proxy.killed(folder, "migrate")
    eventually(lambda: session.one("SELECT count(*) FROM t WHERE a = 0") == (2,))
    with pytest.raises(PartialMigration, match="was cut off in this statement") as caught:
        manager().migrate()
    assert str(caught.value).startswith(f"{path}:3: ")
    offered = [line.strip() for line in str(caught.value).splitlines() if line.strip().startswith("UPDATE")]
    session.run(Statement(offered[chosen], "test.decides", writes=True))
    assert manager().migrate().applied == ("0001_do",)
    assert session.one("SELECT count(*) FROM t WHERE a = 0") == (stored,)


# --------------------------------------------------------------------------------------------------- failed


def failure(manager: MigrationManager) -> MigrationFailed:
    with pytest.raises(MigrationFailed) as caught:
        manager.migrate()
    return caught.value


@pytest.mark.parametrize(
    ("reads", "left", "says"),
    [
        ("SELECT 1 FROM pg_class LIMIT 1", [], "left no INVALID index behind"),
        # Its lock keeps the index from being dropped as well.
        ("SELECT * FROM t LIMIT 1", ["t_a"], "an INVALID index, is put away by the next run"),
    ],
)
@pytest.mark.usefixtures("table")
def test_a_deadline_of_its_own_names_who_was_in_the_way(
    config: DatabaseConfig,
    folder: Folder,
    session: Session,
    manager: Make,
    reads: str,
    left: list[str],
    says: str,
) -> None:
    folder.write("0001_i", OUTSIDE + "CREATE INDEX CONCURRENTLY t_a ON t (a);")
    with old_transaction(config, reads):
        failed = failure(manager(concurrent_deadline=0.6, lock_timeout=0.2))
    assert failed.sqlstate == "57014"
    assert "in the way: process" in str(failed)
    assert "report, idle in transaction" in str(failed)
    assert "concurrent_deadline, 0.6 s" in str(failed)
    assert says in str(failed)
    assert invalid(session) == left
    assert manager().migrate().applied == ("0001_i",)
    assert invalid(session) == []


@pytest.mark.usefixtures("table")
def test_the_role_s_own_timeouts_do_not_cut_it_off(
    config: DatabaseConfig, folder: Folder, session: Session, manager: Make
) -> None:
    run_alone(config, f"ALTER DATABASE {config.name} SET lock_timeout = '50ms'")
    run_alone(config, f"ALTER DATABASE {config.name} SET statement_timeout = '250ms'")
    folder.write("0001_i", OUTSIDE + "CREATE INDEX CONCURRENTLY t_a ON t (a);")
    with running(config, folder, "migrate") as run:
        with old_transaction(config):
            run.here.send("go")
            waited = (
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%'"
                " AND clock_timestamp() - query_start > '400 ms'"
            )
            eventually(lambda: session.one(waited) == (1,))
        assert run.expect() == ("0001_i",)
    assert invalid(session) == []


@pytest.mark.usefixtures("table")
def test_an_index_that_was_there_before_is_nobody_s_to_take(
    folder: Folder, session: Session, manager: Make
) -> None:
    session.run("CREATE INDEX t_a ON t (b)")
    there = oid(session, "t_a")
    folder.write("0001_i", OUTSIDE + "CREATE INDEX CONCURRENTLY t_a ON t (a);")
    for _ in range(2):
        assert 'relation "t_a" already exists' in str(failure(manager()))
    assert oid(session, "t_a") == there
    session.run("DROP INDEX t_a")
    assert manager().migrate().applied == ("0001_i",)


@pytest.mark.usefixtures("table")
def test_if_not_exists_is_not_content_with_an_invalid_one(
    folder: Folder, session: Session, manager: Make
) -> None:
    with pytest.raises(Exception, match="23505"):
        session.run("CREATE UNIQUE INDEX CONCURRENTLY t_b ON t (b)")
    assert invalid(session) == ["t_b"]
    folder.write("0001_i", OUTSIDE + "CREATE INDEX CONCURRENTLY IF NOT EXISTS t_b ON t (b);")
    manager().migrate()
    assert invalid(session) == []


def test_a_partition_is_detached_though_readers_are_in_the_way(
    config: DatabaseConfig, folder: Folder, session: Session, manager: Make
) -> None:
    session.run("CREATE TABLE p (a int) PARTITION BY LIST (a)")
    session.run("CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)")
    folder.write("0001_d", OUTSIDE + "ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY;")
    pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending"
    with running(config, folder, "migrate") as run:
        with old_transaction(config, "SELECT * FROM p"):
            run.here.send("go")
            eventually(lambda: session.one(pending) == (1,))
        assert run.expect() == ("0001_d",)
    assert session.one("SELECT count(*) FROM pg_inherits") == (0,)


# ---------------------------------------------------------------------------- what stands in such a section


def test_what_is_set_holds_to_the_end_of_its_section(folder: Folder, session: Session, manager: Make) -> None:
    session.run("CREATE SCHEMA other")
    session.run("CREATE TABLE other.t (a int, b int)")
    folder.write(
        "0001_i",
        f"{OUTSIDE}SET search_path = other;\nCREATE INDEX CONCURRENTLY t_a ON t (a);\n"
        "INSERT INTO t VALUES (1, 2);\nCREATE INDEX CONCURRENTLY t_b ON t (b);\n"
        "-- migrate: up\nCREATE TABLE here (a int);\n",
    )
    manager().migrate()
    assert all(oid(session, name) for name in ("other.t_a", "other.t_b", "public.here"))


def test_what_only_the_server_knows_to_need_no_transaction_is_run_without_one(
    folder: Folder, session: Session, manager: Make
) -> None:
    session.run("CREATE TABLE p (a int PRIMARY KEY) PARTITION BY LIST (a)")
    session.run("CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)")
    folder.write("0001_r", "REINDEX TABLE p;")
    failed = failure(manager())
    assert failed.sqlstate == "25001"
    assert "put it into a section of its own, `-- migrate: up, no transaction`" in str(failed)
    folder.write("0001_r", f"{OUTSIDE}REINDEX TABLE p;")
    assert manager().migrate().applied == ("0001_r",)


def test_a_label_used_too_early_is_explained(folder: Folder, session: Session, manager: Make) -> None:
    folder.write("0001_e", "CREATE TYPE mood AS ENUM ('calm');")
    manager().migrate()
    used = "CREATE TABLE m (mood mood DEFAULT 'bright');\nINSERT INTO m DEFAULT VALUES;"
    folder.write("0002_e", f"ALTER TYPE mood ADD VALUE 'bright';\n{used}")
    failed = failure(manager())
    assert failed.sqlstate == "55P04"
    assert "another `-- migrate: up`" in str(failed)
    folder.write("0002_e", f"-- migrate: up\nALTER TYPE mood ADD VALUE 'bright';\n-- migrate: up\n{used}")
    assert manager().migrate().applied == ("0002_e",)


def test_a_history_of_an_earlier_release_is_gone_on_with(
    folder: Folder, session: Session, manager: Make
) -> None:
    """Its table lacks a column, and what it wrote of an interrupted version lacks what is written now."""
    folder.write("0001_a", "CREATE TABLE a (id int);")
    folder.write("0002_b", f"{OUTSIDE}CREATE INDEX CONCURRENTLY a_id ON a (id);\nVACUUM a;")
    manager().migrate()
    session.run("DROP INDEX a_id")
    session.run("ALTER TABLE application_migrations DROP COLUMN origin")
    empty = hash_tokens([])
    progress = json.dumps({"direction": "up", "parts": 0, "hash": empty})
    session.run("UPDATE application_migrations SET progress = %s::jsonb WHERE number = 2", [progress])
    status = manager().status()
    assert [item.state for item in status.items] == ["applied", "partial"]
    assert manager().migrate().applied == ("0002_b",)
    assert oid(session, "a_id")
    assert session.all("SELECT origin FROM application_migrations") == [("run",), ("run",)]
