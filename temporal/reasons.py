"""Why Temporal did not answer, in a few words: the SDK tells it as the structures of its inside, on several lines."""

import re

_INNERMOST = (
    re.compile(r'(?:message|error): "((?:[^"\\]|\\.)*)"'),
    re.compile(r"error: (\w+(?:\(\w+\))?)"),  # as for certificates: InvalidCertificate(UnknownIssuer)
)
_MAX_CHARACTERS = 200


def reason(error: BaseException) -> str:
    """Return one short line that says what went wrong."""
    told = str(error).removeprefix("Failed client connect: ")
    found = next(filter(None, (pattern.findall(told) for pattern in _INNERMOST)), [told])
    words = " ".join(found[-1].replace("\\n", " ").split())
    return words[:_MAX_CHARACTERS] or type(error).__name__
