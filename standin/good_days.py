"""Complete answers, usual and unusual: HTTP and the stream are in order, whatever the model had to say."""

from collections.abc import Sequence
from dataclasses import replace

from standin import tools, wire
from standin.answer import Answer
from standin.scenario import Table
from standin.wire import UsageShape

fault = Table()

_KEY_PIECE = 7
"""Characters: no piece alone gives the key away."""


@fault("ok")
async def ok(answer: Answer) -> None:
    """No fault: a good answer, in words or by calling the tools that it is asked to call."""
    if called := tools.asked_for(answer.call):
        await _call(answer, called)
    else:
        await answer.speak()
        await answer.finish(answer.usage())


@fault("tool-calls")
async def tool_calls(answer: Answer) -> None:
    """The model calls a tool unasked: the first on offer, or one that nobody offered. What it says is answered."""
    if called := tools.demanded(answer.call):
        await _call(answer, called)
    else:
        await ok(answer)


@fault("slow")
async def slow(answer: Answer) -> None:
    """A good answer whose first token takes three seconds."""
    answer.pace = replace(answer.pace, first_token=answer.pace.slow_first_token)
    await ok(answer)


@fault("slow-stream")
async def slow_stream(answer: Answer) -> None:
    """A good answer that takes several seconds from its first token to its last."""
    answer.pace = replace(answer.pace, token=answer.pace.slow_token)
    await ok(answer)


@fault("odd-framing")
async def odd_framing(answer: Answer) -> None:
    """A good answer in strange clothes: CRLF, multi-line data, characters cut in two, unknown fields, no [DONE]."""
    answer.pieces += [" Déjà", " vu", " 🍒."]
    await answer.go_odd()
    await ok(answer)


@fault("no-usage")
async def no_usage(answer: Answer) -> None:
    """A good answer that does not say what it used."""
    await answer.speak()
    await answer.finish(None)


@fault("cost-null")
async def cost_null(answer: Answer) -> None:
    """A good answer whose cost is null: unknown, which is not zero."""
    await answer.speak()
    await answer.finish({**answer.usage(), "cost": None})


@fault("own-key")
async def own_key(answer: Answer) -> None:
    """A good answer paid with the account's own provider key: the price is the upstream's alone."""
    await answer.speak()
    answer.call.own_key = True
    await answer.finish(answer.usage())


@fault("usage-open-choice")
async def usage_open_choice(answer: Answer) -> None:
    """A good answer whose usage chunk has a choice without content and a null finish reason."""
    await answer.speak()
    await answer.finish(answer.usage(), shape=UsageShape.OPEN_CHOICE)


@fault("usage-repeated-finish")
async def usage_repeated_finish(answer: Answer) -> None:
    """A good answer whose usage chunk has a choice that repeats the finish reason."""
    await answer.speak()
    await answer.finish(answer.usage(), shape=UsageShape.REPEATED_FINISH)


@fault("debug-chunk")
async def debug_chunk(answer: Answer) -> None:
    """A good answer whose stream begins with a chunk for debugging: no choices, and a field that few expect."""
    if answer.call.stream:
        debug = {"echo_upstream_body": {"model": answer.call.model, "messages": answer.call.messages}}
        await answer.payload(wire.dumps({**wire.choiceless_chunk(answer.call, []), "debug": debug}))
    await ok(answer)


@fault("echo-key-text")
async def echo_key_text(answer: Answer) -> None:
    """A good answer whose words hold the key it was sent, cut into several tokens."""
    key = answer.key
    cut = [key[start : start + _KEY_PIECE] for start in range(0, len(key), _KEY_PIECE)]
    answer.pieces[answer.half : answer.half] = [" (the", " key", " is ", *cut, ")"]
    await ok(answer)


@fault("echo-key-labels")
async def echo_key_labels(answer: Answer) -> None:
    """A good answer that gives the key it was sent as its id, model, provider and finish reason."""
    answer.call.labels = dict.fromkeys(("id", "model", "provider", "finish_reason"), answer.key)
    answer.response.headers["X-Generation-Id"] = answer.key
    await ok(answer)


@fault("refusal")
async def refusal(answer: Answer) -> None:
    """The model declines: an answer, with its words in `refusal` and the finish reason content_filter."""
    await answer.open()
    for piece in ("I ", "cannot ", "help ", "with ", "that."):
        await answer.emit("refusal", piece)
    await answer.finish(answer.usage(), "content_filter")


@fault("output-limit")
async def output_limit(answer: Answer) -> None:
    """The reasoning uses up all the tokens: finish reason length, no content."""
    await answer.open()
    await answer.think(["Let ", "me ", "think ", "about ", "this ", "some ", "more "])
    await answer.finish(answer.usage(), "length")


@fault("empty")
async def empty(answer: Answer) -> None:
    """200, stop, and not a word: a cold start."""
    await answer.open()
    await answer.finish(answer.usage(), "stop")


async def _call(answer: Answer, called: Sequence[tools.Called]) -> None:
    await answer.call_tools(called)
    await answer.finish(answer.usage(), "tool_calls")
