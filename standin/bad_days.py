"""Calls that go wrong in ways a row of `standin.refusals` cannot tell: mostly after the 200."""

import asyncio
from datetime import UTC, datetime, timedelta

from standin import wire
from standin.answer import Answer
from standin.good_days import ok
from standin.refusals import DOWN
from standin.scenario import Table

fault = Table()

_FLAKY_FAILURES = 2
_BEFORE_RESET = 0.05
"""Seconds: a reset overtakes text that the client has not read yet."""


@fault("flaky")
async def flaky(answer: Answer) -> None:
    """503 twice for each conversation, then a good answer, and so on."""
    turn = answer.ledger.earlier_like(answer.call) % (_FLAKY_FAILURES + 1)
    await (DOWN if turn < _FLAKY_FAILURES else ok)(answer)


@fault("free-per-minute")
async def free_per_minute(answer: Answer) -> None:
    """429: the account's free requests of this minute are used up; they are back in a second."""
    _refuse_free(answer, "free-models-per-min", datetime.now(UTC) + timedelta(seconds=1))


@fault("free-per-day")
async def free_per_day(answer: Answer) -> None:
    """429: the account's free requests of this day are used up; they are back at midnight UTC."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    _refuse_free(answer, "free-models-per-day", midnight)


def _refuse_free(answer: Answer, limit: str, reset: datetime) -> None:
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(reset.timestamp() * 1000))}
    error_type = "rate_limit_exceeded"
    body = wire.error_body(429, f"Rate limit exceeded: {limit}.", headers=headers, error_type=error_type)
    answer.respond(429, body)


@fault("echo-key")
async def echo_key(answer: Answer) -> None:
    """401 whose message repeats the key it was sent: a log must not."""
    answer.respond(401, wire.error_body(401, f"No user for {answer.request.headers['Authorization']}"))


@fault("html")
async def html(answer: Answer) -> None:
    """502 with a page of HTML, as a gateway sends it."""
    answer.respond(502, "<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>")


@fault("error-in-200")
async def error_in_200(answer: Answer) -> None:
    """200 with a JSON body that holds an error and no choices, even where a stream was asked for."""
    answer.respond(200, {"id": answer.call.generation_id, **wire.error_body(502, "All providers failed")})


@fault("error-first-chunk")
async def error_first_chunk(answer: Answer) -> None:
    """200, then an error before any text; its code is a number written as a string."""
    await answer.open()
    await answer.fail(wire.error_body("502", "Provider returned error", error_type="provider_unavailable"))


@fault("error-mid-stream")
async def error_mid_stream(answer: Answer) -> None:
    """Some text, then an error; its code is a word."""
    await answer.speak(answer.half)
    await answer.fail(wire.error_body("server_error", "Provider disconnected", provider_name="StandIn"))


@fault("echo-key-mid-stream")
async def echo_key_mid_stream(answer: Answer) -> None:
    """Some text, then an error that repeats the key it was sent in every field."""
    await answer.speak(answer.half)
    words = {"provider_name": answer.key, "raw": f"Authorization: Bearer {answer.key}"}
    await answer.fail(wire.error_body(answer.key, f"No user for {answer.key}", **words))


@fault("no-choices")
async def no_choices(answer: Answer) -> None:
    """200 with `choices: null`."""
    await answer.choiceless(None)


@fault("empty-choices")
async def empty_choices(answer: Answer) -> None:
    """200 with `choices: []`."""
    await answer.choiceless([])


@fault("truncated")
async def truncated(answer: Answer) -> None:
    """Some text, then a clean end without finish reason or [DONE]."""
    await answer.speak(answer.half)
    await answer.break_off()


@fault("reset")
async def reset(answer: Answer) -> None:
    """Some text, then a TCP reset."""
    await answer.speak(answer.half)
    await answer.break_off()
    await asyncio.sleep(_BEFORE_RESET)
    answer.reset()


@fault("reset-early")
async def reset_early(answer: Answer) -> None:
    """A TCP reset before any response."""
    answer.reset()


@fault("stall")
async def stall(answer: Answer) -> None:
    """Some text, then nothing but signs of life until the client leaves."""
    await answer.speak(answer.half)
    await answer.idle()


@fault("silent")
async def silent(answer: Answer) -> None:
    """Signs of life and never any data, until the client leaves."""
    await answer.open()
    await answer.idle()


@fault("malformed")
async def malformed(answer: Answer) -> None:
    """Some text, then data that are no JSON."""
    await answer.speak(answer.half)
    await answer.payload('{"choices": [{"delta": {"content": ')
