"""Histories of released workflow shapes go the same way with the code of today, and a change would be noticed."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from temporal.replay import Replayed, history_in, replay
from tests.replay.changed import Forgetful, Hasty, Sleepy
from tests.replay.record import HISTORIES, SHAPES, record
from workflows.all import WORKFLOWS

SAVED = sorted(path.stem for path in HISTORIES.glob("*.json"))


async def _replay(shape: str, workflows: Sequence[type]) -> Replayed:
    (result,) = [result async for result in replay(workflows, history_in(HISTORIES / f"{shape}.json"))]
    return result


@pytest.mark.parametrize("shape", SAVED)
async def test_a_saved_history_goes_the_same_way_today(shape: str) -> None:
    assert (await _replay(shape, WORKFLOWS)).difference is None


def test_every_shape_has_a_saved_history() -> None:
    assert sorted(SHAPES) == SAVED


@pytest.mark.parametrize("shape", ["interaction-plain", "interaction-two-fallbacks", "interaction-waited-for-its-turn"])
async def test_a_changed_order_of_steps_is_noticed_and_named(shape: str) -> None:
    difference = (await _replay(shape, [Hasty])).difference
    assert difference is not None
    assert "Nondeterminism" in difference
    assert "'load_memory' does not match" in difference
    assert "'build_prompt'" in difference


@pytest.mark.parametrize("shape", ["interaction-plain", "interaction-two-fallbacks", "interaction-waited-for-its-turn"])
async def test_a_step_left_out_is_noticed(shape: str) -> None:
    difference = (await _replay(shape, [Forgetful])).difference
    assert difference is not None
    # What was remembered is taken for the result of a later step, or there are too many results.
    assert re.match(r"Failed decoding arguments: |\[TMPRL1100\] Nondeterminism error: ", difference)


async def test_a_reconciliation_that_would_wait_otherwise_is_noticed() -> None:
    difference = (await _replay("reconciliation-unknown", [Sleepy])).difference
    assert difference is not None
    assert "Nondeterminism" in difference


async def test_a_saved_history_is_never_written_again(tmp_path: Path) -> None:
    before = (HISTORIES / "interaction-plain.json").read_bytes()
    with pytest.raises(FileExistsError):
        await record("interaction-plain", tmp_path)
    assert (HISTORIES / "interaction-plain.json").read_bytes() == before


@pytest.mark.parametrize("shape", SAVED)
def test_a_saved_history_tells_nothing_of_the_machine_that_recorded_it(shape: str) -> None:
    text = (HISTORIES / f"{shape}.json").read_text()
    assert set(re.findall(r'"identity": "([^"]*)"', text)) <= {"recorder", "history-service"}
    assert not re.search(r'sk-or|/work|/home|/root|/tmp|\.py\b|"stackTrace"', text)
