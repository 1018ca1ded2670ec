"""Formatters of other people: the one that the documentation prints, and a finished one."""

from core.orchestrator.extensions import ConversationFormatter, PersonaConfig, register_formatter


class SpecializedFormatter(ConversationFormatter):
    @staticmethod
    def create_system_message(persona: PersonaConfig) -> dict[str, str]:
        # Custom system message implementation
        pass


class FinishedFormatter(ConversationFormatter):
    @staticmethod
    def create_system_message(persona: PersonaConfig) -> dict[str, str]:
        return {"role": "system", "content": f"You are {persona.name}, as the finished formatter has it."}


register_formatter("specialized", SpecializedFormatter)
register_formatter("finished", FinishedFormatter)
