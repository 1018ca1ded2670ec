"""Whatever the description allows, and what it forbids: the API never breaks, and answers as described."""

import sys
from pathlib import Path

from tests.harness import Process, System

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)


async def test_no_generated_request_breaks_the_api(system: System, tmp_path: Path) -> None:
    # A process of its own: the stand-in answers from this one's event loop.
    process = await Process.start(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{system.url}/openapi.json",
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
    assert system.standin.ledger.calls, "no generated request got as far as a model"
