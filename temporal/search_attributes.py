"""The search attributes of our workflows: what `temporal workflow list --query` can ask for.

One list serves the workflows that set them, the API that sets the first three at the start, and the set-up of a
cluster that must know them beforehand.
"""

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.common import SearchAttributeKey

PERSONA_ID = SearchAttributeKey.for_keyword("PersonaId")
USER_ID = SearchAttributeKey.for_keyword("UserId")
SESSION_ID = SearchAttributeKey.for_keyword("SessionId")
MODEL = SearchAttributeKey.for_keyword("Model")
"""The model that answered."""
OUTCOME = SearchAttributeKey.for_keyword("Outcome")
"""`completed`, `incomplete`, `failed` or `cancelled`; of a `reconciliation`: `settled`, or `unknown` where the
cost of a call stays so."""
FALLBACKS = SearchAttributeKey.for_int("Fallbacks")
"""How many models the interaction came to after its first one, those passed over because they kept failing included:
above 0, the reply came from a fallback, if one came at all."""
ERROR_TYPES = SearchAttributeKey.for_keyword_list("ErrorTypes")
"""What calls to models failed with, each kind once, and what those passed over kept failing with; absent where nothing
failed."""

SEARCH_ATTRIBUTES: dict[str, IndexedValueType.ValueType] = {
    PERSONA_ID.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    USER_ID.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    SESSION_ID.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    MODEL.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    OUTCOME.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    FALLBACKS.name: IndexedValueType.INDEXED_VALUE_TYPE_INT,
    ERROR_TYPES.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}
