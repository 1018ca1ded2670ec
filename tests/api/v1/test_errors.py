"""Errors under `/v1`: in the form that OpenAI's clients read, and with what they need to know about sending again."""

from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI

from api.error_handlers import add_error_handlers
from api.troubles import InteractionFailedError
from core.orchestrator import errors
from core.orchestrator.contracts import InteractionError, InteractionStatus, InteractionView
from core.orchestrator.errors import ErrorType
from tests.api.keyed import Keyed, bearer
from tests.api.talk import JSON
from tests.api.v1.talk import CHAT, assert_error, body

SOON = timedelta(seconds=7)
REFUSED: dict[str, tuple[Exception, int, str, bool]] = {
    # What is raised, and the status, the code, and whether clients send again by themselves.
    "no persona": (errors.UnknownResourceError("model", "nobody"), 404, "model_not_found", False),
    "no interaction": (errors.UnknownResourceError("response", "resp_1"), 404, "not_found", False),
    "another user's": (errors.SessionOwnershipError("another's"), 403, "permission_denied", False),
    "busy": (errors.SessionBusyError("s", "i"), 409, "session_busy", True),
    "erasing": (errors.SessionErasingError("s"), 409, "session_erasing", True),
    "another body": (errors.IdempotencyConflictError("another body"), 400, "idempotency_conflict", False),
    "too fast": (errors.RateLimitedError("slowly", SOON), 429, "rate_limit_exceeded", True),
    "too many": (errors.TooManyOpenError("wait", SOON), 429, "rate_limit_exceeded", True),
    "overloaded": (errors.OverloadedError("later", SOON), 503, "overloaded", True),
    "no database": (errors.StorageUnavailableError("secret words"), 503, "unavailable", True),
    "no Temporal": (errors.WorkflowServiceUnavailableError("away", interaction_id="i"), 503, "unavailable", True),
    "ours": (errors.PromptError("secret words"), 500, "internal", False),
}
FAILED: dict[ErrorType, tuple[int, str, str | None]] = {
    # The status, the code, and the field.
    ErrorType.AUTHENTICATION: (502, "upstream_authentication", None),
    ErrorType.CREDIT: (502, "upstream_credit", None),
    ErrorType.QUOTA: (502, "upstream_quota", None),
    ErrorType.RATE_LIMIT: (429, "rate_limit_exceeded", None),
    ErrorType.INVALID_REQUEST: (400, "invalid_request", None),
    ErrorType.CONTEXT_LENGTH: (400, "context_length_exceeded", "messages"),
    ErrorType.MODERATION: (400, "content_filter", None),
    ErrorType.CONTENT_POLICY: (400, "content_policy_violation", None),
    ErrorType.MODEL_NOT_FOUND: (404, "model_not_found", "model"),
    ErrorType.TIMEOUT: (504, "timeout", None),
    ErrorType.STALLED: (503, "stalled", None),
    ErrorType.CONNECTION: (503, "connection", None),
    ErrorType.TRUNCATED: (503, "truncated", None),
    ErrorType.EMPTY: (503, "empty", None),
    ErrorType.OUTPUT_LIMIT: (400, "output_limit", "max_tokens"),
    ErrorType.MALFORMED: (503, "malformed", None),
    ErrorType.UPSTREAM: (503, "upstream", None),
    ErrorType.UNAVAILABLE: (503, "unavailable", None),
    ErrorType.CANCELLED: (409, "cancelled", None),
    ErrorType.WORKER_LOST: (503, "worker_lost", None),
}


async def _answer_to(error: Exception, path: str = "/v1/anything") -> httpx.Response:
    app = FastAPI()
    add_error_handlers(app)

    @app.get(path)
    async def anything() -> None:
        raise error

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path)


def _class_of(status: int) -> str:
    return "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"


@pytest.mark.parametrize("why", REFUSED)
async def test_a_refusal_says_why_and_whether_sending_again_may_help(why: str) -> None:
    raised, status, code, again = REFUSED[why]
    response = await _answer_to(raised)
    error = assert_error(response, status, code, "model" if code == "model_not_found" else None)
    assert error["type"] == _class_of(status)
    assert response.headers.get("x-should-retry") == (None if again else "false")
    assert "secret" not in response.text


def _failed(failure: ErrorType) -> InteractionFailedError:
    return InteractionFailedError(
        InteractionView(
            interaction_id="i",
            workflow_id="w",
            status=InteractionStatus.FAILED,
            error=InteractionError(type=failure, detail="it went wrong"),
        )
    )


@pytest.mark.parametrize("failure", ErrorType)
async def test_a_failed_interaction_says_whose_matter_it_is_and_that_sending_again_mends_nothing(
    failure: ErrorType,
) -> None:
    status, code, param = FAILED[failure]
    response = await _answer_to(_failed(failure))
    error = assert_error(response, status, code, param)
    assert (error["message"], error["type"]) == ("it went wrong", _class_of(status))
    assert response.headers["x-interaction-id"] == "i"
    assert response.headers["x-should-retry"] == "false"  # the service has asked again, and the other models
    assert ("retry-after" in response.headers) == (status in (429, 503))


@pytest.mark.parametrize(
    ("failure", "param"), [(ErrorType.CONTEXT_LENGTH, "input"), (ErrorType.OUTPUT_LIMIT, "max_output_tokens")]
)
async def test_a_failed_response_names_the_fields_that_responses_have(failure: ErrorType, param: str) -> None:
    error = assert_error(await _answer_to(_failed(failure), "/v1/responses"), *FAILED[failure][:2], param)
    assert error["message"] == "it went wrong"


async def test_a_limit_tells_when_there_may_be_room() -> None:
    assert (await _answer_to(REFUSED["too fast"][0])).headers["retry-after"] == "7"


async def test_what_was_told_under_api_is_told_under_v1_of_every_error_of_the_domain() -> None:
    raised = {type(error) for error, *_ in REFUSED.values()}
    internal = {errors.OrchestratorError, errors.ConfigurationError, errors.NotNowError}
    at_the_door = {errors.KeyRequiredError, errors.NotAllowedError}
    others = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, errors.LLMProviderError)
    }
    assert others - raised == internal | at_the_door


# --- the door, and what is not behind it ---


async def test_the_door_speaks_the_form_of_the_path(keyed: Keyed) -> None:
    for method, path in (("POST", CHAT), ("GET", "/v1/models"), ("GET", "/v1/nothing"), ("GET", "/v1")):
        response = await keyed.ask(None, method, path)
        assert_error(response, 401, "invalid_api_key")
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["x-should-retry"] == "false"
        assert response.headers["x-request-id"]
    refused = assert_error(await keyed.ask("read", "POST", CHAT, json=body()), 403, "permission_denied")
    assert refused["message"] == "this takes a key with the scope 'interact'"


async def test_what_is_not_there_is_told_in_the_same_form(keyed: Keyed) -> None:
    missing = assert_error(await keyed.ask("both", "GET", "/v1/nothing"), 404, "unknown_url")
    assert missing["message"] == "there is nothing at GET /v1/nothing"
    wrong = await keyed.ask("both", "GET", CHAT)
    assert_error(wrong, 405, "method_not_supported")
    assert wrong.headers["allow"] == "POST"
    for doubled in ("//v1/models", "/v1//models", "///v1"):  # as an address with a slash too many becomes
        url = httpx.URL("http://test", raw_path=doubled.encode())
        answer = await keyed.client.get(url, headers=bearer("both"))
        assert_error(answer, 404, "unknown_url")
        assert_error(await keyed.client.get(url), 401, "invalid_api_key")
    elsewhere = await keyed.ask("admin", "GET", "/v1nothing")
    assert elsewhere.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", JSON, 400),
        (b"{", JSON, 400),
        (b"\xff", JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b'{"model": NaN}', JSON, 400),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"x" * (1024 * 1024 + 1), JSON, 413),
    ],
)
async def test_a_body_that_is_no_json_is_refused(
    keyed: Keyed, content: bytes, headers: dict[str, str], status: int
) -> None:
    response = await keyed.ask("both", "POST", CHAT, content=content, headers=headers)
    assert_error(response, status, "invalid_request")
    assert response.headers["x-should-retry"] == "false"
