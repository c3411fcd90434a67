"""PostgreSQL's own request to cancel: behind a pooler the only one, for its process numbers are made up.

The pooler passes it on to the server connection that runs the statement. PgBouncer waits, from 1.18 on, until
it has arrived before another client can have that connection.
"""

import ctypes
from functools import lru_cache
from threading import Lock, Thread
from typing import Self

import psycopg2.extensions as driver
from psycopg2 import _psycopg

__all__ = ["CancelRequest"]

_TOLD = 256  # bytes that libpq wants for the text of a failure


class CancelRequest:
    """Cancels what one connection runs; made with the connection, and valid whatever became of it since."""

    def __init__(self, libpq: ctypes.CDLL, pointer: int) -> None:
        self._libpq, self._pointer = libpq, pointer
        self._lock = Lock()
        self._on_its_way = False

    def __del__(self) -> None:
        self._libpq.PQfreeCancel(self._pointer)

    @classmethod
    def of(cls, connection: driver.connection) -> Self | None:
        """Make that of a connection; None where the driver's libpq cannot be called."""
        libpq = _libpq()
        pointer = libpq and libpq.PQgetCancel(connection.pgconn_ptr)
        return cls(libpq, pointer) if libpq and pointer else None

    def send(self) -> None:
        """Send it, in a thread, for a pooler that hangs lets it wait without end; not twice at a time."""
        with self._lock:
            if self._on_its_way:
                return
            self._on_its_way = True
        try:
            Thread(target=self._run, name="database-handler-cancel", daemon=True).start()
        except RuntimeError:
            self._on_its_way = False

    def _run(self) -> None:
        told = ctypes.create_string_buffer(_TOLD)
        # A failure is asked again by whoever wants it cancelled, or is one to be cut.
        self._libpq.PQcancel(self._pointer, told, _TOLD)
        self._on_its_way = False


@lru_cache(maxsize=1)
def _libpq() -> ctypes.CDLL | None:
    """Return the driver's libpq: its own `cancel` holds Python's lock until the answer comes."""
    try:
        # By the driver's module, among whose libraries the names are looked for, wherever they lie.
        libpq = ctypes.CDLL(_psycopg.__file__)
        libpq.PQgetCancel.argtypes, libpq.PQgetCancel.restype = [ctypes.c_void_p], ctypes.c_void_p
        libpq.PQfreeCancel.argtypes, libpq.PQfreeCancel.restype = [ctypes.c_void_p], None
        libpq.PQcancel.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
        libpq.PQcancel.restype = ctypes.c_int
    except (OSError, AttributeError):
        return None
    return libpq
