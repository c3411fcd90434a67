"""The options that every command takes, before or after its name, and what they open."""

import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer

from database_handler.cli.application import database_class
from database_handler.cli.console import pause
from database_handler.cli.endings import DecisionNeeded
from database_handler.config.settings import Settings
from database_handler.core.exceptions import ConfigurationError
from database_handler.database import Database
from database_handler.utils import logger

__all__ = ["Chosen", "Run"]

# Only the settings of the log are read beside an embedded server, which has its own address.
_NO_ADDRESS = "postgresql:///embedded"


@dataclass(frozen=True)
class Chosen:
    """The options, as given in one of the two places; what is left out comes from the settings."""

    database_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Use this database: postgresql://USER@HOST/NAME.")
    ] = None
    embedded: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Use a PostgreSQL of its own, with its data below PATH."),
    ] = None
    environment: Annotated[
        str | None, typer.Option(metavar="NAME", help="Use this section of database_handler.yaml.")
    ] = None
    app: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:CLASS", help="Use an application's own Database class, with its entities."
        ),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="Log from this level on: DEBUG, INFO, WARNING, ERROR.")
    ] = None
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Log every statement, and show where an error arose.")
    ] = False

    def over(self, earlier: "Chosen | None") -> "Chosen":
        """Return these, and the earlier ones where these say nothing."""
        if earlier is None:
            return self
        given = {name: value for name, value in vars(self).items() if value not in {None, False}}
        return replace(earlier, **given)


class Run:
    """One run of a command: its settings, its log, its database, its questions."""

    def __init__(self, chosen: Chosen) -> None:
        self.chosen = chosen

    def given_settings(self) -> dict[str, Any]:
        """Return the options that are settings, as keywords of `Settings.load`."""
        chosen = self.chosen
        if chosen.embedded is not None:
            raise ConfigurationError(
                "--embedded is not allowed here: such a server has its own address, which no setting names"
            )
        return {
            "database_url": chosen.database_url,
            "environment": chosen.environment,
            "log_level": chosen.log_level,
            "database_class": chosen.app,
        }

    @cached_property
    def settings(self) -> Settings:
        """The settings, with the options above all other sources."""
        chosen = self.chosen
        if chosen.embedded is not None and chosen.database_url is not None:
            raise ConfigurationError("--database-url is not allowed with --embedded: choose one database")
        if chosen.embedded == "":
            raise ConfigurationError("--embedded: the path of a folder is wanted, and it is empty")
        return Settings.load(
            database_url=chosen.database_url if chosen.embedded is None else _NO_ADDRESS,
            environment=chosen.environment,
            log_level=chosen.log_level,
            database_class=chosen.app,
        )

    @property
    def logs(self) -> bool:
        """Whether lines of a log are asked for, among which a bar would be torn."""
        return self.chosen.verbose or self.chosen.log_level is not None

    @property
    def application(self) -> type[Database[Any]]:
        """The class of the application's database, else `Database`; an address is not needed."""
        chosen = self.chosen
        settings = Settings.load(
            database_url=_NO_ADDRESS, environment=chosen.environment, database_class=chosen.app
        )
        return database_class(settings.database_class)

    def _start_log(self) -> None:
        """Log to standard error; warnings only, where neither an option nor a setting names a level."""
        settings = self.settings
        level = settings.log_level if settings.debug or "LOG_LEVEL" in settings.sources else "WARNING"
        if self.chosen.verbose and self.chosen.log_level is None:
            level = "DEBUG"
        logger.configure(level, settings.log_format)

    def database(self, *, create: bool = False) -> Database[Any]:
        """Open the database that was chosen; nothing is connected to, but an embedded server is started.

        Parameters
        ----------
        create : bool
            Whether an embedded one may be made where there is none: not for who only wants to look.
        """
        self._start_log()
        kind = database_class(self.settings.database_class)
        if self.chosen.embedded is None:
            return kind.from_settings(self.settings)
        folder = Path(self.chosen.embedded)
        if not create and not _holds_something(folder):
            raise ConfigurationError(
                f"no database is kept in {folder} yet; `database-handler init` makes one"
            )
        kept = "FILE_STORE_URL" in self.settings.sources
        files = self.settings.files if kept else None
        return kind.embedded(folder, files=files, cache=self.settings.cache)

    def agree(self, question: str) -> None:
        """Ask whether to go on with what cannot be undone.

        Raises
        ------
        DecisionNeeded
            The answer was no, or there is no terminal to ask on.
        """
        if not (sys.stdin and sys.stdin.isatty()):
            raise DecisionNeeded(f"{question} There is no terminal to ask on: say --yes")
        with pause():
            agreed = typer.confirm(question, err=True)
        if not agreed:
            raise DecisionNeeded("not agreed to; nothing was done")


def _holds_something(folder: Path) -> bool:
    try:
        return folder.is_dir() and any(folder.iterdir())
    except PermissionError:
        return True  # whose it is, the server's own check tells better
