"""No statement of the library reads a large table through unless the call asks for that.

Every public method of every repository is called, found by reflection, over tables of 10,000 rows whose
wanted rows stand last. The server's own ``auto_explain`` tells the plan of each statement as it was run, with
those inside functions and of foreign keys; what is judged is how many rows each scan visited, whatever its
kind. Both it and the filling of the tables take a superuser.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from database_handler import Database, DatabaseConfig, FilesConfig
from database_handler.core.exceptions import DatabaseHandlerError
from database_handler.core.schema import Table
from database_handler.testing.plugin import _made
from tests.support.repository_calls import call, calls
from tests.support.valid_arguments import Scene, scene_of
from tests.support.wire import CountingProxy, Message, Relay

ROWS, PROJECTS = 10_000, 200
MOST = 500  # rows that a statement may visit of one table: a project has 50 of each
EXPLAINED = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",  # which goes to the client
    "auto_explain.log_nested_statements": "on",
    "max_parallel_workers_per_gather": "0",
}
# What these ask for is in all rows of a table, and each of them does read one through.
ASKED = {
    "count": "how many there are",
    "export_rows": "all of them, where no filter is given",
    "export_rows, order_by": "likewise",
    "list, order_by": "the first by a field without an index",
    "page, order_by": "likewise",
    "stream, order_by": "all of them, by a field without an index",
}


@dataclass(frozen=True)
class Plan:
    """One statement as it was run."""

    text: str
    root: dict[str, Any]

    def visited(self) -> Iterator[tuple[str, str, float]]:
        """Give each scan of a table: the table, the kind of scan, and how many rows it looked at."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            waiting += node.get("Plans", [])
            if "Relation Name" in node and node["Node Type"] != "ModifyTable":
                looked = sum(
                    node.get(each, 0)
                    for each in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
                )
                yield node["Relation Name"], node["Node Type"], looked * node["Actual Loops"]


class PlanRelay(Relay):
    """Passes on, and keeps the plans that the server tells."""

    def from_server(self, message: Message) -> None:
        if message.kind == b"N":
            fields = {part[:1]: part[1:].decode() for part in message.body.split(b"\0") if part}
            _, found, plan = fields[b"M"].partition("plan:\n")
            if found:
                assert isinstance(self._proxy, PlanProxy)
                told = json.loads(plan)
                self._proxy.plans.append(Plan(told["Query Text"], told["Plan"]))
            return
        super().from_server(message)


class PlanProxy(CountingProxy):
    """Keeps the plans of everything that goes through it."""

    def __init__(self, config: DatabaseConfig) -> None:
        super().__init__(config)
        self.plans: list[Plan] = []


PlanProxy.relay = PlanRelay


def filled(database: Database) -> None:
    """Multiply the one row of each entity by 10,000, and put that row behind the others."""
    session = database.session
    for record in Database.records():
        session.script(_copies(record.table))
    session.script(
        "INSERT INTO database_handler_keys (key, created_at) SELECT 'key ' || n, now() - interval '1 minute' "
        f"FROM generate_series(1, {ROWS}) AS n; ANALYZE"
    )
    [name] = session.one("SELECT current_database()")
    for setting, value in EXPLAINED.items():
        session.script(f"ALTER DATABASE \"{name}\" SET {setting} = '{value}'")


def _copies(table: Table) -> str:
    own = {"id": _id_of(table.name, "n"), table.key[-1]: "md5(n::text) || md5('x' || n)"}
    own |= {name: "'filler'" for name in ("content", "title") if name in table.column_names}
    for key in table.foreign_keys:
        column = key.columns[-1]
        number = "n" if column != "project_id" else f"1 + n % {PROJECTS}"
        own[column] = f"CASE WHEN t.{column} IS NOT NULL THEN {_id_of(key.table, number)} END"
    names = ", ".join(table.column_names)
    values = ", ".join(own.get(name, f"t.{name}") for name in table.column_names)
    return (
        "SET LOCAL session_replication_role = replica;"  # no reference is checked row by row
        f"CREATE TEMP TABLE wanted AS SELECT id FROM {table.name};"
        f"INSERT INTO {table.name} ({names}) SELECT {values} "
        f"FROM {table.name} AS t, generate_series(1, {ROWS}) AS n;"
        f"UPDATE {table.name} SET version = version WHERE id IN (SELECT id FROM wanted); DROP TABLE wanted"
    )


def _id_of(table: str, number: str) -> str:
    return f"md5('{table}' || {number})::uuid"


def seen(database: Database, proxy: PlanProxy, scene: Scene) -> Iterator[tuple[str, str, list[Plan]]]:
    """Make every call in a unit that is undone; give the call, its entity, and the plans of what it sent."""
    for option, public, given in calls(scene):
        proxy.plans.clear()
        with suppress(DatabaseHandlerError), database.unit_of_work() as unit:
            call(replace(scene, uow=unit), public, given)
            unit.session.script("CLOSE ALL")  # the plan of a cursor is told when it is closed
            unit.rollback()
        over, _, method = public.name.partition(".")
        yield f"{method}{option}", over, list(proxy.plans)


def read_through(plans: Sequence[Plan]) -> list[str]:
    """Say which scans visited more rows than a project has."""
    return [
        f"{kind} of {table}: {rows:.0f} rows in {plan.text}"
        for plan in plans
        for table, kind, rows in plan.visited()
        if rows > MOST
    ]


def test_no_call_reads_a_large_table_through_unasked(
    database_template: DatabaseConfig, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("A short text, to be read.")
    files = FilesConfig(store_url=str(tmp_path / "store"), media_root=tmp_path)
    through: dict[str, dict[str, list[str]]] = {}
    silent = set()
    with (
        _made(database_template, template=database_template.name) as config,
        Database(config, files=files) as direct,
    ):
        scene = scene_of(direct, config, tmp_path)
        filled(direct)
        with PlanProxy(config) as proxy, Database(proxy.config, files=files) as database:
            for name, over, plans in seen(database, proxy, scene):
                if found := read_through(plans):
                    through.setdefault(name, {})[over] = found
                if not plans:
                    silent.add(f"{name}, {over}")
    assert {name: found for name, found in through.items() if name not in ASKED} == {}
    assert set(through) == set(ASKED), "these are told to read a table through, and do not"
    assert silent == set(), "these sent nothing, so nothing is known of them"
