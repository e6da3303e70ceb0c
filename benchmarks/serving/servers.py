"""What is measured: the model host on its own socket and behind the gateway, and other servers in pinned versions."""

import json
import os
import secrets
import shutil
import subprocess
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
from benchmarks.serving.shapes import OIP, PLAIN, Item, Listed, OpenAI, Shape
from benchmarks.serving.workloads import Form, Model
from benchmarks.targets import PEERS, ROOT, Absent

HERE = Path(__file__).parent
START_SECONDS = 90.0
OK = 200
MODEL_OF: Mapping[Form, Model] = {"text": "minilm", "json": "tiny", "binary": "tiny"}
BATCH = 32


def all_cores() -> str:
    """The cores that this process may use, as taskset takes them."""
    return ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))


@dataclass(frozen=True)
class Site:
    """The models, and where a server may write."""

    encoder: Path
    """A folder with model.onnx, tokenizer.json and what sentence-transformers says of them."""
    tiny: Path
    """A folder with model.onnx."""
    folder: Path


class Server(ABC):
    """Something that answers requests for a model over HTTP, a model at a time."""

    name: str
    title: str
    peer = False

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


class Host(Server):
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
        command = [sys.executable, "-m", "benchmarks.serving.host", config, str(self.port)]
        return Program(command, all_cores(), site.folder / "host.log", folder=ROOT)

    def path(self, form: Form) -> str:
        """The protocol's."""
        return f"/v2/models/{MODEL_OF[form]}/infer"


class Gateway(Server):
    """`polyforge up` with one worker and everything on: a limited key, prices, metrics, the access log."""

    name, title = "gateway", "Polyforge, whole gateway"

    def __init__(self) -> None:
        super().__init__({"text": OpenAI("minilm")})
        self._command = Path(sys.executable).parent / "polyforge"
        self._admin_key = ""
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
        self._admin_key = secrets.token_urlsafe(32)
        config = site.folder / "polyforge.yaml"
        config.write_text(json.dumps(settings(site, MODEL_OF[form]), indent=1))
        data = site.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        options = ["--config", config, "--data", data, "--port", str(self.port), "--workers", "1"]
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


def settings(site: Site, model: Model) -> dict[str, Any]:
    """polyforge.yaml with one local model."""
    if model == "tiny":
        return {"serving": {"repository": str(site.tiny.parent)}}
    price = {"input": 0.15}
    return {"models": {"minilm": {"task": "embedding", "source": site.encoder.as_uri(), "price": price}}}


@dataclass(frozen=True)
class Way:
    """A way to run a peer."""

    name: str
    title: str
    environment: str
    """The lock that its environment is made from, and that of its package's version."""
    package: str
    program: Sequence[str]
    """Arguments behind the environment's folder of programs."""
    shapes: Mapping[Form, Shape]
    paths: Mapping[Form, str]
    batch: int = BATCH
    workers: int = 1
    threads: int = 0
    """Of each session; 0 is the library's default, all cores."""
    more: tuple[tuple[str, str], ...] = ()
    """More of the environment."""


class Peer(Server):
    """Another model server, in an environment of its own."""

    peer = True

    def __init__(self, way: Way) -> None:
        super().__init__(way.shapes)
        self.name, self.title = way.name, way.title
        self._way = way
        self._folder = PEERS / f"serving-{way.environment}"

    def install(self) -> None:
        """uv from the committed hash lock into a virtual environment."""
        pinned = HERE / "peers" / f"{self._way.environment}.txt"
        installed = self._folder / "installed.txt"
        if installed.is_file() and installed.read_bytes() == pinned.read_bytes():
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        uv = str(Path(sys.executable).parent / "uv")
        _install([uv, "venv", "--quiet", "--python", sys.executable, str(self._folder)])
        _install([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(self._folder), str(pinned)])
        shutil.copy(pinned, installed)

    def version(self) -> str:
        """What its own environment says."""
        code = f"import importlib.metadata as m; print(m.version({self._way.package!r}))"
        command = [self._folder / "bin/python", "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return f"{self._way.package} {done.stdout.strip()}"

    def make(self, site: Site, form: Form) -> Program:
        """Its program, told everything by the environment."""
        scratch = site.folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        way = self._way
        _write_mlserver(scratch, form, self.port, way.batch)
        program, *arguments = way.program
        filled = [argument.format(port=self.port, scratch=scratch, peers=HERE / "peers") for argument in arguments]
        environment = {
            "PYTHONPATH": f"{ROOT}:{HERE / 'peers'}",
            "BENCH_MODEL": MODEL_OF[form],
            "BENCH_FORM": form,
            "BENCH_ENCODER": str(site.encoder),
            "BENCH_TINY": str(site.tiny / "1" / "model.onnx"),
            "BENCH_PORT": str(self.port),
            "BENCH_BATCH": str(way.batch),
            "BENCH_WORKERS": str(way.workers),
            "BENCH_THREADS": str(way.threads),
            "BENCH_SCRATCH": str(scratch),
            "HOME": str(scratch),
            "TOKENIZERS_PARALLELISM": "false",
            **dict(way.more),
        }
        log = site.folder / f"{self.name}.log"
        return Program([self._folder / "bin" / program, *filled], all_cores(), log, environment, scratch)

    def path(self, form: Form) -> str:
        """As the way says."""
        return self._way.paths[form]


def _write_mlserver(folder: Path, form: Form, port: int, batch: int) -> None:
    """The files that MLServer is configured with; nobody else reads them."""
    ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "debug": False, **ports}))
    text = form == "text"
    model = {
        "name": MODEL_OF[form],
        "implementation": "mlserver_app.Embed" if text else "mlserver_app.Add",
        "max_batch_size": batch,
        "max_batch_time": 0.005,
    }
    (folder / "model-settings.json").write_text(json.dumps(model))


def _install(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    if done.returncode:
        raise Absent(f"{' '.join(command[:3])} failed: {(done.stderr or done.stdout).strip()[-500:]}")


def _without_binary(shapes: Mapping[Form, Shape]) -> dict[Form, Shape]:
    return {form: shape for form, shape in shapes.items() if form != "binary"}


def _same(path: str) -> dict[Form, str]:
    return {"text": path, "json": path, "binary": path}


def ways() -> list[Way]:
    """Every way to run every peer."""
    cores = len(os.sched_getaffinity(0))
    json_only = _without_binary(PLAIN)
    mosec = ("python", "{peers}/mosec_app.py", "--port", "{port}", "--timeout", "60000")
    fastapi = ("python", "{peers}/fastapi_app.py")
    fastapi_paths: dict[Form, str] = {"text": "/text", "json": "/json", "binary": "/binary"}
    bento: dict[Form, Shape] = {"text": Listed("texts"), "json": Listed("rows")}
    quiet_bento = (("BENTOML_DO_NOT_TRACK", "True"), ("BENTOML_HOME", "."))
    return [
        Way("fastapi", "FastAPI + onnxruntime", "fastapi", "fastapi", fastapi, PLAIN, fastapi_paths),
        Way(
            "fastapi-tuned",
            "FastAPI + onnxruntime, one-thread runs",
            "fastapi",
            "fastapi",
            fastapi,
            _text_only(PLAIN),
            fastapi_paths,
            threads=1,
        ),
        Way("mosec", "mosec", "mosec", "mosec", mosec, PLAIN, _same("/inference")),
        Way("mosec-alone", "mosec, batching off", "mosec", "mosec", mosec, PLAIN, _same("/inference"), batch=1),
        Way(
            "mosec-workers",
            "mosec, batching off, a one-thread worker per core",
            "mosec",
            "mosec",
            mosec,
            _text_only(PLAIN),
            _same("/inference"),
            batch=1,
            workers=cores,
            threads=1,
        ),
        Way(
            "litserve",
            "LitServe",
            "litserve",
            "litserve",
            ("python", "{peers}/litserve_app.py"),
            json_only,
            _same("/predict"),
        ),
        Way(
            "bentoml",
            "BentoML",
            "bentoml",
            "bentoml",
            ("bentoml", "serve", "bentoml_app:Service", "--host", "127.0.0.1", "--port", "{port}"),
            bento,
            {"text": "/text", "json": "/json"},
            more=quiet_bento,
        ),
        Way(
            "mlserver",
            "MLServer",
            "mlserver",
            "mlserver",
            ("mlserver", "start", "{scratch}"),
            _without_binary(OIP),
            {"text": "/v2/models/minilm/infer", "json": "/v2/models/tiny/infer"},
        ),
        Way(
            "ray",
            "Ray Serve",
            "ray",
            "ray",
            ("python", "{peers}/ray_app.py"),
            json_only,
            _same("/"),
            more=(("RAY_USAGE_STATS_ENABLED", "0"), ("RAY_AUTH_MODE", "disabled")),
        ),
    ]


def _text_only(shapes: Mapping[Form, Shape]) -> dict[Form, Shape]:
    return {"text": shapes["text"]}


def all_servers() -> list[Server]:
    """Every server, in the order of the tables."""
    return [Host(), Gateway(), *(Peer(way) for way in ways())]
