"""The manifests of deploy/kubernetes, as far as they can be judged without a cluster."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from consumers.wiring import CONSUMERS, group_of
from rillet.checks import AREAS, NEEDS
from rillet.cli.main import app
from stream.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
KUBERNETES = "1.31"
SCALING = (ROOT / "docs" / "scaling.md").read_text("utf-8")
SCHEMA = json.loads(Path(__file__).with_name("scaled_object.schema.json").read_text("utf-8"))
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")

Manifest = dict[str, Any]

MANIFESTS: list[Manifest] = [
    one for path in FILES for one in yaml.safe_load_all(path.read_text("utf-8"))
]
BUILT_IN = [one for one in MANIFESTS if one["kind"] != "ScaledObject"]
SCALED = [one for one in MANIFESTS if one["kind"] == "ScaledObject"]
BUDGETS = [one for one in MANIFESTS if one["kind"] == "PodDisruptionBudget"]
DEPLOYMENTS = {one["metadata"]["name"]: one for one in MANIFESTS if one["kind"] == "Deployment"}


def name_of(manifest: Manifest) -> str:
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


def pod_of(manifest: Manifest) -> Manifest | None:
    """Return the specification of the pods that a manifest makes."""
    spec = manifest.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    found: Manifest | None = spec.get("template", {}).get("spec")
    return found


def labels_of(manifest: Manifest) -> dict[str, str]:
    """Return the labels of the pods that a manifest makes."""
    spec = manifest["spec"]
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    found: dict[str, str] = spec["template"]["metadata"]["labels"]
    return found


PODS = [(name_of(one), pod) for one in MANIFESTS if (pod := pod_of(one)) is not None]
LABELS = [(name_of(one), labels_of(one)) for one in MANIFESTS if pod_of(one) is not None]


def config() -> dict[str, str]:
    found: dict[str, str] = next(one for one in MANIFESTS if one["kind"] == "ConfigMap")["data"]
    return found


def check(manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("manifest", BUILT_IN, ids=name_of)
def test_kubernetes_would_accept_it(manifest: Manifest) -> None:
    check(manifest)


@pytest.mark.parametrize("manifest", SCALED, ids=name_of)
def test_keda_would_accept_it(manifest: Manifest) -> None:
    jsonschema.validate(manifest, SCHEMA)


def test_the_validators_refuse_what_is_wrong() -> None:
    broken = copy.deepcopy(DEPLOYMENTS["rillet-personalize"])
    broken["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError, match="imagee"):
        check(broken)
    broken = copy.deepcopy(SCALED[0])
    broken["spec"]["triggers"][0]["metadata"]["lagThreshold"] = 2000  # KEDA wants text
    with pytest.raises(jsonschema.ValidationError, match="2000"):
        jsonschema.validate(broken, SCHEMA)


def test_kustomize_takes_every_file() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))["resources"]
    assert sorted(listed) == [path.name for path in FILES]


@pytest.mark.parametrize(("name", "pod"), PODS, ids=[name for name, _ in PODS])
def test_pods_have_no_more_rights_than_they_need(name: str, pod: Manifest) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    user = re.search(r"--uid (\d+)", (ROOT / "Dockerfile").read_text("utf-8"))
    assert user is not None
    assert pod["securityContext"]["runAsUser"] == int(user[1])
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize(("name", "pod"), PODS, ids=[name for name, _ in PODS])
def test_pods_ask_for_what_they_need_and_get_the_settings(name: str, pod: Manifest) -> None:
    for container in pod["containers"]:
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        assert re.search(r":\d+\.\d+\.\d+$", container["image"])
        assert container["envFrom"] == [
            {"configMapRef": {"name": "rillet"}},
            {"secretRef": {"name": "rillet"}},
        ]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_the_settings_exist_and_no_secret_is_among_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in config().items():
        monkeypatch.setenv(name, value)
    assert load_settings().kafka.partitions == int(config()["RILLET_KAFKA__PARTITIONS"])
    text = "".join(path.read_text("utf-8") for path in FILES)
    assert not re.search(r"(?i)password:|rediss?://[^.]*:[^.]*@", text)
    assert "Secret" not in {one["kind"] for one in MANIFESTS}


@pytest.mark.parametrize(("name", "pod"), PODS, ids=[name for name, _ in PODS])
def test_the_commands_exist(name: str, pod: Manifest) -> None:
    for container in pod["containers"]:
        commands = [container["args"]]
        probes = [container[probe] for probe in container if probe.endswith("Probe")]
        for probe in probes:
            program, *arguments = probe["exec"]["command"]
            assert program == "rillet"
            commands.append(arguments)
        for command in commands:
            done = CliRunner().invoke(app, [*command, "--help"])
            assert done.exit_code == 0, done.output


PROBES = [
    (f"{name}-{kind}", container[kind]["exec"]["command"])
    for name, pod in PODS
    for container in pod["containers"]
    for kind in container
    if kind.endswith("Probe")
]


@pytest.mark.parametrize(("name", "command"), PROBES, ids=[name for name, _ in PROBES])
def test_probes_ask_the_doctor_for_areas_that_he_knows(name: str, command: list[str]) -> None:
    program, verb, option, only = command
    assert (program, verb, option) == ("rillet", "doctor", "--only")
    areas = only.split(",")
    assert set(areas) <= set(AREAS)
    assert all(NEEDS.get(area, area) in areas for area in areas)  # else it is not looked at
    assert f"`rillet doctor --only {only}`" in SCALING


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_consumer_that_is_told_to_end_has_the_time_that_it_needs(name: str) -> None:
    """A full batch over the largest catalogue that is reckoned with, and a group that is slow."""
    settings, pod = Settings(), pod_of(DEPLOYMENTS[name])
    assert pod is not None
    cost = re.search(r"with 1,000,000 items reckon (\d+) ms", SCALING)
    assert cost is not None
    batch_s = settings.batch.max_records * int(cost[1]) / 1000
    grace_s = pod["terminationGracePeriodSeconds"]
    assert grace_s > batch_s + settings.kafka.session_s
    assert f"SIGTERM has {grace_s} seconds" in SCALING


@pytest.mark.parametrize("budget", BUDGETS, ids=name_of)
def test_a_disruption_budget_is_about_the_pods_of_one_deployment(budget: Manifest) -> None:
    selector = budget["spec"]["selector"]
    assert selector["matchLabels"] and set(selector) == {"matchLabels"}
    chosen = [name for name, labels in LABELS if selector["matchLabels"].items() <= labels.items()]
    assert len(chosen) == 1, chosen
    assert chosen[0].startswith("Deployment-")
    # A drained node must get its pod away, also where there is only one.
    assert budget["spec"]["maxUnavailable"] >= 1


def test_what_scales_to_several_pods_has_a_disruption_budget() -> None:
    several = {name for name, one in DEPLOYMENTS.items() if one["spec"]["replicas"] > 1}
    several |= {one["spec"]["scaleTargetRef"]["name"] for one in SCALED}
    assert several <= {one["metadata"]["name"] for one in BUDGETS}


def test_every_consumer_has_a_deployment_with_probes() -> None:
    started = {
        one["spec"]["template"]["spec"]["containers"][0]["args"][1]: one
        for one in DEPLOYMENTS.values()
    }
    assert set(started) == {*CONSUMERS, "archive"}
    for one in started.values():
        container = one["spec"]["template"]["spec"]["containers"][0]
        assert {"startupProbe", "readinessProbe"} <= set(container)
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert one["spec"]["selector"]["matchLabels"] == labels


@pytest.mark.parametrize("manifest", SCALED, ids=name_of)
def test_scaling_looks_at_the_group_and_topic_of_what_it_scales(manifest: Manifest) -> None:
    spec, settings = manifest["spec"], Settings()
    target = DEPLOYMENTS[spec["scaleTargetRef"]["name"]]
    consumer = target["spec"]["template"]["spec"]["containers"][0]["args"][1]
    topics = {"personalize": settings.kafka.events, "neighbours": settings.kafka.transitions}
    for trigger in spec["triggers"]:
        its = trigger["metadata"]
        assert its["consumerGroup"] == group_of(consumer, settings)
        assert its["topic"] == topics[consumer]
        assert its["bootstrapServers"] == config()["RILLET_KAFKA__BOOTSTRAP"]
    assert spec["minReplicaCount"] >= 1
    assert spec["maxReplicaCount"] <= int(config()["RILLET_KAFKA__PARTITIONS"])


def test_the_nightly_training_never_runs_twice_at_once() -> None:
    (job,) = (one for one in MANIFESTS if one["kind"] == "CronJob")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    assert pod_of(job) is not None
    assert pod_of(job)["containers"][0]["args"] == ["train"]  # type: ignore[index]
