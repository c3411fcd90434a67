"""A plan the safe way round arrives where the plan does, keeps the rows, and keeps nobody waiting.

Random pairs are turned by the sections' statements in a transaction that is rolled back; known pairs by real
files, run by the manager, with rows in the tables. A failure of a random pair tells its seed.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import count, islice

import pytest

from database_handler import MigrationManager
from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Autocommit, Transaction
from database_handler.migrations.building import in_transaction
from database_handler.migrations.errors import BackfillNeeded
from database_handler.migrations.introspection import take_snapshot
from database_handler.migrations.lint import lint
from database_handler.migrations.migration import parse
from database_handler.migrations.safe_way import PlannedSection, placeholder, safe_sections
from database_handler.migrations.schema_diff import Rename, SchemaDiff, diff
from database_handler.migrations.snapshot import Column, Kind, ObjectId, SchemaSnapshot
from tests.migrations.conftest import Folder, run_alone
from tests.support.schema_random import Pair, random_pair
from tests.support.schemas import NEW, OLD, Scratch, Told, applicable, differing, inverted, make_roles

_numbers = count(1)
PAIRS = 20

# ------------------------------------------------------------------------------------------- random pairs


def filled_sections(plan: SchemaDiff, old: SchemaSnapshot, new: SchemaSnapshot) -> tuple[PlannedSection, ...]:
    """The sections, with a value for every column that asks for one: constants and others, in turn."""
    try:
        return safe_sections(plan, old, new)
    except BackfillNeeded as needed:
        columns = [column for id in needed.columns if isinstance(column := new.objects[id], Column)]
    shapes = ("NULL::{}", "(SELECT NULL::{})")
    values = {each.id: shapes[place % 2].format(each.type) for place, each in enumerate(columns)}
    return safe_sections(plan, old, new, backfill=values)


def turn(
    scratch: Scratch, told: Told, old: SchemaSnapshot, new: SchemaSnapshot, renames: Iterable[Rename]
) -> None:
    plan = diff(old, new, renames=renames)
    sections = filled_sections(plan, old, new)
    script = f"{plan.script}-- the safe way\n{''.join(each.text('up') for each in sections)}"
    for statement in (each for section in sections for each in section.statements):
        if (failed := scratch.fails(OLD, in_transaction(statement) or "SELECT")) is not None:
            raise told.broken(f"this fails: {statement}\n   {failed.driver_error}", script)
    if (found := scratch.snapshot(OLD)) != new:
        raise told.broken("it does not arrive", script, differing(new, found))


def arrives_by_the_plan(config: DatabaseConfig, pair: Pair) -> bool:
    """Whether the plan itself turns one into the other: if not, that is not for these tests to tell."""
    with Scratch(config) as scratch:
        scratch.make(OLD, pair.old)
        scratch.make(NEW, pair.new)
        old, new = scratch.snapshot(OLD), scratch.snapshot(NEW)
        for one, other, back in ((old, new, False), (new, old, True)):
            renames = applicable(pair.renames, old, new)
            plan = diff(one, other, renames=inverted(renames) if back else renames)
            if scratch.fails(OLD, plan.script) is not None or scratch.snapshot(OLD) != other:
                return False
    return True


def test_random_pairs_arrive_the_safe_way_too(config: DatabaseConfig) -> None:
    make_roles(Autocommit(lambda: dedicated(config)).session)
    first = random.SystemRandom().randrange(10**9)
    print(f"first seed {first}")
    arrived = 0
    for seed in range(first, first + PAIRS):
        pair = random_pair(seed)
        if not arrives_by_the_plan(config, pair):
            continue
        arrived += 1
        with Scratch(config) as scratch:
            told = Told(pair, scratch.make(OLD, pair.old), scratch.make(NEW, pair.new))
            old, new = scratch.snapshot(OLD), scratch.snapshot(NEW)
            renames = applicable(pair.renames, old, new)
            turn(scratch, told, old, new, renames)
            turn(scratch, told, new, old, inverted(renames))
    assert arrived > PAIRS / 2


# -------------------------------------------------------------------------------------- known pairs, as text

TABLES = """
CREATE TABLE projects (id int PRIMARY KEY, name text);
CREATE TABLE notes (id int PRIMARY KEY, project int, body text, code varchar(10), CONSTRAINT notes_code UNIQUE (code));
CREATE INDEX notes_body ON notes (body);
"""


def snapshots(config: DatabaseConfig, before: str, after: str) -> tuple[SchemaSnapshot, SchemaSnapshot]:
    with Scratch(config) as scratch:
        for schema, text in ((OLD, before), (NEW, before + after)):
            scratch.session.script(f"CREATE SCHEMA {schema}")
            scratch.run(schema, text)
        return scratch.snapshot(OLD), scratch.snapshot(NEW)


def sections(
    config: DatabaseConfig,
    before: str,
    after: str,
    backfill: Mapping[ObjectId, str] | None = None,
    renames: Iterable[Rename] = (),
    reasons: Mapping[ObjectId, str] | None = None,
) -> list[str]:
    """The sections that turn the first text's schema into that of both, as they stand in a file.

    Whatever they are, the rules of lint find nothing in them that fails.
    """
    old, new = snapshots(config, before, after)
    plan = diff(old, new, renames=renames)
    found = [each.text("up") for each in safe_sections(plan, old, new, backfill=backfill, reasons=reasons)]
    assert_clean(found, old)
    return found


def assert_clean(texts: Iterable[str], old: SchemaSnapshot) -> None:
    report = lint(parse(Folder.NAME, "".join(texts).encode()), before=old)
    assert [finding for finding in report.findings if finding.fails or finding.rule == "allow-unused"] == []
