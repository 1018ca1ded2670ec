"""From whatever went wrong to a typed error with its posture: one set of pure functions, the same for every source.

OpenRouter reports a failure as an HTTP error body, as a body at status 200, in `choices[0].error` or in a chunk of a
stream, always as the same error object; so one function reads that object wherever it was found. It branches on
`metadata.limit_source`, `metadata.error_type`, `code` and the HTTP status, in this order, then lets the message and
the metadata refine what is still generic. Nothing in here raises, and no message holds a control character; taking
the key out of messages is the work of the provider, which knows it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import httpx

from core.orchestrator.errors import ErrorType, LLMProviderError, Posture
from core.orchestrator.providers import failure_kinds as kinds
from core.orchestrator.providers.failure_kinds import Billing, Kind
from core.orchestrator.providers.http import was_sent
from core.orchestrator.providers.retry_after import read_retry_after
from core.orchestrator.providers.untrusted import as_mapping, as_number, one_line, parse_json

_CODE = re.compile(r"[0-9]{1,6}")
"""An integer, or a float without a fraction, as `:g` writes both."""


def failure(
    kind: Kind,
    message: str,
    *,
    http_status: int | None = None,
    error_code: str | None = None,
    generation_id: str | None = None,
    retry_after: timedelta | None = None,
    output_seen: bool = False,
    known_free: bool = False,
) -> LLMProviderError:
    """Return the error of that kind.

    Args:
        kind: the row of the table.
        message: for people; cut to one printable line.
        http_status: what HTTP said.
        error_code: what the body said.
        generation_id: under which the upstream knows the call.
        retry_after: the wait the upstream asked for.
        output_seen: some of an answer had arrived, so it may be billed whatever the kind.
        known_free: the upstream itself said that the call costs nothing.
    """
    accepted = http_status is not None and httpx.codes.is_success(http_status)
    billable = kind.billing is Billing.MAYBE or (kind.billing is Billing.IF_ACCEPTED and accepted)
    return kind.error(
        one_line(message),
        error_type=kind.type,
        posture=Posture(tries=kind.tries, then=kind.then, retry_after=retry_after),
        http_status=http_status,
        error_code=error_code,
        generation_id=generation_id,
        may_be_billed=(billable or output_seen) and not known_free,
    )


def from_response(
    status: int, headers: Mapping[str, str], body: bytes | str, *, generation_id: str | None = None
) -> LLMProviderError:
    """Classify an answer whose HTTP status is not a success; the body may be anything, HTML and nothing included."""
    payload = parse_json(body)
    holder = as_mapping(payload[0] if isinstance(payload, list) and payload else payload)
    return from_error(holder.get("error") or holder, http_status=status, headers=headers, generation_id=generation_id)


def from_error(
    error: object,
    *,
    http_status: int | None,
    headers: Mapping[str, str] | None = None,
    generation_id: str | None = None,
    output_seen: bool = False,
) -> LLMProviderError:
    """Classify an error object: of an HTTP error, of a body at status 200, of a choice, or of a stream's chunk."""
    report = _Report.read(error, http_status)
    kind = _refine(_first_match(report), report)
    window_resets = kind.type is ErrorType.RATE_LIMIT
    return failure(
        kind,
        report.describe(),
        http_status=http_status,
        error_code=report.error_code,
        generation_id=generation_id,
        retry_after=read_retry_after(headers, report.metadata, window_resets=window_resets),
        output_seen=output_seen,
    )


def from_transport(
    error: BaseException, *, data_seen: bool = False, generation_id: str | None = None
) -> LLMProviderError:
    """Classify what the HTTP client raised. `data_seen`: some of the answer had arrived."""
    if not was_sent(error):
        kind, what = kinds.UNREACHABLE, "the upstream could not be reached"
    elif data_seen:
        kind, what = kinds.TRUNCATED, "the connection broke in the middle of the answer"
    elif isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        kind, what = kinds.TIMED_OUT, "the upstream did not answer in time"
    else:
        kind, what = kinds.CONNECTION_LOST, "the connection broke before the answer began"
    cause = error.__cause__ or error
    return failure(kind, f"{what} ({type(cause).__name__})", generation_id=generation_id)


@dataclass(frozen=True, slots=True)
class _Report:
    """What an error object says, every field read with suspicion."""

    http_status: int | None
    limit_source: str
    error_type: str
    code: str
    type: str
    message: str
    metadata: Mapping[str, object]

    @classmethod
    def read(cls, error: object, http_status: int | None) -> "_Report":
        fields = {"message": error} if isinstance(error, str) else as_mapping(error)
        metadata = as_mapping(fields.get("metadata"))
        number = as_number(fields.get("code"))
        return cls(
            http_status=http_status,
            limit_source=one_line(metadata.get("limit_source"), 64),
            error_type=one_line(metadata.get("error_type"), 64).lower(),
            code=f"{number:g}" if number is not None else one_line(fields.get("code"), 64).lower(),
            type=one_line(fields.get("type"), 64).lower(),
            message=one_line(fields.get("message")) or one_line(fields.get("detail")),
            metadata=metadata,
        )

    @property
    def error_code(self) -> str | None:
        return self.code or self.error_type or self.type or None

    def says(self, phrase: str) -> bool:
        """Whether the message, or the upstream provider's own one, holds the phrase (in lower case)."""
        return phrase in f"{self.message} {one_line(self.metadata.get('raw'), 2000)}".lower()

    def carries(self, *names: str) -> bool:
        return any(self.metadata.get(name) for name in names)

    def describe(self) -> str:
        """Return what a person needs: who refused, in which words, and which limit resets when."""
        inside_a_success = self.http_status is None or httpx.codes.is_success(self.http_status)
        line = "the upstream reported an error" if inside_a_success else f"the upstream answered {self.http_status}"
        if self.error_code not in (None, str(self.http_status)):
            line += f" [{self.error_code}]"
        if self.message:
            line += f": {one_line(self.message, 150)}"
        if self.limit_source:
            line += f"; limit: {self.limit_source}"
        if resets_at := one_line(self.metadata.get("resets_at"), 40):
            line += f", resets at {resets_at}"
        reasons = self.metadata.get("reasons")
        if isinstance(reasons, list) and reasons:
            line += f"; reasons: {', '.join(one_line(reason, 40) for reason in reasons[:5])}"
        who, raw = one_line(self.metadata.get("provider_name"), 40), one_line(self.metadata.get("raw"), 150)
        return line + (f" ({': '.join(filter(None, (who, raw)))})" if who or raw else "")


def _first_match(report: _Report) -> Kind:
    """Return the kind by the most telling field that is legible."""
    return (
        kinds.BY_LIMIT_SOURCE.get(report.limit_source)
        or _by_word(report.error_type)
        or (_by_status(int(report.code)) if _CODE.fullmatch(report.code) else _by_word(report.code))
        or _by_status(report.http_status)
        or _by_word(report.type)
        or kinds.SERVER_ERROR
    )


def _by_word(word: str) -> Kind | None:
    return kinds.UNACCEPTABLE if word.startswith("image_") else kinds.BY_WORD.get(word)


def _by_status(status: int | None) -> Kind | None:
    """Return the kind of an HTTP status; a success says nothing, for a failure at 200 is still a failure."""
    if status is None:
        return None
    if status in kinds.BY_STATUS:
        return kinds.BY_STATUS[status]
    if httpx.codes.is_redirect(status):  # the base URL is not the API
        return kinds.MALFORMED
    if httpx.codes.is_client_error(status):
        return kinds.UNACCEPTABLE
    return kinds.SERVER_ERROR if httpx.codes.is_server_error(status) else None


_TOO_LONG = ("maximum context length", "maximum model length", "available context size")
"""OpenRouter and OpenAI, vLLM, llama.cpp."""

_REFINEMENTS: tuple[tuple[frozenset[Kind], Callable[[_Report], bool], Kind], ...] = (
    (frozenset({kinds.RATE_LIMITED}), lambda report: report.says("free-models-per-day"), kinds.FREE_DAY_SPENT),
    (frozenset({kinds.RATE_LIMITED}), lambda report: report.says("free-models-per-min"), kinds.FREE_MINUTE_SPENT),
    (frozenset({kinds.INVALID_REQUEST}), lambda report: report.says("not a valid model id"), kinds.UNKNOWN_MODEL),
    (
        frozenset({kinds.INVALID_REQUEST}),
        lambda report: any(report.says(phrase) for phrase in _TOO_LONG),
        kinds.CONTEXT_TOO_LONG,
    ),
    # Moderation names what it found in the INPUT; `content_policy_violation` alone is one model's opinion.
    (
        frozenset({kinds.FORBIDDEN, kinds.UNWILLING, kinds.INVALID_REQUEST}),
        lambda report: report.carries("reasons", "flagged_input"),
        kinds.FLAGGED_INPUT,
    ),
    # The provider's own 400: another provider's model may take the very same request.
    (
        frozenset({kinds.INVALID_REQUEST}),
        lambda report: report.carries("provider_name", "raw"),
        kinds.REFUSED_BY_PROVIDER,
    ),
    # A limit whose name is not in the table yet, or a message from before limits had names.
    (
        frozenset({kinds.FORBIDDEN, kinds.NO_CREDIT}),
        lambda report: report.says("key limit") or report.limit_source not in {"", "openrouter_credits"},
        kinds.LIMIT_SPENT,
    ),
    # The provider's own 401, 402 or 403, passed on like its 400: it speaks of the router's account there, or of ours.
    (
        frozenset({kinds.UNAUTHENTICATED, kinds.FORBIDDEN, kinds.NO_CREDIT}),
        lambda report: not report.limit_source and report.carries("provider_name", "raw"),
        kinds.ACCOUNT_REFUSED_BY_PROVIDER,
    ),
)
"""Generic kinds that the message or the metadata can make precise: the first that applies counts."""


def _refine(kind: Kind, report: _Report) -> Kind:
    return next((better for generic, applies, better in _REFINEMENTS if kind in generic and applies(report)), kind)
