"""What an interaction used in all."""

import pytest

from core.orchestrator.calls.attempts import total_usage
from core.orchestrator.contracts import Attempt, AttemptStatus, Usage

SKIPPED = Attempt(ordinal=1, model="m", provider="p", status=AttemptStatus.SKIPPED)


def spent(usage: Usage | None) -> Attempt:
    return Attempt(ordinal=1, model="m", provider="p", status=AttemptStatus.SUCCEEDED, usage=usage)


def test_nothing_called_is_nothing_known() -> None:
    assert total_usage([]) == Usage()


def test_tokens_and_known_costs_are_summed() -> None:
    calls = [spent(Usage(prompt_tokens=1, total_tokens=1, cost_usd=0.5)), spent(Usage(prompt_tokens=2, cost_usd=0.25))]
    assert total_usage(calls) == Usage(prompt_tokens=3, total_tokens=1, cost_usd=0.75)


def test_one_unknown_cost_makes_the_sum_unknown_and_tokens_stay() -> None:
    calls = [spent(Usage(prompt_tokens=1, cost_usd=0.5)), spent(Usage(prompt_tokens=2)), spent(Usage())]
    assert total_usage(calls) == Usage(prompt_tokens=3, cost_usd=None)


def test_a_call_that_generated_nothing_costs_nothing() -> None:
    assert total_usage([spent(None), spent(Usage(cost_usd=0.5)), spent(None)]) == Usage(cost_usd=0.5)


def test_a_free_call_is_free_and_not_unknown() -> None:
    assert total_usage([spent(Usage(prompt_tokens=0, cost_usd=0.0))]) == Usage(prompt_tokens=0, cost_usd=0.0)


def test_a_model_that_was_passed_over_used_nothing_and_hides_nothing() -> None:
    assert total_usage([SKIPPED]) == Usage(), "nothing was called"
    assert total_usage([SKIPPED, spent(Usage(cost_usd=0.5))]) == Usage(cost_usd=0.5)
    assert total_usage([SKIPPED, spent(None)]) == Usage(cost_usd=0.0)


def test_where_a_cost_is_unknown_the_whole_is_estimated_from_what_is_known_and_what_is_likely() -> None:
    calls = [spent(Usage(cost_usd=0.5)), spent(Usage(estimated_cost_usd=0.25)), spent(None)]
    assert total_usage(calls) == Usage(cost_usd=None, estimated_cost_usd=0.75)


def test_one_call_that_is_neither_known_nor_likely_leaves_no_estimate_of_the_whole() -> None:
    assert total_usage([spent(Usage(estimated_cost_usd=0.25)), spent(Usage())]) == Usage()


@pytest.mark.parametrize("costs", [[0.5, 0.25], [0.0]])
def test_a_known_whole_is_not_estimated(costs: list[float]) -> None:
    assert total_usage([spent(Usage(cost_usd=cost)) for cost in costs]) == Usage(cost_usd=sum(costs))
