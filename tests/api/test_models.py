"""The models that can be asked, page by page, and what is known of them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.orchestrator.errors import LLMProviderServiceError
from core.orchestrator.models.cooldowns import Cooldowns
from core.orchestrator.storage.database import open_database
from standin import StandIn
from tests.api.talk import assert_problem
from tests.harness import System, free_port

URL = "/api/models"


async def listed(system: System, **query: Any) -> dict[str, Any]:
    response = await system.client.get(URL, params=query)
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


async def until_listed(system: System, *providers: str) -> None:
    """Return when the API knows these providers' lists, which it fetches in the background: it can only be asked."""
    async with asyncio.timeout(20):
        while not {known["provider"] for known in (await listed(system))["providers"]} >= set(providers):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def whole(system: System, limit: int, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor: Mapping[str, str] = {}
    while True:
        page = await listed(system, limit=limit, **cursor, **query)
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        assert len(page["items"]) == limit
        cursor = {"cursor": page["next_cursor"]}


@pytest.fixture(scope="module")
async def shop(temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A system with further providers, whose lists it knows."""
    async with StandIn() as standin:
        system = System(temporal_address, standin, tmp_path_factory.mktemp("shop"), PLUGINS="tests.api.plugins.shelves")
        try:
            await system.start_api()
            await until_listed(system, "openrouter", "shelf", "another_shelf")
            await system.start_worker()
            yield system
        finally:
            await system.stop()


async def test_the_models_come_by_provider_and_name_with_what_is_known_of_them(shop: System) -> None:
    items = await whole(shop, 200)
    providers = [item["provider"] for item in items]
    assert providers == sorted(providers)
    for provider in ("another_shelf", "openrouter", "shelf"):
        ids = [item["id"] for item in items if item["provider"] == provider]
        assert ids == sorted(ids)
    known = {item["id"]: item for item in items}
    assert known["shelf:tiny"] == {
        "id": "shelf:tiny",
        "provider": "shelf",
        "name": "Tiny",
        "context_length": 600,
        "max_completion_tokens": 100,
        "prompt_usd_per_token": None,
        "completion_usd_per_token": None,
        "cooling": None,
    }
    assert known["shelf:openai/gpt-4"]["prompt_usd_per_token"] == 0
    assert known["shelf:openai/gpt-4"]["completion_usd_per_token"] == 0.000001
    gpt = known["openai/gpt-4"]
    assert gpt["provider"] == "openrouter"
    assert gpt["context_length"] > 0
    assert 0 < gpt["prompt_usd_per_token"] < gpt["completion_usd_per_token"] < 1


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_pages_of_any_size_give_the_whole_list_once(shop: System, limit: int) -> None:
    everything = await whole(shop, 200)
    assert await whole(shop, limit) == everything
    of_one = [item for item in everything if item["provider"] == "shelf"]
    assert await whole(shop, limit, provider="shelf") == of_one
    assert len(of_one) == 3


async def test_a_page_goes_on_where_a_model_stood_that_has_left_the_list(shop: System) -> None:
    everything = [item["id"] for item in await whole(shop, 200)]
    for gone in ("shelf:t", "openai/gpt-4-and-a-half", "another_shelf:zzz"):
        following = [item["id"] for item in (await listed(shop, cursor=gone, limit=200))["items"]]
        assert following == everything[-len(following) :]
    assert [item["id"] for item in (await listed(shop, cursor="shelf:t"))["items"]] == ["shelf:tiny"]
    assert (await listed(shop, cursor="zzz:after everything", provider="another_shelf"))["items"] == []


async def test_every_id_selects_its_model(shop: System) -> None:
    for name, provider in (
        ("openai/gpt-4", "openrouter"),
        ("shelf:openai/gpt-4", "shelf"),
        ("shelf:a:b", "shelf"),
        ("another_shelf:tiny", "another_shelf"),
    ):
        assert name in [item["id"] for item in (await listed(shop, provider=provider, limit=200))["items"]]
        reply = (await shop.interact(model=name, fallback_models=[])).json()
        assert (reply["status"], reply["provider"]) == ("completed", provider)


async def test_the_age_of_every_list_is_told(shop: System) -> None:
    page = await listed(shop)
    assert [known["provider"] for known in page["providers"]] == ["another_shelf", "openrouter", "shelf"]
    for known in page["providers"]:
        assert known["stale"] is False
        assert datetime.now(UTC) - datetime.fromisoformat(known["fetched_at"]) < timedelta(minutes=2)
    only = await listed(shop, provider="shelf")
    assert [known["provider"] for known in only["providers"]] == ["shelf"]


async def test_a_provider_without_a_sensible_list_is_registered_but_empty(shop: System) -> None:
    for name in ("odd", "broken"):
        assert await listed(shop, provider=name) == {"items": [], "next_cursor": None, "providers": []}
    assert_problem(await shop.client.get(f"{URL}?provider=nobody"), 404, "not_found")


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "cursor=", "provider=", f"cursor={'x' * 301}", "page=2"])
async def test_what_makes_no_sense_is_refused(system: System, query: str) -> None:
    assert_problem(await system.client.get(f"{URL}?{query}"), 422, path=query.partition("=")[0])


async def test_a_model_that_cools_says_until_when_and_why(shop: System) -> None:
    database = open_database(shop.directory / "data" / "orchestrator.db")
    try:
        cooldowns = Cooldowns(database, 1, timedelta(hours=1))
        await cooldowns.strike("another_shelf", "tiny", LLMProviderServiceError("it broke"))
        await cooldowns.strike("openrouter", "nobody/lists-it", LLMProviderServiceError("it broke"))
    finally:
        await database.close()
    cooling = {item["id"]: item["cooling"] for item in await whole(shop, 200) if item["cooling"]}
    assert cooling.keys() == {"another_shelf:tiny", "nobody/lists-it"}
    told = cooling["another_shelf:tiny"]
    assert (told["error_type"], told["detail"]) == ("upstream", "it broke")
    until = datetime.fromisoformat(told["until"])
    assert timedelta(minutes=59) < until - datetime.now(UTC) <= timedelta(hours=1)

    reply = (await shop.interact(model="another_shelf:tiny", fallback_models=["shelf:a:b"])).json()
    assert reply["status"] == "completed"
    plan = (await shop.client.get(f"/api/llm/interactions/{reply['interaction_id']}/explain")).json()["plan"]
    assert [call["model"] for call in plan["models"]] == ["tiny", "a:b"]
    [skipped] = plan["skipped"]
    assert (skipped["provider"], skipped["model"], skipped["error_type"]) == ("another_shelf", "tiny", "upstream")
    assert "it broke" in skipped["reason"]


async def test_memory_leaves_room_in_a_small_model_and_the_explanation_says_so(shop: System) -> None:
    reply = (await shop.interact(model="shelf:tiny", fallback_models=[], max_tokens=10_000)).json()
    assert reply["status"] == "completed"
    memory = (await shop.client.get(f"/api/llm/interactions/{reply['interaction_id']}/explain")).json()["memory"]
    assert memory["token_budget"] == 0
    assert "'tiny' takes 600 tokens" in memory["token_budget_reason"]
    ample = (await shop.interact(model="shelf:a:b", fallback_models=[])).json()
    memory = (await shop.client.get(f"/api/llm/interactions/{ample['interaction_id']}/explain")).json()["memory"]
    assert (memory["token_budget"], memory["token_budget_reason"]) == (4000, "MEMORY_TOKEN_BUDGET")


async def test_a_misspelt_model_is_asked_all_the_same_and_the_log_suggests_another(shop: System) -> None:
    reply = (await shop.interact(model="shelf:tinny", fallback_models=[])).json()
    assert reply["message"] == "tinny speaking"
    logs = "".join(process.output for process in shop._processes)
    assert logs.count("did you mean 'tiny'?") == 1


async def test_without_any_list_there_are_no_models_to_show_and_nothing_else_suffers(
    temporal_address: str, tmp_path: Path
) -> None:
    async with StandIn() as standin:
        nowhere = f"http://127.0.0.1:{free_port()}"
        system = System(temporal_address, standin, tmp_path, OPENROUTER_BASE_URL=nowhere)
        try:
            process = await system.start_api()
            await process.until_output("cannot be listed")
            assert await listed(system) == {"items": [], "next_cursor": None, "providers": []}
            assert await process.stop() == 0
            assert process.output.count("cannot be listed") == 1
        finally:
            await system.stop()


async def test_a_model_that_failed_three_interactions_is_passed_over_and_no_call_is_counted(shop: System) -> None:
    asked = {"model": "standin/no-endpoints", "fallback_models": ["shelf:a:b"]}
    for _ in range(3):
        first, second = (await shop.interact(**asked)).json()["attempts"]
        assert (first["status"], second["status"]) == ("failed", "succeeded")
    [cooling] = [item["cooling"] for item in await whole(shop, 200) if item["id"] == "standin/no-endpoints"]
    assert cooling["error_type"] == "model_not_found"
    skipped, answered = (await shop.interact(**asked)).json()["attempts"]
    assert (skipped["status"], skipped["model"], skipped["error_type"]) == (
        "skipped",
        "standin/no-endpoints",
        "model_not_found",
    )
    assert "3 times in a row" in skipped["detail"]
    assert answered["status"] == "succeeded"
    usage = {item["key"]: item["calls"] for item in (await shop.client.get("/api/usage")).json()["items"]}
    assert usage["standin/no-endpoints"] == 3
    alone = (await shop.interact(model="standin/no-endpoints", fallback_models=[])).json()
    assert [attempt["status"] for attempt in alone["attempts"]] == ["failed"]
