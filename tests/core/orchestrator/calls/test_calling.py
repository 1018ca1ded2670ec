"""A call that ends well, whatever the answer looks like."""

from typing import Any

import pytest

from core.orchestrator.calls.answers import Progress
from core.orchestrator.contracts import AfterOutput, AttemptStatus, ModelAnswer, Usage
from core.orchestrator.errors import (
    ErrorType,
    LLMProviderRateLimitError,
    LLMProviderServiceError,
    NextStep,
)
from core.orchestrator.providers.base import LLMProvider
from tests.core.orchestrator.calls.line import SECOND, Line
from tests.core.orchestrator.domain import (
    CALL,
    PROMPT,
    ScriptedProvider,
    completion,
)

LIMIT_IN_A_PAYLOAD = 2_000_000


async def test_an_answer_is_returned_with_what_it_used(line: Line) -> None:
    usage = Usage(prompt_tokens=3, cost_usd=0.1)
    line.script(["Hi ", "there", completion(model="a/model-v2", finish_reason="stop", usage=usage)])
    progress = Progress()
    answer = await line.call(progress=progress)
    assert isinstance(answer, ModelAnswer)
    assert (answer.text, answer.place, answer.model, answer.provider) == ("Hi there", 0, "a/model-v2", "openrouter")
    assert (answer.finish_reason, answer.usage) == ("stop", usage)
    assert [attempt.status for attempt in answer.attempts] == [AttemptStatus.SUCCEEDED]
    assert progress == Progress(ordinal=1, characters=8)


async def test_the_provider_gets_exactly_the_prompt(line: Line) -> None:
    prompt = type(PROMPT)([{"role": "system", "content": "Be Cherry."}], 0.0, 7)
    await line.store.save_prompt(line.interaction_id, prompt, {})
    line.script(["Hi", completion("Hi")])
    await line.answer()
    assert line.provider.calls == [(prompt.messages, "a/model", 0.0, 7)]


async def test_an_answer_that_is_kept_is_not_paid_for_again(line: Line) -> None:
    line.script(["Hi", completion("Hi")])
    assert await line.answer() == await line.answer()
    assert len(line.provider.calls) == 1


async def test_each_place_of_the_plan_has_an_answer_of_its_own(line: Line) -> None:
    line.script(["Hi", completion("Hi")], ["Ho", completion("Ho")])
    assert [(await line.answer(call)).text for call in (CALL, SECOND)] == ["Hi", "Ho"]


async def test_the_upstream_is_let_go_of_after_an_answer(line: Line) -> None:
    line.script(["Hi", completion("Hi"), "never asked for"])
    await line.answer()
    assert line.provider.closed == 1


async def test_a_refusal_is_an_answer_even_without_text(line: Line) -> None:
    line.script([completion("", finish_reason="content_filter")])
    assert (await line.answer()).finish_reason == "content_filter"


async def test_an_answer_in_one_piece_is_an_answer(line: Line) -> None:
    class Simple(ScriptedProvider):
        stream_chat_completion = LLMProvider.stream_chat_completion

        async def generate_chat_completion(self, *_: Any, **__: Any) -> str:
            return "All at once."

    line.provider = Simple()
    assert (await line.answer()).text == "All at once."


async def test_a_provider_that_fails_after_its_answer_has_answered(line: Line) -> None:
    class Untidy(ScriptedProvider):
        async def stream_chat_completion(self, *_: Any, **__: Any) -> Any:
            self.calls.append(([], None, 0, None))
            try:
                yield completion("Hi")
            finally:
                raise OSError("could not be closed")

    line.provider = Untidy()
    assert (await line.answer()).text == "Hi"
    assert len(line.provider.calls) == 1


async def test_what_no_encoder_takes_is_replaced_in_an_answer(line: Line) -> None:
    line.script([completion("a\ud800b\0c")])
    assert (await line.answer()).text == "a\ufffdbc"


async def test_numbers_that_cannot_be_are_taken_for_untold(line: Line) -> None:
    line.script([completion("Hi", usage=Usage(prompt_tokens=10**30, completion_tokens=-1, cost_usd=float("inf")))])
    assert (await line.answer()).usage == Usage()


async def test_an_error_with_odd_fields_is_recorded_without_them(line: Line) -> None:
    odd: dict[str, Any] = {"http_status": "abc", "posture": "now", "error_type": "?", "generation_id": "g" * 3_000_000}
    line.script([LLMProviderRateLimitError("odd", error_code="c\ud800" * 1_000_000, **odd)])
    failed = await line.failure()
    assert (failed.failure.error_type, failed.failure.then) == (ErrorType.RATE_LIMIT, NextStep.NEXT_MODEL)
    [attempt] = await line.ledger.attempts(line.interaction_id)
    assert attempt.http_status is None
    assert len(attempt.model_dump_json()) < 2000


@pytest.mark.parametrize("piece", ["a" * 1000, "漢" * 1000, "😀" * 1000, '"\n' * 500, "\x01" * 1000])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_reply_too_long_for_a_payload_is_cut(line: Line, piece: str, streamed: bool) -> None:
    text = piece * 1100
    line.script([*([piece] * 1100 if streamed else []), completion(text, finish_reason="stop")])
    answer = await line.answer()
    assert len(answer.model_dump_json().encode()) < LIMIT_IN_A_PAYLOAD
    assert len(answer.text) > 200_000
    assert text.startswith(answer.text)
    assert answer.finish_reason == "length"
    assert line.provider.closed == 1


async def test_a_long_reply_that_fits_is_left_alone(line: Line) -> None:
    line.script(["é" * 500_000, completion("é" * 500_000, finish_reason="stop")])
    answer = await line.answer()
    assert (len(answer.text), answer.finish_reason) == (500_000, "stop")


async def test_a_key_that_two_models_said_in_parts_is_in_no_text(line: Line) -> None:
    key = "sk-or-v1-0123456789abcdef"
    line.secrets = (key, "word")
    line.script([f"a word: {key[:12]}", LLMProviderServiceError("broken")], [key[12:], completion(key[12:])])
    await line.failure(after_output=AfterOutput.CONTINUE)
    assert (await line.answer(SECOND, after_output=AfterOutput.CONTINUE)).text == "a word: [redacted]"


async def test_a_cost_beyond_all_sense_is_unknown(line: Line) -> None:
    line.script([completion("Hi", usage=Usage(cost_usd=1e308, prompt_tokens=1))])
    answer = await line.answer()
    assert answer.usage == Usage(prompt_tokens=1)
