"""What COPY reads its rows from: a failure of their source is kept, and no other thread is held up."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from selectors import EVENT_WRITE, PollSelector

from database_handler.core.exceptions import InvalidValue

__all__ = ["CopySource"]


class _SourceFailed(Exception):
    """Tells the driver to give COPY up; it says nothing, for the driver sends its text to the server."""


class CopySource:
    """A file for COPY over an iterator of lines: never more than one chunk in memory."""

    def __init__(self, lines: Iterable[bytes], descriptor: Callable[[], int]) -> None:
        self._lines = iter(lines)
        self._descriptor = descriptor
        self._rest = b""
        self.failure: BaseException | None = None

    def readline(self, size: int = -1) -> bytes:
        """Give what `read` gives: COPY needs no lines of its own."""
        return self.read(size)

    def read(self, size: int = -1) -> bytes:
        """Give at most `size` bytes, none at the end."""
        chunk = self._rest or self._next()
        self._rest = chunk[size:] if size >= 0 else b""
        return chunk[:size] if size >= 0 else chunk

    def _next(self) -> bytes:
        chunk = self._kept(self._chunk)
        if not chunk:
            self._kept(self._until_writable)
        if self.failure is not None:
            raise _SourceFailed
        return chunk or b""

    def _kept(self, step: Callable[[], bytes]) -> bytes | None:
        try:
            return step()
        except BaseException as failure:  # noqa: BLE001  # the driver would send its text, and drop it
            self.failure = self.failure or failure
            return None

    def _chunk(self) -> bytes:
        for chunk in self._lines:
            if not isinstance(chunk, bytes):
                raise InvalidValue(f"COPY takes lines of bytes, not of {type(chunk).__name__}")
            if chunk:  # an empty one would be the end to the driver, and the rest lost
                return chunk
        return b""

    def _until_writable(self) -> bytes:
        """Wait until the socket takes the end of the rows.

        The driver sends that while it holds the GIL. If the socket were full, every thread would stand
        still until the server reads on, the one that watches the deadline among them.
        """
        with PollSelector() as selector, suppress(ValueError):  # no descriptor: the connection is lost
            selector.register(self._descriptor(), EVENT_WRITE)
            selector.select()
        return b""
