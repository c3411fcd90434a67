"""Small pairs of schemas that a version of introspection or comparison once got wrong."""

ONCE_BROKEN: list[tuple[str, str]] = [
    ("CREATE TABLE t (a integer)", "CREATE TABLE t (a bigint)"),
]
