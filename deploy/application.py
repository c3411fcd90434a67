"""A small application as a service: it migrates as it starts, answers probes, and ends in order on SIGTERM.

Any number of these may start at once. `/live` and `/ready` ask this process's own pool, which a probe by
`database-handler health` in a process of its own cannot; `/projects` is the application. Its settings are
the library's: see docs/settings.md.
"""

import argparse
import json
import signal
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from database_handler import Database


class Handler(BaseHTTPRequestHandler):
    """Answers one request; the server keeps the database."""

    def __init__(self, database: Database, *connection: Any) -> None:
        self.database = database
        super().__init__(*connection)

    def do_GET(self) -> None:
        """Answer with JSON: 200, 404 for another path, 503 where a probe fails."""
        health = self.database.health(seconds=1) if self.path in ("/live", "/ready") else None
        if health is not None:
            passed = health.live if self.path == "/live" else health.ready
            self.answer(200 if passed else 503, {"reasons": [str(reason.kind) for reason in health.reasons]})
        elif self.path == "/projects":
            page = self.database.projects.page(limit=100)
            self.answer(200, {"projects": [project.name for project in page.items]})
        else:
            self.answer(404, {"error": "there are /live, /ready and /projects"})

    def answer(self, status: int, value: dict[str, Any]) -> None:
        """Send a value; what stands in it is no secret."""
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: probes would fill the log."""


class Server(ThreadingHTTPServer):
    """Lets the requests under way end before it does."""

    daemon_threads = False


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="0.0.0.0", help="the address to listen on")  # noqa: S104  # a container's
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free, which is printed")
    given = parser.parse_args()
    with Database.from_settings() as database:
        database.migrate(or_newer=True)  # in a rolling deployment a newer release may have been here
        with Server((given.host, given.port), partial(Handler, database)) as server:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
            print(f"serving on port {server.server_address[1]}", flush=True)  # noqa: T201  # a service's own line
            server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
