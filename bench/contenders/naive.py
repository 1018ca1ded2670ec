"""The naive shape: four regular activities in a row, the result by long poll. `python -m bench.contenders.naive`.

What one writes who follows the tutorial: each step is an activity, and the request waits for the run's result.
"""

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import activity, workflow

from bench.contenders.serving import Message, Model, Options, Rows, kept_in, main, serve
from bench.contenders.temporal import TASK_QUEUE, connected, worker

Result = TypeVar("Result")

_STEP_TIMEOUT = timedelta(seconds=30)


@workflow.defn(name="naive")
class Naive:
    """Remembers, builds a prompt, asks the model, stores the reply."""

    @workflow.run
    async def run(self, session_id: str, message: str) -> str:
        """Return the reply."""
        remembered = await self._step("load_memory", list[str], session_id, message)
        prompt = await self._step("build_prompt", str, session_id, message, len(remembered))
        reply = await self._step("call_model", str, prompt)
        await self._step("store_results", type(None), session_id, reply)
        return reply

    async def _step(self, name: str, result_type: type[Result], *arguments: object) -> Result:
        result: Result = await workflow.execute_activity(
            name, args=arguments, result_type=result_type, start_to_close_timeout=_STEP_TIMEOUT
        )
        return result


class Steps:
    """The activities."""

    def __init__(self, model: Model, rows: Rows) -> None:
        """Ask `model`, and keep what was said in `rows`."""
        self._model = model
        self._rows = rows

    @activity.defn(name="load_memory")
    async def load_memory(self, session_id: str, message: str) -> list[str]:
        """Keep the message, and return what was said of late."""
        return list(await self._rows.add(session_id, "user", message))

    @activity.defn(name="build_prompt")
    async def build_prompt(self, session_id: str, message: str, remembered: int) -> str:
        """Keep and return the prompt."""
        await self._rows.add(session_id, "prompt", f"{message} after {remembered}")
        return message

    @activity.defn(name="call_model")
    async def call_model(self, prompt: str) -> str:
        """Return the reply."""
        return await self._model.answer(prompt)

    @activity.defn(name="store_results")
    async def store_results(self, session_id: str, reply: str) -> None:
        """Keep the reply."""
        await self._rows.add(session_id, "assistant", reply)


async def run(options: Options) -> None:
    """Answer until SIGTERM."""
    model = Model(options.upstream)
    async with kept_in(options.directory) as rows, connected(options) as client:
        steps = Steps(model, rows)
        activities: list[Callable[..., Any]] = [
            steps.load_memory,
            steps.build_prompt,
            steps.call_model,
            steps.store_results,
        ]
        async with worker(client, Naive, activities):

            async def answer(message: Message) -> str:
                handle = await client.start_workflow(
                    "naive",
                    args=[message.session_id, message.message],
                    id=f"naive-{secrets.token_hex(16)}",
                    task_queue=TASK_QUEUE,
                    result_type=str,
                    request_eager_start=True,
                )
                return str(await handle.result())

            await serve(answer, options.port)
    await model.aclose()


if __name__ == "__main__":
    main("naive", __doc__, run)
