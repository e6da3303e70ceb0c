"""Flows of templates on a running installation with a worker: somebody approves, others call, the clock strikes."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from polyforge.cli.main import app
from polyforge.flows.gallery.reading import templates
from polyforge.flows.triggers.signing import signed
from tests.conftest import Serve
from tests.support.behaviours import Answer, Exchange
from tests.support.clients import call
from tests.support.collector import Collector
from tests.support.server import ALL, Polyforge
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

SECRET = "a-long-random-secret"
MINE = {"models": {"assistant": "assistant"}}
VARIANTS = {
    "variants": [
        {"headline": f"Idea {number}", "body": "Weighs up to 5 kg.", "call_to_action": "Order now"}
        for number in (1, 2, 3)
    ]
}
TICKET = {"subject": "Charged twice", "body": "I paid the May invoice twice."}
SAID = (
    ("You write copy for campaigns", VARIANTS),
    ("You check advertising", {"unsupported": []}),
    ("Say which of these labels fit", {"labels": [{"label": "billing", "score": 0.9}]}),
    ("Tell whether it is urgent", {"urgent": True, "reason": "Money is gone."}),
    ("This one is about money", "We look into the charge."),
    ("in which numbers and addresses are masked already", None),
    ("Product: Linen tea towel", "It cures colds."),
    ("You write descriptions for an online shop", "For kitchens."),
)
"""What is said to whom who is told so."""


class Says:
    """Answers by what the model is told."""

    async def play(self, exchange: Exchange) -> None:
        words = " ".join(str(each["content"]) for each in exchange.json["messages"])
        said: Any = next(answer for sign, answer in SAID if sign in words)
        if said is None:
            note = str(exchange.json["messages"][-1]["content"]).replace("Asha Verma", "[PERSON_1]")
            said = {"note": note, "masks": [{"mask": "[PERSON_1]", "kind": "person", "times": 1}]}
        await Answer(said if isinstance(said, str) else json.dumps(said)).play(exchange)


@pytest.fixture(scope="module")
def channel() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def site(serve: Serve, upstream: Upstream, channel: Collector) -> Polyforge:
    upstream.script("assistant", Says())
    sections = {"egress": {"allow": ["127.0.0.0/8"]}, "guardrails": guardrails()}
    server = serve(settings(upstream, solo("assistant"), **sections), roles=ALL)
    for name, value in (("ticket-webhook", SECRET), ("support-channel", channel.url)):
        assert server.api("POST", "/secrets", {"name": name, "value": value}).status == 201
    return server


def guardrails() -> dict[str, Any]:
    """Those that the texts of templates say to begin with."""
    found: dict[str, Any] = {}
    for template in templates().values():
        for block in re.findall(r"```yaml\n(.*?)```", template.readme, re.DOTALL):
            found |= yaml.safe_load(block)["guardrails"]
    assert set(found) == {"personal-data", "product-claims"}
    return found


@pytest.fixture(scope="module")
def tickets(site: Polyforge) -> str:
    return made(site, "ticket-triage")


def made(site: Polyforge, template: str) -> str:
    """The short name of a flow of a template."""
    found = site.api("POST", f"/flow-templates/{template}/create", MINE)
    assert found.status == 201, found.body
    assert found.json["problems"] == []
    return found.json["slug"]


def ended(site: Polyforge, run_id: str) -> dict[str, Any]:
    """The outputs of a run, once it is over and well."""

    def look() -> Any:
        run = site.api("GET", f"/flow-runs/{run_id}").json
        return run if run["state"] in ("succeeded", "failed", "cancelled") else None

    run = eventually(look, f"the end of {run_id}")
    assert run["state"] == "succeeded", (run["error"], site.tail())
    return site.api("GET", f"/flow-runs/{run_id}/result").json["outputs"]


def trigger(site: Polyforge, **wanted: Any) -> dict[str, Any]:
    found = site.api("POST", "/flow-triggers", wanted)
    assert found.status == 201, found.body
    return found.json


def deliver(url: str, delivery: str, secret: str = SECRET) -> Any:
    """Call as the sender of tickets does."""
    body, at = json.dumps(TICKET).encode(), int(time.time())
    headers = {
        "content-type": "application/json",
        "webhook-id": delivery,
        "webhook-timestamp": str(at),
        "webhook-signature": signed(secret, delivery, at, body),
    }
    site, _, path = url.partition("/hooks/")
    return call(site, f"/hooks/{path}", body=body, headers=headers)


def test_copy_waits_for_somebody_who_rejects_and_then_approves(site: Polyforge) -> None:
    slug = made(site, "campaign-copy")
    inputs = templates()["campaign-copy"].sample
    run = site.api("POST", f"/flows/{slug}/run", {"inputs": inputs, "mode": "async"})
    assert run.status == 202, run.body

    def pending(path: str) -> Any:
        found = site.api("GET", f"/approvals?run={run.json['id']}&state=pending").json["data"]
        return next((each for each in found if each["path"] == path), None)

    first = eventually(lambda: pending("0"), "the first question")
    assert first["shown"]["variants"] == VARIANTS["variants"]
    rejection = {"decision": "reject", "reason": "Say what it costs"}
    assert site.api("POST", f"/approvals/{first['id']}/decide", rejection).status == 200
    second = eventually(lambda: pending("1"), "the second question")
    approval = {"decision": "approve", "values": {"variant": "2"}}
    assert site.api("POST", f"/approvals/{second['id']}/decide", approval).status == 200
    found = ended(site, run.json["id"])
    assert found == {"decision": "approved", "copy": VARIANTS["variants"][1], "rounds": 2}


def run(site: Polyforge, template: str) -> dict[str, Any]:
    """The outputs of a run of a template on its sample."""
    body = {"inputs": templates()[template].sample, "mode": "async"}
    begun = site.api("POST", f"/flows/{made(site, template)}/run", body)
    assert begun.status == 202, begun.body
    return ended(site, begun.json["id"])


def test_guardrails_of_the_installation_judge_descriptions(site: Polyforge) -> None:
    found = run(site, "product-descriptions")
    assert [each["sku"] for each in found["descriptions"]] == ["KS-1", "LB-2"]
    assert [each["sku"] for each in found["held_back"]] == ["TW-4"]
    assert found["failed"] == []


def test_notes_lose_what_has_a_form_before_the_model_sees_them(site: Polyforge, upstream: Upstream) -> None:
    found = run(site, "deidentify-notes")
    assert found["replaced"]["by_form"] == ["EMAIL", "PHONE", "ADDRESS"]
    assert "[PERSON_1]" in found["note"]
    assert "asha.verma@example.org" not in found["note"]
    assert not [each for each in upstream.requests("assistant") if b"asha.verma@example.org" in each.body]


def test_a_ticket_comes_in_by_a_webhook_once(site: Polyforge, tickets: str, channel: Collector) -> None:
    hook = trigger(site, kind="webhook", title="Help desk", flow=tickets)
    assert hook["url"].endswith(f"/hooks/{hook['id']}")
    first = deliver(hook["url"], "d1")
    assert first.status == 202, first.body
    found = ended(site, first.json["run_id"])
    assert found["category"] == "billing"
    assert found["reply"] == "We look into the charge."
    [message] = [json.loads(each) for each in channel.taken]
    assert "Charged twice" in message["text"]
    again = deliver(hook["url"], "d1")
    assert (again.status, again.json) == (202, {"run_id": first.json["run_id"], "repeated": True})
    forged = deliver(hook["url"], "d2", "another-long-secret")
    assert forged.status == 401
    assert "signature" in forged.body.decode()
    runs = site.api("GET", f"/flow-triggers/{hook['id']}/runs").json["data"]
    assert [each["run_id"] for each in runs] == [first.json["run_id"]]
    assert site.api("GET", f"/flow-runs/{first.json['run_id']}").json["trigger"]["kind"] == "webhook"
    assert len(channel.taken) == 1


def test_a_flow_that_a_trigger_needs_is_not_put_away(site: Polyforge, tickets: str) -> None:
    hook = trigger(site, kind="webhook", title="In the way", flow=tickets)
    refused = site.api("DELETE", f"/flows/{tickets}")
    assert refused.status == 409
    assert "In the way" in refused.body.decode()
    assert site.api("DELETE", f"/flow-triggers/{hook['id']}").status == 204


def test_a_schedule_begins_a_run_in_a_worker(site: Polyforge, tickets: str) -> None:
    clock = trigger(site, kind="schedule", title="Nightly", flow=tickets, cron="0 3 * * *", inputs={"ticket": TICKET})
    [schedule] = [each for each in site.api("GET", "/jobs/schedules").json["data"] if each["kind"] == "flow.trigger"]
    assert schedule["next_at"] == clock["next_at"]
    job = site.api("POST", f"/jobs/schedules/{schedule['id']}/run")
    assert job.status == 201, job.body

    def begun() -> Any:
        found = site.api("GET", f"/flow-triggers/{clock['id']}/runs").json["data"]
        return next((each for each in found if each["run_id"]), None)

    firing = eventually(begun, "a run of the schedule")
    assert firing["delivery"] == job.json["id"]
    assert ended(site, firing["run_id"])["category"] == "billing"


def test_templates_and_triggers_on_the_command_line(site: Polyforge) -> None:
    environ = {"POLYFORGE_URL": site.url, "POLYFORGE_API_KEY": site.admin_key, "POLYFORGE_DATA": str(site.data)}

    def say(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["flow", *arguments], env=environ)
        assert result.exception is None, result.output
        return result.stdout

    assert set(templates()) <= set(say("templates").split())
    assert say("templates", "weekly-report").startswith("# Weekly report")
    mine = ("--model", "assistant=assistant", "--secret", "support-channel=support-channel", "--slug", "desk")
    say("create", "--template", "ticket-triage", *mine)
    clock = say("triggers", "schedule", "desk", "--cron", "0 8 * * 1").split()[0]
    hook = say("triggers", "webhook", "desk", "--title", "Desk")
    assert f"{site.url}/hooks/trig_" in hook
    hook_id = hook.split()[0]
    listed = say("triggers", "list")
    assert clock in listed
    assert "0 8 * * 1 UTC" in listed
    begun = say("triggers", "fire", hook_id, "--body", json.dumps(TICKET)).split()[0]
    assert ended(site, begun)["category"] == "billing"
    assert begun in say("triggers", "runs", hook_id)
    say("triggers", "off", hook_id)
    assert json.loads(say("triggers", "list", "--json"))[0]["enabled"] is False
    say("triggers", "on", hook_id)
    for each in (hook_id, clock):
        say("triggers", "remove", each)
    assert hook_id not in say("triggers", "list")
