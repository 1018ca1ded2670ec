"""Who is asked next, and who is passed over for which reason."""

from typing import Any

import pytest

from core.orchestrator.contracts import CallFailure, PlannedCall, PromptPlan, SkippedCall
from core.orchestrator.errors import ErrorType, NextStep
from workflows.order import Order

NEXT = NextStep.NEXT_MODEL


def planned(*names: str, **fields: dict[str, Any]) -> Order:
    """Plan models by name: a star behind one means that it cools, a word before a slash is its provider."""
    calls = []
    for place, name in enumerate(names):
        model = name.rstrip("*")
        provider, _, rest = model.rpartition("/")
        cooling = {"cooling": f"{model} cools", "cooling_error": ErrorType.STALLED} if name != model else {}
        about = {"place": place, "provider": provider or "p", "model": rest, **cooling, **fields.get(rest, {})}
        calls.append(PlannedCall.model_validate(about))
    return Order(PromptPlan(calls=calls))


def ask(order: Order, **then: NextStep) -> list[tuple[str, list[str]]]:
    """Let every model fail and return who was asked, each with whom was passed over before."""
    asked = []
    while order:
        call, skipped = order.next()
        asked.append((call.model, [one.call.model for one in skipped]))
        step = then.get(call.model.partition(":")[0], NEXT)
        order.narrow(call, CallFailure(error_type=ErrorType.UPSTREAM, detail="broken", then=step))
    return asked


def names(asked: list[tuple[str, list[str]]]) -> list[str]:
    return [name for name, _ in asked]


def passed_over(order: Order, then: NextStep) -> list[SkippedCall]:
    """Let the first model fail so, and return whom is passed over for the next one."""
    call, _ = order.next()
    order.narrow(call, CallFailure(error_type=ErrorType.CREDIT, detail="broken", then=then))
    return order.next()[1]


# --- cooling models ---


@pytest.mark.parametrize(
    ("plan", "asked"),
    [
        (["a", "b", "c"], [("a", []), ("b", []), ("c", [])]),
        (["a*", "b"], [("b", ["a"]), ("a", [])]),
        (["a*", "b", "c*", "d"], [("b", ["a"]), ("d", ["c"]), ("a", []), ("c", [])]),
        (["a*", "b*", "c"], [("c", ["a", "b"]), ("a", []), ("b", [])]),
        (["a", "b*"], [("a", []), ("b", [])]),
        (["a*", "b*"], [("a", []), ("b", [])]),
        (["a*"], [("a", [])]),
    ],
)
def test_cooling_models_come_last_and_all_of_them_as_if_none_cooled(
    plan: list[str], asked: list[tuple[str, list[str]]]
) -> None:
    assert ask(planned(*plan)) == asked


def test_being_passed_over_tells_why() -> None:
    [skipped] = planned("a*", "b").next()[1]
    assert (skipped.call.model, skipped.error_type, skipped.reason) == ("a", ErrorType.STALLED, "a cools")


# --- what a failure leaves ---


def test_a_failure_that_nobody_can_mend_leaves_nobody() -> None:
    assert names(ask(planned("a", "b", "c*"), a=NextStep.FAIL)) == ["a"]


def test_without_free_requests_the_free_models_of_that_provider_are_passed_over() -> None:
    order = planned("p/a:free", "p/b:free", "q/c:free", "p/d")
    assert ask(order, a=NextStep.NEXT_PAID_MODEL) == [("a:free", []), ("c:free", ["b:free"]), ("d", [])]


@pytest.mark.parametrize(
    ("lengths", "asked"),
    [
        ((8, 8, 9), ["a", "c"]),
        ((8, None, 16), ["a", "c"]),
        ((None, 16, 32), ["a"]),
        ((8, 4, 8), ["a"]),
        ((8, 16, 32), ["a", "b", "c"]),
    ],
)
def test_a_prompt_too_long_goes_to_a_context_known_to_be_larger(
    lengths: tuple[int | None, ...], asked: list[str]
) -> None:
    about = {name: {"context_length": length} for name, length in zip("abc", lengths, strict=True)}
    assert names(ask(planned("a", "b", "c", **about), a=NextStep.LARGER_CONTEXT)) == asked


def test_a_second_model_that_says_the_same_ends_the_asking() -> None:
    once = NextStep.NEXT_MODEL_ONCE
    assert names(ask(planned("a", "b", "c", "d"), a=once, c=once)) == ["a", "b", "c"]
    assert names(ask(planned("a", "b", "c"), a=once)) == ["a", "b", "c"]


def test_a_refused_account_leaves_the_models_of_other_providers() -> None:
    order = planned("p/a", "p/b", "q/c", "p/d", "r/e")
    assert ask(order, a=NextStep.NEXT_PROVIDER) == [("a", []), ("c", ["b"]), ("e", ["d"])]
    assert names(ask(planned("p/a", "p/b"), a=NextStep.NEXT_PROVIDER)) == ["a"]


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (NextStep.NEXT_PROVIDER, "p refuses the account"),
        (NextStep.NEXT_PAID_MODEL, "the free allowance at p is used up"),
        (NextStep.LARGER_CONTEXT, "not known to be larger"),
    ],
)
def test_whoever_is_passed_over_for_a_failure_tells_which(then: NextStep, said: str) -> None:
    about = {"a": {"context_length": 8}, "b:free": {"context_length": 8}, "c": {"context_length": 9}}
    [skipped] = passed_over(planned("p/a", "p/b:free", "q/c", **about), then)
    assert (skipped.call.model, skipped.error_type) == ("b:free", ErrorType.CREDIT)
    assert said in skipped.reason


def test_nobody_is_told_of_twice() -> None:
    order = planned("p/a*", "p/b", "q/c", "q/d*")
    assert ask(order, b=NextStep.NEXT_PROVIDER) == [("b", ["a"]), ("c", []), ("d", [])]
