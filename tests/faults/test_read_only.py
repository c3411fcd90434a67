"""A server that takes no writes is left for the one that does, once; a unit that only reads never notices."""

import pytest

from database_handler import Database, UnitOfWork
from database_handler.core.exceptions import ReadOnlyServer
from tests.faults.conftest import PoolMaker, Server, query


@pytest.fixture
def db(make_pool: PoolMaker, server: Server) -> Database:
    """Yield a database over three connections whose server took no writes when they were made."""
    query(server.config, "CREATE TABLE IF NOT EXISTS writes (id int)")
    query(server.config, "TRUNCATE writes")
    set_read_only(server, "on")
    db = make_pool.database(pool_size=3)
    leases = [db.pool.borrow() for _ in range(3)]
    for lease in leases:
        lease.release()
    set_read_only(server, "off")
    return db


def set_read_only(server: Server, state: str) -> None:
    alter = f'ALTER DATABASE "{server.config.name}" SET default_transaction_read_only = {state}'
    query(server.config, f"BEGIN READ WRITE; {alter}; COMMIT")


def stored(server: Server) -> int:
    return int(query(server.config, "SELECT count(*) FROM writes")[0][0])


def test_a_unit_is_run_again_on_a_new_connection(db: Database, server: Server) -> None:
    tries: list[UnitOfWork] = []

    def work(unit: UnitOfWork) -> None:
        tries.append(unit)
        unit.session.run("INSERT INTO writes VALUES (1)")

    db.run(work)
    assert (len(tries), stored(server)) == (2, 1)
    assert db.pool.stats().closed == 3  # no other old one is lent any more
    assert dict(db.pool.stats().retries) == {"25006": 1}


def test_a_statement_by_itself_is_sent_again(db: Database, server: Server) -> None:
    db.session.run("INSERT INTO writes VALUES (1)")
    assert stored(server) == 1
    assert db.pool.stats().closed == 3


def test_once_and_no_more(db: Database, server: Server) -> None:
    set_read_only(server, "on")
    tries: list[UnitOfWork] = []

    def work(unit: UnitOfWork) -> None:
        tries.append(unit)
        unit.session.run("INSERT INTO writes VALUES (1)")

    try:
        with pytest.raises(ReadOnlyServer):
            db.run(work, retries=9)
        assert len(tries) == 2
        opened = db.pool.stats().opened
        with pytest.raises(ReadOnlyServer):
            db.session.run("INSERT INTO writes VALUES (1)")
        assert db.pool.stats().opened <= opened + 2
    finally:
        set_read_only(server, "off")
    assert stored(server) == 0


def test_a_unit_that_is_to_read_only_says_so_at_once(db: Database) -> None:
    tries: list[UnitOfWork] = []

    def work(unit: UnitOfWork) -> None:
        tries.append(unit)
        unit.session.run("INSERT INTO writes VALUES (1)")

    with pytest.raises(ReadOnlyServer):
        db.run(work, read_only=True)
    assert len(tries) == 1
    assert db.pool.stats().closed == 0
