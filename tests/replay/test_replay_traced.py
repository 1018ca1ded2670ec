"""Traces change no run: what was begun without them goes on with them."""

import json
import sys
from pathlib import Path

from tests.harness import Process
from tests.replay.test_replay import SAVED


async def test_every_saved_history_goes_the_same_way_with_traces(tmp_path: Path) -> None:
    replaying = await Process.start([sys.executable, "-W", "error", "-m", "tests.replay.traced"], tmp_path / "log", {})
    assert await replaying.wait(60) == 0, replaying.output
    assert json.loads(replaying.output.splitlines()[-1]) == dict.fromkeys(SAVED)
