"""What a client is told when a limit is reached, and what a refused request leaves behind: nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select
from temporalio.client import Client

from api.app import create_app
from core.orchestrator.access.caller import Scope
from core.orchestrator.access.keys import create_key
from core.orchestrator.clock import utc_now
from core.orchestrator.interactions.limits import smallest_id_at
from core.orchestrator.storage.tables import interactions, sessions
from tests.api.house import House
from tests.api.talk import CHAT, DIRECT, INTERACT, assert_problem
from tests.core.orchestrator.domain import request

KEYS = [create_key(name, frozenset({Scope.INTERACT, Scope.READ})) for name in ("web", "app")]
HELLO = {"message": "Hello", "user_id": "ada", "background": True}
WAYS_TO_ASK: list[tuple[str, dict[str, Any]]] = [
    (INTERACT, HELLO),
    (INTERACT, HELLO | {"background": False}),
    (INTERACT, HELLO | {"background": False, "stream": True}),
    (DIRECT, {"messages": CHAT, "user_id": "ada"}),
    (DIRECT, {"messages": CHAT, "user_id": "ada", "stream": True}),
]
LIMITS = {
    "OPEN_INTERACTIONS_LIMIT_PER_USER": (429, "too_many_open"),
    "INTERACTIONS_PER_MINUTE_PER_USER": (429, "rate_limited"),
    "OPEN_INTERACTIONS_LIMIT_PER_KEY": (429, "too_many_open"),
    "INTERACTIONS_PER_MINUTE_PER_KEY": (429, "rate_limited"),
    "OPEN_INTERACTIONS_LIMIT": (503, "overloaded"),
}


@asynccontextmanager
async def front(house: House, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The service with these settings, over HTTP."""
    application = replace(house.application, settings=house.application.settings.model_copy(update=settings))
    app = create_app(application, await Client.connect("127.0.0.1:1", lazy=True))
    app.state.service = replace(house, application=application).service()
    transport = httpx.ASGITransport(app)
    headers = {"Authorization": f"Bearer {KEYS[0].key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http:
        yield http


async def rows(house: House) -> list[int | None]:
    async with house.application.database.read() as connection:
        return [await connection.scalar(select(func.count()).select_from(table)) for table in (interactions, sessions)]


def with_keys(setting: str) -> dict[str, Any]:
    return {setting: 1} | ({"API_KEYS": [str(key.entry) for key in KEYS]} if setting.endswith("KEY") else {})


@pytest.mark.parametrize("setting", LIMITS)
async def test_whoever_comes_at_the_limit_is_told_so_before_anything_begins(house: House, setting: str) -> None:
    async with front(house, **with_keys(setting)) as http:
        assert (await http.post(INTERACT, json=HELLO)).status_code == 202
        before = await rows(house)
        refusals = [await http.post(path, json=body) for path, body in WAYS_TO_ASK]
    for response in refusals:
        told = assert_problem(response, *LIMITS[setting])
        assert 1 <= int(response.headers["retry-after"]) <= 60
        named = {whose: whose in told["detail"] for whose in ("user", "API key", "service")}
        assert named == {
            "user": setting.endswith("USER"),
            "API key": setting.endswith("KEY"),
            "service": setting == "OPEN_INTERACTIONS_LIMIT",
        }
    assert await rows(house) == before
    assert len(house.runs.started) == len(house.told) == 1


async def test_who_has_begun_too_many_in_a_minute_is_told_when_the_first_of_them_leaves_it(house: House) -> None:
    async with front(house, INTERACTIONS_PER_MINUTE_PER_USER=2) as http:
        for seconds in (30, 10):
            came = smallest_id_at(utc_now() - timedelta(seconds=seconds))
            await house.application.store.open_turn(request(interaction_id=came))
        response = await http.post(INTERACT, json=HELLO)
    assert_problem(response, 429, "rate_limited")
    assert 25 <= int(response.headers["retry-after"]) <= 30


@pytest.mark.parametrize("setting", LIMITS)
async def test_a_request_that_is_repeated_with_its_key_is_never_refused(house: House, setting: str) -> None:
    key = {"Idempotency-Key": "k"}
    async with front(house, **with_keys(setting)) as http:
        first = await http.post(INTERACT, json=HELLO, headers=key)
        again = await http.post(INTERACT, json=HELLO, headers=key)
    assert again.status_code == 202
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()


@pytest.mark.parametrize("setting", [setting for setting in LIMITS if "PER_" in setting])
async def test_one_at_the_limit_keeps_no_other_out(house: House, setting: str) -> None:
    other = HELLO | {"user_id": "eve"}, {"Authorization": f"Bearer {KEYS[1].key}"}
    async with front(house, **with_keys(setting)) as http:
        for body, headers in ((HELLO, {}), other):
            assert (await http.post(INTERACT, json=body, headers=headers)).status_code == 202
            assert (await http.post(INTERACT, json=body, headers=headers)).status_code == 429


@pytest.mark.parametrize("setting", [setting for setting in LIMITS if setting.startswith("OPEN")])
async def test_a_place_is_free_when_its_interaction_has_ended(house: House, setting: str) -> None:
    async with front(house, **with_keys(setting)) as http:
        first = await http.post(INTERACT, json=HELLO)
        await house.end(first.json()["interaction_id"])
        assert (await http.post(INTERACT, json=HELLO)).status_code == 202


@pytest.mark.parametrize("setting", ["OPEN_INTERACTIONS_LIMIT", "OPEN_INTERACTIONS_LIMIT_PER_USER"])
async def test_what_was_never_started_uses_up_no_limit(house: House, setting: str) -> None:
    async with front(house, **with_keys(setting)) as http:
        await _opened_and_lost(house, utc_now() - timedelta(minutes=1))
        assert (await http.post(INTERACT, json=HELLO)).status_code == 202
        assert (await http.post(INTERACT, json=HELLO)).status_code == LIMITS[setting][0]


async def _opened_and_lost(house: House, came: datetime) -> None:
    """Open a turn as a process does that is killed before it starts the workflow."""
    store = type(house.application.store)(house.application.database, lambda: came)
    await store.open_turn(request(interaction_id=smallest_id_at(came), session_id="lost"))


async def test_without_limits_nobody_is_refused(house: House) -> None:
    async with front(house, **dict.fromkeys(LIMITS, 0)) as http:
        for _ in range(3):
            assert (await http.post(INTERACT, json=HELLO)).status_code == 202
