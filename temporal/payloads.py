"""How payloads are written: as JSON by their models, without the fields that say nothing.

Every field of ours that may be null is null by default, so what is left out reads back the same. Histories stay
small and legible, and a field added to a model costs nothing where it is not used.
"""

from dataclasses import replace
from typing import Any

from pydantic_core import to_json
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter, pydantic_data_converter
from temporalio.converter import (
    CompositePayloadConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
)
from typing_extensions import override


class _WithoutNulls(PydanticJSONPlainPayloadConverter):
    @override
    def to_payload(self, value: Any) -> Payload:
        # Fields of models only: a null inside a client's own `context` is the client's.
        return Payload(metadata={"encoding": self.encoding.encode()}, data=to_json(value, exclude_none=True))


class _Converter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(
            *(
                _WithoutNulls() if isinstance(converter, JSONPlainPayloadConverter) else converter
                for converter in DefaultPayloadConverter.default_encoding_payload_converters
            )
        )


DATA_CONVERTER = replace(pydantic_data_converter, payload_converter_class=_Converter)
"""Used by clients, workers and the replayer alike: a history can only be read as it was written."""
