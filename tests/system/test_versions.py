"""Rolling out a new build with the real commands: what runs ends on the code it began with."""

import shlex

from temporalio.client import Client

from core.orchestrator.workflow_ids import reconciliation_id_of
from tests.harness import System, closed_run
from tests.system.beside import beside
from tests.system.stories import HELD, Json, answered, eventually, held, interaction_of, outcomes, sending
from tests.system.temporal_cli import temporal_cli

MODEL, GOOD = "test/model", "openai/gpt-4"


def build(system: System, number: str) -> dict[str, str]:
    """The settings of a build; the deployment is this system's own, for the server is not."""
    return {"WORKER_DEPLOYMENT_NAME": f"orchestrator-{system.port}", "WORKER_BUILD_ID": number}


async def ready(system: System) -> Json:
    response = await system.client.get("/readyz")
    told: Json = response.json()
    assert told["ready"] == (response.status_code == 200)
    return told


async def make_current(system: System, number: str) -> None:
    name = build(system, number)["WORKER_DEPLOYMENT_NAME"]
    arguments = ("set-current-version", "--deployment-name", name, "--build-id", number, "--yes")

    async def made() -> bool:  # a worker is ready a moment before Temporal lists all of its queues
        try:
            await temporal_cli(system, "worker", "deployment", *arguments)
        except AssertionError as refused:
            if "is missing active task queues" in str(refused):
                return False
            raise
        return True

    await eventually(made)


async def built_by(temporal: Client, workflow_id: str) -> set[str]:
    """The builds that have worked on a run, as its history says."""
    history = await temporal.get_workflow_handle(workflow_id).fetch_history()
    completed = [event.workflow_task_completed_event_attributes for event in history.events]
    return {
        event.worker_deployment_version or event.deployment_version.build_id for event in completed if event.identity
    }


async def described(system: System, number: str) -> str:
    name = build(system, number)["WORKER_DEPLOYMENT_NAME"]
    arguments = ("describe-version", "--deployment-name", name, "--build-id", number)
    return await temporal_cli(system, "worker", "deployment", *arguments)


@beside
async def test_a_running_interaction_ends_on_its_build_and_a_new_one_begins_on_the_current(
    own_system: System, temporal: Client
) -> None:
    own_system.standin.script(MODEL, HELD)
    first, _ = await own_system.start(**build(own_system, "1"))

    told = ""

    async def polls() -> bool:  # a worker is ready a moment before Temporal lists it
        nonlocal told
        told = (await ready(own_system))["worker"]
        return not told.startswith("no worker polls")

    await eventually(polls)
    assert told.startswith(f"no build of deployment 'orchestrator-{own_system.port}' is current")
    program, *command = shlex.split(told.partition(": ")[2])
    assert program == "temporal"
    await temporal_cli(own_system, *command, "--yes")
    assert (await ready(own_system))["worker"] == "ok"

    async with sending(own_system, session_id="s", model=MODEL) as long_one:
        await held(own_system)
        running = f"interaction-{await interaction_of(own_system, 's')}"
        await own_system.start_worker(**build(own_system, "2"))
        await make_current(own_system, "2")
        assert (await ready(own_system))["worker"] == "ok"
        async with sending(own_system, session_id="s") as in_line:

            async def waits_in_line() -> bool:
                return f"interaction-{await interaction_of(own_system, 's')}" != running

            await eventually(waits_in_line)
            new = (await own_system.interact(session_id="t")).json()
            assert "draining" in await described(own_system, "1")
            own_system.standin.release()
            old = await answered(long_one)
            after_it = await answered(in_line)
    assert outcomes(old) == outcomes(new) == outcomes(after_it) == ["succeeded"]
    assert await built_by(temporal, running) == {"1"}
    assert await built_by(temporal, new["workflow_id"]) == await built_by(temporal, after_it["workflow_id"]) == {"2"}

    assert await first.stop() == 0
    assert (await ready(own_system))["worker"] == "ok"
    broken = (await own_system.interact(model="standin/reset", fallback_models=[GOOD])).json()
    await closed_run(temporal, broken["workflow_id"])
    lookup = temporal.get_workflow_handle(reconciliation_id_of(broken["interaction_id"]))
    await lookup.result()
    assert await built_by(temporal, broken["workflow_id"]) == await built_by(temporal, lookup.id) == {"2"}


@beside
async def test_without_the_settings_nothing_has_a_version(own_system: System, temporal: Client) -> None:
    await own_system.start()
    reply = (await own_system.interact()).json()
    description = await temporal.get_workflow_handle(reply["workflow_id"]).describe()
    assert not description.raw_description.workflow_execution_info.versioning_info.HasField("deployment_version")
