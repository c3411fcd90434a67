"""Functions, triggers and rules: made, and replaced in place where the server allows that."""

import re
from collections.abc import Iterator
from dataclasses import replace

from database_handler.migrations.schema.schema_diff.deparsed import as_meant
from database_handler.migrations.schema.schema_diff.fates import Change
from database_handler.migrations.schema.schema_diff.names import callee, dollar_quoted
from database_handler.migrations.schema.schema_diff.statement import Action
from database_handler.migrations.schema.schema_diff.step import Step
from database_handler.migrations.schema.snapshot import (
    SCHEMA_MARK,
    Function,
    ObjectId,
    Rule,
    Trigger,
)

__all__ = [
    "alter_function",
    "alter_rule",
    "alter_trigger",
    "body_of",
    "create_function",
    "create_rule",
    "create_trigger",
    "function_text",
    "is_parsed",
    "wished",
]


def create_function(each: Function, change: Change) -> Iterator[Step]:
    """Give the statement that makes a function."""
    step = Step.create(function_text(each, "CREATE"), each.id, change.new.needs(each.id))
    yield replace(step, wishes=wished(each, change))


def alter_function(before: Function, after: Function, change: Change) -> Iterator[Step]:
    """Give the statement that replaces a function in place."""
    if before.definition != after.definition:
        needs, releases = change.new.needs(after.id), change.old.needs(after.id)
        sql = function_text(after, "CREATE OR REPLACE")
        step = Step.alter(sql, after.id, Action.REPLACE, needs, releases)
        yield replace(step, wishes=wished(after, change))


_BODY = re.compile(r"\n(?=AS |BEGIN ATOMIC\n|RETURN )")


def body_of(each: Function) -> str:
    """Return the body of a function, from the word that it begins with."""
    return each.definition[match.end() :] if (match := _BODY.search(each.definition)) else ""


def is_parsed(each: Function) -> bool:
    """Whether the server keeps the body as it has understood it, and not as a text."""
    return body_of(each).startswith(("BEGIN ATOMIC", "RETURN "))


def function_text(each: Function, verb: str) -> str:
    """Return the statement that makes (or replaces) a function, in whatever schema it is run."""
    definition = as_meant(each.definition) if is_parsed(each) else each.definition
    sql = f"{verb} {each.type} {callee(each.id.name)[0]}{definition}"
    if SCHEMA_MARK not in sql:
        return sql
    text = sql.replace("%", "%%").replace(SCHEMA_MARK, "%1$I")
    body = f"\nBEGIN\n    EXECUTE format({dollar_quoted(text)}, current_schema());\nEND\n"
    return f"DO {dollar_quoted(body, 'do')}"


def wished(each: Function, change: Change) -> frozenset[ObjectId]:
    """Return what is made by this plan and named in a function's text, which the server may read."""
    names = change.made_by_name
    words = {word for word in change.words(each.definition) if word in names}
    outlined = change.new.outlined
    return frozenset(outlined.get(id, id) for word in words for id in names[word] if id != each.id)


def create_trigger(each: Trigger, change: Change) -> Iterator[Step]:
    """Give the statements that make a trigger; a partition's comes with its parent's."""
    yield Step.create(each.definition, each.id, change.new.needs(each.id))
    if each.enabled != "ENABLE":
        yield _enabled(each)


def _enabled(each: Trigger) -> Step:
    sql = f"ALTER TABLE {each.id.name} {each.enabled} TRIGGER {each.id.part}"
    step = Step.alter(sql, each.id)
    return replace(step, needs=frozenset({each.id}))


def alter_trigger(before: Trigger, after: Trigger, change: Change) -> Iterator[Step]:
    """Give what changes a trigger in place."""
    replaced = before.definition != after.definition
    if replaced and not after.inherited:
        sql = after.definition.replace("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER", 1)
        needs, releases = change.new.needs(after.id), change.old.needs(after.id)
        yield Step.alter(sql, after.id, Action.REPLACE, needs, releases)
    if before.enabled != after.enabled or (replaced and after.enabled != "ENABLE"):
        yield _enabled(after)


def create_rule(each: Rule, change: Change) -> Iterator[Step]:
    """Give the statements that make a rule."""
    yield Step.create(each.definition, each.id, change.new.needs(each.id))
    if each.enabled != "ENABLE":
        yield _rule_enabled(each)


def _rule_enabled(each: Rule) -> Step:
    sql = f"ALTER TABLE {each.id.name} {each.enabled} RULE {each.id.part}"
    return replace(Step.alter(sql, each.id), needs=frozenset({each.id}))


def alter_rule(before: Rule, after: Rule, change: Change) -> Iterator[Step]:
    """Give what changes a rule in place."""
    if before.definition != after.definition:
        sql = after.definition.replace("CREATE RULE", "CREATE OR REPLACE RULE", 1)
        needs, releases = change.new.needs(after.id), change.old.needs(after.id)
        yield Step.alter(sql, after.id, Action.REPLACE, needs, releases)
    if before.enabled != after.enabled:
        yield _rule_enabled(after)
