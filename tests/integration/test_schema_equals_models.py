"""The migrated schema is what the models say, and it refuses by itself what they refuse."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest

from database_handler import Database, MigrationManager, Repositories, UnitOfWork
from database_handler.core.ddl import create_tables, drop_tables, tables_of
from database_handler.core.exceptions import (
    CheckFailed,
    ConstraintViolation,
    MissingReference,
    RequiredValueMissing,
)
from database_handler.core.session import Statement
from database_handler.models import ENTITIES
from database_handler.testing.factories import (
    TextSourceFactory,
    TranslationFactory,
    VideoFactory,
    factory_of,
)

HISTORY = "database_handler_migrations"
BOOKKEEPING = "database_handler_"  # the history, and the keys of units that take effect once: no entities
TABLES = {model.table.name: model.table for model in ENTITIES}

# The order of the columns is the migrations' own: a later one adds at the end, and every statement names what
# it means.
COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
           a.attidentity, pg_get_expr(d.adbin, d.adrelid), a.attcollation::regcollation::text
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND a.attnum > 0
      AND NOT a.attisdropped ORDER BY 1, 2
"""
# Those of NOT NULL, which PostgreSQL 18 lists here as well, are told by the columns.
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, contype, convalidated, condeferrable, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = current_schema()::regnamespace AND contype <> 'n' ORDER BY 1, 2
"""
INDEXES = """
    SELECT indrelid::regclass::text, indexrelid::regclass::text, indisvalid, indnullsnotdistinct,
           replace(pg_get_indexdef(indexrelid), current_schema() || '.', '')
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE c.relnamespace = current_schema()::regnamespace ORDER BY 1, 2
"""
# What the extensions brought along stays, and is not told here.
FUNCTIONS = """
    SELECT p.oid::regprocedure::text, p.provolatile, p.proparallel, p.proisstrict,
           replace(replace(pg_get_function_sqlbody(p.oid), current_schema() || '.', ''), (
               SELECT extnamespace::regnamespace || '.' FROM pg_extension WHERE extname = 'pg_trgm'
           ), ''), p.prosrc, p.proconfig
    FROM pg_proc AS p WHERE pronamespace = current_schema()::regnamespace AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
    ORDER BY 1
"""
CONFIGURATIONS = """
    SELECT c.oid::regconfig::text, m.maptokentype, m.mapseqno, m.mapdict::regdictionary::text
    FROM pg_ts_config AS c JOIN pg_ts_config_map AS m ON m.mapcfg = c.oid
    WHERE c.cfgnamespace = current_schema()::regnamespace ORDER BY 1, 2, 3
"""
EVERYTHING = """
    WITH found(kind, oid, name) AS (
        SELECT 'pg_class'::regclass, oid, relname::text FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace
        UNION ALL SELECT 'pg_proc'::regclass, oid, proname::text FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace
        UNION ALL SELECT 'pg_type'::regclass, oid, typname::text FROM pg_type
        WHERE typnamespace = current_schema()::regnamespace
        UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgname::text FROM pg_ts_config
        WHERE cfgnamespace = current_schema()::regnamespace
        UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictname::text FROM pg_ts_dict
        WHERE dictnamespace = current_schema()::regnamespace
    )
    SELECT name FROM found WHERE NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = found.kind AND objid = found.oid AND deptype = 'e')
      AND (left(name, 1) <> '_' OR kind <> 'pg_type'::regclass)
"""


def catalogue(unit: UnitOfWork) -> dict[str, list[tuple[Any, ...]]]:
    """The whole schema as the server tells it, the library's own bookkeeping aside."""
    found = {"columns": COLUMNS, "constraints": CONSTRAINTS, "indexes": INDEXES}
    found |= {"functions": FUNCTIONS, "configurations": CONFIGURATIONS}
    rows = {name: unit.session.all(Statement(text, name)) for name, text in found.items()}
    return {
        name: [row for row in told if not str(row[0]).startswith(BOOKKEEPING)] for name, told in rows.items()
    }


@contextmanager
def scratch_schema(unit: UnitOfWork) -> Iterator[None]:
    unit.session.run(Statement("CREATE SCHEMA scratch", "test", writes=True))
    unit.session.run(Statement("SET LOCAL search_path TO scratch", "test"))
    yield
    unit.session.run(Statement("SET LOCAL search_path TO DEFAULT", "test"))


def test_the_migrated_schema_is_what_the_models_say(uow: UnitOfWork) -> None:
    migrated = catalogue(uow)
    assert {row[0] for row in migrated["columns"]} == set(TABLES)
    with scratch_schema(uow):
        uow.session.script(create_tables(tables_of(ENTITIES)))
        built = catalogue(uow)
    for kind, rows in migrated.items():
        assert built[kind] == rows, kind


def test_dropping_the_models_tables_leaves_nothing(uow: UnitOfWork) -> None:
    with scratch_schema(uow):
        uow.session.script(create_tables(tables_of(ENTITIES)))
        uow.session.script(drop_tables(tables_of(ENTITIES)))
        assert uow.session.all(Statement(EVERYTHING, "test")) == []


def test_down_leaves_nothing(database: Database) -> None:
    manager = MigrationManager(database)
    assert manager.status().at_head
    manager.rollback(target=0)
    left = {row[0] for row in database.session.all(Statement(EVERYTHING, "test"))}
    assert {name for name in left if HISTORY not in name} == set()
    manager.migrate()
    with database.unit_of_work() as unit:
        assert {row[0] for row in catalogue(unit)["columns"]} == set(TABLES)


def test_the_entities_are_the_repositories() -> None:
    assert [entity.record.__name__ for entity in Repositories.entities().values()] == [  # pyright: ignore[reportGeneralTypeIssues]  # each class has its own
        model.__name__ for model in ENTITIES
    ]
    assert list(Repositories.entities()) == [model.table.name for model in ENTITIES]


# -------------------------------------------------------------------------------------- rules of the design


def keys(uow: UnitOfWork, kinds: str) -> list[tuple[str, str, list[str]]]:
    text = """
        SELECT conrelid::regclass::text, conname,
               (SELECT array_agg(a.attname::text ORDER BY k.place) FROM unnest(conkey) WITH ORDINALITY AS
                k(number, place) JOIN pg_attribute AS a ON a.attrelid = conrelid AND a.attnum = k.number)
        FROM pg_constraint WHERE connamespace = current_schema()::regnamespace AND contype = ANY(%s::"char"[])
    """
    rows = uow.session.all(Statement(text, "test"), [list(kinds)])
    return [(row[0], row[1], row[2]) for row in rows if row[0] in TABLES]


def test_each_unique_key_of_a_child_holds_the_project(uow: UnitOfWork) -> None:
    found = keys(uow, "pu")
    assert len(found) == 2 * len(TABLES)
    assert {
        name for table, name, columns in found if table != "projects" and "project_id" not in columns
    } == set()
    unique = (
        "SELECT count(*) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid WHERE indisunique AND "
    )
    text = unique + "c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(%s::text[])"
    assert uow.session.one(Statement(text, "test"), [list(TABLES)]) == (len(found),)


def test_references_cascade_or_restrict_and_hold_the_project(uow: UnitOfWork) -> None:
    rules = uow.session.all(
        "SELECT conname, confdeltype, confupdtype FROM pg_constraint WHERE contype = 'f' "
        "AND connamespace = current_schema()::regnamespace"
    )
    assert {row[1] for row in rules} <= {"c", "r"}
    assert {row[2] for row in rules} == {"a"}
    for table, name, columns in keys(uow, "f"):
        assert columns[0] == "project_id", (table, name)


def test_each_reference_has_an_index(uow: UnitOfWork) -> None:
    text = """
        SELECT indrelid::regclass::text,
               (SELECT array_agg(a.attname::text ORDER BY k.place)
                FROM unnest(indkey::int2[]) WITH ORDINALITY AS k(number, place)
                JOIN pg_attribute AS a ON a.attrelid = indrelid AND a.attnum = k.number)
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am ON pg_am.oid = c.relam
        WHERE c.relnamespace = current_schema()::regnamespace AND amname = 'btree' AND indpred IS NULL
    """
    indexes = uow.session.all(Statement(text, "test"))
    for table, name, columns in keys(uow, "f"):
        assert any(row[0] == table and row[1][: len(columns)] == columns for row in indexes), name


def test_no_triggers_and_no_long_names(uow: UnitOfWork) -> None:
    assert uow.session.one("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == (0,)
    assert uow.session.one("SELECT count(*) FROM pg_rules WHERE schemaname = current_schema()") == (0,)
    declared = create_tables(tables_of(ENTITIES))
    names = {row[0] for row in uow.session.all(Statement(EVERYTHING, "test"))}
    names |= {row[1] for row in catalogue(uow)["constraints"]}
    assert max(len(name.encode()) for name in names) <= 63
    for name in {row[1] for row in catalogue(uow)["constraints"]}:
        assert f" {name} " in declared  # as it was written: not cut, not numbered


def test_every_constrained_column_has_a_check_of_its_name(uow: UnitOfWork) -> None:
    found = {row[1] for row in catalogue(uow)["constraints"] if row[2] == "c"}
    for table in TABLES.values():
        for column in table.columns:
            assert (f"{table.name}_{column.name}_check" in found) == bool(column.checks)


# ------------------------------------------------------------------------------------------- plain SQL


LONG = "x" * 10_001
WRONG_BY_FIELD: dict[str, list[Any]] = {
    "version": [0, -1],
    "name": ["", "x" * 501],
    "slug": ["", "Upper", "a b", "-a", "a-", "a--b", "ü", "x" * 201, "a\n", "a\n-b"],
    "description": [LONG],
    "owner": ["", "x" * 201],
    "tags": [["a", None], [str(n) for n in range(101)]],
    "metadata": ["[]", '"text"', "1", "null"],
    "metadata_schemas": ["[]", '"text"', "1", "null"],
    "media_info": ["[]", '"text"', "1", "null"],
    "title": ["", "x" * 501],
    "content_type": ["", "ab", "text", "x" * 256, "text/plain; charset=x"],
    "language": ["", "e", "x" * 64],
    "source_language": ["", "e", "x" * 64],
    "target_language": ["", "e", "x" * 64],
    "filename": ["", "x/" * 1000 + "x", "ü/" * 700 + "x"],
    "size_bytes": [-1],
    "checksum": ["", "abc", "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n"],
    "storage_uri": ["", "x" * 2001, "ü" * 1500],
    "thumbnail_uri": ["", "x" * 2001, "ü" * 1500],
    "word_count": [-1],
    "char_count": [-1],
    "tokens": ["", r"\x0102"],
    "token_count": [-1],
    "content_format": ["", "rtf", "HTML"],
    "generator": ["", "x" * 201],
    "container": ["", "x" * 201],
    "duration": [-0.5, float("nan"), float("inf"), float("-inf")],
    "width": [0, -1],
    "height": [0, -1],
    "frame_rate": [0.0, -1.0, 1000.5, float("nan"), float("inf")],
    "codecs": [["a", None], [str(n) for n in range(101)]],
    "bit_rate": [-1],
    "rotation": [-90, 45, 360],
    "audio_languages": [["a", None], [str(n) for n in range(101)]],
    "subtitle_languages": [["a", None], [str(n) for n in range(101)]],
    "url": ["", "https://x.example/" + "x" * 2000],
    "host": ["", "x" * 256],
    "original_url": ["", "x" * 8001],
    "kind": ["", "no such kind"],
    "status": ["", "no such status"],
}
# Content may be empty where it is a text source's.
WRONG_BY_COLUMN: dict[tuple[str, str], list[Any]] = {
    ("summaries", "content"): [""],
    ("translations", "content"): [""],
}


def wrong_values() -> list[Any]:
    found = []
    for table in TABLES.values():
        for column in table.columns:
            values = WRONG_BY_FIELD.get(column.name, []) + WRONG_BY_COLUMN.get((table.name, column.name), [])
            for place, value in enumerate(values):
                id = f"{table.name}.{column.name}-{place}"
                found.append(pytest.param(table.name, column.name, value, id=id))
    return found


@pytest.mark.parametrize(("table", "column", "value"), wrong_values())
def test_the_table_refuses_by_itself_what_the_model_refuses(
    uow: UnitOfWork, table: str, column: str, value: Any
) -> None:
    entity = getattr(uow, table)
    record = factory_of(entity.draft).create(uow)
    with pytest.raises(ValueError, match=r"\w"):
        type(record).model_validate(dict(record) | {column: value})
    kind = entity.table.column(column).type
    text = f"UPDATE {table} SET {column} = %s::text::{kind} WHERE id = %s"
    sent = _array(value) if isinstance(value, list) else str(value)
    with pytest.raises(CheckFailed) as caught, uow.savepoint():
        uow.session.run(Statement(text, "test", writes=True), [sent, record.id])
    assert caught.value.constraint == f"{table}_{column}_check"
    assert entity.get_by_id(record.id) == record


def _array(items: list[Any]) -> str:
    return "{" + ",".join("NULL" if item is None else item for item in items) + "}"


def test_every_check_is_tried() -> None:
    for table in TABLES.values():
        for column in table.columns:
            if column.checks:
                assert column.name in WRONG_BY_FIELD or (table.name, column.name) in WRONG_BY_COLUMN


def test_required_columns_refuse_null(uow: UnitOfWork) -> None:
    for name, table in TABLES.items():
        record = factory_of(getattr(uow, name).draft).create(uow)
        for column in table.columns:
            text = f"UPDATE {name} SET {column.name} = NULL WHERE id = %s"
            if not column.nullable:
                with pytest.raises((RequiredValueMissing, ConstraintViolation)) as caught, uow.savepoint():
                    uow.session.run(Statement(text, "test", writes=True), [record.id])
                assert caught.value.columns == (column.name,)


def test_exactly_one_original_of_a_translation(uow: UnitOfWork) -> None:
    translation = TranslationFactory.create(uow)
    text = "UPDATE translations SET text_source_id = NULL WHERE id = %s"
    with pytest.raises(CheckFailed) as caught, uow.savepoint():
        uow.session.run(Statement(text, "test", writes=True), [translation.id])
    assert caught.value.constraint == "translations_one_original_check"


def test_a_row_cannot_point_into_another_project(uow: UnitOfWork) -> None:
    here, there = TextSourceFactory.create(uow), TextSourceFactory.create(uow)
    translation = TranslationFactory.create(uow, text_source_id=here.id)
    text = "UPDATE translations SET text_source_id = %s WHERE id = %s"
    with pytest.raises(MissingReference), uow.savepoint():
        uow.session.run(Statement(text, "test", writes=True), [there.id, translation.id])
    foreign = TranslationFactory.build(project_id=here.project_id, text_source_id=there.id)
    with pytest.raises(MissingReference), uow.savepoint():
        uow.translations.create(foreign)


def test_a_project_goes_with_all_below_it_in_plain_sql(uow: UnitOfWork) -> None:
    translation = TranslationFactory.create(uow)
    VideoFactory.create(uow, translation_id=translation.id)
    uow.session.run("DELETE FROM projects WHERE id = %s", [translation.project_id])
    for name in TABLES:
        assert getattr(uow, name).count() == 0


# --------------------------------------------------------------------------------------------- full text

LETTERS = [chr(code) for code in range(0x20000, 0x20000 + 2000)]  # four bytes each, all of them letters
LATIN = "abcdefghijklmnopqrstuvwxyz0123456789"


def unique(alphabet: Any, length: int, size: int) -> Iterator[str]:
    for number, letters in enumerate(product(alphabet, repeat=length)):
        if number == size:
            return
        yield "".join(letters)


def hostile_texts() -> dict[str, str]:
    """Texts whose prefix makes as many, and as large, lexemes as could be thought of."""
    wide = list(unique(LETTERS, 2, 60_000))
    narrow = list(unique(LATIN, 3, 46_000))
    return {
        "two letters of four bytes": " ".join(wide),
        "one letter of four bytes": " ".join(chr(c) for c in range(0x20000, 0x2A000)),
        "hyphenated, one letter a part": " ".join("-".join(pair) for pair in wide),
        "hyphenated, two letters a part": "-".join(wide),
        "long hyphenated words": " ".join("-".join(wide[n : n + 20]) for n in range(0, 60_000, 20)),
        "pairs of one unique letter": " ".join(
            f"{chr(c)}-{chr(c + 1)}" for c in [*range(0x20000, 0x2A6DE, 2), *range(0x2B820, 0x2CEA0, 2)]
        ),
        "hyphenated in groups of three": " ".join("-".join(wide[n : n + 3]) for n in range(0, 60_000, 3)),
        "three ASCII letters": " ".join(narrow),
        "hyphenated ASCII": " ".join(f"{a[0]}-{a[1:]}" for a in narrow),
        "long hyphenated ASCII": " ".join("-".join(narrow[n : n + 10]) for n in range(0, 46_000, 10)),
        "URLs": " ".join(f"{a[:2]}.uk/{a}" for a in narrow),
        "URLs with a wide path": " ".join(f"a.uk/{a}" for a in wide),
        "URLs in one letter": " ".join(f"{a}.uk/{b}" for a, b in zip(narrow, wide, strict=False)),
        "e-mail addresses": " ".join(f"{a}@b.uk" for a in narrow),
        "numbers": " ".join(str(number) for number in range(40_000)),
        "signed numbers": " ".join(f"-{number}.{number}e5" for number in range(30_000)),
        "versions": " ".join(f"{n}.{n + 1}.{n + 2}" for n in range(20_000)),
        "files": " ".join(f"/{a}/{a}" for a in narrow),
        "one long word after another": " ".join("".join(wide[n : n + 250]) for n in range(0, 60_000, 250)),
        "long URL paths": " ".join("a.uk/" + "/".join(wide[n : n + 100]) for n in range(0, 60_000, 100)),
        "nested paths": "a.uk/" + "/".join(wide),
        "hyphenated with digits": " ".join(f"{a[0]}1-{a[1]}2" for a in wide),
        "tags and entities": " ".join(f"<{a}>&{a};" for a in narrow),
    }


HOSTILE = hostile_texts()
LONGEST = 10 * 1024 * 1024


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_is_too_much_for_the_search_vector(uow: UnitOfWork, name: str) -> None:
    source = TextSourceFactory.create(uow, title="x" * 500, content=HOSTILE[name], language="und")
    [lexemes] = uow.session.one("SELECT length(search_vector) FROM text_sources WHERE id = %s", [source.id])
    assert lexemes > 0


@pytest.mark.parametrize("language", ["und", "en"])
def test_a_text_of_10_mb_is_stored_whole(uow: UnitOfWork, language: str) -> None:
    content = " ".join(HOSTILE.values())
    content += "\n" * (LONGEST - len(content.encode()))
    source = TextSourceFactory.create(uow, content=content, language=language)
    assert uow.text_sources.get_by_id(source.id).content == content
