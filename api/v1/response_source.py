"""What a request to `/v1/responses` refers to: responses of before, and items of theirs.

Whoever may read a response may refer to it. A user's own things are all that there is for a key that is bound to one;
any other caller is trusted to say for whom it acts, and need not say it again where the response tells.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from fastapi.exceptions import RequestValidationError

from api.v1.bodies import EMPTY, says_nothing
from api.v1.errors import wrong_parameter
from api.v1.identity import ANYBODY, Identity, Sender
from api.v1.response_body import ResponseBody
from api.v1.response_items import Item, referenced, spoken
from api.v1.response_object import interaction_of_item, interaction_of_response, output_of
from core.orchestrator.errors import UnknownResourceError
from core.orchestrator.interactions.reader import InteractionReader
from core.orchestrator.interactions.said import Said

_REASONING = "rs_"


def not_followed(name: str | None) -> RequestValidationError:
    """Return the error of a request that follows no response that could be followed."""
    return wrong_parameter("previous_response_id", f"there is no response '{name}'", "previous_response_not_found")


class Source:
    """Where a request finds what it refers to."""

    def __init__(self, store: InteractionReader, sender: Sender, body: ResponseBody) -> None:
        """Read from `store` what `body`, sent by `sender`, refers to."""
        self._store = store
        self._sender = sender
        self._body = body

    async def read(self) -> tuple[Identity, Said]:
        """Return who asks, and what is said.

        Raises:
            RequestValidationError: the request cannot be what it is.
            UnknownResourceError: there is no item of an id.
        """
        identity = self._sender.identify(self._body)
        parameters = self._body.parameters()
        answers = None
        if self._body.previous_response_id is not None:
            answers, owner = await self._answered(self._body.previous_response_id, identity)
            identity = replace(identity, user_id=owner)
        found = await self._items(identity)
        said = spoken(self._body.input, found.__getitem__)
        instructions = said.instructions
        if self._body.instructions:
            instructions = [{"role": "system", "content": self._body.instructions}, *instructions]
        if not said.messages or said.messages[-1]["role"] == "assistant":
            raise wrong_parameter("input", "the last item must be the user's, or the result of a function")
        if said.messages[-1]["role"] == "user" and says_nothing(said.messages[-1]):
            raise wrong_parameter("input", EMPTY)
        return identity, Said(
            messages=said.messages,
            instructions=instructions,
            parameters=parameters,
            echo=self._body.echo,
            answers=answers,
        )

    async def _answered(self, name: str, identity: Identity) -> tuple[str, str]:
        """Return the interaction that is followed, and whose it is."""
        try:
            interaction_id = interaction_of_response(name)
            return interaction_id, await self._owner(interaction_id, identity)
        except UnknownResourceError:
            raise not_followed(name) from None

    async def _items(self, identity: Identity) -> Mapping[str, Item | None]:
        """Return what the ids stand for that are named; None: what a model thought, which nobody keeps."""
        found: dict[str, Item | None] = {}
        for name in referenced(self._body.input):
            if name.startswith(_REASONING):
                found[name] = None
            elif name not in found:
                found[name] = await self._item(name, identity)
        return found

    async def _item(self, name: str, identity: Identity) -> Item:
        interaction_id = interaction_of_item(name)
        with suppress(UnknownResourceError):
            await self._owner(interaction_id, identity)
            for item in output_of(await self._store.view(interaction_id)):
                if item["id"] == name:
                    return item
        raise UnknownResourceError("item", name)

    async def _owner(self, interaction_id: str, identity: Identity) -> str:
        owner = await self._store.owner(interaction_id)
        nobody_is_named = self._sender.user is None and identity.user_id == ANYBODY
        if owner != identity.user_id and not nobody_is_named:
            raise UnknownResourceError("response", interaction_id)
        return owner
