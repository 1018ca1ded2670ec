"""The image and the compose file, as far as they can be tried where no container runs.

The compose file is held against the specification's own schema, and what it says about us against our code. What the
image holds is laid out in a folder, and runs there.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import cli
from core.orchestrator.config import Settings
from embedded import temporal_server
from tests.harness import ROOT, Process, System, free_port

Json = dict[str, Any]

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: Json = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Json] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
COMMANDS = sorted({word for service in OURS.values() for word in service.get("command", [])})
ONCE = "service_completed_successfully"
OF_OTHERS = {"PGPASSWORD", "TEMPORAL_NAMESPACE"}
"""Read by PostgreSQL's client and Temporal's, rather than by us; OpenTelemetry's begin with OTEL_."""
ELSEWHERE = {"API_HOST", "API_PORT", "DATA_DIR"}
"""Settings that the image itself makes."""
NEED_FILES = {"PERSONAS_DIR", "PLUGINS"}
"""Settings that say nothing without a file beside them."""
OF_ONE_MACHINE = {"TEMPORAL_PORT", "TEMPORAL_UI_PORT"}
"""Settings of `orchestrator up`."""


def instructions(name: str) -> list[str]:
    """The arguments of every instruction of a name in the Dockerfile."""
    whole = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return [line.removeprefix(name).strip() for line in whole.splitlines() if line.startswith(f"{name} ")]


def in_the_image() -> list[str]:
    """What `.dockerignore` lets through, each from the project's folder."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines, "nothing is left out"
    return [line[1:] for line in lines if line.startswith("!")]


def test_the_compose_file_is_what_the_specification_allows() -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    command = [checker, "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", OURS)
def test_whatever_our_containers_are_told_is_a_setting(name: str) -> None:
    told = {variable for variable in OURS[name].get("environment", {}) if not variable.startswith("OTEL_")}
    assert told <= set(Settings.model_fields) | OF_OTHERS


def test_every_setting_can_be_made_by_the_environment_of_compose() -> None:
    told = set(OURS["worker"]["environment"]) | set(OURS["api"]["environment"])
    assert set(Settings.model_fields) - told == ELSEWHERE | NEED_FILES | OF_ONE_MACHINE


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_a_container_exists(command: str) -> None:
    assert CliRunner().invoke(cli.app, [command, "--help"]).exit_code == 0


def test_what_is_named_for_the_image_is_there_and_all_of_our_code_is_named() -> None:
    named = in_the_image()
    assert [name for name in named if not (ROOT / name).exists()] == []
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {pattern.rstrip("*") for pattern in setuptools["packages"]["find"]["include"]}
    modules = {f"{module}.py" for module in setuptools["py-modules"]}
    assert packages | modules | {"personas", "pyproject.toml", "requirements.lock"} <= set(named)
    assert not {"tests", "docs", ".env", ".git", ".orchestrator"} & set(named)
    copied = [words.split()[0] for words in instructions("COPY") if not words.startswith("--from")]
    assert set(copied) <= {".", *named}


async def test_what_the_image_holds_is_enough_to_prepare_a_system(own_system: System, tmp_path: Path) -> None:
    app = tmp_path / "app"
    for name in in_the_image():
        source, target = ROOT / name, app / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    command = [sys.executable, "-m", "cli", "setup"]
    environment = {**own_system.environment, "PYTHONPATH": str(app), "PYTHONDONTWRITEBYTECODE": "1"}
    setup = await Process.start(command, tmp_path / "log", environment, cwd=app)
    assert await setup.wait() == 0, setup.output
    assert "the schema is" in setup.output


async def healthy(directory: Path, **ports: int) -> bool:
    """Run the image's health check."""
    _, *arguments = yaml.safe_load(instructions("HEALTHCHECK")[0].partition(" CMD ")[2])
    told = {name: str(port) for name, port in ports.items()}
    return await (await Process.start([sys.executable, *arguments], directory / "log", told)).wait() == 0


async def test_the_health_check_tells_a_living_api_from_none(system: System, tmp_path: Path) -> None:
    assert await healthy(tmp_path, API_PORT=system.port)
    assert not await healthy(tmp_path, API_PORT=free_port())


async def test_the_health_check_tells_a_living_worker_from_none(own_system: System, tmp_path: Path) -> None:
    port, nobody = free_port(), free_port()
    worker = await own_system.start_worker(WORKER_METRICS_PORT=str(port))
    assert await healthy(tmp_path, API_PORT=nobody, WORKER_METRICS_PORT=port)
    await worker.kill()
    assert not await healthy(tmp_path, API_PORT=nobody, WORKER_METRICS_PORT=port)


def test_the_image_runs_as_nobody_special_and_signals_reach_python() -> None:
    assert instructions("USER") == ["10001:10001"]
    assert instructions("ENTRYPOINT") == ['["orchestrator"]']
    assert all(words.startswith("[") for words in instructions("CMD"))


def test_packages_are_installed_by_hashes_alone() -> None:
    (locked,) = [words for words in instructions("RUN") if "requirements.lock" in words]
    assert "--require-hashes" in locked
    (own,) = [words for words in instructions("RUN") if "--editable" in words]
    assert "--no-deps" in own


def test_only_the_api_is_public() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == {"balancer", "temporal-ui"}
    assert all(port.startswith("127.0.0.1:") for port in ports["temporal-ui"])
    assert not [name for name, service in SERVICES.items() if "network_mode" in service]


def test_who_holds_data_is_in_a_network_without_a_way_out() -> None:
    assert COMPOSE["networks"]["data"]["internal"] is True
    assert [SERVICES[name]["networks"] for name in ("postgres", "temporal")] == [["data"], ["data"]]


def test_no_image_is_whatever_is_newest() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += [words.partition("=")[2] for words in instructions("ARG")]
    tags = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", image).partition(":")[2] for image in images]
    assert all(re.match(r"\d", tag) for tag in tags), tags


def test_temporal_is_of_the_versions_that_these_tests_run_against() -> None:
    binary = Path(sys.executable).with_name("temporal")
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    server, ui = re.findall(r"(?:Server|UI) ([\d.]+)", told)
    assert [SERVICES[name]["image"].partition(":")[2] for name in ("temporal", "temporal-schema", "temporal-ui")] == [
        server,
        server,
        ui,
    ]


def test_temporal_is_tuned_as_the_one_of_a_single_machine() -> None:
    told = yaml.safe_load((ROOT / "deploy/temporal.yaml").read_text())
    values = {name: constraints[0]["value"] for name, constraints in told.items()}
    command = temporal_server._command(Settings(_env_file=None))
    flags = [flag for before, flag in pairwise(command) if before == "--dynamic-config-value"]
    of_one_machine = {name: yaml.safe_load(value) for name, _, value in (flag.partition("=") for flag in flags)}
    # A cluster has many shards, and writes down where each stands as seldom as Temporal likes.
    del of_one_machine["history.transferProcessorUpdateAckInterval"]
    assert values == of_one_machine


@pytest.mark.parametrize("name", ["api", "worker"])
def test_a_container_may_take_longer_to_stop_than_its_replies_may(name: str) -> None:
    margin = 10  # what `worker.py` adds, and the start of the end
    given = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert given >= OURS[name]["environment"]["SHUTDOWN_GRACE_SECONDS"] + margin


@pytest.mark.parametrize("name", SERVICES)
def test_whoever_waits_waits_for_what_can_come(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        awaited = SERVICES[other]
        if how["condition"] == ONCE:
            assert awaited["restart"].startswith("on-failure")
        else:
            assert "healthcheck" in awaited or (other in OURS and instructions("HEALTHCHECK"))


@pytest.mark.parametrize("name", ["api", "worker"])
def test_there_may_be_several_of_it(name: str) -> None:
    assert not {"container_name", "ports", "volumes"} & set(SERVICES[name])
