"""What belongs to a table or view: triggers, rules, policies; and extended statistics."""

from database_handler.migrations.schema.introspection.catalogue import (
    Catalogue,
    Class,
    not_of_extension,
    owner,
)
from database_handler.migrations.schema.snapshot import Kind, ObjectId, Policy, Rule, Statistics, Trigger

__all__ = ["read_policies", "read_rules", "read_statistics", "read_triggers"]

_ENABLED = {"O": "ENABLE", "D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
_COMMANDS = {"*": "ALL", "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}

_TRIGGERS = """
    SELECT t.oid, t.tgrelid, quote_ident(t.tgname), pg_get_triggerdef(t.oid), quote_ident(p.proname),
           t.tgenabled, t.tgparentid <> 0
    FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_proc AS p ON p.oid = t.tgfoid
    WHERE c.relnamespace = ANY(%(schemas)s::oid[]) AND NOT t.tgisinternal
"""
_RULES = """
    SELECT r.oid, r.ev_class, quote_ident(r.rulename), r.rulename = '_RETURN',
           CASE WHEN r.rulename <> '_RETURN' THEN pg_get_ruledef(r.oid) END, r.ev_enabled
    FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class
    WHERE c.relnamespace = ANY(%(schemas)s::oid[])
"""
_POLICIES = """
    SELECT p.oid, p.polrelid, quote_ident(p.polname), p.polcmd, p.polpermissive,
           ARRAY(SELECT CASE role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(role)) END
                 FROM unnest(p.polroles) AS role),
           pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
    FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid
    WHERE c.relnamespace = ANY(%(schemas)s::oid[])
"""
_STATISTICS = f"""
    SELECT s.oid, s.stxnamespace, quote_ident(s.stxname),
           -- The server writes the columns by their places in the table, which are nobody's intention.
           replace(pg_get_statisticsobjdef(s.oid), format(' ON %%s FROM ', keys.told),
                   format(' ON %%s%%s FROM ', keys.by_name, substr(keys.told, length(keys.by_place) + 1))),
           nullif(s.stxstattarget, -1), {owner("s.stxowner")}
    FROM pg_statistic_ext AS s CROSS JOIN LATERAL (
        SELECT pg_get_statisticsobjdef_columns(s.oid) AS told,
               coalesce(string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), '') AS by_place,
               coalesce(string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname COLLATE "C"), '')
               AS by_name
        FROM pg_attribute AS a WHERE a.attrelid = s.stxrelid AND a.attnum = ANY(s.stxkeys)) AS keys
    WHERE s.stxnamespace = ANY(%(schemas)s::oid[]) AND {not_of_extension("pg_statistic_ext", "s")}
"""


def read_triggers(catalogue: Catalogue) -> None:
    """Draft every trigger that is no constraint's own."""
    if not catalogue.triggered:
        return
    for oid, relation, name, definition, function, enabled, inherited in catalogue.rows(
        _TRIGGERS, "triggers"
    ):
        if relation in catalogue.places:
            text = _relative(catalogue, definition, relation, f"TRIGGER {name} ", " ON ")
            catalogue.draft(
                Trigger,
                ObjectId(Kind.TRIGGER, catalogue.relations[relation], name),
                (Class.TRIGGER, oid, 0),
                definition=_relative_call(catalogue, text, relation, function),
                enabled=_ENABLED[enabled],
                inherited=inherited,
            )


def _relative(catalogue: Catalogue, definition: str | None, relation: int, after: str, before: str) -> str:
    """Take the schema off the relation's name, which the server writes whatever the search path."""
    head, found, rest = catalogue.after("", definition).partition(after)
    middle, place, tail = rest.partition(f"{before}{catalogue.places[relation]}")
    if not found or not place:
        raise catalogue.moved()
    return f"{head}{found}{middle}{before}{catalogue.relations[relation]}{tail}"


def _relative_call(catalogue: Catalogue, definition: str, relation: int, function: str) -> str:
    """Take the schema off the function's name, which the server writes where others may be called so too.

    It asks whether a call without arguments would find that function; CREATE TRIGGER takes no other.
    """
    schema = catalogue.places[relation].removesuffix(catalogue.relations[relation])
    call = " EXECUTE FUNCTION "
    return definition.replace(f"{call}{schema}{function}(", f"{call}{function}(", 1)


def read_rules(catalogue: Catalogue) -> None:
    """Draft every rule but the one that makes a view a view, which stands for the view."""
    if not catalogue.ruled:
        return
    for oid, relation, name, returns, definition, enabled in catalogue.rows(_RULES, "rules"):
        above = catalogue.relation_id(relation)
        if above is None:
            continue
        if returns:
            catalogue.ids[(Class.REWRITE, oid, 0)] = above
            continue
        text = _relative(catalogue, definition, relation, f"RULE {name} AS", " TO ")
        id = ObjectId(Kind.RULE, above.name, name)
        catalogue.draft(
            Rule,
            id,
            (Class.REWRITE, oid, 0),
            definition=text.strip().removesuffix(";"),
            enabled=_ENABLED[enabled],
        )


def read_policies(catalogue: Catalogue) -> None:
    """Draft every policy of row-level security."""
    if not catalogue.holds(Class.POLICY):
        return
    for oid, relation, name, command, permissive, roles, using, check in catalogue.rows(
        _POLICIES, "policies"
    ):
        if relation in catalogue.places:
            catalogue.draft(
                Policy,
                ObjectId(Kind.POLICY, catalogue.relations[relation], name),
                (Class.POLICY, oid, 0),
                command=_COMMANDS[command],
                permissive=permissive,
                roles=tuple(sorted(roles)),
                using=using,
                check=check,
            )


def read_statistics(catalogue: Catalogue) -> None:
    """Draft every extended statistics object."""
    if not catalogue.holds(Class.STATISTICS):
        return
    for oid, schema, name, definition, target, owned_by in catalogue.rows(_STATISTICS, "statistics"):
        rest = catalogue.after(f"CREATE STATISTICS {catalogue.place(schema, name)}", definition)
        made = catalogue.name(schema, name)
        catalogue.draft(
            Statistics,
            ObjectId(Kind.STATISTICS, made),
            (Class.STATISTICS, oid, 0),
            owner=owned_by,
            definition=f"CREATE STATISTICS {made}{rest}",
            target=target,
        )
