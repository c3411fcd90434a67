"""Which backups are kept, how a manifest is read, and what is told of a program's words: no database."""

import inspect
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database_handler.config.database import DatabaseConfig
from database_handler.core.deadline import Deadline
from database_handler.core.exceptions import (
    ConfigurationError,
    DatabaseHandlerError,
    InvalidValue,
    PermissionDenied,
)
from database_handler.operations.backup import (
    BackupDamaged,
    BackupFailed,
    BackupPlaceUnusable,
    Backups,
    DumpFile,
    KeptFile,
    Manifest,
    NoSpaceLeft,
    Retention,
    Source,
    retained,
)
from database_handler.operations.backup.place import BackupPlace
from database_handler.operations.backup.processes import Run, _failure, connection_text
from database_handler.operations.backup.pruning import prune
from database_handler.operations.backup.values import read_manifest, written_manifest
from tests.support.filesystems import Bucket, Share, register
from tests.support.public_callables import CANARY, HOSTILE, CallersOwn

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
MOMENTS = st.lists(
    st.datetimes(
        datetime(2020, 1, 1),
        datetime(2027, 1, 1),
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=14))]),
    ),
    max_size=60,
)
RULES = st.builds(Retention, *[st.integers(0, 20)] * 3)

# ------------------------------------------------------------------------------------------------- retention


@settings(max_examples=60, deadline=None)
@given(MOMENTS, RULES)
def test_what_is_kept(moments: list[datetime], rules: Retention) -> None:
    kept = retained(moments, rules)
    assert kept <= set(moments)
    assert not moments or max(moments) in kept
    assert retained(reversed(moments), rules) == kept
    assert retained(kept, rules) == kept  # pruning twice takes nothing more away
    days = [moment.astimezone(UTC).date() for moment in moments]
    newest_days = sorted(set(days), reverse=True)[: rules.daily]
    assert set(newest_days) <= {moment.astimezone(UTC).date() for moment in kept}
    assert len(kept) <= 1 + rules.daily + rules.weekly + rules.monthly
    more = retained(moments, Retention(rules.daily + 1, rules.weekly + 1, rules.monthly + 1))
    assert kept <= more


def test_a_year_of_days_leaves_what_the_rules_say() -> None:
    year = [NOON - timedelta(days=n) for n in range(400)]
    told = sorted(f"{moment:%m-%d}" for moment in retained(year, Retention(7, 4, 12)))
    days = {"03-25", "03-26", "03-27", "03-28", "03-29", "03-30", "03-31"}
    weeks, months = {"03-31", "03-29", "03-22", "03-15"}, {"02-28", "01-31", "12-31", "11-30", "10-31"}
    months |= {"09-30", "08-31", "07-31", "06-30", "05-31", "04-30"}
    assert set(told) == days | weeks | months
    # A day is one of UTC: both of these are the 30th there, and the later one is kept.
    east = timezone(timedelta(hours=14))
    late, early = datetime(2026, 3, 31, 1, tzinfo=east), datetime(2026, 3, 30, 15, tzinfo=east)
    assert retained([late, early, NOON], Retention(2, 0, 0)) == {late, NOON}
    for wrong in (-1, True, 1.5, 10**9):
        with pytest.raises(InvalidValue):
            Retention(daily=wrong)  # type: ignore[arg-type]  # it is wrong on purpose


# --------------------------------------------------------------------------------------------------- places


def manifest_of(
    name: str, moment: datetime, database: str = "films", files: tuple[KeptFile, ...] = ()
) -> Manifest:
    dump = DumpFile(file=f"{name}.dump", format="custom", size_bytes=4, sha256="0" * 64)
    return Manifest(
        name=name,
        database=database,
        system_identifier="1",
        server_version=180006,
        program_version="18.6",
        encoding="UTF8",
        started=moment,
        snapshot=moment,
        ended=moment,
        dump=dump,
        schemas=("public",),
        fingerprint="",
        heads={"library": None},
        rows={},
        files=files,
    )


def stored(place: BackupPlace, moment: datetime, database: str = "films", original: bytes = b"") -> str:
    """Put a backup there as `create` does, without what a dump would hold."""
    name = f"{database}-{moment:%Y%m%dT%H%M%SZ}-{len(place.names()):06x}"
    place.begin(name)
    with place.draft(f"{name}.dump") as draft:
        draft.file.write(b"dump")
    kept = place.originals.put(original) if original else None
    files = (KeptFile(checksum=kept.checksum, size_bytes=kept.size_bytes),) if kept else ()
    place.finish(manifest_of(name, moment, database, files))
    return name


@pytest.mark.parametrize("kind", ["folder", "file", "memory", "bucket", "share"])
def test_pruning_takes_what_no_rule_keeps_wherever_the_place_is(kind: str, tmp_path: Path) -> None:
    register()
    for fake in (Bucket, Share):
        fake.objects.clear()
    urls = {"folder": str(tmp_path / "a"), "file": f"file://{tmp_path}/b"}
    place = BackupPlace(urls.get(kind, f"{kind}://{tmp_path.name}/below"))
    now = NOON
    names = [stored(place, now - timedelta(days=n), original=b"o%d" % n) for n in range(5)]
    other = stored(place, now - timedelta(days=300), "letters")
    place.begin("films-20260101T000000Z-00ff00")  # left by one that died long ago
    fresh = f"films-{now:%Y%m%dT%H%M%SZ}-00ff01"
    dry = prune(place, Retention(2, 0, 0), now, dry_run=True)
    assert set(dry.removed) == set(names[2:])
    assert (set(dry.kept), dry.leftovers) == ({*names[:2], other}, ("films-20260101T000000Z-00ff00",))
    assert len(place.names()) == 7
    place.begin(fresh)
    assert prune(place, Retention(3, 0, 0), now, dry_run=False).originals == 0  # it may count on them
    place.remove_backup(fresh)
    done = prune(place, Retention(2, 0, 0), now, dry_run=False)
    assert (set(done.removed), done.leftovers, done.originals) == ({names[2]}, (), 3)
    assert place.names() == {*names[:2], other}
    assert [each.state for each in place.found()] == ["complete"] * 3
    assert len(list(place.originals.iterate())) == 2
    assert prune(place, Retention(0, 0, 0), now, dry_run=False).kept == (other, names[0])


def test_a_manifest_is_what_was_written_or_an_error(tmp_path: Path) -> None:
    manifest = manifest_of("films-20260331T120000Z-000000", NOON)
    data = written_manifest(manifest)
    assert read_manifest(data, manifest.name) == manifest
    for place in range(0, len(data) - 1, 7):
        with pytest.raises(BackupDamaged, match=r"is damaged|of a form"):
            read_manifest(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :], "x")
    for wrong in (b"", b"{}", b"[1]", b"\xff", b"[" * 100_000, data[:100]):
        with pytest.raises(BackupDamaged):
            read_manifest(wrong, "x")
    assert not list(BackupPlace(tmp_path / "none").found())  # a place that is not there holds none


def test_a_place_that_fails_is_told_as_one_error() -> None:
    register()
    Bucket.objects.clear()
    place = BackupPlace("bucket://b/below")
    try:
        Bucket.fails["wb"] = OSError("s3cret-endpoint")
        with pytest.raises(BackupPlaceUnusable, match="the backups' place cannot write: OSError") as caught:
            place.begin("films-20260101T000000Z-00ff00")
    finally:
        Bucket.fails.clear()
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="password"):
        Backups(Source(DatabaseConfig(name="x")), "s3://key:s3cret@bucket/x")


# ------------------------------------------------------------------------------------------------- programs


def told(*errors: str) -> DatabaseHandlerError:
    run = Run(Path("pg_restore"), [], Deadline(), BackupFailed, denied="It needs more.")
    for error in errors:
        run.heard(f"pg_restore: {error}")
    return _failure(run, 1)


def test_what_a_program_says_is_told_without_values() -> None:
    failure = told(
        'error: COPY failed for table "notes": ERROR:  invalid input syntax for type integer: "s3cret"',
        "detail: Query was: SELECT 's3cret'",
        "warning: s3cret",
    )
    assert type(failure) is BackupFailed
    assert 'COPY failed for table "notes": the server refused it' in str(failure).replace("  ", " ")
    assert "s3cret" not in str(failure)
    assert isinstance(told("error: could not write to output file: No space left on device"), NoSpaceLeft)
    denied = told("error: query failed: ERROR:  permission denied for table notes")
    assert isinstance(denied, PermissionDenied)
    assert str(denied).endswith("permission denied for table notes. It needs more.")


def test_a_connection_is_told_to_programs_without_its_password(tmp_path: Path) -> None:
    config = DatabaseConfig(name="it's", user="a b", host="db.example.com", sslmode="verify-full")
    text = connection_text(config.with_(password="s3cret:\\x"), tmp_path)
    assert "s3cret" not in text
    assert r"dbname='it\'s'" in text
    assert "sslmode='verify-full'" in text
    file = tmp_path / "pgpass"
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("*:*:*:*:s3cret\\:\\\\x\n", 0o600)
    file.unlink()
    (tmp_path / "mounted").write_text("rotated\n", "utf-8")
    connection_text(config.with_(password_file=tmp_path / "mounted"), tmp_path)
    assert file.read_text() == "*:*:*:*:rotated\n"
    file.unlink()
    with pytest.raises(ConfigurationError, match="line break"):
        connection_text(config.with_(password="a\nb"), tmp_path)


@pytest.mark.parametrize("name", ["create", "manifest", "verify", "prune", "restore"])
def test_hostile_arguments_are_refused_by_our_error(name: str, tmp_path: Path) -> None:
    nowhere = DatabaseConfig(name="x", host="127.0.0.1", port=1, connect_timeout=1)
    method = getattr(Backups(Source(nowhere), f"memory://{tmp_path.name}-{name}"), name)
    right = {"into": "y"} if name == "restore" else {}
    told = []
    for parameter in inspect.signature(method).parameters:
        for make in HOSTILE.values():
            try:
                method(**right | {parameter: make()})
            except CallersOwn:
                continue
            except DatabaseHandlerError as error:
                told.append(str(error))
    assert told
    assert [text for text in told if CANARY in text or len(text) > 2000] == []
    assert [text for text in told if not text.replace("\n", "").isprintable()] == []
