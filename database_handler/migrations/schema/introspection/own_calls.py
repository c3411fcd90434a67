"""Takes the schema off calls that the server qualifies because another function might be meant.

``f(1)`` is told as ``here.f(1)`` where `f` has overloads with defaults that would take it too: the schema
makes it no clearer, and a text with the name of the schema would mean that one wherever it is run. An
aggregate names its functions so as soon as they have any overload.
"""

from collections.abc import Collection, Iterator

from database_handler.core.sql_text import significant_tokens
from database_handler.migrations.schema.introspection.catalogue import Catalogue, Draft

__all__ = ["shorten_own_calls"]

# A name that the search path finds elsewhere too needs its schema: without it, it would mean the other.
_ONLY_HERE = """
    SELECT DISTINCT quote_ident(p.proname) FROM pg_proc AS p
    WHERE p.pronamespace = ANY(%(schemas)s::oid[]) AND NOT EXISTS (
        SELECT FROM pg_proc AS other JOIN pg_namespace AS n ON n.oid = other.pronamespace
        WHERE other.proname = p.proname AND n.oid <> p.pronamespace
          AND n.nspname = ANY(current_schemas(true)))
"""
_TEXTS = ("definition", "arguments", "default", "expression", "using", "check", "partition_key")


def shorten_own_calls(catalogue: Catalogue) -> None:
    """Take the schema that is read off the calls in every drafted text, where no other can be meant."""
    if catalogue.qualified:
        return
    for schema in catalogue.schemas.values():
        told = [(draft, name) for draft in catalogue.drafts for name in _naming(draft, f"{schema}.")]
        names = {name for (name,) in catalogue.rows(_ONLY_HERE, "own_names")} if told else set()
        for draft, name in told:
            bare = draft.fields.get("type") == "AGGREGATE"
            draft.fields[name] = _shortened(draft.fields[name], schema, names, bare=bare)


def _naming(draft: Draft, start: str) -> Iterator[str]:
    for name in _TEXTS:
        text = draft.fields.get(name)
        if isinstance(text, str) and start in text:
            yield name


def _shortened(text: str, schema: str, names: Collection[str], *, bare: bool) -> str:
    found = list(significant_tokens(text))
    for place in range(len(found) - 4, -1, -1):
        first, dot, name, bracket = found[place : place + 4]
        if (first.text, dot.text) == (schema, ".") and name.text in names and (bare or bracket.text == "("):
            text = text[: first.start] + text[name.start :]
    return text
