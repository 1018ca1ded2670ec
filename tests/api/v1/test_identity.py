"""Who asks, in which conversation, and whether again: whose word counts."""

from typing import Any

import pytest

from api.v1.bodies import IdentifyingBody
from api.v1.identity import Identity, Sender
from core.orchestrator.access.caller import EVERYBODY, Caller
from tests.api.keyed import Keyed

NAMED = {"safety_identifier": "eve", "user": "mallory"}


def _identity(asker: Caller = EVERYBODY, body: dict[str, Any] | None = None, **headers: Any) -> Identity:
    return Sender(asker, **headers).identify(IdentifyingBody.model_validate({"model": "cherry"} | (body or {})))


def test_a_key_that_is_bound_to_a_user_lets_nobody_speak_for_another() -> None:
    bound = Caller(frozenset(), "alices key", "alice")
    found = _identity(bound, NAMED, forwarded_user="eve")
    assert (found.user_id, found.key_name) == ("alice", "alices key")


def test_a_key_of_nobodys_lets_its_holder_say_for_whom_it_asks() -> None:
    unbound = Caller(frozenset(), "back end")
    assert _identity(unbound, NAMED, forwarded_user="ada").user_id == "ada"
    assert _identity(unbound, NAMED).user_id == "eve"
    assert _identity(unbound, {"user": "mallory"}).user_id == "mallory"
    assert _identity(unbound).user_id == "anonymous"


def test_only_a_client_that_is_known_to_resends_everything() -> None:
    assert _identity(chat_id="c").resends is True
    assert _identity(conversation_id="c").resends is None
    assert _identity(body={"conversation": "c"}).resends is None


async def test_what_may_be_empty_is_described_so(keyed: Keyed) -> None:
    description = keyed.app.openapi()
    described = {
        parameter["name"]: next(form for form in parameter["schema"]["anyOf"] if form["type"] == "string")
        for parameter in description["paths"]["/v1/responses"]["post"]["parameters"]
    }
    for name in ("X-OpenWebUI-User-Id", "X-OpenWebUI-Chat-Id", "X-Conversation-Id"):
        assert (described[name].get("minLength", 0), described[name]["maxLength"]) == (0, 128), name
    assert described["Idempotency-Key"]["minLength"] == 1


@pytest.mark.parametrize(
    ("said", "is_retry"),
    [(None, False), ("0", False), ("00", False), ("1", True), ("10", True), ("x", False), ("-1", False), ("²", False)],
)
def test_a_client_says_that_it_asks_again(said: str | None, is_retry: bool) -> None:
    assert _identity(retries=said).is_retry is is_retry
