"""Ctrl-C while a reply comes: the first one cancels the reply, the second one stops waiting."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def on_first_interrupt(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` on the first Ctrl-C inside the block, beside it: the block is not disturbed, and no event is lost.

    The second Ctrl-C raises KeyboardInterrupt, as any other.
    """
    usual = signal.getsignal(signal.SIGINT)

    def first(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, usual)
        threading.Thread(target=act, daemon=True).start()

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
