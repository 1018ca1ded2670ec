"""Stopping as a good process does: on SIGTERM and Ctrl-C."""

import asyncio
import signal

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def stop_requested() -> asyncio.Event:
    """Return an event that is set on the first SIGTERM or SIGINT; a second one ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def request() -> None:
        stop.set()
        for name in _SIGNALS:
            loop.remove_signal_handler(name)

    for name in _SIGNALS:
        loop.add_signal_handler(name, request)
    return stop
