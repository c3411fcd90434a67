"""On a real standby migrations are only checked: what is pending is told, and the head is no trouble."""

from collections.abc import Iterator

import pytest

from database_handler import Database
from database_handler.core.session import Statement
from database_handler.embedded import EmbeddedServer
from database_handler.migrations import MigrationManager, ReadOnlyTarget
from tests.migrations.conftest import Folder, run_alone
from tests.support.faults import eventually
from tests.support.standbys import copied_for_standby, follow, let_in_the_servers_own_user, session_of


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer.start(tmp_path_factory.mktemp("primary") / "pg", durable=False) as started:
        yield started


@pytest.fixture(scope="module")
def standby(primary: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A copy of the primary's cluster, which follows it."""
    let_in_the_servers_own_user(primary)
    folder = copied_for_standby(primary, tmp_path_factory.mktemp("standby"))
    with EmbeddedServer.start(folder, database=primary.config.name, durable=False) as started:
        yield started


def test_a_standby_only_checks(primary: EmbeddedServer, standby: EmbeddedServer) -> None:
    with Database(primary.config) as database, Database(standby.config) as replica:
        assert session_of(standby).one(Statement("SELECT pg_is_in_recovery()", "test.standby")) == (True,)
        pending = replica.migrations.status().pending
        assert pending
        with pytest.raises(ReadOnlyTarget, match=r"versions are pending.*migrate the primary"):
            replica.migrate()
        assert replica.migrations.status().pending == pending
        assert database.migrations.status().pending == pending, "nothing was written on the other side either"
        assert database.migrate().applied == pending
        follow(primary, standby)
        assert not replica.migrate().changed
        status = replica.migrations.status()
        assert (status.at_head, status) == (True, database.migrations.status())
        assert not replica.migrations.drift().drifted


def test_health_of_a_standby_tells_how_far_it_is_behind_and_forgives_silence(
    primary: EmbeddedServer, standby: EmbeddedServer
) -> None:
    run_alone(primary.config, "CREATE DATABASE behind STRATEGY file_copy")
    here, there = primary.config.with_(name="behind"), standby.config.with_(name="behind")
    with Database(here) as database, Database(there) as replica:
        database.migrate()
        follow(primary, standby)
        eventually(lambda: replica.health(max_replica_lag=0).ready)  # all is replayed: nothing is behind
        session_of(standby).all(Statement("SELECT pg_wal_replay_pause()", "test.pause"))
        try:
            database.projects.create(name="Late")
            eventually(lambda: not replica.health(max_replica_lag=0).ready)
            health = replica.health(max_replica_lag=0)
            assert [reason.kind for reason in health.reasons] == ["replica_lag"]
            assert (health.live, health.replica, (health.replica_lag or 0) > 0) == (True, True, True)
            assert replica.health(max_replica_lag=None).ready
        finally:
            session_of(standby).all(Statement("SELECT pg_wal_replay_resume()", "test.resume"))


def test_rows_are_counted_on_a_standby(
    primary: EmbeddedServer, standby: EmbeddedServer, folder: Folder
) -> None:
    run_alone(primary.config, "CREATE DATABASE words STRATEGY file_copy")
    here, there = primary.config.with_(name="words"), standby.config.with_(name="words")
    folder.write("0001_words", "CREATE TABLE words (a int);")
    manager = MigrationManager(here, folder.path)
    manager.migrate()
    run_alone(here, "INSERT INTO words VALUES (1), (NULL)")
    folder.write("0002_rule", "ALTER TABLE words ALTER COLUMN a SET NOT NULL;")
    follow(primary, standby)
    with pytest.raises(ReadOnlyTarget, match="versions are pending"):
        MigrationManager(there, folder.path).migrate()
    report = manager.preflight(read_from=there)
    assert [(each.asked, each.rows) for each in report.findings] == [("not null", 1)]
    assert len(report.replicas) == 1
