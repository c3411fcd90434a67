"""Text search dictionaries and configurations."""

from collections.abc import Iterator

from database_handler.core.sql_text import significant_tokens
from database_handler.migrations.schema.schema_diff.fates import Change
from database_handler.migrations.schema.schema_diff.step import Step
from database_handler.migrations.schema.snapshot import TextSearchConfiguration, TextSearchDictionary

__all__ = ["alter_configuration", "alter_dictionary", "create_configuration", "create_dictionary"]


def create_dictionary(each: TextSearchDictionary, change: Change) -> Iterator[Step]:
    """Give the statement that makes a dictionary."""
    options = f", {each.options}" if each.options else ""
    sql = f"CREATE TEXT SEARCH DICTIONARY {each.id.name} (TEMPLATE = {each.template}{options})"
    yield Step.create(sql, each.id, change.new.needs(each.id))


def alter_dictionary(
    before: TextSearchDictionary, after: TextSearchDictionary, _change: Change
) -> Iterator[Step]:
    """Give the statement that changes a dictionary's options."""
    if before.options != after.options:
        gone = sorted(_names(before.options) - _names(after.options))
        listed = ", ".join([*([after.options] if after.options else []), *gone])
        yield Step.alter(f"ALTER TEXT SEARCH DICTIONARY {after.id.name} ({listed})", after.id)


def _names(options: str | None) -> set[str]:
    found, previous = set[str](), ""
    for token in significant_tokens(options or ""):
        if token.text == "=":
            found.add(previous)
        previous = token.text
    return found


def create_configuration(each: TextSearchConfiguration, change: Change) -> Iterator[Step]:
    """Give the statements that make a configuration."""
    sql = f"CREATE TEXT SEARCH CONFIGURATION {each.id.name} (PARSER = {each.parser})"
    yield Step.create(sql, each.id, change.new.needs(each.id))
    yield from _mappings((), each, change)


def alter_configuration(
    before: TextSearchConfiguration, after: TextSearchConfiguration, change: Change
) -> Iterator[Step]:
    """Give what changes a configuration in place."""
    yield from _mappings(before.mappings, after, change)


def _mappings(
    before: tuple[tuple[str, tuple[str, ...]], ...], after: TextSearchConfiguration, change: Change
) -> Iterator[Step]:
    had, has = dict(before), dict(after.mappings)
    front, id = f"ALTER TEXT SEARCH CONFIGURATION {after.id.name}", after.id
    releases = change.old.needs(id) if id in change.old else frozenset()
    needs = change.new.needs(id)
    if gone := [token for token in had if token not in has]:
        yield Step.alter(f"{front} DROP MAPPING FOR {', '.join(gone)}", id, releases=releases)
    for verb, wanted in (
        ("ALTER", {token: found for token, found in has.items() if token in had and had[token] != found}),
        ("ADD", {token: found for token, found in has.items() if token not in had}),
    ):
        for dictionaries, tokens in _together(wanted).items():
            sql = f"{front} {verb} MAPPING FOR {', '.join(tokens)} WITH {', '.join(dictionaries)}"
            yield Step.alter(sql, id, needs=needs, releases=releases)


def _together(mappings: dict[str, tuple[str, ...]]) -> dict[tuple[str, ...], list[str]]:
    """Return the token types that go through the same dictionaries."""
    found: dict[tuple[str, ...], list[str]] = {}
    for token, dictionaries in mappings.items():
        found.setdefault(dictionaries, []).append(token)
    return found
