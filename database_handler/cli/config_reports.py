"""What the commands on settings give, and how it is laid out for people."""

from collections.abc import Iterator

from pydantic import BaseModel
from rich.console import RenderableType

from database_handler.cli.tables import columns_of, laid_out, phrase
from database_handler.config.report import Setting
from database_handler.operations.reach import Reached
from database_handler.utils.errors import Problem

__all__ = ["CheckedSettings", "ShownSettings"]


class ShownSettings(BaseModel, frozen=True):
    """Every setting; `problems` tells of those that are refused."""

    environment: str
    settings: tuple[Setting, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


class CheckedSettings(BaseModel, frozen=True):
    """What is wrong with the settings, and, where it was tried, with the servers that they name."""

    ok: bool
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    connections: tuple[Reached, ...] = ()


@laid_out.register
def _(value: ShownSettings, lines: bool) -> Iterator[RenderableType]:
    table = columns_of(lines, "setting", "value", "from")
    for setting in value.settings:
        style = "red" if setting.refused else ""
        table.add_row(phrase(setting.name), phrase(_told(setting), style), phrase(setting.source))
    yield table
    if value.problems:
        count = len(value.problems)
        yield phrase(f"{count} wrong; `database-handler config check` says what", "red")


def _told(setting: Setting) -> str:
    if setting.refused:
        return "(refused)"
    if isinstance(setting.value, bool):
        return "true" if setting.value else "false"
    if isinstance(setting.value, float):
        return f"{setting.value:g}"
    shown = ", ".join(setting.value) if isinstance(setting.value, tuple) else setting.value
    return "none" if shown in (None, "") else str(shown)


@laid_out.register
def _(value: CheckedSettings, lines: bool) -> Iterator[RenderableType]:
    del lines
    for problem in value.problems:
        yield phrase(f"wrong: {problem.message}", "red")
    for note in value.notes:
        yield phrase(f"note: {note}", "yellow")
    for reached in value.connections:
        yield phrase(_connection(reached), "" if reached.ok else "red")
    if value.ok:
        yield phrase("the settings are right", "green")


def _connection(reached: Reached) -> str:
    if not reached.ok:
        return f"{reached.what}: {reached.error}"
    kind = "a standby, " if reached.standby else ""
    tls = "TLS" if reached.tls else "no TLS"
    return (
        f"{reached.what}: PostgreSQL {reached.server_version}, {kind}as {reached.user}, {tls} "
        f"({reached.seconds * 1000:.0f} ms)"
    )
