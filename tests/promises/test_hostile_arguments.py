"""Every public callable takes what it is given, or refuses it with an error of this library.

One argument of a valid call at a time is replaced by each hostile one. A new public callable is tested by
existing: it is found by reflection, and needs at most a valid value in tests/support/valid_arguments.py.
"""

import asyncio
import inspect
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from psycopg2 import sql

from database_handler import Database, DatabaseConfig, FilesConfig, UnitOfWork
from database_handler.core.exceptions import (
    ConfigurationError,
    DatabaseHandlerError,
    InvalidSql,
    MigrationError,
    ReleasedConnection,
    TransactionAborted,
    UnknownField,
)
from database_handler.embedded import EmbeddedServer
from database_handler.testing.plugin import _made
from tests.support.public_callables import HOSTILE, NAMES, CallersOwn, Public, public_callables
from tests.support.valid_arguments import SECRET, Scene, base, keywords, owner_of, scene_of

SECONDS = 5.0  # no call takes longer
IN_UNIT = {"Session", "UnitFiles", "UnitOfWork"}
STATE = sql.SQL(" UNION ALL ").join(
    sql.SQL("SELECT {}, count(*), coalesce(sum(version), 0) FROM {}").format(
        sql.Literal(record.table.name), sql.Identifier(record.table.name)
    )
    for record in Database.records()
)
# These tell the caller's own names: of fields, versions, schemas and settings, and SQL without parameters.
TELL_NAMES = (UnknownField, InvalidSql, MigrationError, ConfigurationError)
Arguments = dict[str, Any]


class TookTooLong(BaseException):
    pass


@pytest.fixture(scope="module")
def scene(database_template: DatabaseConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("hostile") / "a" / "b" / "c"  # what climbs stays below the test's own
    folder.mkdir(parents=True)
    files = FilesConfig(store_url=str(folder / "store"), media_root=folder)
    with (
        _made(database_template, template=database_template.name) as config,
        _made(database_template, template=database_template.name) as apart,
        Database(config.with_(deadline=SECONDS), files=files) as database,
    ):
        made = scene_of(database, apart, folder)
        yield replace(made, state=database.session.all(STATE))


@pytest.fixture(scope="module")
def server(scene: Scene) -> Iterator[None]:
    """Keep the folder's server running, so that none is started for each call."""
    with EmbeddedServer.start(scene.folder / "server", durable=False):
        yield


@contextmanager
def bounded() -> Iterator[None]:
    """Let a call take no longer; the test's own timer, which is the same one, goes on afterwards."""

    def stop(*_: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    started = monotonic()
    left, _ = signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (monotonic() - started), 0.001))


def variants(scene: Scene, public: Public) -> Iterator[tuple[str, Callable[[], Arguments]]]:
    """Give calls of which one argument is hostile: what it is, and what makes the arguments."""
    right = base(scene, public)

    def given(name: str, make: Callable[[], object]) -> Arguments:
        return {**right, name: make()}

    for name, parameter in public.parameters.items():
        several = parameter.kind is parameter.VAR_KEYWORD
        for each in keywords(public) if several else [name]:
            for kind in public.hostile(each):
                yield f"{each}={kind}", partial(given, each, HOSTILE[kind])
        if several and "model_validate" not in public.name:  # those are pydantic's options
            for each in NAMES:
                yield f"**{each[:20]!r}", partial(given, each, int)


def called(scene: Scene, public: Public, arguments: Arguments) -> None:
    call = public.call
    if public.owner is not None and not inspect.ismethod(call):
        call = getattr(owner_of(scene, public), public.name.rpartition(".")[2])
    places = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY)
    stars = [n for n, p in public.parameters.items() if p.kind in places]
    result: Any = call(*[arguments.pop(name) for name in stars if name in arguments], **arguments)
    if inspect.iscoroutine(result):
        asyncio.run(result)
    elif public.name == "Database.embedded" or not isinstance(result, Database):  # others share the pool
        used(result)


def used(result: Any) -> None:
    """Use up what came back, so that what is late to refuse refuses."""
    if isinstance(result, AbstractContextManager) and not isinstance(result, Path):
        with result:
            pass
    elif isinstance(result, Iterator):
        list(islice(result, 3))
    if inspect.isgenerator(result):
        result.close()


def in_its_place(scene: Scene, public: Public, make: Callable[[], Arguments]) -> None:
    """Make a call; what may change rows is called in a unit, where a refused call has changed none."""
    if public.over is None and (public.owner is None or public.owner.__name__ not in IN_UNIT):
        called(scene, public, make())
        return
    with scene.database.unit_of_work() as uow:
        try:
            called(replace(scene, uow=uow), public, make())
        except DatabaseHandlerError:
            with suppress(TransactionAborted, ReleasedConnection):
                assert wrote_nothing(uow, scene), "it was refused, and something is written"
            raise
        finally:
            uow.rollback()


def wrote_nothing(uow: UnitOfWork, scene: Scene) -> bool:
    """Whether no row has changed: a transaction without a number has written nothing; else the rows tell."""
    [number] = uow.session.one("SELECT pg_current_xact_id_if_assigned()::text")
    return number is None or uow.session.all(STATE) == scene.state


def problem(call: Callable[[], None]) -> str | None:
    """Say what is wrong with how a call ended; nothing, mostly."""
    try:
        with bounded():
            call()
    except CallersOwn:
        return None
    except DatabaseHandlerError as error:
        return unfit(error)
    except TookTooLong:
        return "took too long"
    except Exception as error:  # noqa: BLE001  # it is what is looked for
        return traceback.format_exception_only(error)[-1][:200]
    return None


def unfit(error: DatabaseHandlerError) -> str | None:
    text = str(error)
    if SECRET in text or ("Wörds" in text and not isinstance(error, TELL_NAMES)):
        return f"{type(error).__name__} tells a value: {text[:150]}"
    if len(text) > 2000 or not text.replace("\n", "").isprintable():
        return f"{type(error).__name__} is hard to log: {text[:150]!r}"
    return None


@pytest.mark.parametrize("public", public_callables(), ids=str)
def test_hostile_arguments_are_taken_or_refused_by_our_error(
    scene: Scene, public: Public, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(scene.folder)  # a text is a good path, and what is made there goes with the test
    if "embedded" in public.name.lower():
        request.getfixturevalue("server")
    found = [
        f"{public}({what}): {told}"
        for what, make in variants(scene, public)
        if (told := problem(partial(in_its_place, scene, public, make))) is not None
    ]
    assert not found, "\n".join(found)
    assert scene.database.session.all(STATE) == scene.state
