"""The floor: a workflow with one regular activity, and nothing else. `python -m bench.contenders.floor`.

Less than one workflow task, one activity and one more workflow task no durable reply can cost. The activity wakes the
caller in the same process, so nobody waits for the run to close.
"""

import asyncio
import secrets
from datetime import timedelta

from temporalio import activity, workflow

from bench.contenders.serving import Message, Model, Options, main, serve
from bench.contenders.temporal import TASK_QUEUE, connected, worker

_CALL_TIMEOUT = timedelta(seconds=190)


@workflow.defn(name="floor")
class Floor:
    """Asks the model."""

    @workflow.run
    async def run(self, message: str) -> str:
        """Return the reply."""
        reply: str = await workflow.execute_activity(
            "call_model", message, result_type=str, start_to_close_timeout=_CALL_TIMEOUT
        )
        return reply


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


async def run(options: Options) -> None:
    """Answer until SIGTERM."""
    model = Model(options.upstream)
    steps = Steps(model)
    async with connected(options) as client, worker(client, Floor, [steps.call_model]):

        async def answer(message: Message) -> str:
            workflow_id = f"floor-{secrets.token_hex(16)}"
            caller: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            steps.waiting[workflow_id] = caller
            await client.start_workflow(
                "floor", message.message, id=workflow_id, task_queue=TASK_QUEUE, request_eager_start=True
            )
            return await caller

        await serve(answer, options.port)
    await model.aclose()


if __name__ == "__main__":
    main("floor", __doc__, run)
