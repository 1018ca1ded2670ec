import logging
from datetime import timedelta

import pytest

from core.orchestrator.contracts import AfterOutput, CompletionRequest
from core.orchestrator.errors import ErrorType, LLMProviderServiceError
from core.orchestrator.models.catalogue import ModelCatalogue
from core.orchestrator.models.cooldowns import Cooldowns
from core.orchestrator.models.planning import ModelPlanner
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.agents.personas import persona
from tests.core.orchestrator.domain import SettableClock, request
from tests.core.orchestrator.models.listing_provider import GPT, LLAMA, ListingProvider

DOWN = LLMProviderServiceError("down for good")


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def cooldowns(database: Database, clock: SettableClock) -> Cooldowns:
    return Cooldowns(database, 1, timedelta(seconds=30), clock)


@pytest.fixture
def catalogue(database: Database) -> ModelCatalogue:
    providers: Registry[LLMProvider] = Registry("provider", LLMProvider)  # type: ignore[type-abstract]
    for name in ("openrouter", "custom"):
        providers.register(name, lambda: ListingProvider([GPT, LLAMA]))
    return ModelCatalogue(database, providers, timedelta(hours=1))


@pytest.fixture
def planner(catalogue: ModelCatalogue, cooldowns: Cooldowns) -> ModelPlanner:
    return ModelPlanner(
        "setting/model",
        ["setting/spare"],
        providers=catalogue._providers,
        catalogue=catalogue,
        cooldowns=cooldowns,
    )


async def test_the_request_wins_over_the_persona_and_the_persona_over_the_settings(planner: ModelPlanner) -> None:
    choosy = persona(model="persona/model", fallback_models=["persona/spare"])
    plans = [
        await planner.plan(request(), persona()),
        await planner.plan(request(), choosy),
        await planner.plan(request(model="my/model", fallback_models=["my/spare"]), choosy),
        await planner.plan(request(model="my/model"), choosy),
        await planner.plan(request(fallback_models=["my/spare"]), choosy),
    ]
    assert [([call.model for call in plan.calls], plan.model_from, plan.fallbacks_from) for plan in plans] == [
        (["setting/model", "setting/spare"], "setting", "setting"),
        (["persona/model", "persona/spare"], "persona", "persona"),
        (["my/model", "my/spare"], "request", "request"),
        (["my/model", "persona/spare"], "request", "persona"),
        (["persona/model", "my/spare"], "persona", "request"),
    ]


async def test_an_empty_list_of_fallbacks_is_a_choice(planner: ModelPlanner) -> None:
    assert [call.model for call in (await planner.plan(request(fallback_models=[]), persona())).calls] == [
        "setting/model"
    ]
    frugal = await planner.plan(request(), persona(fallback_models=[]))
    assert (len(frugal.calls), frugal.fallbacks_from) == (1, "persona")


async def test_a_bare_completion_has_no_persona_to_ask(planner: ModelPlanner) -> None:
    asked = CompletionRequest(interaction_id="i", user_id="ada", fallback_models=["my/spare"])
    assert [call.model for call in (await planner.plan(asked)).calls] == ["setting/model", "my/spare"]


async def test_a_model_named_twice_is_asked_once_at_its_first_place(planner: ModelPlanner) -> None:
    plan = await planner.plan(
        request(model="a", fallback_models=["b", "a", "openrouter:b", "c", "custom:a"]), persona()
    )
    assert [(call.place, call.provider, call.model) for call in plan.calls] == [
        (0, "openrouter", "a"),
        (1, "openrouter", "b"),
        (2, "openrouter", "c"),
        (3, "custom", "a"),
    ]


@pytest.mark.parametrize(
    ("name", "provider", "model"),
    [
        ("custom:model", "custom", "model"),
        ("custom:meta/llama:free", "custom", "meta/llama:free"),
        ("openrouter:meta/llama:free", "openrouter", "meta/llama:free"),
        ("meta/llama:free", "openrouter", "meta/llama:free"),
        ("unknown:model", "openrouter", "unknown:model"),
        ("custom:", "openrouter", "custom:"),
        ("custom", "openrouter", "custom"),
        (":model", "openrouter", ":model"),
        ("Custom:model", "openrouter", "Custom:model"),
    ],
)
async def test_only_a_registered_name_before_the_colon_is_a_provider(
    planner: ModelPlanner, name: str, provider: str, model: str
) -> None:
    [call] = (await planner.plan(request(model=name, fallback_models=[]), persona())).calls
    assert (call.provider, call.model) == (provider, model)


# --- what is known of the models ---


async def test_a_call_carries_how_much_the_model_takes_where_that_is_known(
    planner: ModelPlanner, catalogue: ModelCatalogue
) -> None:
    asked = request(model=GPT.id, fallback_models=[LLAMA.id, f"custom:{GPT.id}", "unlisted"])
    assert [call.context_length for call in (await planner.plan(asked)).calls] == [None] * 4
    await catalogue.refresh()
    assert [call.context_length for call in (await planner.plan(asked)).calls] == [8000, None, 8000, None]


async def test_a_model_that_is_not_listed_is_asked_all_the_same_with_one_warning(
    planner: ModelPlanner, catalogue: ModelCatalogue, caplog: pytest.LogCaptureFixture
) -> None:
    asked = request(model="openai/gpt4-o", fallback_models=[GPT.id])
    await planner.plan(asked)
    assert caplog.records == []
    await catalogue.refresh()
    for _ in range(2):
        plan = await planner.plan(asked)
    assert [call.model for call in plan.calls] == ["openai/gpt4-o", GPT.id]
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "'openai/gpt4-o'" in record.message
    assert "did you mean 'openai/gpt-4o'?" in record.message


async def test_a_warning_suggests_nothing_where_nothing_is_near(
    planner: ModelPlanner, catalogue: ModelCatalogue, caplog: pytest.LogCaptureFixture
) -> None:
    await catalogue.refresh()
    await planner.plan(request(model="zzz", fallback_models=[]))
    assert "did you mean" not in caplog.text


async def test_a_model_that_cools_keeps_its_place_and_says_why_it_is_asked_last(
    planner: ModelPlanner, cooldowns: Cooldowns
) -> None:
    await cooldowns.strike("openrouter", "a", DOWN)
    plan = await planner.plan(request(model="a", fallback_models=["b"]))
    first, second = plan.calls
    assert (first.model, first.place, first.cooling_error) == ("a", 0, ErrorType.UPSTREAM)
    assert "down for good" in (first.cooling or "")
    assert (second.model, second.cooling, second.cooling_error) == ("b", None, None)


async def test_where_there_is_no_choice_cooling_does_not_matter(planner: ModelPlanner, cooldowns: Cooldowns) -> None:
    await cooldowns.strike("openrouter", "a", DOWN)
    asked = request(model="a", fallback_models=[])
    assert [call.cooling for call in (await planner.plan(asked)).calls] == [None]
    assert (await planner.first_call(asked)).model == "a"


async def test_the_first_call_is_that_of_the_first_model_that_does_not_cool(
    planner: ModelPlanner, cooldowns: Cooldowns, clock: SettableClock
) -> None:
    asked = request(model="a", fallback_models=["b"])
    assert (await planner.first_call(asked)).model == "a"
    await cooldowns.strike("openrouter", "a", DOWN)
    assert (await planner.first_call(asked)).model == "b"
    await cooldowns.strike("openrouter", "b", DOWN)
    assert (await planner.first_call(asked)).model == "a"
    clock.advance(seconds=30)
    for _ in range(2):  # to look ahead claims no probe
        assert (await planner.first_call(asked)).model == "a"
    assert [call.cooling for call in (await planner.plan(asked)).calls] == [None, None]


# --- what follows a broken call ---


@pytest.mark.parametrize(
    ("asked", "personas", "expected"),
    [
        (None, None, (AfterOutput.RESTART, "default")),
        (None, "continue", (AfterOutput.CONTINUE, "persona")),
        ("incomplete", "continue", (AfterOutput.INCOMPLETE, "request")),
        ("restart", "continue", (AfterOutput.RESTART, "request")),
    ],
)
async def test_what_follows_a_broken_call_is_the_requests_choice_then_the_personas(
    planner: ModelPlanner, asked: str | None, personas: str | None, expected: tuple[AfterOutput, str]
) -> None:
    plan = await planner.plan(request(after_output=asked), persona(after_output=personas))
    assert (plan.after_output, plan.after_output_from) == expected


async def test_a_bare_completion_starts_again(planner: ModelPlanner) -> None:
    plan = await planner.plan(CompletionRequest(interaction_id="i", user_id="ada"))
    assert plan.after_output is AfterOutput.RESTART
