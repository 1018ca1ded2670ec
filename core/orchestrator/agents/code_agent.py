"""The agent for programming questions: the same voice, less chance, code that runs."""

import re

from core.orchestrator.agents.base import AgentContext
from core.orchestrator.agents.llm_agent import LLMAgent

_INSTRUCTIONS = """\
The user needs code. Keep your own voice, but let it frame the answer and not crowd it:
- Give code that is complete and runs as it stands, in a fenced block that names its language.
- Use the language and versions the user shows; say so when you have to assume one.
- For an error, name the cause before the cure.
- Never invent an API. Where you are not sure, say what to check."""

_SHOWS_CODE = re.compile(
    r"^[ \t]*```"
    r"|^Traceback \(most recent call last\):"
    r"|^[ \t]+at \S.*:\d+\)?$",  # a stack frame of Java, JavaScript or C#
    re.MULTILINE,
)

# A verb and, at most three words on, something only a programmer writes. "Program", "script" and "class" need a
# language before them: weddings have programs, plays have scripts, and schools have classes.
_ASKS_FOR_CODE = re.compile(
    r"\b(?:write|implement|code|refactor|debug|optimi[sz]e)(?:\s+\S+){0,3}?\s+"
    r"(?:function|code|regex|algorithm|snippet|unit\s+tests?|sql"
    r"|(?:python|javascript|typescript|java|rust|go|ruby|bash|shell|c\+\+|c#)\s+(?:program|script|class|module))\b",
    re.IGNORECASE,
)


class CodeAgent(LLMAgent):
    """Answers programming questions with code that runs, in the persona's voice."""

    temperature = 0.2

    @property
    def name(self) -> str:
        """The name it is known by."""
        return "code"

    def can_handle(self, context: AgentContext) -> float:
        """Claim turns whose topic is code, or whose message shows code or asks for it."""
        if context.context.get("topic") == "code":
            return 0.9
        if _SHOWS_CODE.search(context.message) or _ASKS_FOR_CODE.search(context.message):
            return 0.8
        return 0.0

    def instructions(self, context: AgentContext) -> str:  # noqa: ARG002 - the same for every turn
        """Return how to answer with code."""
        return _INSTRUCTIONS
