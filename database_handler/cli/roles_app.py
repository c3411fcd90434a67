"""The commands on roles: what differs from the plan, and what brings it about."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from database_handler.cli import role_tables
from database_handler.cli.options import Run
from database_handler.cli.program import app, command, group
from database_handler.core.exceptions import InvalidValue
from database_handler.database import Database
from database_handler.operations.roles import (
    LOGINS,
    PARTS,
    RoleNames,
    RolePlan,
    Roles,
    RolesCheck,
    RolesReport,
)
from database_handler.utils.errors import shown

__all__ = ["role_tables"]

roles = typer.Typer(rich_markup_mode=None)
app.add_typer(roles, name="roles")

Prefix = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="NAME_owner, NAME_app and so on; default: the database's name."),
]
Named = Annotated[
    list[str] | None, typer.Option("--role", metavar="PART=NAME", help="What one of them is called.")
]
Schema = Annotated[str | None, typer.Option(metavar="NAME", help="Where the tables are.")]


@command(
    roles,
    "database-handler roles apply --dry-run",
    "database-handler roles apply --row-security --dry-run",
    "database-handler roles apply --prefix films --dry-run",
)
def apply(
    run: Run,
    *,
    prefix: Prefix = None,
    role: Named = None,
    schema: Schema = None,
    row_security: Annotated[
        bool | None,
        typer.Option(
            "--row-security/--no-row-security", help="Show the application one project; default: as it is."
        ),
    ] = None,
    password_file: Annotated[
        list[str] | None,
        typer.Option(metavar="PART=FILE", help="Set a password, from a file; - asks for it."),
    ] = None,
    correct: Annotated[
        bool, typer.Option("--correct", help="Take away what roles that are there may do too much.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the SQL, and run nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> RolePlan | RolesReport:
    """Make the roles owner, migrator, application, read_only and backup, and give each its rights.

    Run it as an administrator: a superuser, or a role with CREATEROLE that owns the database. It shows its
    SQL first, and asks. All of it is one transaction; where nothing lacks, nothing is run. Run it again
    after a migration. Exit code 1: a role that is there may do too much, and --correct was not given.
    """
    wishes: dict[str, Any] = {"row_security": row_security, "correct": correct}
    with run.database() as db:
        found = _roles(db, prefix, role, schema)
        wishes["passwords"] = _passwords(_pairs(password_file, "--password-file", LOGINS))
        plan = found.plan(**wishes)
        if dry_run:
            return plan
        if plan.statements and not plan.conflicts and not yes:
            role_tables.show_before(plan)
            run.agree(f"Run these {len(plan.statements)} statements on {db.config.name}?")
        return found.apply(plan, **wishes)


@command(roles, "database-handler roles check")
def check(run: Run, *, prefix: Prefix = None, role: Named = None, schema: Schema = None) -> RolesCheck:
    """Say what differs from the plan: exit code 3. It reads only, and any role may run it."""
    with run.database() as db:
        return _roles(db, prefix, role, schema).check()


def _roles(db: Database[Any], prefix: str | None, named: Sequence[str] | None, schema: str | None) -> Roles:
    names = _pairs(named, "--role", PARTS)
    chosen = db.config.name if prefix is None else prefix
    return db.roles(RoleNames.with_prefix(chosen, **names), schema=schema)


def _pairs(given: Sequence[str] | None, option: str, parts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in given or ():
        part, separator, value = each.partition("=")
        if not (separator and value and part in parts):
            raise InvalidValue(f"{option}: PART=VALUE is wanted, where PART is one of {', '.join(parts)}")
        if part in found:
            raise InvalidValue(f"{option}: {part} is given twice")
        found[part] = value
    return found


def _passwords(files: Mapping[str, str]) -> dict[str, str]:
    return {part: _asked(part) if file == "-" else _read(part, Path(file)) for part, file in files.items()}


def _asked(part: str) -> str:
    answer: str = typer.prompt(f"Password of the {part}", hide_input=True, confirmation_prompt=True, err=True)
    return answer


def _read(part: str, file: Path) -> str:
    """Return the first line of a file that has one."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = []
    except OSError as error:
        raise InvalidValue(
            f"--password-file {part}: {shown(str(file))} cannot be read: {error.strerror}"
        ) from None
    if len(lines) != 1 or not lines[0]:
        raise InvalidValue(f"--password-file {part}: {shown(str(file))} holds no single line of UTF-8 text")
    return lines[0]


group(roles, "Give owner, migrator, application, reader and backup a role each, and no more than it needs.")
