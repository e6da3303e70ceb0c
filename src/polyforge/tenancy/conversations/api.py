"""Routes of saved conversations."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from polyforge.kernel.clock import utc
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.conversations.records import Conversation
from polyforge.tenancy.conversations.schemas import (
    ConversationChange,
    ConversationPage,
    ConversationSummary,
    ConversationView,
    NewConversation,
    OwnerView,
    Whose,
)
from polyforge.tenancy.conversations.service import ConversationService
from polyforge.tenancy.permission import Permission
from polyforge.tenancy.schemas import MAX_PAGE

User = Annotated[Caller, Depends(Permission("inference"))]


def router(conversations: ConversationService) -> APIRouter:
    """The routes under /api/v1/conversations."""
    routes = APIRouter(prefix="/api/v1/conversations", tags=["conversations"])

    @routes.post("", status_code=201)
    async def create_conversation(caller: User, body: NewConversation) -> ConversationSummary:
        """Save a conversation of the playground, for yourself or for all of the project."""
        made = await conversations.create(caller, body.title, body.content, shared=body.shared)
        return ConversationSummary(**_fields(made, caller, await conversations.names([made])))

    @routes.get("")
    async def list_conversations(
        caller: User,
        whose: Annotated[Whose, Query(description="Your own, or all that are shared in the project.")] = "mine",
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        cursor: Annotated[str | None, Query(max_length=60)] = None,
    ) -> ConversationPage:
        """Saved conversations, the latest changed first."""
        found, following = await conversations.page(caller, limit, cursor, shared=whose == "shared")
        names = await conversations.names(found)
        data = [ConversationSummary(**_fields(each, caller, names)) for each in found]
        return ConversationPage(data=data, next_cursor=following)

    @routes.get("/{conversation_id}")
    async def get_conversation(caller: User, conversation_id: str) -> ConversationView:
        """One conversation, your own or a shared one, with its content."""
        whole = await conversations.get(caller, conversation_id)
        names = await conversations.names([whole.conversation])
        return ConversationView(**_fields(whole.conversation, caller, names), content=whole.content)

    @routes.patch("/{conversation_id}")
    async def change_conversation(caller: User, conversation_id: str, body: ConversationChange) -> ConversationSummary:
        """Change one of your own; 409 when it was changed since the version that you have seen."""
        changes = body.model_dump(exclude_unset=True, exclude={"version"})
        changed = await conversations.change(caller, conversation_id, body.version, changes)
        return ConversationSummary(**_fields(changed, caller, await conversations.names([changed])))

    @routes.delete("/{conversation_id}", status_code=204)
    async def remove_conversation(caller: User, conversation_id: str) -> Response:
        """Delete one of your own."""
        await conversations.remove(caller, conversation_id)
        return Response(status_code=204)

    return routes


def _fields(conversation: Conversation, caller: Caller, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "title": conversation.title,
        "shared": conversation.shared,
        "own": conversation.owner_id == caller.key_id,
        "owner": OwnerView(id=conversation.owner_id, name=names.get(conversation.owner_id)),
        "version": conversation.version,
        "bytes": conversation.size,
        "created_at": utc(conversation.created_at),
        "updated_at": utc(conversation.updated_at),
    }
