"""The values of the commands on roles, laid out for people."""

from collections.abc import Iterator

from rich.console import RenderableType

from database_handler.cli.console import console
from database_handler.cli.tables import laid_out, phrase
from database_handler.operations.roles import RolePlan, RolesCheck, RolesReport
from database_handler.utils.text import counted

__all__ = ["show_before"]


def show_before(plan: RolePlan) -> None:
    """Show on standard error what is about to be agreed to: a command's value comes on standard output."""
    screen = console(stderr=True)
    for part in laid_out(plan, screen.is_terminal):
        screen.print(part, soft_wrap=True)


@laid_out.register
def _(value: RolePlan, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield from _statements(value)
    yield from _beside(value)
    if not value.differs:
        yield phrase(f"{value.database}: the roles are as they should be", "green")


@laid_out.register
def _(value: RolesCheck, lines: bool) -> Iterator[RenderableType]:
    del lines
    for statement in value.statements:
        yield phrase(f"{statement.why}: {statement.sql}", "yellow")
    yield from _beside(value)
    if value.differs:
        yield phrase(f"{value.database}: {counted(len(value.statements), 'statement')} would put it right")
    else:
        yield phrase(f"{value.database}: the roles are as they should be", "green")


@laid_out.register
def _(value: RolesReport, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield from _statements(value.plan)
    yield from _beside(value.plan)
    done = counted(len(value.plan.statements), "statement") if value.changed else "nothing to do"
    yield phrase(f"{value.plan.database}: {done}", "green")


def _statements(plan: RolePlan) -> Iterator[RenderableType]:
    for statement in plan.statements:
        yield phrase(f"{statement.sql};  -- {statement.why}")


def _beside(plan: RolePlan) -> Iterator[RenderableType]:
    for conflict in plan.conflicts:
        yield phrase(f"{conflict.role} ({conflict.part}) {conflict.what}: {conflict.sql}", "red")
    for note in plan.notes:
        yield phrase(f"note: {note}", "yellow")
