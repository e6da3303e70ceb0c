"""The file of a process's numbers: it has its space from the start, however that is set aside."""

import os
from pathlib import Path

import pytest

from polyforge.telemetry.cells import CellFile, Owner, read_cells

OWNER = Owner("gateway-0", os.getpid(), 0.0)


def no_such_call(fd: int, offset: int, size: int) -> None:
    raise OSError


@pytest.mark.parametrize("can_allocate", [True, False])
def test_the_space_of_the_file_is_its_own_before_the_first_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_allocate: bool
) -> None:
    if not can_allocate:
        monkeypatch.setattr(os, "posix_fallocate", no_such_call, raising=False)
    path = tmp_path / "one.cells"
    file = CellFile(path, OWNER, cells=100_000, series=1_000)
    file.open()
    facts = path.stat()
    assert facts.st_size > 100_000 * 8
    assert facts.st_blocks * 512 >= facts.st_size
    file.cells[file.add("requests", ("chat",), 1)] += 2.0
    snapshot = read_cells(path)
    assert snapshot is not None
    assert snapshot.alive
    assert [(entry.family, numbers) for entry, numbers in snapshot.series] == [("requests", [2.0])]
    file.close()
