"""Embeddings of upstreams that answer as OpenAI does."""

from polyforge.dialects import openai_embeddings
from polyforge.kernel.errors import UpstreamFailed
from polyforge.ports.provider import Reply


def read_vectors(body: bytes) -> Reply:
    """The answer, as it is to be passed on; UpstreamFailed when it is none."""
    try:
        return Reply(usage=openai_embeddings.read_usage(body), body=body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream's answer is not what was asked for") from error
