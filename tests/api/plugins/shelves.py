"""Providers with lists of their own: a small one, one that overlaps with OpenRouter's names, and bad ones."""

from core.orchestrator.extensions import LLMProvider, register_llm_provider


class Shelf(LLMProvider):
    provider_name = "shelf"

    async def generate_chat_completion(self, messages, model=None, temperature=0.7, max_tokens=None):
        return f"{model} speaking"

    async def list_models(self):
        return [
            {"id": "tiny", "name": "Tiny", "context_length": 600, "max_completion_tokens": 100},
            {"id": "openai/gpt-4", "prompt_usd": 0, "completion_usd": 0.000001},
            {"id": "a:b"},
        ]


class Odd(Shelf):
    async def list_models(self):
        return "no list at all"


class Broken(Shelf):
    async def list_models(self):
        raise SystemExit("a defect of its own")


register_llm_provider("shelf", Shelf)
register_llm_provider("another_shelf", Shelf)
register_llm_provider("odd", Odd)
register_llm_provider("broken", Broken)
