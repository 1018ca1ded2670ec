"""Whether the process lives, and whether the service can answer: `/healthz`, `/readyz`."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from api.dependencies import Readiness

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """What an interaction needs, and whether it is there: `ok`, or why not."""

    ready: bool
    temporal: str
    database: str
    worker: str


@router.get("/healthz", summary="The process lives")
async def healthz() -> Health:
    """Answer."""
    return Health()


@router.get("/readyz", summary="The service can answer", responses={503: {"model": Ready}})
async def readyz(response: Response, readiness: Readiness) -> Ready:
    """Ask Temporal, the database, and Temporal once more for a worker that polls; 503 when one is missing."""
    found = await readiness.check()
    ready = all(state == "ok" for state in found.values())
    if not ready:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return Ready(ready=ready, **found)
