"""What stands around the objects of a schema: the schema itself, extensions, default privileges."""

from database_handler.migrations.schema.introspection.catalogue import Catalogue, Class, acl, grants_of, owner
from database_handler.migrations.schema.snapshot import DefaultPrivileges, Extension, Kind, ObjectId, Schema

__all__ = ["read_default_privileges", "read_extensions", "read_schemas"]

_SCHEMAS = f"""
    SELECT n.oid, {owner("n.nspowner")}, {acl("n.nspacl", "n", "n.nspowner")},
           obj_description(n.oid, 'pg_namespace')
    FROM pg_namespace AS n WHERE n.oid = ANY(%(schemas)s::oid[])
"""
# The procedural language that every database has is left out, as pg_dump does.
_EXTENSIONS = f"""
    SELECT e.oid, quote_ident(e.extname), quote_ident(n.nspname), e.extversion, {owner("e.extowner")}
    FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.oid >= 16384
"""
_DEFAULT_PRIVILEGES = """
    SELECT d.oid, d.defaclnamespace, quote_ident(pg_get_userbyid(d.defaclrole)), d.defaclobjtype,
           (SELECT json_agg(json_build_array(CASE given.grantee WHEN d.defaclrole THEN ''
                   WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given.grantee)) END,
                   given.privilege_type, given.is_grantable)) FROM aclexplode(d.defaclacl) AS given)
    FROM pg_default_acl AS d WHERE d.defaclnamespace = ANY(%(schemas)s::oid[])
"""
_OBJECTS = {"r": "TABLES", "S": "SEQUENCES", "f": "FUNCTIONS", "T": "TYPES"}


def read_schemas(catalogue: Catalogue) -> None:
    """Draft the schemas, where there are several; one by itself has no name in its snapshot."""
    if not catalogue.qualified:
        return
    for oid, owned_by, found, comment in catalogue.rows(_SCHEMAS, "schemas"):
        id, grants = ObjectId(Kind.SCHEMA, catalogue.schemas[oid]), grants_of(found, "n")
        key = (Class.SCHEMA, oid, 0)
        catalogue.draft(Schema, id, key, owner=owned_by, grants=grants, comment=comment)


def read_extensions(catalogue: Catalogue) -> None:
    """Draft the extensions of the database."""
    if not catalogue.holds(Class.EXTENSION):
        return
    for oid, name, schema, version, owned_by in catalogue.rows(_EXTENSIONS, "extensions"):
        id, key = ObjectId(Kind.EXTENSION, name), (Class.EXTENSION, oid, 0)
        catalogue.draft(Extension, id, key, owner=owned_by, schema=schema, version=version)


def read_default_privileges(catalogue: Catalogue) -> None:
    """Draft what objects made later in the schemas are granted."""
    if not catalogue.holds(Class.DEFAULT_ACL):
        return
    for oid, schema, role, kind, found in catalogue.rows(_DEFAULT_PRIVILEGES, "default_privileges"):
        place = catalogue.schemas[schema] if catalogue.qualified else ""
        catalogue.draft(
            DefaultPrivileges,
            ObjectId(Kind.DEFAULT_PRIVILEGES, role, f"{_OBJECTS[kind]} {place}".strip()),
            (Class.DEFAULT_ACL, oid, 0),
            grants=grants_of(found, kind.lower()),
            on=_OBJECTS[kind],
            schema=place,
        )
