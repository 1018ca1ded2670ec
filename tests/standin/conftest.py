from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from standin import Pace, StandIn
from tests.standin.talk import connect

QUICK = Pace(
    keep_alive=timedelta(milliseconds=10),
    slow_first_token=timedelta(milliseconds=60),
    slow_token=timedelta(milliseconds=5),
    generation_record=timedelta(0),
)


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    async with StandIn(pace=QUICK) as running:
        yield running


@pytest.fixture
async def client(standin: StandIn) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(standin.base_url) as http:
        yield http


@pytest.fixture
async def control(standin: StandIn) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(standin.control_url, key=None) as http:
        yield http
