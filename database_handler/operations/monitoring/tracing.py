"""Spans for OpenTelemetry: one a unit of work, and one a statement, by the conventions for PostgreSQL.

A statement's span is made when it has ended, with the time at which it began: nothing runs in between that
could have children. A unit's span is the current one inside the unit, so the application's own spans, and
the events of the log, belong to it. No value is told: texts have placeholders, literals are ``?``, and of an
error its class and SQLSTATE.

Sources: OpenTelemetry semantic conventions 1.44, "Database client spans", "PostgreSQL" (both stable).
"""

from threading import get_ident
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from database_handler.config.database import DatabaseConfig
from database_handler.core.events import Ender, Events, Target, Told, Tries, UnitEnd
from database_handler.core.exceptions import DatabaseHandlerError, InvalidValue, MissingExtra
from database_handler.operations.monitoring.redaction import redacted
from database_handler.utils.arguments import checked

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

__all__ = ["Tracing"]

_SCOPE: Final = "database_handler"
_SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"
_PORT: Final = 5432
_LONGEST: Final = 4_000  # characters of a statement's text
_MOST_NAMES: Final = 1_000  # of statements, whose attributes are kept

Attributes = dict[str, str | int | bool]


def _extra() -> Any:
    try:
        from opentelemetry import trace
    except ImportError:
        raise MissingExtra("tracing needs: pip install 'database-handler[monitoring]'") from None
    return trace


class Tracing:
    """Makes spans of units and statements.

    Parameters
    ----------
    provider : TracerProvider, optional
        Who makes the spans; OpenTelemetry's global one when left out.

    Examples
    --------
    >>> db.observe(Tracing())
    """

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        trace = _extra()
        if not isinstance(provider, trace.TracerProvider | None):
            raise InvalidValue(f"provider is a TracerProvider, not a {type(provider).__name__}")
        self._tracer: Tracer = trace.get_tracer(_SCOPE, None, provider, _SCHEMA)

    @checked
    def attach(self, target: Target) -> Events:
        """Make spans of what a database does, from now on; `Database.observe` calls this."""
        return _Traced(self._tracer, target)


def _where(config: DatabaseConfig) -> Attributes:
    """Return what all spans of a database have; `db.namespace` is the database that was connected to."""
    where: Attributes = {"db.system.name": "postgresql", "db.namespace": config.name}
    ports = set(config.ports) or {config.port}
    return where | _server(config.host, ports.pop() if len(ports) == 1 else _PORT)


def _server(host: str, port: int) -> Attributes:
    """Return what names a server; PostgreSQL's own port is not told."""
    return {"server.address": host} if port == _PORT else {"server.address": host, "server.port": port}


def _operation(name: str, tables: frozenset[str]) -> Attributes:
    """Return what names the statement: the table and the call, or the command of a caller's SQL."""
    if name.startswith("sql "):
        command = name.removeprefix("sql ")
        return {"db.operation.name": command, "db.query.summary": command}
    table, dot, call = name.partition(".")
    if not dot:
        return {"db.query.summary": name}
    found: Attributes = {"db.operation.name": call, "db.query.summary": name}
    if table in tables:
        found["db.collection.name"] = table
    return found


class _Traced(Events):
    """One database's part."""

    def __init__(self, tracer: "Tracer", target: Target) -> None:
        self._trace = _extra()
        self._tracer = tracer
        self._tables = target.tables
        self._where = _where(target.config)
        self._named: dict[tuple[str, tuple[str, int] | None], Attributes] = {}

    # --------------------------------------------------------------------------------------- statements

    def statement(self, told: Told) -> None:
        ended = time_ns()
        attributes = self._named.get((told.name, told.server)) or self._attributes(told.name, told.server)
        span = self._tracer.start_span(
            str(attributes["db.query.summary"]),
            kind=self._trace.SpanKind.CLIENT,
            attributes=attributes,
            start_time=ended - int(told.seconds * 1e9),
        )
        if told.text and span.is_recording():
            span.set_attribute("db.query.text", redacted(told.text, placeholders=told.bound)[:_LONGEST])
        if told.failure is not None:
            self._failed(span, told.failure)
        span.end(ended)

    def _attributes(self, name: str, server: tuple[str, int] | None) -> Attributes:
        """Return those of a statement; it may have gone to a replica, or to one of several hosts."""
        where = self._where if server is None else self._where | _server(*server)
        if server is not None and server[1] == _PORT:
            where.pop("server.port", None)
        attributes = where | _operation(name, self._tables)
        if len(self._named) < _MOST_NAMES:
            self._named[name, server] = attributes
        return attributes

    def _failed(self, span: "Span", failure: BaseException) -> None:
        sqlstate = failure.sqlstate if isinstance(failure, DatabaseHandlerError) else None
        kind = type(failure).__name__
        span.set_attribute("error.type", sqlstate or kind)
        if sqlstate:
            span.set_attribute("db.response.status_code", sqlstate)
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, kind))

    # -------------------------------------------------------------------------------------------- units

    def unit(self, tries: Tries | None) -> Ender:
        span = self._tracer.start_span(
            f"unit of work {self._where['db.namespace']}",
            kind=self._trace.SpanKind.INTERNAL,
            attributes=self._where | _tried(tries),
            links=self._links(tries),
        )
        if tries is not None:
            tries.kept[self] = span.get_span_context()
        return _Current(self, span).end

    def _links(self, tries: Tries | None) -> list[Any]:
        if tries is None or not tries.number or self not in tries.kept:
            return []
        return [self._trace.Link(tries.kept[self], {"database_handler.retry.reason": tries.reason})]

    def retry(self, reason: str) -> None:
        self._trace.get_current_span().add_event(
            "database_handler.retry", {"database_handler.retry.reason": reason}
        )

    def end_unit(self, span: "Span", end: UnitEnd) -> None:
        """End a unit's span with what became of it."""
        span.set_attribute("database_handler.unit.outcome", end.outcome)
        if end.failure is not None:
            self._failed(span, end.failure)
        span.end()


def _tried(tries: Tries | None) -> Attributes:
    if tries is None or not tries.number:
        return {}
    return {"database_handler.retry.number": tries.number, "database_handler.retry.reason": tries.reason}


class _Current:
    """A unit's span, the current one until the unit ends."""

    def __init__(self, traced: _Traced, span: "Span") -> None:
        from opentelemetry import context, trace

        self._traced, self._span = traced, span
        self._thread = get_ident()
        self._token = context.attach(trace.set_span_in_context(span))

    def end(self, end: UnitEnd) -> None:
        """Let the one before be current again, where this is the thread for that, and end the span."""
        from opentelemetry import context, trace

        if get_ident() == self._thread and trace.get_current_span() is self._span:
            context.detach(self._token)
        self._traced.end_unit(self._span, end)
