"""Replays every saved history as a worker with traces does, and prints what differs: `python -m tests.replay.traced`.

A program of its own: OpenTelemetry has one provider for a whole process, for good.
"""

import asyncio
import json
import sys

from opentelemetry import trace
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin, create_tracer_provider
from temporalio.worker import Replayer

from temporal.log_context import LogContext
from temporal.payloads import DATA_CONVERTER
from temporal.replay import history_in
from temporal.tracing import Spans
from tests.replay.record import HISTORIES
from workflows.all import WORKFLOWS


async def main() -> None:
    trace.set_tracer_provider(create_tracer_provider())
    replayer = Replayer(
        workflows=WORKFLOWS,
        data_converter=DATA_CONVERTER,
        plugins=[OpenTelemetryPlugin()],
        interceptors=[LogContext(), Spans()],
    )
    found = {}
    for path in sorted(HISTORIES.glob("*.json")):
        async for history in history_in(path):
            failure = (await replayer.replay_workflow(history, raise_on_replay_failure=False)).replay_failure
            found[path.stem] = None if failure is None else str(failure)
    sys.stdout.write(json.dumps(found) + "\n")


asyncio.run(main())
