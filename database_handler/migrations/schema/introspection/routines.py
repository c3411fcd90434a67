"""Functions, procedures, window functions and aggregates."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from database_handler.core.sql_text import TokenKind, tokens
from database_handler.migrations.schema.introspection.catalogue import (
    Catalogue,
    Class,
    acl,
    grants_of,
    not_of_extension,
    owner,
)
from database_handler.migrations.schema.snapshot import SCHEMA_MARK, Function, Kind, ObjectId

__all__ = ["read_functions"]

_FUNCTIONS = f"""
    SELECT p.oid, p.pronamespace, quote_ident(p.proname), p.prokind, oidvectortypes(p.proargtypes),
           CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END, pg_get_function_arguments(p.oid),
           pg_get_function_result(p.oid), {owner("p.proowner")}, {acl("p.proacl", "f", "p.proowner")},
           p.proconfig IS NOT NULL, pg_get_function_identity_arguments(p.oid),
           pg_function_is_visible(p.oid)
    FROM pg_proc AS p
    WHERE p.pronamespace = ANY(%(schemas)s::oid[]) AND {not_of_extension("pg_proc", "p")}
      AND NOT EXISTS (SELECT FROM pg_depend AS part WHERE part.classid = 'pg_proc'::regclass
                      AND part.objid = p.oid AND part.deptype = 'i')
"""
_AGGREGATES = """
    SELECT a.aggfnoid::oid, a.aggkind, p.proparallel,
           a.aggtransfn::text, a.aggtranstype::regtype::text, a.aggtransspace,
           nullif(a.aggfinalfn::oid, 0)::regproc::text, a.aggfinalextra, a.aggfinalmodify,
           nullif(a.aggcombinefn::oid, 0)::regproc::text, nullif(a.aggserialfn::oid, 0)::regproc::text,
           nullif(a.aggdeserialfn::oid, 0)::regproc::text, quote_literal(a.agginitval),
           nullif(a.aggmtransfn::oid, 0)::regproc::text, nullif(a.aggminvtransfn::oid, 0)::regproc::text,
           nullif(a.aggmtranstype, 0)::regtype::text, a.aggmtransspace,
           nullif(a.aggmfinalfn::oid, 0)::regproc::text, a.aggmfinalextra, a.aggmfinalmodify,
           quote_literal(a.aggminitval),
           (SELECT format('OPERATOR(%%I.%%s)', n.nspname, o.oprname) FROM pg_operator AS o
            JOIN pg_namespace AS n ON n.oid = o.oprnamespace WHERE o.oid = a.aggsortop)
    FROM pg_aggregate AS a JOIN pg_proc AS p ON p.oid = a.aggfnoid
    WHERE p.pronamespace = ANY(%(schemas)s::oid[])
"""
_NAMES = (
    *("SFUNC", "STYPE", "SSPACE", "FINALFUNC", "FINALFUNC_EXTRA", "FINALFUNC_MODIFY", "COMBINEFUNC"),
    *("SERIALFUNC", "DESERIALFUNC", "INITCOND", "MSFUNC", "MINVFUNC", "MSTYPE", "MSSPACE", "MFINALFUNC"),
    *("MFINALFUNC_EXTRA", "MFINALFUNC_MODIFY", "MINITCOND", "SORTOP"),
)
_MODIFY = {"r": "READ_ONLY", "s": "SHAREABLE", "w": "READ_WRITE"}
_PARALLEL = {"s": "SAFE", "r": "RESTRICTED"}
_CONFIGURED = "\n SET search_path TO "


class _Routine(NamedTuple):
    """A row of pg_proc."""

    oid: int
    schema: int
    name: str
    kind: str
    types: str
    definition: str | None
    arguments: str
    result: str | None
    owner: str
    acl: list[list[Any]] | None
    configured: bool
    identity: str
    visible: bool


def read_functions(catalogue: Catalogue) -> None:
    """Draft every routine."""
    if not catalogue.holds(Class.FUNCTION):
        return
    rows = [_Routine._make(row) for row in catalogue.rows(_FUNCTIONS, "functions")]
    aggregates = {}
    if any(row.kind == "a" for row in rows):
        aggregates = {row[0]: row for row in catalogue.rows(_AGGREGATES, "aggregates")}
    for row in rows:
        catalogue.see(row.visible, f"{row.name}({row.types})")
        if row.kind == "a":
            _aggregate(catalogue, row, aggregates[row.oid])
        else:
            kind = "PROCEDURE" if row.kind == "p" else "FUNCTION"
            _draft(catalogue, row, kind, row.types, _definition(catalogue, row, kind))


def _draft(catalogue: Catalogue, row: _Routine, kind: str, signature: str, definition: str) -> None:
    catalogue.draft(
        Function,
        ObjectId(Kind.FUNCTION, f"{catalogue.name(row.schema, row.name)}({signature})"),
        (Class.FUNCTION, row.oid, 0),
        owner=row.owner,
        grants=grants_of(row.acl, "f"),
        type=kind,
        definition=definition,
        arguments=row.arguments,
        result=row.result,
    )


def _definition(catalogue: Catalogue, row: _Routine, kind: str) -> str:
    start = f"CREATE OR REPLACE {kind} {catalogue.place(row.schema, row.name)}"
    text = catalogue.after(start, row.definition).rstrip("\n")
    marks = row.configured and not catalogue.qualified
    return _marked(text, catalogue.schemas[row.schema]) if marks else text


def _marked(definition: str, schema: str) -> str:
    """Put the mark where the function's search path names the schema, which its own text never does."""
    start = definition.find(_CONFIGURED)
    if start < 0:
        return definition
    start += len(_CONFIGURED)
    end = definition.index("\n", start)
    path = "".join(
        SCHEMA_MARK if token.kind is TokenKind.STRING and _same(token.text, schema) else token.text
        for token in tokens(definition[start:end])
    )
    return definition[:start] + path + definition[end:]


def _same(literal: str, schema: str) -> bool:
    name = schema[1:-1].replace('""', '"') if schema.startswith('"') else schema
    return literal.removeprefix("E")[1:-1].replace("''", "'").replace("\\\\", "\\") == name


def _aggregate(catalogue: Catalogue, row: _Routine, found: tuple[Any, ...]) -> None:
    signature = row.identity if found[1] != "n" else row.types or "*"
    options = ", ".join(f"{name} = {value}" for name, value in _options(found))
    _draft(catalogue, row, "AGGREGATE", signature, f"({row.arguments or '*'}) ({options})")


def _options(found: tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    """Give what stands between the second brackets of CREATE AGGREGATE."""
    known: dict[str, Any] = dict(zip(_NAMES, found[3:], strict=True))
    usual = "r" if found[1] == "n" else "w"
    for name, value in known.items():
        if name.endswith("_MODIFY"):
            if value != usual and (name == "FINALFUNC_MODIFY" or known["MSFUNC"]):
                yield name, _MODIFY[value]
        elif value:
            yield name, "true" if value is True else str(value)
    if found[2] in _PARALLEL:
        yield "PARALLEL", _PARALLEL[found[2]]
    if found[1] == "h":
        yield "HYPOTHETICAL", "true"
