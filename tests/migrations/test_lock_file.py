"""`versions.lock`: branches that both add a version conflict in git, and a file that is lost is missed."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from database_handler.cli import main
from database_handler.config.database import DatabaseConfig
from database_handler.migrations import LockFileMismatch, MigrationManager
from database_handler.migrations.files.file_writing import write_version
from tests.migrations.conftest import Folder

Make = Callable[..., MigrationManager]
PLAIN = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}
SOMEBODY = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")


class Repository:
    """A repository of git's own making, which knows nothing of the user's settings."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["git", *SOMEBODY, *arguments]
        return subprocess.run(
            command, cwd=self.path, env=PLAIN, capture_output=True, text=True, check=False, timeout=60
        )

    def commit(self) -> None:
        self.git("add", "--all")
        done = self.git("commit", "--quiet", "--message=a version")
        assert done.returncode == 0, done.stderr


def version(folder: Folder, name: str) -> None:
    table = name.partition("_")[2]
    text = (
        f"-- {name}\n-- migrate: up\nCREATE TABLE {table} (id int);\n-- migrate: down\nDROP TABLE {table};\n"
    )
    write_version(folder.path, name, text)


@pytest.fixture
def merged(folder: Folder) -> Repository:
    """A branch with a version of its own, and another one's merged into it."""
    repository = Repository(folder.path)
    version(folder, "0001_first")
    repository.commit()
    repository.git("branch", "theirs")
    version(folder, "0002_ours")
    repository.commit()
    repository.git("checkout", "--quiet", "theirs")
    version(folder, "0002_theirs")
    repository.commit()
    repository.git("checkout", "--quiet", "main")
    assert repository.git("merge", "theirs").returncode == 1
    return repository


def test_two_branches_with_a_version_each_conflict_in_git_and_are_put_in_order(
    merged: Repository, folder: Folder, manager: Make, config: DatabaseConfig
) -> None:
    unmerged = merged.git("diff", "--name-only", "--diff-filter=U").stdout
    assert unmerged == "versions.lock\n", "git itself stops the merge, there and nowhere else"
    lock = folder.path / "versions.lock"
    for call in (manager().status, manager().migrate):
        with pytest.raises(LockFileMismatch, match=r"versions\.lock:2: .* merge of two branches") as refused:
            call()
        assert "migrations lock" in str(refused.value)
    text = (folder.path / "0002_theirs.sql").read_text("utf-8")
    (folder.path / "0002_theirs.sql").unlink()
    (folder.path / "0003_theirs.sql").write_text(text.replace("0002_theirs", "0003_theirs"), "utf-8")
    url = config.url(hide_password=False)
    assert main(["migrations", "lock", "--versions", str(folder.path), "--database-url", url]) == 0
    assert [line.split()[0] for line in lock.read_text("utf-8").splitlines()] == [
        "0001_first", "0002_ours", "0003_theirs",
    ]  # fmt: skip
    merged.commit()
    assert merged.git("status", "--porcelain").stdout == ""
    assert manager().migrate().applied == ("0001_first", "0002_ours", "0003_theirs")


def test_a_pending_version_that_is_lost_is_missed(folder: Folder, manager: Make) -> None:
    version(folder, "0001_first")
    version(folder, "0002_second")
    assert manager().status().notes == ()
    (folder.path / "0002_second.sql").unlink()
    with pytest.raises(LockFileMismatch, match="names 0002_second, and there is no such file"):
        manager().migrate()


def test_without_the_lock_file_the_status_says_that_nothing_would_be_missed(
    folder: Folder,
    manager: Make,
    config: DatabaseConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert manager().status().notes == (), "nothing there, nothing to lose"
    version(folder, "0001_first")
    version(folder, "0002_second")
    manager().migrate(1)
    (folder.path / "0002_second.sql").unlink()
    (folder.path / "versions.lock").unlink()
    found = manager().status()
    assert found.at_head
    [note] = found.notes
    assert str(folder.path) in note
    assert "has no versions.lock" in note
    assert "`database-handler migrations lock`" in note
    there = ["--versions", str(folder.path), "--database-url", config.url(hide_password=False)]
    assert main(["migrations", "status", *there]) == 0
    assert "has no versions.lock" in " ".join(capsys.readouterr().out.split())
    assert main(["migrations", "lock", *there]) == 0
    assert manager().status().notes == ()
