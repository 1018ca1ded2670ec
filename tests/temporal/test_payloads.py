"""What is written into histories, and that it reads back the same."""

import inspect

import pytest
from pydantic import BaseModel

from core.orchestrator import contracts
from core.orchestrator.contracts import Attempt, AttemptStatus, Contract, InteractionRequest, Usage
from temporal.payloads import DATA_CONVERTER

CONVERTER = DATA_CONVERTER.payload_converter

REQUEST = InteractionRequest(
    interaction_id="i", user_id="u", session_id="s", persona_id="p", message="m", context={"mood": None, "a": [None]}
)
ATTEMPT = Attempt(ordinal=1, model="m", provider="p", status=AttemptStatus.SUCCEEDED, usage=Usage(cost_usd=0.0))


@pytest.mark.parametrize("value", [REQUEST, ATTEMPT], ids=["request", "attempt"])
def test_a_payload_reads_back_the_same(value: Contract) -> None:
    [payload] = CONVERTER.to_payloads([value])
    assert CONVERTER.from_payloads([payload], [type(value)]) == [value]


def test_fields_that_say_nothing_are_left_out_and_a_clients_own_nulls_are_not() -> None:
    [payload] = CONVERTER.to_payloads([REQUEST])
    assert b'"context":{"mood":null,"a":[null]}' in payload.data
    assert b"temperature" not in payload.data


def test_every_field_of_a_payload_that_may_be_null_is_null_by_default() -> None:
    of_the_api_alone = {contracts.CompletionView}
    models = [model for _, model in inspect.getmembers(contracts, inspect.isclass) if issubclass(model, BaseModel)]
    assert contracts.InteractionView in models
    wrong = [
        f"{model.__name__}.{name}"
        for model in set(models) - of_the_api_alone
        for name, field in model.model_fields.items()
        if "None" in str(field.annotation) and (field.is_required() or field.default is not None)
    ]
    assert wrong == []
