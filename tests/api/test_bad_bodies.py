"""Bad bodies are refused with a problem that names the field; nothing is stored and no workflow is started."""

import json
from typing import Any

import pytest

from tests.api.talk import CHAT, DIRECT, INTERACT, assert_problem, post
from tests.harness import System

pytestmark = pytest.mark.usefixtures("nothing_stored", "no_stray_workflow")

NO_TEXTS: list[Any] = [1, 1.5, True, [], {}]
UNSTORABLE = {"NUL": "a\0b", "high surrogate": "\ud800", "low surrogate": "a\udfffb"}


def _wrong(field: str, *values: Any) -> list[Any]:
    return [pytest.param(field, value, id=f"{field}={json.dumps(value)[:30]}") for value in values]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *_wrong("message", None, "", "x" * 100_001, *NO_TEXTS),
        *_wrong("user_id", None, "", "x" * 129, *NO_TEXTS),
        *_wrong("session_id", "", "x" * 129, *NO_TEXTS),
        *_wrong("persona_id", "", "x" * 129, *NO_TEXTS),
        *_wrong("agent", "", "x" * 129, *NO_TEXTS),
        *_wrong("model", "", "x" * 201, *NO_TEXTS),
        *_wrong("fallback_models", "openai/gpt-4", {}, 1, True, ["a/b"] * 9),
        *_wrong("temperature", "0.7", True, [], -0.1, 2.1),
        *_wrong("max_tokens", "10", True, 1.5, 10.0, 0, -1, 10**9, []),
        *_wrong("context", "x", [], 1, True, None, {"key": "x" * 16_384}),
        *_wrong("on_failure", "replay", 1, True, None, "\ud800"),
        *_wrong("after_output", "retry", "", 1, True, "\ud800"),
        *_wrong("stream", None, "true", 1, 0, [], {}),
        *_wrong("background", None, "true", 1, 0, [], {}),
        *_wrong("on_disconnect", "stop", "", 1, True, None),
        *_wrong("multitask_strategy", "queue", "", 1, True, None),
        # Typos, and names that FastAPI uses for the parts of a request.
        *_wrong("mesage", "Hello"),
        *_wrong("body", 1),
        *_wrong("query", 1),
        *_wrong("header", 1),
    ],
)
async def test_a_wrong_field_is_named(system: System, field: str, value: Any) -> None:
    response = await post(system, {"message": "Hello", "user_id": "user123", field: value})
    assert_problem(response, 422, path=field)


@pytest.mark.parametrize("field", ["message", "user_id"])
async def test_a_missing_field_is_named(system: System, field: str) -> None:
    body = {"message": "Hello", "user_id": "user123"}
    del body[field]
    found = assert_problem(await post(system, body), 422, path=field)
    assert found["detail"] == f"{field}: is required"


async def test_every_wrong_field_is_named(system: System) -> None:
    found = assert_problem(await post(system, {"message": 1, "temperature": 3, "modle": "x"}), 422)
    assert {error["path"] for error in found["errors"]} == {"message", "user_id", "temperature", "modle"}


@pytest.mark.parametrize("models", [[1], [None], [""], ["x" * 201], ["a/b", True]])
async def test_a_wrong_fallback_model_is_named_by_its_place(system: System, models: list[Any]) -> None:
    response = await system.interact(fallback_models=models)
    assert_problem(response, 422, path=f"fallback_models.{len(models) - 1}")


@pytest.mark.parametrize("text", UNSTORABLE.values(), ids=UNSTORABLE)
@pytest.mark.parametrize("field", ["message", "user_id", "session_id", "persona_id", "agent", "model"])
async def test_a_text_that_cannot_be_stored_is_refused(system: System, field: str, text: str) -> None:
    response = await post(system, {"message": "Hello", "user_id": "user123", field: text})
    assert_problem(response, 422, path=field)


@pytest.mark.parametrize("text", UNSTORABLE.values(), ids=UNSTORABLE)
@pytest.mark.parametrize("shape", ["value", "key", "deep value", "deep key"])
async def test_a_context_that_cannot_be_stored_is_refused(system: System, text: str, shape: str) -> None:
    inner: dict[str, Any] = {"key": text} if shape.endswith("value") else {text: "value"}
    context = {"a": [1, {"b": inner}]} if shape.startswith("deep") else inner
    response = await post(system, {"message": "Hello", "user_id": "user123", "context": context})
    assert_problem(response, 422, path="context")


@pytest.mark.parametrize("text", UNSTORABLE.values(), ids=UNSTORABLE)
async def test_an_unknown_field_with_an_odd_name_is_refused(system: System, text: str) -> None:
    assert_problem(await post(system, {"message": "Hello", "user_id": "user123", text: 1}), 422)


def _chat(content: Any, **fields: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content, **fields}]


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ([], ""),
        ([1], "0"),
        (["Hello"], "0"),
        ([*CHAT, {"role": "nobody", "content": "Hello"}], "1.role"),
        ([{"content": "Hello"}], "0.role"),
        ([{"role": "user"}], "0.content"),
        (_chat(""), "0.content"),
        (_chat([]), "0.content"),
        (_chat(1), "0.content"),
        (_chat({"type": "text"}), "0.content"),
        (_chat(None), "0.content"),
        (_chat("a\0b"), "0.content"),
        (_chat("\ud800"), "0.content"),
        (_chat(["Hello"]), "0.content.0"),
        (_chat([{"text": "Hello"}]), "0.content.0.type"),
        (_chat([{"type": 1}]), "0.content.0.type"),
        (_chat([{"type": "text", "text": "a\0b"}]), "0.content.0"),
        (_chat([{"type": "text", "text": "\ud800"}]), "0.content.0"),
        (_chat([{"type": "image_url", "image_url": {"\ud800": "x"}}]), "0.content.0"),
        (_chat([{"type": "image_url", "image_url": {"url": ["\0"]}}]), "0.content.0"),
        (_chat("Hello", name=""), "0.name"),
        (_chat("Hello", name="\0"), "0.name"),
        (_chat("Hello", nmae="x"), "0.nmae"),
    ],
)
async def test_a_wrong_chat_is_refused_in_both_forms(system: System, messages: Any, path: str) -> None:
    assert_problem(await post(system, messages, DIRECT), 422, path=path)
    inside = f"messages.{path}".removesuffix(".")
    assert_problem(await post(system, {"messages": messages}, DIRECT), 422, path=inside)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *_wrong("user_id", "", "x" * 129, *NO_TEXTS),
        *_wrong("model", "", "x" * 201, *NO_TEXTS),
        *_wrong("fallback_models", "openai/gpt-4", {}, ["a/b"] * 9),
        *_wrong("temperature", "0.7", True, 2.1),
        *_wrong("max_tokens", "10", 0, 1.5),
        *_wrong("stream", None, "true", 1),
        *_wrong("background", None, "true", 1),
        *_wrong("on_disconnect", "stop", None),
        *_wrong("persona_id", "cherry"),
        *_wrong("multitask_strategy", "reject"),
    ],
)
async def test_a_wrong_field_beside_a_chat_is_named(system: System, field: str, value: Any) -> None:
    assert_problem(await post(system, {"messages": CHAT, field: value}, DIRECT), 422, path=field)


@pytest.mark.parametrize("body", [b"1", b'"Hello"', b"null", b"true"])
@pytest.mark.parametrize("path", [INTERACT, DIRECT])
async def test_json_of_another_shape_is_refused(system: System, body: bytes, path: str) -> None:
    assert_problem(await post(system, body, path), 422, path="")


def _around(value: bytes, field: str = "context") -> bytes:
    return b'{"message": "Hello", "user_id": "user123", "%s": %s}' % (field.encode(), value)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"message":', id="broken off"),
        pytest.param(b"{'message': 'Hello'}", id="single quotes"),
        pytest.param(b'{"message": "Hello", "user_id": "user123"} x', id="more behind it"),
        pytest.param(b'{"message": "\xff\xfe", "user_id": "user123"}', id="not UTF-8"),
        pytest.param(b'{"message": "\xed\xa0\x80", "user_id": "user123"}', id="a surrogate in UTF-8"),
        pytest.param(json.dumps({"message": "Hello", "user_id": "user123"}).encode("utf-16"), id="UTF-16"),
        pytest.param(_around(b"NaN", "temperature"), id="NaN"),
        pytest.param(_around(b'{"a": [-Infinity]}'), id="Infinity"),
        pytest.param(_around(b'{"a": ' + b"9" * 5000 + b"}"), id="a huge number"),
        pytest.param(b"[" * 100_000, id="only brackets"),
        pytest.param(_around(b'{"a": ' * 2000 + b"1" + b"}" * 2000), id="nested 2000 deep"),
    ],
)
@pytest.mark.parametrize("path", [INTERACT, DIRECT])
async def test_what_is_not_json_is_refused(system: System, body: bytes, path: str) -> None:
    assert_problem(await post(system, body, path), 400)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", b"1e999"),
        ("max_tokens", b"9" * 4000),
        ("context", b'{"a": 1e999}'),
        ("context", b'{"a": ' * 100 + b"1" + b"}" * 100),
        ("context", b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}"),
    ],
)
async def test_numbers_and_depths_beyond_use_are_refused(system: System, field: str, value: bytes) -> None:
    assert_problem(await post(system, _around(value, field)), 422, path=field)


async def test_a_part_nested_beyond_use_is_refused(system: System) -> None:
    body = b'[{"role": "user", "content": [{"type": "text", "text": ' + b"[" * 500 + b"]" * 500 + b"}]}]"
    assert_problem(await post(system, body, DIRECT), 422, path="0.content.0")


@pytest.mark.parametrize("field", ["persona_id", "agent"])
async def test_an_unknown_name_is_not_found(system: System, field: str) -> None:
    found = assert_problem(await system.interact(**{field: "nobody"}), 404, "not_found")
    assert "'nobody'" in found["detail"]


@pytest.mark.parametrize("path", [INTERACT, DIRECT])
async def test_nobody_can_watch_and_leave_at_the_same_time(system: System, path: str) -> None:
    body = {"stream": True, "background": True}
    body |= {"message": "Hello", "user_id": "user123"} if path == INTERACT else {"messages": CHAT}
    assert_problem(await post(system, body, path), 422, path="background")


@pytest.mark.parametrize("key", ["", "x" * 256])
@pytest.mark.parametrize("path", [INTERACT, DIRECT])
async def test_a_wrong_idempotency_key_is_named(system: System, path: str, key: str) -> None:
    body = {"message": "Hello", "user_id": "user123"} if path == INTERACT else CHAT
    assert_problem(await post(system, body, path, **{"Idempotency-Key": key}), 422, path="Idempotency-Key")


async def test_two_idempotency_keys_are_one_too_many(system: System) -> None:
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    body = json.dumps({"message": "Hello", "user_id": "user123"})
    response = await system.client.post(INTERACT, content=body, headers=headers)
    assert_problem(response, 422, path="Idempotency-Key")


async def test_the_description_of_what_is_wrong_stays_short(system: System) -> None:
    response = await post(system, [{"role": "x" * 100, "content": 1}] * 1000, DIRECT)
    assert_problem(response, 422)
    assert len(response.content) < 10_000
