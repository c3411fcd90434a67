"""The commands on settings: what they are, where each comes from, and all that is wrong with them."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from database_handler.cli.config_reports import CheckedSettings, ShownSettings
from database_handler.cli.options import Run
from database_handler.cli.program import app, command, group
from database_handler.config.report import SettingsReport, check_settings
from database_handler.config.settings import OTHER_VARIABLES
from database_handler.core.exceptions import ConfigurationError
from database_handler.operations.reach import reach
from database_handler.utils.errors import Problem

__all__: list[str] = []

config = typer.Typer(rich_markup_mode=None)
app.add_typer(config, name="config")


@command(config, "database-handler config show", "database-handler config show --environment production")
def show(run: Run) -> ShownSettings:
    """Show every setting, its value, and where that comes from: an option, the environment, a file.

    Passwords are hidden, in URLs too. A value that is refused is not shown; `config check` says why.
    """
    return ShownSettings(**asdict(check_settings(**run.given_settings())))


@command(config, "database-handler config check", "database-handler config check --connect")
def check(
    run: Run,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also connect to every server that the settings name.")
    ] = False,
) -> CheckedSettings:
    """Find everything that is wrong with the settings, each with its place. Exit code 1 when anything is."""
    found = check_settings(**run.given_settings())
    problems = (*found.problems, *_of_class(run, found))
    reached = reach(run.settings.database) if connect and not found.problems else ()
    return CheckedSettings(
        ok=not problems and all(each.ok for each in reached),
        problems=problems,
        notes=found.notes,
        connections=reached,
    )


def _of_class(run: Run, found: SettingsReport) -> Iterator[Problem]:
    """Look for the application's class, whose module is imported for it."""
    [named] = [each for each in found.settings if each.name == OTHER_VARIABLES["database_class"]]
    if named.value is not None and not named.refused:
        try:
            run.application  # noqa: B018  # looked up for its error
        except ConfigurationError as error:
            yield Problem(f"{named.name} (from {named.source}): {error}", named.name, named.source)


group(config, "Show the settings, and find what is wrong with them.")
