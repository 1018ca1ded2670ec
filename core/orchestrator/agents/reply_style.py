"""What a persona's `reply:` section does to a model's text.

Styling twice gives what styling once gives, and never makes a reply empty. Both hold by construction: every step only
removes, a step that would remove everything is not taken, and the steps run until none of them changes anything. The
sign-off is the one thing added; it is taken off first, so that it is never added twice.

Every pattern is linear in the length of the text: a model may be talked into repeating itself.
"""

import re
from collections.abc import Callable

from core.orchestrator.personas.model import PersonaConfig

Step = Callable[[str], str]

MAX_PASSES = 50
"""Marks nested deeper than this are no style but noise, which stays as it is."""

_CODE = r"(?P<code>```[\s\S]*?(?:```|\Z)|`[^`\n]+`)"


def _outside_code(pattern: str, kept: str = "") -> Step:
    """Return a step that replaces `pattern` by the template `kept`, but leaves code as it is."""
    matcher = re.compile(f"{_CODE}|{pattern}", re.MULTILINE)
    return lambda text: matcher.sub(lambda found: found["code"] or found.expand(kept), text)


# Pictographs, not signs that carry meaning in plain text: arrows, check marks, circled digits and notes stay.
_PICTOGRAPH = (
    "[\U0001f000-\U0001faff\u231a\u231b\u23e9-\u23fa\u2600-\u2653\u2660-\u2668\u2670-\u2712\u2714-\u2716\u2718-\u2775"
    "\u2795-\u2797\u27a1\u27b0\u27bf\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55]"
)
_EMOJI = f"(?:{_PICTOGRAPH}[\ufe0f\u200d\u20e3\U000e0020-\U000e007f]*)+"

_remove_emoji: list[Step] = [
    # With the space around it: "Hi 😀 there" reads "Hi there", and a line does not start with a blank.
    _outside_code(rf"^[ \t]*{_EMOJI}[ \t]*|[ \t]?{_EMOJI}|\ufe0f?\u20e3"),
]

_strip_markdown: list[Step] = [
    _outside_code(r"^(?: {0,3}(?:#{1,6}[ \t]+|>[ \t]?))+"),
    _outside_code(r"^ {0,3}(?:-{3,}|\*{3,}|_{3,})[ \t]*$\n?"),
    # Not inside words: `2*3*4` is arithmetic.
    _outside_code(r"(?<![\w*])(?P<mark>\*{1,3})(?=[^\s*])(?P<text>[^\n*]+)(?<=[^\s*])(?P=mark)(?![\w*])", r"\g<text>"),
    _outside_code(r"!?\[(?P<text>[^\[\]\n]+)\]\((?P<url>[^()\s]+)\)", r"\g<text> (\g<url>)"),
    _outside_code(r"\n{3,}", r"\n\n"),
]


def style_reply(text: str, persona: PersonaConfig) -> str:
    """Return a reply in the persona's style: trimmed, without "Cherry:" in front of it, styled, and signed."""
    if not text.strip():
        return text
    sign_off = (persona.reply.sign_off or "").strip()
    unsign = _without_end(sign_off)
    body = _until_settled(unsign(text.strip()), [unsign, *_steps(persona)])
    return body if not sign_off or body == sign_off else f"{body}\n\n{sign_off}"


def _steps(persona: PersonaConfig) -> list[Step]:
    steps = [_without_speaker(persona.name)]
    if persona.reply.emoji == "remove":
        steps += _remove_emoji
    if persona.reply.strip_markdown:
        steps += _strip_markdown
    return steps


def _until_settled(text: str, steps: list[Step]) -> str:
    settled = text
    for _ in range(MAX_PASSES):
        before = settled
        for step in steps:
            settled = step(settled).strip() or settled
        if settled == before:
            return settled
    return text


def _without_end(sign_off: str) -> Step:
    def unsign(text: str) -> str:
        while sign_off and text.endswith(f"\n{sign_off}"):  # a line of its own: "design" ends in no "sign"
            text = text.removesuffix(sign_off).rstrip()
        return text

    return unsign


def _without_speaker(name: str) -> Step:
    """Models that see a transcript like to write their own name first, plain or in Markdown."""
    speaker = rf"(?P<mark>\*\*|\*|__|){re.escape(name)}(?:(?P=mark)[ \t]*[:：]|[:：](?P=mark))\s*"  # noqa: RUF001
    matcher = re.compile(rf"\A(?:{speaker})+", re.IGNORECASE)
    return lambda text: matcher.sub("", text)
