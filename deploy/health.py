"""Whether the process in this container lives: exit code 0 or 1. What the image's health check runs.

It imports nothing of ours, because it runs every few seconds and the service takes a second of a processor to import.
One container runs one process, so whichever of both answers is the one that was to be asked.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

_TIMEOUT_SECONDS = 3
_OK = 200


def main() -> int:
    """Ask the API's and the worker's `GET /healthz` on this machine."""
    ports = (os.environ.get("API_PORT") or "8000", os.environ.get("WORKER_METRICS_PORT"))
    failures = []
    for port in filter(None, ports):
        if (failure := _failure(int(port))) is None:
            return 0
        failures.append(f"port {port}: {failure}")
    sys.stderr.write("; ".join(failures) + "\n")
    return 1


def _failure(port: int) -> str | None:
    connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return None if status == _OK else f"status {status}"


if __name__ == "__main__":
    sys.exit(main())
