"""What was used, summed by what one asks for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.talk import CHAT, DIRECT, post
from tests.harness import System


async def _usage(system: System, **query: str) -> dict[str, Any]:
    response = await system.client.get("/api/usage", params=query)
    assert response.status_code == 200, response.text
    report: dict[str, Any] = response.json()
    return report


@pytest.fixture
async def used(own_system: System) -> System:
    """Two users, two personas, two models; one call whose cost nobody tells, and one that never cost anything."""
    await own_system.start_worker()
    await own_system.start_api()
    await own_system.interact(user_id="ada", model="openai/gpt-4")
    await own_system.interact(user_id="bob", model="openai/gpt-4", persona_id="karen")
    await own_system.interact(user_id="bob", model="standin/cost-null")
    await own_system.interact(user_id="bob", model="standin/unauthorized")
    await post(own_system, {"messages": CHAT, "model": "openai/gpt-4"}, DIRECT)
    return own_system


async def test_usage_adds_up(used: System) -> None:
    today = datetime.now(UTC).date()
    expected = {
        "user": {"ada": (1, 0), "bob": (3, 1), "anonymous": (1, 0)},
        "model": {"openai/gpt-4": (3, 0), "standin/cost-null": (1, 1), "standin/unauthorized": (1, 0)},
        "persona": {"cherry": (3, 1), "karen": (1, 0), None: (1, 0)},
        "day": {today.isoformat(): (5, 1)},
    }
    for group_by, groups in expected.items():
        report = await _usage(used, group_by=group_by)
        found = {item["key"]: (item["calls"], item["unknown_cost_calls"]) for item in report["items"]}
        assert (report["group_by"], found) == (group_by, groups)
        assert report["next_cursor"] is None
        assert report["total"]["key"] is None
        for field in ("interactions", "calls", "prompt_tokens", "total_tokens", "unknown_cost_calls"):
            assert report["total"][field] == sum(item[field] for item in report["items"])
        known = sum(item["cost_usd"] or 0 for item in report["items"])
        assert report["total"]["cost_usd"] == pytest.approx(known)
    by_model = {item["key"]: item for item in (await _usage(used))["items"]}
    assert by_model["standin/cost-null"]["cost_usd"] is None
    assert by_model["standin/unauthorized"]["estimated_cost_usd"] is None
    assert by_model["openai/gpt-4"]["cost_usd"] > 0
    assert [item["key"] for item in (await _usage(used, user_id="ada"))["items"]] == ["openai/gpt-4"]
    day = timedelta(days=1)
    assert (await _usage(used, **{"from": str(today), "to": str(today)}))["total"]["calls"] == 5
    assert (await _usage(used, to=str(today - day)))["items"] == []
    nothing = (await _usage(used, **{"from": str(today + day)}))["total"]
    assert (nothing["calls"], nothing["total_tokens"], nothing["cost_usd"]) == (0, 0, 0)
