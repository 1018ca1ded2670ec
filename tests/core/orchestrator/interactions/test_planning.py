import pytest

from core.orchestrator.contracts import CompletionRequest
from core.orchestrator.interactions.planning import ModelPlanner
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry
from tests.core.orchestrator.agents.personas import persona
from tests.core.orchestrator.domain import ScriptedProvider, request


@pytest.fixture
def planner() -> ModelPlanner:
    providers: Registry[LLMProvider] = Registry("provider", LLMProvider)  # type: ignore[type-abstract]
    for name in ("openrouter", "custom"):
        providers.register(name, ScriptedProvider)
    return ModelPlanner("setting/model", ["setting/spare"], providers)


def test_the_request_wins_over_the_persona_and_the_persona_over_the_settings(planner: ModelPlanner) -> None:
    choosy = persona(model="persona/model", fallback_models=["persona/spare"])
    plans = [
        planner.plan(request(), persona()),
        planner.plan(request(), choosy),
        planner.plan(request(model="my/model", fallback_models=["my/spare"]), choosy),
        planner.plan(request(model="my/model"), choosy),
        planner.plan(request(fallback_models=["my/spare"]), choosy),
    ]
    assert [([call.model for call in plan.calls], plan.model_from, plan.fallbacks_from) for plan in plans] == [
        (["setting/model", "setting/spare"], "setting", "setting"),
        (["persona/model", "persona/spare"], "persona", "persona"),
        (["my/model", "my/spare"], "request", "request"),
        (["my/model", "persona/spare"], "request", "persona"),
        (["persona/model", "my/spare"], "persona", "request"),
    ]


def test_an_empty_list_of_fallbacks_is_a_choice(planner: ModelPlanner) -> None:
    assert [call.model for call in planner.plan(request(fallback_models=[]), persona()).calls] == ["setting/model"]
    frugal = planner.plan(request(), persona(fallback_models=[]))
    assert (len(frugal.calls), frugal.fallbacks_from) == (1, "persona")


def test_a_bare_completion_has_no_persona_to_ask(planner: ModelPlanner) -> None:
    asked = CompletionRequest(interaction_id="i", user_id="ada", fallback_models=["my/spare"])
    assert [call.model for call in planner.plan(asked).calls] == ["setting/model", "my/spare"]


def test_a_model_named_twice_is_asked_once_at_its_first_place(planner: ModelPlanner) -> None:
    plan = planner.plan(request(model="a", fallback_models=["b", "a", "openrouter:b", "c", "custom:a"]), persona())
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
def test_only_a_registered_name_before_the_colon_is_a_provider(
    planner: ModelPlanner, name: str, provider: str, model: str
) -> None:
    [call] = planner.plan(request(model=name, fallback_models=[]), persona()).calls
    assert (call.provider, call.model) == (provider, model)
