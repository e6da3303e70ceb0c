"""What goes into the parts of a run: values that are written down, and those that others made, converted."""

from collections.abc import Mapping
from functools import partial
from typing import Final

import msgspec

from polyforge.flows.document import Json
from polyforge.flows.nodetypes import Port, Ports
from polyforge.flows.plan import Argument, Step, Value, Wire
from polyforge.flows.porttypes import PortType
from polyforge.flows.running.calls import CurrentCaller, Here
from polyforge.flows.running.frames import Frame
from polyforge.flows.running.needed import needed
from polyforge.flows.running.scene import Order, Scene, Tools
from polyforge.flows.running.values import converted

_decode: Final = msgspec.json.Decoder().decode


class Supply:
    """Finds the values of one run."""

    def __init__(self, order: Order, tools: Tools, caller: CurrentCaller) -> None:
        self._site = order.site
        self._tools = tools
        self._caller = caller

    def ports(self, scene: Scene, step: Step) -> Ports:
        """What a node takes and gives."""
        kind = self._tools.types.get(step.type, step.v)
        assert kind is not None, "a flow with an unknown type has no plan"
        return kind.ports(step.params, scene.plan.interface)

    async def inputs(self, scene: Scene, step: Step, frame: Frame, chosen: frozenset[str] | None) -> dict[str, Json]:
        """What goes into a node, by port, without what was skipped. `chosen`: the inputs that count; None: all."""
        ports: Mapping[str, Port] = self.ports(scene, step).inputs
        found = dict[str, Json]()
        for name, given in step.inputs.items():
            if isinstance(given, Value):
                found[name] = given.value
            elif frame.is_live(given) and (chosen is None or name in chosen):
                found[name] = await self.argument(given, frame, ports[name].type)
        return found

    async def argument(self, given: Argument, frame: Frame, wanted: PortType) -> Json:
        """A value as it is taken; Invalid where it does not fit."""
        if isinstance(given, Value):
            return given.value
        value = await self.value(given, frame)
        if given.coerce == "text_to_document":
            what = f"what {given.source} gave cannot be kept as a document"
            return await needed(self._tools, Here(given.source, ""), what, lambda: self._document(str(value)))
        return converted(given.coerce, value, wanted)

    async def value(self, wire: Wire, frame: Frame) -> Json:
        """What a wire brings, which is live."""
        done = frame.find(wire)
        assert done is not None, "nothing runs before what it takes is there"
        if done.stored is None:
            return (done.outputs or {})[wire.port]
        name, what = done.stored, f"what {wire.source} gave cannot be read"
        load = partial(self._tools.values.load, self._site, name)
        return _decode(await needed(self._tools, Here(wire.source, ""), what, load))[wire.port]

    async def collected(self, wires: Mapping[str, Wire], frame: Frame) -> dict[str, Json]:
        """What wires bring by name, without what was skipped."""
        return {name: await self.value(wire, frame) for name, wire in wires.items() if frame.is_live(wire)}

    async def _document(self, text: str) -> Json:
        return dict(await self._tools.facilities.objects.put(await self._caller(), text.encode(), "text/plain"))
