"""A client process that asks an application for films, many connections at once, and tells how it was served.

It speaks HTTP/1.1 by itself: a client library takes more of a processor than what it is to measure.
"""

import asyncio
import json
import sys
from statistics import quantiles
from time import monotonic, perf_counter
from typing import Any

__all__ = ["asked"]

HOST = "127.0.0.1"


class Visitor:
    """One connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send a request and return status and content of its answer."""
        sent = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: app\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
        told = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        length = next(int(line.split(":")[1]) for line in told if line.startswith("content-length"))
        return int(told[0].split()[1]), json.loads(await self._reader.readexactly(length))


async def asked(port: int, visitors: int, seconds: float) -> dict[str, float]:
    """Let so many visitors add a film each, then ask for it again and again; a wrong answer raises."""
    taken: list[float] = []
    ready = asyncio.Barrier(visitors)

    async def visit(number: int) -> None:
        visitor = Visitor(*await asyncio.open_connection(HOST, port))
        film = {"name": f"From outside {port} {number}", "script": "The harbour."}
        status, made = await visitor.ask("POST", "/films", film)
        assert status == 201, made
        await ready.wait()
        until = monotonic() + seconds
        while monotonic() < until:
            started = perf_counter()
            status, found = await visitor.ask("GET", f"/films/{made['id']}")
            taken.append(perf_counter() - started)
            assert (status, found) == (200, made)

    await asyncio.gather(*map(visit, range(visitors)))
    cuts = quantiles(taken, n=100)
    return {"rate": len(taken) / seconds, "median": cuts[49], "late": cuts[98], "most": max(taken)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(asked(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))))  # noqa: T201
