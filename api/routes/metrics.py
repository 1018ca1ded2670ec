"""What the process has counted: `/metrics`, for a scraper. With keys, it takes one with the scope `admin`."""

from fastapi import APIRouter, Response

from api.dependencies import App
from core.orchestrator.telemetry.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    summary="What this process has counted",
    response_class=Response,
    responses={200: {"description": "In Prometheus' text format.", "content": {"text/plain": {}}}},
)
async def metrics(application: App) -> Response:
    """Return every metric of this process, and of the worker where it runs in the same one."""
    return Response(application.metrics.text(), headers={"Content-Type": CONTENT_TYPE})
