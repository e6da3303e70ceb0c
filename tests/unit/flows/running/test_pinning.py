"""The sub-flows of a run are looked up once each, and refused where they are too deep, too many or go round."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from polyforge.flows.canonical import version_id
from polyforge.flows.document import Document
from polyforge.flows.keeping.records import FlowVersion
from polyforge.flows.running.pinning import MAX_SUB_FLOWS, Pins, pin
from polyforge.kernel.errors import Invalid, NotFound
from polyforge.tenancy.callers import Caller
from tests.support.flows import flow, loaded, node
from tests.unit.tenancy.samples import caller

ME = caller("flows:run")


class Versions:
    """Flows by reference, each with the references that its nodes call."""

    def __init__(self, flows: Mapping[str, Sequence[str]]) -> None:
        self._flows = flows
        self.asked: Counter[str] = Counter()

    async def resolve(self, caller: Caller, reference: str) -> FlowVersion:
        """What a reference means."""
        self.asked[reference] += 1
        name = reference.partition("@")[0]
        if reference not in self._flows:
            raise NotFound(f"there is no flow {reference!r}")
        document = calling(reference, self._flows[reference])
        return FlowVersion(
            flow_id=f"flow_{name}", flow_name=name, version=version_id(document), number=1, title="", document=document
        )

    async def pins(self, name: str) -> Pins:
        """What a run of a flow is pinned to."""
        return await pin(self, ME, await self.resolve(ME, name))


def calling(name: str, called: Sequence[str]) -> Document:
    nodes = {
        f"call-{number}": node("flow.call", {"flow": {"$ref": f"flow:{each}"}}) for number, each in enumerate(called)
    }
    return loaded(flow({**nodes, "says": node("prompt.template", {"template": name})}))


async def test_each_sub_flow_is_looked_up_once_however_often_it_is_called() -> None:
    names = ["a", "b", "c", "d", "e"]
    versions = Versions({name: [*names[number + 1 : number + 2]] * 12 for number, name in enumerate(names)})
    pins = await versions.pins("a")
    assert versions.asked == Counter(names)
    assert [len(targets) for targets in pins.pinned.values()] == [1, 1, 1, 1, 0]


async def test_many_nodes_may_call_one_sub_flow() -> None:
    pins = await Versions({"a": ["b"] * (MAX_SUB_FLOWS + 10), "b": []}).pins("a")
    assert len(pins.pinned) == 2


async def test_so_many_sub_flows_take_part() -> None:
    most = [f"b{number}" for number in range(MAX_SUB_FLOWS)]
    flows = {"a": most, **{name: list[str]() for name in most}}
    assert len((await Versions(flows).pins("a")).pinned) == MAX_SUB_FLOWS + 1
    with pytest.raises(Invalid, match="50 sub-flows at most"):
        await Versions({**flows, "a": [*most, "c"], "c": []}).pins("a")


@pytest.mark.parametrize("flows", [{"a": ["a"]}, {"a": ["b"], "b": ["c"], "c": ["b"]}])
async def test_a_flow_does_not_call_itself(flows: Mapping[str, Sequence[str]]) -> None:
    with pytest.raises(Invalid, match="would call itself"):
        await Versions(flows).pins("a")


async def test_a_flow_does_not_call_an_older_version_of_itself_through_what_is_known() -> None:
    flows = {"a": ["b", "c"], "b": ["c@old"], "c": ["b"], "c@old": list[str]()}
    with pytest.raises(Invalid, match="node call-0: the flow b would call itself"):
        await Versions(flows).pins("a")


async def test_what_is_known_is_not_nested_deeper_than_anything_else() -> None:
    chain = {"d": ["e"], "e": ["f"], "f": []}
    await Versions({**chain, "a": ["b", "d"], "b": ["d"]}).pins("a")
    with pytest.raises(Invalid, match="5 deep"):
        await Versions({**chain, "a": ["d", "b"], "b": ["c"], "c": ["d"]}).pins("a")


async def test_a_sub_flow_that_is_not_there_is_told_with_its_node() -> None:
    with pytest.raises(Invalid, match="node call-0: there is no flow 'gone'"):
        await Versions({"a": ["gone"]}).pins("a")
