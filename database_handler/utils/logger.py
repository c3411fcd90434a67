"""Events of this library go through the standard `logging`, and nothing is printed until someone asks.

The logger ``database_handler`` holds a `NullHandler`: importing the library configures nothing, and an
application that has set `logging` up sees the events as one readable line each. `configure` is for
applications and the command line; it alone adds a handler that prints.

Control characters (CR, LF, ANSI escapes, bidi overrides) in whatever is logged are written as escapes, so
that no value can forge a line or steer a terminal. Values of a statement's parameters are never logged.

structlog is imported by the first event: it brings rich along, and takes longer than this whole package.
"""

import logging
import re
import sys
import traceback
from collections import Counter
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from database_handler.utils.errors import ConfigurationError

if TYPE_CHECKING:
    import structlog

__all__ = ["LOG_FORMATS", "LOG_LEVELS", "LogFormat", "configure", "encoded", "get_logger", "statement_event"]

LogFormat = Literal["console", "json"]
LOG_FORMATS: Final = ("console", "json")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_ROOT: Final = logging.getLogger("database_handler")
_ROOT.addHandler(logging.NullHandler())
_UNSAFE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_TYPES_NAMED: Final = 20
_DEBUG: Final = logging.DEBUG
_WARNING: Final = logging.WARNING


def encoded(value: object) -> object:
    """Give a value fit for a log: text without control characters, numbers as they are, the rest as text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    if isinstance(value, Mapping):
        return {str(encoded(str(key))): encoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(item) for item in value]
    return _UNSAFE.sub(_escape, value if isinstance(value, str) else str(value))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def get_logger(name: str = "database_handler") -> "structlog.stdlib.BoundLogger":
    """Give a structlog logger over the standard logger of this name; structlog's own set-up is not used."""
    logger: Any = _Logger(name)  # in all but its class the logger that it stands for
    made: structlog.stdlib.BoundLogger = logger
    return made


class _Logger:
    """Stands for a logger of structlog, which it makes when it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        if attribute.startswith("_"):  # as copy and pickle ask of an object that is not made yet
            raise AttributeError(attribute)
        return getattr(_structlog_logger(self._name), attribute)


@cache
def _structlog_logger(name: str) -> "structlog.stdlib.BoundLogger":
    import structlog

    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            _with_trace,
            structlog.stdlib.PositionalArgumentsFormatter(),
            _to_logging,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


def _with_trace(
    _logger: object, _method: str, event_dict: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """Add the ids of the current span, in a program that traces: nothing is imported for it."""
    tracing: Any = sys.modules.get("opentelemetry.trace")
    if tracing is None:
        return event_dict
    current = tracing.get_current_span().get_span_context()
    if current.is_valid:
        event_dict.setdefault("trace_id", f"{current.trace_id:032x}")
        event_dict.setdefault("span_id", f"{current.span_id:016x}")
    return event_dict


def _to_logging(
    _logger: object, _method: str, event_dict: MutableMapping[str, object]
) -> tuple[tuple[str], dict[str, object]]:
    """Hand over a line that any handler can print, with the fields beside it for those that want them."""
    own = {key: event_dict.pop(key) for key in ("exc_info", "stack_info", "stacklevel") if key in event_dict}
    fields = {str(encoded(key)): encoded(value) for key, value in event_dict.items()}
    text = " ".join([str(fields.get("event", "")), *(f"{k}={v}" for k, v in fields.items() if k != "event")])
    return (text,), own | {"extra": {"event_fields": fields}}


class _Formatter(logging.Formatter):
    """Renders a record of ours, or of anyone, as one structlog event."""

    def __init__(self, renderer: "structlog.typing.Processor") -> None:
        super().__init__()
        self._renderer = renderer

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "event_fields", None) or {"event": encoded(record.getMessage())}
        event = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        } | fields
        if record.exc_info and record.exc_info[1] is not None:
            event["exception"] = _traceback(record.exc_info[1])
        return str(self._renderer(None, record.levelname.lower(), event))


def _traceback(error: BaseException) -> str:
    """Write a traceback without locals; each line is marked, so that a message cannot pass for an event."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(f"  | {encoded(line)}" for line in lines)


def configure(level: str = "INFO", format: LogFormat = "console", stream: TextIO | None = None) -> None:
    """Print the library's events to a stream (standard error), once each however often this is called.

    Parameters
    ----------
    level : str
        DEBUG, INFO, WARNING, ERROR or CRITICAL, in any case. At DEBUG each statement is an event.
    format : str
        ``"json"`` prints one ASCII object a line; ``"console"`` prints for people, in colour on a terminal.
    stream : file, optional
        Where to print.

    Raises
    ------
    ConfigurationError
        For another level or format.
    """
    if level.upper() not in LOG_LEVELS:
        raise ConfigurationError(f"the log level must be one of {', '.join(LOG_LEVELS)}")
    if format not in LOG_FORMATS:
        raise ConfigurationError(f"the log format must be one of {', '.join(LOG_FORMATS)}")
    target = stream or sys.stderr
    if target is None:  # standard error was closed by whoever started the process
        _ROOT.handlers[:] = [logging.NullHandler()]
    else:
        handler = logging.StreamHandler(target)
        handler.setFormatter(_Formatter(_renderer(format, target)))
        _ROOT.handlers[:] = [handler]
    _ROOT.setLevel(level.upper())
    _ROOT.propagate = False  # or an application with handlers on the root logger would print each event twice


def _renderer(format: LogFormat, stream: TextIO) -> "structlog.typing.Processor":
    import structlog

    if format == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=True, allow_nan=True)
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
    )


_statements: Final = get_logger("database_handler.statement")
_statements_enabled: Final = logging.getLogger("database_handler.statement").isEnabledFor


def statement_event(
    *,
    name: str,
    seconds: float,
    rows: int,
    parameters: Sequence[object] | Mapping[str, object] | None = None,
    slow_after: float = 0.5,
) -> None:
    """Tell of one statement that ran: at debug level, or as a warning when it took `slow_after` or longer.

    Of the parameters only the number and the types are told. While the level is off this costs two calls
    and no allocation.

    Parameters
    ----------
    name : str
        The name of the statement (``projects.get_by_id``), or its text with placeholders.
    seconds, slow_after : float
        How long it took, in seconds, and from when on that is slow.
    rows : int
        The rows that it gave or changed.
    parameters : sequence or mapping, optional
        What was bound.
    """
    level = _WARNING if seconds >= slow_after else _DEBUG
    if _statements_enabled(level):
        _statements.log(
            level,
            "slow statement" if level == _WARNING else "statement",
            statement=name,
            seconds=round(seconds, 6),
            rows=rows,
            parameters=_kinds(parameters),
        )


def _kinds(parameters: Sequence[object] | Mapping[str, object] | None) -> str:
    """Say how many parameters there are and of which types, looking at the first few only."""
    if not parameters:
        return "none"
    values = parameters.values() if isinstance(parameters, Mapping) else parameters
    counts = Counter(type(value).__name__ for value in islice(values, _TYPES_NAMED))
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    more = len(parameters) - _TYPES_NAMED
    return kinds + (f", {more} more" if more > 0 else "")
