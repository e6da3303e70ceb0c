"""What is measured, whoever made it; and ours: the model host on its own socket, and behind the whole gateway."""

import json
import os
import secrets
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.processes import Program, StartFailed, call, free_port
from benchmarks.serving.load import Calls
from benchmarks.serving.shapes import OIP, Item, OpenAI, Shape
from benchmarks.serving.workloads import Form, Model
from benchmarks.targets import ROOT, Absent

START_SECONDS = 90.0
SETTLE_SECONDS = 120.0
TUNED, TUNED_MODELS = "tuning/*.json", 2
"""Where the host keeps what it has measured of models."""
OK = 200
MODEL_OF: Mapping[Form, Model] = {"text": "minilm", "json": "tiny", "binary": "tiny"}


def all_cores() -> str:
    """The cores that this process may use, as taskset takes them."""
    return ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))


@dataclass(frozen=True)
class Site:
    """The models, and where a server may write."""

    encoder: Path
    """A folder with model.onnx, tokenizer.json and what sentence-transformers says of them."""
    tiny: Path
    """A folder in Triton's layout, with version 1 of the graph y = x + 1."""
    folder: Path

    @property
    def data(self) -> Path:
        """The data folder of whatever is ours; kept from start to start, as what measuring finds lies in it."""
        return self.folder / "data"


class Server(ABC):
    """Something that answers requests for a model over HTTP, a model at a time."""

    name: str
    title: str
    peer = False
    tuned = False
    """Whether it is a peer run otherwise than its documentation suggests, because that is better for it."""

    def __init__(self, shapes: Mapping[Form, Shape]) -> None:
        self.shapes = shapes
        self.program: Program | None = None
        self.ready_seconds = 0.0
        self.port = 0

    def install(self) -> None:
        """Bring it onto this machine, or raise Absent."""
        return

    @abstractmethod
    def version(self) -> str:
        """What exactly is measured."""

    @abstractmethod
    def make(self, site: Site, form: Form) -> Program:
        """The program that serves the model of a form on `port`; it is not started."""

    @abstractmethod
    def path(self, form: Form) -> str:
        """Where requests of a form go."""

    def headers(self, form: Form) -> dict[str, str]:
        """Headers of every request."""
        return dict(self.shapes[form].headers)

    def calls(self, form: Form, items: Sequence[Item]) -> Calls:
        """A request for each item."""
        shape = self.shapes[form]
        url = f"http://127.0.0.1:{self.port}{self.path(form)}"
        return Calls(url, self.headers(form), [shape.body(item) for item in items])

    def start(self, site: Site, form: Form, first: Item) -> None:
        """Run it until it has answered a first request; StartFailed when it does not."""
        self.port = free_port()
        self.program = self.make(site, form)
        self.program.start()
        started = time.monotonic()
        self.prepare()
        request = self.calls(form, [first])
        self.program.wait(lambda: _answers(request), f"answer {request.url}", START_SECONDS)
        self.ready_seconds = time.monotonic() - started

    def prepare(self) -> None:
        """What must be done before the first request."""
        return

    def settle(self, site: Site, form: Form) -> None:
        """Wait for what it does in its own time after a first start, before it is measured."""
        del site, form

    def stop(self) -> None:
        """End it and all its processes."""
        if self.program:
            self.program.stop()
            self.program = None


def _answers(calls: Calls) -> bool:
    try:
        return call("POST", calls.url, calls.bodies[0], calls.headers)[0] == OK
    except OSError:
        return False


class Ours(Server):
    """What measures its models itself while nobody asks it anything."""

    def settle(self, site: Site, form: Form) -> None:
        """Wait until the encoder and the built-in model have been measured; one with a Triton configuration is not."""
        if form != "text":
            return
        started = time.monotonic()
        while time.monotonic() - started < SETTLE_SECONDS and len(list(site.data.glob(TUNED))) < TUNED_MODELS:
            time.sleep(1)


class Host(Ours):
    """The model host alone, listening on a port instead of its Unix socket, which wrk cannot speak to."""

    name, title = "host", "Polyforge, model host"

    def __init__(self) -> None:
        super().__init__(OIP)

    def version(self) -> str:
        """The version of the package under test."""
        return version("polyforge")

    def make(self, site: Site, form: Form) -> Program:
        """The host with this one model."""
        config = site.folder / "polyforge.json"
        config.write_text(json.dumps(settings(site, MODEL_OF[form])))
        command = [sys.executable, "-m", "benchmarks.serving.host", config, str(self.port), site.data]
        return Program(command, all_cores(), site.folder / "host.log", folder=ROOT)

    def path(self, form: Form) -> str:
        """The protocol's."""
        return infer_path(form)


class Gateway(Ours):
    """`polyforge up` with one worker and everything on: a limited key, prices, metrics, the access log."""

    name, title = "gateway", "Polyforge, whole gateway, /v1/embeddings"

    def __init__(self, shapes: Mapping[Form, Shape] | None = None) -> None:
        super().__init__(shapes or {"text": OpenAI("minilm")})
        self._command = Path(sys.executable).parent / "polyforge"
        self._admin_key = secrets.token_urlsafe(32)
        self._key = ""

    def version(self) -> str:
        """The version of the package under test."""
        return version("polyforge")

    def install(self) -> None:
        """It is what this repository installs."""
        if not self._command.exists():
            raise Absent(f"{self._command} is not installed; run `make install`")

    def make(self, site: Site, form: Form) -> Program:
        """All processes."""
        config = site.folder / "polyforge.yaml"
        config.write_text(json.dumps(settings(site, MODEL_OF[form]), indent=1))
        options = ["--config", config, "--data", site.data, "--port", str(self.port), "--workers", "1"]
        environment = {"POLYFORGE_ADMIN_KEY": self._admin_key}
        return Program([self._command, "up", *options], all_cores(), site.folder / "gateway.log", environment)

    def prepare(self) -> None:
        """A key that has every limit, each too high to be met."""
        assert self.program
        self.program.wait_ready(f"http://127.0.0.1:{self.port}/readyz", START_SECONDS)
        wanted = {"name": "benchmark", "rpm": 10**7, "tpm": 10**10, "concurrency": 10_000, "budget_usd": 1_000_000}
        headers = {"authorization": f"Bearer {self._admin_key}", "content-type": "application/json"}
        url = f"http://127.0.0.1:{self.port}/api/v1/keys"
        status, answer = call("POST", url, json.dumps(wanted).encode(), headers)
        if status not in (200, 201):
            raise StartFailed(f"no key: {status} {answer.decode(errors='replace')[:500]}")
        self._key = json.loads(answer)["key"]

    def path(self, form: Form) -> str:
        """OpenAI's embeddings."""
        del form
        return "/v1/embeddings"

    def headers(self, form: Form) -> dict[str, str]:
        """The key made for the run."""
        return {**super().headers(form), "authorization": f"Bearer {self._key}"}


class GatewayOip(Gateway):
    """The same, asked in the Open Inference Protocol."""

    name, title = "gateway-oip", "Polyforge, whole gateway, /v2"

    def __init__(self) -> None:
        super().__init__(OIP)

    def path(self, form: Form) -> str:
        """The protocol's."""
        return infer_path(form)


def infer_path(form: Form) -> str:
    """Where the Open Inference Protocol has requests of a form go."""
    return f"/v2/models/{MODEL_OF[form]}/infer"


def settings(site: Site, model: Model) -> dict[str, Any]:
    """polyforge.yaml with one local model."""
    if model == "tiny":
        return {"serving": {"repository": str(site.tiny.parent)}}
    price = {"input": 0.15}
    return {"models": {"minilm": {"task": "embedding", "source": site.encoder.as_uri(), "price": price}}}
