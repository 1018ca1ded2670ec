"""How payloads are written: as JSON by their models, without the fields that say nothing.

Every field of ours that may be null is null by default, so what is left out reads back the same. Histories stay
small and legible, and a field added to a model costs nothing where it is not used. Where keys are set, what is written
is then encrypted as a whole: see `temporal.encryption`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn, Self

from pydantic import SecretStr
from pydantic_core import to_json
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter, pydantic_data_converter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
    SerializationContext,
)
from typing_extensions import override

from temporal.encryption import (
    ENCODING,
    UNREADABLE,
    DecryptionWhereNeeded,
    UnreadablePayloadError,
    is_encrypted,
    key_id_of,
)


class _WithoutNulls(PydanticJSONPlainPayloadConverter):
    @override
    def to_payload(self, value: Any) -> Payload:
        # Fields of models only: a null inside a client's own `context` is the client's.
        return Payload(metadata={"encoding": self.encoding.encode()}, data=to_json(value, exclude_none=True))


class _StillEncrypted(EncodingPayloadConverter):
    """Says what is amiss where somebody needs a payload that is still encrypted."""

    @property
    @override
    def encoding(self) -> str:
        return ENCODING.decode()

    @override
    def to_payload(self, value: Any) -> None:
        return None

    @override
    def from_payload(self, payload: Payload, type_hint: type | None = None) -> NoReturn:
        if reason := payload.metadata.get(UNREADABLE):
            raise UnreadablePayloadError(reason.decode())
        key = f"the key '{key_id_of(payload)}'" if is_encrypted(payload) else "a key that is none of ours"
        raise UnreadablePayloadError(f"a payload is encrypted with {key}, and PAYLOAD_ENCRYPTION_KEYS is not set")


_CONVERTERS = [
    *(
        _WithoutNulls() if isinstance(converter, JSONPlainPayloadConverter) else converter
        for converter in DefaultPayloadConverter.default_encoding_payload_converters
    ),
    _StillEncrypted(),
]
"""None of them knows where a payload belongs, so all may share them: a worker makes ten converters for each run."""


class _Converter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(*_CONVERTERS)

    @override
    def with_context(self, context: SerializationContext) -> Self:
        return self


DATA_CONVERTER = replace(pydantic_data_converter, payload_converter_class=_Converter)
"""Without encryption."""


def data_converter(encryption_keys: Mapping[str, SecretStr]) -> DataConverter:
    """Return how payloads are written and read, by clients, workers and the replayer alike.

    With keys they are encrypted, and so are the messages and stack traces of failures.
    """
    if not encryption_keys:
        return DATA_CONVERTER
    return replace(
        DATA_CONVERTER,
        payload_codec=DecryptionWhereNeeded(encryption_keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
