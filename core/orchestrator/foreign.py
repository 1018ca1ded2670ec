"""Other people's code may raise anything, also what is no `Exception`: a Rust library's panic is a `BaseException`.

Whoever calls a plugin catches everything and asks here what must go on all the same.
"""

import asyncio


def must_go_on(error: BaseException) -> bool:
    """Say whether an exception is not the callee's failure but the end of the task or the process it runs in."""
    if isinstance(error, asyncio.CancelledError):
        task = _current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt)


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs here
        return None
