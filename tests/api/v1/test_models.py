"""Personas as models."""

import pytest

from api.v1.models import choose
from core.orchestrator.errors import UnknownResourceError
from core.orchestrator.personas.library import PersonaLibrary
from tests.api.keyed import Keyed
from tests.api.v1.talk import assert_error
from tests.core.orchestrator.agents.personas import persona


async def test_every_persona_is_a_model_and_the_list_stays_the_same(keyed: Keyed) -> None:
    found = (await keyed.ask("read", "GET", "/v1/models?limit=1&colour=red")).json()
    assert found.keys() == {"object", "data"}
    assert found["object"] == "list"
    assert [model["id"] for model in found["data"]] == [persona.id for persona in keyed.house.application.personas]
    for model in found["data"]:
        assert (model["object"], type(model["created"]), model["owned_by"]) == ("model", int, "ai-orchestrator")
    assert (await keyed.ask("read", "GET", "/v1/models")).json() == found


@pytest.mark.parametrize("name", ["cherry", "cherry@openai/gpt-4", "cherry@ollama:llama3@q4"])
async def test_one_model_is_found_with_and_without_a_pin(keyed: Keyed, name: str) -> None:
    found = (await keyed.ask("read", "GET", f"/v1/models/{name}")).json()
    assert (found["id"], found["object"]) == (name, "model")


@pytest.mark.parametrize("name", ["nobody", "nobody@openai/gpt-4", "cherry@", "@openai/gpt-4", "openai/gpt-4"])
async def test_an_unknown_model_is_told_by_the_name_that_was_asked_for(keyed: Keyed, name: str) -> None:
    error = assert_error(await keyed.ask("read", "GET", f"/v1/models/{name}"), 404, "model_not_found", "model")
    assert error["message"] == f"unknown model '{name}'"


def test_a_pin_is_everything_behind_the_first_at() -> None:
    library = PersonaLibrary([persona()])
    assert choose(library, "cherry").model is None
    chosen = choose(library, "cherry@ollama:llama3@q4")
    assert (chosen.persona.id, chosen.model) == ("cherry", "ollama:llama3@q4")
    with pytest.raises(UnknownResourceError):
        choose(library, "cherry@" + "x" * 201)
