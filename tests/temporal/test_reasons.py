"""Why Temporal did not answer, in words that fit on a line."""

import pytest

from temporal.reasons import reason

CONNECT = "Failed client connect: Server connection error: tonic::transport::Error(Transport, ConnectError("


REFUSED = (
    f'{CONNECT}ConnectError("tcp connect error", Os {{ kind: ConnectionRefused, message: "Connection refused" }})))'
)
UNKNOWN = f'{CONNECT}ConnectError("dns error", Custom {{ kind: Uncategorized, error: "Name or service not known" }})))'
UNTRUSTED = f"{CONNECT}Custom {{ kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }}))"
FORBIDDEN = 'Failed client connect: call error: Status { code: Unauthenticated, message: "Request\\nunauthorized." }'


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (REFUSED, "Connection refused"),
        (UNKNOWN, "Name or service not known"),
        (UNTRUSTED, "InvalidCertificate(UnknownIssuer)"),
        (FORBIDDEN, "Request unauthorized."),
        ("invalid target URL: invalid port number", "invalid target URL: invalid port number"),
        ("no\nsuch\n\nnamespace", "no such namespace"),
        ("x" * 1000, "x" * 200),
    ],
)
def test_the_reason_is_what_lies_innermost(told: str, words: str) -> None:
    assert reason(RuntimeError(told)) == words


def test_an_error_without_words_is_named() -> None:
    assert reason(TimeoutError()) == "TimeoutError"
