"""API keys: how one is made, what a service keeps of it, and how the one that a caller sent is found.

A service keeps the SHA-256 of a key, never the key. No slow hash: those make up for passwords that can be guessed, and
nobody guesses 256 random bits, however fast; a slow one would only let strangers keep the service busy. So that this
holds, no other secret than a key made here is ever accepted.
"""

import hmac
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self
from urllib.parse import quote, unquote_to_bytes

from core.orchestrator.access.caller import Caller, Scope
from core.orchestrator.errors import ConfigurationError

_PREFIX = "ork_"
"""Tells a person, or a scanner for leaked secrets, what this is."""
_KEY = re.compile(_PREFIX + r"[A-Za-z0-9_-]{43}")
_HASH = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
"""Too short for a key or a hash: a name can be quoted."""
_MAX_USER_CHARACTERS = 128
_FIELDS = ("name", "scopes", "user", "sha256")
_FORM = "name=NAME:scopes=SCOPES:user=USER:sha256=HASH, where user may be missing"


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What a service keeps of a key: an entry of API_KEYS."""

    name: str
    """For people, logs and limits."""
    scopes: frozenset[Scope]
    digest: str
    """The SHA-256 of the key, in hexadecimal digits."""
    user: str | None = None
    """The user it is bound to."""

    def __post_init__(self) -> None:
        """Refuse what makes no key.

        Raises:
            ConfigurationError: something is wrong with a part; no key or hash is quoted.
        """
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError("its name must be 1 to 40 letters, digits, '.', '_' or '-', no mark first")
        if not self.scopes:
            raise ConfigurationError(f"its scopes must be some of {', '.join(Scope)}")
        if not _HASH.fullmatch(self.digest):
            raise ConfigurationError("its sha256 must be 64 hexadecimal digits in lower case")
        if self.user is None:
            return
        if not 1 <= len(self.user) <= _MAX_USER_CHARACTERS or "\0" in self.user:
            raise ConfigurationError(f"its user must have 1 to {_MAX_USER_CHARACTERS} characters, none of them NUL")
        if Scope.ADMIN in self.scopes:
            raise ConfigurationError("one with the scope admin cannot be bound to a user")

    @property
    def caller(self) -> Caller:
        """Whoever sends the key."""
        return Caller(self.scopes, self.name, self.user)

    def __str__(self) -> str:
        """Return the entry as it stands in API_KEYS: nothing in it means anything to a shell or a `.env` file."""
        parts = {"name": self.name, "scopes": "+".join(scope for scope in Scope if scope in self.scopes)}
        if self.user is not None:
            parts["user"] = quote(self.user, safe="").replace("~", "%7E")  # a shell takes it for a home after a colon
        return ":".join(f"{field}={value}" for field, value in {**parts, "sha256": self.digest}.items())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote.

        Raises:
            ConfigurationError: it is no entry; the message says what is wrong and quotes no key and no hash.
        """
        if _KEY.fullmatch(text):
            raise ConfigurationError("this is a key; what belongs here is the entry that was printed with it")
        pairs = [part.partition("=")[::2] for part in text.split(":")]
        fields = dict(pairs)
        named = [field for field in _FIELDS if field in fields]
        if [field for field, _ in pairs] != named or set(_FIELDS) - set(named) > {"user"}:
            raise ConfigurationError(f"an entry looks like {_FORM}")
        return cls(fields["name"], read_scopes(fields["scopes"], "+"), fields["sha256"], _read_user(fields.get("user")))


def read_scopes(text: str, separator: str) -> frozenset[Scope]:
    """Read the names of scopes.

    Raises:
        ConfigurationError: one of them is no scope's.
    """
    try:
        return frozenset(Scope(name.strip()) for name in text.split(separator))
    except ValueError:
        raise ConfigurationError(f"its scopes must be some of {', '.join(Scope)}") from None


def _read_user(written: str | None) -> str | None:
    try:
        return None if written is None else unquote_to_bytes(written).decode()
    except UnicodeDecodeError:
        raise ConfigurationError("its user is not UTF-8") from None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made, and what a service is to keep of it."""

    key: str
    entry: KeyEntry


def create_key(name: str, scopes: frozenset[Scope], user: str | None = None) -> NewKey:
    """Make a key out of 256 random bits.

    Raises:
        ConfigurationError: the name or the user is impossible, or the scopes do not go with a user.
    """
    key = _PREFIX + secrets.token_urlsafe(32)
    return NewKey(key, KeyEntry(name, scopes, _digest(key), user))


class KeyRing:
    """The keys that a service accepts."""

    def __init__(self, entries: Sequence[KeyEntry] = ()) -> None:
        """Accept the keys of these entries; without any, no key is asked for."""
        self._entries = tuple(entries)

    @classmethod
    def parse(cls, entries: Sequence[str]) -> Self:
        """Read API_KEYS.

        Raises:
            ConfigurationError: an entry is wrong, or says what another has said.
        """
        found: list[KeyEntry] = []
        for number, text in enumerate(entries, 1):
            try:
                entry = KeyEntry.parse(text)
                for place, earlier in enumerate(found, 1):
                    if entry.name == earlier.name:
                        raise ConfigurationError(f"entry {place} has the name {entry.name}, too")  # noqa: TRY301
                    if entry.digest == earlier.digest:
                        raise ConfigurationError(f"entry {place} ({earlier.name}) is of the same key")  # noqa: TRY301
            except ConfigurationError as error:
                raise ConfigurationError(f"API_KEYS: entry {number}: {error}") from None
            found.append(entry)
        return cls(found)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __iter__(self) -> Iterator[KeyEntry]:
        return iter(self._entries)

    def caller(self, key: str) -> Caller | None:
        """Return who sent a key; None: nobody we know.

        Takes the same time whichever key it is, or whether it is any: all are compared, to the last digit.
        """
        digest = _digest(key)
        found = None
        for entry in self._entries:
            if hmac.compare_digest(entry.digest, digest):
                found = entry.caller
        return found if _KEY.fullmatch(key) else None


def _digest(key: str) -> str:
    return sha256(key.encode(errors="replace")).hexdigest()
