"""The codec endpoint: Temporal's protocol, for those who may, and for the pages of a few origins."""

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.app import create_app
from core.orchestrator.access.caller import Scope
from core.orchestrator.access.keys import create_key
from core.orchestrator.config import Settings
from temporal.client import connect
from tests.api.house import House
from tests.api.talk import assert_problem
from tests.temporal.keys import keys

UI = "http://127.0.0.1:8233"
DECODE = "/codec/decode?preserveStorageRefs=true"  # as the UI asks
ADMIN = create_key("operator", frozenset({Scope.ADMIN}))
TALKER = create_key("talker", frozenset({Scope.INTERACT, Scope.READ}))
PLAIN = {"metadata": {"encoding": b64encode(b"json/plain").decode()}, "data": b64encode(b'"Hello"').decode()}
ASKING_FIRST = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-namespace"}


@asynccontextmanager
async def front(house: House, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The API in this process, with these settings."""
    given = {"PAYLOAD_ENCRYPTION_KEYS": keys("a"), "CODEC_ORIGINS": [UI], **settings}
    all_settings = Settings(_env_file=None, DATA_DIR=house.application.settings.DATA_DIR, **given)
    app = create_app(replace(house.application, settings=all_settings), await connect(all_settings, lazy=True))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_what_is_encoded_cannot_be_read_and_decodes_to_what_it_was(house: House) -> None:
    async with front(house) as client:
        asked = {"payloads": [PLAIN, {**PLAIN, "data": ""}, {}]}
        encoded = await client.post("/codec/encode", json=asked)
        assert encoded.status_code == 200, encoded.text
        assert encoded.headers["content-type"] == "application/json"
        for payload in encoded.json()["payloads"]:
            assert b64decode(payload["metadata"]["encoding"]) == b"binary/encrypted"
            assert b"Hello" not in b64decode(payload["data"])
        decoded = await client.post(DECODE, json=encoded.json(), headers={"X-Namespace": "default"})
        assert decoded.status_code == 200, decoded.text
        assert decoded.json() == {"payloads": [PLAIN, {"metadata": PLAIN["metadata"]}, {}]}


async def test_what_is_not_encrypted_and_fields_of_the_future_pass(house: House) -> None:
    async with front(house) as client:
        decoded = await client.post(DECODE, json={"payloads": [{**PLAIN, "novelty": 1}], "more": True})
        assert decoded.json() == {"payloads": [PLAIN]}
        assert (await client.post(DECODE, json={"payloads": []})).json() == {"payloads": []}


async def test_a_key_that_is_missing_is_named_and_the_ui_is_not_made_to_ask_again(house: House) -> None:
    async with front(house, PAYLOAD_ENCRYPTION_KEYS=keys("b")) as client:
        encoded = (await client.post("/codec/encode", json={"payloads": [PLAIN]})).json()
    async with front(house) as client:
        refused = await client.post("/codec/decode", json=encoded, headers={"Origin": UI})
    assert_problem_of_codec(refused, 422, "key 'b', which PAYLOAD_ENCRYPTION_KEYS does not name")
    assert refused.headers["access-control-allow-origin"] == UI, "the UI cannot say why"


def assert_problem_of_codec(response: httpx.Response, status: int, detail: str) -> None:
    problem = response.json()
    assert (response.status_code, problem["error_type"]) == (status, "invalid_request"), problem
    assert detail in problem["detail"]


@pytest.mark.parametrize(
    "body", ["", "not JSON", '{"payloads": 7}', '{"payloads": [{"data": 7}]}', "\x00", '{"payloads": [7]}']
)
async def test_a_body_that_holds_no_payloads_is_refused(house: House, body: str) -> None:
    async with front(house) as client:
        response = await client.post("/codec/decode", content=body, headers={"Content-Type": "application/json"})
    assert_problem_of_codec(response, 400, "the body holds no payloads")


async def test_a_body_that_is_not_utf_8_or_too_large_is_refused(house: House) -> None:
    kind = {"Content-Type": "application/json"}
    async with front(house) as client:
        assert (await client.post("/codec/decode", content=b"\xff", headers=kind)).status_code == 400
        large = await client.post("/codec/decode", content=b" " * (16 * 1024 * 1024 + 1), headers=kind)
    assert_problem_of_codec(large, 413, "larger than 16 MiB")


async def test_a_body_that_any_page_may_send_unasked_is_refused(house: House) -> None:
    async with front(house) as client:
        content = json.dumps({"payloads": [PLAIN]})
        response = await client.post("/codec/decode", content=content, headers={"Content-Type": "text/plain"})
    assert response.status_code == 415


async def test_where_keys_are_asked_for_it_takes_an_admins(house: House) -> None:
    async with front(house, API_KEYS=[str(ADMIN.entry), str(TALKER.entry)]) as client:
        for path in ("/codec/encode", "/codec/decode"):
            stranger = await client.post(path, json={"payloads": []}, headers={"Origin": UI})
            assert stranger.status_code == 401
            assert stranger.headers["access-control-allow-origin"] == UI
            assert (await client.post(path, json={"payloads": []}, headers=bearer(TALKER.key))).status_code == 403
            assert (await client.post(path, json={"payloads": [PLAIN]}, headers=bearer(ADMIN.key))).status_code == 200


async def test_a_browser_may_ask_for_the_pages_of_our_origins_and_for_no_others(house: House) -> None:
    # A browser asks without a key, whether it will send one or not.
    async with front(house, API_KEYS=[str(ADMIN.entry)]) as client:
        allowed = await client.options("/codec/decode", headers={"Origin": UI, **ASKING_FIRST})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == UI
        assert "POST" in allowed.headers["access-control-allow-methods"]
        listed = {name.strip().lower() for name in allowed.headers["access-control-allow-headers"].split(",")}
        assert {"content-type", "x-namespace", "authorization", "authorization-extras"} <= listed
        assert "Origin" in allowed.headers["vary"]
        for other in ("http://127.0.0.1:8234", "https://127.0.0.1:8233", "http://evil.example", "null"):
            refused = await client.options("/codec/decode", headers={"Origin": other, **ASKING_FIRST})
            assert refused.status_code == 400
            assert "access-control-allow-origin" not in refused.headers
            answered = await client.post(
                "/codec/decode", json={"payloads": [PLAIN]}, headers={"Origin": other, **bearer(ADMIN.key)}
            )
            assert "access-control-allow-origin" not in answered.headers


@pytest.mark.parametrize("path", ["/api/personas", "/healthz", "/codec", "/openapi.json", "/api/llm/interactions"])
async def test_no_other_route_is_shared_with_any_page(house: House, path: str) -> None:
    async with front(house) as client:
        for response in (
            await client.get(path, headers={"Origin": UI}),
            await client.options(path, headers={"Origin": UI, **ASKING_FIRST}),
        ):
            assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_without_encryption_there_is_no_such_route(house: House) -> None:
    async with front(house, PAYLOAD_ENCRYPTION_KEYS={}) as client:
        assert_problem(await client.post("/codec/decode", json={"payloads": [PLAIN]}), 404, "not_found")
