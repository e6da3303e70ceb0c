"""Nodes run alone: a call of one, with everything that it may use played by something that writes down what it does."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from polyforge.flows.built_in import built_in, runners
from polyforge.flows.nodetypes import NodeType
from polyforge.flows.running.contract import (
    Facilities,
    HttpAnswer,
    Level,
    ModelAnswer,
    NodeCall,
    Outputs,
    SandboxLimits,
    SqlTable,
    Verdict,
)
from polyforge.kernel.errors import NotFound
from polyforge.kernel.tasks import Task
from polyforge.tenancy.callers import Caller

Json = Any
ME = Caller("k1", "key", "o1", "p1", frozenset({"*"}))
PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


class PlayedModels:
    """Says what it is told to, one answer after the other; the last one stays."""

    def __init__(self) -> None:
        self.does: Task | None = "chat"
        self.says: list[str] = ["yes"]
        self.vectors: Callable[[str], list[float]] = lambda text: [float(len(text)), 1.0]
        self.asked: list[dict[str, Any]] = []
        self.keys: list[bytes | None] = []
        self.tags: tuple[str, ...] = ()

    def task(self, caller: Caller, model: str) -> Task | None:
        del caller, model
        return self.does

    async def call(
        self,
        caller: Caller,
        url: str,
        body: bytes,
        *,
        key: bytes | None,
        tags: tuple[str, ...],
        on_text: Callable[[str], None] | None = None,
    ) -> ModelAnswer:
        assert caller is ME
        asked = json.loads(body)
        self.asked.append(asked)
        self.keys.append(key)
        self.tags = tags
        if url == "/v1/embeddings":
            data = [{"index": place, "embedding": self.vectors(text)} for place, text in enumerate(asked["input"])]
            return ModelAnswer(json.dumps({"data": data[::-1]}).encode(), 7)
        text = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        for piece in text.split() if on_text else ():
            assert on_text
            on_text(piece)
        usage = {"prompt_tokens": 5, "completion_tokens": 2}
        reply = {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}
        return ModelAnswer(json.dumps(reply).encode(), 10)


class PlayedFacilities:
    """All of them in one."""

    def __init__(self) -> None:
        self.models = PlayedModels()
        self.answer = HttpAnswer(200, {"content-type": "application/json"}, b'{"a": 1}')
        self.requests: list[tuple[str, str, Mapping[str, str], bytes | None, int]] = []
        self.messages: list[tuple[str, tuple[str, ...], str, str, str]] = []
        self.kept_secrets = {"token": "s3cret", "hook": "https://hooks.example.com/x"}
        self.kept_objects: dict[str, bytes] = {"pic": PNG}
        self.remembered: dict[tuple[str, str], Json] = {}
        self.queries: list[tuple[str, str, Mapping[str, Json], int]] = []
        self.table = SqlTable([{"n": 1}], truncated=False)
        self.code: list[tuple[str, Mapping[str, Json], SandboxLimits]] = []
        self.left: Json = 1
        self.verdict = Verdict(passed=True, text="fine")
        self.judged: list[tuple[str, ...]] = []

    http = secrets = objects = sandbox = sql = notifier = guardrails = memory = property(lambda self: self)

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        timeout_seconds: float,
        max_bytes: int,
    ) -> HttpAnswer:
        assert timeout_seconds > 0
        self.requests.append((method, url, headers, body, max_bytes))
        return self.answer

    async def get(self, caller: Caller, name: Any) -> Any:
        assert caller is ME
        if isinstance(name, str):
            if name not in self.kept_secrets:
                raise NotFound("there is no such secret")
            return self.kept_secrets[name]
        return self.kept_objects[name["$object"]]

    async def run(self, code: str, inputs: Mapping[str, Json], limits: SandboxLimits) -> Json:
        self.code.append((code, inputs, limits))
        return self.left

    async def query(
        self, caller: Caller, connection: str, sql: str, values: Mapping[str, Json], *, rows: int, seconds: float
    ) -> SqlTable:
        assert caller is ME
        assert seconds > 0
        self.queries.append((connection, sql, values, rows))
        return self.table

    async def send(
        self,
        caller: Caller,
        channel: Literal["slack", "email", "webhook"],
        to: Sequence[str],
        subject: str,
        text: str,
        *,
        key: str,
    ) -> None:
        assert caller is ME
        self.messages.append((channel, tuple(to), subject, text, key))

    async def check(self, caller: Caller, names: Sequence[str], text: str, direction: str) -> Verdict:
        assert caller is ME
        self.judged.append((*names, text, direction))
        return self.verdict

    async def recall(self, caller: Caller, flow_id: str, key: str) -> tuple[Json] | None:
        assert caller is ME
        found = self.remembered.get((flow_id, key))
        return None if found is None else (found,)

    async def keep(self, caller: Caller, flow_id: str, key: str, value: Json, *, seconds: float) -> None:
        assert caller is ME
        assert seconds > 0
        self.remembered[flow_id, key] = value


class PlayedCall:
    """A call of a node; what it says is in `tokens`, `lines` and `spent`."""

    run_id, flow_id, node, path, caller, idempotency_key = "run1", "flow_1", "step", (), ME, "key-1"

    def __init__(self, params: Mapping[str, Json], inputs: Mapping[str, Json], facilities: Any) -> None:
        self.params, self.inputs = params, inputs
        self.facilities: Facilities = facilities
        self.tokens: list[str] = []
        self.lines: list[tuple[Level, str]] = []
        self.spent = 0

    def token(self, text: str) -> None:
        self.tokens.append(text)

    def log(self, level: Level, text: str) -> None:
        self.lines.append((level, text))

    def cost(self, micros: int) -> None:
        self.spent += micros


class Bench:
    """Runs nodes one at a time."""

    def __init__(self) -> None:
        self.facilities = PlayedFacilities()
        self.call = PlayedCall({}, {}, self.facilities)

    async def run(self, type_: str, params: Mapping[str, Json], /, **inputs: Json) -> Outputs:
        """What a node gives; its parameters must be ones that a flow may have, its outputs ones that it declares."""
        kind = kind_of(type_)
        assert built_in().rule(kind).faults(params) == []
        self.call = PlayedCall(params, inputs, self.facilities)
        call: NodeCall = self.call
        outputs = await runners()[kind.type, kind.v](call)
        json.dumps(dict(outputs), allow_nan=False)
        return outputs


def kind_of(type_: str) -> NodeType:
    """The newest version of a type."""
    kind = built_in().newest(type_)
    assert kind is not None
    return kind
