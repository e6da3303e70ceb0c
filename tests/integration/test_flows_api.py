"""Flows over the API and the command line of a running installation."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from polyforge.cli.errors import CommandError, Refused
from polyforge.cli.main import app
from tests.conftest import Serve
from tests.support.clients import RawCall, Response, request_bytes
from tests.support.flow_rooms import broken, saying
from tests.support.flows import as_bytes, node
from tests.support.server import Polyforge
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import DEADLINE

Run = Callable[..., str]


@pytest.fixture(scope="module")
def site(serve: Serve, upstream: Upstream) -> Polyforge:
    return serve(settings(upstream, solo("assistant")))


@pytest.fixture
def run(site: Polyforge) -> Run:
    environ = {"POLYFORGE_URL": site.url, "POLYFORGE_API_KEY": site.admin_key, "POLYFORGE_DATA": str(site.data)}

    def invoke(*arguments: str, given: bytes | None = None) -> str:
        result = CliRunner().invoke(app, ["flow", *arguments], env=environ, input=given)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return invoke


def made(site: Polyforge, slug: str, text: str = "one", **more: Any) -> dict[str, Any]:
    done = site.api("POST", "/flows", {"slug": slug, "document": saying(text), **more})
    assert done.status == 201, done.body
    return done.json


def sent(site: Polyforge, method: str, path: str, content: bytes, headers: dict[str, str] | None = None) -> Response:
    """A file as it is."""
    return site.call(f"/api/v1{path}", method=method, key=site.admin_key, body=content, headers=headers)


def committed(site: Polyforge, slug: str, text: str) -> dict[str, Any]:
    assert sent(site, "PUT", f"/flows/{slug}/draft", as_bytes(saying(text))).status == 200
    done = site.api("POST", f"/flows/{slug}/commit", {"message": f"say {text}"})
    assert done.status == 201, done.body
    return done.json


def test_the_life_of_a_flow(site: Polyforge) -> None:
    flow = made(site, "life")
    assert (flow["slug"], flow["title"], flow["head"], flow["draft_revision"]) == ("life", "Echo", None, 1)
    assert flow["created_by"]["name"] == "admin"
    draft = site.api("GET", f"/flows/{flow['id']}/draft")
    assert (draft.headers["etag"], draft.json["can_run"], draft.json["problems"]) == ('"1"', True, [])
    first = site.api("POST", "/flows/life/commit", {"message": "begun"})
    assert (first.status, first.json["number"], first.json["version"]) == (201, 1, draft.json["version"])
    assert site.api("POST", "/flows/life/commit", {}).status == 200
    second = committed(site, "life", "two")
    assert second["parent"] == first.json["version"]
    pointed = site.api("PUT", "/flows/life/aliases/prod", {"version": "1", "note": "live"})
    assert pointed.json["version"] == first.json["version"]
    site.api("PUT", "/flows/life/aliases/prod", {"version": second["version"][:10]})
    back = site.api("POST", "/flows/life/aliases/prod/rollback", {"note": "worse"})
    assert back.json["version"] == first.json["version"]
    history = site.api("GET", "/flows/life/alias-changes").json["data"]
    assert [(each["action"], each["note"]) for each in history] == [
        ("rolled_back", "worse"),
        ("set", ""),
        ("set", "live"),
    ]
    shown = site.api("GET", "/flows/life").json
    assert [(each["alias"], each["version"]) for each in shown["aliases"]] == [("prod", first.json["version"])]
    listed = site.api("GET", "/flows/life/versions").json["data"]
    assert [(each["number"], each["aliases"], each["message"]) for each in listed] == [
        (2, [], "say two"),
        (1, ["prod"], "begun"),
    ]
    whole = site.api("GET", "/flows/life/versions/prod").json
    assert whole["document"]["nodes"] == saying("one")["nodes"]
    assert site.api("DELETE", "/flows/life/versions/1").status == 409
    assert site.api("DELETE", "/flows/life/aliases/prod").status == 204
    assert site.api("DELETE", "/flows/life/versions/1").status == 204
    assert site.api("DELETE", "/flows/life").status == 204
    assert site.api("GET", "/flows/life").status == 404
    assert site.api("POST", f"/flows/{flow['id']}/restore").json["slug"] == "life"


def test_a_draft_that_was_changed_meanwhile_is_not_overwritten(site: Polyforge) -> None:
    made(site, "seen")
    saved = sent(site, "PUT", "/flows/seen/draft", as_bytes(saying("two")), {"if-match": '"1"'})
    assert (saved.status, saved.headers["etag"]) == (200, '"2"')
    refused = sent(site, "PUT", "/flows/seen/draft", as_bytes(saying("three")), {"if-match": '"1"'})
    assert (refused.status, refused.json["code"]) == (412, "precondition_failed")
    current = refused.json["current"]
    assert (current["revision"], [each["id"] for each in current["differences"]["nodes"]["changed"]]) == (2, ["say"])
    assert sent(site, "PUT", "/flows/seen/draft", as_bytes(saying("three")), {"if-match": "three"}).status == 400
    assert sent(site, "PUT", "/flows/seen/draft", as_bytes(saying("three")), {"if-match": "*"}).status == 200
    merged = site.api("POST", "/flows/seen/merge", {"base": saying("one"), "ours": saying("one"), "theirs": "draft"})
    assert (merged.json["document"]["nodes"], merged.json["conflicts"]) == (saying("three")["nodes"], [])
    clash = site.api("POST", "/flows/seen/merge", {"base": saying("one"), "ours": saying("two"), "theirs": "draft"})
    assert [(each["kind"], each["section"], each["id"]) for each in clash.json["conflicts"]] == [
        ("both_changed", "nodes", "say")
    ]


HOSTILE = {
    "not json": (b"{", "not_json", None, None),
    "not utf-8": (b"\xff\xfe{}", "not_json", None, None),
    "a key twice": (b'{"schema": "flow.v1", "name": "a", "name": "b"}', "duplicate_key", None, None),
    "another schema": (as_bytes(saying("one") | {"schema": "flow.v9"}), "unknown_schema", None, "/schema"),
    "an unknown field": (as_bytes(saying("one") | {"code": "import os"}), "unknown_field", None, None),
    "javascript": (b'{"schema": "flow.v1", "name": "a", "ui": {"__proto__": {}}}', "bad_text", None, None),
    "a large number": (b'{"schema": "flow.v1", "name": "a", "ui": {"x": 1e999}}', "bad_number", None, None),
    "no node": (as_bytes(saying("one") | {"nodes": {"say": 7}}), "wrong_shape", "say", None),
    "a bad link": (
        as_bytes(saying("one") | {"nodes": {"out": node("flow.output", value={"from": ["a"]})}}),
        "wrong_shape",
        "out",
        "/in/value/from",
    ),
    "a bad name": (
        as_bytes(saying("one") | {"nodes": {"../etc": node("flow.input")}}),
        "bad_id",
        None,
        "/nodes/..~1etc",
    ),
    "deep": (
        b'{"schema": "flow.v1", "name": "a", "ui": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001,
        "too_deep",
        None,
        None,
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_flow_is_refused_with_the_node(site: Polyforge, kind: str) -> None:
    content, code, at_node, param = HOSTILE[kind]
    made_of = site.api("GET", "/flows/hostile")
    if made_of.status == 404:
        made(site, "hostile")
    for method, path in (
        ("POST", "/flows/import"),
        ("POST", "/flows/import?dry_run=true"),
        ("POST", "/flows/validate"),
        ("PUT", "/flows/hostile/draft"),
    ):
        refused = sent(site, method, path, content)
        assert (refused.status, refused.json["code"]) == (400, "invalid_flow"), refused.body
        first = refused.json["problems"][0]
        assert (first["code"], first.get("node")) == (code, at_node), first
        assert param is None or first["param"] == param
    assert site.api("GET", "/flows/hostile/draft").json["revision"] == 1


def test_what_is_too_large_is_not_read(site: Polyforge) -> None:
    large = as_bytes(saying("one", note="x" * 2_000_000))
    refused = sent(site, "POST", "/flows/validate", large)
    assert (refused.status, refused.json["problems"][0]["code"]) == (400, "too_large")
    some = as_bytes(saying("one", notes=["x" * 100_000] * 20))
    assert len(some) > 2_000_000
    assert sent(site, "POST", "/flows/validate", some).status == 200
    assert sent(site, "POST", "/flows/validate", b" " * (9 << 20)).status == 413


def test_a_sender_that_gives_up_is_no_fault_of_ours(site: Polyforge) -> None:
    """The log of the installation, which is looked through at its end, has no failure of it."""
    content = as_bytes(saying("one"))
    longer = {"content-length": str(len(content) + 1_000)}
    request = request_bytes("POST", "/api/v1/flows/validate", key=site.admin_key, body=content, headers=longer)
    with RawCall(site.url, request, timeout=DEADLINE):
        pass
    assert sent(site, "POST", "/flows/validate", content).status == 200


def test_an_import_tells_what_a_flow_needs_before_it_is_made(site: Polyforge) -> None:
    whole = saying("one", "Stranger")
    whole["licence"] = {"spdx": "CC0-1.0"}
    whole["nodes"] |= {
        "call": node("http.request", {"url": "https://api.example.com/a", "bearer": {"$secret": "their-key"}}),
        "chat": node("model.chat", {"model": {"$ref": "model:theirs"}, "prompt": "Hi"}),
        "odd": node("acme.unheard", {"do": "harm"}),
        "leak": node("prompt.template", {"template": "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH"}),
    }
    before = len(site.api("GET", "/flows?search=stranger").json["data"])
    told = sent(site, "POST", "/flows/import?dry_run=true", as_bytes(whole))
    assert (told.status, told.json["flow"], told.json["can_run"]) == (200, None, False)
    needs = told.json["requires"]
    assert (needs["secrets"], needs["references"]) == (["their-key"], ["model:theirs"])
    assert "net:api.example.com" in needs["capabilities"]
    assert (told.json["unknown_types"], told.json["licence"]["spdx"]) == (["acme.unheard@1"], "CC0-1.0")
    assert told.json["node_types"]["prompt.template@1"] == 2
    problems = {(each["code"], each["node"]) for each in told.json["problems"]}
    assert {("unknown_node_type", "odd"), ("literal_secret", "leak")} <= problems
    assert len(site.api("GET", "/flows?search=stranger").json["data"]) == before
    kept = sent(site, "POST", "/flows/import?slug=stranger", as_bytes(whole))
    assert (kept.status, kept.json["flow"]["slug"], kept.json["flow"]["head"]) == (201, "stranger", None)
    refused = site.api("POST", "/flows/stranger/commit", {})
    assert (refused.status, refused.json["code"]) == (400, "invalid_flow")
    assert {("unknown_node_type", "odd"), ("literal_secret", "leak")} <= {
        (each["code"], each["node"]) for each in refused.json["problems"] if "node" in each
    }


def test_a_flow_goes_out_and_comes_in_as_it_was(site: Polyforge) -> None:
    made(site, "traveller")
    sent(site, "PUT", "/flows/traveller/draft", as_bytes(saying("two", say={"x": 3})))
    exported = site.api("GET", "/flows/traveller/export")
    assert exported.headers["content-disposition"] == 'attachment; filename="traveller.flow.json"'
    again = sent(site, "POST", "/flows/import?slug=traveller-2", exported.body)
    draft = site.api("GET", "/flows/traveller-2/draft").json
    assert draft["version"] == again.json["version"] == site.api("GET", "/flows/traveller/draft").json["version"]
    assert draft["document"]["ui"] == {"say": {"x": 3}}
    assert site.api("GET", "/flows/traveller-2/export?version=draft").body == exported.body


def test_the_editor_is_told_what_flows_are_made_of(site: Polyforge) -> None:
    known = site.api("GET", "/flow-node-types").json
    by_type = {each["type"]: each for each in known["data"]}
    assert by_type["model.chat"]["params"]["properties"]["prompt"]["x-template"] is True
    assert by_type["prompt.template"]["ports"] is None
    assert by_type["loop.foreach"]["group"] == "foreach"
    assert {each["kind"] for each in known["port_types"]} >= {"text", "image", "any"}
    assert "number_to_text" in {each["name"] for each in known["coercions"]}
    body = {"type": "prompt.template", "params": {"template": "{{a}} and {{b}}"}}
    ports = site.api("POST", "/flow-node-types/ports", body).json
    assert (sorted(ports["ports"]["inputs"]), ports["ports"]["outputs"]["text"]["type"]) == (["a", "b"], "text")
    wrong = site.api("POST", "/flow-node-types/ports", {"type": "prompt.template", "params": {"template": "{{a"}}).json
    assert (wrong["ports"], wrong["problems"][0]["code"]) == (None, "bad_template")
    interface = {"inputs": {"n": {"type": "number"}}}
    body = {"type": "flow.input", "params": {"name": "n"}, "interface": interface}
    assert site.api("POST", "/flow-node-types/ports", body).json["ports"]["outputs"]["value"]["type"] == "number"
    checked = sent(site, "POST", "/flows/validate", as_bytes(broken())).json
    assert (checked["can_run"], [each["node"] for each in checked["problems"] if each["severity"] == "error"]) == (
        False,
        ["out"],
    )
    assert checked["ports"]["say"]["outputs"]["text"]["type"] == "text"


def test_keys_need_the_permission(site: Polyforge) -> None:
    flow = made(site, "guarded")
    reader = site.create_key(scopes=["flows:read"]).key
    nobody = site.create_key(scopes=["inference"]).key
    for method, path, body, of_reader in (
        ("GET", "/flows", None, 200),
        ("GET", f"/flows/{flow['id']}/draft", None, 200),
        ("GET", "/flow-node-types", None, 200),
        ("POST", "/flows", {}, 403),
        ("POST", f"/flows/{flow['id']}/commit", {}, 403),
        ("DELETE", f"/flows/{flow['id']}", None, 403),
    ):
        statuses = [site.call(f"/api/v1{path}", method=method, key=key, json=body).status for key in (reader, nobody)]
        assert statuses == [of_reader, 403], (method, path)


def test_flows_on_the_command_line(site: Polyforge, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "echo.json"
    file.write_bytes(as_bytes(saying("one", "Parrot")))
    assert "can run" in run("validate", str(file))
    assert "made bird with a draft" in run("create", str(file), "--slug", "bird")
    assert "version 1 is" in run("commit", "bird", "-m", "begun")
    assert "nothing has changed" in run("commit", "bird")
    changed = json.dumps(saying("the other one", "Parrot")).encode()
    assert "revision 2" in run("save", "bird", "-", given=changed)
    with pytest.raises(Refused, match="revision 2"):
        run("save", "bird", "-", "--revision", "1", given=changed)
    assert "~ node say" in run("diff", "bird")
    run("commit", "bird", "-m", "another")
    assert "prod of bird points at" in run("alias", "bird", "prod", "1", "--note", "live")
    run("alias", "bird", "prod", "latest")
    assert "again" in run("rollback", "bird", "--note", "worse")
    assert [line.split()[0] for line in run("versions", "bird").splitlines()] == ["number", "2", "1"]
    assert [line.split()[1] for line in run("history", "bird").splitlines()] == ["action", "rolled_back", "set", "set"]
    assert "prod=" in run("show", "bird")
    assert "begun" in run("show", "bird@prod")
    out = tmp_path / "out.json"
    run("export", "bird@1", "-o", str(out))
    assert json.loads(out.read_text())["nodes"] == saying("one")["nodes"]
    told = run("import", str(out), "--dry-run")
    assert "prompt.template@1" in told
    assert "made" not in told
    shown = json.loads(run("list", "--search", "parrot", "--json"))
    assert [each["slug"] for each in shown] == ["bird"]
    assert "put away" in run("rm", "bird")
    assert "bird" in run("list", "--archived")
    assert "is there again" in run("restore", shown[0]["id"])


def test_the_command_line_names_the_node_that_is_wrong(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_bytes(as_bytes(broken()))
    with pytest.raises(CommandError, match="cannot run"):
        run("validate", str(file))
    file.write_bytes(as_bytes(saying("one") | {"nodes": {"say": 7, "out": 8}}))
    with pytest.raises(Refused, match=r"^node say: .*\n  say: .*\n  out: "):
        run("create", str(file))
    with pytest.raises(CommandError, match="cannot read"):
        run("create", str(tmp_path / "gone.json"))
