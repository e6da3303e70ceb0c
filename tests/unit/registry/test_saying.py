"""The name that a machine keeps."""

from pathlib import Path

import pytest

from polyforge.kernel.errors import Unavailable
from polyforge.registry.deployments.saying import machine_name


def test_a_machine_keeps_its_name(tmp_path: Path) -> None:
    file = tmp_path / "data" / "machine"
    name = machine_name(file)
    assert name == machine_name(file)
    assert [each.name for each in file.parent.iterdir()] == ["machine"]


@pytest.mark.parametrize("left", ["", "\n", "x" * 1000])
def test_what_a_full_disk_left_is_no_name(tmp_path: Path, left: str) -> None:
    file = tmp_path / "machine"
    file.write_text(left)
    name = machine_name(file)
    assert name.strip()
    assert len(name) < 100
    assert name == machine_name(file)


def test_a_file_that_cannot_be_kept_is_told_without_its_path(tmp_path: Path) -> None:
    file = tmp_path / "machine"
    file.mkdir()
    with pytest.raises(Unavailable) as caught:
        machine_name(file)
    assert str(tmp_path) not in caught.value.message
