"""Tokens and cost as an upstream reports them. Unknown is None and never 0: an invented zero is a wrong invoice."""

from collections.abc import Mapping

from core.orchestrator.contracts import Usage
from core.orchestrator.providers.untrusted import as_mapping, as_number

_MOST_TOKENS = 1_000_000_000_000
"""No call spends more; a larger count is garbage, and would not fit the ledger's columns."""


def read_usage(value: object) -> Usage | None:
    """Return what a `usage` object says; None where it says nothing legible."""
    report = as_mapping(value)
    if not report:  # as in every chunk of a stream but the last
        return None
    prompt = _tokens(report.get("prompt_tokens"))
    completion = _tokens(report.get("completion_tokens"))
    total = _tokens(report.get("total_tokens"))
    if total is None and prompt is not None and completion is not None:
        total = prompt + completion
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=total,
        cached_tokens=_tokens(as_mapping(report.get("prompt_tokens_details")).get("cached_tokens")),
        reasoning_tokens=_tokens(as_mapping(report.get("completion_tokens_details")).get("reasoning_tokens")),
        cost_usd=_cost(report),
    )
    return None if usage == Usage() else usage


def read_generation(value: object) -> Usage | None:
    """Return what OpenRouter's record of a call says it used, in the model's own tokens; None where it says nothing."""
    record = as_mapping(as_mapping(value).get("data"))
    return read_usage(
        {
            "cost": record.get("total_cost"),
            "is_byok": record.get("is_byok"),
            "prompt_tokens": record.get("native_tokens_prompt"),
            "completion_tokens": record.get("native_tokens_completion"),
            "prompt_tokens_details": {"cached_tokens": record.get("native_tokens_cached")},
            "completion_tokens_details": {"reasoning_tokens": record.get("native_tokens_reasoning")},
            "cost_details": {"upstream_inference_cost": record.get("upstream_inference_cost")},
        }
    )


def _cost(report: Mapping[str, object]) -> float | None:
    """Return what the call cost in all.

    OpenRouter reports `cost_details.upstream_inference_cost` for every call, often equal to `cost`. Only with the
    caller's own upstream key (`is_byok`) is it a second bill, and then a missing one leaves the sum unknown.
    """
    cost = _amount(report.get("cost"))
    if report.get("is_byok") is not True:
        return cost
    upstream = _amount(as_mapping(report.get("cost_details")).get("upstream_inference_cost"))
    return None if cost is None or upstream is None else cost + upstream


def _amount(value: object) -> float | None:
    number = as_number(value)
    return number if number is not None and number >= 0 else None


def _tokens(value: object) -> int | None:
    number = _amount(value)
    return int(number) if number is not None and number <= _MOST_TOKENS and number.is_integer() else None
