"""The floor: a workflow with one regular activity, and nothing else. `python -m bench.contenders.floor`.

Less than one workflow task, one activity and one more workflow task no durable reply can cost whose call Temporal sees
while it runs. The activity wakes the caller in the same process, so nobody waits for the run to close.

With `--local-steps`, the workflow has local activities besides, which do nothing: two of three before the call, the
rest after it. What the service takes beyond that is its own.
"""

import asyncio
import secrets
from datetime import timedelta

from temporalio import activity, workflow

from bench.contenders.serving import Message, Model, Options, main, serve
from bench.contenders.temporal import TASK_QUEUE, connected, worker

_CALL_TIMEOUT = timedelta(seconds=30)
_STEP_TIMEOUT = timedelta(seconds=10)


@workflow.defn(name="floor")
class Floor:
    """Asks the model."""

    @workflow.run
    async def run(self, message: str, local_steps: int) -> str:
        """Return the reply."""
        after = local_steps // 3
        await _local_steps(local_steps - after)
        reply: str = await workflow.execute_activity(
            "call_model", message, result_type=str, start_to_close_timeout=_CALL_TIMEOUT
        )
        await _local_steps(after)
        return reply


async def _local_steps(count: int) -> None:
    for number in range(count):
        await workflow.execute_local_activity("do_nothing", number, start_to_close_timeout=_STEP_TIMEOUT)


class Steps:
    """The activity, and who waits for it."""

    def __init__(self, model: Model) -> None:
        """Ask `model`."""
        self._model = model
        self.waiting: dict[str, asyncio.Future[str]] = {}

    @activity.defn(name="call_model")
    async def call_model(self, message: str) -> str:
        """Return the reply, and hand it to the caller."""
        reply = await self._model.answer(message)
        caller = self.waiting.pop(activity.info().workflow_id or "", None)
        if caller is not None and not caller.done():
            caller.set_result(reply)
        return reply


@activity.defn(name="do_nothing")
async def do_nothing(_number: int) -> None:
    """Return."""


async def run(options: Options) -> None:
    """Answer until SIGTERM."""
    model = Model(options.upstream)
    steps = Steps(model)
    async with connected(options) as client, worker(client, Floor, [steps.call_model, do_nothing]):

        async def answer(message: Message) -> str:
            workflow_id = f"floor-{secrets.token_hex(16)}"
            caller: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            steps.waiting[workflow_id] = caller
            await client.start_workflow(
                "floor",
                args=[message.message, options.local_steps],
                id=workflow_id,
                task_queue=TASK_QUEUE,
                request_eager_start=True,
            )
            return await caller

        await serve(answer, options.port)
    await model.aclose()


if __name__ == "__main__":
    main("floor", __doc__, run)
