"""The deployment's files fit the program: commands, settings, metrics, paths."""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.cli import build
from app.main import create_app
from app.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").iterdir())


def commands() -> set[str]:
    """What ``activedpo`` can be told to do."""
    from typer.main import get_command

    return set(get_command(build()).commands)  # type: ignore[attr-defined]


def settings() -> set[str]:
    """Names of all settings in the environment."""
    return {f"ACTIVEDPO_{name.upper()}" for name in Settings.model_fields}


def documents(file: Path) -> list[dict[str, Any]]:
    """The file's YAML documents."""
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def pods(file: Path) -> Iterator[dict[str, Any]]:
    """Pod templates of a manifest."""
    for document in documents(file):
        template = document.get("spec", {}).get("template")
        if isinstance(template, dict):
            yield template["spec"]


def test_kubernetes_names_every_manifest_once() -> None:
    (kustomization,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    assert sorted(kustomization["resources"]) == [
        file.name for file in MANIFESTS if file.name != "kustomization.yaml"
    ]


def test_kubernetes_runs_commands_that_exist_as_nobody_special() -> None:
    seen = []
    for file in MANIFESTS:
        for pod in pods(file):
            assert pod["securityContext"]["runAsNonRoot"] is True
            for container in pod["containers"]:
                seen.append(container["args"][0])
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                names = {volume["name"] for volume in pod["volumes"]}
                assert {mount["name"] for mount in container["volumeMounts"]} <= names
                given = {item["name"] for item in container.get("env", [])}
                assert {name for name in given if name.startswith("ACTIVEDPO_")} <= settings()
    assert sorted(seen) == ["beat", "migrate", "serve", "worker"]
    assert set(seen) <= commands()


def test_services_select_pods_that_there_are() -> None:
    found = documents(DEPLOY / "kubernetes" / "web.yaml")
    deployment, service = found
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_run_commands_that_exist(unit: Path) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    if unit.suffix in (".timer", ".socket"):
        assert (DEPLOY / "systemd" / f"{unit.stem}.service").exists()
        return
    ran = re.search(r"bin/activedpo (\w+)", parser["Service"]["ExecStart"])
    assert ran is not None
    assert ran[1] in commands()
    named = set(re.findall(r"ACTIVEDPO_[A-Z_]+", unit.read_text()))
    assert named <= settings()


def test_compose_names_settings_and_commands_that_exist() -> None:
    (compose,) = documents(ROOT / "docker-compose.yml")
    own = {name: one for name, one in compose["services"].items() if "build" in one}
    assert {one["command"][0] for one in own.values()} <= commands()
    for one in own.values():
        assert {n for n in one["environment"] if n.startswith("ACTIVEDPO_")} <= settings()
    for one in compose["services"].values():
        for waits_for in one.get("depends_on", {}):
            assert waits_for in compose["services"]


def test_compose_is_what_the_specification_allows() -> None:
    schema = json.loads((Path(__file__).parent / "vendor" / "compose_spec.json").read_text())
    (compose,) = documents(ROOT / "docker-compose.yml")
    checked = jsonschema.Draft201909Validator(schema)
    checked.validate(compose)
    compose["services"]["web"]["healtcheck"] = {}
    with pytest.raises(jsonschema.ValidationError, match="healtcheck"):
        checked.validate(compose)


def test_compose_has_cards_and_tls_by_profile_only() -> None:
    (compose,) = documents(ROOT / "docker-compose.yml")
    services = compose["services"]
    assert {name: one["profiles"] for name, one in services.items() if "profiles" in one} == {
        "worker-gpu": ["gpu"],
        "proxy": ["tls"],
    }
    (card,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert card["capabilities"] == ["gpu"]
    file = services["proxy"]["volumes"][0].partition(":")[0]
    behind = re.search(r"reverse_proxy (\w+):(\d+)", (ROOT / file).read_text())
    assert behind is not None
    assert services[behind[1]]["command"][0] == "serve"
    assert services[behind[1]]["ports"][0].endswith(f":{behind[2]}")
    named = {volume.partition(":")[0] for one in services.values() for volume in one["volumes"]}
    assert {name for name in named if not name.startswith(".")} == set(compose["volumes"])


def test_dashboard_and_alerts_ask_for_metrics_that_exist(database: Engine) -> None:
    told = TestClient(create_app()).get("/metrics").text
    there = set(re.findall(r"^# HELP (\w+)", told, re.MULTILINE)) | {"up"}
    dashboard = json.loads((DEPLOY / "monitoring" / "grafana.json").read_text())
    (rules,) = documents(DEPLOY / "monitoring" / "alerts.yaml")
    asked = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    asked += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert len(asked) > 15
    names = set(re.findall(r"\b(?:activedpo|process)_\w+", " ".join(asked)))
    stripped = {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}
    assert stripped - there == set()


def test_every_alert_says_what_to_do() -> None:
    (rules,) = documents(DEPLOY / "monitoring" / "alerts.yaml")
    for rule in rules["groups"][0]["rules"]:
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["todo"]


def test_the_image_is_made_of_files_that_reach_the_builder_and_runs_as_nobody_special() -> None:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    told = [line.split(None, 1) for line in text.splitlines() if re.match(r"[A-Z]+ ", line)]
    stages = [rest for word, rest in told if word == "FROM"]
    assert stages == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    last = max(n for n, (word, _) in enumerate(told) if word == "FROM")
    assert [rest for word, rest in told[last:] if word == "USER"] == ["activedpo"]
    passed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    copied = [rest.split()[:-1] for word, rest in told if word == "COPY" and "--from" not in rest]
    sources = {source for one in copied for source in one}
    assert sources == passed
    assert all((ROOT / source).exists() for source in sources)
