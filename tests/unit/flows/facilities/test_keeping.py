"""What flows keep and hand on, and whom they write to."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest
from msgspec.structs import replace

from polyforge.adapters.objects.memory import MemoryObjects, Settings
from polyforge.egress.guarding import Guard
from polyforge.flows.facilities.code import PythonCode
from polyforge.flows.facilities.messages import FlowMessages
from polyforge.flows.facilities.objects import FlowObjects
from polyforge.flows.facilities.settings import CodeLimits
from polyforge.flows.running.contract import SandboxLimits
from polyforge.flows.running.turns import working_time
from polyforge.kernel.clock import SystemClock
from polyforge.kernel.errors import Denied, Invalid, NotConfigured, NotFound, UpstreamFailed, UpstreamRefused
from polyforge.ports.notifier import Notice
from polyforge.tenancy.callers import Caller
from tests.support.node_calls import ME
from tests.support.waiting import eventually_async

STRANGER = replace(ME, project_id="p2")


@pytest.fixture
async def store(tmp_path: Any) -> MemoryObjects:
    return MemoryObjects(Settings(), tmp_path)


async def test_objects_are_what_they_are_and_the_projects_own(store: MemoryObjects) -> None:
    objects = FlowObjects(store, cast("Any", None), SystemClock())
    one = await objects.put(ME, b"abc", "text/plain")
    assert one == await objects.put(ME, b"abc", "text/plain")
    assert await objects.get(ME, one) == b"abc"
    assert await objects.get(ME, {"$ref": f"object:{one['$object']}"}) == b"abc"
    with pytest.raises(NotFound):
        await objects.get(STRANGER, one)
    for odd in ({}, {"$object": "../p2/flow-objects/x"}, {"$object": 1}, {"$ref": "model:x"}, "text", None):
        with pytest.raises(Invalid):
            await objects.get(ME, cast("Any", odd))


async def test_code_is_off_unless_the_operator_says_otherwise() -> None:
    limits = SandboxLimits(64 << 20, 10.0, 1_000)
    with pytest.raises(NotConfigured, match="code in flows is off"):
        await PythonCode(CodeLimits(), allowed=False).run("result = 1", {}, limits)
    with pytest.raises(Invalid, match="at most 32 MiB"):
        await PythonCode(CodeLimits(memory_mb=32), allowed=True).run("result = 1", {}, limits)


async def test_code_waits_for_its_turn_outside_of_the_time_of_its_node() -> None:
    code, limits = PythonCode(CodeLimits(at_once=1), allowed=True), list[asyncio.Timeout]()
    most = SandboxLimits(64 << 20, 60.0, 1_000)

    async def node() -> Any:
        async with working_time(60) as limit:
            limits.append(limit)
            return await code.run("result = 1", {}, most)

    first = asyncio.create_task(code.run("while True: pass", {}, most))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(node())
    await eventually_async(lambda: bool(limits) and limits[0].when() is None)
    first.cancel()
    assert await waiting == 1
    assert limits[0].when() is not None
    code.close()


class Receiver:
    """Takes messages, by post and over HTTP."""

    mails = True

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.bodies: list[tuple[bytes, Any]] = []
        self.status = b"200 OK"
        self.fails_from = 99
        self.port = 0

    async def send(self, notice: Notice) -> None:
        if len(self.notices) >= self.fails_from:
            raise UpstreamFailed("the mail server did not take the message")
        self.notices.append(notice)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        self.bodies.append((head, json.loads(await reader.readexactly(length))))
        writer.write(b"HTTP/1.1 " + self.status + b"\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    one = Receiver()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    yield one
    server.close()


class Remembered:
    """What was done, by its key."""

    def __init__(self) -> None:
        self.done: dict[bytes, tuple[bytes, bytes]] = {}

    async def do(self, caller: Caller, key: bytes, what: str, asked: bytes, work: Any) -> tuple[bytes, bytes]:
        del caller, what, asked
        if key not in self.done:
            self.done[key] = await work()
        return self.done[key]


def messages(receiver: Receiver, *allow: str) -> FlowMessages:
    return FlowMessages(cast("Any", receiver), Guard(allow), cast("Any", Remembered()))


async def test_mail_goes_to_each_and_a_subject_is_one_line(receiver: Receiver) -> None:
    to = ["a@example.com", "b@example.com"]
    sending = messages(receiver)
    await sending.send(ME, "email", to, "Hi\r\nBcc: c@example.com", "text", key="k")
    assert [each.to for each in receiver.notices] == to
    assert receiver.notices[0].subject == "Hi Bcc: c@example.com"
    receiver.fails_from = 3
    with pytest.raises(UpstreamFailed, match="1 of 2 messages were sent"):
        await sending.send(ME, "email", to, "", "text", key="other")
    receiver.fails_from = 99
    for _ in range(2):
        await sending.send(ME, "email", to, "", "text", key="other")
    assert [each.to for each in receiver.notices] == [*to, *to]


async def test_slack_and_webhooks_are_posted_to(receiver: Receiver) -> None:
    url = f"http://127.0.0.1:{receiver.port}/hook?x=secret"
    allowed = messages(receiver, "127.0.0.1")
    await allowed.send(ME, "slack", [url], "Title", "text", key="k")
    await allowed.send(ME, "webhook", [url], "Title", "text", key="k")
    assert [body for _, body in receiver.bodies] == [
        {"text": "*Title*\ntext"},
        {"id": "k", "subject": "Title", "text": "text"},
    ]
    assert all(b"idempotency-key: k\r\n" in head for head, _ in receiver.bodies)
    for status, error in ((b"404 No", UpstreamRefused), (b"503 Later", UpstreamFailed), (b"429 Slow", UpstreamFailed)):
        receiver.status = status
        with pytest.raises(error) as caught:
            await allowed.send(ME, "slack", [url], "", "text", key="k")
        assert "secret" not in caught.value.message


async def test_messages_do_not_go_into_private_networks(receiver: Receiver) -> None:
    with pytest.raises(Denied):
        await messages(receiver).send(ME, "webhook", [f"http://127.0.0.1:{receiver.port}/"], "", "text", key="k")
    assert receiver.bodies == []


async def test_a_message_that_is_too_long_is_not_sent(receiver: Receiver) -> None:
    with pytest.raises(Invalid):
        await messages(receiver).send(ME, "email", ["a@example.com"], "", "x" * 200_000, key="k")
    with pytest.raises(Invalid):
        await messages(receiver).send(ME, "email", ["a@example.com"] * 51, "", "x", key="k")
