"""A plan told before it is run: the SQL of each version, and the locks that it takes, measured on a copy."""

from collections.abc import Iterable, Sequence

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import DatabaseHandlerError
from database_handler.core.transaction import Transaction
from database_handler.migrations.files.migration import Migration
from database_handler.migrations.files.planning import Step
from database_handler.migrations.reports import PlannedMigration, PlannedStatement
from database_handler.migrations.runner.running import connected
from database_handler.migrations.safety.measuring import MigrationCost, measure
from database_handler.migrations.scratch.place import build, scratch_database

__all__ = ["build_in", "planned"]


def planned(
    config: DatabaseConfig, applied: Sequence[Migration], steps: Sequence[Step]
) -> tuple[PlannedMigration, ...]:
    """Return what the steps would send, with what it does to the tables that `applied` made.

    The live database is neither read nor locked for it; where no copy can be had, the statements come
    without their locks, and say so.
    """
    costs: list[MigrationCost] = []
    unmeasured = None
    try:
        with scratch_database(config) as scratch:
            build_in(scratch, applied)
            costs += (measure(scratch, step.migration, step.direction) for step in steps)
    except DatabaseHandlerError as error:
        unmeasured = f"{type(error).__name__}: {error}"
    known = {cost.name: cost for cost in costs}
    return tuple(_planned(step, known.get(step.migration.name), unmeasured) for step in steps)


def build_in(scratch: DatabaseConfig, migrations: Iterable[Migration]) -> None:
    """Run the up parts of versions in a scratch database, each in a transaction of its own."""
    with connected(scratch, "scratch") as kept:
        for migration in migrations:
            with Transaction(lambda: kept) as session:
                build(session, [migration])


def _planned(step: Step, cost: MigrationCost | None, unmeasured: str | None) -> PlannedMigration:
    migration = step.migration
    left = {each.start for part in migration.parts(step.direction)[step.done :] for each in part.statements}
    statements = tuple(
        PlannedStatement(
            line=each.line,
            sql=each.sql,
            transactional=each.transactional,
            locks=dict(each.locks),
            rewrites=each.rewrites,
            scans=each.scans,
        )
        for each in (cost.statements if cost else ())
        if each.start in left or migration.is_python
    )
    return PlannedMigration(
        name=migration.name,
        sql=migration.script(step.direction, step.done),
        statements=statements,
        unmeasured=None if cost else unmeasured,
    )
