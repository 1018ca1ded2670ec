"""What routes ask for is made in the event loop: a thread for each of them costs more than all they do."""

import inspect
from collections.abc import Iterator

from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from tests.api.keyed import Keyed


def _within(dependant: Dependant) -> Iterator[Dependant]:
    for dependency in dependant.dependencies:
        yield dependency
        yield from _within(dependency)


async def test_no_route_and_nothing_that_it_asks_for_needs_a_thread(keyed: Keyed) -> None:
    asked = 0
    for route in iter_route_contexts(keyed.app.routes):
        if (dependant := getattr(route.route, "dependant", None)) is None:
            continue  # the pages that FastAPI makes by itself
        for one in (dependant, *_within(dependant)):
            assert inspect.iscoroutinefunction(one.call) or inspect.isasyncgenfunction(one.call), one.call
            asked += 1
    assert asked > 50
