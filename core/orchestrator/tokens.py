"""How long a text is, in tokens, before any model has counted it.

An estimate for budgets only; what a call really used is what the provider reports. Four bytes of UTF-8 a token is the
usual rule for English, and errs on the careful side for scripts of several bytes a character.
"""

_BYTES_PER_TOKEN = 4
_PER_MESSAGE = 4
"""Role and separators, as chat formats add them."""


def estimate_tokens(text: str) -> int:
    """Return the estimated tokens of one message with this text."""
    return _PER_MESSAGE + -(-len(text.encode(errors="replace")) // _BYTES_PER_TOKEN)
