"""Where a turn goes that comes by way of OpenAI's APIs, whose clients often send the whole conversation with it.

What a client has is compared with what is stored, message by message, while the session that its conversation began
with is held: of two requests that come at once, one sees what the other has done. What the client has beyond that is
brought in as it says it. What it has otherwise begins a branch; the one that it leaves stays as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, update

from core.orchestrator.calls.cancelling import Cancelling
from core.orchestrator.contracts import InteractionRequest, Message
from core.orchestrator.errors import SessionBusyError, UnknownResourceError
from core.orchestrator.interactions.adopting import turn_to_follow
from core.orchestrator.interactions.branches import begin_branch, go_on, hold_branches, hold_session
from core.orchestrator.interactions.inputs import read_input
from core.orchestrator.interactions.opening import Opened, Opening
from core.orchestrator.interactions.places import Place, check_open_to, displace, make_way, open_turns_before
from core.orchestrator.interactions.reader import find_held_row, read_request
from core.orchestrator.interactions.repetition import opened_again
from core.orchestrator.interactions.said import Said
from core.orchestrator.interactions.walking import walk, walk_along_end, walk_along_unanswered
from core.orchestrator.memory.exchanges import Exchange, ask_the_same, exchanges_of
from core.orchestrator.memory.matching import Walk
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.tables import sessions
from core.orchestrator.storage.upserts import insert_if_absent


async def find_place(
    connection: Connection, request: InteractionRequest, opening: Opening, said: Said, now: datetime
) -> Place | Opened | None:
    """Return the place of a turn, or the open one that asks the same; None: there is no conversation to have one in.

    A turn that says which interaction it follows belongs to the conversation of that one, whatever else it names.

    Raises:
        UnknownResourceError: the user has no interaction like the one that the turn is to follow.
        SessionOwnershipError: the session belongs to another user.
        SessionErasingError: the session is being erased.
        SessionBusyError: an earlier turn has to end first.
    """
    turn = _Turn(connection, request, opening, said, now)
    if said.answers is not None:
        return await turn.after(said.answers)
    if request.session_id is not None:
        return await turn.within(request.session_id)
    return None


@dataclass(frozen=True, slots=True)
class _Compared:
    """How what a client has compares with a branch."""

    session: Row[Any]
    walk: Walk
    twin: Row[Any] | None
    """The turn that follows all that the client has, where it has not ended and asks the same."""

    @property
    def closeness(self) -> tuple[int, bool, bool]:
        """The larger, the more the branch is what the client means."""
        return self.walk.matched, self.twin is not None, self.walk.reaches_end

    @property
    def settles_it(self) -> bool:
        """Whether no other branch can be closer."""
        reaches_end = self.walk.reaches_end and not self.walk.ends_unanswered
        return self.walk.has_all and (self.twin is not None or reaches_end)

    def is_asked_first(self, new: Sequence[Message]) -> bool:
        """Return whether the branch begins with what is new."""
        first = self.walk.blocked_by
        return self.walk.matched == 0 and first is not None and ask_the_same(first.asked, new)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A turn that wants a place."""

    connection: Connection
    request: InteractionRequest
    opening: Opening
    said: Said
    now: datetime

    async def after(self, answered: str) -> Place:
        """Return the place right after an interaction: in its session, or in a branch if something else follows it."""
        session_id, turn = await turn_to_follow(self.connection, answered, self.request.user_id, self.now)
        session = await hold_session(self.connection, session_id)
        if session is None:  # it was erased in the meantime
            raise UnknownResourceError("response", answered)
        check_open_to(session, self.request.user_id)
        walked = await walk(self.connection, session_id, exchanges_of(self.said.earlier), self.said.new, turn)
        if walked.reaches_end:
            return await self._append(session, walked)
        unended = await open_turns_before(self.connection, session_id, walked.common_turn + 1)
        if unended:  # nobody knows yet what a branch would have in common with it
            raise SessionBusyError(session_id, unended[0])
        return await self._fork(session, walked)

    async def within(self, session_id: str) -> Place | Opened:
        """Return the place in a conversation, which may be a new one."""
        earlier = exchanges_of(self.said.earlier)
        resends = bool(self.said.resends)
        new = {"session_id": session_id, "user_id": self.request.user_id, "created_at": self.now, "resends": resends}
        while (session := await hold_session(self.connection, session_id)) is None:
            if await insert_if_absent(self.connection, sessions, new | {"turns": len(earlier) + 1}):
                return Place(session_id, len(earlier) + 1, brought=earlier)  # else somebody else was faster
        check_open_to(session, self.request.user_id)
        if self.said.resends is None and (earlier or session.resends):
            resends = True
        return await (self._where_it_fits(session, earlier) if resends else self._at_end(session, earlier))

    async def _where_it_fits(self, session: Row[Any], earlier: Sequence[Exchange]) -> Place | Opened:
        """Return the place in the branch that is closest to what the client has, or in a new one."""
        compared: list[_Compared] = []
        branches = await hold_branches(self.connection, session)
        for branch in branches:
            walked = await walk(self.connection, branch.session_id, earlier, self.said.new)
            compared.append(await self._compared(branch, walked))
            if compared[-1].settles_it:
                break
        best = max(compared, key=lambda one: one.closeness)  # of equals the first: the one that was asked for
        if best.twin is None and not best.walk.reaches_end and best.walk.matched == 0:
            if earlier:
                best = await self._with_the_same_end(branches, earlier) or best
            elif self.said.resends is None and not any(one.is_asked_first(self.said.new) for one in compared):
                return await self._at_end(session, earlier)
        if best.twin is not None:
            return await opened_again(self.connection, best.twin, self.now)
        if best.walk.reaches_end:
            return await self._append(best.session, best.walk)
        return await self._fork(best.session, best.walk)

    async def _with_the_same_end(self, branches: Sequence[Row[Any]], earlier: Sequence[Exchange]) -> _Compared | None:
        """Return the branch whose end is all that the client has: it keeps only so much."""
        for branch in branches:
            walked = await walk_along_end(self.connection, branch, earlier, self.said.new)
            found = walked and await self._compared(branch, walked)
            if found and (found.twin is not None or found.walk.reaches_end):
                return found
        return None

    async def _compared(self, branch: Row[Any], walked: Walk) -> _Compared:
        following, twin = walked.blocked_by, None
        if walked.has_all and following is not None and following.asks(walked.new):
            twin = await find_held_row(self.connection, following.interaction_id)
        is_same = twin is not None and self._may_be_same(twin) and await self._wishes_the_same(twin)
        return _Compared(branch, walked, twin if is_same else None)

    async def _at_end(self, session: Row[Any], earlier: Sequence[Exchange]) -> Place | Opened:
        """Return the place of a turn whose client sends only what is new."""
        walked, last = await walk_along_unanswered(self.connection, session, earlier, self.said.new)
        fingerprint = self.opening.fingerprint
        if fingerprint is not None and last is not None and last.is_open and not last.is_cut:
            twin = await find_held_row(self.connection, last.interaction_id)
            if twin is not None and twin.fingerprint == fingerprint and self._may_be_same(twin):
                return await opened_again(self.connection, twin, self.now)
        return await self._append(session, walked)

    def _may_be_same(self, row: Row[Any]) -> bool:
        """Tell whether a turn with the same messages is no other: two models may be asked the same side by side."""
        if row.idempotency_key is not None and self.opening.key is not None:
            return False  # its client tells one from the other
        asked = read_request(row)
        return isinstance(asked, InteractionRequest) and _model_of(asked) == _model_of(self.request)

    async def _wishes_the_same(self, row: Row[Any]) -> bool:
        """Tell whether a turn is to be answered in the same manner."""
        said = await read_input(self.connection, row.interaction_id)
        manner = (list(said.instructions), dict(said.parameters)) if said else ([], {})
        return manner == (list(self.said.instructions), dict(self.said.parameters))

    async def _append(self, session: Row[Any], walked: Walk) -> Place:
        """Go on at the end of a session, with what the client has beyond it."""
        displaced = await make_way(self.connection, session.session_id, self.opening.strategy)
        interrupted = [turn.interaction_id for turn in walked.interrupted]
        displaced += await displace(self.connection, interrupted, Cancelling.CANCEL)
        await go_on(self.connection, session, walked)
        turn = session.turns + len(walked.left) + 1
        this = sessions.c.session_id == session.session_id
        values = {"turns": turn, "resends": self._resends(session, walked)}
        await self.connection.execute(update(sessions).where(this).values(values))
        return Place(session.session_id, turn, displaced, walked.left, walked.new)

    async def _fork(self, session: Row[Any], walked: Walk) -> Place:
        """Go on in a branch of its own, with what the client has beyond what the two have in common."""
        brought = walked.left_after_common
        turn = walked.common_turn + len(brought) + 1
        resends = self._resends(session, walked)
        branch_id = await begin_branch(self.connection, session, walked, turn, self.now, resends=resends)
        return Place(branch_id, turn, brought=brought, asked=walked.new)

    def _resends(self, session: Row[Any], walked: Walk) -> bool:
        return session.resends or walked.repeats or bool(self.said.resends)


def _model_of(request: InteractionRequest) -> tuple[object, ...]:
    return request.persona_id, request.model, request.temperature, request.max_tokens
