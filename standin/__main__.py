"""Run the stand-in in a terminal: `python -m standin --port 8765`."""

import argparse
import asyncio
import signal
import sys
from datetime import timedelta

from standin.pace import Pace
from standin.server import StandIn

_CANNOT_LISTEN = 2


def main() -> int:
    """Serve until SIGINT or SIGTERM; the result is the exit code."""
    return asyncio.run(_serve(_parser().parse_args()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="standin", description="A local stand-in for OpenRouter.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8765, help="port; 0 takes any free one (default: %(default)s)")
    for option, wait in (("--first-token-delay-ms", "before the first token"), ("--token-delay-ms", "between tokens")):
        parser.add_argument(option, type=_milliseconds, default="0", metavar="N", help=f"wait {wait} (default: 0)")
    return parser


def _milliseconds(text: str) -> timedelta:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of milliseconds")
    return timedelta(milliseconds=int(text))


async def _serve(options: argparse.Namespace) -> int:
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    pace = Pace(first_token=options.first_token_delay_ms, token=options.token_delay_ms)
    standin = StandIn(host=options.host, port=options.port, pace=pace)
    try:
        await standin.start()
    except (OSError, OverflowError) as reason:
        sys.stderr.write(f"standin: cannot listen on {options.host}:{options.port}: {reason}\n")
        return _CANNOT_LISTEN
    sys.stdout.write(f"stand-in for OpenRouter ready: {standin.base_url}\n")
    sys.stdout.flush()
    await asked_to_stop.wait()
    await standin.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
