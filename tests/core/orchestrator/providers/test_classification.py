import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.orchestrator.errors import ErrorType, LLMProviderError, NextStep
from core.orchestrator.providers import classification
from core.orchestrator.providers.retry_after import LONGEST, read_retry_after

FAIL, NEXT, PAID, LARGER = NextStep.FAIL, NextStep.NEXT_MODEL, NextStep.NEXT_PAID_MODEL, NextStep.LARGER_CONTEXT
ONCE, ELSEWHERE = NextStep.NEXT_MODEL_ONCE, NextStep.NEXT_PROVIDER


def error(code: object = None, message: object = "sorry", **metadata: object) -> dict[str, object]:
    return {"code": code, "message": message, "metadata": metadata}


def typed(error_type: str, **metadata: object) -> dict[str, object]:
    return error(error_type=error_type, **metadata)


TABLE: list[tuple[int, dict[str, Any], ErrorType, int, NextStep]] = [
    (400, typed("invalid_request"), ErrorType.INVALID_REQUEST, 1, FAIL),
    (400, typed("invalid_prompt"), ErrorType.INVALID_REQUEST, 1, FAIL),
    (400, typed("string_too_long", provider_name="Maker"), ErrorType.INVALID_REQUEST, 1, FAIL),
    (400, typed("image_too_large"), ErrorType.INVALID_REQUEST, 1, FAIL),
    (400, error(400), ErrorType.INVALID_REQUEST, 1, FAIL),
    (412, typed("precondition_failed"), ErrorType.INVALID_REQUEST, 1, FAIL),
    (413, error(413), ErrorType.INVALID_REQUEST, 1, FAIL),
    (422, error(422), ErrorType.INVALID_REQUEST, 1, FAIL),
    (400, error(400, provider_name="Maker", raw="no"), ErrorType.INVALID_REQUEST, 1, ONCE),
    (400, typed("invalid_request", raw="no"), ErrorType.INVALID_REQUEST, 1, ONCE),
    (400, typed("context_length_exceeded"), ErrorType.CONTEXT_LENGTH, 1, LARGER),
    (400, error(400, "This endpoint's maximum context length is 8 tokens"), ErrorType.CONTEXT_LENGTH, 1, LARGER),
    (400, typed("max_tokens_exceeded"), ErrorType.OUTPUT_LIMIT, 1, FAIL),
    (400, typed("token_limit_exceeded"), ErrorType.QUOTA, 1, ELSEWHERE),
    (400, error(400, "maker/none is not a valid model ID"), ErrorType.MODEL_NOT_FOUND, 1, NEXT),
    (401, error(401), ErrorType.AUTHENTICATION, 1, ELSEWHERE),
    (401, typed("authentication"), ErrorType.AUTHENTICATION, 1, ELSEWHERE),
    (402, error(402), ErrorType.CREDIT, 1, ELSEWHERE),
    (402, error(402, limit_source="openrouter_credits"), ErrorType.CREDIT, 1, ELSEWHERE),
    (402, error(402, limit_source="openrouter_in_flight_budget"), ErrorType.RATE_LIMIT, 3, NEXT),
    (402, error(402, limit_source="openrouter_key_limit"), ErrorType.QUOTA, 1, ELSEWHERE),
    (403, error(403, limit_source="openrouter_key_limit"), ErrorType.QUOTA, 1, ELSEWHERE),
    (403, error(403, limit_source="openrouter_guardrail_budget"), ErrorType.QUOTA, 1, ELSEWHERE),
    (403, error(403, limit_source="openrouter_new_limit"), ErrorType.QUOTA, 1, ELSEWHERE),
    (403, error(403, "Key limit exceeded (total limit)"), ErrorType.QUOTA, 1, ELSEWHERE),
    (403, error(403, reasons=["violence"], flagged_input="…", provider_name="M"), ErrorType.MODERATION, 1, FAIL),
    (403, typed("permission_denied"), ErrorType.AUTHENTICATION, 1, ELSEWHERE),
    (401, error(401, provider_name="Maker", raw="bad key"), ErrorType.AUTHENTICATION, 1, NEXT),
    (402, error(402, provider_name="Maker", raw="pay"), ErrorType.AUTHENTICATION, 1, NEXT),
    (403, error(403, provider_name="Maker", raw="not here"), ErrorType.AUTHENTICATION, 1, NEXT),
    (402, error(402, limit_source="openrouter_credits", provider_name="M"), ErrorType.CREDIT, 1, ELSEWHERE),
    (403, typed("content_policy_violation"), ErrorType.CONTENT_POLICY, 1, NEXT),
    (400, typed("content_policy_violation", provider_name="Maker"), ErrorType.CONTENT_POLICY, 1, NEXT),
    (403, typed("refusal"), ErrorType.CONTENT_POLICY, 1, NEXT),
    (404, error(404, "No endpoints found"), ErrorType.MODEL_NOT_FOUND, 1, NEXT),
    (408, error(408), ErrorType.TIMEOUT, 2, NEXT),
    (504, typed("timeout"), ErrorType.TIMEOUT, 2, NEXT),
    (524, {}, ErrorType.TIMEOUT, 2, NEXT),
    (429, error(429, "Rate limit exceeded: free-models-per-min."), ErrorType.RATE_LIMIT, 3, NEXT),
    (429, error(429, "Rate limit exceeded: free-models-per-day."), ErrorType.RATE_LIMIT, 1, PAID),
    (429, error(429, "Provider returned error", provider_name="M", raw="busy"), ErrorType.RATE_LIMIT, 2, NEXT),
    (429, typed("rate_limit_exceeded"), ErrorType.RATE_LIMIT, 2, NEXT),
    (500, error(500), ErrorType.UPSTREAM, 3, NEXT),
    (500, typed("unmapped"), ErrorType.UPSTREAM, 3, NEXT),
    (502, typed("provider_unavailable"), ErrorType.UNAVAILABLE, 3, NEXT),
    (503, typed("provider_overloaded"), ErrorType.UNAVAILABLE, 3, NEXT),
    (529, {}, ErrorType.UNAVAILABLE, 3, NEXT),
    (418, {}, ErrorType.INVALID_REQUEST, 1, FAIL),
    (599, {}, ErrorType.UPSTREAM, 3, NEXT),
    (302, {}, ErrorType.MALFORMED, 2, NEXT),
]


def openai(message: str, **fields: object) -> dict[str, object]:
    return {"error": {"message": message, "type": None, "param": None, "code": None, **fields}}


WORDED: list[tuple[int, object, str, NextStep]] = [
    (
        401,
        openai("Incorrect API key", type="invalid_request_error", code="invalid_api_key"),
        "authentication",
        ELSEWHERE,
    ),
    (429, openai("No quota", type="insufficient_quota", code="insufficient_quota"), "credit", ELSEWHERE),
    (429, openai("Slow down", type="tokens", code="rate_limit_exceeded"), "rate_limit", NEXT),
    (400, openai("Limit", type="billing_limit", code="billing_hard_limit_reached"), "quota", ELSEWHERE),
    (404, openai("No model x", type="invalid_request_error", code="model_not_found"), "model_not_found", NEXT),
    (400, openai("Too long", type="invalid_request_error", code="context_length_exceeded"), "context_length", LARGER),
    (400, openai("Unsupported value", type="invalid_request_error", code="unsupported_value"), "invalid_request", FAIL),
    (400, openai("it exceeds the available context size", code=400), "context_length", LARGER),
    (503, openai("Overloaded", type="server_error"), "unavailable", NEXT),
    # vLLM, before and after it put errors into an envelope
    (400, {"object": "error", "message": "maximum context length is 8", "code": 400}, "context_length", LARGER),
    (400, openai("longer than the maximum model length of 8", code=400), "context_length", LARGER),
    (404, {"object": "error", "message": "no x", "type": "NotFoundError", "code": 404}, "model_not_found", NEXT),
    # Ollama
    (404, {"error": "model 'x' not found, try pulling it first"}, "model_not_found", NEXT),
    (404, openai("model 'x' not found", type="api_error"), "model_not_found", NEXT),
    (500, {"error": "llama runner process has terminated"}, "upstream", NEXT),
    (400, {"error": "invalid options"}, "invalid_request", FAIL),
]


@pytest.mark.parametrize(("status", "body", "error_type", "then"), WORDED)
def test_the_errors_of_openai_ollama_and_vllm_have_the_posture_of_their_kind(
    status: int, body: object, error_type: str, then: NextStep
) -> None:
    found = classification.from_response(status, {}, json.dumps(body))
    assert (found.error_type, found.posture.then) == (error_type, then)


@pytest.mark.parametrize(("status", "body", "error_type", "tries", "then"), TABLE)
def test_an_http_error_has_the_posture_of_the_table(
    status: int, body: dict[str, Any], error_type: ErrorType, tries: int, then: NextStep
) -> None:
    found = classification.from_response(status, {}, json.dumps({"error": body}).encode(), generation_id="gen-1")
    assert (found.error_type, found.posture.tries, found.posture.then) == (error_type, tries, then)
    assert (found.http_status, found.generation_id) == (status, "gen-1")


@pytest.mark.parametrize(("status", "body", "error_type", "tries", "then"), [row for row in TABLE if row[1]])
def test_the_same_error_object_inside_a_200_has_the_same_posture(
    status: int, body: dict[str, Any], error_type: ErrorType, tries: int, then: NextStep
) -> None:
    found = classification.from_error(body, http_status=200)
    assert (found.error_type, found.posture.tries, found.posture.then) == (error_type, tries, then)
    assert found.http_status == 200


@pytest.mark.parametrize("code", [429, "429", 429.0, "rate_limit_exceeded", "RATE_LIMIT_EXCEEDED"])
def test_a_code_may_be_an_integer_a_numeric_string_or_a_word(code: object) -> None:
    found = classification.from_error(error(code), http_status=200)
    assert found.error_type is ErrorType.RATE_LIMIT
    assert found.error_code == str(code).lower().removesuffix(".0")


def test_the_fields_are_asked_in_the_documented_order() -> None:
    everything = error("500", error_type="authentication", limit_source="openrouter_key_limit")
    assert classification.from_error(everything, http_status=404).error_type is ErrorType.QUOTA
    del everything["metadata"]["limit_source"]  # type: ignore[attr-defined]
    assert classification.from_error(everything, http_status=404).error_type is ErrorType.AUTHENTICATION
    del everything["metadata"]["error_type"]  # type: ignore[attr-defined]
    assert classification.from_error(everything, http_status=404).error_type is ErrorType.UPSTREAM
    del everything["code"]
    assert classification.from_error(everything, http_status=404).error_type is ErrorType.MODEL_NOT_FOUND


def test_an_unknown_error_type_leaves_the_decision_to_the_next_field() -> None:
    found = classification.from_error(error(429, error_type="of_tomorrow"), http_status=200)
    assert found.error_type is ErrorType.RATE_LIMIT


@pytest.mark.parametrize("body", [b"", b"<html><body>Bad gateway</body></html>", b"[]", b'"no"', b"\xff\xfe", b"null"])
def test_a_body_that_is_no_error_object_is_classified_by_its_status(body: bytes) -> None:
    assert classification.from_response(502, {}, body).error_type is ErrorType.UNAVAILABLE


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": "out of cheese"}, "out of cheese"),
        ({"message": "out of cheese"}, "out of cheese"),
        ({"detail": "out of cheese"}, "out of cheese"),
        ([{"error": {"message": "out of cheese"}}], "out of cheese"),
        ({"error": error(500, "no", provider_name="Maker", raw="out of cheese")}, "(Maker: out of cheese)"),
        (
            {"error": error(403, limit_source="openrouter_key_limit", resets_at="2030-01-01T00:00:00Z")},
            "limit: openrouter_key_limit, resets at 2030-01-01T00:00:00Z",
        ),
        ({"error": error(403, reasons=["violence"])}, "reasons: violence"),
    ],
)
def test_the_message_says_what_the_upstream_said(body: object, said: str) -> None:
    assert said in str(classification.from_response(500, {}, json.dumps(body)))


def test_the_message_never_quotes_the_flagged_input() -> None:
    found = classification.from_error(error(403, reasons=["x"], flagged_input="my secret diary"), http_status=403)
    assert "diary" not in str(found)


def test_a_message_is_one_printable_line_of_at_most_300_characters() -> None:
    found = classification.from_error(error(500, "a\r\nb\x1b[2J\x00\u202e\ud800\u2028" + "c" * 5000), http_status=500)
    assert str(found).isprintable()
    assert len(str(found)) <= 300


# --- billing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "output_seen", "billed"),
    [(500, False, False), (200, False, True), (500, True, True)],
)
def test_a_server_error_may_be_billed_once_a_provider_had_accepted(
    status: int, output_seen: bool, billed: bool
) -> None:
    found = classification.from_error(error(500), http_status=status, output_seen=output_seen)
    assert found.may_be_billed is billed


def test_a_refusal_is_not_billed_even_inside_a_200() -> None:
    assert not classification.from_error(error(429), http_status=200).may_be_billed
    assert not classification.from_error(error(401), http_status=200).may_be_billed


@pytest.mark.parametrize("status", [408, 504, 524])
def test_a_timeout_of_the_upstream_may_be_billed(status: int) -> None:
    assert classification.from_response(status, {}, b"").may_be_billed


# --- transport ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "data_seen", "error_type", "tries", "billed"),
    [
        (httpx.ConnectError("refused"), False, ErrorType.CONNECTION, 3, False),
        (httpx.ConnectTimeout("slow"), False, ErrorType.CONNECTION, 3, False),
        (httpx.ReadError("reset"), False, ErrorType.CONNECTION, 2, True),
        (httpx.ReadError("reset"), True, ErrorType.TRUNCATED, 2, True),
        (httpx.RemoteProtocolError("cut"), True, ErrorType.TRUNCATED, 2, True),
        (httpx.ReadTimeout("slow"), False, ErrorType.TIMEOUT, 2, True),
    ],
)
def test_a_broken_connection_may_be_billed_unless_nothing_was_sent(
    raised: Exception, data_seen: bool, error_type: ErrorType, tries: int, billed: bool
) -> None:
    found = classification.from_transport(raised, data_seen=data_seen)
    assert (found.error_type, found.posture.tries, found.may_be_billed) == (error_type, tries, billed)
    assert found.posture.then is NEXT


# --- Retry-After --------------------------------------------------------------------------------------------------

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("1.5", 1.5),
        ("-5", 0),
        ("Tue, 01 Jan 2030 00:00:30 GMT", 30),
        ("Mon, 31 Dec 2029 00:00:00 GMT", 0),
        ("Tue, 01 Jan 2030 00:00:30 -0000", 30),
        ("99999999999999999999", LONGEST.total_seconds()),
        ("1e300", LONGEST.total_seconds()),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("Tue, 99 Foo 99999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_clamped_and_never_raises(value: str, seconds: float | None) -> None:
    wait = read_retry_after({"ReTrY-aFtEr": value}, {}, window_resets=False, now=NOW)
    assert wait == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("metadata", "seconds"),
    [
        ({"retry_after_seconds": 3}, 3),
        ({"retry_after_seconds": "3"}, 3),
        ({"retry_after_seconds": -3}, 0),
        ({"retry_after_seconds": True}, None),
        ({"headers": {"X-RateLimit-Reset": str(int(NOW.timestamp() * 1000) + 9000)}}, 9),
        ({"headers": {"x-ratelimit-reset": NOW.timestamp() * 1000 + 9000}}, 9),
        ({"headers": {"X-RateLimit-Reset": NOW.timestamp() + 9}}, 9),
        ({"headers": {"X-RateLimit-Reset": 0}}, 0),
        ({"headers": {"X-RateLimit-Reset": -9}}, 0),
        ({"headers": {"X-RateLimit-Reset": "9"}}, 9),
        ({"headers": {"Retry-After": "9", "X-RateLimit-Reset": 99}}, 9),
        ({"headers": {"X-RateLimit-Reset": 10**300}}, LONGEST.total_seconds()),
        ({"headers": {"X-RateLimit-Reset": 10**400}}, None),
        ({"headers": "none"}, None),
    ],
)
def test_the_metadata_may_carry_the_wait_instead_of_a_header(metadata: dict[str, Any], seconds: float | None) -> None:
    wait = read_retry_after(None, metadata, window_resets=True, now=NOW)
    assert wait == (None if seconds is None else timedelta(seconds=seconds))


def test_an_illegible_header_leaves_the_word_to_the_metadata() -> None:
    wait = read_retry_after({"Retry-After": "soon"}, {"retry_after_seconds": 4}, window_resets=False)
    assert wait == timedelta(seconds=4)


def test_the_reset_of_a_rate_window_delays_nothing_but_a_rate_limit() -> None:
    reset = {"headers": {"X-RateLimit-Reset": "4102444800000"}}
    assert classification.from_error(error(500, **reset), http_status=500).posture.retry_after is None
    assert classification.from_error(error(429, **reset), http_status=429).posture.retry_after is not None


def test_the_wait_reaches_the_posture() -> None:
    found = classification.from_response(503, {"Retry-After": "2"}, b"")
    assert found.posture.retry_after == timedelta(seconds=2)


# --- anything at all ------------------------------------------------------------------------------------------------

FIELDS = ["error", "code", "message", "metadata", "error_type", "limit_source", "type", "detail"]
FIELDS += ["headers", "retry_after_seconds", "X-RateLimit-Reset", "resets_at", "reasons", "flagged_input", "raw"]
WORDS = st.sampled_from(["429", "server_error", "image_x", "key limit", "free-models-per-day", "\ud800", "1e999"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS | st.just(10**400)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner, max_size=6)
    ),
)
HEADERS = st.dictionaries(st.sampled_from(["Retry-After", "X-RateLimit-Reset", "x"]), st.text())


def assert_sound(found: LLMProviderError) -> None:
    assert isinstance(found, LLMProviderError)
    assert found.posture.tries >= 1
    assert found.posture.retry_after is None or timedelta(0) <= found.posture.retry_after <= LONGEST
    assert str(found).isprintable()
    assert len(str(found)) <= 300
    assert found.error_code is None or len(found.error_code) <= 64


@given(status=st.integers(100, 999), headers=HEADERS, body=st.binary() | st.text())
def test_any_body_is_classified(status: int, headers: dict[str, str], body: bytes | str) -> None:
    assert_sound(classification.from_response(status, headers, body))


@given(status=st.none() | st.integers(), headers=st.none() | HEADERS, error=JSON)
def test_any_error_object_is_classified(status: int | None, headers: dict[str, str] | None, error: object) -> None:
    assert_sound(classification.from_error(error, http_status=status, headers=headers))


@given(status=st.integers(400, 599), error=JSON)
def test_any_json_body_is_classified(status: int, error: object) -> None:
    assert_sound(classification.from_response(status, {}, json.dumps({"error": error})))


def test_json_nested_too_deep_is_classified() -> None:
    assert_sound(classification.from_response(500, {}, b"[" * 100_000))


def test_a_number_too_long_for_python_is_classified() -> None:
    assert_sound(classification.from_response(500, {}, b'{"error": {"code": 1' + b"0" * 5000 + b"}}"))
    assert_sound(classification.from_error(error(10**5000, retry_after_seconds=10**5000), http_status=200))
