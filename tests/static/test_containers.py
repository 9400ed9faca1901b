"""The compose file and the Kubernetes manifests agree with each other and with the code."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kombu.transport.redis import Channel

from workers.app import QUEUES
from workers.loop import GRACE_SECONDS
from workers.settings import PREFIX, load_settings

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "ops/kubernetes"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
TEXT = {"type": "string"}
#: The fields of KEDA's resources that are used; `make lint` has the schemas of Kubernetes only.
KEDA = {
    "ScaledObject": {
        "scaleTargetRef": {"name": TEXT},
        "minReplicaCount": {"type": "integer"},
        "maxReplicaCount": {"type": "integer"},
        "advanced": {"scalingModifiers": {"formula": TEXT, "target": TEXT}},
        "triggers": [
            {
                "type": {"const": "redis"},
                "name": TEXT,
                "metadata": {"listName": TEXT, "addressFromEnv": TEXT, "databaseIndex": TEXT},
                "authenticationRef": {"name": TEXT},
            }
        ],
    },
    "TriggerAuthentication": {
        "secretTargetRef": [{"parameter": {"const": "password"}, "name": TEXT, "key": TEXT}]
    },
}


def read(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


FOLDERS = {path.parent.name: read(path)[0] for path in sorted(MANIFESTS.glob("*/kustomization.yaml"))}
RESOURCES = {
    (each["kind"], each["metadata"]["name"]): each
    for path in sorted(MANIFESTS.glob("*/*.yaml"))
    if path.name != "kustomization.yaml"
    for each in read(path)
}


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the pod of each workload, with the workload's name."""
    for (_, name), resource in RESOURCES.items():
        spec = resource["spec"].get("jobTemplate", resource)["spec"]
        if "template" in spec:
            yield name, spec["template"]["spec"]


PODS = dict(pods())
OWN = ("workers", "flower", "update", "load")


def container(name: str) -> dict[str, Any]:
    (only,) = PODS[name]["containers"]
    found: dict[str, Any] = only
    return found


def literals() -> dict[str, str]:
    (generator,) = FOLDERS["settings"]["configMapGenerator"]
    return dict(each.split("=", 1) for each in generator["literals"])


def megabytes(text: str) -> int:
    return int(text.rstrip("MGi")) * (1024 if "G" in text else 1)


def test_each_manifest_belongs_to_its_folder_and_is_of_a_kind_that_is_checked() -> None:
    for folder, kustomization in FOLDERS.items():
        files = {path.name for path in (MANIFESTS / folder).iterdir()} - {"kustomization.yaml"}
        assert files == set(kustomization.get("resources", [])), folder
    assert {kind for kind, _ in RESOURCES} - set(KEDA) == {
        "CronJob", "Deployment", "Job", "PersistentVolumeClaim", "Service", "StatefulSet",
    }  # fmt: skip


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_no_more_rights_than_it_needs(name: str) -> None:
    pod = PODS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for each in [*pod["containers"], *pod.get("initContainers", [])]:
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert each["resources"]["limits"].keys() == {"memory"}
        assert each["resources"]["requests"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["deploy"]["resources"]["limits"].keys() == {"memory"}
    assert "healthcheck" in service or name == "loader"


@pytest.mark.parametrize("name", ["redis", "neo4j", "workers", "flower"])
def test_compose_and_kubernetes_run_the_same(name: str) -> None:
    service, pod, own = SERVICES[name], PODS[name], container(name)
    (tags,) = FOLDERS["settings"]["images"]
    image = f"{tags['name']}:{tags['newTag']}" if own["image"] == tags["name"] else own["image"]
    assert service["image"] == image
    assert own.get("args") == service.get("command", ["worker"] if name == "workers" else None)
    assert pod.get("terminationGracePeriodSeconds") == {"neo4j": 60, "workers": 230}.get(name)
    assert service.get("stop_grace_period") == {"neo4j": "60s", "workers": "230s"}.get(name)
    limits = [each["resources"]["limits"]["memory"] for each in (own, service["deploy"])]
    assert megabytes(limits[0]) == megabytes(limits[1])
    user = pod["securityContext"]
    assert service.get("user", "10001:10001") == f"{user['runAsUser']}:{user['runAsGroup']}"
    if name == "neo4j":
        assert {each["name"]: each["value"] for each in own["env"]} == service["environment"]
    if name == "workers":
        asked = own["livenessProbe"]["exec"]["command"]
        assert service["healthcheck"]["test"] == ["CMD", *asked]
        assert [*own["readinessProbe"]["exec"]["command"], "--liveness"] == asked


def test_the_image_is_the_command_and_not_for_root() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert {'ENTRYPOINT ["graphinator"]', 'CMD ["worker"]', "USER 10001:10001"} <= set(lines)


def test_the_server_is_the_one_that_is_tested() -> None:
    version = SERVICES["neo4j"]["image"].removeprefix("neo4j:").removesuffix("-community")
    assert f":neo4j:{version} " in (ROOT / "ops/stack/neo4j.lock").read_text(encoding="utf-8")


def test_all_manifests_share_a_namespace() -> None:
    assert {name: each.get("namespace") for name, each in FOLDERS.items()} == {
        "base": "graphinator", "load": "graphinator", "servers": "graphinator", "settings": None,
    }  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_the_settings_of_a_pod_are_settings_whose_files_it_has(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert container(name)["envFrom"] == [{"configMapRef": {"name": "graphinator"}}]
    (secrets,) = (each["secret"] for each in PODS[name]["volumes"] if each["name"] == "secrets")
    (folder,) = (
        mount["mountPath"]
        for mount in container(name)["volumeMounts"]
        if mount["name"] == "secrets" and "subPath" not in mount
    )
    for item in secrets["items"]:
        (tmp_path / item["path"]).write_text("secret")
    for setting, value in literals().items():
        if setting.startswith(PREFIX):
            monkeypatch.setenv(setting, value.replace(folder, str(tmp_path)))
    settings = load_settings()
    assert (settings.redis_password, settings.neo4j_password) == ("secret", "secret")


def test_compose_and_kubernetes_have_the_same_settings() -> None:
    assert SERVICES["workers"]["environment"].items() <= literals().items()


def test_a_worker_has_time_to_finish_its_tasks() -> None:
    settings = load_settings()
    assert PODS["workers"]["terminationGracePeriodSeconds"] > settings.batch_timeout_seconds + GRACE_SECONDS


def closed(shape: Any) -> dict[str, Any]:
    """Return a JSON schema: all of these fields, and no other."""
    if isinstance(shape, list):
        return {"type": "array", "minItems": 1, "items": closed(shape[0])}
    if not all(isinstance(each, dict | list) for each in shape.values()):
        found: dict[str, Any] = shape
        return found
    fields = {name: closed(each) for name, each in shape.items()}
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


@pytest.mark.parametrize("kind", KEDA)
def test_keda_gets_fields_that_it_knows(kind: str) -> None:
    (resource,) = (each for (found, _), each in RESOURCES.items() if found == kind)
    assert resource["apiVersion"] == "keda.sh/v1alpha1"
    jsonschema.validate(resource["spec"], closed(KEDA[kind]))


def test_keda_counts_the_tasks_that_wait_and_those_that_workers_hold() -> None:
    spec = RESOURCES["ScaledObject", "workers"]["spec"]
    keys = [*QUEUES, Channel.unacked_key]
    assert [each["name"] for each in spec["triggers"]] == keys
    assert [each["metadata"]["listName"] for each in spec["triggers"]] == keys
    assert spec["advanced"]["scalingModifiers"]["formula"] == " + ".join(keys)
    settings = literals()
    host, _, database = settings["GRAPHINATOR_REDIS_URL"].removeprefix("redis://").partition("/")
    assert {each["metadata"]["databaseIndex"] for each in spec["triggers"]} == {database}
    assert {each["metadata"]["addressFromEnv"] for each in spec["triggers"]} == {"REDIS_ADDRESS"}
    # KEDA runs in another namespace.
    assert settings["REDIS_ADDRESS"] == host.replace(":", f".{FOLDERS['base']['namespace']}:")


def test_a_load_gives_all_workers_something_to_do() -> None:
    spec = RESOURCES["ScaledObject", "workers"]["spec"]
    threads = load_settings().worker_threads
    assert int(spec["advanced"]["scalingModifiers"]["target"]) == threads
    assert int(literals()["GRAPHINATOR_BATCHES_IN_FLIGHT"]) == threads * spec["maxReplicaCount"]
