"""What is shown for a deployment would run: it is linted, its settings are settings, the application works.

Its commands are held to the commands that there are by test_command_line.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from psycopg2 import sql

from database_handler import Database
from database_handler.config import check_settings
from database_handler.config.database import DatabaseConfig
from database_handler.config.settings import VARIABLES
from database_handler.core.connection import dedicated
from database_handler.core.session import Session
from database_handler.core.transaction import Autocommit
from tests.support.faults import eventually

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
WORKFLOW = ROOT / ".github" / "workflows" / "test.yml"
LIMIT = 60  # seconds, for a program that hangs


def lint(*command: str) -> str:
    """Run a linter; give what it says, nothing where all is well."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def beside_python(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def of_vendor(schema: str, file: Path) -> str:
    return lint(sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(file))


def settings_of(given: dict[str, str]) -> list[str]:
    """What is wrong with the settings that a file gives, but for the secrets that are not here."""
    unknown = {name for name in given if name.startswith(("DB_", "DATABASE_", "LOG_", "FILE_"))} - set(
        VARIABLES
    )
    report = check_settings(env={**given, "HOME": "/nonexistent"})
    wrong = [each.message for each in report.problems if each.variable != "DB_PASSWORD_FILE"]
    return [*sorted(unknown), *wrong]


# ------------------------------------------------------------------------------------------------ the files


def test_the_dockerfile_is_sound() -> None:
    assert lint(beside_python("hadolint"), "--failure-threshold", "style", str(DEPLOY / "Dockerfile")) == ""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    stages = text.split("\nFROM ")[1:]
    assert len(stages) == 2
    assert all(stage.startswith("python:3.13-slim") for stage in stages)
    assert re.findall(r"^USER (.+)$", stages[-1], re.M) == ["10001:10001"]
    assert re.search(r'^HEALTHCHECK .*\\\n +CMD \["database-handler", "health"', stages[-1], re.M)
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M):
        for name in copied.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}\n" in (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8"), name


def test_the_compose_file_is_sound() -> None:
    file = DEPLOY / "compose.yaml"
    assert of_vendor("compose-spec", file) == ""
    read = yaml.safe_load(file.read_text("utf-8"))
    assert set(read["services"]) == {"postgres", "migrate", "application"}
    for name in ("migrate", "application"):
        service = read["services"][name]
        assert settings_of(service["environment"]) == []
        assert service["environment"]["DB_PASSWORD_FILE"] == f"/run/secrets/{service['secrets'][0]}"
    assert (ROOT / "deploy" / read["x-application"]["build"]["context"]).resolve() == ROOT


def documents() -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8")))


def test_the_kubernetes_objects_are_sound() -> None:
    found = {document["kind"]: document for document in documents()}
    for document in found.values():
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    pod = found["Deployment"]["spec"]["template"]["spec"]
    [container], [init] = pod["containers"], pod["initContainers"]
    assert init["command"][:2] == ["database-handler", "migrate"]
    for probe, option in (("livenessProbe", "--live"), ("readinessProbe", "--ready")):
        command = container[probe]["exec"]["command"]
        assert command[:3] == ["database-handler", "health", option]
        assert container[probe]["timeoutSeconds"] > float(command[-1]), "the program starts within it, too"
    for each in (container, init):
        assert each["securityContext"]["readOnlyRootFilesystem"] is True
        given = {**found["ConfigMap"]["data"], **{item["name"]: item["value"] for item in each["env"]}}
        assert settings_of(given) == []
        mounted = {mount["name"]: mount["mountPath"] for mount in each["volumeMounts"]}
        assert Path(given["DB_PASSWORD_FILE"]).parent == Path(mounted["passwords"])
    label = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for kind in ("Service", "PodDisruptionBudget"):
        selector = found[kind]["spec"]["selector"]
        assert selector.get("matchLabels", selector) == label
    assert found["PodDisruptionBudget"]["spec"]["minAvailable"] < found["Deployment"]["spec"]["replicas"]


DIRECTIVES = {
    "Unit": {"Description", "Documentation", "Wants", "After"},
    "Service": {
        *("Type", "DynamicUser", "StateDirectory", "WorkingDirectory", "EnvironmentFile", "Environment"),
        *("LoadCredential", "ExecStartPre", "ExecStart", "Restart", "RestartSec", "UMask"),
        *("TimeoutStartSec", "TimeoutStopSec", "CapabilityBoundingSet", "AmbientCapabilities"),
        *("NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateUsers"),
        *("ProtectClock", "ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs"),
        *("ProtectKernelModules", "ProtectKernelTunables", "ProtectProc", "ProcSubset"),
        *("RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID"),
        *("LockPersonality", "RemoveIPC", "SystemCallArchitectures", "SystemCallFilter"),
        *("SystemCallErrorNumber",),
    },
    "Install": {"WantedBy"},
}  # of systemd 252: systemd.unit(5), systemd.service(5), systemd.exec(5)


def unit_lines() -> Iterator[tuple[str, str, str]]:
    section = ""
    for line in (DEPLOY / "films.service").read_text("utf-8").splitlines():
        if found := re.fullmatch(r"\[(\w+)\]", line):
            section = found[1]
        elif line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals, line
            yield section, name, value


def test_the_systemd_unit_is_sound(tmp_path: Path) -> None:
    lines = list(unit_lines())
    assert [(section, name) for section, name, _ in lines if name not in DIRECTIVES[section]] == []
    given = dict(value.split("=", 1) for _, name, value in lines if name == "Environment")
    assert settings_of({"DB_NAME": "films", **given}) == []
    if shutil.which("systemd-analyze") is None:  # what is checked above is all that can be
        return
    (tmp_path / "bin").mkdir()
    for name in ("python", "database-handler"):
        (tmp_path / "bin" / name).touch(mode=0o755)
    text = (DEPLOY / "films.service").read_text("utf-8").replace("/opt/films/bin", str(tmp_path / "bin"))
    (tmp_path / "films.service").write_text(text, "utf-8")
    assert lint("systemd-analyze", "verify", "--man=no", str(tmp_path / "films.service")) == ""


def test_the_workflow_runs_every_check_on_every_python_that_is_supported() -> None:
    assert of_vendor("github-workflows", WORKFLOW) == ""
    job = yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"]["test"]
    assert [step["run"] for step in job["steps"] if "run" in step] == ["scripts/test"]
    supported = re.findall(r"Python :: (3\.\d+)\"", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert job["strategy"]["matrix"]["python"] == supported


@pytest.mark.parametrize(
    "check", ["Dockerfile", "compose-spec", "github-workflows", "kubernetes", "settings"]
)
def test_the_checks_find_what_is_wrong(check: str, tmp_path: Path) -> None:
    if check == "Dockerfile":
        (tmp_path / "Dockerfile").write_text("FROM python\nRUN apt-get install curl\n", "utf-8")
        found = lint(beside_python("hadolint"), "--failure-threshold", "style", str(tmp_path / "Dockerfile"))
    elif check == "kubernetes":
        wrong = next(each for each in documents() if each["kind"] == "Deployment")
        wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
        with pytest.raises(kubernetes_validate.ValidationError) as caught:
            kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)
        found = str(caught.value)
    elif check == "settings":
        found = "".join(settings_of({"DB_NAME": "films", "DB_POOLSIZE": "5"}))
    else:
        file = DEPLOY / "compose.yaml" if check == "compose-spec" else WORKFLOW
        bad = file.read_text("utf-8").replace("    command:", "    comand:").replace("runs-on:", "run-on:")
        (tmp_path / "bad.yaml").write_text(bad, "utf-8")
        found = of_vendor(check, tmp_path / "bad.yaml")
    assert found


# ------------------------------------------------------------------------------------------ the application


@pytest.fixture
def empty(database_server: DatabaseConfig) -> Iterator[DatabaseConfig]:
    """A database without a schema, dropped afterwards."""
    config = database_server.with_(name=f"deployed_{os.getpid()}", application_name="deployed")
    admin = Autocommit(lambda: dedicated(database_server.with_(name="postgres"))).session
    with Database(config) as db:
        db.create_if_missing()
    yield config
    admin.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(config.name)))


def started(config: DatabaseConfig, folder: Path) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.Popen(
        [sys.executable, str(DEPLOY / "application.py"), "--host", "127.0.0.1", "--port", "0"],
        cwd=folder,
        env={**kept, "DATABASE_URL": config.url(hide_password=False)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def port_of(process: subprocess.Popen[str]) -> int:
    """Wait for the line that says on which port it serves; it serves once it has migrated."""
    line = process.stdout.readline() if process.stdout else ""
    assert line.startswith("serving on port "), process.communicate(timeout=LIMIT)
    return int(line.split()[-1])


def answer(port: int, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


UNDO = (
    "DELETE FROM database_handler_migrations "
    "WHERE number = (SELECT max(number) FROM database_handler_migrations)"
)


def sessions(session: Session) -> int:
    [count] = session.one("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'deployed%'")
    return int(count)


def test_processes_that_start_together_migrate_once_serve_and_end_in_order(
    empty: DatabaseConfig, tmp_path: Path
) -> None:
    with ExitStack() as ending:
        processes = [ending.enter_context(started(empty, tmp_path)) for _ in range(2)]
        for each in processes:
            ending.callback(each.kill)  # before it is waited for; one that has ended is left alone
        ports = [port_of(each) for each in processes]
        with Database(empty) as database:
            heads = database.session.all("SELECT name, count(*) FROM database_handler_migrations GROUP BY 1")
            assert {count for _, count in heads} == {1}
            database.projects.create(name="Launch film")
            for port in ports:
                assert answer(port, "/live") == (200, {"reasons": []})
                assert answer(port, "/ready") == (200, {"reasons": []})
                assert answer(port, "/projects") == (200, {"projects": ["Launch film"]})
                assert answer(port, "/nothing")[0] == 404
            database.session.run(UNDO)
            assert answer(ports[0], "/ready") == (503, {"reasons": ["behind"]})
            assert answer(ports[0], "/live")[0] == 200
        for each in processes:
            each.send_signal(signal.SIGTERM)
        told = [each.communicate(timeout=LIMIT) for each in processes]
        assert [each.returncode for each in processes] == [0, 0], told
    observer = Autocommit(lambda: dedicated(empty.with_(application_name="observer"))).session
    eventually(lambda: sessions(observer) == 0)
