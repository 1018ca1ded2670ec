"""Who calls, and what that caller may do: the only place that compares users.

A key that is bound to a user is that user's: no other user's things exist for it. One that is bound to nobody is a
trusted back end's, which says for whom it acts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import overload

from core.orchestrator.errors import NotAllowedError, SessionOwnershipError, UnknownResourceError


class Scope(StrEnum):
    """What a key may be good for."""

    INTERACT = "interact"
    """Sending messages, cancelling them, erasing sessions."""
    READ = "read"
    """Reading what was said and what it took, and who and what can be talked to."""
    ADMIN = "admin"
    """Everything, for every user; a key with it is bound to nobody."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request."""

    scopes: frozenset[Scope]
    key_name: str | None = None
    """Of the key it came with; None where keys are not asked for."""
    user: str | None = None
    """The user the key is bound to; None: nobody, the caller says for whom it acts."""

    def may(self, scope: Scope) -> bool:
        """Return whether the caller may do what takes `scope`."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def demand(self, scope: Scope) -> None:
        """Return if the caller may do what takes `scope`.

        Raises:
            NotAllowedError: it may not.
        """
        if not self.may(scope):
            raise NotAllowedError(f"this takes a key with the scope '{scope}'")

    @overload
    def named(self, user_id: str) -> str: ...

    @overload
    def named(self, user_id: str | None) -> str | None: ...

    def named(self, user_id: str | None) -> str | None:
        """Return whom a request is for: the user of the key, else the one that it names, if any.

        Raises:
            NotAllowedError: it names another user than the key's.
        """
        if self.user is None:
            return user_id
        if user_id not in (None, self.user):
            raise NotAllowedError("the key is bound to another user")
        return self.user

    def reporting_on(self, user_id: str | None) -> str | None:
        """Return whose numbers may be summed, None: everybody's, where a request names a user or none.

        Raises:
            NotAllowedError: not those.
        """
        user = self.named(user_id)
        if user is None:
            self.demand(Scope.ADMIN)
        return user

    def check_may_erase(self, user_id: str) -> None:
        """Return if the caller may erase all that is known of a user.

        Raises:
            NotAllowedError: it is neither that user nor one who may do everything.
        """
        if self.named(user_id) != self.user:
            self.demand(Scope.ADMIN)

    def check_owner(self, owner: str, kind: str, name: str) -> None:
        """Return if the caller may know of a thing of `owner`.

        Raises:
            UnknownResourceError: as far as the caller may know, there is none.
        """
        if self.user not in (None, owner):
            raise UnknownResourceError(kind, name)

    @contextmanager
    def seeing_own(self, session_id: str) -> Iterator[None]:
        """Let the block find another user's session no more than one that nobody has, if the key is bound to a user.

        Raises:
            UnknownResourceError: in place of the error that tells of another owner.
        """
        try:
            yield
        except SessionOwnershipError:
            if self.user is None:
                raise
            raise UnknownResourceError("session", session_id) from None


EVERYBODY = Caller(frozenset({Scope.ADMIN}))
"""Any caller of a service that asks for no keys: it is reached from its own machine alone, or was told otherwise."""
