"""A statement says in a comment which call sent it: the server's lists show it, and logs and metrics take it.

The comment stands behind the first word. What stands before that, PostgreSQL 18 takes for no part of the
statement, so that pg_stat_statements would not keep it. A comment changes neither the plan nor the identity
(`queryid`) of a statement.
"""

import re
from functools import lru_cache

__all__ = ["name_in", "named", "unnamed"]

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}")
_NAMED = re.compile(rf"/\*\s*({_NAME.pattern})\s*\*/")
_FIRST_WORD = re.compile(r"\s*[A-Za-z]+")


def named(sql: str, name: str) -> str:
    """Write a name such as ``projects.get_by_id`` into a statement, unless it is there already.

    Another kind of name (``0001_initial.sql:7``) is not written.
    """
    return _written(sql, name) if _NAME.fullmatch(name) else sql


@lru_cache(maxsize=1024)
def _written(sql: str, name: str) -> str:
    comment = f"/* {name} */"
    first = _FIRST_WORD.match(sql)
    if first is None or comment in sql:
        return sql
    return f"{sql[: first.end()]} {comment}{sql[first.end() :]}"


def name_in(sql: str) -> str | None:
    """Return the name in the first comment that holds a name and nothing else."""
    found = _NAMED.search(sql)
    return found[1] if found else None


def unnamed(sql: str) -> str:
    """Return a statement without the comment that names it."""
    return _NAMED.sub("", sql, count=1)
