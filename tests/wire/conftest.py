"""OpenAI's own client, unchanged, pointed at Polyforge."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from openai import AsyncOpenAI, DefaultHttpxClient, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.support.server import Key, Polyforge

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello."}]


class Counted:
    """A client, and every HTTP request that it made."""

    def __init__(self, url: str, key: str, max_retries: int) -> None:
        self.requests: list[object] = []
        http = DefaultHttpxClient(event_hooks={"request": [self.requests.append]})
        self.client = OpenAI(base_url=url, api_key=key, max_retries=max_retries, http_client=http)


@pytest.fixture
def key(house: Polyforge) -> Key:
    """A key without limits."""
    return house.create_key()


@pytest.fixture
def client(house: Polyforge, key: Key) -> Iterator[OpenAI]:
    """The client without retries, so that each call is one request."""
    with OpenAI(base_url=f"{house.url}/v1", api_key=key.key, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(house: Polyforge, key: Key) -> AsyncIterator[AsyncOpenAI]:
    """The asynchronous client, without retries."""
    async with AsyncOpenAI(base_url=f"{house.url}/v1", api_key=key.key, max_retries=0) as client:
        yield client


@pytest.fixture
def counted(house: Polyforge) -> Iterator[Callable[..., Counted]]:
    """Makes clients with the usual two retries that write down their requests."""
    made: list[Counted] = []

    def make(key: Key, max_retries: int = 2) -> Counted:
        made.append(Counted(f"{house.url}/v1", key.key, max_retries))
        return made[-1]

    yield make
    for one in made:
        one.client.close()
