"""A connection of its own that listens on a channel, and waits for a notice no longer than it is told."""

import select
from collections.abc import Callable

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import ConnectionLost, InvalidValue, translated
from database_handler.core.lent import Lease, dedicated
from database_handler.core.session import Limits, Message, transmit

__all__ = ["Listening"]


class Listening:
    """Listens on one channel of a database.

    Parameters
    ----------
    connect : callable, optional
        Makes the connection; a dedicated one by default.
    """

    def __init__(
        self, config: DatabaseConfig, channel: str, connect: Callable[[], Lease] | None = None
    ) -> None:
        self._config = config
        self._channel = channel
        self._connect = connect or (lambda: dedicated(config, purpose="changes"))
        self._lease: Lease | None = None

    @property
    def is_open(self) -> bool:
        """Whether it listens, as far as is known."""
        return self._lease is not None

    def open(self) -> None:
        """Connect and listen; what is sent from here on is heard."""
        if self._lease is not None:
            return
        lease = self._connect()
        try:
            limits = Limits(deadline=self._config.connect_timeout)
            transmit(lease, Message(f"LISTEN {self._channel}", "changes.listen"), limits)
        except BaseException:
            lease.release(discard=True)
            raise
        self._lease = lease

    def wait(self, seconds: float) -> list[str]:
        """Return the payloads that came, as soon as there is one, or none after so many seconds.

        Raises
        ------
        ConnectionLost
            The connection broke; it is closed here too.
        """
        if self._lease is None:
            raise InvalidValue("nobody listens: open it first")
        connection = self._lease.connection
        try:
            if not connection.notifies:
                select.select([connection.fileno()], [], [], max(seconds, 0))
            with translated(connection, doing="changes.wait"):
                connection.poll()
        except (ConnectionLost, OSError, ValueError):
            lost = True
        else:
            lost = bool(connection.closed)
        if lost:
            self.close()
            raise ConnectionLost("changes.wait: the connection that listens was lost")
        payloads = [notice.payload for notice in connection.notifies]
        connection.notifies.clear()
        return payloads

    def close(self) -> None:
        """Listen no more."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release(discard=True)
