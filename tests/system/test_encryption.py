"""Encrypted histories: what Temporal is told, who can read it, and keys that come and go."""

import re

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client
from temporalio.common import RawValue

from core.orchestrator.access.caller import Scope
from core.orchestrator.access.keys import create_key
from tests.harness import ORCHESTRATOR, Process, System
from tests.system.beside import beside
from tests.system.stories import (
    HELD,
    answered,
    held,
    interaction_of,
    outcomes,
    roles,
    sending,
    transcript,
)
from tests.system.temporal_cli import temporal_cli
from tests.temporal.keys import KEYS, setting

MODEL = "test/model"
MESSAGE = "The pineapple is under the staircase"
OPERATOR = create_key("operator", frozenset({Scope.ADMIN}))
ENCRYPTED = {"PAYLOAD_ENCRYPTION_KEYS": setting("a")}


async def told(temporal: Client, workflow_id: str, *, closed: bool = False) -> list[Message]:
    """All that Temporal knows of a run, as it would tell anybody: its history, its description, its place in lists.

    A reply is there a moment before its run is closed.
    """
    run, service = WorkflowExecution(workflow_id=workflow_id), temporal.workflow_service
    namespace = temporal.namespace
    if closed:
        await service.get_workflow_execution_history(
            GetWorkflowExecutionHistoryRequest(
                namespace=namespace,
                execution=run,
                wait_new_event=True,
                history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
            )
        )
    listed = ListWorkflowExecutionsRequest(namespace=namespace, query=f"WorkflowId = '{workflow_id}'")
    return [
        await service.get_workflow_execution_history(
            GetWorkflowExecutionHistoryRequest(namespace=namespace, execution=run)
        ),
        await service.describe_workflow_execution(DescribeWorkflowExecutionRequest(namespace=namespace, execution=run)),
        await service.list_workflow_executions(listed),
    ]


def holds(messages: list[Message], words: str) -> bool:
    return any(words.encode() in message.SerializeToString() for message in messages)


async def replayed(system: System, *source: str, keys: str) -> tuple[int, str]:
    """The exit code and output of a replay."""
    log = system.directory / f"replay-{keys}-{len(source)}.log"
    settings = {**system.environment, "PAYLOAD_ENCRYPTION_KEYS": setting(keys)}
    process = await Process.fork([ORCHESTRATOR, "replay", *source], log, settings)
    return await process.wait(), process.output


@beside
async def test_an_encrypted_history_tells_nothing_of_what_was_said(own_system: System, temporal: Client) -> None:
    keys = {"API_KEYS": str(OPERATOR.entry)}
    own_system.client.headers["Authorization"] = f"Bearer {OPERATOR.key}"
    own_system.standin.script(MODEL, HELD)
    await own_system.start(**ENCRYPTED, **keys)

    async with sending(own_system, MESSAGE, session_id="s", model=MODEL, user_id="ada-of-the-history") as request:
        await held(own_system)
        running = f"interaction-{await interaction_of(own_system, 's')}"
        while_running = await told(temporal, running)
        own_system.standin.release()
        reply = await answered(request)
    fallback = (await own_system.interact(MESSAGE, model="standin/no-endpoints", fallback_models=[MODEL])).json()
    degraded = (await own_system.interact(MESSAGE, model="standin/no-endpoints", fallback_models=[])).json()
    assert degraded["degraded"], "the persona's own line is to be looked for as well"
    assert fallback["message"] != degraded["message"]

    secret = ["pineapple", "staircase", "answers", "memory of the session", "prompt and model plan", "fallback 1 of 1"]
    secret += [view["message"][:25] for view in (reply, fallback, degraded)]
    secret += [degraded["error"]["detail"]]
    secret += [".py", "Traceback", *(key.get_secret_value() for key in KEYS.values())]
    for view in (reply, fallback, degraded):
        known = await told(temporal, view["workflow_id"], closed=True)
        assert [words for words in secret if holds(known, words)] == []
    assert [words for words in secret if holds(while_running, words)] == []
    # What operators search by stays legible: said so in the documentation.
    assert holds(while_running, "ada-of-the-history")

    show = ("workflow", "show", "--workflow-id", running)
    assert "pineapple" not in await temporal_cli(own_system, *show, "--detailed")
    codec = ("--codec-endpoint", f"{own_system.url}/codec", "--codec-auth", f"Bearer {OPERATOR.key}")
    legible = await temporal_cli(own_system, *show, "--detailed", *codec)
    assert MESSAGE in legible
    assert reply["message"][:25] in legible

    file = own_system.directory / "history.json"
    file.write_text(await temporal_cli(own_system, *show, "--output", "json"))
    for source in ([running], ["--history", str(file)]):
        assert await replayed(own_system, *source, keys="ba") == (
            0,
            f"same     {running}  15 events\n1 go the same way, 0 differ\n",
        )
        code, output = await replayed(own_system, *source, keys="b")
        assert (code, len(output.splitlines())) == (2, 1), output
        assert "key 'a', which PAYLOAD_ENCRYPTION_KEYS does not name" in output


async def handed_over(system: System, temporal: Client, *, begun: str, ended: str) -> Message:
    """The history of an interaction whose worker, during the call, makes way for one with other keys."""
    system.standin.script(MODEL, HELD, HELD)
    before = {"PAYLOAD_ENCRYPTION_KEYS": setting(begun)}
    old = await system.start_worker(SHUTDOWN_GRACE_SECONDS="1", **before)
    await system.start_api(**before)
    async with sending(system, MESSAGE, session_id="s", model=MODEL) as request:
        await held(system)
        await system.start_worker(PAYLOAD_ENCRYPTION_KEYS=setting(ended))
        assert await old.stop() == 0
        await held(system)
        system.standin.release()
        reply = await answered(request)
    assert outcomes(reply) == ["worker_lost", "succeeded"]
    assert roles(await transcript(system, "s")) == ["user", "assistant"]
    history, *_ = await told(temporal, reply["workflow_id"], closed=True)
    return history


def key_ids(history: Message) -> set[str]:
    """The keys that a history says it is encrypted with."""
    return {found.decode() for found in re.findall(rb"encryption-key-id\x12\x01(.)", history.SerializeToString())}


@beside
async def test_an_interaction_begun_before_encryption_ends_encrypted(own_system: System, temporal: Client) -> None:
    history = await handed_over(own_system, temporal, begun="", ended="a")
    assert holds([history], MESSAGE), "nothing that is looked for here would be found"
    assert key_ids(history) == {"a"}


@beside
async def test_an_interaction_begun_under_one_key_ends_under_the_next(own_system: System, temporal: Client) -> None:
    history = await handed_over(own_system, temporal, begun="a", ended="ba")
    assert not holds([history], MESSAGE)
    assert key_ids(history) == {"a", "b"}


@beside
async def test_a_signal_that_nobody_can_read_holds_up_nothing(own_system: System, temporal: Client) -> None:
    own_system.standin.script(MODEL, HELD)
    await own_system.start(**ENCRYPTED)
    unreadable = [Payload(metadata={"encoding": b"binary/encrypted", "encryption-key-id": key}) for key in (b"a", b"z")]
    async with sending(own_system, session_id="s", model=MODEL) as request:
        await held(own_system)
        run = temporal.get_workflow_handle(f"interaction-{await interaction_of(own_system, 's')}")
        for name in ("place_freed", "unknown"):
            for payload in unreadable:
                await run.signal(name, RawValue(payload))
        own_system.standin.release()
        await answered(request)
