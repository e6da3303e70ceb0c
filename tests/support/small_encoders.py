"""Folders of tiny text encoders, told apart by how many numbers their vectors have."""

from pathlib import Path

from tests.conformance import onnx_graphs
from tests.conformance.encoder_files import WORDS, write_encoder


def encoder(folder: Path, width: int) -> Path:
    """An encoder whose vectors have `width` numbers; in place of the one that was there."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_encoder(folder, graph=onnx_graphs.word_vectors(onnx_graphs.word_table(len(WORDS), width)))
