"""The deployment files by their schema and by our own rules; the services themselves run in
tests/integration."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = ROOT / "deployments"
COMPOSE = ["compose.yaml", "compose.gpu.yaml", "compose.client.yaml"]
ONE_SHOT = {"make-bucket", "init"}
FROM_OTHERS = {"postgres", "object-store"}
STATELESS = {"mlflow"}
UNITS = sorted((DEPLOYMENTS / "systemd").glob("*.service"))


def interpolated(name: str) -> str:
    """The file with its variables' defaults put in, as compose does."""
    text = (DEPLOYMENTS / name).read_text()
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    return re.sub(r"\$\{\w+:\?[^}]*\}", "/given", text)


def services(name: str) -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load(interpolated(name))["services"])


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_files_follow_the_specification(name: str) -> None:
    compose_spec = pytest.importorskip(
        "compose_spec", reason="pip install compose-spec to check compose files"
    )
    merged = yaml.safe_dump(yaml.safe_load(interpolated(name)))
    compose_spec.PyCompose.from_yaml(merged).validate()


@pytest.mark.parametrize("name", ["compose.yaml", "compose.client.yaml"])
def test_every_service_is_pinned_unprivileged_watched_and_kept_at_home(name: str) -> None:
    declared = yaml.safe_load(interpolated(name))
    for title, service in services(name).items():
        tag = service["image"].rsplit(":", 1)
        assert len(tag) == 2, f"{title}: the image needs a tag"
        assert tag[1] not in {"latest", "main", "stable"}, f"{title}: pin the image"
        assert service["user"].split(":")[0] not in {"root", "0"}, title
        assert title in ONE_SHOT or "healthcheck" in service, f"{title} is not watched"
        assert set(service.get("secrets", [])) <= declared["secrets"].keys(), title
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{title}: {port} is open to the world"
        for key, value in service.get("environment", {}).items():
            secret = re.search("PASSWORD|SECRET|TOKEN|AUTH", key) and not key.endswith("_FILE")
            assert not secret or "auth-host" in value, f"{title}: {key} belongs into a file"


@pytest.mark.parametrize("name", ["compose.yaml", "compose.client.yaml"])
def test_what_services_name_is_declared_and_state_lies_in_a_volume(name: str) -> None:
    declared = yaml.safe_load(interpolated(name))
    used: set[str] = set()
    for title, service in declared["services"].items():
        assert "no-new-privileges:true" in service.get("security_opt", []) or title in FROM_OTHERS, title
        assert service.get("read_only") or title in FROM_OTHERS, title
        for other, condition in service.get("depends_on", {}).items():
            done = "completed_successfully" if other in ONE_SHOT else "healthy"
            assert condition == {"condition": f"service_{done}"} and other in declared["services"], title
        sources = {volume.split(":")[0] for volume in service.get("volumes", [])}
        used |= {source for source in sources if not source.startswith((".", "/"))}
        check = service.get("healthcheck", {"test": ["CMD"], "interval": 1, "timeout": 1, "retries": 1})
        assert check["test"][0] == "CMD" and {"interval", "timeout", "retries"} <= check.keys(), title
    assert used == declared["volumes"].keys()
    assert {secret["file"].split("/")[0] for secret in declared["secrets"].values()} == {"secrets"}
    assert all(title in STATELESS | ONE_SHOT or one["volumes"] for title, one in declared["services"].items())


def test_commands_are_ones_that_the_start_script_knows() -> None:
    script = (DEPLOYMENTS / "run.sh").read_text()
    for name in COMPOSE:
        for title, service in services(name).items():
            if "ecos-" in service["image"] and title != "init" and "command" in service:
                assert f"  {service['command'][0]})" in script, title


def test_secrets_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    wanted = {
        item["file"].split("/")[1]
        for item in yaml.safe_load(interpolated("compose.yaml"))["secrets"].values()
    }
    subprocess.run([DEPLOYMENTS / "make_secrets.sh", tmp_path], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert wanted <= made.keys()
    assert len({made[name] for name in made if "password" in name}) == 3
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    subprocess.run([DEPLOYMENTS / "make_secrets.sh", tmp_path], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == made


def test_a_secret_is_rotated_in_its_file_and_the_others_stay(tmp_path: Path) -> None:
    script = DEPLOYMENTS / "make_secrets.sh"
    subprocess.run([script, tmp_path], check=True, capture_output=True)
    before = {path.name: (path.read_text(), path.stat().st_ino) for path in tmp_path.iterdir()}
    subprocess.run([script, "--rotate", "object_store_key", tmp_path], check=True, capture_output=True)
    after = {path.name: (path.read_text(), path.stat().st_ino) for path in tmp_path.iterdir()}
    assert {name for name in before if after[name] != before[name]} == {
        "object_store_key",
        "object_store_users",
    }
    assert {name: inode for name, (_, inode) in after.items()} == {name: i for name, (_, i) in before.items()}
    assert after["object_store_key"][0] in after["object_store_users"][0]
    wrong = subprocess.run(
        [script, "--rotate", "nothing", tmp_path], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2 and "mlflow_database_password" in wrong.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_person_who_may_not_read_all_secrets_changes_none(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    subprocess.run([DEPLOYMENTS / "make_secrets.sh", folder], check=True, capture_output=True)
    (folder / "prefect_auth").unlink()
    before = {path.name: path.read_text() for path in folder.iterdir()}
    shutil.copy(DEPLOYMENTS / "make_secrets.sh", tmp_path)
    for place in (*tmp_path.parents[:3], tmp_path, folder):
        place.chmod(place.stat().st_mode | 0o755)
    nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        tmp_path / "make_secrets.sh",
        folder,
    ]
    done = subprocess.run(nobody, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "sudo" in done.stderr and len(done.stderr.splitlines()) == 1
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


def test_secrets_stay_out_of_git_and_of_the_images() -> None:
    assert "deployments/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert "deployments/secrets" in (DEPLOYMENTS / "Dockerfile.dockerignore").read_text().splitlines()


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_are_confined_and_start_what_is_there(unit: Path) -> None:
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(unit)
    service = parser["Service"]
    assert service["User"] not in {"root", "0"}
    assert service["NoNewPrivileges"] == "true"
    assert service["ProtectSystem"] == "strict"
    started = service["ExecStart"].split()
    assert (ROOT / started[0].removeprefix("/opt/ecos/")).stat().st_mode & stat.S_IXUSR
    assert f"  {started[1]})" in (DEPLOYMENTS / "run.sh").read_text()
    assert not re.search(r"PASSWORD=|TOKEN=|SECRET=", unit.read_text())


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd on this machine")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """As installed under /opt/ecos; a key that systemd does not know is told."""
    units = []
    for unit in UNITS:
        name = unit.name.replace("@.", "@ecos-cpu.")
        (tmp_path / name).write_text(unit.read_text().replace("/opt/ecos", str(ROOT)))
        units.append(tmp_path / name)
    verify = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, units)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr


def test_the_dockerfile_copies_what_is_there_and_ends_unprivileged() -> None:
    text = (DEPLOYMENTS / "Dockerfile").read_text()
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    assert re.match(r"python:\d+\.\d+\.\d+-slim-\w+ AS base", stages[0])
    for stage in stages[1:3]:
        assert stage.index("USER ecos") < stage.index("ENTRYPOINT")
    for line in re.findall(r"^COPY (.+)$", text, flags=re.MULTILINE):
        for source in line.split()[:-1]:
            if source != "README.md":
                assert (ROOT / source).exists(), source


@pytest.mark.parametrize("script", sorted(DEPLOYMENTS.rglob("*.sh")), ids=lambda path: path.name)
def test_scripts_parse_and_are_strict(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert "set -euo pipefail" in script.read_text()
    assert os.access(script, os.X_OK)
