"""`AsyncDatabase` and a frozen server: a cancelled task leaves within a bound, and others are served."""

import asyncio
from time import monotonic

import pytest

from database_handler import AsyncDatabase
from database_handler.aio import dispatch
from tests.faults.conftest import PoolMaker, frozen
from tests.support.faults import PATIENCE


def test_a_frozen_server_does_not_hold_a_cancelled_task(
    make_pool: PoolMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_GRACE", 0.3)
    database = make_pool.database(pool_size=3, max_overflow=0)

    async def unit(db: AsyncDatabase, known: "asyncio.Future[int]", go: asyncio.Event) -> None:
        async with db.unit_of_work() as uow:
            known.set_result((await uow.session.one("SELECT pg_backend_pid()"))[0])
            await go.wait()
            await uow.session.one("SELECT 1")

    async def scene() -> None:
        db = AsyncDatabase(database)
        known: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        go = asyncio.Event()
        stuck = asyncio.create_task(unit(db, known, go))
        with frozen(await known):
            go.set()
            await asyncio.sleep(0.05)
            started = monotonic()
            stuck.cancel()
            assert await db.session.one("SELECT 7") == (7,)  # others are served meanwhile
            assert monotonic() - started < 0.3
            with pytest.raises(asyncio.CancelledError):
                await stuck
            assert monotonic() - started < 2
        assert db.pool.stats().in_use == 0
        assert db.pool.stats().closed_by_reason.keys() >= {"lost, or cut at a deadline, while it was held"}

    asyncio.run(asyncio.wait_for(scene(), PATIENCE))
