"""Arguments of calls as objects, whatever the model wrote."""

import pytest

from polyforge.dialects.arguments import arguments_object


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("", b"{}"),
        (" \n", b"{}"),
        ("{}", b"{}"),
        ('{"a": 1.50, "b": [9007199254740993]}', b'{"a": 1.50, "b": [9007199254740993]}'),
        ('{"city": "K\u00f6ln"}', '{"city": "K\u00f6ln"}'.encode()),
        ('{"city": "K', b'{"arguments":"{\\"city\\": \\"K"}'),
        ("[1]", b'{"arguments":"[1]"}'),
        ('"x"', b'{"arguments":"\\"x\\""}'),
        ("null", b'{"arguments":"null"}'),
        ("\ud800", b'{"arguments":"?"}'),
    ],
)
def test_arguments_become_an_object_and_are_never_lost(written: str, read: bytes) -> None:
    assert bytes(arguments_object(written)) == read


def test_arguments_that_are_nested_without_end_are_text() -> None:
    assert bytes(arguments_object('{"a":' + "[" * 100_000)).startswith(b'{"arguments":')
