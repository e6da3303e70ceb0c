"""Whether inputs fit what a flow declares."""

from collections.abc import Mapping

from msgspec import UNSET

from polyforge.flows.document import Interface, Json
from polyforge.flows.porttypes import parse_type
from polyforge.flows.running.values import value_fits
from polyforge.kernel.errors import Invalid


def check_inputs(interface: Interface, inputs: Mapping[str, Json]) -> None:
    """Invalid, naming the input, where one is unknown, missing or of another type."""
    for name in sorted(inputs.keys() - interface.inputs.keys()):
        known = ", ".join(interface.inputs) or "none"
        raise Invalid(f"the flow has no input {name[:64]!r}; it has: {known}", param=f"inputs.{name[:64]}")
    for name, declared in interface.inputs.items():
        if name not in inputs:
            if declared.required and declared.default is UNSET:
                raise Invalid(f"give the input {name!r}, which is {declared.type}", param=f"inputs.{name}")
        elif not value_fits(inputs[name], parse_type(declared.type)):
            raise Invalid(f"what is given for {name!r} is no {declared.type}", param=f"inputs.{name}")
