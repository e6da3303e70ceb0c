"""Sources of models are loaded when they are asked, and what is declared wrongly is told at the start."""

from pathlib import Path
from typing import Any, cast

import pytest

from polyforge.kernel.errors import SettingsError, Unavailable
from polyforge.ports.model_source import SourceReference
from polyforge.ports.secret_source import SecretSource
from polyforge.wiring.model_sources import LateSource, sources_of
from polyforge.wiring.settings import Settings


def settings(**declared: Any) -> Settings:
    return Settings.model_validate({"model_sources": declared})


async def test_a_source_is_loaded_at_the_first_question(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"weights")
    source = sources_of(settings(file={"use": "file", "folders": [str(tmp_path)]}))["file"]
    assert isinstance(source, LateSource)
    reference = SourceReference(tmp_path.as_uri())
    with pytest.raises(Unavailable, match="not open"):
        await source.listing(reference)
    await source.open(cast(SecretSource, object()))
    assert source._source is None
    listing = await source.listing(reference)
    assert [each.path for each in listing.files] == ["model.onnx"]
    assert b"".join([piece async for piece in source.read(reference, listing, listing.files[0], 2)]) == b"ights"
    await source.close()


def test_addresses_without_tls_are_read_by_the_same_source_as_those_with() -> None:
    sources = sources_of(settings())
    assert sources["http"] is sources["https"]


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"file": {"use": "file", "folder": "/a"}}, r"model_sources\.file\.folder"),
        ({"ftp": {"use": "ftp"}}, "there is no 'ftp'"),
        ({"http": {"use": "https"}}, "declare https instead"),
        ({"S3": {"use": "file"}}, "no address begins"),
    ],
)
def test_what_is_declared_wrongly_is_told_at_the_start(declared: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        sources_of(settings(**declared))
