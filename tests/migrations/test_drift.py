"""What changed in a database behind its versions is told, object by object, and can be made part of them."""

from collections.abc import Callable

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.session import Session
from database_handler.migrations import MigrationFailed, MigrationManager
from database_handler.migrations.errors import DecisionNeeded, PendingVersions
from database_handler.migrations.live.adopting import Adopted
from database_handler.migrations.runner.recording import TABLE
from database_handler.migrations.schema.differences import Differences
from tests.migrations.conftest import Folder

Make = Callable[..., MigrationManager]

NOTES = (
    "CREATE TABLE notes (id int PRIMARY KEY, body text NOT NULL DEFAULT 'x', mood text);"
    "CREATE VIEW moods AS SELECT mood FROM notes;"
)


@pytest.fixture
def notes(folder: Folder, manager: Make) -> MigrationManager:
    folder.write("0001_notes", NOTES, "DROP VIEW moods; DROP TABLE notes;")
    made = manager()
    made.migrate()
    return made


def told(found: Differences) -> dict[str, str]:
    return {f"{item.kind} {item.name}": item.change for item in found.items}


def test_nothing_has_drifted_after_a_run_up_or_down(
    notes: MigrationManager, folder: Folder, session: Session
) -> None:
    assert (notes.drift().drifted, notes.drift().source) == (False, "recorded")
    folder.write("0002_more", "ALTER TABLE notes ADD COLUMN more int;", "ALTER TABLE notes DROP COLUMN more;")
    notes.migrate()
    assert notes.drift() == notes.drift()
    assert (notes.drift().drifted, notes.drift().heads) == (False, {"application_migrations": "0002_more"})
    notes.rollback()
    report = notes.drift()
    assert (report.drifted, report.source, report.heads) == (
        False,
        "recorded",
        {"application_migrations": "0001_notes"},
    )


def test_each_changed_object_is_told_with_what_puts_it_right(
    notes: MigrationManager, session: Session
) -> None:
    session.run("CREATE INDEX by_hand ON notes (mood)")
    session.run("ALTER TABLE notes ALTER COLUMN body SET DEFAULT 'y'")
    session.run("DROP VIEW moods")
    session.run("CREATE TABLE left_over (id int PRIMARY KEY, thing text)")
    session.run("COMMENT ON TABLE notes IS 'mine'")
    report = notes.drift()
    assert told(report.differences) == {
        "index by_hand": "extra",
        "column notes.body": "changed",
        "table left_over": "extra",
        "table notes": "changed",
        "view moods": "missing",
    }
    body = next(item for item in report.differences.items if item.name == "notes.body")
    assert (body.expected, body.found) == (
        "text NOT NULL DEFAULT 'x'::text",
        "text NOT NULL DEFAULT 'y'::text",
    )
    [default] = body.fields
    assert (default.name, default.expected, default.found) == ("default", "'x'::text", "'y'::text")
    assert body.statements == ("ALTER TABLE notes ALTER COLUMN body SET DEFAULT 'x'::text",)
    left_over = next(item for item in report.differences.items if item.name == "left_over")
    assert left_over.found == "(id integer NOT NULL, thing text)"
    assert report.differences.loses == ("the rows of left_over",)
    for statement in report.differences.statements:
        session.script(statement)
    assert not notes.drift().drifted


def test_an_extension_is_drift_where_it_lies_in_the_schema(notes: MigrationManager, session: Session) -> None:
    session.script('CREATE SCHEMA "It\'s ours"; CREATE EXTENSION pg_trgm SCHEMA "It\'s ours"')
    assert not notes.drift().drifted
    session.script("ALTER EXTENSION pg_trgm SET SCHEMA public")
    assert told(notes.drift().differences) == {"extension pg_trgm": "extra"}
    session.script('DROP EXTENSION pg_trgm; DROP SCHEMA "It\'s ours"')


def test_what_no_snapshot_models_is_told_when_it_comes(notes: MigrationManager, session: Session) -> None:
    session.run('CREATE COLLATION odd FROM "C"')
    report = notes.drift()
    assert [(item.change, "odd" in item.name) for item in report.differences.items] == [("extra", True)]
    assert any("odd" in name for _, name in report.differences.unmodelled)


def test_a_run_does_not_take_drift_for_its_own_work(
    notes: MigrationManager, folder: Folder, session: Session
) -> None:
    session.run("CREATE INDEX by_hand ON notes (mood)")
    session.run("ALTER TABLE notes ALTER COLUMN mood SET DEFAULT 'calm'")
    folder.write("0002_more", "ALTER TABLE notes ADD COLUMN more int;", "ALTER TABLE notes DROP COLUMN more;")
    notes.migrate()
    assert told(notes.drift().differences) == {"index by_hand": "extra", "column notes.mood": "changed"}
    folder.write("0003_mood", "ALTER TABLE notes ALTER COLUMN mood SET DEFAULT 'good';")
    notes.migrate()
    assert told(notes.drift().differences) == {"index by_hand": "extra"}


def test_without_a_record_the_versions_are_played(
    notes: MigrationManager, folder: Folder, session: Session
) -> None:
    session.run("CREATE INDEX by_hand ON notes (mood)")
    session.run(f"DROP TABLE {TABLE}")  # as an earlier release leaves it, or a run that was killed
    report = notes.drift()
    assert (report.source, told(report.differences)) == ("replayed", {"index by_hand": "extra"})
    folder.write("0002_more", "ALTER TABLE notes ADD COLUMN more int;")
    notes.migrate()
    report = notes.drift()
    assert (report.source, told(report.differences)) == ("replayed", {"index by_hand": "extra"})


def test_a_record_of_another_head_counts_for_nothing(notes: MigrationManager, session: Session) -> None:
    session.run(f'UPDATE {TABLE} SET heads = \'{{"application_migrations": "0009_other"}}\'')
    assert notes.drift().source == "replayed"
    session.run(
        f"UPDATE {TABLE} SET heads = '{{\"application_migrations\": \"0001_notes\"}}', snapshot = 'x'"
    )
    report = notes.drift()
    assert (report.source, report.drifted) == ("replayed", False)


def test_versions_before_one_that_failed_are_recorded(
    notes: MigrationManager, folder: Folder, session: Session
) -> None:
    folder.write("0002_more", "ALTER TABLE notes ADD COLUMN more int;")
    folder.write("0003_bad", "ALTER TABLE notes ADD COLUMN more int;")
    with pytest.raises(MigrationFailed):
        notes.migrate()
    report = notes.drift()
    assert (report.source, report.drifted) == ("recorded", False)
    assert report.heads == {"application_migrations": "0002_more"}


# --------------------------------------------------------------------------------------------------- adopting


def adopted_elsewhere(folder: Folder, config: DatabaseConfig, session: Session) -> Differences:
    """Undo the adopted version, which is what another database is before it, and run it: nothing is left."""
    manager = MigrationManager(config, folder.path)
    before = manager.drift()
    assert not before.drifted
    manager.rollback()
    manager.migrate()
    return manager.drift().differences


def test_drift_becomes_a_version_that_is_applied_here_and_runs_elsewhere(
    notes: MigrationManager, folder: Folder, config: DatabaseConfig, session: Session
) -> None:
    session.run("CREATE INDEX by_hand ON notes (mood)")
    session.run("CREATE OR REPLACE VIEW moods AS SELECT mood, id FROM notes")
    report = notes.adopt("index and view")
    assert report.name == "0002_index_and_view"
    assert report.path is not None
    text = report.path.read_text()
    assert "CREATE INDEX CONCURRENTLY by_hand" in text, "others run it beside their traffic"
    status = notes.status()
    assert (status.at_head, status.items[-1].origin) == (True, "baseline")
    assert not notes.drift().drifted
    assert notes.migrate().applied == ()
    assert told(adopted_elsewhere(folder, config, session)) == {}
    assert notes.adopt("again") == Adopted(name=None, path=None, differences=Differences())


def test_adopting_asks_where_others_would_lose_data(notes: MigrationManager, session: Session) -> None:
    session.run("ALTER TABLE notes RENAME COLUMN mood TO spirit")
    with pytest.raises(DecisionNeeded, match=r"renamed=\{'notes.mood': 'notes.spirit'\}"):
        notes.adopt("spirit")
    session.run("ALTER TABLE notes DROP COLUMN body, ADD COLUMN owner int NOT NULL")
    with pytest.raises(DecisionNeeded, match=r"drop=\{'notes.body': 'reason'\}"):
        notes.adopt("spirit", renamed={"notes.mood": "notes.spirit"})
    wishes = {"renamed": {"notes.mood": "notes.spirit"}, "drop": {"notes.body": "unused"}}
    with pytest.raises(DecisionNeeded, match=r"backfill=\{'notes.owner': 'SQL over the row'\}"):
        notes.adopt("spirit", **wishes)
    assert notes.versions.joinpath("0002_spirit.sql").exists() is False
    report = notes.adopt("spirit", **wishes, backfill={"notes.owner": "0"})
    assert report.path is not None
    assert "RENAME COLUMN mood TO spirit" in report.path.read_text()


def test_adopting_waits_for_what_is_pending(
    notes: MigrationManager, folder: Folder, session: Session
) -> None:
    session.run("CREATE INDEX by_hand ON notes (mood)")
    folder.write("0002_more", "ALTER TABLE notes ADD COLUMN more int;")
    with pytest.raises(PendingVersions, match="0002_more"):
        notes.adopt("index")


def test_a_squash_changes_nothing_that_is_expected(
    notes: MigrationManager, folder: Folder, session: Session
) -> None:
    folder.write("0002_more", "ALTER TABLE notes ADD COLUMN more int;", "ALTER TABLE notes DROP COLUMN more;")
    notes.migrate()
    notes.squash(2)
    assert (notes.drift().source, notes.drift().drifted) == ("recorded", False)
    session.run("CREATE INDEX by_hand ON notes (mood)")
    assert notes.adopt("index").name == "0003_index"
    assert (notes.drift().source, notes.drift().drifted) == ("recorded", False)
    assert [item.origin for item in notes.status().items] == ["replaced", "baseline"]
