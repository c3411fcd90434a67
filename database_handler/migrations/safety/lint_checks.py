"""Each rule as a look at one statement in its scene: what it finds, and where in the statement.

What was measured counts more than what the words say: a rewrite or a scan that a run did not show is not
told, and one that no rule expected is. It is one module because the rules share what they know of locks.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from database_handler.core.sql_text import TokenKind, significant_tokens
from database_handler.migrations.safety.lint_scene import Scene, not_null_column
from database_handler.migrations.safety.statement_facts import (
    AlterAction,
    ColumnFacts,
    ConstraintFacts,
    StatementFacts,
    bare,
)
from database_handler.migrations.schema.value_facts import is_volatile, keeps_storage, normal_type

__all__ = ["Hit", "hits", "locks_readers_of"]


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that a rule found.

    Attributes
    ----------
    start : int
        Where in the statement, in characters from 0.
    subject : str
        What it is about, in words: ``notes``, ``notes.body``.
    table : str
        The table that somebody would wait for; empty where nobody does.
    of_rows : str
        The table whose rows, or values, are lost.
    why : str
        Why it hurts, where that is not what the rule says.
    """

    rule: str
    subject: str
    start: int = 0
    table: str = ""
    instead: str = ""
    of_rows: str = ""
    why: str = ""


Check = Callable[[Scene, StatementFacts, str], Iterator[Hit]]
ActionCheck = Callable[[Scene, str, AlterAction], Iterator[Hit]]


def hits(scene: Scene, facts: StatementFacts, sql: str) -> list[Hit]:
    """Return what the rules find in one statement, as it would be run."""
    found = [hit for check in _CHECKS for hit in check(scene, facts, sql)]
    return [hit for hit in found if _was_measured(scene, hit)] + list(_unexpected(scene, found))


# ---------------------------------------------------------------------------------------------- measurements

_REWRITES = frozenset({"add-column-rewrite", "type-change-rewrite", "table-rewrite"})
_SCANS = frozenset({"set-not-null-scan"})
_HEAVY = ("SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE")


def _was_measured(scene: Scene, hit: Hit) -> bool:
    cost = scene.cost
    if cost is None or not cost.measured:
        return True
    if hit.rule in _REWRITES:
        return bool(cost.rewrites)
    return bool(cost.scans) if hit.rule in _SCANS else True


def _unexpected(scene: Scene, found: list[Hit]) -> Iterator[Hit]:
    """Give what a run has shown, and no rule has told."""
    cost = scene.cost
    if cost is None or any(hit.table for hit in found):
        return
    for table in cost.rewrites:
        yield Hit("table-rewrite", f"{table}, as measured", table=table)
    for table in cost.scans:
        if cost.held.get(table) in _HEAVY and table not in cost.rewrites:
            yield Hit("scan-under-lock", f"{table}, as measured", table=table)


# ---------------------------------------------------------------------------------------------------- locks

_LIGHT_ACTIONS = re.compile(
    r"VALIDATE CONSTRAINT|SET STATISTICS|CLUSTER ON|ATTACH PARTITION|ENABLE TRIGGER|DISABLE TRIGGER"
    r"|SET \(|RESET \("
)
_LIGHT_ON_OTHER = frozenset({"FOREIGN KEY"})
_LOCKING = frozenset(
    {"DROP TABLE", "TRUNCATE", "DROP INDEX", "CREATE POLICY", "ALTER POLICY", "DROP POLICY", "DROP TRIGGER"}
    | {"CREATE RULE", "DROP RULE", "CLUSTER", "LOCK", "ALTER MATERIALIZED VIEW", "DROP MATERIALIZED VIEW"}
)


def locks_readers_of(scene: Scene, facts: StatementFacts) -> tuple[str, ...]:
    """Return the tables from before the file that a statement locks ACCESS EXCLUSIVE."""
    tables: tuple[str, ...]
    if facts.verb == "ALTER TABLE":
        tables = (facts.table,) if any(map(_locks_readers, facts.actions)) else ()
    elif facts.verb == "DROP INDEX":
        tables = () if facts.concurrently else (scene.table_of(facts),)
    elif facts.verb in ("DROP TABLE", "TRUNCATE", "LOCK"):
        tables = facts.names
    else:
        tables = (facts.table,) if facts.verb in _LOCKING else ()
    return tuple(table for table in tables if scene.is_old(table))


def _locks_readers(action: AlterAction) -> bool:
    if action.kind == "ADD CONSTRAINT" and action.constraint:
        return action.constraint.kind not in _LIGHT_ON_OTHER
    return not _LIGHT_ACTIONS.match(action.kind)


def _several_tables(scene: Scene, facts: StatementFacts, _: str) -> Iterator[Hit]:
    if not scene.transactional or scene.batched:
        return
    held = set(scene.locked)
    for table in locks_readers_of(scene, facts):
        others = sorted(held - {table} - scene.dropped)  # nobody is there to wait for what is dropped
        if others and table not in held:
            yield Hit("several-tables-locked", f"{table}, with {', '.join(others)} locked", table=table)
        held.add(table)


_ROW_WRITES = ("UPDATE", "DELETE", "MERGE")


def _scan_under_lock(scene: Scene, facts: StatementFacts, _: str) -> Iterator[Hit]:
    if not scene.locked or not scene.transactional:
        return
    locked = ", ".join(sorted(scene.locked))
    writes = facts.verb in _ROW_WRITES or (facts.verb == "INSERT" and "SELECT" in facts.words)
    if writes and scene.is_old(facts.table):
        yield Hit("scan-under-lock", f"{facts.verb} with {locked} locked", table=min(scene.locked))
    for action in facts.actions:
        if action.kind == "VALIDATE CONSTRAINT" and scene.is_old(facts.table):
            yield Hit("scan-under-lock", f"VALIDATE with {locked} locked", action.start, facts.table)


# --------------------------------------------------------------------------------------------------- indexes


def _indexes(scene: Scene, facts: StatementFacts, _: str) -> Iterator[Hit]:
    kind = facts.verb.partition(" ")[0]
    if kind not in ("CREATE", "DROP", "REINDEX") or facts.concurrently:
        return
    if kind != "REINDEX" and not facts.verb.endswith(" INDEX"):
        return
    table = scene.table_of(facts)
    on_parent = kind == "CREATE" and (("ONLY" in facts.words) or table in scene.before.partitioned)
    if not scene.is_old(table) or (on_parent and "ONLY" in facts.words):
        return
    instead = _FOR_PARTITIONED if on_parent else ""
    yield Hit("index-not-concurrent", f"{kind} on {table}", table=table, instead=instead)


_FOR_PARTITIONED = (
    "CREATE INDEX ... ON ONLY the parent, then CREATE INDEX CONCURRENTLY on each partition, and ALTER INDEX "
    "... ATTACH PARTITION"
)


# ----------------------------------------------------------------------------------------------- constraints


_KEYS = ("UNIQUE", "PRIMARY KEY", "EXCLUDE")


def _add_constraint(scene: Scene, table: str, action: AlterAction) -> Iterator[Hit]:
    constraint = action.constraint
    if constraint is None or not scene.is_old(table):
        return
    subject = f"{table}.{constraint.name}" if constraint.name else table
    if constraint.kind in ("CHECK", "FOREIGN KEY", "NOT NULL") and not constraint.not_valid:
        rule = "set-not-null-scan" if constraint.kind == "NOT NULL" else "constraint-validated-at-once"
        yield Hit(rule, subject, action.start, table)
    # With ONLY it is a partitioned table's, which has no rows; its parts are attached to it.
    if constraint.kind in _KEYS and not constraint.using_index and not scene.only:
        no_way = "there is no other way to make one" if constraint.kind == "EXCLUDE" else ""
        yield Hit("unique-builds-index", subject, action.start, table, no_way)


def _set_not_null(scene: Scene, table: str, action: AlterAction) -> Iterator[Hit]:
    if action.kind != "SET NOT NULL" or not scene.is_old(table):
        return
    if not scene.is_proven(table, action.name):
        yield Hit("set-not-null-scan", f"{table}.{action.name}", action.start, table)


# --------------------------------------------------------------------------------------------------- columns


def _add_column(scene: Scene, table: str, action: AlterAction) -> Iterator[Hit]:
    column = action.column
    if column is None or not scene.is_old(table):
        return
    subject = f"{table}.{column.name}"
    if _rewrites(scene, column):
        yield Hit("add-column-rewrite", subject, action.start, table)
    elif column.not_null and column.default is None and not column.generated:
        yield Hit("add-column-not-null", subject, action.start)
    for constraint in column.constraints:
        if constraint.kind == "CHECK" and not_null_column(constraint.text) != column.name:
            yield Hit("constraint-validated-at-once", subject, action.start, table)
        elif constraint.kind in ("UNIQUE", "PRIMARY KEY"):
            yield Hit("unique-builds-index", subject, action.start, table)
        elif constraint.kind == "FOREIGN KEY" and column.default:
            yield Hit("constraint-validated-at-once", subject, action.start, table)


def _rewrites(scene: Scene, column: ColumnFacts) -> bool:
    if column.identity or column.generated == "stored" or _is_serial(column.type):
        return True
    if _type_name(column.type) in scene.before.ruled_domains:
        return True
    return column.default is not None and is_volatile(column.default, scene.before.steady)


def _type_name(type_name: str) -> str:
    """Return what a type is called, without the brackets of an array."""
    return bare(re.sub(r"[\s\[\]]+$", "", type_name))


def _is_serial(type_name: str) -> bool:
    return re.fullmatch(r"(big|small)?serial\d?", type_name.lower()) is not None


def _change_type(scene: Scene, table: str, action: AlterAction) -> Iterator[Hit]:
    if action.kind != "TYPE" or not scene.is_old(table):
        return
    old = scene.before.types.get((table, action.name))
    sorted_anew = action.collated and any(action.name in each for each in scene.before.indexed[table])
    made_anew = _type_name(action.type) in scene.created
    if old is None or sorted_anew or made_anew or not keeps_storage(old, action.type):
        yield Hit("type-change-rewrite", f"{table}.{action.name}", action.start, table)


def _rewrite_action(scene: Scene, table: str, action: AlterAction) -> Iterator[Hit]:
    if action.kind in ("REWRITE", "SET EXPRESSION") and scene.is_old(table):
        yield Hit("table-rewrite", table, action.start, table)


def _rewrite_statement(scene: Scene, facts: StatementFacts, _: str) -> Iterator[Hit]:
    full = facts.verb == "VACUUM" and "FULL" in facts.words
    refresh = facts.verb == "REFRESH" and not facts.concurrently
    if full or refresh or facts.verb == "CLUSTER":
        table = facts.table or "a materialised view"
        if scene.is_old(table):
            yield Hit("table-rewrite", table, table=table)


# ------------------------------------------------------------------------------------------- drops and names


def _drop_column(scene: Scene, table: str, action: AlterAction) -> Iterator[Hit]:
    if action.cascade:
        yield Hit("drop-cascade", f"{table}.{action.name}", action.start)
    old = (table, action.name) not in scene.columns or (table, action.name) in scene.before.columns
    if action.kind == "DROP COLUMN" and scene.is_old(table) and old and not _is_derived(scene, table, action):
        yield Hit("drop-data", f"{table}.{action.name}", action.start, of_rows=table, why=_VALUES_GONE)


_VALUES_GONE = "its values are gone, and the release that runs meanwhile still uses it"


def _is_derived(scene: Scene, table: str, action: AlterAction) -> bool:
    column = scene.before.columns.get((table, action.name))
    return column is not None and column.generated is not None


_IN_USE = re.compile(
    r"DROP (VIEW|MATERIALIZED VIEW|FUNCTION|PROCEDURE|ROUTINE|AGGREGATE|TYPE|DOMAIN|SEQUENCE|SCHEMA"
    r"|EXTENSION)"
)


def _drops(scene: Scene, facts: StatementFacts, sql: str) -> Iterator[Hit]:
    if "CASCADE" in facts.words and facts.verb.startswith(("DROP ", "TRUNCATE")):
        yield Hit("drop-cascade", ", ".join(facts.names), sql.upper().rfind("CASCADE"))
    rule = "drop-data" if facts.verb in ("DROP TABLE", "TRUNCATE") else "drop-in-use"
    if rule == "drop-data" or _IN_USE.fullmatch(facts.verb):
        for name in facts.names:
            if name not in scene.created and name not in scene.made_here:
                yield Hit(rule, name, of_rows=name if rule == "drop-data" else "")


def _renames(scene: Scene, table: str, action: AlterAction) -> Iterator[Hit]:
    if action.kind in ("RENAME", "RENAME COLUMN") and scene.is_old(table):
        subject = f"{table}.{action.name}" if action.name else table
        added = scene.columns.get((table, action.name))
        if added is None or (table, action.name) in scene.before.columns:
            yield Hit("rename-in-use", subject, action.start)
    if action.kind == "SET SCHEMA" and scene.is_old(table):
        yield Hit("rename-in-use", table, action.start)


_RENAMED_KINDS = re.compile(r"ALTER (VIEW|MATERIALIZED VIEW|TYPE|FUNCTION|PROCEDURE|DOMAIN)")


def _other_renames(scene: Scene, facts: StatementFacts, _: str) -> Iterator[Hit]:
    renamed = {"RENAME", "TO"} <= facts.words and _RENAMED_KINDS.fullmatch(facts.verb)
    if renamed and not facts.words & {"VALUE", "ATTRIBUTE"}:
        for name in facts.names:
            if name not in scene.created and name not in scene.made_here:
                yield Hit("rename-in-use", name)


# ------------------------------------------------------------------------------------------------- the rest


def _whole_table(scene: Scene, facts: StatementFacts, _: str) -> Iterator[Hit]:
    whole = facts.verb in ("UPDATE", "DELETE") and "WHERE" not in facts.words
    if whole and scene.is_old(facts.table) and not scene.batched:
        yield Hit("whole-table-write", f"{facts.verb} of {facts.table}", table=facts.table)


def _enum_values(scene: Scene, facts: StatementFacts, sql: str) -> Iterator[Hit]:
    if not scene.labels or not scene.transactional or facts.verb == "ALTER TYPE":
        return
    for token in significant_tokens(sql):
        if token.kind is TokenKind.STRING and token.text in scene.labels:
            yield Hit("enum-value-used", f"{token.text} of {scene.labels[token.text]}", token.start)


def _foreign_keys(scene: Scene, facts: StatementFacts, _: str) -> Iterator[Hit]:
    for start, constraint in _constraints(facts):
        if constraint.kind == "FOREIGN KEY" and not scene.is_indexed(facts.table, constraint.columns):
            yield Hit("foreign-key-unindexed", f"{facts.table} ({', '.join(constraint.columns)})", start)


def _constraints(facts: StatementFacts) -> Iterator[tuple[int, ConstraintFacts]]:
    yield from ((0, constraint) for constraint in facts.constraints)
    yield from ((0, each) for column in facts.defined for each in column.constraints)
    for action in facts.actions:
        if action.constraint:
            yield action.start, action.constraint
        if action.column:
            yield from ((action.start, each) for each in action.column.constraints)


_LONGEST = 63
_NAMED = (TokenKind.WORD, TokenKind.QUOTED_IDENTIFIER)


def _long_names(_: Scene, facts: StatementFacts, sql: str) -> Iterator[Hit]:
    if facts.verb.partition(" ")[0] not in ("CREATE", "ALTER"):
        return
    for token in significant_tokens(sql):
        quoted = token.kind is TokenKind.QUOTED_IDENTIFIER
        name = token.text[1:-1].replace('""', '"') if quoted else token.text
        if token.kind in _NAMED and len(name.encode()) > _LONGEST:
            yield Hit("name-too-long", f"{name[:40]}... has {len(name.encode())} bytes", token.start)


_TYPES = (
    ("json-type", re.compile(r"json(\[\])*")),
    ("char-type", re.compile(r"character\(\d+\)(\[\])*")),
    ("timestamp-type", re.compile(r"timestamp(\(\d\))? without time zone(\[\])*")),
    ("serial-type", re.compile(r"(big|small)?serial\d?")),
)


def _types(_: Scene, facts: StatementFacts, __: str) -> Iterator[Hit]:
    defined = [(0, column.name, column.type) for column in facts.defined]
    defined += [
        (action.start, action.name, action.column.type if action.column else action.type)
        for action in facts.actions
        if action.column or action.type
    ]
    for start, name, type_name in defined:
        for rule, pattern in _TYPES:
            if pattern.fullmatch(normal_type(type_name)):
                yield Hit(rule, f"{facts.table}.{name}", start)


def _opaque(_: Scene, facts: StatementFacts, __: str) -> Iterator[Hit]:
    if facts.verb in ("DO", "CALL"):
        yield Hit("opaque", facts.verb)


def _by_action(*checks: ActionCheck) -> Check:
    def check(scene: Scene, facts: StatementFacts, _: str) -> Iterator[Hit]:
        if facts.verb == "ALTER TABLE":
            for action in facts.actions:
                for each in checks:
                    yield from each(scene, facts.table, action)

    return check


_CHECKS: tuple[Check, ...] = (
    _indexes,
    _by_action(_add_constraint, _set_not_null, _add_column, _change_type, _rewrite_action),
    _by_action(_drop_column, _renames),
    _rewrite_statement,
    _drops,
    _other_renames,
    _several_tables,
    _scan_under_lock,
    _whole_table,
    _enum_values,
    _foreign_keys,
    _long_names,
    _types,
    _opaque,
)
