"""Where the clients are that are written in JavaScript, if they are."""

import shutil
from pathlib import Path

import pytest

PACKAGES = Path(__file__).with_name("node")
NODE = shutil.which("node") or ""


def _missing() -> str:
    if not NODE:
        return "node is not installed"
    return (
        "" if (PACKAGES / "node_modules" / "ai").is_dir() else "the packages are not: npm install in tests/clients/node"
    )


needs_javascript = pytest.mark.skipif(bool(_missing()), reason=_missing())
