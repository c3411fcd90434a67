"""docs/asyncio.md is true: its blocks run, its FastAPI application serves under load, its tests are there.

The classes that it is about are written by a script, and are what that writes now.
"""

import asyncio
import gc
import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import quantiles
from threading import get_ident
from time import monotonic, perf_counter, thread_time
from typing import Any
from uuid import uuid4

import httpx
import pytest

from database_handler import AsyncDatabase
from database_handler.aio.repositories import AsyncRepository
from database_handler.aio.unit_of_work import AsyncRepositories
from database_handler.config.database import DatabaseConfig
from database_handler.core.events import Events, Target, Told
from database_handler.repositories import Repository
from database_handler.testing.plugin import _made
from scripts.async_repositories import texts
from tests.support.pages import Walk, blocks, names_of_tests, only_settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "asyncio.md"
CONCURRENT = 200


@pytest.fixture
def walk(
    database_server: DatabaseConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Iterator[Walk]:
    with _made(database_server) as config:
        url = config.with_(application_name="asyncio-page").url(hide_password=False)
        only_settings(monkeypatch, tmp_path, DATABASE_URL=url)
        yield Walk(monkeypatch, capsys)


def test_the_page_runs_and_its_application_serves(walk: Walk) -> None:
    for block in blocks(PAGE, "python"):
        walk.python(block.code)
    app: Any = walk.namespace["app"]
    computed, _ = asyncio.run(served(app, seconds=0, most=400))
    assert computed <= 0.05


@pytest.mark.soak
def test_the_application_serves_for_a_while(walk: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks(PAGE, "python"):
        walk.python(block.code)
    app: Any = walk.namespace["app"]
    _, told = asyncio.run(served(app, seconds=20))
    with capsys.disabled():
        print(f"\n{told}")  # noqa: T201  # these are the figures of the page


@asynccontextmanager
async def asked(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Start an application, and give who asks it, in the same loop."""
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        yield client


async def served(app: Any, *, seconds: float, most: int | None = None) -> tuple[float, str]:
    """Let 200 clients at once ask an application, and hold it to its statuses; tell how fast it was."""
    async with asked(app) as client:
        await statuses(client)
        elsewhere = Elsewhere()
        app.state.db.observe(elsewhere)
        taken: list[float] = []
        until = monotonic() + seconds

        async def visitor(number: int) -> None:
            film = {"name": f"Under load {number} {uuid4()}", "script": "The harbour."}
            made = await client.post("/films", json=film)
            assert made.status_code == 201
            place = f"/films/{made.json()['id']}"
            while monotonic() < until or (most is not None and len(taken) < most):
                started = perf_counter()
                answer = await client.get(place)
                taken.append(perf_counter() - started)
                assert answer.status_code == 200
                assert answer.json()["id"] == made.json()["id"]

        with callbacks() as longest:
            started = perf_counter()
            await asyncio.gather(*map(visitor, range(CONCURRENT)))
            whole = perf_counter() - started
        assert elsewhere.threads
        assert get_ident() not in elsewhere.threads
        db: AsyncDatabase = app.state.db
        assert db.pool.stats().in_use == 0
        assert db.pool.stats().size <= db.pool.maxconn
    rate, late = len(taken) / whole, quantiles(taken, n=100)[98]
    block = longest[0] * 1000
    return longest[1], f"{rate:.0f} requests/s, p99 {late * 1000:.0f} ms, longest callback {block:.0f} ms"


async def statuses(client: httpx.AsyncClient) -> None:
    name = f"Harbour {uuid4()}"
    film = (await client.post("/films", json={"name": name, "script": "Dawn."})).json()
    place = f"/films/{film['id']}"
    assert (await client.get(f"/films/{uuid4()}")).status_code == 404
    assert (await client.patch(place, params={"name": "Quay", "version": 1})).json()["version"] == 2
    assert (await client.patch(place, params={"name": "Pier", "version": 1})).status_code == 409
    assert (await client.post("/films", json={"name": name, "script": "Dawn."})).status_code == 409
    assert (await client.post("/films", json={"name": " ", "script": "Dawn."})).status_code == 422
    assert (await client.get("/films")).json()[0]["name"]
    health = await client.get("/health")
    assert (health.status_code, health.json()) == (200, {"ready": True})


class Elsewhere(Events):
    """Hears in which threads statements are sent: a loop that sent one would stand still for as long."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def attach(self, target: Target) -> Events:
        return self

    def statement(self, told: Told) -> None:
        self.threads.add(get_ident())


@contextmanager
def callbacks() -> Iterator[list[float]]:
    """Give, of the loop's longest callback, the seconds, and of any the most seconds of its own computing."""
    longest, run = [0.0, 0.0], asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        started, computed = perf_counter(), thread_time()
        run(handle)
        longest[0] = max(longest[0], perf_counter() - started)
        longest[1] = max(longest[1], thread_time() - computed)

    gc.collect()
    gc.freeze()  # the objects of the test run are no part of the application, and take long to look through
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio.Handle, "_run", timed)
            yield longest
    finally:
        gc.unfreeze()


def test_an_overload_is_told_at_once(walk: Walk) -> None:
    for block in blocks(PAGE, "python"):
        if "FastAPI(" in block.code:
            walk.python(block.code)
    for name, value in {"DB_POOL_SIZE": "1", "DB_MAX_OVERFLOW": "0", "DB_POOL_MAX_WAITING": "0"}.items():
        walk.monkeypatch.setenv(name, value)
    app: Any = walk.namespace["app"]

    async def scene() -> None:
        async with asked(app) as client:
            db: AsyncDatabase = app.state.db
            async with db.unit_of_work() as uow:
                await uow.projects.count()
                answer = await asyncio.create_task(client.get("/films"))
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
                health = await asyncio.create_task(client.get("/health"))
                assert health.status_code == 503

    asyncio.run(scene())


def test_the_tests_that_the_page_names_are_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text("utf-8")))
    there = names_of_tests(ROOT / "tests" / "integration" / "test_asyncio.py")
    there |= names_of_tests(ROOT / "tests" / "faults" / "test_frozen_asyncio.py")
    assert named
    assert named <= there


# ------------------------------------------------------------------------------------ the generated classes


@pytest.mark.parametrize("path", list(texts()), ids=lambda path: path.name)
def test_generated_module_is_current(path: Path) -> None:
    assert path.read_text("utf-8") == texts()[path], "run python scripts/async_repositories.py"


def public(kind: type) -> dict[str, Callable[..., Any]]:
    return {
        name: call for name, call in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")
    }


def test_every_call_has_its_counterpart_with_the_same_parameters() -> None:
    for name, repository in AsyncRepositories.entities().items():
        entity = getattr(AsyncRepositories, name)
        found: type[AsyncRepository[Any, Any]] = entity.repository
        assert issubclass(repository, Repository)
        ours, theirs = public(found), public(repository)
        assert ours.keys() == theirs.keys(), name
        for each, call in theirs.items():
            assert list(inspect.signature(ours[each]).parameters) == list(inspect.signature(call).parameters)
            assert ours[each].__doc__ == call.__doc__ or inspect.getdoc(ours[each]) == inspect.getdoc(call)
