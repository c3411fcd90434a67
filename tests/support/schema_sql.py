"""The SQL of a schema of values: a list of statements, in an order in which they can run.

It is one module because each kind of thing is one method, and each method is a few lines of SQL.
"""

from collections.abc import Callable, Iterable, Iterator

from tests.support.schema_model import (
    FAMILY_TYPES,
    SCHEMA,
    Column,
    Composite,
    Configuration,
    Constraint,
    Dictionary,
    Domain,
    Enum,
    Function,
    Generated,
    Identity,
    Index,
    Key,
    Missing,
    Object,
    Policy,
    Range,
    Rule,
    Schema,
    Sequence,
    Statistics,
    Table,
    Thing,
    Trigger,
    Type,
    View,
    default,
    expression,
    literal,
    predicate,
    quoted,
)


def statements(schema: Schema) -> list[str]:
    """Return the statements that make the schema, each without its semicolon."""
    return list(_Writer(schema).all())


def rows(schema: Schema, count: int = 3) -> list[str]:
    """Return INSERTs of `count` rows for each table; those of a table that refuses its rows may fail."""
    writer = _Writer(schema)
    return [
        text for table in schema.tables for n in range(count) for text in writer.kept(writer.row, table, n)
    ]


_FIRST = (Enum, Range, Domain, Composite)


class _Writer:
    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def kept(self, write: Callable[..., Iterable[str]], *arguments: object) -> list[str]:
        try:
            return list(write(*arguments))
        except Missing:
            return []

    def all(self) -> Iterator[str]:
        schema = self.schema
        for kind in _FIRST:
            for thing in schema.of(kind):
                yield from self.kept(self.make, thing)
        yield from self._of(Dictionary)
        yield from self._of(Configuration)
        yield from self._of(Sequence)
        early = [each for each in schema.of(Function) if isinstance(each, Function) and not _late(each)]
        for thing in early:
            yield from self.kept(self.make, thing)
        for table in self._ordered_tables():
            yield from self.kept(self.table, table)
        for table in self._ordered_tables():
            for write in (self.keys, self.others, self.foreign_keys):
                yield from self.kept(write, table)
        for thing in schema.of(Function):
            if isinstance(thing, Function) and _late(thing):
                yield from self.kept(self.make, thing)
        yield from self._of(View)
        for table in self._ordered_tables():
            yield from self.kept(self.behaviour, table)
        for thing in schema.of(Sequence):
            yield from self.kept(self.ownership, thing)

    def _of(self, kind: type) -> Iterator[str]:
        for thing in self.schema.of(kind):
            yield from self.kept(self.make, thing)

    def _ordered_tables(self) -> list[Table]:
        """Parents before children."""
        ordered: list[Table] = []
        waiting = list(self.schema.tables)
        while waiting:
            ready = [
                table
                for table in waiting
                if not {table.partition_of, *table.parents} & {other.uid for other in waiting}
            ]
            if not ready:
                break
            ordered += ready
            waiting = [table for table in waiting if table not in ready]
        return ordered

    def make(self, thing: Object) -> Iterator[str]:
        match thing:
            case Enum():
                yield from self.enum(thing)
            case Range():
                yield from self.range(thing)
            case Domain():
                yield from self.domain(thing)
            case Composite():
                yield from self.composite(thing)
            case Sequence():
                yield from self.sequence(thing)
            case Function():
                yield from self.function(thing)
            case View():
                yield from self.view(thing)
            case Dictionary():
                yield from self.dictionary(thing)
            case Configuration():
                yield from self.configuration(thing)
            case _:
                pass

    @staticmethod
    def comment(what: str, thing: Thing) -> Iterator[str]:
        if thing.comment is not None:
            yield f"COMMENT ON {what} IS {literal(thing.comment)}"

    @staticmethod
    def grants(what: str, thing: Thing) -> Iterator[str]:
        for privilege, role, grantable in thing.grants:
            if privilege.startswith("-"):
                yield f"REVOKE {privilege[1:]} ON {what} FROM {role}"
            else:
                yield f"GRANT {privilege} ON {what} TO {role}{' WITH GRANT OPTION' if grantable else ''}"

    # ------------------------------------------------------------------------------------------------- types

    def enum(self, thing: Enum) -> Iterator[str]:
        name = quoted(thing.name)
        yield f"CREATE TYPE {name} AS ENUM ({', '.join(map(literal, thing.labels))})"
        yield from self.comment(f"TYPE {name}", thing)
        yield from self.grants(f"TYPE {name}", thing)

    def range(self, thing: Range) -> Iterator[str]:
        name = quoted(thing.name)
        yield f"CREATE TYPE {name} AS RANGE (SUBTYPE = {thing.subtype}{thing.options})"
        yield from self.comment(f"TYPE {name}", thing)

    def domain(self, thing: Domain) -> Iterator[str]:
        name = quoted(thing.name)
        text = f"CREATE DOMAIN {name} AS {self.schema.type(thing.type)}"
        family = self.schema.family(thing.type)
        if thing.collation and family == "text":
            text += f" COLLATE {thing.collation}"
        if thing.default is not None:
            text += f" DEFAULT {self.schema.value(thing.type, thing.default)}"
        yield text + (" NOT NULL" if thing.not_null else "")
        for check, n, not_valid in thing.checks:
            condition = self.schema.predicate(thing.type, "VALUE", n)
            tail = " NOT VALID" if not_valid else ""
            yield f"ALTER DOMAIN {name} ADD CONSTRAINT {quoted(check)} CHECK ({condition}){tail}"
            if n % 3 == 1:
                yield f"COMMENT ON CONSTRAINT {quoted(check)} ON DOMAIN {name} IS 'check {n}'"
        yield from self.comment(f"DOMAIN {name}", thing)
        yield from self.grants(f"DOMAIN {name}", thing)

    def composite(self, thing: Composite) -> Iterator[str]:
        name = quoted(thing.name)
        inside = ", ".join(f"{quoted(each)} {self.schema.type(type)}" for each, type in thing.attributes)
        yield f"CREATE TYPE {name} AS ({inside})"
        yield from self.comment(f"TYPE {name}", thing)

    # ------------------------------------------------------------------------------------- sequences, search

    def sequence(self, thing: Sequence) -> Iterator[str]:
        name = quoted(thing.name)
        yield f"CREATE {'UNLOGGED ' if thing.unlogged else ''}SEQUENCE {name} AS {thing.type}{thing.options}"
        yield from self.comment(f"SEQUENCE {name}", thing)
        yield from self.grants(f"SEQUENCE {name}", thing)

    def ownership(self, thing: Sequence) -> Iterator[str]:
        if thing.owned_by:
            table = self.schema.table(thing.owned_by[0])
            column = next((c for c in table.columns if c.uid == thing.owned_by[1]), None)
            if column is not None:
                name = f"{quoted(table.name)}.{quoted(column.name)}"
                yield f"ALTER SEQUENCE {quoted(thing.name)} OWNED BY {name}"

    def dictionary(self, thing: Dictionary) -> Iterator[str]:
        name = quoted(thing.name)
        yield f"CREATE TEXT SEARCH DICTIONARY {name} (TEMPLATE = pg_catalog.{thing.template}{thing.options})"
        yield from self.comment(f"TEXT SEARCH DICTIONARY {name}", thing)

    def configuration(self, thing: Configuration) -> Iterator[str]:
        name = quoted(thing.name)
        made = "COPY = pg_catalog.simple" if thing.copy else 'PARSER = pg_catalog."default"'
        yield f"CREATE TEXT SEARCH CONFIGURATION {name} ({made})"
        verb = "ALTER" if thing.copy else "ADD"
        for token, dictionary in thing.mappings:
            own = f"{self.schema.name(dictionary)}, " if dictionary in self.schema.things else ""
            mapping = f"{verb} MAPPING FOR {token} WITH {own}pg_catalog.simple"
            yield f"ALTER TEXT SEARCH CONFIGURATION {name} {mapping}"
        yield from self.comment(f"TEXT SEARCH CONFIGURATION {name}", thing)

    # --------------------------------------------------------------------------------------------- functions

    def function(self, thing: Function) -> Iterator[str]:
        yield self.routine(thing)
        what = f"{_word(thing)} {self.signature(thing)}"
        yield from self.comment(what, thing)
        yield from self.grants(what.replace("AGGREGATE", "FUNCTION", 1), thing)

    def signature(self, thing: Function) -> str:
        name, type = quoted(thing.name), self.schema.type(thing.type)
        arguments = {
            "sql": type,
            "typed": type,
            "defaults": f"{type}, integer, text",
            "out": type,
            "variadic": "integer[]",
            "trigger": "",
            "atomic": "",
            "table": "integer",
            "setof": "",
            "procedure": f"{type}, integer",
            "aggregate": "integer",
            "calls": type,
            "path": type,
            "row": self.schema.name(thing.table) if thing.table else "",
        }[thing.shape]
        return f"{name}({arguments})"

    def routine(self, thing: Function) -> str:
        name, type, n, extra = quoted(thing.name), self.schema.type(thing.type), thing.n, thing.extra
        front = f"CREATE FUNCTION {name}"
        match thing.shape:
            case "sql":
                body = f"SELECT a /* {n} */"
                return f"{front}(a {type}) RETURNS {type} LANGUAGE sql IMMUTABLE{extra} AS $$ {body} $$"
            case "typed":
                return f"{front}(a {type}) RETURNS integer LANGUAGE sql IMMUTABLE{extra} RETURN {n}"
            case "calls":
                inner = self._callable(thing.function)
                return f"{front}(a {type}) RETURNS integer LANGUAGE sql{extra} RETURN {n} + {inner}"
            case "defaults":
                arguments = f"a {type} DEFAULT NULL, b integer DEFAULT {n}, c text DEFAULT 'it''s {n}'"
                body = f"BEGIN RETURN b + {n}; END"
                return f"{front}({arguments}) RETURNS integer LANGUAGE plpgsql{extra} AS $body$ {body} $body$"
            case "out":
                body = f"BEGIN b := {n}; c := 'x'; END"
                arguments = f"a {type}, OUT b integer, OUT c text" + (", OUT d boolean" if n % 2 else "")
                return f"{front}({arguments}) LANGUAGE plpgsql{extra} AS $$ {body} $$"
            case "variadic":
                body = f"SELECT {n} + cardinality(a)"
                return f"{front}(VARIADIC a integer[]) RETURNS integer LANGUAGE sql{extra} AS '{body}'"
            case "trigger":
                body = f"BEGIN /* {n} */ RETURN NEW; END"
                return f"{front}() RETURNS trigger LANGUAGE plpgsql{extra} AS $$ {body} $$"
            case "atomic":
                table = self.schema.table(thing.table)
                where = self.schema.condition(table, (thing.column, n))
                select = f"SELECT count(*) FROM {quoted(table.name)} WHERE {where}"
                return f"{front}() RETURNS bigint LANGUAGE sql{extra} BEGIN ATOMIC {select}; END"
            case "table":
                table = self.schema.table(thing.table)
                column = self.schema.column(table, thing.column)
                returns = f"TABLE(x {self.schema.type(column.type)}, y integer)"
                body = f"SELECT {quoted(column.name)}, {n} FROM {quoted(table.name)}"
                return (
                    f"{front}(a integer) RETURNS {returns} LANGUAGE sql STABLE{extra} ROWS 7 AS $$ {body} $$"
                )
            case "setof":
                whole = quoted(self.schema.table(thing.table).name)
                body = f"SELECT * FROM {whole} LIMIT {n}"
                return f"{front}() RETURNS SETOF {whole} LANGUAGE sql STABLE{extra} AS $$ {body} $$"
            case "row":
                whole = quoted(self.schema.table(thing.table).name)
                return f"{front}(r {whole}) RETURNS integer LANGUAGE sql STABLE{extra} AS $$ SELECT {n} $$"
            case "procedure":
                body = f"BEGIN b := {n}; END"
                arguments = f"a {type}, INOUT b integer"
                return f"CREATE PROCEDURE {name}({arguments}) LANGUAGE plpgsql{extra} AS $$ {body} $$"
            case "aggregate":
                state = "int4larger" if n % 2 else "int4smaller"
                more = f", INITCOND = '{n}'" if n % 3 else ""
                return f"CREATE AGGREGATE {name}(integer) (SFUNC = {state}, STYPE = integer{more})"
            case _:
                path = f"SET search_path TO {SCHEMA}, pg_temp"
                return f"{front}(a {type}) RETURNS integer LANGUAGE sql {path}{extra} AS $$ SELECT {n} $$"

    def _callable(self, uid: int, argument: str = "NULL") -> str:
        """A call that gives an integer."""
        function = self.schema.things.get(uid)
        if not isinstance(function, Function) or function.shape not in ("typed", "defaults", "sql"):
            raise Missing(uid)
        type = self.schema.type(function.type)
        if function.shape == "sql" and type != "integer":
            raise Missing(uid)
        return f"{quoted(function.name)}({argument}::{type})"

    # ------------------------------------------------------------------------------------------------ tables

    def table(self, table: Table) -> Iterator[str]:
        name = quoted(table.name)
        unlogged = "UNLOGGED " if table.unlogged and not table.partition_key else ""
        columns = [column for column in table.columns if self.kept(self._line, table, column)]
        lines = [self.column(table, column) for column in columns]
        if table.partition_of:
            yield f"CREATE {unlogged}TABLE {name} PARTITION OF {self._partition(table)}{self._tail(table)}"
        else:
            inherits = ", ".join(self.schema.name(uid) for uid in table.parents)
            tail = f" INHERITS ({inherits})" if inherits else ""
            yield f"CREATE {unlogged}TABLE {name} ({', '.join(lines)}){tail}{self._tail(table)}"
        for column in columns:
            yield from self.column_settings(table, column)
        yield from self.comment(f"TABLE {name}", table)
        yield from self.grants(f"TABLE {name}", table)
        for privilege, role, uid in table.column_grants:
            column = self.schema.column(table, uid)
            yield f"GRANT {privilege} ({quoted(column.name)}) ON {name} TO {role}"

    def _partition(self, table: Table) -> str:
        parent = self.schema.table(table.partition_of)
        if parent.partition_key is None:
            raise Missing(parent.uid)
        method, uid = parent.partition_key
        column = self.schema.column(parent, uid)
        front = quoted(parent.name)
        if method == "HASH":
            return f"{front} FOR VALUES WITH (MODULUS 4, REMAINDER {table.bound % 4})"
        if table.bound < 0:
            return f"{front} DEFAULT"
        if method == "LIST":
            first, second = (self.schema.value(column.type, 2 * table.bound + k) for k in (0, 1))
            return f"{front} FOR VALUES IN ({first}, {second})"
        first, last = (self.schema.value(column.type, table.bound * 5 + k) for k in (0, 5))
        return f"{front} FOR VALUES FROM ({first}) TO ({last})"

    def _tail(self, table: Table) -> str:
        text = ""
        if table.partition_key:
            method, uid = table.partition_key
            text += f" PARTITION BY {method} ({quoted(self.schema.column(table, uid).name)})"
        elif table.options:
            text += f" WITH ({table.options})"
        return text

    def _line(self, table: Table, column: Column) -> list[str]:
        return [self.column(table, column)]

    def column(self, table: Table, column: Column) -> str:
        text = f"{quoted(column.name)} {self.schema.type(column.type)}"
        family = self.schema.family(column.type)
        if column.collation and family == "text":
            text += f" COLLATE {column.collation}"
        text += self._filled(table, column)
        return text + (" NOT NULL" if column.not_null and not column.identity else "")

    def _filled(self, table: Table, column: Column) -> str:
        """DEFAULT, IDENTITY or GENERATED."""
        family = self.schema.family(column.type)
        if column.identity and family == "int" and column.type.name:
            return f" {_identity(column.identity)}"
        if column.generated:
            return f" GENERATED ALWAYS AS ({self.generated(table, column, column.generated)}) STORED"
        if column.default_sequence in self.schema.things and family == "int" and column.type.name:
            sequence = literal(self.schema.name(column.default_sequence))
            return f" DEFAULT nextval({sequence}::regclass)"
        if column.default_function in self.schema.things and column.type.name in ("integer", "bigint"):
            return f" DEFAULT {self._callable(column.default_function)}"
        if column.default is None:
            return ""
        if family in ("array", "composite", "own range") or family.startswith("enum"):
            return f" DEFAULT {self.schema.value(column.type, column.default)}"
        return f" DEFAULT {default(family, column.default)}"

    def generated(self, table: Table, column: Column, how: Generated) -> str:
        source = self.schema.column(table, how.source)
        if source.generated:
            raise Missing(source.uid)
        text, family = expression(self.schema.family(source.type), quoted(source.name), how.n)
        type = self.schema.type(column.type)
        if how.function in self.schema.things and family == "int":
            return f"({self._callable(how.function, text)})::{type}"
        if type == "integer" and family not in ("int", "number", "text"):
            return f"CASE WHEN {text} IS NULL THEN 0 ELSE {how.n} END"
        return text if FAMILY_TYPES.get(family) == type else f"({text})::{type}"

    def column_settings(self, table: Table, column: Column) -> Iterator[str]:
        front = f"ALTER TABLE ONLY {quoted(table.name)} ALTER COLUMN {quoted(column.name)} SET"
        wide = self.schema.family(column.type) in ("text", "jsonb", "bytea", "texts")
        if column.storage and wide:
            yield f"{front} STORAGE {column.storage}"
        if column.compression and wide:
            yield f"{front} COMPRESSION {column.compression}"
        if column.statistics is not None:
            yield f"{front} STATISTICS {column.statistics}"
        if column.n_distinct is not None:
            yield f"{front} (n_distinct = {column.n_distinct})"
        yield from self.comment(f"COLUMN {quoted(table.name)}.{quoted(column.name)}", column)

    # ------------------------------------------------------------------------------- constraints and indexes

    def keys(self, table: Table) -> Iterator[str]:
        for each in table.constraints:
            if each.kind in ("PRIMARY KEY", "UNIQUE"):
                yield from self.kept(self.constraint, table, each)

    def others(self, table: Table) -> Iterator[str]:
        for each in table.constraints:
            if each.kind in ("CHECK", "EXCLUDE"):
                yield from self.kept(self.constraint, table, each)
        for index in table.indexes:
            yield from self.kept(self.index, table, index)

    def foreign_keys(self, table: Table) -> Iterator[str]:
        for each in table.constraints:
            if each.kind == "FOREIGN KEY":
                yield from self.kept(self.constraint, table, each)

    def names(self, table: Table, uids: Iterable[int]) -> str:
        found = [quoted(self.schema.column(table, uid).name) for uid in uids]
        if not found:
            raise Missing
        return ", ".join(found)

    def constraint(self, table: Table, each: Constraint) -> Iterator[str]:
        text = {
            "PRIMARY KEY": self._unique,
            "UNIQUE": self._unique,
            "CHECK": self._check,
            "FOREIGN KEY": self._foreign_key,
            "EXCLUDE": self._exclusion,
        }[each.kind](table, each)
        name = quoted(each.name)
        yield f"ALTER TABLE {quoted(table.name)} ADD CONSTRAINT {name} {text}"
        yield from self.comment(f"CONSTRAINT {name} ON {quoted(table.name)}", each)

    def _unique(self, table: Table, each: Constraint) -> str:
        columns = list(each.columns)
        if table.partition_key and table.partition_key[1] not in columns:
            columns.append(table.partition_key[1])
        nulls = " NULLS NOT DISTINCT" if each.nulls_not_distinct and each.kind == "UNIQUE" else ""
        include = f" INCLUDE ({self.names(table, each.include)})" if each.include else ""
        deferrable = each.deferrable if not table.partition_key else ""
        return f"{each.kind}{nulls} ({self.names(table, columns)}){include}{deferrable}"

    def _check(self, table: Table, each: Constraint) -> str:
        if not each.columns:
            raise Missing
        column = self.schema.column(table, each.columns[0])
        text = self.schema.predicate(column.type, quoted(column.name), each.n)
        if each.function in self.schema.things and self.schema.family(column.type) == "int":
            text += f" AND {self._callable(each.function, quoted(column.name))} IS NOT NULL"
        for uid in each.columns[1:]:
            text += f" OR {quoted(self.schema.column(table, uid).name)} IS NOT NULL"
        no_inherit = " NO INHERIT" if each.no_inherit and not table.partition_key else ""
        return f"CHECK ({text}){no_inherit}{' NOT VALID' if each.not_valid else ''}"

    def _foreign_key(self, table: Table, each: Constraint) -> str:
        other = self.schema.table(each.table)
        target = f"{quoted(other.name)} ({self.names(other, each.referenced)})"
        not_valid = " NOT VALID" if each.not_valid and not table.partition_key else ""
        columns = self.names(table, each.columns)
        return f"FOREIGN KEY ({columns}) REFERENCES {target}{each.actions}{each.deferrable}{not_valid}"

    def _exclusion(self, table: Table, each: Constraint) -> str:
        column = self.schema.column(table, each.columns[0])
        family = self.schema.family(column.type)
        operator = "&&" if family in ("range", "daterange", "own range") else "="
        method = "gist" if operator == "&&" else "btree"
        where = f" WHERE ({quoted(column.name)} IS NOT NULL)" if each.n % 2 else ""
        return f"EXCLUDE USING {method} ({quoted(column.name)} WITH {operator}){where}{each.deferrable}"

    def index(self, table: Table, index: Index) -> Iterator[str]:
        keys = ", ".join(self.key(table, index, key) for key in index.keys)
        if not keys:
            raise Missing
        name, on = quoted(index.name), quoted(table.name)
        text = f"CREATE {'UNIQUE ' if index.unique else ''}INDEX {name} ON {on} USING {index.method} ({keys})"
        if index.include and index.method == "btree":
            text += f" INCLUDE ({self.names(table, index.include)})"
        if index.nulls_not_distinct and index.unique:
            text += " NULLS NOT DISTINCT"
        if index.options and index.method in ("btree", "hash"):
            text += f" WITH ({index.options})"
        if index.where:
            text += f" WHERE {self.schema.condition(table, index.where)}"
        yield text
        yield from self.comment(f"INDEX {name}", index)
        if index.statistics is not None and index.keys[0].expression is not None:
            yield f"ALTER INDEX {name} ALTER COLUMN 1 SET STATISTICS {index.statistics}"
        if (
            index.mark == "CLUSTER"
            and not table.partition_key
            and index.method == "btree"
            and not index.where
        ):
            yield f"ALTER TABLE {on} CLUSTER ON {name}"
        if index.mark == "REPLICA" and index.unique and not index.where and not index.nulls_not_distinct:
            yield f"ALTER TABLE {on} REPLICA IDENTITY USING INDEX {name}"

    def key(self, table: Table, index: Index, key: Key) -> str:
        column = self.schema.column(table, key.column)
        family, name = self.schema.family(column.type), quoted(column.name)
        if index.method == "gin":
            wanted = {"jsonb": "", "texts": "", "ints": "", "tsvector": ""}
            if family not in wanted:
                raise Missing
            return name + (" jsonb_path_ops" if key.suffix and family == "jsonb" else "")
        if index.method == "gist":
            if family not in ("range", "daterange", "point", "own range", "tsvector"):
                raise Missing
            return name
        if index.method in ("hash", "brin"):
            return name
        if family in ("json", "point"):
            raise Missing
        if key.expression is None:
            pattern = " text_pattern_ops" if key.suffix == " pattern" and family == "text" else ""
            return name + (pattern or key.suffix.replace(" pattern", ""))
        text, _ = expression(family, name, key.expression)
        if key.function in self.schema.things and family == "int":
            text = f"{self._callable(key.function, name)}"
        return f"({text}){key.suffix.replace(' pattern', '')}"

    # ------------------------------------------------------------------------------------------------- views

    def outputs(self, source: int) -> dict[int, tuple[str, Type]]:
        """The columns of a table or view by their numbers: name and type."""
        thing = self.schema.things.get(source)
        if isinstance(thing, Table):
            return {column.uid: (column.name, column.type) for column in self.schema.all_columns(thing)}
        if not isinstance(thing, View):
            raise Missing(source)
        found = {}
        for output in thing.outputs:
            if output.form == "plain":
                inner = self.outputs(output.source).get(output.column)
                if inner is None:
                    continue
                found[output.uid] = (output.name, inner[1])
            elif output.form == "expression":
                inner = self.outputs(output.source).get(output.column)
                if inner is None:
                    continue
                _, family = expression(self.schema.family(inner[1]), "x", output.n)
                found[output.uid] = (output.name, Type(FAMILY_TYPES[family]))
            else:
                found[output.uid] = (output.name, Type("integer"))
        return found

    def view(self, view: View) -> Iterator[str]:
        name = quoted(view.name)
        kind = "MATERIALIZED VIEW" if view.materialized else "VIEW"
        options = f" WITH ({view.options})" if view.options and not view.materialized else ""
        data = " WITH NO DATA" if view.materialized and not view.populated else ""
        yield f"CREATE {kind} {name}{options} AS {self.query(view)}{data}"
        yield from self.comment(f"{kind} {name}", view)
        yield from self.grants(f"TABLE {name}", view)
        if view.outputs and view.column_comment:
            names = [column for column, _ in self.outputs(view.uid).values()]
            if names:
                yield f"COMMENT ON COLUMN {name}.{quoted(names[0])} IS {literal(view.column_comment)}"
        if view.materialized:
            for index in view.indexes:
                yield from self.kept(self.view_index, view, index)
        elif view.trigger:
            yield from self.kept(self.view_trigger, view, view.trigger)

    def view_index(self, view: View, index: Index) -> Iterator[str]:
        columns = self.outputs(view.uid)
        wanted = [columns[key.column] for key in index.keys if key.column in columns]
        if not wanted or any(self.schema.family(type) in ("json", "point") for _, type in wanted):
            raise Missing
        keys = ", ".join(quoted(column) for column, _ in wanted)
        name = quoted(index.name)
        yield f"CREATE {'UNIQUE ' if index.unique else ''}INDEX {name} ON {quoted(view.name)} ({keys})"
        yield from self.comment(f"INDEX {name}", index)

    def view_trigger(self, view: View, trigger: Trigger) -> Iterator[str]:
        function = self._trigger_function(trigger.function)
        front = f"CREATE TRIGGER {quoted(trigger.name)} INSTEAD OF INSERT ON {quoted(view.name)}"
        yield f"{front} FOR EACH ROW EXECUTE FUNCTION {function}()"
        yield from self.comment(f"TRIGGER {quoted(trigger.name)} ON {quoted(view.name)}", trigger)

    def query(self, view: View) -> str:
        aliases = {uid: f"s{place}" for place, uid in enumerate(view.sources)}
        outs = [text for output in view.outputs for text in self._shown(view, aliases, output)]
        if not outs:
            raise Missing(view.uid)
        source = " CROSS JOIN ".join(f"{self.schema.name(uid)} {alias}" for uid, alias in aliases.items())
        where = self._view_where(view, aliases)
        shown = ", ".join(outs)
        first = self.schema.name(view.sources[0])
        match view.shape:
            case "distinct":
                return f"SELECT DISTINCT {shown} FROM {source}{where}"
            case "union":
                return f"SELECT {shown} FROM {source}{where} UNION ALL SELECT {shown} FROM {source}"
            case "window":
                return f"SELECT {shown}, row_number() OVER () AS place FROM {source}{where}"
            case "cte":
                return f"WITH w AS (SELECT {shown} FROM {source}{where}) SELECT * FROM w"
            case "row":
                return f"SELECT {shown}, row_to_json(s0.*) AS whole FROM {source}{where}"
            case "count":
                return f"SELECT {shown}, (SELECT count(*) FROM {first}) AS total FROM {source}{where}"
            case "group":
                return f"SELECT {shown}, count(*) AS total FROM {source}{where} GROUP BY {self._key(view)}"
            case "function":
                return f"SELECT {shown}, {self._callable(view.function)} AS called FROM {source}{where}"
            case _:
                return f"SELECT {shown} FROM {source}{where}"

    def _key(self, view: View) -> str:
        """A primary key to group by: the query then needs the constraint."""
        table = self.schema.table(view.sources[0])
        key = next((each for each in table.constraints if each.kind == "PRIMARY KEY"), None)
        if key is None or len(view.sources) > 1 or table.partition_key:
            raise Missing(table.uid)
        return ", ".join(f"s0.{quoted(self.schema.column(table, uid).name)}" for uid in key.columns)

    def _shown(self, view: View, aliases: dict[int, str], output: object) -> Iterator[str]:
        from tests.support.schema_model import Output

        assert isinstance(output, Output)
        name = quoted(output.name)
        if output.form == "constant":
            yield f"{output.n} AS {name}"
            return
        columns = self.outputs(output.source)
        if output.column not in columns or output.source not in aliases:
            return
        column, type = columns[output.column]
        text = f"{aliases[output.source]}.{quoted(column)}"
        if output.form == "expression":
            text, _ = expression(self.schema.family(type), text, output.n)
        yield f"{text} AS {name}"

    def _view_where(self, view: View, aliases: dict[int, str]) -> str:
        if not view.where or view.where[0] not in aliases:
            return ""
        columns = self.outputs(view.where[0])
        if view.where[1] not in columns:
            return ""
        column, type = columns[view.where[1]]
        shown = f"{aliases[view.where[0]]}.{quoted(column)}"
        return f" WHERE {self.schema.predicate(type, shown, view.where[2])}"

    # --------------------------------------------------------------------------------------------- behaviour

    def behaviour(self, table: Table) -> Iterator[str]:
        name = quoted(table.name)
        for trigger in table.triggers:
            yield from self.kept(self.trigger, table, trigger)
        for policy in table.policies:
            yield from self.kept(self.policy, table, policy)
        for rule in table.rules:
            yield from self.kept(self.rule, table, rule)
        for statistics in table.statistics:
            yield from self.kept(self.extended, table, statistics)
        if table.row_security:
            yield f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"
        if table.force_row_security:
            yield f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY"
        if table.replica_identity and not any(index.mark == "REPLICA" for index in table.indexes):
            yield f"ALTER TABLE {name} REPLICA IDENTITY {table.replica_identity}"

    def _trigger_function(self, uid: int) -> str:
        function = self.schema.things.get(uid)
        if not isinstance(function, Function) or function.shape != "trigger":
            raise Missing(uid)
        return quoted(function.name)

    def trigger(self, table: Table, trigger: Trigger) -> Iterator[str]:
        function, name, on = (
            self._trigger_function(trigger.function),
            quoted(trigger.name),
            quoted(table.name),
        )
        events = trigger.events
        if trigger.columns:
            events = f"UPDATE OF {self.names(table, trigger.columns)}"
        when = ""
        if trigger.when and events != "DELETE" and trigger.row and "DELETE" not in events:
            when = f" WHEN ({self.schema.condition(table, trigger.when, 'new.')})"
        each = "ROW" if trigger.row or trigger.constraint else "STATEMENT"
        if trigger.constraint:
            kind, timing = "CONSTRAINT TRIGGER", "AFTER"
        else:
            kind, timing = "TRIGGER", trigger.timing
        transition = ""
        if (
            trigger.transition
            and timing == "AFTER"
            and events == "INSERT"
            and not trigger.constraint
            and not when
        ):
            each, transition = "STATEMENT", " REFERENCING NEW TABLE AS fresh"
        text = f"CREATE {kind} {name} {timing} {events} ON {on}{trigger.constraint}{transition}"
        yield f"{text} FOR EACH {each}{when} EXECUTE FUNCTION {function}()"
        if trigger.enabled != "ENABLE":
            yield f"ALTER TABLE {on} {trigger.enabled} TRIGGER {name}"
        yield from self.comment(f"TRIGGER {name} ON {on}", trigger)

    def policy(self, table: Table, policy: Policy) -> Iterator[str]:
        name, on = quoted(policy.name), quoted(table.name)
        text = f"CREATE POLICY {name} ON {on} AS {'PERMISSIVE' if policy.permissive else 'RESTRICTIVE'}"
        text += f" FOR {policy.command} TO {', '.join(policy.roles)}"
        if policy.using and policy.command != "INSERT":
            condition = self.schema.condition(table, policy.using)
            if policy.other:
                condition += f" AND EXISTS (SELECT 1 FROM {quoted(self.schema.table(policy.other).name)})"
            text += f" USING ({condition})"
        if policy.check and policy.command not in ("SELECT", "DELETE"):
            text += f" WITH CHECK ({self.schema.condition(table, policy.check)})"
        yield text
        yield from self.comment(f"POLICY {name} ON {on}", policy)

    def rule(self, table: Table, rule: Rule) -> Iterator[str]:
        name, on = quoted(rule.name), quoted(table.name)
        front = "new." if rule.event == "INSERT" else "old."
        where = f" WHERE {self.schema.condition(table, rule.where, front)}" if rule.where else ""
        action = "INSTEAD NOTHING"
        if rule.other:
            action = f"ALSO DELETE FROM {quoted(self.schema.table(rule.other).name)} WHERE false"
        yield f"CREATE RULE {name} AS ON {rule.event} TO {on}{where} DO {action}"
        if rule.enabled != "ENABLE":
            yield f"ALTER TABLE {on} {rule.enabled} RULE {name}"
        yield from self.comment(f"RULE {name} ON {on}", rule)

    def extended(self, table: Table, each: Statistics) -> Iterator[str]:
        name = quoted(each.name)
        keys = self.names(table, each.columns)
        if each.expression is not None:
            column = self.schema.column(table, each.columns[0])
            text, _ = expression(self.schema.family(column.type), quoted(column.name), each.expression)
            keys += f", ({text})"
        yield f"CREATE STATISTICS {name}{each.kinds} ON {keys} FROM {quoted(table.name)}"
        if each.target is not None:
            yield f"ALTER STATISTICS {name} SET STATISTICS {each.target}"
        yield from self.comment(f"STATISTICS {name}", each)

    # -------------------------------------------------------------------------------------------------- rows

    def row(self, table: Table, n: int) -> Iterator[str]:
        if table.partition_of:
            return
        columns = [
            column
            for column in self.schema.all_columns(table)
            if not column.generated and not column.identity
        ]
        names = ", ".join(quoted(column.name) for column in columns)
        values = ", ".join(self.schema.value(column.type, n) for column in columns)
        if columns:
            yield f"INSERT INTO {quoted(table.name)} ({names}) VALUES ({values})"


def _late(function: Function) -> bool:
    return function.shape in ("atomic", "table", "setof", "row")


def _word(function: Function) -> str:
    return {"procedure": "PROCEDURE", "aggregate": "AGGREGATE"}.get(function.shape, "FUNCTION")


def _identity(identity: Identity) -> str:
    text = f"GENERATED {'ALWAYS' if identity.always else 'BY DEFAULT'} AS IDENTITY"
    options = []
    if identity.start is not None:
        options.append(f"START WITH {identity.start}")
    if identity.increment is not None:
        options.append(f"INCREMENT BY {identity.increment}")
    if identity.cycle:
        options.append("CYCLE")
    return f"{text} ({' '.join(options)})" if options else text


# `predicate` is read here by those who write conditions of their own over a family.
__all__ = ["predicate", "rows", "statements"]
