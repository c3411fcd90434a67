"""What the other commands on versions return, laid out for people; only these commands load it."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from database_handler.cli import endings
from database_handler.cli.migration_reports import LintRules
from database_handler.cli.tables import columns_of, exact, laid_out, pairs, phrase
from database_handler.migrations.generation.checking import Checked, Verified
from database_handler.migrations.generation.generating import Generated
from database_handler.migrations.generation.squashing import Squashed
from database_handler.migrations.live.adopting import Adopted
from database_handler.migrations.live.baseline import BaselineReport
from database_handler.migrations.live.comparing import Comparison
from database_handler.migrations.live.drift import DriftReport
from database_handler.migrations.live.linting import LintReports
from database_handler.migrations.live.lock_file import Locked
from database_handler.migrations.live.preflight import PreflightFinding, PreflightReport
from database_handler.migrations.safety.lint import Finding, LintReport
from database_handler.migrations.schema.differences import Difference, Differences
from database_handler.utils.text import counted

__all__: list[str] = []

_SEVERITIES = {"violation": "red", "possible": "yellow", "unknown": "yellow", "loss": "yellow"}
_NAMES = 10
_CHANGES = {"missing": "red", "extra": "yellow", "changed": "yellow"}

endings.know_versions()


# ----------------------------------------------------------------------------------------- drift and compare


@laid_out.register
def _(value: DriftReport, lines: bool) -> Iterator[RenderableType]:
    del lines
    heads = ", ".join(head or "nothing" for head in value.heads.values())
    known = "as recorded" if value.source == "recorded" else "as its versions make it"
    if not value.drifted:
        yield phrase(f"no drift: the schema is {known} at {heads}", "green")
    else:
        number = counted(len(value.differences.items), "difference")
        yield phrase(f"{number} from the schema {known} at {heads}")
        yield from _differences(value.differences, "should be", "is", "to put it right")
    yield from _unmodelled(value.differences)


def _differences(found: Differences, expected: str, actual: str, cure: str) -> Iterator[RenderableType]:
    for item in found.items:
        yield _headline(item)
        yield Padding(pairs(_told(item, expected, actual)), (0, 0, 0, 2))
    if found.statements:
        yield phrase(f"-- {cure}:", "bold")
        yield from (exact(f"{statement};") for statement in found.statements)
    yield from (phrase(f"-- it loses {loses}", "red") for loses in found.loses)


def _headline(item: Difference) -> Text:
    text = phrase(f"{item.change} ", _CHANGES[item.change])
    return text.append_text(phrase(f"{item.kind} {item.name}", "bold"))


def _told(item: Difference, expected: str, actual: str) -> Iterator[tuple[str, Text]]:
    if item.fields:
        for field in item.fields:
            yield field.name, phrase(f"{expected} {field.expected}, {actual} {field.found}")
        return
    for name, definition in ((expected, item.expected), (actual, item.found)):
        if definition:
            yield name, phrase(" ".join(definition.split()))


def _unmodelled(found: Differences) -> Iterator[Text]:
    yield from _not_compared([f"{kind} {name}" for kind, name in found.unmodelled])


def _not_compared(names: Sequence[str]) -> Iterator[Text]:
    if names:
        yield phrase(f"not compared: {_listed(names)}", "yellow")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"{', '.join(names[:_NAMES])}{more}"


@laid_out.register
def _(value: Adopted, lines: bool) -> Iterator[RenderableType]:
    del lines
    if value.name is None:
        yield phrase("nothing has drifted; nothing was written", "green")
        return
    yield phrase(f"wrote {value.path}, which is on record here as applied; its up is")
    yield from (exact(f"{statement};") for statement in value.differences.statements)


@laid_out.register
def _(value: Comparison, lines: bool) -> Iterator[RenderableType]:
    yield pairs(
        [
            ("here", phrase(f"{value.here} at {_heads(value.heads_here)}")),
            ("there", phrase(f"{value.there} at {_heads(value.heads_there)}")),
        ]
    )
    if value.versions:
        table = columns_of(lines, "version", "here", "there")
        for version in value.versions:
            table.add_row(phrase(version.name), phrase(version.here), phrase(version.there))
        yield table
    if value.schema_differences:
        yield phrase(f"{counted(len(value.schema_differences.items), 'difference')} of the schemas")
        yield from _differences(value.schema_differences, "here", "there", "to make that schema this one")
    else:
        yield phrase("the schemas are the same", "green")
    yield from _unmodelled(value.schema_differences)


def _heads(heads: dict[str, str | None]) -> str:
    return ", ".join(head or "nothing" for head in heads.values())


@laid_out.register
def _(value: BaselineReport, lines: bool) -> Iterator[RenderableType]:
    del lines
    if value.path:
        yield phrase(f"wrote {value.path}")
    yield phrase(f"recorded as applied, and not run: {', '.join(value.recorded)}", "green")
    if value.differences:
        yield phrase("allowed all the same:", "yellow")
        yield from _differences(value.differences, "the versions make", "it is", "to put it right")
    for kind, name in value.unmodelled:
        yield phrase(f"not in the file, for it is not modelled: {kind} {name}", "yellow")


# ------------------------------------------------------------------------------------------- writing versions


@laid_out.register
def _(value: Generated, lines: bool) -> Iterator[RenderableType]:
    del lines
    if value.path is None:
        yield phrase("the models say what the versions make; nothing was written", "green")
        return
    yield exact(value.text)
    yield phrase(f"wrote {value.path}: read it, and add it to version control", "green")
    yield from _not_compared(value.unmodelled)


@laid_out.register
def _(value: Locked, lines: bool) -> Iterator[RenderableType]:
    del lines
    told = {"added": value.added, "changed": value.changed, "removed": value.removed}
    for what, names in told.items():
        yield from (phrase(f"{what} {name}") for name in names)
    if not any(told.values()):
        yield phrase(f"{value.path} says what the files are; nothing was written", "green")


@laid_out.register
def _(value: Squashed, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield phrase(f"wrote {value.path} in the place of {', '.join(value.replaced)}", "green")
    for table, rows in value.rows.items():
        yield phrase(f"it puts {counted(rows, 'row')} into {table}, as they did")
    for name in value.worked_on_rows:
        yield phrase(f"{name} worked on rows that were there; a new database has none", "yellow")
    if not value.reversible:
        yield phrase("it cannot be rolled back", "yellow")


# ------------------------------------------------------------------------------------------- files and models


@laid_out.register
def _(value: Checked, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield from _checked(value)


def _checked(value: Checked) -> Iterator[Text]:
    yield from _not_compared(value.unmodelled)
    if value.agrees:
        yield phrase("the models say what the versions make", "green")
        return
    number = counted(len(value.statements), "change")
    yield phrase(f"the models have {number} that no version makes:", "yellow")
    yield from (exact(f"{statement};") for statement in value.statements)
    yield from (phrase(f"-- it loses {loses}", "red") for loses in value.loses)
    yield from (phrase(f"-- it cannot run as it stands: {why}", "red") for why in value.broken)
    if not value.broken:
        what = "it" if len(value.statements) == 1 else "them"
        yield Text(f"`database-handler migrations generate -m ...` writes {what} down")


@laid_out.register
def _(value: Verified, lines: bool) -> Iterator[RenderableType]:
    table = columns_of(lines, "version", "up", "down", "rows kept in")
    for version in value.versions:
        wrong = bool(version.problems)
        back = "restores" if version.reversible else "none"
        table.add_row(
            phrase(version.name),
            phrase("wrong" if wrong else "ok", "red" if wrong else "green"),
            phrase("" if wrong else back),
            phrase(", ".join(version.kept)),
        )
    yield table
    for version in value.versions:
        yield from (exact(f"{version.name}: {problem}", "red") for problem in version.problems)
        yield from (phrase(f"{version.name}: {change}") for change in version.changed)
        for name, why in version.unproven.items():
            yield phrase(f"{version.name}: nothing is said of the rows of {name}: {why}", "yellow")
    if value.models is not None:
        yield from _checked(value.models)


# ------------------------------------------------------------------------------------------------- preflight


@laid_out.register
def _(value: PreflightReport, lines: bool) -> Iterator[RenderableType]:
    if not value.pending:
        yield phrase("nothing is pending", "green")
        return
    yield phrase(f"pending: {', '.join(value.pending)}")
    yield from _drifted(value.drift)
    for found in value.findings:
        yield from _finding(found)
    if value.tables:
        table = columns_of(
            lines, "table", "rows (about)", "bytes", "named by", right=["rows (about)", "bytes"]
        )
        for each in value.tables:
            table.add_row(
                phrase(each.name), f"{each.rows:,}", f"{each.size_bytes:,}", phrase(", ".join(each.versions))
            )
        yield table
    yield from _traffic(value)
    if not value.violated:
        yield phrase("no row that is there is in the way", "green")


def _drifted(names: Sequence[str]) -> Iterator[Text]:
    if names:
        yield phrase(
            f"the live schema has drifted ({_listed(names)}), and what is pending was tried without that: "
            "`database-handler migrations drift` shows it",
            "yellow",
        )


def _finding(found: PreflightFinding) -> Iterator[RenderableType]:
    headline = phrase(f"{found.severity} ", _SEVERITIES[found.severity])
    yield headline.append_text(phrase(f"{found.version}:{found.line}: {found.message}"))
    yield Padding(phrase(found.statement), (0, 0, 0, 2))


def _traffic(value: PreflightReport) -> Iterator[Text]:
    for blocker in value.blockers:
        holds = f", holds {', '.join(blocker.holds)}" if blocker.holds else ""
        who = f"process {blocker.pid}" if blocker.pid else "prepared transaction"
        told = (
            f"{who} ({blocker.application}, {blocker.state}), in transaction for {blocker.seconds:g} s{holds}"
        )
        yield phrase(f"in the way: {told}", "yellow")
    for replica in value.replicas:
        lag = "" if replica.lag_seconds is None else f", {replica.lag_seconds:.1f} s behind"
        kept = f", {replica.kept_bytes:,} bytes kept" if replica.kept_bytes else ""
        yield phrase(f"replica {replica.name}: {replica.state}{lag}{kept}")


# ------------------------------------------------------------------------------------------------------ lint


@laid_out.register
def _(value: LintRules, lines: bool) -> Iterator[RenderableType]:
    table = columns_of(lines, "rule", "why", "instead")
    for rule in value.rules:
        table.add_row(phrase(rule.name), phrase(rule.why), phrase(rule.instead))
    yield table


@laid_out.register
def _(value: LintReports, lines: bool) -> Iterator[RenderableType]:
    del lines
    if value.unmeasured:
        yield phrase(f"read only, not measured: {value.unmeasured}", "yellow")
    for report in value.reports:
        for finding in report.findings:
            yield from _lint(report, finding)
    wrong = sum(finding.fails for report in value.reports for finding in report.findings)
    told = (
        f"{counted(len(value.reports), 'file')}, {counted(wrong, 'finding')}"
        if value.reports
        else "nothing pending"
    )
    yield phrase(told, "red" if wrong else "green")


def _lint(report: LintReport, finding: Finding) -> Iterator[RenderableType]:
    where = f"{report.path}:{finding.line}: {finding.what}"
    if finding.allowed:  # in a line, so that what is to be mended stands out
        yield phrase(f"allowed {finding.rule} ").append_text(phrase(f"{where}, because {finding.allowed}"))
        return
    headline = phrase(f"{finding.level} {finding.rule} ", "red" if finding.fails else "yellow")
    yield headline.append_text(phrase(where))
    rows = [("statement", finding.statement), ("why", finding.why), ("instead", finding.instead)]
    yield Padding(pairs((name, phrase(text)) for name, text in rows), (0, 0, 0, 2))
