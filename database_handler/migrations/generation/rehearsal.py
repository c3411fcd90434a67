"""A finished file run as it will be run: in a scratch database, section by section, its locks measured."""

from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.exceptions import DatabaseError
from database_handler.core.transaction import Autocommit
from database_handler.migrations.errors import ProofFailed, ScratchUnavailable
from database_handler.migrations.files.chain import Chain
from database_handler.migrations.files.migration_values import Direction, Migration
from database_handler.migrations.generation.proof import Proven
from database_handler.migrations.generation.wanted import extensions_of
from database_handler.migrations.safety.measuring import MigrationCost, measure
from database_handler.migrations.schema.schema_diff import diff
from database_handler.migrations.schema.snapshot import SchemaSnapshot
from database_handler.migrations.scratch.building import confirm, look, made_extensions
from database_handler.migrations.scratch.place import build_for_good, scratch_database

__all__ = ["rehearse", "stage"]


@contextmanager
def stage(config: DatabaseConfig, chain: Chain, without: Collection[str]) -> Iterator[Future[DatabaseConfig]]:
    """Give a scratch database with the chain in it, made while the block does other things.

    Parameters
    ----------
    without : collection of str
        The extensions that the file itself may make.
    """
    with ExitStack() as stack, ThreadPoolExecutor(1, "scratch") as pool:
        yield pool.submit(_set_up, stack, config, chain, without)


def _set_up(
    stack: ExitStack, config: DatabaseConfig, chain: Chain, without: Collection[str]
) -> DatabaseConfig:
    made = made_extensions(version.text for version in chain.all)
    scratch = stack.enter_context(scratch_database(config, without={*without, *made}))
    build_for_good(scratch, chain.all)
    return scratch


def rehearse(scratch: Future[DatabaseConfig], migration: Migration, proven: Proven) -> str:
    """Run a file up and down on the stage, and return the locks that it took on its way up.

    Raises
    ------
    ProofFailed
        It does not come out where it came out in a transaction.
    """
    try:
        return _run(scratch.result(), migration, proven).header
    except ScratchUnavailable as reason:
        return f"not measured ({reason})"
    except DatabaseError as error:
        failure = ProofFailed(
            f"the file failed in a scratch database, and nothing was written: {error}", [migration.name]
        )
    raise failure


def _run(scratch: DatabaseConfig, migration: Migration, proven: Proven) -> MigrationCost:
    cost = measure(scratch, migration, Direction.UP)
    _check(scratch, migration, proven.made, "up")
    confirm(Autocommit(lambda: dedicated(scratch)).session, migration)
    if proven.down is not None:
        measure(scratch, migration, Direction.DOWN)
        _check(scratch, migration, proven.down.difference.new, "down")
    return cost


def _check(scratch: DatabaseConfig, migration: Migration, wanted: SchemaSnapshot, direction: str) -> None:
    found = look(Autocommit(lambda: dedicated(scratch)).session, extensions_of(wanted))
    if found != wanted:
        residue = [statement.sql for statement in diff(found, wanted)]
        told = "".join(f"\n    {statement};" for statement in residue[:20])
        raise ProofFailed(
            f"in a scratch database the file's way {direction} came out otherwise than in a transaction, and "
            f"nothing was written; still missing:{told}",
            [migration.name],
            residue,
        )
