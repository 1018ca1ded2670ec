"""Whatever the description allows, and what it forbids: the API never breaks, answers as described, and asks for keys.

It runs against an API with keys: what one without them is asked and answers is the same, save for the key.
"""

import sys
from pathlib import Path

from tests.api.keyed import KEYS, KeyedApi
from tests.harness import Process, System

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)


async def test_no_generated_request_breaks_the_api(system: System, keyed_api: KeyedApi, tmp_path: Path) -> None:
    # A process of its own: the stand-in answers from this one's event loop.
    process = await Process.start(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{keyed_api.url}/openapi.json",
            f"--header=Authorization: Bearer {KEYS['admin'].key}",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=15",
            "--max-time=10",
            "--workers=1",  # with two threads Python 3.11 itself fails now and then, in `ast.parse`
            "--generation-deterministic",
            f"--checks={','.join(CHECKS)}",
            "--suppress-health-check=all",
            "--no-shrink",
            "--request-timeout=20",
            "--no-color",
        ],
        tmp_path / "schemathesis.log",
        {},
        cwd=tmp_path,
    )
    assert await process.wait(60) == 0, process.output[-10_000:]
    assert KEYS["admin"].key not in keyed_api.process.output
    assert system.standin.ledger.calls, "no generated request got as far as a model"
