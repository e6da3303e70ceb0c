"""The benchmark of the model host: what it sends, how it compares answers, and what it makes of a result."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, pairwise, product
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from benchmarks.results import Conditions, Machine, Window
from benchmarks.serving import report
from benchmarks.serving.bare import runs
from benchmarks.serving.checking import WrongAnswer, check
from benchmarks.serving.checks import BARE_SCENARIO, verdicts
from benchmarks.serving.load import Calls, quoted
from benchmarks.serving.others import HERE, all_servers, ways
from benchmarks.serving.results import Options, ScenarioInfo, ServerInfo, ServingResult, Start, newest
from benchmarks.serving.shapes import OIP, PLAIN, Item, Listed, OpenAI, Shape
from benchmarks.serving.workloads import LEAST_WORDS, MOST_WORDS, SCENARIOS, WIDTH, rows, texts, write_tiny
from polyforge.dialects import oip
from polyforge.kernel.tensors import Tensor

MACHINE = Machine("A CPU", 2, 10**9, "Debian", "6.1", "3.11", (0.0, 0.0, 0.0))
QUIET = Conditions(0.1, 0.0, 0.0, 0.1)
ROW = [round(float(value), 3) for value in rows(1)[0]]


def window(scenario: str, server: str, number: int, rate: float, p99: int = 1000) -> Window:
    return Window(scenario, server, number, 100, rate, 500, p99, 0, 0, 10.0, 10**6, QUIET)


def result(windows: list[Window], starts: list[Start] | None = None) -> ServingResult:
    names = list(dict.fromkeys(each.target for each in windows if each.scenario != BARE_SCENARIO))
    return ServingResult(
        format=1,
        date="2026-11-21T10:00:00+00:00",
        machine=MACHINE,
        tools={"wrk": "wrk 4"},
        options=Options(5.0, 2, 2000, 200),
        servers=[
            ServerInfo(name, name.title(), name not in ("host", "gateway"), name == "tuned", "1") for name in names
        ],
        scenarios=[ScenarioInfo(each.name, each.title, each.form, each.callers) for each in SCENARIOS],
        starts=starts or [],
        windows=windows,
    )


def measured(found: ServingResult) -> dict[str, tuple[float | None, bool | None]]:
    return {verdict.promise.name: (verdict.measured, verdict.kept) for verdict in verdicts(found)}


def test_texts_are_spread_evenly_and_the_same_each_time() -> None:
    lengths = sorted(len(text.split()) for text in texts())
    assert lengths[0] == LEAST_WORDS
    assert lengths[-1] == MOST_WORDS
    assert max(right - left for left, right in pairwise(lengths)) == 1
    assert texts() == texts()
    assert texts() != sorted(texts(), key=len)


def test_the_tiny_model_adds_one(tmp_path: Path) -> None:
    write_tiny(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"x": rows(3)})
    assert (np.asarray(answer) == rows(3) + 1).all()


@pytest.mark.parametrize("item", ['a text with "quotes"', ROW])
def test_a_request_in_the_open_inference_protocol_is_one(item: Item) -> None:
    request = oip.decode_request(OIP["text" if isinstance(item, str) else "json"].body(item))
    (tensor,) = request.inputs.values()
    assert tensor.shape == ((1,) if isinstance(item, str) else (1, WIDTH))


def test_a_binary_request_and_its_answer() -> None:
    shape = OIP["binary"]
    request = oip.decode_request(shape.body(ROW), int(shape.headers["inference-header-content-length"]))
    (tensor,) = request.inputs.values()
    assert np.array_equal(np.frombuffer(memoryview(tensor.data), np.float32), np.array(ROW, np.float32))
    assert request.wants_binary("y")
    answer = oip.encode_response("tiny", "1", request, [Tensor("y", "FP32", (1, WIDTH), tensor.data)]).join()
    assert np.array_equal(shape.read(answer), np.array(ROW, np.float32))


@pytest.mark.parametrize(
    ("shape", "answer"),
    [
        (PLAIN["text"], {"embedding": [1.0, 2.0]}),
        (PLAIN["json"], {"y": [1.0, 2.0]}),
        (Listed("texts"), [[1.0, 2.0]]),
        (OIP["text"], {"outputs": [{"name": "embedding", "data": [1.0, 2.0]}]}),
        (OpenAI("minilm"), {"data": [{"embedding": [1.0, 2.0]}]}),
    ],
)
def test_every_shape_reads_its_answer(shape: Shape, answer: object) -> None:
    assert shape.read(json.dumps(answer).encode()).tolist() == [1.0, 2.0]


def test_any_bytes_can_be_written_as_lua() -> None:
    every = bytes(range(256))
    written = quoted(every)
    assert written.isascii()
    assert "\n" not in written
    assert quoted(b'a"b\\c\n1') == '"a\\034b\\092c\\0101"'


def test_the_bare_loop_takes_all_texts_in_turn_and_sorts_within_a_window() -> None:
    given = texts(128)
    alone = runs(given, 1, start=3)
    assert [next(alone) for _ in range(128)] == [[given[(3 + place) % 128]] for place in range(128)]
    together = runs(given, 4, start=0)
    found = [next(together) for _ in range(16)]
    assert sorted(text for run in found for text in run) == sorted(given[:64])
    assert [len(text) for run in found for text in run] == sorted(len(text) for text in given[:64])


class Crowded(ThreadingHTTPServer):
    """One that resets no connection where many callers come at once."""

    request_queue_size = 128


@contextmanager
def serving(spoil: bool = False, status: int = 200) -> Generator[str]:
    """A server that adds one, and something more on every connection but the first if it is to spoil it."""
    numbers = count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            self.first = next(numbers) == 0

        def do_POST(self) -> None:
            row = json.loads(self.rfile.read(int(self.headers["content-length"])))["x"]
            crowd = spoil and not self.first
            answer = json.dumps({"y": [value + 1 + 3 * crowd * place for place, value in enumerate(row)]}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name there
            return

    server = Crowded(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def calls(url: str) -> Calls:
    items = [[float(value) for value in row] for row in rows(60)]
    return Calls(url, PLAIN["json"].headers, [PLAIN["json"].body(item) for item in items])


def test_right_answers_are_alike_alone_and_in_company() -> None:
    with serving() as url:
        found = check(calls(url), PLAIN["json"], rows(60) + 1)
    assert found.alone == pytest.approx(1)
    assert found.together == pytest.approx(1)


def test_an_answer_that_depends_on_its_company_is_seen() -> None:
    with serving(spoil=True) as url:
        found = check(calls(url), PLAIN["json"], rows(60) + 1)
    assert found.alone == pytest.approx(1)
    assert found.together < 0.9


def test_an_error_and_an_answer_that_is_none_are_wrong() -> None:
    with serving(status=500) as url, pytest.raises(WrongAnswer, match="answered 500"):
        check(calls(url), PLAIN["json"], rows(60) + 1)
    with serving() as url, pytest.raises(WrongAnswer, match="not the answer"):
        check(calls(url), PLAIN["text"], rows(60) + 1)


def test_promises_are_held_against_the_bare_loop_of_the_same_round() -> None:
    bare = [window(BARE_SCENARIO, "bare-1", 0, 400), window(BARE_SCENARIO, "bare-1", 1, 200)]
    ours = [window("text-16", "host", 0, 380), window("text-16", "host", 1, 190)]
    gateway = [window("text-16", "gateway", 0, 300), window("text-16", "gateway", 1, 150)]
    found = measured(result([*bare, *ours, *gateway]))
    assert found["MiniLM at 16 callers, requests/s over the bare loop's"] == (pytest.approx(0.95), True)
    assert found["MiniLM at 16 callers through the gateway, over the bare loop"] == (pytest.approx(0.75), False)
    assert found["MiniLM at 64 callers, requests/s over the bare loop's"] == (None, None)


def test_promises_are_held_against_the_peer_that_is_best_in_each_figure() -> None:
    windows = [
        window("text-64", "host", 0, 400, p99=200),
        window("text-64", "quick", 0, 300, p99=900),
        window("text-64", "steady", 0, 100, p99=150),
        window("text-64", "tuned", 0, 500, p99=100),
    ]
    found = measured(result(windows))
    assert found["MiniLM at 64 callers, requests/s over the best peer's"] == (pytest.approx(4 / 3), True)
    assert found["MiniLM at 64 callers, p99 over the best peer's"] == (pytest.approx(4 / 3), False)
    assert found["MiniLM at 64 callers, requests/s over the best peer tuned by hand"] == (pytest.approx(0.8), False)


def test_binary_is_held_against_fastapi_in_json() -> None:
    found = measured(result([window("binary-32", "host", 0, 600), window("json-32", "fastapi", 0, 300)]))
    assert found["y = x + 1 in binary at 32 callers, over FastAPI's in JSON"] == (2.0, True)


def test_the_page_shows_what_depends_on_its_company_and_who_is_absent() -> None:
    starts = [Start("host", "text", 0, 1.0, 10**8, 1.0, 0.99995), Start("mosec", "text", 0, 1.0, 10**8, 1.0, 0.978)]
    found = result([window("text-16", name, 0, 100) for name in ("host", "mosec")], starts)
    found.servers.append(ServerInfo("ray", "Ray Serve", True, absent="no such | thing"))
    page = report.page(found)
    assert "| Host | 1.00000 | 0.99995 | – |" in page
    assert "| Mosec | 1.00000 | **0.97800** | – |" in page
    assert "| Ray Serve | **absent**: no such \\| thing |" in page


def test_the_page_is_what_the_newest_result_says() -> None:
    found = newest()
    assert not found or report.PAGE.read_text() == report.page(found), "run `python -m benchmarks report`"


def test_every_peer_has_a_lock_that_pins_the_same_engine() -> None:
    pinned = {way.environment: (HERE / "peers" / f"{way.environment}.txt").read_text() for way in ways()}
    for lock, engine in product(pinned.values(), ("numpy==", "onnxruntime==", "tokenizers==")):
        assert engine in lock
    engines = {lock.partition("onnxruntime==")[2].split()[0] for lock in pinned.values()}
    assert len(engines) == 1
    assert all("--hash=sha256:" in lock and "://" not in lock for lock in pinned.values())


def test_every_server_has_a_name_of_its_own_and_somewhere_to_send_what_it_takes() -> None:
    servers = all_servers()
    assert len({server.name for server in servers}) == len(servers)
    assert all(server.path(form).startswith("/") for server in servers for form in server.shapes)
