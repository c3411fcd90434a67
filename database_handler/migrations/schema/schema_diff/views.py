"""Views and materialised views: made, and replaced in place where that is allowed."""

from collections.abc import Iterator

from database_handler.migrations.schema.schema_diff.columns import options_changed, options_listed
from database_handler.migrations.schema.schema_diff.fates import Change
from database_handler.migrations.schema.schema_diff.statement import Action
from database_handler.migrations.schema.schema_diff.step import Step
from database_handler.migrations.schema.snapshot import MaterializedView, View

__all__ = ["alter_materialized", "alter_view", "create_materialized", "create_view", "view_text"]


def create_view(each: View, change: Change) -> Iterator[Step]:
    """Give the statements that make a view."""
    yield Step.create(view_text(each, "CREATE"), each.id, change.new.needs(each.id))
    yield from _defaults((), each)


def view_text(each: View, verb: str) -> str:
    """Return the statement that makes (or replaces) a view."""
    options = f" WITH ({options_listed(each.options)})" if each.options else ""
    return f"{verb} VIEW {each.id.name}{options} AS\n{each.definition}"


def _defaults(before: tuple[tuple[str, str], ...], after: View) -> Iterator[Step]:
    had, has = dict(before), dict(after.defaults)
    for column in sorted(had.keys() | has.keys()):
        if had.get(column) != has.get(column):
            change = f"SET DEFAULT {has[column]}" if column in has else "DROP DEFAULT"
            yield Step.alter(f"ALTER VIEW {after.id.name} ALTER COLUMN {column} {change}", after.id)


def alter_view(before: View, after: View, change: Change) -> Iterator[Step]:
    """Give what changes a view in place."""
    id = after.id
    if before.definition != after.definition:
        needs, releases = change.new.needs(id), change.old.needs(id)
        yield Step.alter(view_text(after, "CREATE OR REPLACE"), id, Action.REPLACE, needs, releases)
    else:
        for changed in options_changed(before.options, after.options):
            yield Step.alter(f"ALTER VIEW {id.name} {changed}", id)
    yield from _defaults(before.defaults, after)


def create_materialized(each: MaterializedView, change: Change) -> Iterator[Step]:
    """Give the statements that make a materialised view; after outlines of functions it is filled again."""
    method = f" USING {each.access_method}" if each.access_method else ""
    options = f" WITH ({options_listed(each.options)})" if each.options else ""
    filled = "" if each.populated else "\nWITH NO DATA"
    sql = f"CREATE MATERIALIZED VIEW {each.id.name}{method}{options} AS\n{each.definition}{filled}"
    yield Step.create(sql, each.id, change.new.needs(each.id))
    if each.populated and each.id in change.new.quiet:
        yield Step.alter(f"REFRESH MATERIALIZED VIEW {each.id.name}", each.id, needs=change.new.outlined)


def alter_materialized(before: MaterializedView, after: MaterializedView, _change: Change) -> Iterator[Step]:
    """Give what changes a materialised view in place."""
    front, id = f"ALTER MATERIALIZED VIEW {after.id.name}", after.id
    if before.access_method != after.access_method:
        yield Step.alter(f"{front} SET ACCESS METHOD {after.access_method or 'heap'}", id)
    for changed in options_changed(before.options, after.options):
        yield Step.alter(f"{front} {changed}", id)
    if before.populated != after.populated:
        words = "" if after.populated else " WITH NO DATA"
        yield Step.alter(f"REFRESH MATERIALIZED VIEW {id.name}{words}", id)
