import importlib
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from polyforge import __version__
from polyforge.cli.lazy import PACKAGE, module_of
from polyforge.cli.main import Commands, app

HEAVY = ("pydantic", "sqlalchemy", "fastapi", "msgspec", "numpy", "uvicorn", "rich", "yaml", "asyncio")


def test_help_shows_every_command_with_what_it_does() -> None:
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    for name, line in Commands.COMMANDS.items():
        assert name in shown.stdout
        assert line in shown.stdout


@pytest.mark.parametrize("name", Commands.COMMANDS)
def test_every_command_is_there_and_explains_itself(name: str) -> None:
    assert isinstance(importlib.import_module(f"{PACKAGE}.{module_of(name)}").app, typer.Typer)
    shown = CliRunner().invoke(app, [name, "--help"], prog_name="polyforge")
    assert shown.exit_code == 0
    assert f"Usage: polyforge {name} " in shown.stdout


def test_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"polyforge {__version__}\n"


def test_an_unknown_command_is_named() -> None:
    result = CliRunner().invoke(app, ["upp"])
    assert result.exit_code == 2
    assert "upp" in result.output


def test_help_loads_nothing_that_a_command_needs() -> None:
    program = (
        "import sys; from polyforge.cli.main import app; app(['--help'], standalone_mode=False);"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stderr == "[]\n"
