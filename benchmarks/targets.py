"""What is measured: the upstream itself, the bare proxies, Polyforge, and other gateways in their pinned versions."""

import json
import secrets
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.load import Call
from benchmarks.processes import Program, StartFailed, call, free_port
from benchmarks.scenarios import CROSSED, MODELS, PASSED, WITH_LIMITS, Caller, Kind, Pair, Wire, body, stream_body

HERE = Path(__file__).parent
ROOT = HERE.parent
PEERS = HERE / ".peers"
CHAT = "/v1/chat/completions"
PATHS: Mapping[Caller, str] = {"chat": CHAT, "messages": "/v1/messages", "responses": "/v1/responses"}
UPSTREAM_KEY = "sk-benchmark"
DRAIN_SECONDS = 60


class Absent(RuntimeError):
    """A target cannot be measured here; the message says why and it goes into the result."""


@dataclass(frozen=True)
class Site:
    """Where a target finds its upstreams and may write."""

    upstreams: Mapping[Kind, str]
    """Base URL of the provider per kind of answer, without /v1."""
    trace_sink: str
    folder: Path
    core: int


class Target(ABC):
    """Something that answers chat completions over HTTP."""

    name: str
    title: str
    kinds: tuple[Kind, ...] = ("whole", "stream", "paced")
    pairs: tuple[Pair, ...] = (PASSED,)
    """What meets in its paced streams."""
    peer = False
    late = False
    """Whether it is started after the scenarios for everybody, so that it shares no memory with what is in them."""
    start_seconds = 30.0

    def __init__(self) -> None:
        self.program: Program | None = None
        self.ready_seconds = 0.0

    def install(self) -> None:
        """Bring it onto this machine, or raise Absent."""
        return

    @abstractmethod
    def version(self) -> str:
        """What exactly is measured."""

    @abstractmethod
    def start(self, site: Site) -> None:
        """Run it against the upstreams of a site and wait until it answers."""

    @abstractmethod
    def url(self, kind: Kind) -> str:
        """Where a chat completion of this kind is sent."""

    def headers(self, kind: Kind) -> dict[str, str]:
        """Headers of a request, beside its content type."""
        del kind
        return {"authorization": f"Bearer {UPSTREAM_KEY}"}

    def call(self, kind: Kind, payload_bytes: int) -> Call:
        """A complete request."""
        headers = {"content-type": "application/json", **self.headers(kind)}
        return Call(self.url(kind), headers, body(kind, payload_bytes))

    def stream_call(self, pair: Pair, payload_bytes: int, tokens: int) -> Call:
        """A complete request for a paced stream."""
        headers = {"content-type": "application/json", **self.headers("paced")}
        url = self.url("paced").removesuffix(CHAT) + PATHS[pair.caller]
        return Call(url, headers, stream_body(pair, payload_bytes, tokens))

    def check(self) -> None:
        """Raise StartFailed if it has ended."""
        if self.program:
            self.program.check()

    def recorded(self) -> int | None:
        """How many calls it has written down, where it says so."""
        return None

    def stop(self) -> None:
        """End it and all its processes."""
        if self.program:
            self.program.stop()

    def _run(self, program: Program, ready: str) -> None:
        self.program = program
        program.start()
        self.ready_seconds = program.wait_ready(ready, self.start_seconds)


class Direct(Target):
    """The canned upstream without anything between."""

    name, title = "direct", "upstream directly"

    def version(self) -> str:
        """nginx says its version on standard error."""
        done = subprocess.run(["nginx", "-v"], capture_output=True, text=True, timeout=10, check=True)
        return done.stderr.strip().removeprefix("nginx version: ").replace("/", " ")

    def start(self, site: Site) -> None:
        """Nothing to start: the site runs it."""
        self._site = site

    def url(self, kind: Kind) -> str:
        """The upstream's own address."""
        return self._site.upstreams[kind] + CHAT


class Bare(Target):
    """The bare proxy in one of its two forms."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self._form = form
        self._port = 0
        self.name = f"bare-{form}"
        self.title = f"bare proxy, {form}"
        self.kinds = ("whole",) if form == "plain" else ("stream", "paced")

    def version(self) -> str:
        """The libraries that it is made of."""
        return ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "httptools", "pyreqwest"))

    def start(self, site: Site) -> None:
        """Run the proxy; its port answers once its client is built."""
        self._port = free_port()
        upstreams = {MODELS[kind]: base + CHAT for kind, base in site.upstreams.items()}
        command = [sys.executable, "-m", "benchmarks.bare_proxy", self._form, str(self._port), json.dumps(upstreams)]
        self.program = Program(command, site.core, site.folder / f"{self.name}.log", folder=ROOT)
        self.program.start()
        self.ready_seconds = self.program.wait_listening(self._port, self.start_seconds)

    def url(self, kind: Kind) -> str:
        """One port for every model."""
        del kind
        return f"http://127.0.0.1:{self._port}{CHAT}"


class Polyforge(Target):
    """`polyforge up` with one worker and everything on: a limited key, prices, metrics, access log, tracing at 1 %."""

    name, title = "polyforge", "Polyforge"
    pairs = (PASSED, *CROSSED)

    def __init__(self) -> None:
        super().__init__()
        self._command = Path(sys.executable).parent / "polyforge"
        self._port = 0
        self._key = ""
        self._admin_key = ""

    def install(self) -> None:
        """It is what this repository installs."""
        if not self._command.exists():
            raise Absent(f"{self._command} is not installed; run `make install`")

    def version(self) -> str:
        """The version of the package under test."""
        return version("polyforge")

    def start(self, site: Site) -> None:
        """Start the whole process group and make a key that has every limit, each too high to be met."""
        self._port = free_port()
        self._admin_key = secrets.token_urlsafe(32)
        config = site.folder / "polyforge.yaml"
        config.write_text(json.dumps(self.settings(site), indent=1))
        options = ["--config", config, "--data", site.folder / "data", "--port", str(self._port), "--workers", "1"]
        program = Program(
            [self._command, "up", *options],
            site.core,
            site.folder / "polyforge.log",
            {"POLYFORGE_ADMIN_KEY": self._admin_key, "BENCHMARK_UPSTREAM_KEY": UPSTREAM_KEY},
        )
        self._run(program, f"http://127.0.0.1:{self._port}/readyz")
        self._key = self._make_key()

    def url(self, kind: Kind) -> str:
        """One port for every model."""
        del kind
        return f"http://127.0.0.1:{self._port}{CHAT}"

    def headers(self, kind: Kind) -> dict[str, str]:
        """The key made for the run."""
        del kind
        return {"authorization": f"Bearer {self._key}"}

    def recorded(self) -> int | None:
        """The calls in the usage report, once the journal has been drained into the database."""
        counted = -1
        for _ in range(DRAIN_SECONDS):
            before, counted = counted, int(self.manage("GET", "/api/v1/usage")["totals"]["requests"])
            if counted == before:
                break
            time.sleep(1)
        return counted

    def settings(self, site: Site) -> dict[str, Any]:
        """polyforge.yaml: a provider and a model per kind of answer."""
        price = {"input": 0.15, "cached_input": 0.075, "output": 0.60}
        provider = {"use": "openai", "api_key": "env:BENCHMARK_UPSTREAM_KEY"}
        openai = {kind: {**provider, "base_url": f"{base}/v1"} for kind, base in site.upstreams.items()}
        others = _providers_of_other_dialects(site.upstreams["paced"])
        served = {MODELS[kind]: kind for kind in site.upstreams} | {
            f"{MODELS['paced']}-{wire}": wire for wire in others
        }
        return {
            "providers": {**openai, **others},
            "models": {
                name: {
                    "task": "chat",
                    "deployments": [{"provider": provider, "model": "canned-1", "cost": price}],
                    "price": price,
                }
                for name, provider in served.items()
            },
            "telemetry": {"otlp_endpoint": site.trace_sink, "trace_sample": 0.01},
        }

    def _make_key(self) -> str:
        wanted = {"name": "benchmark", "rpm": 10**7, "tpm": 10**10, "concurrency": 10_000, "budget_usd": 1_000_000}
        return str(self.manage("POST", "/api/v1/keys", json.dumps(wanted).encode())["key"])

    def manage(self, method: str, path: str, content: bytes = b"") -> dict[str, Any]:
        """A call of the management API with the admin key; StartFailed when it is refused."""
        headers = {"authorization": f"Bearer {self._admin_key}", "content-type": "application/json"}
        status, answer = call(method, f"http://127.0.0.1:{self._port}{path}", content, headers)
        if status not in (200, 201, 204):
            raise StartFailed(f"{method} {path} answered {status}: {answer.decode(errors='replace')[:500]}")
        found: dict[str, Any] = json.loads(answer or b"{}")
        return found


class PolyforgeLimited(Polyforge):
    """The same with three limits and a budget beside those of the key, and with a cache for every model."""

    name, title, late = WITH_LIMITS, "Polyforge with limits and cache", True
    kinds: tuple[Kind, ...] = ("whole", "stream")
    pairs: tuple[Pair, ...] = ()

    def settings(self, site: Site) -> dict[str, Any]:
        """Limits that are too high to be met: each is counted, none refuses."""
        limits = {
            "requests": {"subject": "project", "measure": "requests", "amount": 10**10, "window": "minute"},
            "tokens": {"subject": "key", "measure": "tokens", "amount": 10**14, "window": "day"},
            "concurrency": {"subject": "organization", "measure": "concurrency", "amount": 10_000},
            "budget": {"subject": "project", "measure": "money", "amount": 10**6, "window": "month"},
        }
        return {**super().settings(site), "limits": limits, "cache": {"default": {"ttl": 3600}}}


class Portkey(Target):
    """Portkey's gateway on node, told per request where its upstream is."""

    name, title, peer = "portkey", "Portkey gateway", True

    def __init__(self) -> None:
        super().__init__()
        self._folder = PEERS / "portkey"
        self._port = 0
        self._upstreams: Mapping[Kind, str] = {}

    def install(self) -> None:
        """`npm ci` from the committed lock; install scripts are not run."""
        _need("node", "npm")
        pinned = HERE / "peers" / "portkey"
        if _same(pinned / "package-lock.json", self._folder / "package-lock.json"):
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(pinned, self._folder)
        try:
            _install(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], self._folder)
        except Absent:
            (self._folder / "package-lock.json").unlink()
            raise

    def version(self) -> str:
        """The package's version and node's."""
        package = json.loads((self._folder / "node_modules/@portkey-ai/gateway/package.json").read_text())
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=10, check=True)
        return f"@portkey-ai/gateway {package['version']}, node {node.stdout.strip().removeprefix('v')}"

    def start(self, site: Site) -> None:
        """Headless, in production mode, with loopback allowed as an upstream."""
        self._port = free_port()
        self._upstreams = site.upstreams
        script = self._folder / "node_modules/@portkey-ai/gateway/build/start-server.js"
        program = Program(
            ["node", script, f"--port={self._port}", "--headless"],
            site.core,
            site.folder / "portkey.log",
            {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"},
        )
        self._run(program, f"http://127.0.0.1:{self._port}/")

    def url(self, kind: Kind) -> str:
        """One port; the upstream is in a header."""
        del kind
        return f"http://127.0.0.1:{self._port}{CHAT}"

    def headers(self, kind: Kind) -> dict[str, str]:
        """The OpenAI provider at another address."""
        host = f"{self._upstreams[kind]}/v1"
        return {**super().headers(kind), "x-portkey-provider": "openai", "x-portkey-custom-host": host}


class LiteLLM(Target):
    """LiteLLM's proxy with one worker and a master key, in an environment of its own."""

    name, title, peer = "litellm", "LiteLLM proxy", True
    start_seconds = 300.0

    def __init__(self) -> None:
        super().__init__()
        self._folder = PEERS / "litellm"
        self._port = 0
        self._key = f"sk-{secrets.token_hex(16)}"

    def install(self) -> None:
        """pip from the committed hash lock into a virtual environment."""
        pinned = HERE / "peers" / "litellm.txt"
        if _same(pinned, self._folder / "installed.txt"):
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        _install([sys.executable, "-m", "venv", str(self._folder)], HERE)
        pip = [str(self._folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        _install([*pip, "-r", str(pinned)], HERE)
        shutil.copy(pinned, self._folder / "installed.txt")

    def version(self) -> str:
        """What its own environment says."""
        code = "import importlib.metadata as m; print(m.version('litellm'))"
        command = [self._folder / "bin/python", "-c", code]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()

    def start(self, site: Site) -> None:
        """Bundled price table, telemetry off, no database."""
        self._port = free_port()
        config = site.folder / "litellm.yaml"
        config.write_text(json.dumps(self.settings(site), indent=1))
        options = ["--config", config, "--host", "127.0.0.1", "--port", str(self._port), "--num_workers", "1"]
        program = Program(
            [self._folder / "bin/litellm", *options, "--telemetry", "False"],
            site.core,
            site.folder / "litellm.log",
            {
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "LITELLM_MASTER_KEY": self._key,
                "LITELLM_TELEMETRY": "False",
                "LITELLM_LOG": "ERROR",
                "HF_HUB_OFFLINE": "1",
            },
        )
        self._run(program, f"http://127.0.0.1:{self._port}/health/liveliness")

    def url(self, kind: Kind) -> str:
        """One port for every model."""
        del kind
        return f"http://127.0.0.1:{self._port}{CHAT}"

    def headers(self, kind: Kind) -> dict[str, str]:
        """The master key."""
        del kind
        return {"authorization": f"Bearer {self._key}"}

    def settings(self, site: Site) -> dict[str, Any]:
        """The proxy's configuration: a model per kind of answer."""
        models = [
            {
                "model_name": MODELS[kind],
                "litellm_params": {"model": "openai/canned-1", "api_base": f"{base}/v1", "api_key": UPSTREAM_KEY},
            }
            for kind, base in site.upstreams.items()
        ]
        return {"model_list": models, "litellm_settings": {"telemetry": False}}


def _providers_of_other_dialects(base: str) -> dict[Wire, dict[str, str]]:
    key = "env:BENCHMARK_UPSTREAM_KEY"
    signed = {"region": "eu-central-1", "access_key_id": key, "secret_access_key": key}
    return {
        "anthropic": {"use": "anthropic", "api_key": key, "base_url": f"{base}/v1"},
        "gemini": {"use": "gemini", "api_key": key, "base_url": f"{base}/v1beta"},
        "bedrock": {"use": "bedrock", "endpoint": base, **signed},
    }


def all_targets() -> list[Target]:
    """Every target, in the order of the tables."""
    return [Direct(), Bare("plain"), Bare("stream"), Polyforge(), PolyforgeLimited(), Portkey(), LiteLLM()]


def _need(*programs: str) -> None:
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        raise Absent(f"{' and '.join(missing)} not found; on Debian: apt-get install {' '.join(missing)}")


def _same(pinned: Path, installed: Path) -> bool:
    return installed.is_file() and installed.read_bytes() == pinned.read_bytes()


def _install(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200, check=False)
    if done.returncode:
        raise Absent(f"{' '.join(command[:2])} failed: {(done.stderr or done.stdout).strip()[-500:]}")
