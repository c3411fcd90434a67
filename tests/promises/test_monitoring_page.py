"""docs/monitoring.md lists what is exported, and its commands run; the dashboard asks for all of that."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from database_handler import Database
from database_handler.operations.monitoring import METRICS, Metric
from tests.support.pages import Walk, blocks, only_settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "monitoring.md"
DASHBOARD = json.loads((ROOT / "docs" / "monitoring" / "dashboard.json").read_text("utf-8"))
BY_NAME = {metric.name: metric for metric in METRICS}
PARTS = ("_bucket", "_count", "_sum")


# -------------------------------------------------------------------------------------------- the page


def test_the_page_lists_every_metric_as_it_is_exported() -> None:
    row = r"^\| `(database_handler_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$"
    listed = re.findall(row, PAGE.read_text("utf-8"), re.M)
    assert listed == [
        (metric.name, metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help)
        for metric in METRICS
    ]


def test_the_commands_of_the_page_run(
    shared_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    only_settings(monkeypatch, tmp_path, DATABASE_URL=shared_database.config.url(hide_password=False))
    shared_database.session.run("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    commands = [line for block in blocks(PAGE, "console") for line in block.code.splitlines()]
    assert {shlex.split(command)[2] for command in commands} == {"top", "metrics"}
    try:
        said = [Walk(monkeypatch, capsys).command(command) for command in commands]
    finally:
        shared_database.session.run("DROP EXTENSION pg_stat_statements")
    assert "database_handler_statement_seconds" in "".join(said)
    assert "serving http://127.0.0.1:" in "".join(said)


# --------------------------------------------------------------------------------------- the dashboard


@dataclass
class Asked:
    """What an expression asks for: metrics, with the labels it selects and groups them by."""

    metrics: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)


def targets() -> Iterator[tuple[str, str, str]]:
    """The title, the expression and the legend of each target."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]


def asked(expression: str) -> Asked:
    found = Asked()
    _walk(promql_parser.parse(expression.replace("$__rate_interval", "5m")), found)
    return found


def _walk(node: Any, found: Asked) -> None:
    if isinstance(node, promql_parser.VectorSelector):
        found.metrics.add(node.name or "")
        found.labels |= {matcher.name for matcher in node.matchers.matchers}
    elif isinstance(node, promql_parser.MatrixSelector):
        _walk(node.vector_selector, found)
    elif isinstance(node, promql_parser.AggregateExpr):
        found.labels |= set(node.modifier.labels if node.modifier else ())
        _walk(node.expr, found)
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            _walk(argument, found)
    else:
        assert isinstance(node, promql_parser.NumberLiteral), type(node)


def metric_of(name: str) -> tuple[Metric, set[str]]:
    """The metric of a series, and the labels that the series has."""
    for part in PARTS:
        base = BY_NAME.get(name.removesuffix(part))
        if name.endswith(part) and base is not None and base.kind == "histogram":
            return base, {*base.labels, *(["le"] if part == "_bucket" else [])}
    found = BY_NAME[name]
    assert found.kind != "histogram", f"{name} has no series of its own"
    return found, set(found.labels)


@pytest.mark.parametrize(("title", "expression", "legend"), list(targets()))
def test_a_panel_asks_for_what_is_exported(title: str, expression: str, legend: str) -> None:
    found = asked(expression)
    [name] = found.metrics
    metric, labels = metric_of(name)
    assert found.labels <= labels
    grouped = set(re.findall(r"\{\{(\w+)\}\}", legend))
    assert grouped <= labels
    rated = "rate(" in expression or "increase(" in expression
    assert rated == (metric.kind != "gauge"), "counters are rated, gauges are not"


def test_every_metric_is_in_a_panel() -> None:
    shown = {metric_of(name)[0].name for _, expression, _ in targets() for name in asked(expression).metrics}
    assert shown == set(BY_NAME)


def test_the_dashboard_can_be_imported_anywhere() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    sources = {target["datasource"]["uid"] for panel in panels for target in panel.get("targets", ())}
    assert sources == {"${datasource}"}
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert set(variables) == {"datasource", "database"}
    query = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables["database"]["definition"])
    assert query
    assert query[2] in BY_NAME[query[1]].labels
