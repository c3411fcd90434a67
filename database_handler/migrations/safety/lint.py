"""Says what in a migration would keep others waiting, lose data, or break the release that runs meanwhile.

Told from the words of each statement, from the schema before it, and, where they are given, from what a run
on a scratch copy has shown and how large the tables are. What the file itself makes is exempt: nobody uses it
yet. `-- lint: allow RULE because ...` before a statement (or behind it, or for the whole file above its first
section) keeps a finding from failing the file.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from database_handler.core.sql_text import SqlTextError, Token, TokenKind, locate, tokens
from database_handler.migrations.files.migration_values import Migration, Section, SectionKind, SqlStatement
from database_handler.migrations.safety.lint_checks import Hit, hits, locks_readers_of
from database_handler.migrations.safety.lint_rules import RULES, RuleText
from database_handler.migrations.safety.lint_scene import Before, Scene
from database_handler.migrations.safety.measuring import MigrationCost
from database_handler.migrations.safety.statement_facts import StatementFacts, bare, facts_of
from database_handler.migrations.schema.snapshot import SchemaSnapshot
from database_handler.migrations.verdicts import Judged
from database_handler.utils.text import counted

__all__ = ["RULES", "SMALL_TABLE", "Finding", "LintReport", "RuleText", "lint"]

SMALL_TABLE = 10_000
"""Up to how many rows nobody waits long for a table, so that a rule about waiting only tells."""


class Finding(Judged, frozen=True):
    """What a rule found in one statement.

    Attributes
    ----------
    line : int
        Where in the file, from 1.
    statement : str
        The beginning of the statement.
    what : str
        What it is about, in words.
    allowed : str, optional
        The reason that the file gives; it fails nothing then.
    """

    verdicts: ClassVar = ("fails",)

    rule: str
    line: int
    statement: str
    what: str
    why: str
    instead: str
    level: Literal["error", "note"] = "error"
    allowed: str | None = None

    @property
    def fails(self) -> bool:
        """Whether it makes the file fail."""
        return self.level == "error" and self.allowed is None


class LintReport(Judged, frozen=True):
    """What lint found in one migration, by line."""

    verdicts: ClassVar = ("failed",)

    name: str
    path: str
    findings: tuple[Finding, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether a finding is neither a note nor allowed."""
        return any(finding.fails for finding in self.findings)

    @property
    def ok(self) -> bool:
        """Whether nothing in it fails."""
        return not self.failed


def lint(
    migration: Migration,
    *,
    before: SchemaSnapshot | None = None,
    measured: MigrationCost | None = None,
    sizes: Mapping[str, int] | None = None,
) -> LintReport:
    """Look a migration over without running it.

    Parameters
    ----------
    before : SchemaSnapshot, optional
        The schema that it is applied to. Without it every table that the file does not make is taken to be
        there.
    measured : MigrationCost, optional
        What its up sections did on a scratch copy.
    sizes : mapping of table to number of rows, optional
        Of the live database; tables that are not named count as large.
    """
    return LintReport(
        name=migration.name,
        path=str(migration.path),
        findings=tuple(_Linting(migration, before, measured, sizes or {}).run()),
    )


# ------------------------------------------------------------------------------------------------- allowing

_SPOKEN = re.compile(r"--\s*lint\b\s*:?(.*)", re.IGNORECASE | re.DOTALL)
_ALLOW = re.compile(r"\s*allow\s+(?P<rule>[a-z][a-z-]*)(?:\s+because\b\s*(?P<reason>.*))?\s*", re.DOTALL)


@dataclass(slots=True)
class _Allow:
    """One `-- lint: allow`; `statement` is where that which it holds for begins, None for the whole file."""

    rule: str
    reason: str
    start: int
    statement: int | None
    used: bool = False


class _Allows:
    """What the comments of a file allow."""

    def __init__(self, migration: Migration) -> None:
        self._text = migration.text
        self._first = min((_offset(migration.text, each.line) for each in migration.sections), default=0)
        self._starts = [(each.start, each.start + len(each.text)) for each in _statements(migration)]
        self.found: list[_Allow] = []
        self.wrong: list[tuple[str, int]] = []
        for comment in _comments(migration):
            self._take(comment)

    def _take(self, comment: Token) -> None:
        spoken = _SPOKEN.fullmatch(comment.text)
        if spoken is None:
            return
        allow = _ALLOW.fullmatch(spoken[1])
        if allow is None or allow["rule"] not in RULES:
            self.wrong.append(("allow-unknown-rule", comment.start))
        elif not (allow["reason"] or "").strip():
            self.wrong.append(("allow-without-reason", comment.start))
        else:
            place = self._statement_at(comment.start)
            self.found.append(_Allow(allow["rule"], " ".join(allow["reason"].split()), comment.start, place))

    def _statement_at(self, comment: int) -> int | None:
        """Return the statement that a comment is about: on its own line, around it, or after it."""
        if comment < self._first:
            return None
        line = self._text.rfind("\n", 0, comment) + 1
        if self._text[line:comment].strip():
            return max((start for start, _ in self._starts if start < comment), default=-1)
        return min((start for start, end in self._starts if end > comment), default=-1)

    def reason(self, rule: str, statement: int) -> str | None:
        """Return why a finding is allowed; None where it is not."""
        for allow in self.found:
            if allow.rule == rule and allow.statement in (None, statement):
                allow.used = True
                return allow.reason
        return None

    def unused(self) -> Iterator[_Allow]:
        """Give those that nothing was found for."""
        return (allow for allow in self.found if not allow.used)


def _offset(text: str, line: int) -> int:
    place = 0
    for _ in range(line - 1):
        place = text.find("\n", place) + 1
    return place


def _comments(migration: Migration) -> Iterator[Token]:
    if migration.is_python:
        return
    try:
        yield from (token for token in tokens(migration.text) if token.kind is TokenKind.COMMENT)
    except SqlTextError:  # found when the file was read, so it cannot be here
        return


def _statements(migration: Migration) -> Iterator[SqlStatement]:
    return (statement for section in migration.sections for statement in section.statements)


# ------------------------------------------------------------------------------------------------- the walk


class _Linting:
    """One look over one migration."""

    def __init__(
        self,
        migration: Migration,
        before: SchemaSnapshot | None,
        measured: MigrationCost | None,
        sizes: Mapping[str, int],
    ) -> None:
        self._migration = migration
        self._measured = measured
        self._sizes = {bare(table): rows for table, rows in sizes.items()}
        self._allows = _Allows(migration)
        self._scene = Scene(Before(before))
        self._statement = SqlStatement("", 0)

    def run(self) -> list[Finding]:
        found = [*self._look_ahead(), *self._sections()]
        found += [self._plain(rule, start) for rule, start in self._allows.wrong]
        found += [self._plain("allow-unused", each.start, each.rule) for each in self._allows.unused()]
        return sorted(found, key=lambda finding: (finding.line, _PLACES[finding.rule]))

    def _look_ahead(self) -> Iterator[Finding]:
        """Note the indexes that the file makes anywhere: a foreign key may come before its index."""
        for statement in _statements(self._migration):
            facts = facts_of(statement.text)
            for table, columns in _indexed_by(facts):
                self._scene.indexed[table].append(columns)
            if facts.verb == "CREATE INDEX" and facts.names:
                self._scene.indexes[facts.names[0]] = facts.table
        if self._migration.is_python:
            yield self._plain("opaque", 0, "a Python migration")

    def _sections(self) -> Iterator[Finding]:
        ups = [each for each in self._migration.sections if each.kind is SectionKind.UP]
        downs = [each for each in self._migration.sections if each.kind is SectionKind.DOWN]
        for section in ups:
            yield from self._section(section)
        yield from self._old_inserts()
        for section in downs:
            yield from self._section(section)

    def _section(self, section: Section) -> Iterator[Finding]:
        up = section.kind is SectionKind.UP
        self._scene.begin(up=up, transactional=section.transactional, batched=section.batched)
        self._look_over(section)
        for statement in section.statements:
            if not section.transactional:
                self._scene.release()
            yield from self._look(statement)

    def _look_over(self, section: Section) -> None:
        """Note what the section drops, and what it makes: it may drop something to make it again."""
        for statement in section.statements:
            facts = facts_of(statement.text)
            self._scene.made_here |= set(facts.makes)
            if facts.verb in ("DROP TABLE", "DROP MATERIALIZED VIEW"):
                self._scene.dropped |= set(facts.names)

    def _look(self, statement: SqlStatement) -> Iterator[Finding]:
        self._statement = statement
        facts = facts_of(statement.text)
        scene = self._scene
        scene.only = "ONLY" in facts.words
        scene.cost = self._measured.at(statement.start) if self._measured and scene.up else None
        for hit in hits(scene, facts, statement.text):
            if scene.up or RULES[hit.rule].both:
                yield self._finding(hit)
        scene.locked.update(dict.fromkeys(locks_readers_of(scene, facts), statement.start))
        scene.take(facts, statement.start)

    def _old_inserts(self) -> Iterator[Finding]:
        for (table, column), new in self._scene.columns.items():
            if new.not_null and not new.default:
                old = self._scene.before.columns.get((table, column))
                if old is None or not old.not_null:
                    yield self._plain("breaks-old-inserts", new.start, f"{table}.{column}")

    # what is told

    def _finding(self, hit: Hit) -> Finding:
        start = self._statement.start
        rule = RULES[hit.rule]
        waiting = self._sizes.get(hit.table) if rule.locks else None
        small = waiting is not None and waiting <= SMALL_TABLE
        rows = waiting if small else self._sizes.get(hit.of_rows)
        return Finding(
            rule=rule.name,
            line=locate(self._migration.text, start + max(hit.start, 0)).line,
            statement=_excerpt(self._statement.text),
            what=hit.subject if rows is None else f"{hit.subject} (about {counted(rows, 'row')})",
            why=hit.why or rule.why,
            instead=hit.instead or rule.instead,
            level="note" if rule.note or small else "error",
            allowed=self._allows.reason(rule.name, start),
        )

    def _plain(self, name: str, start: int, what: str = "") -> Finding:
        rule = RULES[name]
        line = locate(self._migration.text, start)
        return Finding(
            rule=name,
            line=line.line,
            statement=line.text.strip()[:_WIDTH],
            what=what or rule.what,
            why=rule.why,
            instead=rule.instead,
            level="note" if rule.note else "error",
            allowed=self._allows.reason(name, self._beginning(start)),
        )

    def _beginning(self, start: int) -> int:
        """Return where the statement begins that a place of the file lies in."""
        return max((each.start for each in _statements(self._migration) if each.start <= start), default=-1)


_PLACES = {name: place for place, name in enumerate(RULES)}
_WIDTH = 100


def _indexed_by(facts: StatementFacts) -> Iterator[tuple[str, tuple[str, ...]]]:
    if facts.verb == "CREATE INDEX" and "WHERE" not in facts.words:
        yield facts.table, facts.columns
    made = [*facts.constraints, *(each for column in facts.defined for each in column.constraints)]
    for action in facts.actions:
        made += [action.constraint] if action.constraint else []
        made += action.column.constraints if action.column else ()
    for constraint in made:
        if constraint.kind in ("UNIQUE", "PRIMARY KEY"):
            yield facts.table, constraint.columns


def _excerpt(sql: str) -> str:
    """Return the beginning of a statement on one line; a secret in it is not shown."""
    secret = "password" in sql.lower()
    found = (
        "'...'" if secret and token.kind in (TokenKind.STRING, TokenKind.DOLLAR_STRING) else token.text
        for token in tokens(sql)
        if token.kind is not TokenKind.COMMENT
    )
    line = " ".join("".join(found).split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..."
