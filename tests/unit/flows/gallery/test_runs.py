"""Each template runs to its end on its sample and does what its text says; models say what a test has them say."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from polyforge.flows.built_in import runners
from polyforge.flows.document import written
from polyforge.flows.gallery.reading import templates
from polyforge.flows.running.contract import Facilities, HttpAnswer, ModelAnswer, Verdict
from polyforge.flows.running.records import Decision, Trigger
from polyforge.flows.running.scene import Tools
from polyforge.kernel.errors import NotFound
from polyforge.kernel.tasks import Task
from polyforge.tenancy.callers import Caller
from tests.support.flow_runs import FlowBench
from tests.support.waiting import eventually_async

Json = Any
Asked = Mapping[str, Any]
Says = Callable[[Asked], Json]


class World:
    """Everything that the nodes of a template use, and what they did with it."""

    def __init__(self, **says: Says) -> None:
        self.says = says
        """By node, what the model answers; what is no text is given as JSON."""
        self.asked: list[tuple[str, str]] = []
        self.sent: list[tuple[str, tuple[str, ...], str]] = []
        self.fetched: list[tuple[str, Mapping[str, str]]] = []
        self.judge: Callable[[str], Verdict] = lambda text: Verdict(passed=True, text=text)
        self.secrets = {"support-channel": "https://hooks/support", "report-channel": "https://hooks/report"}
        self.body: Json = {}

    def task(self, caller: Caller, model: str) -> Task | None:
        """Every model chats."""
        assert model == "assistant"
        return "chat"

    async def call(
        self,
        caller: Caller,
        url: str,
        body: bytes,
        *,
        key: bytes | None,
        tags: tuple[str, ...],
        on_text: Callable[[str], None] | None = None,
    ) -> ModelAnswer:
        """Say what the node's model says."""
        assert url == "/v1/chat/completions"
        asked = json.loads(body)
        node = next(each.removeprefix("node=") for each in tags if each.startswith("node="))
        words = "\n".join(str(each["content"]) for each in asked["messages"])
        self.asked.append((node, words))
        said = self.says[node](asked)
        text = said if isinstance(said, str) else json.dumps(said)
        usage = {"prompt_tokens": 5, "completion_tokens": 2}
        message = {"role": "assistant", "content": text}
        return ModelAnswer(json.dumps({"choices": [{"message": message}], "usage": usage}).encode(), 10)

    async def get(self, caller: Caller, name: str) -> str:
        """A secret."""
        if name not in self.secrets:
            raise NotFound(f"there is no secret {name!r}")
        return self.secrets[name]

    async def check(self, caller: Caller, names: Sequence[str], text: str, direction: str) -> Verdict:
        """Judge."""
        return self.judge(text)

    async def send(self, caller: Caller, channel: str, to: Sequence[str], subject: str, text: str, *, key: str) -> None:
        """Note a message."""
        self.sent.append((channel, tuple(to), text))

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        timeout_seconds: float,
        max_bytes: int,
    ) -> HttpAnswer:
        """Answer with what there is."""
        self.fetched.append((url, headers))
        return HttpAnswer(200, {"content-type": "application/json"}, json.dumps(self.body).encode())

    def words(self, node: str) -> list[str]:
        """What the model of a node was asked, each time."""
        return [words for name, words in self.asked if name == node]


class TemplateBench(FlowBench):
    """Runs a template of the package on its sample."""

    def __init__(self, name: str, world: World, **inputs: Json) -> None:
        template = templates()[name]
        found: Any = runners()
        super().__init__(written(template.document), found, **{**template.sample, **inputs})
        self.world: Any = world

    def _tools(self) -> Tools:
        tools, world = super()._tools(), self.world
        facilities = Facilities(
            models=world, http=world, secrets=world, objects=world, sandbox=world, sql=world, notifier=world,
            guardrails=world, memory=world,
        )  # fmt: skip
        return Tools(
            types=tools.types, runners=tools.runners, facilities=facilities, approvals=tools.approvals,
            values=tools.values, results=tools.results, clock=tools.clock, at_once=tools.at_once,
            backoff=tools.backoff,
        )  # fmt: skip


def always(said: Json) -> Says:
    return lambda asked: said


def text_of(asked: Asked) -> str:
    """What the user said last."""
    return str(asked["messages"][-1]["content"])


def variants(word: str) -> Json:
    return {
        "variants": [
            {"headline": f"{word} {number}", "body": "It weighs up to 5 kg.", "call_to_action": "Order now"}
            for number in (1, 2, 3)
        ]
    }


def copy_world() -> World:
    rounds = iter(["First", "Second", "Third", "Fourth"])
    unsupported = {"unsupported": [{"variant": 3, "statement": "the best", "why": "no fact says so"}]}
    return World(write=lambda _: variants(next(rounds)), claims=always(unsupported))


async def _decided(bench: TemplateBench, *decisions: Decision) -> dict[str, Json]:
    """Run it, with somebody who decides so, one round after the other."""
    run = asyncio.create_task(bench.run())
    for number, decision in enumerate(decisions):
        approval = f"appr_{number}"
        await eventually_async(lambda approval=approval: approval in bench.approvals.questions)
        bench.approvals.decisions[approval] = decision
        bench.tell(f"approval:{approval}")
    return await run


async def test_copy_is_written_checked_and_chosen_by_somebody() -> None:
    world = copy_world()
    bench = TemplateBench("campaign-copy", world)
    found = await _decided(bench, Decision("approved", {"variant": "2"}))
    assert found == {"decision": "approved", "copy": variants("First")["variants"][1], "rounds": 1}
    question = bench.approvals.questions["appr_0"]
    assert "Fennel" in question.text
    assert question.shown["unsupported_claims"][0]["variant"] == 3
    assert question.form is not None
    [claims] = world.words("claims")
    assert "costs 29 euros" in claims, "claims are checked against the facts"


async def test_a_rejection_is_followed_in_the_next_round() -> None:
    world = copy_world()
    bench = TemplateBench("campaign-copy", world)
    rejected, approved = Decision("rejected", reason="Say what it costs"), Decision("approved", {"variant": "1"})
    found = await _decided(bench, rejected, approved)
    assert (found["decision"], found["rounds"]) == ("approved", 2)
    assert found["copy"]["headline"] == "Second 1"
    first, second = world.words("write")
    assert "Say what it costs" not in first
    assert "Say what it costs" in second


async def test_after_three_rejections_nothing_is_approved() -> None:
    rejected = [Decision("rejected", reason="No") for _ in range(3)]
    found = await _decided(TemplateBench("campaign-copy", copy_world()), *rejected)
    assert found == {"decision": "open", "copy": {}, "rounds": 3}


async def test_copy_that_nobody_looks_at_expires() -> None:
    found = await _decided(TemplateBench("campaign-copy", copy_world()), Decision("expired"))
    assert found == {"decision": "expired", "copy": {}, "rounds": 1}


def read_review(asked: Asked) -> Json:
    text = text_of(asked)
    if "dent" in text:
        return {"sentiment": "negative", "topic": "delivery", "quote": "Came with a dent", "wish": "faster answers"}
    if "off" in text:
        return {"sentiment": "mixed", "topic": "usability", "quote": text[:40], "wish": "stay on longer"}
    return {"sentiment": "positive", "topic": "quality", "quote": text[:40], "wish": ""}


async def test_reviews_are_read_one_by_one_and_counted_exactly() -> None:
    world = World(read=read_review, summary=always("Fix the timer."))
    found = await TemplateBench("review-mining", world).run()
    counts = found["counts"]
    assert found["summary"] == "Fix the timer."
    assert (counts["reviews"], counts["positive"], counts["mixed"], counts["negative"]) == (8, 5, 2, 1)
    assert {each["topic"]: each["count"] for each in counts["complaints_by_topic"] if each["count"]} == {
        "usability": 2,
        "delivery": 1,
    }
    assert [each["topic"] for each in found["complaints"]] == ["delivery", "usability", "usability"]
    assert len(world.words("read")) == 8
    [summary] = world.words("summary")
    assert '"negative":1' in summary.replace(" ", "")
    assert "Came with a dent" in summary


async def test_a_review_that_cannot_be_read_is_left_out() -> None:
    def sometimes(asked: Asked) -> Json:
        return "I would rather not" if "Batterien" in str(asked) else read_review(asked)

    bench = TemplateBench("review-mining", World(read=sometimes, summary=always("Good.")))
    assert (await bench.run())["counts"]["reviews"] == 7
    assert bench.pages.of("item.left_out") == [("each", "3")]


async def test_products_get_descriptions_and_none_is_lost() -> None:
    def write(asked: Asked) -> str:
        text = text_of(asked)
        return "" if "Lunch box" in text else f"For kitchens. {'It cures colds.' if 'towel' in text else 'It weighs.'}"

    world = World(write=write)
    world.judge = lambda text: (
        Verdict(passed=False, text="", kinds=("claim",)) if "cures" in text else Verdict(passed=True, text=text)
    )

    def failing(asked: Asked) -> Json:
        if "Lunch box" in text_of(asked):
            raise NotFound("the model is gone")
        return write(asked)

    world.says["write"] = failing
    found = await TemplateBench("product-descriptions", world).run()
    assert found["descriptions"] == [
        {"sku": "KS-1", "name": "Fennel kitchen scale", "description": "For kitchens. It weighs."}
    ]
    assert found["held_back"] == [{"sku": "TW-4", "kinds": ["claim"]}]
    assert found["failed"] == ["LB-2"]
    assert all("English" in words for words in world.words("write"))


def triage_world(label: str, *, urgent: bool) -> World:
    facts = {"urgent": urgent, "reason": "Nobody can take orders."}
    drafts = {name: always(f"Draft: {name}") for name in ("billing", "technical", "access", "general")}
    return World(kind=always({"labels": [{"label": label, "score": 0.9}]}), urgency=always(facts), **drafts)


async def test_an_urgent_ticket_is_sorted_answered_and_told() -> None:
    world = triage_world("account and access", urgent=True)
    found = await TemplateBench("ticket-triage", world).run()
    assert found == {
        "category": "account and access",
        "urgent": True,
        "reason": "Nobody can take orders.",
        "reply": "Draft: access",
    }
    [(channel, to, text)] = world.sent
    assert (channel, to) == ("slack", ("https://hooks/support",))
    assert "Cannot sign in" in text
    assert [name for name, _ in world.asked if name in ("billing", "technical", "general")] == []


async def test_other_tickets_get_their_own_drafts_and_nobody_is_disturbed() -> None:
    for label, draft in (
        ("billing", "billing"),
        ("technical problem", "technical"),
        ("feature request", "general"),
        ("other", "general"),
    ):
        world = triage_world(label, urgent=False)
        assert (await TemplateBench("ticket-triage", world).run())["reply"] == f"Draft: {draft}"
        assert world.sent == []


async def test_a_ticket_comes_in_by_itself() -> None:
    world = triage_world("billing", urgent=False)
    bench = TemplateBench("ticket-triage", world)
    bench.inputs = {}
    bench.trigger = Trigger("webhook", "trig", {"body": {"subject": "Twice", "body": "I paid twice."}, "headers": {}})
    assert (await bench.run())["reply"] == "Draft: billing"
    assert "I paid twice." in world.words("billing")[0]


async def test_a_note_is_masked_by_form_and_by_model_and_looked_at_again() -> None:
    looked: list[str] = []

    def judge(text: str) -> Verdict:
        looked.append(text)
        masked = text.replace("asha.verma@example.org", "[EMAIL]").replace("+91 98765 43210", "[PHONE]")
        return Verdict(passed=True, text=masked)

    def names(asked: Asked) -> Json:
        text = text_of(asked)
        assert "[EMAIL]" in text, "the model never sees what has a form"
        note = text.replace("Asha Verma", "[PERSON_1]").replace("Rohan", "[PERSON_2]")
        return {"note": note, "masks": [{"mask": "[PERSON_1]", "kind": "person", "times": 1}]}

    world = World(names=names)
    world.judge = judge
    found = await TemplateBench("deidentify-notes", world).run()
    assert found.keys() == {"note", "replaced"}
    assert "Asha" not in found["note"]
    assert found["replaced"]["by_form"] == ["EMAIL", "PHONE"]
    assert found["replaced"]["by_model"] == [{"mask": "[PERSON_1]", "kind": "person", "times": 1}]
    assert len(looked) == 2


async def test_a_note_that_is_blocked_goes_no_further() -> None:
    world = World()
    world.judge = lambda text: Verdict(passed=False, text="", kinds=("api_key",))
    assert await TemplateBench("deidentify-notes", world).run() == {"blocked": {"kinds": ["api_key"]}}
    assert world.asked == []


async def test_a_note_in_which_the_model_puts_something_back_is_blocked() -> None:
    world = World(names=always({"note": "call +91 98765 43210", "masks": []}))
    world.judge = lambda text: Verdict(passed="+91 98765" not in text or "Seen" in text, text=text, kinds=("phone",))
    assert await TemplateBench("deidentify-notes", world).run() == {"blocked": {"kinds": ["phone"]}}


def report_world() -> World:
    finding = {"what": "Orders", "value": "420", "compared": "up from 380", "mark": "good"}
    world = World(findings=always({"findings": [finding]}), report=always("A good week."))
    world.body = {"orders": 420, "orders_last_week": 380}
    return world


async def test_a_report_is_written_by_hand() -> None:
    world = report_world()
    found = await TemplateBench("weekly-report", world).run()
    assert found["report"] == "A good week."
    assert found["findings"]["findings"][0]["value"] == "420"
    [(url, headers)] = world.fetched
    assert url == "https://shop.example.com/api/weekly.json"
    assert headers["accept"] == "application/json"
    [(channel, to, text)] = world.sent
    assert (channel, to) == ("slack", ("https://hooks/report",))
    assert text.startswith("*Weekly report: our shop, the last seven days*")
    assert "420" in world.words("findings")[0]


async def test_a_report_by_the_clock_says_which_week() -> None:
    world = report_world()
    bench = TemplateBench("weekly-report", world)
    bench.trigger = Trigger("schedule", "trig", {"at": "2026-11-23T08:00:00Z"})
    await bench.run()
    assert "the week up to 2026-11-23T08:00:00Z" in world.sent[0][2]
