"""An application's own `Database` class, found by its name: the commands then work on its entities too."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from database_handler.core.exceptions import ConfigurationError
from database_handler.database import Database

__all__ = ["database_class"]


def database_class(name: str | None) -> type[Database[Any]]:
    """Return the class that ``package.module:Class`` names; `Database` itself for None.

    Modules are looked for in the current folder too, as ``python -m`` does.

    Raises
    ------
    ConfigurationError
        There is no such module or class, it is no `Database`, or the module fails; what it raised is the
        cause.
    """
    if name is None:
        return Database
    module, separator, kind = name.partition(":")
    if not (separator and module and kind.isidentifier()):
        raise ConfigurationError(f"--app: package.module:Class is wanted, not {name!r}")
    found = getattr(_imported(module), kind, None)
    if not (isinstance(found, type) and issubclass(found, Database)):
        raise ConfigurationError(
            f"--app {name}: {module} has no class {kind} that is a Database, such as "
            "class NewsroomDatabase(Newsroom, Database[NewsroomUnit])"
        )
    return found


def _imported(module: str) -> object:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name
        failure: Exception = error
    except Exception as error:  # noqa: BLE001  # an application's own code, which may raise anything
        missing, failure = None, error
    if missing is not None and f"{module}.".startswith(f"{missing}."):
        raise ConfigurationError(
            f"--app {module}: there is no module {missing} in {here}, nor among those installed here; run "
            "the command in the folder that holds the package, or install it"
        )
    raise ConfigurationError(
        f"--app {module} cannot be imported: {_told(failure)}; --verbose shows where"
    ) from failure


def _told(failure: Exception) -> str:
    """Say why a module cannot be imported; a message of neither Python's nor ours could hold a password."""
    if isinstance(failure, SyntaxError):
        return f"SyntaxError in line {failure.lineno} of {failure.filename}"
    known = isinstance(failure, ImportError | ConfigurationError)
    return str(failure) if known else type(failure).__name__
