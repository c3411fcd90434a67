"""Metrics are scraped over HTTP as Prometheus does, and say what really happened."""

import errno
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from database_handler import Database
from database_handler.cli import main
from database_handler.core.events import Events, Target, Told, Tries, UnitEnd
from database_handler.core.exceptions import (
    CommitOutcomeUnknown,
    ConfigurationError,
    InvalidValue,
    MissingExtra,
    SchemaMismatch,
    SerializationFailure,
)
from database_handler.operations.monitoring import METRICS, PrometheusMetrics, Tracing, prometheus, serve
from tests.support.faults import FaultProxy

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def summed(samples: Samples, name: str, **labels: str) -> float:
    return sum(
        value
        for (found, given), value in samples.items()
        if found == f"database_handler_{name}" and labels.items() <= dict(given).items()
    )


class Scraped:
    """A registry that is served, and read over the wire."""

    def __init__(self, **options: Any) -> None:
        self.registry = CollectorRegistry()
        self.metrics = PrometheusMetrics(self.registry, **options)
        self.server = serve(0, registry=self.registry)

    def text(self) -> str:
        with urllib.request.urlopen(self.server.url, timeout=10) as answer:  # noqa: S310  # our own server
            found: str = answer.read().decode()
            return found

    def samples(self) -> Samples:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """Sum what the samples of a name say whose labels are these, and maybe others."""
        return summed(self.samples(), name, **labels)


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    """Yield a `Database` of the test's own on the shared database, which is emptied afterwards."""
    with Database(shared_database.config) as own:
        yield own
    with shared_database.unit_of_work() as unit:
        unit.session.run("TRUNCATE projects CASCADE")


@pytest.fixture
def scraped() -> Iterator[Scraped]:
    made = Scraped(heads_every=60)
    yield made
    made.server.close()


def test_a_scrape_tells_what_was_done(database: Database, scraped: Scraped) -> None:
    database.observe(scraped.metrics, name="films")
    project = database.projects.create(name="Secret film")
    for _ in range(3):
        database.projects.get_by_id(project.id)
    with database.unit_of_work() as unit:
        unit.projects.list()
    with pytest.raises(SchemaMismatch):
        database.session.all("SELECT 'canary' FROM nowhere")
    database.session.all("SELECT /* reports.monthly */ 'canary'")
    database.session.all("SELECT 'another canary'")

    samples = scraped.samples()
    calls = {"database": "films", "repository": "projects"}
    assert summed(samples, "statement_seconds_count", **calls, call="get_by_id") == 3
    assert summed(samples, "statement_seconds_bucket", **calls, call="get_by_id", le="+Inf") == 3
    assert 0 < summed(samples, "statement_seconds_sum", **calls, call="create") < 30
    assert summed(samples, "statement_seconds_count", repository="reports", call="monthly") == 1
    assert summed(samples, "statement_seconds_count", repository="sql", call="SELECT") == 2
    assert summed(samples, "errors_total", sqlstate="42P01", error="SchemaMismatch") == 1
    assert summed(samples, "unit_seconds_count", outcome="committed") == 1
    assert summed(samples, "pool_connections", state="idle") == 1
    assert summed(samples, "pool_max_connections") == database.pool.stats().max_size
    assert summed(samples, "pool_wait_seconds_count") == summed(samples, "pool_use_seconds_count") >= 7
    assert summed(samples, "pool_opened_total") == 1
    head = database.migrations.status().head
    assert head
    assert summed(samples, "migration_info", of="library", applied=head, expected=head) == 1
    assert (summed(samples, "migration_pending"), summed(samples, "up")) == (0, 1)
    assert "canary" not in scraped.text()
    assert "Secret" not in scraped.text()


@pytest.fixture
def with_replica(shared_database: Database) -> Iterator[Database]:
    """Yield a `Database` whose replica is the primary itself, taken for a standby that is behind."""
    url = shared_database.config.url(hide_password=False)
    with Database(shared_database.config.with_(replica_urls=[url], replica_check=3600)) as own:
        [told] = own.replicas()
        assert told.state == "promoted"
        assert own._replicas is not None
        [replica] = own._replicas._all
        assert replica.seen is not None
        replica.seen = replica.seen._replace(standby=True, behind=3600.0)
        yield own


def test_each_metric_of_the_list_is_exported_with_its_labels_and_no_other_is(
    with_replica: Database, scraped: Scraped
) -> None:
    database = with_replica
    database.observe(scraped.metrics)
    assert database.repositories(replica=True).projects.count() == 0  # it lags too much: the primary's
    database._replicas._all[0].left_out["ConnectionLost"] += 1  # type: ignore[union-attr]
    listeners = database._listeners
    lease = database.pool.borrow()
    lease.release(discard=True)  # so that a connection was closed, for a reason
    listeners.statement(Told("projects.list", "", False, True, 0.1, 0, SerializationFailure()))
    listeners.retry("40001")
    listeners.unknown_outcome("transaction.commit")
    listeners.cache("projects", "hit")
    with database.unit_of_work():
        pass
    found: dict[tuple[str, str], set[str]] = {}
    for family in text_string_to_metric_families(scraped.text()):
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if family.name.startswith("database_handler") and not name.endswith("_created"):
            found[name, family.type] = labels
    assert found == {(metric.name, metric.kind): set(metric.labels) for metric in METRICS}


def test_retries_and_unknown_commits_are_counted(database: Database, scraped: Scraped) -> None:
    database.observe(scraped.metrics)
    left = iter([SerializationFailure("lost a race", sqlstate="40001")])

    def work(unit: Any) -> None:
        unit.projects.count()
        for failure in left:
            raise failure

    database.run(work)
    assert scraped.value("retries_total", reason="40001") == 1
    assert scraped.value("unit_seconds_count", outcome="rolled back") == 1
    assert scraped.value("unit_seconds_count", outcome="committed") == 1

    with FaultProxy(database.config) as proxy, Database(proxy.config) as behind:
        behind.observe(scraped.metrics, name="behind")
        unit = behind.unit_of_work(resolve=False)
        unit.__enter__().projects.create(name="A film")
        proxy.lose("reply", "COMMIT")
        with pytest.raises(CommitOutcomeUnknown):
            unit.__exit__(None, None, None)
    assert scraped.value("unknown_commits_total", database="behind") == 1
    assert scraped.value("unit_seconds_count", database="behind", outcome="unknown") == 1


def test_a_scrape_does_not_go_to_the_server_unasked(database: Database) -> None:
    quiet = Scraped()
    with quiet.server, Database(database.config) as unused:
        unused.observe(quiet.metrics)
        assert quiet.value("pool_max_connections") == unused.pool.stats().max_size
        assert unused.pool.stats().opened == 0
        assert "database_handler_migration" not in quiet.text()
    asking = Scraped(heads_every=60)
    with asking.server, Database(database.config.with_(host="127.0.0.1", port=1)) as unreachable:
        unreachable.observe(asking.metrics)
        assert 'database_handler_up{database="' in asking.text()
        assert asking.value("up") == 0


def test_what_a_caller_names_is_bounded(
    database: Database, scraped: Scraped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus, "_MOST_NAMES", 20)
    database.observe(scraped.metrics)
    for number in range(50):
        database._listeners.statement(Told(f"reports.of_{number}", "", False, True, 0.1, 0, None))
    database._listeners.statement(Told("sql GARBAGE", "", False, True, 0.1, 0, None))
    samples = scraped.samples()
    series = [key for key in samples if key[0] == "database_handler_statement_seconds_count"]
    assert len(series) == 20 + 1
    assert summed(samples, "statement_seconds_count", repository="other", call="other") == 31
    assert summed(samples, "statement_seconds_count") == 51


def test_databases_are_told_apart_and_go_when_they_are_closed(database: Database, scraped: Scraped) -> None:
    database.observe(scraped.metrics)
    with Database(database.config) as other:
        with pytest.raises(InvalidValue, match="name="):
            other.observe(scraped.metrics)
        other.observe(scraped.metrics, name="other")
        other.projects.count()
        assert scraped.value("pool_connections", database="other", state="idle") == 1
    assert scraped.value("pool_connections", database="other") == 0
    assert scraped.value("statement_seconds_count", database="other") == 1
    with Database(database.config) as again:
        again.observe(scraped.metrics, name="other")
    with pytest.raises(InvalidValue, match="serves many databases"):
        PrometheusMetrics(scraped.registry)


def test_counts_are_whole_while_threads_count_and_others_scrape(database: Database, scraped: Scraped) -> None:
    database.observe(scraped.metrics)
    told = Told("projects.list", "", False, True, 0.1, 0, None)

    def count() -> None:
        for _ in range(500):
            database._listeners.statement(told)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        scraped.text()
    for thread in threads:
        thread.join(20)
    assert scraped.value("statement_seconds_count") == 2000


def test_a_child_counts_from_zero(database: Database, scraped: Scraped) -> None:
    database.observe(scraped.metrics)
    database.projects.count()

    def child(sender: Any) -> None:
        database.projects.count()
        database.projects.count()
        counted = [
            s for f in scraped.metrics.collect() for s in f.samples if s.name.endswith("seconds_count")
        ]
        sender.send(sum(s.value for s in counted if "statement" in s.name))
        sender.close()
        os._exit(0)

    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    if not (pid := os.fork()):
        child(sender)
    try:
        assert receiver.poll(20), "the child did not answer"
        assert receiver.recv() == 2
    finally:
        os.waitpid(pid, 0)
        receiver.close()
        sender.close()
    assert scraped.value("statement_seconds_count") == 1


def test_workers_share_their_counts_through_files(database: Database, tmp_path: Path) -> None:
    url = database.config.url(hide_password=False)
    program = """
        import os, sys, urllib.request
        from database_handler import Database
        from database_handler.operations.monitoring import PrometheusMetrics, serve
        from database_handler.operations.monitoring.server import served_beside

        def text(server):
            with server, urllib.request.urlopen(server.url, timeout=10) as answer:
                return answer.read().decode()

        with Database(sys.argv[1]) as db:
            beside = served_beside()  # as the command does
            db.observe(PrometheusMetrics(beside))
            db.projects.count()
            if not (pid := os.fork()):
                db.projects.count()
                db.projects.count()
                os._exit(0)
            os.waitpid(pid, 0)
            print(text(serve(0)), text(serve(0, registry=beside)), sep="#" * 80)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), url],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    shared, with_pool = done.stdout.split("#" * 80)
    for text in (shared, with_pool):
        counted = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "database_handler_statement_seconds_count"
        ]
        assert counted == [3]
    assert "database_handler_pool_connections" in with_pool


def test_a_port_in_use_is_told_and_a_closed_one_is_free_again(scraped: Scraped) -> None:
    with pytest.raises(ConfigurationError, match="another process uses that port") as refused:
        serve(scraped.server.port, registry=scraped.registry)
    assert "--port" in str(refused.value)
    with pytest.raises(ConfigurationError, match=r"203\.0\.113\.7"):
        serve(0, "203.0.113.7", registry=scraped.registry)
    port = scraped.server.port
    scraped.server.close()
    scraped.server.close()
    with socket.socket() as free:
        assert free.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
    with serve(port, registry=scraped.registry) as again:
        assert again.port == port


@pytest.mark.parametrize("port", [-1, 65536, True, "9187", None])
def test_what_is_no_port_is_refused(port: Any) -> None:
    with pytest.raises(InvalidValue):
        serve(port)


@pytest.mark.parametrize("given", ["x", 1, object])
def test_what_is_no_observer_is_refused(database: Database, given: Any) -> None:
    with pytest.raises(InvalidValue, match="attach"):
        database.observe(given)
    with pytest.raises(InvalidValue):
        PrometheusMetrics(given)


# --------------------------------------------------------------------------------------------- observers


class Watching(Events):
    def __init__(self) -> None:
        self.told: list[Told] = []
        self.ends: list[UnitEnd] = []
        self.closed = False

    def attach(self, target: Target) -> Events:
        return self

    def statement(self, told: Told) -> None:
        self.told.append(told)

    def unit(self, tries: Tries | None) -> Callable[[UnitEnd], object]:
        return self.ends.append

    def close(self) -> None:
        self.closed = True


class Failing(Watching):
    def statement(self, told: Told) -> None:
        raise RuntimeError("canary")

    def unit(self, tries: Tries | None) -> Callable[[UnitEnd], object]:
        raise RuntimeError("canary")


def test_an_observer_of_ones_own_hears_of_it_without_values(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    watching, failing = Watching(), Failing()
    database.observe(failing)
    database.observe(watching)
    with database.unit_of_work() as unit:
        project = unit.projects.create(name="canary")
        unit.session.all("SELECT name FROM projects WHERE name = %s", ["canary"])
    database.projects.find_by_id(project.id)
    assert [(told.name, told.reads) for told in watching.told] == [
        ("projects.create", False),
        ("sql SELECT", True),
        ("transaction.commit", False),
        ("projects.get_by_id", True),
    ]
    assert [end.outcome for end in watching.ends] == ["committed"]
    assert "canary" not in repr(watching.told)
    failures = [record.getMessage() for record in caplog.records if "observer_failed" in record.getMessage()]
    assert failures == ["observer_failed listener=Failing error=RuntimeError"]
    database.close()
    assert watching.closed


def test_every_statement_names_its_call_where_the_server_shows_it(database: Database) -> None:
    seen = "SELECT query FROM pg_stat_activity WHERE pid = %s"
    with database.unit_of_work() as unit:
        unit.projects.count()
        [pid] = unit.session.one("SELECT pg_backend_pid()")
        unit.projects.count(status="draft")
        [query] = database.repositories(outside_unit=True).session.one(seen, [pid])
    assert "SELECT /* projects.count */ count(*)" in query


# ------------------------------------------------------------------------------------------ the command


def test_the_command_serves_until_it_is_stopped(
    database: Database, scraped: Scraped, capsys: pytest.CaptureFixture[str]
) -> None:
    url = database.config.url(hide_password=False)
    command = [
        sys.executable,
        "-c",
        "from database_handler.cli import main; import sys; sys.exit(main(sys.argv[1:]))",
    ]
    serving = subprocess.Popen(
        [*command, "metrics", "serve", "--port", "0", "--json", "--database-url", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stderr is not None
        address = serving.stderr.readline().split()[-1]
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310  # our own server
            text = answer.read().decode()
        serving.send_signal(signal.SIGTERM)
        told, _ = serving.communicate(timeout=20)
    finally:
        serving.kill()
        serving.wait()
    assert f'database_handler_up{{database="{database.config.name}"}} 1.0' in text
    assert 'of="library"} 0.0' in text
    assert (serving.returncode, json.loads(told)["url"]) == (0, address)
    port = str(scraped.server.port)
    assert main(["metrics", "serve", "--port", port, "--database-url", url]) == 1
    assert "another process uses that port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "made"),
    [("prometheus_client", PrometheusMetrics), ("prometheus_client", serve), ("opentelemetry", Tracing)],
)
def test_without_the_extra_the_error_names_it(
    monkeypatch: pytest.MonkeyPatch, package: str, made: Callable[[], object]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(MissingExtra, match=r"database-handler\[monitoring\]"):
        made()
