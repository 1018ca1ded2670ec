from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.orchestrator.contracts import Usage
from core.orchestrator.providers.usage import read_usage


def cost_of(**report: object) -> float | None:
    usage = read_usage({"prompt_tokens": 1, **report})
    assert usage is not None
    return usage.cost_usd


def test_a_full_report_is_read() -> None:
    report = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "cost": 0.25,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert read_usage(report) == Usage(
        prompt_tokens=10, completion_tokens=5, total_tokens=15, cached_tokens=4, reasoning_tokens=3, cost_usd=0.25
    )


@pytest.mark.parametrize("report", [None, {}, [], "many", {"cost": None}, {"prompt_tokens": -1, "cost": "free"}])
def test_a_report_that_says_nothing_is_unknown(report: object) -> None:
    assert read_usage(report) is None


@pytest.mark.parametrize("cost", [None, "free", -1, float("nan"), float("inf"), True, [], 10**400])
def test_an_illegible_cost_is_unknown_and_not_zero(cost: object) -> None:
    assert cost_of(cost=cost) is None


def test_a_cost_of_zero_is_zero() -> None:
    assert cost_of(cost=0) == 0


def test_a_cost_may_be_a_string() -> None:
    assert cost_of(cost="0.0012") == 0.0012


def test_the_upstream_cost_counts_only_with_the_callers_own_key() -> None:
    details = {"upstream_inference_cost": 0.2}
    assert cost_of(cost=0.2, cost_details=details) == 0.2
    assert cost_of(cost=0.2, cost_details=details, is_byok=False) == 0.2
    assert cost_of(cost=0.01, cost_details=details, is_byok=True) == pytest.approx(0.21)


def test_half_a_sum_is_unknown() -> None:
    assert cost_of(cost=0.01, is_byok=True) is None
    assert cost_of(cost=None, is_byok=True, cost_details={"upstream_inference_cost": 0.2}) is None


def test_a_missing_total_is_the_sum_of_both_parts() -> None:
    assert read_usage({"prompt_tokens": 2, "completion_tokens": 3}) == Usage(
        prompt_tokens=2, completion_tokens=3, total_tokens=5
    )


@pytest.mark.parametrize("tokens", ["12", 12.0])
def test_tokens_may_be_strings_or_floats(tokens: Any) -> None:
    assert read_usage({"prompt_tokens": tokens}) == Usage(prompt_tokens=12)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["prompt_tokens", "completion_tokens", "cost", "is_byok", "cost_details"]), inner
            )
        ),
    )
)
def test_any_report_is_read(report: object) -> None:
    usage = read_usage(report)
    assert usage is None or usage.cost_usd is None or usage.cost_usd >= 0
