"""Spans follow OpenTelemetry's stable conventions for PostgreSQL, hold no value, and tie retries together."""

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.semconv.attributes import db_attributes, error_attributes, server_attributes

from database_handler import Database, NewProject
from database_handler.core.exceptions import (
    ConnectionLost,
    DuplicateRecord,
    InvalidValue,
    SerializationFailure,
)
from database_handler.operations.monitoring import Tracing
from database_handler.utils import logger

CANARY = "canary-7391"
CONVENTIONS = {
    value
    for module in (db_attributes, error_attributes, server_attributes)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}


class Traces:
    """A provider of the test's own, and the spans that ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans() if span.name == name]

    def units(self) -> list[ReadableSpan]:
        return [span for span in self.spans() if span.name.startswith("unit of work")]


@pytest.fixture
def traces() -> Traces:
    return Traces()


@pytest.fixture
def database(shared_database: Database, traces: Traces) -> Iterator[Database]:
    """Yield a traced `Database` on the shared database, which is emptied afterwards."""
    with Database(shared_database.config) as own:
        own.observe(Tracing(traces.provider))
        yield own
    with shared_database.unit_of_work() as unit:
        unit.session.run("TRUNCATE projects CASCADE")


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def context_of(span: ReadableSpan) -> trace.SpanContext:
    found: trace.SpanContext | None = span.context
    assert found is not None
    return found


def parent_id(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def test_a_unit_is_one_span_and_each_statement_is_its_child(database: Database, traces: Traces) -> None:
    with traces.tracer.start_as_current_span("request"), database.unit_of_work() as unit:
        unit.projects.create(name=CANARY)
        with traces.tracer.start_as_current_span("of the application"):
            unit.projects.list(name=CANARY)
    [request], [unit_span] = traces.named("request"), traces.units()
    assert parent_id(unit_span) == context_of(request).span_id
    assert unit_span.kind is trace.SpanKind.INTERNAL
    assert attributes(unit_span)["database_handler.unit.outcome"] == "committed"
    [create], [listing], [commit] = map(
        traces.named, ("projects.create", "projects.list", "transaction.commit")
    )
    assert parent_id(create) == parent_id(commit) == context_of(unit_span).span_id
    assert parent_id(listing) == context_of(traces.named("of the application")[0]).span_id
    for statement in (create, listing, commit):
        assert statement.kind is trace.SpanKind.CLIENT
        assert unit_span.start_time <= statement.start_time < statement.end_time <= unit_span.end_time  # type: ignore[operator]  # they have ended
    assert len({context_of(span).trace_id for span in traces.spans()}) == 1
    assert not trace.get_current_span().get_span_context().is_valid


def test_attributes_are_those_of_the_conventions(database: Database, traces: Traces) -> None:
    project = database.projects.create(name="A film")
    [span] = traces.named("projects.create")
    found = attributes(span)
    text = found.pop("db.query.text")
    config = database.config
    assert found == {
        "db.system.name": "postgresql",
        "db.namespace": config.name,
        "db.collection.name": "projects",
        "db.operation.name": "create",
        "db.query.summary": "projects.create",
        "server.address": config.host,
    } | ({} if config.port == 5432 else {"server.port": config.port})
    assert "INSERT INTO projects (id," in text
    assert "%s::uuid" in text
    assert span.status.status_code is trace.StatusCode.UNSET
    with pytest.raises(DuplicateRecord):
        database.projects.create(NewProject(name="A film"), id=project.id)
    failed = traces.named("projects.create")[-1]
    assert attributes(failed)["db.response.status_code"] == attributes(failed)["error.type"] == "23505"
    assert (failed.status.status_code, failed.status.description) == (
        trace.StatusCode.ERROR,
        "DuplicateRecord",
    )
    own = {name for each in traces.spans() for name in attributes(each)}
    assert {name for name in own if not name.startswith("database_handler.")} <= CONVENTIONS
    scope = span.instrumentation_scope
    assert scope is not None
    assert scope.schema_url == "https://opentelemetry.io/schemas/1.44.0"


def test_no_value_and_no_literal_is_in_a_span(database: Database, traces: Traces) -> None:
    class Own(Exception):
        pass

    database.session.all(f"SELECT '{CANARY}', $${CANARY}$$, 7391, E'{CANARY}' /* {CANARY} */ -- {CANARY}")
    database.session.all("SELECT %s::text, 5 %% 2", [CANARY])
    with suppress(DuplicateRecord), database.unit_of_work() as unit:
        unit.projects.create(name=CANARY)
        unit.projects.create(name=CANARY)
    with suppress(Own), database.unit_of_work() as unit:
        unit.projects.count(name=CANARY)
        raise Own(CANARY)
    assert CANARY not in "".join(span.to_json() for span in traces.spans())
    assert "7391" not in str([attributes(span) for span in traces.spans()])
    first, second = traces.named("SELECT")
    assert attributes(first)["db.query.text"] == "SELECT ?, ?, ?, ?"
    assert attributes(second)["db.query.text"] == "SELECT %s::text, ? %% ?"
    assert "db.collection.name" not in attributes(first)
    assert [span.status.description for span in traces.units()] == ["DuplicateRecord", "Own"]


def test_a_try_is_linked_to_the_one_before(database: Database, traces: Traces) -> None:
    failures = chain([SerializationFailure("", sqlstate="40001"), ConnectionLost("")])

    def work(unit: Any) -> None:
        for failure in failures:
            raise failure

    with traces.tracer.start_as_current_span("request"):
        database.run(work)
    first, second, third = traces.units()
    assert first.links == ()
    for before, after, reason in ((first, second, "40001"), (second, third, "ConnectionLost")):
        [link] = after.links
        assert link.context.span_id == context_of(before).span_id
        assert attributes(before)["error.type"] == reason
        assert attributes(after)["database_handler.retry.reason"] == reason
    assert attributes(third)["database_handler.retry.number"] == 2
    [request] = traces.named("request")
    assert [event.name for event in request.events] == ["database_handler.retry"] * 2
    with database.unit_of_work():
        pass
    assert traces.units()[-1].links == ()


def test_each_thread_has_its_own_current_unit(database: Database, traces: Traces) -> None:
    ready = threading.Barrier(4)

    def work(name: str) -> None:
        with traces.tracer.start_as_current_span(name), database.unit_of_work() as unit:
            ready.wait(20)
            unit.projects.count()

    names = [f"request {number}" for number in range(4)]
    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    units = {context_of(span).span_id: span for span in traces.units()}
    counts = traces.named("projects.count")
    assert len(units) == len(counts) == len({parent_id(span) for span in counts}) == 4
    for span in counts:
        above = units[parent_id(span) or 0]
        assert context_of(above).trace_id == context_of(span).trace_id
    requests = {context_of(span).span_id for name in names for span in traces.named(name)}
    assert {parent_id(span) for span in units.values()} == requests


def test_a_unit_that_another_thread_closes_is_ended_there(database: Database, traces: Traces) -> None:
    opened = database.unit_of_work()
    failure = ValueError(CANARY)

    def begin_and_drop() -> None:
        opened.__enter__().projects.count()

    for work in (begin_and_drop, lambda: opened.__exit__(ValueError, failure, None)):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(20)
    [span] = traces.units()
    assert attributes(span)["database_handler.unit.outcome"] == "rolled back"
    assert not trace.get_current_span().get_span_context().is_valid


def test_events_of_the_log_tell_the_current_span(database: Database, traces: Traces) -> None:
    root = logging.getLogger("database_handler")
    before = root.handlers[:], root.level, root.propagate
    stream = io.StringIO()
    try:
        logger.configure("debug", "json", stream)
        database.projects.count()
        with database.unit_of_work() as unit:
            unit.projects.count()
    finally:
        root.handlers[:], level, root.propagate = before
        root.setLevel(level)
    outside, inside, _ = [json.loads(line) for line in stream.getvalue().splitlines()]
    [span] = traces.units()
    assert "trace_id" not in outside
    assert inside["trace_id"] == f"{context_of(span).trace_id:032x}"
    assert inside["span_id"] == f"{context_of(span).span_id:016x}"


@pytest.mark.parametrize("sampled", ["no SDK", "nothing"])
def test_without_an_sdk_or_with_nothing_sampled_all_goes_on(
    shared_database: Database, monkeypatch: pytest.MonkeyPatch, sampled: str
) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF)
    if sampled == "no SDK":
        monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)  # an import of it fails
        monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with Database(shared_database.config) as quiet:
        quiet.observe(Tracing() if sampled == "no SDK" else Tracing(provider))
        with quiet.unit_of_work() as unit:
            assert unit.projects.count() == 0
            assert not trace.get_current_span().is_recording()


@pytest.mark.parametrize("given", ["x", 1, object])
def test_what_is_no_provider_is_refused(given: Any) -> None:
    with pytest.raises(InvalidValue, match="TracerProvider"):
        Tracing(given)
