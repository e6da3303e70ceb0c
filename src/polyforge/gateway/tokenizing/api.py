"""The route of counting tokens."""

from typing import Annotated

from fastapi import APIRouter, Depends

from polyforge.gateway.tokenizing.schemas import TokenizeAnswer, TokenizeRequest
from polyforge.gateway.tokenizing.service import TokenizingService
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission
from polyforge.tokens.count import Count

User = Annotated[Caller, Depends(Permission("inference"))]


def router(tokenizing: TokenizingService) -> APIRouter:
    """The route under /api/v1 that counts."""
    routes = APIRouter(prefix="/api/v1", tags=["tokens"])

    @routes.post("/tokenize")
    async def count_tokens(caller: User, asked: TokenizeRequest) -> TokenizeAnswer:
        """Count the tokens of a text, a conversation or inputs of an embedding, without asking a provider."""
        counted = await _count(tokenizing, caller, asked)
        ids = None
        if asked.with_tokens and asked.text is not None:
            ids = await tokenizing.encode(caller, asked.model, asked.text)
        return TokenizeAnswer(
            tokens=counted.tokens,
            exact=counted.exact,
            low=counted.low,
            high=counted.high,
            tokenizer=counted.tokenizer,
            ids=ids,
        )

    return routes


async def _count(tokenizing: TokenizingService, caller: Caller, asked: TokenizeRequest) -> Count:
    if asked.messages is not None:
        return await tokenizing.count_chat(caller, asked.model, asked.messages, asked.tools)
    content = asked.input if asked.text is None else asked.text
    texts = content if isinstance(content, list) else [content or ""]
    return await tokenizing.count_texts(caller, asked.model, texts)
