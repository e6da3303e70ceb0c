"""Other model servers, each in an environment of its own with locked versions, as their documentation runs them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.processes import Program, free_port
from benchmarks.serving.servers import MODEL_OF, Gateway, GatewayOip, Host, Server, Site, all_cores
from benchmarks.serving.shapes import OIP, PLAIN, Listed, Shape
from benchmarks.serving.workloads import Form
from benchmarks.targets import PEERS, ROOT, Absent

HERE = Path(__file__).parent
BATCH = 32
"""Most requests in one run of a peer that batches."""


@dataclass(frozen=True)
class Way:
    """A way to run a peer."""

    name: str
    title: str
    environment: str
    """The lock that its environment is made from."""
    package: str
    """Whose version is told."""
    program: Sequence[str]
    """Arguments behind the environment's folder of programs."""
    shapes: Mapping[Form, Shape]
    paths: Mapping[Form, str]
    batch: int = BATCH
    """Most requests in one run; 1: batching is off."""
    workers: int = 1
    threads: int = 0
    """Of each session; 0 is the library's default, all cores."""
    more: tuple[tuple[str, str], ...] = ()
    """More of the environment."""
    tuned: bool = False
    """Whether its documentation does not suggest it, and it is better for it."""


class Peer(Server):
    """Another model server, in an environment of its own."""

    peer = True

    def __init__(self, way: Way) -> None:
        super().__init__(way.shapes)
        self.name, self.title, self.tuned = way.name, way.title, way.tuned
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


def _only(shapes: Mapping[Form, Shape], *forms: Form) -> dict[Form, Shape]:
    return {form: shapes[form] for form in forms}


def _same(path: str) -> dict[Form, str]:
    return {"text": path, "json": path, "binary": path}


def ways() -> list[Way]:
    """Every way to run every peer."""
    fastapi = Way(
        "fastapi",
        "FastAPI + onnxruntime",
        "fastapi",
        "fastapi",
        ("python", "{peers}/fastapi_app.py"),
        PLAIN,
        {"text": "/text", "json": "/json", "binary": "/binary"},
    )
    mosec = Way(
        "mosec",
        "mosec",
        "mosec",
        "mosec",
        ("python", "{peers}/mosec_app.py", "--port", "{port}", "--timeout", "60000"),
        PLAIN,
        _same("/inference"),
    )
    text = _only(PLAIN, "text")
    cores = len(os.sched_getaffinity(0))
    tuned = replace(fastapi, title="FastAPI + onnxruntime, one-thread runs", threads=1, shapes=text, tuned=True)
    workers = replace(mosec, title="mosec, a one-thread worker per core", batch=1, threads=1, shapes=text, tuned=True)
    return [
        fastapi,
        replace(tuned, name="fastapi-tuned"),
        mosec,
        replace(mosec, name="mosec-alone", title="mosec, batching off", batch=1),
        replace(workers, name="mosec-workers", workers=cores),
        Way(
            "litserve",
            "LitServe",
            "litserve",
            "litserve",
            ("python", "{peers}/litserve_app.py"),
            _only(PLAIN, "text", "json"),
            _same("/predict"),
        ),
        Way(
            "bentoml",
            "BentoML",
            "bentoml",
            "bentoml",
            ("bentoml", "serve", "bentoml_app:Service", "--host", "127.0.0.1", "--port", "{port}"),
            {"text": Listed("texts"), "json": Listed("rows")},
            {"text": "/text", "json": "/json"},
            more=(("BENTOML_DO_NOT_TRACK", "True"), ("BENTOML_HOME", ".")),
        ),
        Way(
            "mlserver",
            "MLServer",
            "mlserver",
            "mlserver",
            ("mlserver", "start", "{scratch}"),
            _only(OIP, "text", "json"),
            {"text": "/v2/models/minilm/infer", "json": "/v2/models/tiny/infer"},
        ),
        Way(
            "ray",
            "Ray Serve",
            "ray",
            "ray",
            ("python", "{peers}/ray_app.py"),
            _only(PLAIN, "text", "json"),
            _same("/"),
            more=(("RAY_USAGE_STATS_ENABLED", "0"), ("RAY_AUTH_MODE", "disabled")),
        ),
    ]


def all_servers() -> list[Server]:
    """Every server, in the order of the tables."""
    return [Host(), Gateway(), GatewayOip(), *(Peer(way) for way in ways())]
