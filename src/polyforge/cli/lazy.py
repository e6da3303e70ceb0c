"""Commands by name, so that `--help` and each command load only what they show or do."""

import importlib
import keyword
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

PACKAGE = "polyforge.cli"


class _Formatter(Protocol):
    def section(self, name: str) -> Any: ...
    def write_dl(self, rows: Sequence[tuple[str, str]]) -> None: ...


def plain_app(about: str | None = None) -> typer.Typer:
    """A Typer application that prints plain text: Rich alone would take longer than most commands."""
    return typer.Typer(
        help=about, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )


class LazyGroup(TyperGroup):
    """A group whose commands are the modules of this package that `COMMANDS` names."""

    COMMANDS: ClassVar[dict[str, str]] = {}
    """From the name of a command, which is its module's too but for `module_of`, to its line of help."""

    def list_commands(self, ctx: object) -> list[str]:
        """Names in the order of the table."""
        return list(self.COMMANDS)

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | TyperGroup | None:
        """The command's module, loaded now, and its `app` as a command."""
        if cmd_name not in self.COMMANDS:
            return None
        app: typer.Typer = importlib.import_module(f"{PACKAGE}.{module_of(cmd_name)}").app
        command = get_command(app)
        command.name = cmd_name
        assert isinstance(command, TyperCommand | TyperGroup)
        return command

    def format_commands(self, ctx: object, formatter: _Formatter) -> None:
        """The commands with their help, none of them loaded."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.COMMANDS.items()))


def module_of(command: str) -> str:
    """Names that Python cannot have in a module's place get an underscore."""
    name = command.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name
