"""Becomes one of PostgreSQL's programs, which ends when the process that started it is gone.

Run as a script, with the parent's process id, the program and its arguments. A killed backup would otherwise
leave a pg_dump behind that works for nobody. Where the system has no such signal, the program's next line
on its closed standard error ends it.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # Linux, prctl(2); it outlives exec


def _end_with(parent: int) -> None:
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has died in between
        sys.exit(1)


if __name__ == "__main__":
    _end_with(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606  # the program's own path, found by the parent
