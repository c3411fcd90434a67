"""What else stands in the schemas, or hangs on what does: told by kind and name, never passed over."""

from database_handler.migrations.introspection.catalogue import Catalogue, not_of_extension

__all__ = ["read_unmodelled"]

_HERE = "ANY(%(schemas)s::oid[])"


def _named(kind: str, catalogue: str, prefix: str, *, regtype: str | None = None) -> str:
    """Return the query for a catalogue whose objects have a name and a schema."""
    shown = f"c.oid::{regtype}::text" if regtype else f"quote_ident(c.{prefix}name)"
    return (
        f"SELECT '{kind}', {shown} FROM {catalogue} AS c "
        f"WHERE c.{prefix}namespace = {_HERE} AND {not_of_extension(catalogue, 'c')}"
    )


_KINDS = (
    f"""SELECT 'foreign table', c.oid::regclass::text FROM pg_class AS c
        WHERE c.relnamespace = {_HERE} AND c.relkind = 'f' AND {not_of_extension("pg_class", "c")}""",
    _named("collation", "pg_collation", "coll", regtype="regcollation"),
    _named("operator", "pg_operator", "opr", regtype="regoperator"),
    _named("operator class", "pg_opclass", "opc"),
    _named("operator family", "pg_opfamily", "opf"),
    _named("conversion", "pg_conversion", "con"),
    _named("text search parser", "pg_ts_parser", "prs"),
    _named("text search template", "pg_ts_template", "tmpl"),
    f"""SELECT 'cast', format('%%s AS %%s', c.castsource::regtype, c.casttarget::regtype)
        FROM pg_cast AS c JOIN pg_type AS s ON s.oid = c.castsource JOIN pg_type AS t ON t.oid = c.casttarget
        WHERE (s.typnamespace = {_HERE} OR t.typnamespace = {_HERE}) AND c.oid >= 16384
          AND NOT EXISTS (SELECT FROM pg_range AS r WHERE (r.rngtypid, r.rngmultitypid) = (s.oid, t.oid))
          AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_cast'::regclass
                          AND d.objid = c.oid AND d.deptype IN ('e', 'i'))""",
    f"""SELECT 'transform', format('%%s for %%s', c.trftype::regtype, l.lanname)
        FROM pg_transform AS c JOIN pg_type AS t ON t.oid = c.trftype JOIN pg_language AS l
             ON l.oid = c.trflang
        WHERE t.typnamespace = {_HERE} AND {not_of_extension("pg_transform", "c")}""",
    f"""SELECT 'event trigger', quote_ident(e.evtname) FROM pg_event_trigger AS e
        JOIN pg_proc AS p ON p.oid = e.evtfoid WHERE p.pronamespace = {_HERE}""",
    f"""SELECT 'publication of a table', format('%%I: %%s', p.pubname, c.oid::regclass)
        FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid
        JOIN pg_class AS c ON c.oid = r.prrelid WHERE c.relnamespace = {_HERE}""",
    f"""SELECT 'publication of the schema', quote_ident(p.pubname) FROM pg_publication_namespace AS n
        JOIN pg_publication AS p ON p.oid = n.pnpubid WHERE n.pnnspid = {_HERE}""",
    f"""SELECT 'security label', format('%%s of %%s', l.provider, c.oid::regclass) FROM pg_seclabel AS l
        JOIN pg_class AS c ON l.classoid = 'pg_class'::regclass AND c.oid = l.objoid
        WHERE c.relnamespace = {_HERE}""",
    f"""SELECT 'NOT NULL that is not valid, or not inherited', format('%%s.%%I', k.conrelid::regclass, k.conname)
        FROM pg_constraint AS k WHERE k.connamespace = {_HERE} AND k.contype = 'n' AND k.conrelid <> 0
          AND (NOT k.convalidated OR k.connoinherit)""",
)
_QUERY = " UNION ALL ".join(_KINDS)


def read_unmodelled(catalogue: Catalogue) -> None:
    """Note everything of the kinds that no snapshot models."""
    for kind, name in catalogue.rows(_QUERY, "unmodelled"):
        catalogue.also(kind, name)
