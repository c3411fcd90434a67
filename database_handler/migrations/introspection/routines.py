"""Functions, procedures, window functions and aggregates."""

from collections.abc import Iterator
from typing import Any

from database_handler.core.sql_text import TokenKind, tokens
from database_handler.migrations.introspection.catalogue import (
    Catalogue,
    Class,
    Key,
    acl,
    grants_of,
    not_of_extension,
    owner,
)
from database_handler.migrations.snapshot import SCHEMA_MARK, Function, Kind, ObjectId

__all__ = ["read_functions"]

_FUNCTIONS = f"""
    SELECT p.oid, p.pronamespace, quote_ident(p.proname), p.prokind, oidvectortypes(p.proargtypes),
           CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END, pg_get_function_arguments(p.oid),
           pg_get_function_result(p.oid), {owner("p.proowner")}, {acl("p.proacl", "f", "p.proowner")},
           p.proconfig IS NOT NULL, pg_get_function_identity_arguments(p.oid)
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
           nullif(a.aggdeserialfn::oid, 0)::regproc::text, a.agginitval,
           nullif(a.aggmtransfn::oid, 0)::regproc::text, nullif(a.aggminvtransfn::oid, 0)::regproc::text,
           nullif(a.aggmtranstype, 0)::regtype::text, a.aggmtransspace,
           nullif(a.aggmfinalfn::oid, 0)::regproc::text, a.aggmfinalextra, a.aggmfinalmodify, a.aggminitval,
           nullif(a.aggsortop, 0)::regoper::text, quote_literal(a.agginitval), quote_literal(a.aggminitval)
    FROM pg_aggregate AS a JOIN pg_proc AS p ON p.oid = a.aggfnoid
    WHERE p.pronamespace = ANY(%(schemas)s::oid[])
"""
_MODIFY = {"r": "READ_ONLY", "s": "SHAREABLE", "w": "READ_WRITE"}
_PARALLEL = {"s": "SAFE", "r": "RESTRICTED"}
_CONFIGURED = "\n SET search_path TO "

Row = tuple[Any, ...]


def read_functions(catalogue: Catalogue) -> None:
    """Draft every routine."""
    rows = catalogue.rows(_FUNCTIONS, "functions")
    aggregates = {}
    if any(row[3] == "a" for row in rows):
        aggregates = {row[0]: row for row in catalogue.rows(_AGGREGATES, "aggregates")}
    for row in rows:
        if row[3] == "a":
            _aggregate(catalogue, row, aggregates[row[0]])
        elif row[5] is not None:
            kind = "PROCEDURE" if row[3] == "p" else "FUNCTION"
            _draft(catalogue, row, kind, row[4], _definition(catalogue, row, kind))


def _draft(catalogue: Catalogue, row: Row, kind: str, signature: str, definition: str) -> None:
    catalogue.draft(
        Function,
        ObjectId(Kind.FUNCTION, f"{catalogue.name(row[1], row[2])}({signature})"),
        Key(Class.FUNCTION, row[0]),
        owner=row[8],
        grants=grants_of(row[9], "f"),
        type=kind,
        definition=definition,
        arguments=row[6],
        result=row[7],
    )


def _definition(catalogue: Catalogue, row: Row, kind: str) -> str:
    start = f"CREATE OR REPLACE {kind} {catalogue.place(row[1], row[2])}"
    text = str(row[5]).removeprefix(start).rstrip("\n")
    return _marked(text, catalogue.schemas[row[1]]) if row[10] and not catalogue.qualified else text


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


def _aggregate(catalogue: Catalogue, row: Row, found: Row) -> None:
    ordered = found[1] != "n"
    signature = row[11] if ordered else row[4] or "*"
    options = ", ".join(f"{name} = {value}" for name, value in _options(found))
    _draft(catalogue, row, "AGGREGATE", signature, f"({row[6] or '*'}) ({options})")


def _options(found: Row) -> Iterator[tuple[str, str]]:
    """Give what stands between the second brackets of CREATE AGGREGATE, in the order of the manual."""
    normal = "SFUNC", "STYPE", "SSPACE", "FINALFUNC", "FINALFUNC_EXTRA", "FINALFUNC_MODIFY"
    named = zip((*normal, "COMBINEFUNC", "SERIALFUNC", "DESERIALFUNC"), found[3:12], strict=True)
    moving = (
        "MSFUNC MINVFUNC MSTYPE MSSPACE MFINALFUNC MFINALFUNC_EXTRA MFINALFUNC_MODIFY"
    ).split()
    kind = found[1]
    known: dict[str, Any] = dict(named)
    known["INITCOND"] = found[22]
    known |= dict(zip(moving, found[13:20], strict=True))
    known["MINITCOND"] = found[23]
    known["SORTOP"] = found[21] and f"OPERATOR({found[21]})" if found[21] and "." in found[21] else found[21]
    known["PARALLEL"] = _PARALLEL.get(found[2])
    usual = "r" if kind == "n" else "w"
    for name, value in known.items():
        if name.endswith("_MODIFY"):
            if value != usual and (name == "FINALFUNC_MODIFY" or known["MSFUNC"]):
                yield name, _MODIFY[value]
        elif name.endswith("_EXTRA"):
            if value:
                yield name, "true"
        elif value:
            yield name, str(value)
    if kind == "h":
        yield "HYPOTHETICAL", "true"
