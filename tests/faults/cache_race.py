"""Readers, writers and an evictor over one cache, and what a reader may read: nothing older than committed.

Before each read a reader notes what had been committed, by a commit that had returned; what it reads must be
at least that. Each worker has a `Database` of its own, as a process has, so that nothing is shared but the
two servers. Small waits at the places where the order matters make the races that would be rare.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from database_handler import Change, Database, SummaryKind
from database_handler.core.exceptions import DeadlockDetected, RecordNotFound, SerializationFailure
from tests.support.valkey import Valkey

__all__ = ["Known", "Race"]

_LOST = (SerializationFailure, DeadlockDetected, RecordNotFound)


class Jittery:
    """A server of a cache that dawdles where the order of things matters."""

    def __init__(self, server: Any, choose: Random, longest: float) -> None:
        self._server = server
        self._choose = choose
        self._longest = longest

    def dawdle(self) -> None:
        """Wait a little, and now and then a little longer."""
        Event().wait(self._choose.random() ** 3 * self._longest)

    def fill(self, *args: Any, **named: Any) -> Any:
        self.dawdle()  # between what the database said and the storing of it
        return self._server.fill(*args, **named)

    def mark(self, *args: Any, **named: Any) -> None:
        self._server.mark(*args, **named)
        self.dawdle()  # between the mark and the COMMIT

    def release(self, *args: Any, **named: Any) -> None:
        self.dawdle()  # between the COMMIT and the release
        self._server.release(*args, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


class Known:
    """What is committed for certain: versions, rows of a project, and rows that are gone."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.versions: dict[UUID, int] = {}
        self.rows: dict[UUID, int] = {}
        self.alive: list[UUID] = []
        self.gone: list[UUID] = []

    def at_least(self, found: dict[UUID, int], id: UUID, value: int) -> None:
        with self._lock:
            found[id] = max(found.get(id, 0), value)

    def move(self, id: UUID, summary: UUID) -> None:
        with self._lock:
            self.alive.remove(id)
            self.gone += [id, summary]


class Race:
    """The workers, what they know, and every read that was stale."""

    def __init__(
        self, make: Callable[[], Database], valkey: Valkey, seed: int, *, dawdle: float = 0.004
    ) -> None:
        self._make = make
        self._valkey = valkey
        self._seed = seed
        self._longest = dawdle
        self._over = Event()
        self.known = Known()
        self.stale: list[str] = []
        self.failures: list[BaseException] = []
        self.reads = self.writes = self.evictions = 0
        self._children: dict[UUID, UUID] = {}

    def run(self, seconds: float, *, readers: int = 3, writers: int = 2, first: bool = False) -> None:
        """Go on for so long, or until the first stale read."""
        with self._make() as database:
            projects = [database.projects.create(name=f"p{n}") for n in range(3)]
            for project in projects:
                self.known.versions[project.id], self.known.rows[project.id] = 1, 0
        work = [self._reader] * readers + [self._writer] * writers + [self._evictor]
        threads = [
            Thread(target=self._worker, args=[kind, self._seed * 100 + number], daemon=True)
            for number, kind in enumerate(work)
        ]
        for thread in threads:
            thread.start()
        until = monotonic() + seconds
        while monotonic() < until and not self.failures and not (first and self.stale):
            self._over.wait(0.01)
        self._over.set()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive(), "a worker is stuck"
        if self.failures:
            raise self.failures[0]

    def _worker(self, kind: Callable[[Database, Random], None], seed: int) -> None:
        choose = Random(seed)
        try:
            with self._make() as database:
                cache: Any = database.cache
                cache.server = Jittery(cache.server, Random(seed + 50), self._longest)
                while not self._over.is_set():
                    with suppress(*_LOST):
                        kind(database, choose)
                self._assert_all_announced(database)
        except BaseException as failure:  # noqa: BLE001  # handed over
            self.failures.append(failure)

    @staticmethod
    def _assert_all_announced(database: Database) -> None:
        assert database.cache is not None
        assert database.cache.stats().unannounced == 0, "the machine was too slow for this cache's limit"

    # -------------------------------------------------------------------------------------------- readers

    def _reader(self, database: Database, choose: Random) -> None:
        self.reads += 1
        how = choose.choice((self._reads_one, self._reads_one, self._reads_many, self._counts, self._seeks))
        how(database, choose)

    def _reads_one(self, database: Database, choose: Random) -> None:
        id = choose.choice(list(self.known.versions))
        floor = self.known.versions[id]
        self._expect(database.projects.get_by_id(id).version, floor, "get_by_id")

    def _reads_many(self, database: Database, choose: Random) -> None:
        ids = list(self.known.versions)
        choose.shuffle(ids)
        floors = [self.known.versions[id] for id in ids]
        for record, floor in zip(database.projects.get_many(ids), floors, strict=True):
            self._expect(record.version, floor, "get_many")

    def _counts(self, database: Database, choose: Random) -> None:
        id = choose.choice(list(self.known.rows))
        floor = self.known.rows[id]
        self._expect(database.projects.statistics(id).links.rows, floor, "statistics")

    def _seeks(self, database: Database, choose: Random) -> None:
        for id in self.known.alive[-2:]:
            database.text_sources.find_by_id(id)
            database.summaries.find_by_id(self._children[id])
        for id in self.known.gone[-2:]:
            found = database.text_sources.find_by_id(id) or database.summaries.find_by_id(id)
            self._expect(found is None, True, "find_by_id of what is deleted")

    def _expect(self, found: int, floor: int, what: str) -> None:
        if found < floor:
            self.stale.append(f"{what}: {found} was read after {floor} was committed")

    # -------------------------------------------------------------------------------------------- writers

    def _writer(self, database: Database, choose: Random) -> None:
        self.writes += 1
        how = choose.choice(
            (
                *(self._updates, self._updates_in_a_unit, self._updates_many, self._rolls_back),
                *(self._writes_own_sql, self._adds, self._adds, self._makes, self._deletes),
            )
        )
        how(database, choose.choice(list(self.known.versions)))

    def _updates(self, database: Database, id: UUID) -> None:
        record = database.projects.update(id, {"metadata": {"by": "itself"}})
        self.known.at_least(self.known.versions, id, record.version)

    def _updates_in_a_unit(self, database: Database, id: UUID) -> None:
        with database.unit_of_work() as unit:
            record = unit.projects.update(id, {"metadata": {"by": "a unit"}})
        self.known.at_least(self.known.versions, id, record.version)

    def _updates_many(self, database: Database, id: UUID) -> None:
        changes = [Change(each, {"metadata": {"by": "many"}}) for each in self.known.versions]
        for record in database.projects.update_many(changes):
            self.known.at_least(self.known.versions, record.id, record.version)

    def _rolls_back(self, database: Database, id: UUID) -> None:
        with suppress(KeyError), database.unit_of_work() as unit:
            unit.projects.update(id, {"metadata": {"by": "nobody"}})
            raise KeyError

    def _writes_own_sql(self, database: Database, id: UUID) -> None:
        text = "UPDATE projects SET version = version + 1 WHERE id = %s RETURNING version"
        [version] = database.session.one(text, [id])
        self.known.at_least(self.known.versions, id, version)

    def _adds(self, database: Database, id: UUID) -> None:
        with self._link_lock:
            number = self.known.rows[id] + 1
            database.links.create(project_id=id, url=f"https://example.org/{number}")
            self.known.at_least(self.known.rows, id, number)

    _link_lock = Lock()  # so that the count is known

    def _makes(self, database: Database, id: UUID) -> None:
        with database.unit_of_work() as unit:
            source = unit.text_sources.create(
                project_id=id, title="a", content=f"a text {uuid4()}", language="en"
            )
            summary = unit.summaries.create(
                project_id=id, text_source_id=source.id, kind=SummaryKind.BRIEF, content="a", language="en"
            )
        self._children[source.id] = summary.id
        self.known.alive.append(source.id)

    def _deletes(self, database: Database, id: UUID) -> None:
        with self._link_lock:
            gone = self.known.alive[0] if self.known.alive else None
            if gone is not None:
                database.text_sources.delete(gone)
                self.known.move(gone, self._children[gone])

    # -------------------------------------------------------------------------------------------- evictor

    def _evictor(self, _: Database, choose: Random) -> None:
        self.evictions += 1
        self._over.wait(choose.uniform(0, 0.01))
        client = self._valkey.client
        keys: Sequence[bytes] = client.keys("dh:*")
        what = choose.randrange(12)
        if what == 0:
            client.flushall()
        elif keys and what == 1:
            client.set(choose.choice(keys), choose.randbytes(choose.randrange(200)))
        elif keys and what == 2:
            key = choose.choice(keys)
            client.pipeline().delete(key).rpush(key, b"of another type").execute()
        elif keys:
            client.delete(*choose.sample(keys, min(len(keys), choose.randrange(1, 4))))
