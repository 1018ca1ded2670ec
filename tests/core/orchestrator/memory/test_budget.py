from datetime import timedelta
from typing import Any

import pytest

from core.orchestrator.contracts import ModelInfo
from core.orchestrator.errors import LLMProviderServiceError
from core.orchestrator.interactions.said import Said
from core.orchestrator.memory.budget import MemoryBudget, TokenBudget
from core.orchestrator.models.catalogue import ModelCatalogue
from core.orchestrator.models.cooldowns import Cooldowns
from core.orchestrator.models.planning import ModelPlanner
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.personas.model import PersonaConfig
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry
from core.orchestrator.storage.database import Database
from core.orchestrator.tokens import estimate_tokens
from tests.core.orchestrator.agents.personas import persona
from tests.core.orchestrator.domain import request
from tests.core.orchestrator.models.listing_provider import ListingProvider

SETTING = 4000
BY_SETTING = TokenBudget(SETTING)
MODELS = [
    ModelInfo(id="small", context_length=4000),
    ModelInfo(id="large", context_length=100_000),
    ModelInfo(id="tiny", context_length=100),
    ModelInfo(id="just", context_length=4000 + 1000 + 4 + 5 + 6),
    ModelInfo(id="untold"),
]
MESSAGE = "x" * 4  # 5 tokens
TERSE = {"system_prompt": "y" * 8}  # 6 tokens


class Room:
    def __init__(self, database: Database) -> None:
        providers: Registry[LLMProvider] = Registry("provider", LLMProvider)  # type: ignore[type-abstract]
        providers.register("openrouter", lambda: ListingProvider(MODELS))
        self.catalogue = ModelCatalogue(database, providers, timedelta(hours=1))
        self.cooldowns = Cooldowns(database, 1, timedelta(seconds=30))
        self.planner = ModelPlanner(
            "untold", [], providers=providers, catalogue=self.catalogue, cooldowns=self.cooldowns
        )

    async def budget(
        self,
        cherry: PersonaConfig | None = None,
        setting: int = SETTING,
        said: Said | None = None,
        **asked: Any,
    ) -> TokenBudget:
        personas = PersonaLibrary([cherry or persona(**TERSE)])
        return await MemoryBudget(setting, self.planner, personas).of(request(MESSAGE, **asked), said)


@pytest.fixture
async def room(database: Database) -> Room:
    room = Room(database)
    await room.catalogue.refresh()
    return room


async def test_where_nothing_is_known_of_the_model_the_setting_decides(database: Database, room: Room) -> None:
    assert await Room(database).budget(model="small") == BY_SETTING
    assert await room.budget(model="untold") == BY_SETTING
    assert await room.budget(model="unlisted") == BY_SETTING


async def test_memory_gets_what_the_model_has_left_beside_answer_persona_and_message(room: Room) -> None:
    assert estimate_tokens(MESSAGE) == 5
    budget = await room.budget(model="small", max_tokens=1000)
    assert budget.tokens == 4000 - 1000 - 5 - 6
    assert budget.reason is not None
    for part in ("'small'", "4000", "1000 for the answer", "6 for the persona", "5 for the message"):
        assert part in budget.reason


async def test_all_that_came_with_the_message_counts(room: Room) -> None:
    tools = {"tools": [{"type": "function", "function": {"name": "weather", "description": "z" * 396}}]}
    system = [{"role": "system", "content": "x" * 396}]
    said = Said([{"role": "user", "content": "x" * 396}], system, tools)
    left = 4000 - 1000 - 6 - 103 - 103
    budget = await room.budget(model="small", said=said)
    assert left - 150 < budget.tokens < left - 100
    assert f" and {left - budget.tokens + 206} for the message" in str(budget.reason)


async def test_without_a_session_there_is_nothing_to_remember(room: Room) -> None:
    assert (await room.budget(model="large", session_id=None)).tokens == 0


async def test_a_large_model_gives_memory_no_more_than_the_setting(room: Room) -> None:
    assert await room.budget(model="large") == BY_SETTING
    assert (await room.budget(model="large", setting=99_000)).tokens == 100_000 - 4096 - 5 - 6


async def test_a_budget_that_just_fits_is_the_settings(room: Room) -> None:
    assert await room.budget(model="just", max_tokens=1004) == BY_SETTING
    assert (await room.budget(model="just", max_tokens=1005)).tokens == SETTING - 1


async def test_the_answers_share_is_the_requests_then_the_personas_then_a_quarter(room: Room) -> None:
    wordy = persona(max_tokens=2000, **TERSE)
    left = [
        (await room.budget(wordy, model="small", max_tokens=500)).tokens,
        (await room.budget(wordy, model="small")).tokens,
        (await room.budget(model="small")).tokens,
    ]
    assert [4000 - 5 - 6 - tokens for tokens in left] == [500, 2000, 1000]


async def test_a_budget_is_never_below_nothing(room: Room) -> None:
    assert (await room.budget(model="small", max_tokens=10_000)).tokens == 0
    assert (await room.budget(persona(background="b" * 1000), model="tiny")).tokens == 0


async def test_the_persona_is_counted_as_it_speaks_in_this_turn(room: Room) -> None:
    open_minded = persona(system_prompt="Say {{ context.topic }}")
    short, long = [
        (await room.budget(open_minded, model="small", context={"topic": "z" * n})).tokens for n in (4, 4004)
    ]
    assert short - long == 1000


async def test_the_first_model_that_is_not_cooling_decides(room: Room) -> None:
    asked = {"model": "small", "fallback_models": ["large"]}
    assert (await room.budget(**asked)).tokens < SETTING
    await room.cooldowns.strike("openrouter", "small", LLMProviderServiceError("down"))
    assert await room.budget(**asked) == BY_SETTING


async def test_a_prompt_that_cannot_be_written_has_the_settings_budget(room: Room) -> None:
    broken = persona(system_prompt="Hi {% if context.n is defined %}{{ 1 // context.n }}{% endif %}")
    assert await room.budget(broken, model="small", context={"n": 0}) == BY_SETTING
    assert await room.budget(model="small", persona_id="nobody") == BY_SETTING
