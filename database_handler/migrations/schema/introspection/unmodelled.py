"""What else stands in the schemas, or hangs on what does: told by kind and name, never passed over."""

from database_handler.migrations.schema.introspection.catalogue import Catalogue, Class, not_of_extension

__all__ = ["read_unmodelled"]

_HERE = "ANY(%(schemas)s::oid[])"


def _named(kind: str, catalogue: str, prefix: str, *, regtype: str | None = None) -> str:
    """Return the query for a catalogue whose objects have a name and a schema."""
    shown = f"c.oid::{regtype}::text" if regtype else f"quote_ident(c.{prefix}name)"
    return (
        f"SELECT '{kind}', {shown} FROM {catalogue} AS c "
        f"WHERE c.{prefix}namespace = {_HERE} AND {not_of_extension(catalogue, 'c')}"
    )


_KINDS = {
    Class.COLLATION: _named("collation", "pg_collation", "coll", regtype="regcollation"),
    Class.OPERATOR: _named("operator", "pg_operator", "opr", regtype="regoperator"),
    Class.OPERATOR_CLASS: _named("operator class", "pg_opclass", "opc"),
    Class.OPERATOR_FAMILY: _named("operator family", "pg_opfamily", "opf"),
    Class.CONVERSION: _named("conversion", "pg_conversion", "con"),
    Class.TEXT_SEARCH_PARSER: _named("text search parser", "pg_ts_parser", "prs"),
    Class.TEXT_SEARCH_TEMPLATE: _named("text search template", "pg_ts_template", "tmpl"),
    Class.CAST: f"""
        SELECT 'cast', format('%%s AS %%s', c.castsource::regtype, c.casttarget::regtype)
        FROM pg_cast AS c JOIN pg_type AS s ON s.oid = c.castsource JOIN pg_type AS t ON t.oid = c.casttarget
        WHERE (s.typnamespace = {_HERE} OR t.typnamespace = {_HERE}) AND c.oid >= 16384
          AND NOT EXISTS (SELECT FROM pg_range AS r WHERE (r.rngtypid, r.rngmultitypid) = (s.oid, t.oid))
          AND {not_of_extension("pg_cast", "c")}""",
    Class.TRANSFORM: f"""
        SELECT 'transform', format('%%s for %%s', c.trftype::regtype, l.lanname)
        FROM pg_transform AS c JOIN pg_type AS t ON t.oid = c.trftype
        JOIN pg_language AS l ON l.oid = c.trflang
        WHERE t.typnamespace = {_HERE} AND {not_of_extension("pg_transform", "c")}""",
    Class.EVENT_TRIGGER: f"""
        SELECT 'event trigger', quote_ident(e.evtname) FROM pg_event_trigger AS e
        JOIN pg_proc AS p ON p.oid = e.evtfoid WHERE p.pronamespace = {_HERE}""",
    Class.PUBLICATION: f"""
        SELECT 'publication of a table', format('%%I: %%s', p.pubname, c.oid::regclass)
        FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid
        JOIN pg_class AS c ON c.oid = r.prrelid WHERE c.relnamespace = {_HERE}
        UNION ALL SELECT 'publication of the schema', quote_ident(p.pubname)
        FROM pg_publication_namespace AS n JOIN pg_publication AS p ON p.oid = n.pnpubid
        WHERE n.pnnspid = {_HERE}""",
    Class.SECURITY_LABEL: f"""
        SELECT 'security label', format('%%s of %%s', l.provider, c.oid::regclass) FROM pg_seclabel AS l
        JOIN pg_class AS c ON l.classoid = 'pg_class'::regclass AND c.oid = l.objoid
        WHERE c.relnamespace = {_HERE}""",
}


def read_unmodelled(catalogue: Catalogue) -> None:
    """Note everything of the kinds that no snapshot models."""
    queries = [query for number, query in _KINDS.items() if catalogue.holds(number)]
    if queries:
        for kind, name in catalogue.rows(" UNION ALL ".join(queries), "unmodelled"):
            catalogue.also(kind, name)
