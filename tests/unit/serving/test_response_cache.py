"""Kept answers: bounded by bytes, the least recently used go, and no two requests are taken for one."""

from polyforge.kernel.tensors import Parameter, Tensor
from polyforge.ports.model_backend import ModelRequest, Outputs
from polyforge.serving.response_cache import ENTRY_BYTES, ResponseCache


def request(data: bytes, name: str = "x", shape: tuple[int, ...] | None = None, **said: Parameter) -> ModelRequest:
    return ModelRequest({name: Tensor(name, "UINT8", shape or (len(data),), data)}, said)


def answer(size: int) -> Outputs:
    return (Tensor("y", "UINT8", (size,), bytes(size)),)


def test_the_least_recently_used_go() -> None:
    cache = ResponseCache(3 * (ENTRY_BYTES + 100))
    keys = [cache.key(1, request(bytes([place]))) for place in range(4)]
    for key in keys[:3]:
        cache.put(key, answer(100))
    assert cache.get(keys[0]) is not None
    cache.put(keys[3], answer(100))
    assert [cache.get(key) is not None for key in keys] == [True, False, True, True]
    assert cache.bytes == cache.max_bytes


def test_an_answer_that_is_too_large_is_not_kept_and_nothing_goes_for_it() -> None:
    cache = ResponseCache(2 * ENTRY_BYTES)
    small, large = cache.key(1, request(b"a")), cache.key(1, request(b"b"))
    cache.put(small, answer(10))
    cache.put(large, answer(10_000))
    assert cache.get(large) is None
    assert cache.get(small) is not None


def test_an_answer_takes_the_place_of_an_older_one() -> None:
    cache = ResponseCache(10_000)
    key = cache.key(1, request(b"a"))
    cache.put(key, answer(10))
    cache.put(key, answer(20))
    assert cache.get(key) == answer(20)
    assert cache.bytes == ENTRY_BYTES + 20
    assert len(cache) == 1


def test_what_is_kept_is_no_view_into_a_whole_run() -> None:
    cache = ResponseCache(10_000)
    whole = bytearray(100)
    key = cache.key(1, request(b"a"))
    cache.put(key, (Tensor("y", "UINT8", (4,), memoryview(whole)[:4]),))
    whole[:4] = b"\xff" * 4
    assert cache.get(key) == (Tensor("y", "UINT8", (4,), bytes(4)),)


def test_requests_that_differ_in_anything_have_keys_of_their_own() -> None:
    cache = ResponseCache(1)
    requests = [
        request(b"ab"),
        request(b"ba"),
        request(b"ab", name="z"),
        request(b"ab", shape=(1, 2)),
        request(b"ab", dimensions=2),
        request(b"ab", dimensions="2"),
        ModelRequest({"x": Tensor("x", "INT8", (2,), b"ab")}, {}),
        ModelRequest({"a": Tensor("a", "UINT8", (1,), b"a"), "b": Tensor("b", "UINT8", (1,), b"b")}, {}),
    ]
    keys = {cache.key(model, each) for each in requests for model in (1, 2)}
    assert len(keys) == 2 * len(requests)


def test_how_urgent_a_request_is_changes_no_answer() -> None:
    cache = ResponseCache(1)
    assert cache.key(1, request(b"ab", priority=1, timeout=5)) == cache.key(1, request(b"ab"))


def test_the_answers_of_one_model_are_forgotten() -> None:
    cache = ResponseCache(10_000)
    mine, other = cache.key(1, request(b"a")), cache.key(2, request(b"a"))
    cache.put(mine, answer(1))
    cache.put(other, answer(1))
    cache.forget(1)
    assert cache.get(mine) is None
    assert cache.get(other) is not None
    assert cache.bytes == ENTRY_BYTES + 1
