"""The templates of the package: a folder each, with `flow.json`, `sample.json` and `README.md`."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from polyforge.flows.built_in import built_in
from polyforge.flows.document import Document
from polyforge.flows.gallery.records import Needs, Template
from polyforge.flows.reading import read
from polyforge.flows.requirements import requirements

FILES: Final = Path(__file__).parent / "files"


@cache
def templates() -> dict[str, Template]:
    """All of them by name, in the order of their names; read when first asked for."""
    return {folder.name: _template(folder) for folder in sorted(FILES.iterdir()) if folder.is_dir()}


def needs_of(document: Document) -> Needs:
    """What a flow names that an installation has to have."""
    found = requirements(document, built_in())
    return Needs(_of("model", found.references), _of("guardrail", found.references), found.secrets, found.capabilities)


def _template(folder: Path) -> Template:
    document = read((folder / "flow.json").read_bytes()).document
    assert document is not None, f"the template {folder.name} can be read"
    return Template(
        folder.name,
        document,
        msgspec.json.decode((folder / "sample.json").read_bytes(), type=dict[str, Any]),
        (folder / "README.md").read_text(encoding="utf-8"),
        needs_of(document),
    )


def _of(kind: str, references: tuple[str, ...]) -> tuple[str, ...]:
    named = [each.partition(":") for each in references]
    return tuple(name for prefix, _, name in named if prefix == kind)
