"""Children that an earlier run left behind: ended if they are ours, left alone if they only have our pid."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from core.orchestrator.errors import ConfigurationError
from embedded.children import ChildFailedError, Children

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
async def stranger() -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that no run of ours has started."""
    process = await asyncio.create_subprocess_exec(*SLEEP)
    yield process
    if process.returncode is None:
        process.kill()
    await process.wait()


def _record(directory: Path, pid: int, started: float, parent: dict[str, object] | None = None) -> None:
    child = {"name": "temporal", "pid": pid, "started": started}
    (directory / "up.json").write_text(json.dumps({"parent": parent, "children": [child]}))


async def test_a_leftover_is_ended(tmp_path: Path, stranger: asyncio.subprocess.Process) -> None:
    _record(tmp_path, stranger.pid, psutil.Process(stranger.pid).create_time())
    assert Children(tmp_path).take_over() == ["temporal"]
    assert await asyncio.wait_for(stranger.wait(), 5) != 0


async def test_a_stranger_with_a_pid_of_ours_is_left_alone(
    tmp_path: Path, stranger: asyncio.subprocess.Process
) -> None:
    _record(tmp_path, stranger.pid, psutil.Process(stranger.pid).create_time() - 3600)
    assert Children(tmp_path).take_over() == []
    assert psutil.Process(stranger.pid).is_running()


async def test_a_folder_in_use_is_refused_and_nothing_is_ended(
    tmp_path: Path, stranger: asyncio.subprocess.Process
) -> None:
    started = psutil.Process(stranger.pid).create_time()
    _record(tmp_path, stranger.pid, started, {"name": "up", "pid": stranger.pid, "started": started})
    with pytest.raises(ConfigurationError, match=f"already running with this data folder as process {stranger.pid}"):
        Children(tmp_path).take_over()
    assert psutil.Process(stranger.pid).is_running()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"parent": 7, "children": 7}', '{"children": [{}]}'])
async def test_a_record_that_cannot_be_read_is_no_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "up.json").write_text(content)
    assert Children(tmp_path).take_over() == []
    assert json.loads((tmp_path / "up.json").read_text())["parent"]["pid"] == os.getpid()


async def test_a_child_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    child = await Children(tmp_path).start("singer", [sys.executable, "-c", "print('la la'); raise SystemExit(3)"])
    await child.wait()
    with pytest.raises(ChildFailedError, match="singer ended with exit code 3:\n  la la"):
        child.check()


async def test_a_clean_stop_ends_all_and_forgets_them(tmp_path: Path) -> None:
    children = Children(tmp_path)
    children.take_over()
    started = [await children.start(name, SLEEP) for name in ("one", "two")]
    assert [entry["name"] for entry in json.loads((tmp_path / "up.json").read_text())["children"]] == ["one", "two"]
    await children.stop()
    assert all([await child.wait() for child in started])
    assert not (tmp_path / "up.json").exists()
