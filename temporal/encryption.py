"""Encrypted payloads: what a history holds can be read by those who have the key, and by nobody else.

Each payload is sealed as a whole, with what it says of itself: AES-256-GCM under the first key, a nonce of its own, and
the id of the key bound to it. Every key opens what it sealed, so that histories outlive a rotation; what was written
before encryption was switched on is left as it is.

Nonces are random, which is safe for about 2³² payloads under one key: an interaction writes some twenty.
"""

import os
from base64 import b64decode
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec
from typing_extensions import override

from core.orchestrator.errors import OrchestratorError

ENCODING = b"binary/encrypted"
KEY_ID = "encryption-key-id"
UNREADABLE = "unreadable"
"""Beside a payload that could not be decrypted: why."""
_NONCE_BYTES = 12


class UnreadablePayloadError(OrchestratorError):
    """A payload cannot be decrypted; the message names the key it needs.

    Temporal fails the workflow task that needs it, not the workflow, and repeats the task until a worker has the key.
    """


class PayloadEncryption(PayloadCodec):
    """Encrypts and decrypts payloads, for clients, workers, replays and the codec endpoint alike."""

    def __init__(self, keys: Mapping[str, SecretStr]) -> None:
        """Take keys by their ids, 32 bytes in base64 each; there must be one, and the first encrypts."""
        self._ciphers = {name: AESGCM(b64decode(key.get_secret_value())) for name, key in keys.items()}
        self._first = next(iter(self._ciphers))

    @override
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt with the first key."""
        return [self._encrypt(payload) for payload in payloads]

    @override
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt what is encrypted, and return the rest as it is.

        Raises:
            UnreadablePayloadError: a key is not known, or a payload is not what was encrypted.
        """
        return [self._decrypt(payload) for payload in payloads]

    def _encrypt(self, payload: Payload) -> Payload:
        nonce = os.urandom(_NONCE_BYTES)
        key_id = self._first.encode()
        sealed = self._ciphers[self._first].encrypt(nonce, payload.SerializeToString(), key_id)
        return Payload(metadata={"encoding": ENCODING, KEY_ID: key_id}, data=nonce + sealed)

    def _decrypt(self, payload: Payload) -> Payload:
        if not is_encrypted(payload):
            return payload
        name = key_id_of(payload)
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise UnreadablePayloadError(
                f"a payload is encrypted with the key '{name}', which PAYLOAD_ENCRYPTION_KEYS does not name"
            )
        try:
            opened = cipher.decrypt(payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:], payload.metadata[KEY_ID])
            return Payload.FromString(opened)
        except (InvalidTag, ValueError, DecodeError):  # ValueError: too short for a nonce
            raise UnreadablePayloadError(
                f"a payload is not what was encrypted with the key '{name}': it was changed, or the key is another one"
            ) from None


class DecryptionWhereNeeded(PayloadEncryption):
    """Leaves what cannot be decrypted to whoever needs it.

    A workflow is given everything that has happened to it at once: a signal that nobody can read would else keep it
    from hearing of anything, a cancellation included.
    """

    @override
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt what can be decrypted; beside the rest stands why not."""
        return [self._decrypted_or_marked(payload) for payload in payloads]

    def _decrypted_or_marked(self, payload: Payload) -> Payload:
        try:
            return self._decrypt(payload)
        except UnreadablePayloadError as error:
            marked = Payload()
            marked.CopyFrom(payload)
            marked.metadata[UNREADABLE] = str(error).encode()
            return marked


def is_encrypted(payload: Payload) -> bool:
    """Whether we encrypted it: others may use the same encoding, with other names in their metadata."""
    return payload.metadata.get("encoding") == ENCODING and KEY_ID in payload.metadata


def key_id_of(payload: Payload) -> str:
    """Return which key a payload says it is encrypted with, fit to be shown."""
    return payload.metadata[KEY_ID].decode(errors="replace")
