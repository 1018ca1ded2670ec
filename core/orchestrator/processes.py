"""Starting and stopping as a good process does: on SIGTERM and Ctrl-C, and with the parent."""

import asyncio
import signal


def stop_requested() -> asyncio.Event:
    """Return an event that is set on the first SIGTERM or SIGINT; a second one ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def request() -> None:
        stop.set()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, request)
    return stop
