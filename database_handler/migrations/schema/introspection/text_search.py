"""Text search dictionaries and configurations."""

from itertools import groupby

from database_handler.migrations.schema.introspection.catalogue import (
    Catalogue,
    Class,
    not_of_extension,
    owner,
)
from database_handler.migrations.schema.snapshot import (
    Kind,
    ObjectId,
    TextSearchConfiguration,
    TextSearchDictionary,
)

__all__ = ["read_text_search"]

_DICTIONARIES = f"""
    SELECT d.oid, d.dictnamespace, quote_ident(d.dictname), {owner("d.dictowner")},
           CASE WHEN pg_ts_template_is_visible(m.oid) THEN '' ELSE quote_ident(n.nspname) || '.' END
               || quote_ident(m.tmplname), d.dictinitoption
    FROM pg_ts_dict AS d JOIN pg_ts_template AS m ON m.oid = d.dicttemplate
    JOIN pg_namespace AS n ON n.oid = m.tmplnamespace
    WHERE d.dictnamespace = ANY(%(schemas)s::oid[]) AND {not_of_extension("pg_ts_dict", "d")}
"""
_CONFIGURATIONS = f"""
    SELECT c.oid, c.cfgnamespace, quote_ident(c.cfgname), {owner("c.cfgowner")},
           CASE WHEN n.nspname = 'pg_catalog' OR pg_ts_parser_is_visible(p.oid) THEN ''
                ELSE quote_ident(n.nspname) || '.' END || quote_ident(p.prsname)
    FROM pg_ts_config AS c JOIN pg_ts_parser AS p ON p.oid = c.cfgparser
    JOIN pg_namespace AS n ON n.oid = p.prsnamespace
    WHERE c.cfgnamespace = ANY(%(schemas)s::oid[]) AND {not_of_extension("pg_ts_config", "c")}
"""
_MAPPINGS = """
    SELECT m.mapcfg, quote_ident(t.alias), array_agg(m.mapdict::regdictionary::text ORDER BY m.mapseqno)
    FROM pg_ts_config AS c JOIN pg_ts_config_map AS m ON m.mapcfg = c.oid
    JOIN (SELECT parser.oid AS parser, kind.* FROM pg_ts_parser AS parser, ts_token_type(parser.oid) AS kind)
         AS t ON t.parser = c.cfgparser AND t.tokid = m.maptokentype
    WHERE c.cfgnamespace = ANY(%(schemas)s::oid[])
    GROUP BY m.mapcfg, t.alias ORDER BY m.mapcfg, t.alias COLLATE "C"
"""


def read_text_search(catalogue: Catalogue) -> None:
    """Draft every dictionary and configuration."""
    if not catalogue.holds(Class.DICTIONARY, Class.CONFIGURATION):
        return
    for oid, schema, name, owned_by, template, options in catalogue.rows(_DICTIONARIES, "dictionaries"):
        catalogue.draft(
            TextSearchDictionary,
            ObjectId(Kind.DICTIONARY, catalogue.name(schema, name)),
            (Class.DICTIONARY, oid, 0),
            owner=owned_by,
            template=template,
            options=options,
        )
    configurations = catalogue.rows(_CONFIGURATIONS, "configurations")
    if configurations:
        _configurations(catalogue, configurations)


def _configurations(catalogue: Catalogue, rows: list[tuple[int, int, str, str, str]]) -> None:
    found = catalogue.rows(_MAPPINGS, "mappings")
    mappings = {
        oid: tuple((token, tuple(dictionaries)) for _, token, dictionaries in group)
        for oid, group in groupby(found, key=lambda row: row[0])
    }
    for oid, schema, name, owned_by, parser in rows:
        catalogue.draft(
            TextSearchConfiguration,
            ObjectId(Kind.CONFIGURATION, catalogue.name(schema, name)),
            (Class.CONFIGURATION, oid, 0),
            owner=owned_by,
            parser=parser,
            mappings=mappings.get(oid, ()),
        )
