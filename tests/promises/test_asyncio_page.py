"""docs/asyncio.md is true: its blocks run, its FastAPI application serves under load, its tests are there.

The classes that it is about are written by a script, and are what that writes now.
"""

import asyncio
import gc
import inspect
import json
import re
import subprocess
import sys
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
import uvicorn

from database_handler import AsyncDatabase, AsyncUnitOfWork, Database, UnitOfWork
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
@pytest.mark.parametrize("visitors", [20, CONCURRENT])
def test_the_application_serves_another_process(
    walk: Walk, capsys: pytest.CaptureFixture[str], visitors: int
) -> None:
    for block in blocks(PAGE, "python"):
        walk.python(block.code)
    told = asyncio.run(asyncio.wait_for(asked_from_outside(walk.namespace["app"], visitors, 15), 120))
    with capsys.disabled():
        print(f"\n{visitors} visitors: {told}")  # noqa: T201  # these are the figures of the page
    assert told["longest callback"] <= 0.05


async def asked_from_outside(app: Any, visitors: int, seconds: float) -> dict[str, float]:
    """Serve an application with uvicorn, as in production, to a process that asks it; tell how it was."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    until = monotonic() + 20
    while not server.started:
        assert monotonic() < until, "it never started"
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    arguments = ["-m", "tests.support.http_load", str(port), str(visitors), str(seconds)]
    try:
        with callbacks() as longest:
            client = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, cwd=ROOT, stdout=subprocess.PIPE
            )
            told, _ = await client.communicate()
        assert client.returncode == 0
        assert app.state.db.pool.stats().in_use == 0
    finally:
        server.should_exit = True
        await serving
    found: dict[str, float] = json.loads(told)
    return found | {"longest callback": longest[0], "longest computing of its own": longest[1]}


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
    for name in ("test_frozen_asyncio", "test_pgbouncer", "test_replicas"):
        there |= names_of_tests(ROOT / "tests" / "faults" / f"{name}.py")
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


BLOCKS = "gives an object whose own calls block: it is used in a thread, by call"
OPERATES = "operates the server, from a command or a program of its own; in an application by call"
ABOUT = "tells of classes, and is asked of the synchronous one: db.database"
WITHOUT = {  # what `Database` and `UnitOfWork` have and `AsyncDatabase` and `AsyncUnitOfWork` do not, and why
    "records": ABOUT,
    "models": ABOUT,
    "replica_pools": "pools that calls borrow from by themselves; how they are is told by replicas()",
    "files": BLOCKS,
    "cache": BLOCKS,
    "sqlalchemy": BLOCKS,
    "sqlalchemy_engine": BLOCKS,
    "outbox": OPERATES,
    "migrations": OPERATES,
    "backups": OPERATES,
    "distribute": OPERATES,
    "roles": OPERATES,
    "advise": OPERATES,
    "top": OPERATES,
}
ONLY_HERE = {
    "call": "hands the synchronous one to a function in a thread",
    "enter": "opens a unit for its task; used by AsyncDatabase",
    "exit": "as enter",
    "leave": "as enter",
    "run_hooks": "as enter",
    "run_hooks_of_cancelled": "as enter",
    "database_class": "the class that it stands for",
    "config": "an attribute of the synchronous one",
    "pool": "an attribute of the synchronous one",
    "session": "an attribute of the synchronous one",
}


def names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_every_call_of_a_database_and_a_unit_is_there_or_left_out_for_a_reason() -> None:
    missing, more = set[str](), set[str]()
    for ours, theirs in ((AsyncDatabase, Database), (AsyncUnitOfWork, UnitOfWork)):
        settings = set(vars(theirs).get("__annotations__", {})) | {"versions", "history_table"}
        missing |= names(theirs) - names(ours) - settings
        more |= names(ours) - names(theirs)
        for name in sorted(names(ours) & names(theirs)):
            call, other = getattr(ours, name), getattr(theirs, name)
            if callable(call):
                taken, wanted = (inspect.signature(each).parameters for each in (call, other))
                assert list(taken) == list(wanted), f"{ours.__name__}.{name}"
    assert missing == WITHOUT.keys()
    assert more == ONLY_HERE.keys()
