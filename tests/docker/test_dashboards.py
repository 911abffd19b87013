"""What the dashboard and the alerts ask Prometheus: it parses, and a running service has an answer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from serving.metrics import Metrics
from tests.fakes.service import client_of, make_harness

pytestmark = pytest.mark.anyio

DOCKER = Path(__file__).resolve().parents[2] / "docker"
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((DOCKER / "grafana/dashboards/winnow.json").read_text(encoding="utf-8"))
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    """Return what the panels ask, Grafana's variables filled in, and what the alerts ask."""
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    rules = yaml.safe_load((DOCKER / "prometheus/rules.yml").read_text(encoding="utf-8"))
    alerts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    return [one.replace("$__rate_interval", "1m") for one in asked] + alerts


def names(expression: str) -> list[str]:
    return re.findall(r"\bwinnow_\w+", expression)


async def test_every_metric_that_is_asked_for_is_in_a_services_own_metrics(tmp_path: Path) -> None:
    harness = await make_harness(tmp_path)
    try:
        async with client_of(harness) as client:
            text = (await client.get("/metrics")).text
    finally:
        await harness.close()
    there = {
        f"{family.name}{suffix}"
        for family in text_string_to_metric_families(text)
        for suffix in SUFFIXES.get(family.type, ())
    }
    asked = {name for one in expressions() for name in names(one)}
    assert len(asked) > 15
    assert asked - there == set()


def test_every_panel_asks_something_of_this_service() -> None:
    for panel in panels():
        assert panel["targets"], panel["title"]
        assert all(names(target["expr"]) for target in panel["targets"]), panel["title"]


def test_every_expression_parses() -> None:
    for one in expressions():
        assert "$" not in one
        promql_parser.parse(one)
    with pytest.raises(ValueError, match="parenthesis"):
        promql_parser.parse("sum by (le (rate(winnow_requests_total[1m]))")


def test_dashboards_group_by_labels_that_exist() -> None:
    known = {
        collector._name: set(collector._labelnames)
        for collector in vars(Metrics()).values()
        if hasattr(collector, "_labelnames")
    }
    for one in expressions():
        grouped = {label for group in re.findall(r"by \(([^)]*)\)", one) for label in group.split(",")}
        metrics = [re.sub(r"_(total|bucket|sum|count)$", "", name) for name in names(one)]
        there = {"le"} | {label for name in metrics for label in known[name]}
        assert {label.strip() for label in grouped} <= there, one


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus.cluster.yml", "rules.yml"])
def test_prometheus_own_tool_accepts_its_files(name: str, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: apt-get install prometheus")
    folder = Path(shutil.copytree(DOCKER / "prometheus", tmp_path / "prometheus"))
    # The keys are mounted when the containers run; the tool looks whether the files are there.
    (tmp_path / "key").write_text("x")
    path = folder / name
    path.write_text(re.sub(r"(credentials_file: ).*", rf"\g<1>{tmp_path}/key", path.read_text("utf-8")))
    kind = "rules" if name == "rules.yml" else "config"
    done = subprocess.run(
        [promtool, "check", kind, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
