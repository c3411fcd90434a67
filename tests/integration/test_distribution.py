"""The tables can be spread over a Citus cluster, and every statement says of itself where it goes.

Citus cannot be installed where these tests run. What is its own to do is not shown here: that shards are
made and moved, and that its planner takes a statement. Shown are the plan, over states given as values and
over the real catalogue; that it is carried out, over a stand-in of the functions that it calls, which note
what they are given and spread nothing; and what each statement carries, on the wire.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from database_handler import (
    Change,
    Database,
    DatabaseConfig,
    FilesConfig,
    NewLink,
    NewProject,
    Outcome,
    ProjectStatus,
)
from database_handler.core.exceptions import (
    DatabaseHandlerError,
    InvalidValue,
    RecordNotFound,
    StaleRecord,
    StatusMoveRefused,
)
from database_handler.models import ENTITIES
from database_handler.operations.distribution import (
    ClusterState,
    DistributionRefused,
    ForeignKeyFound,
    Placed,
    UniqueKey,
    node_sql,
    plan_distribution,
)
from database_handler.testing import factory_of
from database_handler.testing.plugin import _made
from tests.support.pages import Walk, only_settings, section
from tests.support.repository_calls import call, methods, needed
from tests.support.valid_arguments import Scene, scene_of
from tests.support.wire import CountingProxy

TABLES = [record.table for record in ENTITIES]
NAMES = tuple(table.name for table in TABLES)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
READY = ClusterState("films", citus="13.0", workers=("one:5432", "two:5432"), tables=NAMES)
BY_ID = (
    "SELECT create_distributed_table('projects', 'id', colocate_with => 'none')",
    *(
        f"SELECT create_distributed_table('{name}', 'project_id', colocate_with => 'projects')"
        for name in NAMES[1:]
    ),
)


# --------------------------------------------------------------------------------------------------- the plan


def test_projects_go_by_id_and_children_beside_them() -> None:
    plan = plan_distribution(TABLES, READY)
    assert (plan.findings, plan.placed) == ((), ())
    assert plan.statements == BY_ID
    assert [table.name for table in TABLES].index("projects") == 0


def test_a_second_plan_is_empty_and_one_in_between_goes_on() -> None:
    placed = tuple(Placed(name, "id" if name == "projects" else "project_id", 7) for name in NAMES)
    again = plan_distribution(TABLES, replace(READY, placed=placed))
    assert (again.steps, again.findings, again.placed) == ((), (), NAMES)
    half = plan_distribution(TABLES, replace(READY, placed=placed[:3]))
    assert half.statements == BY_ID[3:]


def test_projects_as_a_copy_on_every_node() -> None:
    plan = plan_distribution(
        TABLES,
        replace(READY, unique_keys=(UniqueKey("projects", "projects_key", ("slug",)),)),
        projects="reference",
    )
    first, second, third, *_ = plan.statements
    assert first == "SELECT create_reference_table('projects')"
    assert second.endswith("('text_sources', 'project_id', colocate_with => 'none')")
    assert third.endswith("colocate_with => 'text_sources')")
    assert plan.findings == ()


def _foreign(**changes: Any) -> ForeignKeyFound:
    key = ForeignKeyFound(
        "summaries",
        "k",
        ("project_id", "text_source_id"),
        "text_sources",
        ("project_id", "id"),
        "CASCADE",
    )
    return replace(key, **changes)


BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "no Citus": ({"citus": None}, "citus", "shared_preload_libraries"),
    "not created": ({"citus": None, "available": True}, "citus", "CREATE EXTENSION citus"),
    "not migrated": ({"tables": NAMES[:-1]}, "table", "migrate first"),
    "a slug": (
        {"unique_keys": (UniqueKey("projects", "projects_key", ("slug",)),)},
        "unique key",
        "reference",
    ),
    "a key of a child": ({"unique_keys": (UniqueKey("links", "u", ("url",)),)}, "unique key", "project_id"),
    "SET NULL": ({"foreign_keys": (_foreign(on_delete="SET NULL"),)}, "foreign key", "CASCADE or RESTRICT"),
    "SET DEFAULT": ({"foreign_keys": (_foreign(on_delete="SET DEFAULT"),)}, "foreign key", "CASCADE"),
    "another node": (
        {"foreign_keys": (_foreign(columns=("text_source_id",), target_columns=("id",)),)},
        "foreign key",
        "begin with the project",
    ),
    "no model's": ({"foreign_keys": (_foreign(target="genres"),)}, "foreign key", "create_reference_table"),
    "from no model's": ({"foreign_keys": (_foreign(table="notes"),)}, "foreign key", "drop it"),
    "a trigger": ({"triggers": (("links", "touch"),)}, "trigger", "DROP TRIGGER touch ON links"),
    "another column": ({"placed": (Placed("links", "id", 1),)}, "placement", "undistribute_table"),
    "apart": (
        {"placed": (Placed("projects", "id", 1), Placed("links", "project_id", 2))},
        "placement",
        "update_distributed_table_colocation",
    ),
    "a node without": ({"lacking": (("one:5432", "extension unaccent"),)}, "node", "--node-sql"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_rule_is_found_and_says_what_to_do(what: str) -> None:
    changes, rule, remedy = BROKEN[what]
    [finding] = plan_distribution(TABLES, replace(READY, **changes)).findings
    assert finding.rule == rule
    assert remedy in finding.remedy
    assert finding.why


def test_keys_that_hold_are_no_findings() -> None:
    kept = (
        _foreign(),
        _foreign(on_delete="RESTRICT"),
        ForeignKeyFound("links", "k", ("project_id",), "projects", ("id",), "CASCADE"),
    )
    unique = (UniqueKey("links", "links_key", ("project_id", "url")), UniqueKey("projects", "pkey", ("id",)))
    assert plan_distribution(TABLES, replace(READY, foreign_keys=kept, unique_keys=unique)).findings == ()


# ----------------------------------------------------------------------------------------- the real catalogue


@pytest.fixture
def own(database_template: DatabaseConfig) -> Iterator[Database]:
    with _made(database_template, template=database_template.name) as config, Database(config) as database:
        yield database


def test_without_the_extension_it_is_refused_with_the_remedy(own: Database) -> None:
    plan = own.distribute(dry_run=True)
    assert {finding.rule for finding in plan.findings} == {
        "citus",
        "unique key",
    }  # and that of slugs, no other
    assert [finding.rule for finding in own.distribute(projects="reference", dry_run=True).findings] == [
        "citus"
    ]
    with pytest.raises(DistributionRefused, match=r"extension citus is not.*Nothing was changed") as caught:
        own.distribute(projects="reference")
    assert [finding.rule for finding in caught.value.findings] == ["citus"]
    with pytest.raises(InvalidValue, match="projects"):
        own.distribute(projects="everywhere")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_the_catalogue_shows_each_rule_that_is_broken(own: Database) -> None:
    own.session.script(
        "CREATE UNIQUE INDEX links_title ON links (title);"
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER touching BEFORE UPDATE ON links FOR EACH ROW EXECUTE FUNCTION touch();"
        "CREATE TABLE notes (link uuid, project uuid, "
        "CONSTRAINT of_link FOREIGN KEY (project, link) REFERENCES links (project_id, id));"
        "ALTER TABLE videos ADD CONSTRAINT of_links FOREIGN KEY (project_id, id) "
        "REFERENCES links (project_id, id) ON DELETE SET NULL"
    )
    found = own.distribute(projects="reference", dry_run=True).findings
    assert {(finding.rule, finding.object) for finding in found if finding.rule != "citus"} == {
        ("unique key", "links.links_title (title)"),
        ("trigger", "links.touching"),
        ("foreign key", "notes.of_link"),
        ("foreign key", "videos.of_links"),
    }


# What Citus has under these names, but for the spreading: it notes what it is given. The first worker answers
# as this server does, the second what it is told to.
STAND_IN = """
CREATE TABLE pg_dist_partition (
    logicalrelid regclass, partmethod "char", partkey text, colocationid int, repmodel "char"
);
CREATE FUNCTION citus_version() RETURNS text LANGUAGE sql AS $$ SELECT 'Citus 13.0.3 on a stand-in' $$;
CREATE FUNCTION column_to_column_name(regclass, text) RETURNS text LANGUAGE sql AS 'SELECT $2';
CREATE FUNCTION create_distributed_table(t regclass, c text, colocate_with text) RETURNS void
    LANGUAGE sql AS $$
    INSERT INTO pg_dist_partition SELECT t, 'h', c, CASE colocate_with WHEN 'none' THEN 1 + count(*)
    ELSE (SELECT colocationid FROM pg_dist_partition WHERE logicalrelid = colocate_with::regclass) END, 's'
    FROM pg_dist_partition $$;
CREATE FUNCTION create_reference_table(t regclass) RETURNS void LANGUAGE sql AS $$
    INSERT INTO pg_dist_partition VALUES (t, 'n', NULL, 99, 't') $$;
CREATE TABLE worker (answers text);
CREATE FUNCTION run_command_on_workers(command text)
    RETURNS TABLE (nodename text, nodeport int, success bool, result text) LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE command INTO result; nodename := 'one'; nodeport := 5432; success := true; RETURN NEXT;
    result := (SELECT answers FROM worker); nodename := 'two'; success := result IS NOT NULL;
    RETURN NEXT; END $$;
"""
ALL_THERE = """
UPDATE worker SET answers = (SELECT string_agg(w, E'\\n') FROM (
SELECT 'extension ' || extname FROM pg_extension
UNION SELECT 'text search configuration ' || cfgname FROM pg_ts_config
UNION SELECT 'function ' || proname FROM pg_proc WHERE proname LIKE 'database%') AS t(w))
"""


def test_over_a_stand_in_it_is_carried_out_once(own: Database) -> None:
    own.session.script(STAND_IN)
    found = own.distribute(projects="reference", dry_run=True).findings
    assert [(f.object, f.why.split(",")[0]) for f in found] == [("two:5432", "it has no answer")]
    own.session.script("INSERT INTO worker VALUES ('extension pg_trgm')")
    lacking = own.distribute(projects="reference", dry_run=True).findings
    assert any("extension unaccent" in finding.why for finding in lacking)
    assert not any("extension pg_trgm" in finding.why for finding in lacking)
    assert any("text search configuration database_handler_english" in finding.why for finding in lacking)
    with pytest.raises(DistributionRefused):
        own.distribute(projects="reference")
    own.session.script(ALL_THERE)
    done = own.distribute(projects="reference")
    assert (done.citus, done.workers, len(done.steps)) == ("13.0.3", ("one:5432", "two:5432"), len(NAMES))
    again = own.distribute(projects="reference")
    assert (again.steps, sorted(again.placed)) == ((), sorted(NAMES))
    with pytest.raises(DistributionRefused, match="copied to every node already"):
        own.distribute()
    own.session.script("TRUNCATE pg_dist_partition; ALTER TABLE projects DROP CONSTRAINT projects_key")
    assert own.distribute().statements == BY_ID
    rows = own.session.all("SELECT DISTINCT partkey, colocationid FROM pg_dist_partition ORDER BY 1")
    assert rows == [("id", 1), ("project_id", 1)]


def test_the_script_of_a_node_makes_what_is_looked_for(database_server: DatabaseConfig) -> None:
    with _made(database_server) as config, Database(config) as bare:
        bare.session.script(node_sql())
        assert bare.session.one("SELECT count(*) > 25 FROM pg_ts_config WHERE cfgname LIKE 'database%'") == (
            True,
        )


def test_the_page_and_its_command_are_true(
    own: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only_settings(monkeypatch, tmp_path, DATABASE_URL=own.config.url(hide_password=False))
    walk = Walk(monkeypatch, capsys)
    found = section(PAGE, "Citus")
    assert [block.language for block in found] == ["console", "python"]
    for block in found:
        getattr(walk, block.language)(block.code)
    told = json.loads(
        walk.command("$ database-handler distribute --dry-run --json  # exit code 4").split("\n", 1)[1]
    )
    assert [step["sql"] for step in told["steps"]] == [*BY_ID]
    own.session.script(STAND_IN + "INSERT INTO worker VALUES (NULL); " + ALL_THERE)
    assert "2 workers; 6 tables to spread" in walk.command(
        "$ database-handler distribute --projects reference --dry-run  # exit code 2"
    )
    assert "6 tables spread, 0 tables in place already" in walk.command(
        "$ database-handler distribute --projects reference"
    )


# ------------------------------------------------------------------------------------- with DB_CITUS=true


@contextmanager
def on_the_wire(config: DatabaseConfig, **settings: object) -> Iterator[tuple[CountingProxy, Database]]:
    small = {"pool_size": 1, "max_overflow": 0, "citus": True}
    with CountingProxy(config) as proxy, Database(proxy.config.with_(**small | settings)) as database:
        yield proxy, database


def test_rows_are_locked_with_their_project_which_is_found_first(own: Database) -> None:
    mine, other = (own.projects.create(name=name) for name in ("mine", "other"))
    link, far = (own.links.create(project_id=p.id, url=f"https://{p.slug}.example/") for p in (mine, other))
    with on_the_wire(own.config) as (proxy, database):
        works: list[Callable[[Database], object]] = [
            lambda db: db.links.update(link.id, title="t", expected_version=1),
            lambda db: db.links.update(link.id, metadata={"a": 1}),
            lambda db: db.links.update_many([Change(id=link.id, changes={"title": "u"})]),
            lambda db: db.links.delete_many([link.id]),
            lambda db: db.links.delete(far.id, 1),
        ]
        for work in works:
            with proxy.counting() as trips:
                work(database)
            assert trips.count == 2, trips.texts
            assert_locked_by_project(trips.texts)
        with database.unit_of_work(project_id=mine.id) as unit, proxy.counting() as trips:
            assert unit.links.create(project_id=mine.id, url="https://again.example/").version == 1
            unit.links.update(unit.links.list()[0].id, title="found by the unit's project")
        assert trips.count == 3


def test_stale_missing_and_several_projects_are_told_as_ever(own: Database) -> None:
    mine, other = (own.projects.create(name=name) for name in ("mine", "other"))
    links = [own.links.create(project_id=p.id, url=f"https://{p.slug}.example/") for p in (mine, other)]
    absent = UUID(int=7)
    with Database(own.config.with_(citus=True)) as database:
        with pytest.raises(StaleRecord) as caught:
            database.links.update(links[0].id, title="t", expected_version=9)
        assert caught.value.current == (links[0],)
        with pytest.raises(RecordNotFound):
            database.links.update(absent, title="t")
        with pytest.raises(RecordNotFound):
            database.links.delete(absent)
        assert database.links.delete_many([absent]) == 0
        with pytest.raises(RecordNotFound):
            database.links.update_many([Change(id=absent, changes={"title": "t"})])
        with pytest.raises(InvalidValue, match=r"of 2 projects.*call it for each"):
            database.links.delete_many([each.id for each in links])
        with pytest.raises(InvalidValue, match="of 2 projects"):
            database.projects.update_many([Change(id=p.id, changes={"name": "n"}) for p in (mine, other)])
        assert database.projects.update(mine.id, description="d").version == 2


def test_a_claim_goes_from_project_to_project(own: Database) -> None:
    for name in ("a", "b", "c"):
        project = own.projects.create(NewProject(name=name))
        own.videos.create_many(
            factory_of(own.videos.draft).build_batch(
                2, project_id=project.id, status="pending", translation_id=None
            )
        )
    with on_the_wire(own.config) as (proxy, database):
        with proxy.counting() as trips:
            first = database.videos.claim(3)
        assert (len(first), len({claim.record.project_id for claim in first}), trips.count) == (3, 2, 1 + 2)
        assert_locked_by_project(trips.texts)
        rest = database.videos.claim(10)
        assert len(rest) == 3
        assert len({claim.record.id for claim in (*first, *rest)}) == 6
        assert database.videos.claim(1) == []
        with proxy.counting() as trips:
            assert database.videos.finish(first[0]).version == first[0].record.version + 1
            database.videos.give_back(first[1])
        assert_locked_by_project(trips.texts)


_LOCK = re.compile(r"SELECT (?:(?!SELECT).)*?FOR (?:NO KEY )?UPDATE", re.DOTALL)


# What Citus refuses to plan wherever it writes (docs/scale.md says by which issue): what is
# not immutable in the SET of an ON CONFLICT, in a CASE or COALESCE of an UPDATE, and in RETURNING.
_CHANGING = (
    r"(?:now|statement_timestamp|clock_timestamp|random|current_setting|set_config|row_security_active)"
)
_REFUSED = (
    re.compile(rf"DO UPDATE SET (?:(?! RETURNING ).)*?\b{_CHANGING}\(", re.DOTALL),
    re.compile(rf"\bUPDATE \w+ AS t SET (?:(?! FROM ).)*?CASE (?:(?! END).)*?\b{_CHANGING}\(", re.DOTALL),
    re.compile(rf" RETURNING [^()]*\b{_CHANGING}\("),
)


def assert_planned(text: str) -> None:
    """Nothing is in it that Citus is known to refuse, whatever node it goes to."""
    for refused in _REFUSED:
        assert not refused.search(text), text
    # Of the project for row-level security a node may know nothing: it is asked for with `missing_ok`.
    assert not re.search(r"current_setting\('database_handler\.\w+'\)", text), text


def assert_locked_by_project(texts: list[str]) -> None:
    """Each part of a statement that locks rows names one project."""
    locks = [part for text in texts for part in _LOCK.findall(text)]
    assert locks, texts
    for part in locks:
        assert re.search(r"project_id = '[0-9a-f-]{36}'", part), part


def test_an_upsert_goes_step_by_step_each_of_one_project(own: Database) -> None:
    mine, other = (own.projects.create(name=name) for name in ("mine", "other"))
    drafts = [NewLink(project_id=p.id, url=f"https://{n}.example/") for n in "ab" for p in (mine, other)]
    kept = own.links.create(drafts[0])
    with on_the_wire(own.config) as (proxy, database):
        with proxy.counting() as trips:
            found = database.links.upsert_many([*drafts[1:], drafts[0].model_copy(update={"title": "new"})])
        assert [each.outcome for each in found] == [Outcome.INSERTED] * 3 + [Outcome.UPDATED]
        assert [each.record.url for each in found] == [draft.url for draft in (*drafts[1:], drafts[0])]
        assert found[3].record.id == kept.id
        assert found[3].record.updated_at > kept.updated_at
        assert trips.count == 2 * 2 + 1  # COMMIT is the last
        for text in trips.texts:
            assert "current_setting('database_handler." not in text
            assert not {str(mine.id), str(other.id)} <= set(re.findall(r"[0-9a-f-]{36}", text))
        assert {each.outcome for each in database.links.upsert_many(drafts[1:])} == {Outcome.UNCHANGED}
        active = NewProject(name="Mine", slug=mine.slug, status=ProjectStatus.ACTIVE)
        assert database.projects.upsert(active).record.id == mine.id
        back = active.model_copy(update={"status": ProjectStatus.DRAFT})
        with database.unit_of_work() as unit:
            unit.links.create(project_id=mine.id, url="https://kept.example/")
            with pytest.raises(StatusMoveRefused) as on_a_cluster:
                unit.projects.upsert_many([NewProject(name="Another"), back])
        assert database.links.count() == 5
        assert database.projects.count() == 2  # nothing of the refused call
    with pytest.raises(StatusMoveRefused) as on_one_server:
        own.projects.upsert(back)
    assert str(on_one_server.value).startswith(str(on_a_cluster.value))
    assert on_one_server.value.table == on_a_cluster.value.table == "projects"


def test_a_project_is_copied_by_way_of_the_client(own: Database) -> None:
    project = own.projects.create(name="One", description="d")
    links = [own.links.create(project_id=project.id, url=f"https://{n}.example/") for n in "ab"]
    with Database(own.config.with_(citus=True)) as database:
        copy = database.projects.clone(project.id, name="Two")
        assert (copy.name, copy.slug, copy.description) == ("Two", "two", "d")
        copied = database.links.list(project_id=copy.id, order_by="id")
        assert [each.url for each in copied] == [each.url for each in links]
        with pytest.raises(RecordNotFound):
            database.projects.clone(UUID(int=7), name="Three")


# ------------------------------------------------------------------------------------------- every statement

ONE, ROWS, EVERY = "one project's", "its rows' projects'", "every"
HEADING = "| statement | goes to the nodes of | in a unit of one project |"
_NAME = re.compile(r"/\* ([\w.]+) \*/")


def listed(project: UUID, texts: list[str]) -> Iterator[tuple[str, str]]:
    """Give each statement's name, and where it goes."""
    for text in texts:
        for statement in text.split(";"):
            if name := _NAME.search(statement):
                rows = re.search(r"\bINSERT (/\*.*?\*/ )?INTO|^COPY\b", statement)
                yield name[1], ONE if str(project) in statement else ROWS if rows else EVERY


def sent(scene: Scene, proxy: CountingProxy, database: Database, project: UUID | None) -> Iterator[list[str]]:
    """Call every public method, what all children have on links alone, in units that are undone."""
    for public in methods():
        if public.again and public.over != "links":
            continue
        given = needed(scene, public)
        with (
            proxy.counting() as trips,
            suppress(DatabaseHandlerError),
            database.unit_of_work(project_id=project) as unit,
        ):
            call(replace(scene, uow=unit), public, given)
            unit.rollback()
        yield trips.texts


def shown(goes: dict[str, dict[bool, set[str]]]) -> str:
    """Write the table of the page; what is links' and another child's too is shown for links."""
    lines = []
    for name, places in sorted(goes.items()):
        entity, _, verb = name.partition(".")
        if entity not in {"projects", "links"} and f"links.{verb}" in goes:
            continue
        told = [" or ".join(sorted(places[held])) or "not sent" for held in (False, True)]
        lines.append(f"| `{name}` | {told[0]} | {told[1]} |")
    return "\n".join((HEADING, "|---|---|---|", *lines))


def test_every_statement_is_listed_and_locks_rows_of_one_project(
    database_template: DatabaseConfig, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("A short text, to be read.")
    files = FilesConfig(store_url=str(tmp_path / "store"), media_root=tmp_path)
    goes: dict[str, dict[bool, set[str]]] = {}
    with (
        _made(database_template, template=database_template.name) as config,
        Database(config, files=files) as direct,
        CountingProxy(config) as proxy,
        Database(proxy.config.with_(citus=True), files=files) as database,
    ):
        scene = scene_of(direct, config, tmp_path)
        direct.translations.give_back(scene.claims["translations"])  # so that there is work to claim
        project = scene.project.id
        for held in (False, True):
            for texts in sent(scene, proxy, database, project if held else None):
                for name, where in listed(project, texts):
                    goes.setdefault(name, {False: set(), True: set()})[held].add(where)
                for part in (part for text in texts for part in _LOCK.findall(text)):
                    assert str(project) in part, part
                for text in texts:
                    assert_planned(text)
    table = shown(goes)
    assert table in PAGE.read_text("utf-8"), f"the table of {PAGE.name} has to be:\n{table}"
