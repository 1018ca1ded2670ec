"""The clients with a key: they send it with everything, and say what to do where it does not help."""

import asyncio
import shlex
import sys
from pathlib import Path

import pytest

from core.orchestrator.examples.reply_reducer import Reply
from core.orchestrator.examples.service_client import Client, ClientError
from tests.api.keyed import KEYS, KeyedApi
from tests.harness import ORCHESTRATOR, ROOT, Process

LLM_CLIENT = str(ROOT / "core" / "orchestrator" / "examples" / "llm_client.py")
ALICE = KEYS["alice"].key


async def test_a_client_with_a_key_needs_no_user(keyed_api: KeyedApi) -> None:
    def talk() -> str:
        reply = Reply()
        with Client(keyed_api.url, api_key=f" {ALICE}\n") as client:  # as pasted
            assert client.interact({"message": "Hello"})["status"] == "completed"
            list(client.stream_interact({"message": "Hello"}, reply))
            list(client.follow(again := Reply(interaction_id=reply.interaction_id)))
            assert again.text == reply.text
            assert client.cancel(str(reply.interaction_id))["status"] == "completed"
        return reply.text

    assert "Cherry here" in await asyncio.to_thread(talk)


@pytest.mark.parametrize(
    ("caller", "status", "advice"),
    [
        (None, 401, "name a key with --api-key or ORCHESTRATOR_API_KEY"),
        ("nobody", 401, "name a key with --api-key or ORCHESTRATOR_API_KEY"),
        ("read", 403, "use a key that may do this"),
        ("bob", 403, "no other user"),
    ],
)
async def test_a_client_says_what_to_do_about_a_refusal(
    keyed_api: KeyedApi, caller: str | None, status: int, advice: str
) -> None:
    key = KEYS[caller].key if caller in KEYS else caller

    def refused() -> ClientError:
        with Client(keyed_api.url, api_key=key) as client, pytest.raises(ClientError) as failure:
            client.interact({"message": "Hello", "user_id": "alice"})
        return failure.value

    error = await asyncio.to_thread(refused)
    assert error.status == status
    assert advice in str(error)
    assert key is None or key not in str(error)


@pytest.mark.parametrize("key", ["schlüssel", "a\nb", "a\x00b"])
def test_a_key_that_fits_into_no_header_is_told_and_not_quoted(key: str) -> None:
    with pytest.raises(ClientError, match=r"^the API key holds characters that no key has$"):
        Client(api_key=key)


async def test_the_commands_take_a_key_from_an_option_or_the_environment(keyed_api: KeyedApi, tmp_path: Path) -> None:
    chat = f"echo Hello | {shlex.quote(ORCHESTRATOR)} chat --url {keyed_api.url}"
    client = f"{shlex.quote(sys.executable)} {shlex.quote(LLM_CLIENT)} --url {keyed_api.url} --message Hello"
    runs = [
        await Process.start(["bash", "-c", command], tmp_path / f"{number}.log", environment, cwd=tmp_path)
        for number, (command, environment) in enumerate(
            [
                (f"{client} --api-key {ALICE}", {}),
                (f"{client} --stream --user-id dora", {"ORCHESTRATOR_API_KEY": KEYS["both"].key}),
                (client, {"ORCHESTRATOR_API_KEY": KEYS["both"].key}),
                (client, {}),
                (chat, {"ORCHESTRATOR_API_KEY": ALICE}),
            ]
        )
    ]
    codes = [await run.wait() for run in runs]
    by_option, by_environment, nobody, without, chatted = [run.output for run in runs]
    assert "Cherry here" in by_option
    assert "Cherry here" in by_environment
    assert "error: 422 invalid_request: user_id: is required" in nobody
    assert "error: 401 unauthorized: send a key of this service" in without
    assert "name a key with --api-key or ORCHESTRATOR_API_KEY" in without
    assert 'You said: "Hello".' in chatted
    assert codes == [0, 0, 1, 1, 0]
