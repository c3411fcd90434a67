"""The cache on Redis or Valkey: connections that are bounded to the millisecond, and the five questions.

The client's timeouts hold for each read of a socket, and none holds for looking a name up. So a question runs
under a fuse that cuts its socket, and connecting goes on in a thread of its own, however long it takes.
"""

import select
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha1
from secrets import token_hex
from threading import Condition, Thread
from time import monotonic
from typing import Any, TypeVar

from database_handler.config.cache import CacheConfig
from database_handler.core.cache_server import CacheDown, Filling, Found, Leases, ServerFacts
from database_handler.core.exceptions import ConfigurationError, MissingExtra
from database_handler.core.watchdog import Fuse
from database_handler.operations.cache_scripts import FILL, LEASE, MARK, RELEASE

__all__ = ["RedisServer"]

T = TypeVar("T")
_MOST_CONNECTIONS = 32
_CONNECT_SECONDS = 5.0  # in a thread of its own; nobody waits so long
_KEYS_AT_ONCE = 1000


class _Script:
    """A script, and the name that the server keeps it by."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.name = sha1(text.encode()).hexdigest()  # noqa: S324  # the server's own choice, not a secret


_LEASE, _FILL, _MARK, _RELEASE = map(_Script, (LEASE, FILL, MARK, RELEASE))


class _Link:
    """One connection, and which start of the server it leads to."""

    def __init__(self, connection: Any) -> None:  # the client's own, which is not typed throughout
        self._connection = connection
        connection.connect()
        # Private to the client, but there since its first release: no public name reaches the socket.
        self._socket: Any = connection._sock
        self.fuse = Fuse(self._socket.fileno())
        told = dict(line.partition(":")[::2] for line in self.ask("INFO", "server").decode().splitlines())
        self.run = told.get("run_id", "")

    def ask(self, *words: object) -> Any:
        """Send one command and return its answer."""
        packed = self._connection.pack_command(*words)
        self._connection.send_packed_command([b"".join(packed)])
        return self._connection.read_response()

    def call(self, script: _Script, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        """Run a script, which the server is sent where it does not have it."""
        from redis.exceptions import NoScriptError

        try:
            return self.ask("EVALSHA", script.name, len(keys), *keys, *arguments)
        except NoScriptError:
            return self.ask("EVAL", script.text, len(keys), *keys, *arguments)

    def within(self, seconds: float, use: "Callable[[_Link], T]") -> T:
        """Ask in so many seconds; one whose limit has passed is cut."""
        self._socket.settimeout(seconds)
        with self.fuse.guard(seconds):
            return use(self)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come since the last answer: what comes unasked is the other side's end."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | select.POLLRDHUP)
        return not poll.poll(0)

    def close(self) -> None:
        """Close it; in a forked child, without a word to the server."""
        self.fuse.close()
        self._connection.disconnect()


class RedisServer:
    """A `CacheServer` on Redis 6.2 or later, or Valkey.

    Parameters
    ----------
    config : CacheConfig
        Its URL is set.
    """

    def __init__(self, config: CacheConfig) -> None:
        self._arguments = _arguments(config)
        self.after_fork()

    def after_fork(self) -> None:
        """Begin without connections; those of before a fork are the parent's, and are left to it."""
        self._changed = Condition()
        self._idle: deque[_Link] = deque()
        self._count = 0  # of connections, and of those that are being made
        self._closed = False

    # ----------------------------------------------------------------------------------------- connections

    def _ask(self, within: float, use: Callable[[_Link], T]) -> T:
        from redis.exceptions import RedisError

        until = monotonic() + within
        link = self._borrow(until)
        try:
            answer = link.within(max(until - monotonic(), 0.001), use)
        except (RedisError, OSError, ValueError) as failure:
            told = "it took longer than its limit" if link.fuse.blown else _told(failure)
            self._drop(link)
        except BaseException:
            self._drop(link)
            raise
        else:
            self._give_back(link)
            return answer
        raise CacheDown(told)

    def _borrow(self, until: float) -> _Link:
        while (link := self._taken(until)) is not None:
            if link.is_quiet:
                return link
            self._drop(link)
        raise CacheDown("it took longer than its limit to connect")

    def _taken(self, until: float) -> _Link | None:
        """Take an idle connection, or wait for one, having one made where there may be more."""
        asked = False
        failures: list[str] = []
        with self._changed:
            while not self._closed:
                if self._idle:
                    return self._idle.pop()
                if not asked and self._count < _MOST_CONNECTIONS:
                    asked = True
                    self._count += 1
                    Thread(
                        target=self._connect, args=[failures], name="database-handler-cache", daemon=True
                    ).start()
                if failures:
                    raise CacheDown(failures[0])
                if (left := until - monotonic()) <= 0:
                    return None
                self._changed.wait(left)
        raise CacheDown("it is closed")

    def _connect(self, failures: list[str]) -> None:
        from redis.exceptions import RedisError

        kind, arguments = self._arguments
        try:
            link = _Link(kind(**arguments))
        except (RedisError, OSError, ValueError, AttributeError) as failure:
            with self._changed:
                self._count -= 1
                failures.append(_told(failure))
                self._changed.notify_all()
            return
        self._give_back(link)

    def _give_back(self, link: _Link) -> None:
        with self._changed:
            if not self._closed:
                self._idle.append(link)
                self._changed.notify()
                return
        link.close()

    def _drop(self, link: _Link) -> None:
        link.close()
        with self._changed:
            self._count -= 1
            self._changed.notify()

    def close(self) -> None:
        """Close the connections; nothing more is asked."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, deque()
            self._changed.notify_all()
        for link in idle:
            link.close()

    # ------------------------------------------------------------------------------------------- questions

    def read(self, entries: Sequence[str], tags: Sequence[str], *, within: float) -> Found:
        """Read entries and tags at one moment."""

        def ask(link: _Link) -> Found:
            keys = [*(f"{entry}:{link.run}" for entry in entries), *tags]
            found = link.ask("MGET", *keys)
            return Found(link.run, found[: len(entries)], found[len(entries) :])

        return self._ask(within, ask)

    def lease(
        self,
        shared: Sequence[str],
        own: Sequence[str],
        entries: Sequence[str],
        *,
        loader: str,
        seconds: tuple[float, float],
        within: float,
    ) -> Leases:
        """Make tags that are absent, and take the leases that nobody else has."""
        tokens = [f"t{token_hex(8)}" for _ in (*shared, *own)]
        leases = list(map(_lease_key, entries))
        arguments = [*map(_milliseconds, seconds), loader, *tokens]
        tags = len(shared) + len(own)

        def ask(link: _Link) -> Leases:
            keys = [*shared, *own, *leases, *(f"{entry}:{link.run}" for entry in entries)]
            found = link.call(_LEASE, keys, arguments)
            return Leases(link.run, found[:tags], [mine == 1 for mine in found[tags:]])

        return self._ask(within, ask)

    def fill(
        self,
        run: str,
        shared: Sequence[tuple[str, bytes]],
        found: Sequence[Filling],
        *,
        loader: str,
        within: float,
    ) -> int:
        """Store entries whose tokens still hold; none where the server is not the one that gave them."""
        own, leases = [each.own for each in found], [_lease_key(each.entry) for each in found]
        entries = [f"{each.entry}:{run}" for each in found]
        keys = [*(tag for tag, _ in shared), *own, *leases, *entries]
        arguments: list[object] = [loader, *(token for _, token in shared)]
        for each in found:
            arguments += [each.token, each.version, _milliseconds(each.seconds), each.value]

        def ask(link: _Link) -> int:
            return int(link.call(_FILL, keys, arguments)) if link.run == run else 0

        return self._ask(within, ask)

    def mark(self, tags: Sequence[str], *, writer: str, seconds: float, within: float) -> None:
        """Mark the tags."""
        self._ask(within, lambda link: link.call(_MARK, tags, [writer, _milliseconds(seconds)]))

    def release(self, tags: Sequence[str], *, writer: str, within: float) -> None:
        """Take the writer's marks away."""
        self._ask(within, lambda link: link.call(_RELEASE, tags, [writer]))

    def keys(self, prefix: str, *, within: float) -> Iterator[list[str]]:
        """Go through the keys that begin so."""
        cursor = b"0"
        while True:
            words = ("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", _KEYS_AT_ONCE)
            cursor, found = self._ask(within, lambda link, words=words: link.ask(*words))  # type: ignore[misc]
            yield [key.decode(errors="replace") for key in found]
            if cursor == b"0":
                return

    def remove(self, keys: Sequence[str], *, within: float) -> int:
        """Remove keys."""
        return int(self._ask(within, lambda link: link.ask("UNLINK", *keys))) if keys else 0

    def facts(self, *, within: float) -> ServerFacts:
        """Ask the server about itself."""
        text = self._ask(within, lambda link: link.ask("INFO")).decode(errors="replace")
        told = dict(line.partition(":")[::2] for line in text.splitlines())
        valkey = "valkey_version" in told
        return ServerFacts(
            "Valkey" if valkey else "Redis",
            told.get("valkey_version" if valkey else "redis_version", "unknown"),
            int(told.get("used_memory", 0)),
            int(told.get("maxmemory", 0)),
            told.get("maxmemory_policy", "unknown"),
        )


def _arguments(config: CacheConfig) -> tuple[Any, dict[str, Any]]:
    """Return the client's class of connection, and what it takes."""
    try:
        from redis import connection as client
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise MissingExtra("the cache needs: pip install 'database-handler[cache]'") from None
    if config.url is None:
        raise ConfigurationError("url is missing: a cache has a URL")
    read: Any = client.parse_url
    found: dict[str, Any] = read(config.url.get_secret_value())
    kind = found.pop("connection_class", client.Connection)
    found |= {"socket_timeout": _CONNECT_SECONDS, "socket_connect_timeout": _CONNECT_SECONDS}
    found |= {"retry": Retry(NoBackoff(), 0), "protocol": 2}
    if issubclass(kind, client.SSLConnection):
        found["ssl_check_hostname"] = True
    return kind, found


def _lease_key(entry: str) -> str:
    namespace, _, place = entry.partition(":e:")
    return f"{namespace}:l:{place}"


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _told(failure: Exception) -> str:
    """Say what failed, without the words of a server or a client: they may quote an address or a password."""
    code = str(failure).partition(" ")[0]
    shown = f" ({code})" if code.isupper() and code.isalpha() and len(code) <= 16 else ""
    return f"{type(failure).__name__}{shown}"
