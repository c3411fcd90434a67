"""The `database-handler` command: `main` is its entry point, and importing this loads nothing else."""

import gc
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None, *, misuse: int = 1) -> int:
    """Run the command line and return its exit code; every error is told on a line, none is raised.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the program's name; those of this process when left out.
    misuse : int
        The exit code of a wrong setting or option.
    """
    collects = gc.isenabled()
    gc.disable()  # what importing makes stays; to look through it again and again is a tenth of the start
    try:
        from database_handler.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"rich", "typer"}:
            raise
        print("MissingExtra: the command line needs: pip install 'database-handler[cli]'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if collects:
            gc.enable()
    return run(sys.argv[1:] if arguments is None else arguments, misuse=misuse)
