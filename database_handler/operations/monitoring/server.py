"""Serves the metrics over HTTP, to this machine alone unless told otherwise."""

import errno
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Self

from database_handler.core.exceptions import ConfigurationError, InvalidValue
from database_handler.operations.monitoring.prometheus import extra, multiprocess
from database_handler.utils.arguments import checked

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import CollectorRegistry

__all__ = ["PORT", "MetricsServer", "serve", "served_beside"]

PORT = 9187
"""Where Prometheus looks for a PostgreSQL exporter by custom."""

_WHY = {
    errno.EADDRINUSE: "another process uses that port",
    errno.EACCES: "this user may not use that port; those above 1023 are free to all",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


class MetricsServer:
    """A server that is running; `close` ends it.

    Attributes
    ----------
    url : str
        Where it answers.
    """

    def __init__(self, httpd: "WSGIServer", thread: Thread) -> None:
        self._httpd = httpd
        self._thread = thread
        address = httpd.server_address
        host = str(address[0])
        self.port = int(address[1])
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/metrics"

    def close(self) -> None:
        """Stop answering; a second call does nothing."""
        if self._thread.is_alive():
            self._httpd.shutdown()
            self._thread.join()
        self._httpd.server_close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


@checked
def serve(
    port: int = PORT, host: str = "127.0.0.1", *, registry: "CollectorRegistry | None" = None
) -> MetricsServer:
    """Answer Prometheus on a port, in a thread of its own.

    Parameters
    ----------
    port : int
        0 takes any that is free; `MetricsServer.port` tells which.
    host : str
        The address to listen on. What is served names tables and calls: keep it inside.
    registry : CollectorRegistry, optional
        What to serve; left out, prometheus-client's default one, or what many processes share where
        prometheus-client was set up for that.

    Raises
    ------
    ConfigurationError
        The port is in use, or cannot be listened on.
    """
    client = extra()
    if not 0 <= port <= 65535:
        raise InvalidValue("port is a whole number from 0 to 65535")
    if not isinstance(registry, client.CollectorRegistry | None):
        raise InvalidValue(f"registry is a CollectorRegistry, not a {type(registry).__name__}")
    served = _default() if registry is None else registry
    try:
        httpd, thread = client.start_http_server(port, host, served)
    except (OSError, ValueError) as error:  # a ValueError: a host that is no text for a name
        number = error.errno if isinstance(error, OSError) else None
        why = _WHY.get(number or 0, "the address is not understood")
        raise ConfigurationError(
            f"metrics cannot be served on {host[:60]!r}, port {port}: {why}; choose another (port=, --port)"
        ) from None
    return MetricsServer(httpd, thread)


def _default() -> "CollectorRegistry":
    registry: CollectorRegistry = served_beside() if multiprocess() else extra().REGISTRY
    return registry


def served_beside() -> "CollectorRegistry":
    """Return a new registry, which holds what other processes share through files where they do."""
    registry: CollectorRegistry = extra().CollectorRegistry()
    if multiprocess():
        from prometheus_client.multiprocess import MultiProcessCollector

        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus-client's
    return registry
