"""Encrypted payloads: they come back as they were, or not at all."""

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from core.orchestrator.contracts import InteractionRequest, InteractionStatus
from temporal.encryption import PayloadEncryption, UnreadablePayloadError
from temporal.payloads import DATA_CONVERTER, data_converter
from tests.temporal.keys import keys
from tests.workflows.steps import Runner, Steps, answer
from workflows.all import WORKFLOWS

PAYLOADS = st.builds(
    Payload, metadata=st.dictionaries(st.text(max_size=20), st.binary(max_size=20), max_size=3), data=st.binary()
)
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"a word of the message"')
REQUEST = InteractionRequest(interaction_id="i", user_id="u", session_id="s", persona_id="p", message="a word")


def encrypted(payloads: Sequence[Payload], names: str = "a") -> list[Payload]:
    return asyncio.run(PayloadEncryption(keys(names)).encode(payloads))


def decrypted(payloads: Sequence[Payload], names: str = "a") -> list[Payload]:
    return asyncio.run(PayloadEncryption(keys(names)).decode(payloads))


@given(st.lists(PAYLOADS, max_size=5))
@settings(max_examples=50, deadline=None)
def test_any_payloads_come_back_as_they_were(payloads: list[Payload]) -> None:
    assert decrypted(encrypted(payloads)) == payloads


@given(PAYLOADS.filter(lambda payload: len(payload.data) > 8))
@settings(max_examples=50, deadline=None)
def test_nothing_of_a_payload_can_be_read_in_its_encryption(payload: Payload) -> None:
    [sealed] = encrypted([payload])
    assert payload.data not in sealed.data
    assert dict(sealed.metadata) == {"encoding": b"binary/encrypted", "encryption-key-id": b"a"}


def test_no_two_encryptions_are_alike() -> None:
    assert len({payload.data for payload in encrypted([PLAIN] * 100)}) == 100


@pytest.mark.parametrize("place", range(len(encrypted([PLAIN])[0].data)))
def test_a_change_of_any_byte_is_noticed(place: int) -> None:
    [sealed] = encrypted([PLAIN])
    changed = bytearray(sealed.data)
    changed[place] ^= 1
    sealed.data = bytes(changed)
    with pytest.raises(UnreadablePayloadError, match="key 'a': it was changed"):
        decrypted([sealed])


@pytest.mark.parametrize("length", [0, 1, 11, 12, 27])
def test_a_payload_that_was_cut_is_noticed(length: int) -> None:
    [sealed] = encrypted([PLAIN])
    sealed.data = sealed.data[:length]
    with pytest.raises(UnreadablePayloadError, match="key 'a'"):
        decrypted([sealed])


def test_a_payload_that_claims_another_key_is_noticed_although_the_bytes_of_both_are_the_same() -> None:
    [sealed] = encrypted([PLAIN])
    sealed.metadata["encryption-key-id"] = b"alias"
    same = PayloadEncryption({"alias": keys("a")["a"]})
    with pytest.raises(UnreadablePayloadError, match="key 'alias': it was changed, or the key is another one"):
        asyncio.run(same.decode([sealed]))


def test_a_key_that_is_not_known_is_named() -> None:
    sealed = encrypted([PLAIN], "b")
    with pytest.raises(UnreadablePayloadError, match="key 'b', which PAYLOAD_ENCRYPTION_KEYS does not name"):
        decrypted(sealed, "a")


def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    before, after = encrypted([PLAIN], "a"), encrypted([PLAIN], "ba")
    assert after[0].metadata["encryption-key-id"] == b"b"
    assert decrypted(before + after, "ba") == decrypted(before + after, "cab") == [PLAIN, PLAIN]


@pytest.mark.parametrize(
    "payload",
    [
        PLAIN,
        Payload(metadata={"encoding": b"binary/encrypted"}, data=b"somebody else's"),
        Payload(metadata={"encryption-key-id": b"b"}, data=b"not encrypted"),
    ],
    ids=["plain", "encrypted by others", "of no encoding"],
)
def test_what_we_did_not_encrypt_is_left_as_it_is(payload: Payload) -> None:
    assert decrypted([payload]) == [payload]


def test_without_keys_nothing_changes() -> None:
    assert data_converter({}) is DATA_CONVERTER
    assert DATA_CONVERTER.payload_codec is None


async def test_a_request_and_the_words_of_a_failure_pass_through_unseen() -> None:
    converter = data_converter(keys("a"))
    [sealed] = await converter.encode([REQUEST])
    assert b"a word" not in sealed.SerializeToString()
    assert await converter.decode([sealed], [InteractionRequest]) == [REQUEST]

    failure = Failure()
    with pytest.raises(ApplicationError) as raised:
        raise ApplicationError("the message was: a word", {"quoting": "a word"}, type="quoting")
    await converter.encode_failure(raised.value, failure)
    assert b"a word" not in failure.SerializeToString()
    assert b"test_encryption.py" not in failure.SerializeToString(), "the stack trace shows"
    read = await converter.decode_failure(failure)
    assert isinstance(read, ApplicationError)
    assert (read.message, read.details, read.type) == (
        "the message was: a word",
        ({"quoting": "a word"},),
        "quoting",
    )


async def test_a_failure_from_before_encryption_still_reads() -> None:
    failure = Failure()
    await DATA_CONVERTER.encode_failure(ApplicationError("from before", type="old"), failure)
    read = await data_converter(keys("a")).decode_failure(failure)
    assert str(read) == "old: from before"


async def test_without_keys_an_encrypted_payload_is_told_from_a_broken_one() -> None:
    [sealed] = await data_converter(keys("a")).encode([REQUEST])
    with pytest.raises(UnreadablePayloadError, match="key 'a', and PAYLOAD_ENCRYPTION_KEYS is not set"):
        await DATA_CONVERTER.decode([sealed], [InteractionRequest])


async def test_a_run_that_no_worker_can_read_waits_for_one_with_the_key(temporal_address: str) -> None:
    def speaking(names: str) -> Awaitable[Client]:
        return Client.connect(temporal_address, data_converter=data_converter(keys(names)))

    steps, queue = Steps(first=answer), f"keys-{uuid4()}"

    def worker(client: Client) -> Worker:
        activities = [steps.load_memory, steps.build_prompt, steps.call_model, steps.store_results]
        return Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=activities)

    # Tasks that a worker has failed once are left to their time limit.
    run = await Runner(await speaking("ab"), queue).interaction(task_timeout=timedelta(seconds=1))
    other = await speaking("b")
    async with worker(other):
        async for event in run.fetch_history_events(wait_new_event=True):
            if event.HasField("workflow_task_failed_event_attributes"):
                break
    read = await other.data_converter.decode_failure(event.workflow_task_failed_event_attributes.failure)
    assert "key 'a', which PAYLOAD_ENCRYPTION_KEYS does not name" in str(_root(read))
    assert (await run.describe()).status is WorkflowExecutionStatus.RUNNING
    async with worker(await speaking("ba")):
        assert (await run.result()).status is InteractionStatus.COMPLETED


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
