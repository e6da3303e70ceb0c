"""What is wrong with a flow is told once, where it begins, with what to do."""

from typing import Any

import pytest

from polyforge.flows import bounds
from polyforge.flows.built_in import built_in
from polyforge.flows.problems import MEANINGS
from polyforge.flows.requirements import requirements
from polyforge.flows.validating import check, validate
from tests.support.flows import MODEL, answering, flow, found, generated, link, loaded, node, problems

TEXT_IN = {"inputs": {"t": {"type": "text"}, "l": {"type": "list<text>"}, "n": {"type": "number"}}}
SOURCES = {name: node("flow.input", {"name": name}) for name in ("t", "l", "n")}


def around(nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A flow with three inputs, a text, a list and a number, and more nodes."""
    return flow({**SOURCES, **nodes}, interface=TEXT_IN, **more)


def only(value: Any) -> Any:
    """The one error of a flow."""
    errors = [each for each in problems(value) if each.severity == "error"]
    assert len(errors) == 1, errors
    assert errors[0].message
    assert errors[0].hint
    assert errors[0].code in MEANINGS
    return errors[0]


def place(value: Any) -> tuple[str, str | None, str | None]:
    """The code, the node and the pointer of the one error."""
    error = only(value)
    return error.code, error.node, error.param


def prompt(template: str = "{{a}}", **inputs: Any) -> dict[str, Any]:
    return node("prompt.template", {"template": template}, **inputs)


def test_a_good_flow_has_no_problems() -> None:
    assert problems(answering()) == ()


def test_a_thousand_good_nodes_have_no_errors() -> None:
    checked = check(loaded(generated(1_000)), built_in())
    assert checked.can_run
    assert {each.code for each in checked.problems} == {"unused_node", "too_many_problems"}


def test_links_that_lead_nowhere() -> None:
    assert place(around({"p": prompt(a=("gone", "value"))})) == ("unknown_node", "p", "/in/a")
    assert place(around({"p": prompt(a=("t", "gone"))})) == ("unknown_port", "p", "/in/a")
    assert "its outputs are value" in only(around({"p": prompt(a=("t", "gone"))})).hint
    assert place(around({"p": prompt(a=("t", "value"), b=("t", "value"))})) == ("unknown_input", "p", "/in/b")
    assert place(around({"p": prompt()})) == ("missing_input", "p", "/in/a")
    assert place(around({"p": prompt(a=1)})) == ("bad_literal", "p", "/in/a")
    assert place(around({}, control=[{"from": ["t", "value"], "to": "gone"}])) == ("unknown_node", None, "/control")
    assert place(around({"p": prompt("x")}, control=[{"from": ["t", "gone"], "to": "p"}])) == (
        "unknown_port",
        "p",
        None,
    )


def test_types_and_conversions() -> None:
    wrong = only(around({"p": prompt(a=("n", "value"))}))
    assert (wrong.code, wrong.hint) == ("coercion_needed", 'write "coerce": "number_to_text" on the link')
    assert found(around({"p": prompt(a=link("n", "value", "number_to_text"))})) == [("unused_node", "p")]
    assert place(around({"p": prompt(a=link("t", "value", "number_to_text"))}))[0] == "wrong_coercion"
    assert place(around({"p": prompt(a=link("n", "value", "nonsense"))}))[0] == "wrong_coercion"
    retrieve = node(
        "sql.query", {"connection": {"$ref": "connection:db"}, "query": "SELECT :i", "inputs": {"i": "image"}}
    )
    assert place(around({"q": {**retrieve, "in": {"i": link("t", "value")}}}))[0] == "type_mismatch"


def test_an_output_takes_over_the_type_of_an_input() -> None:
    branch = node("control.branch", {"when": "true"}, value=("n", "value"))
    assert place(around({"b": branch, "p": prompt(a=("b", "then"))}))[:2] == ("coercion_needed", "p")
    numbers = node("control.branch", {"when": "true"}, value=("t", "value"))
    assert "coercion_needed" not in [code for code, _ in found(around({"b": numbers, "p": prompt(a=("b", "then"))}))]


def test_only_the_cause_is_told_and_the_rest_is_named() -> None:
    nodes = {"bad": node("prompt.template", {"tmpl": 1}), "p": prompt(a=("bad", "text")), "q": prompt(a=("p", "text"))}
    error = [each for each in problems(around(nodes)) if each.severity == "error"]
    assert {each.node for each in error} == {"bad"}
    assert error[0].dependents == ("p", "q")


def test_unknown_types_and_versions() -> None:
    assert place(around({"x": node("acme.x")})) == ("unknown_node_type", "x", "/type")
    assert place(around({"x": node("model.chat", {}, 99)})) == ("unknown_version", "x", "/v")
    strange = around({"x": node("acme.x", a=("t", "value")), "p": prompt(a=("x", "anything"))})
    assert place(strange)[:2] == ("unknown_node_type", "x")


def test_nodes_that_cannot_run_here_say_why() -> None:
    speak = node("speech.speak", {"model": MODEL}, text=("t", "value"))
    error = only(around({"s": speak}))
    assert error.code == "node_unavailable"
    assert "this version" in error.message


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"model": "gpt"}, "bad_reference", "/params/model"),
        ({"model": {"$ref": "flow:x"}}, "bad_reference", "/params/model/$ref"),
        ({"model": {"$ref": "model:a b"}}, "bad_reference", "/params/model/$ref"),
        ({"model": {"$secret": "x"}}, "bad_reference", "/params/model"),
        ({"model": MODEL, "temperature": 9}, "bad_param", "/params/temperature"),
        ({"model": MODEL, "surprise": 1}, "bad_param", "/params"),
        ({}, "bad_param", "/params"),
        ({"model": MODEL, "prompt": "{{ a.b }}"}, "bad_template", "/params/prompt"),
        ({"model": MODEL, "prompt": "{{messages}}"}, "bad_param", "/params"),
    ],
)
def test_parameters(params: dict[str, Any], code: str, param: str) -> None:
    errors = [each for each in problems(around({"c": node("model.chat", params)})) if each.severity == "error"]
    assert (errors[0].code, errors[0].node, errors[0].param) == (code, "c", param)


def test_what_else_parameters_can_be() -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("data.transform", {"inputs": {"a": "text"}, "cel": "b"}, "bad_expression"),
        ("data.transform", {"inputs": {"a": "text"}, "jmespath": "a["}, "bad_expression"),
        ("data.transform", {"inputs": {"a": "string"}, "cel": "a"}, "bad_type"),
        ("data.transform", {"inputs": {"a": "text"}, "cel": "a", "jmespath": "a"}, "bad_param"),
        ("model.extract", {"model": MODEL, "schema": {"type": "nonsense"}}, "bad_schema"),
        ("model.extract", {"model": MODEL, "schema": {"$ref": "http://169.254.169.254/"}}, "bad_schema"),
        ("trigger.schedule", {"cron": "often", "timezone": "UTC"}, "bad_param"),
        ("human.approval", {"question": "?", "assignees": ["role:admin"]}, "approval_without_expiry"),
        ("http.request", {"url": "file:///etc/passwd"}, "bad_param"),
        ("http.request", {"url": "https://{{host}}.example.com/"}, "bad_param"),
        ("http.request", {"url": "https://api.example.com{{path}}"}, "bad_param"),
        ("http.request", {"url": "https://user:pass@example.com/"}, "bad_param"),
        ("control.switch", {"cases": [{"name": "a", "when": "true"}] * 2}, "bad_param"),
        ("control.switch", {"cases": [{"name": "a", "when": "nope"}]}, "bad_expression"),
    ]
    for kind, params, code in cases:
        errors = [each.code for each in problems(around({"x": node(kind, params)})) if each.severity == "error"]
        assert code in errors, (kind, params, errors)


def test_messages_never_repeat_what_stands_in_a_flow() -> None:
    secret = "sk-abcdefghijklmnop1234567890"
    value = around({"h": node("http.request", {"url": "https://x.example/", "bearer": secret})})
    shown = str(problems(value))
    assert "literal_secret" in shown
    assert secret not in shown


@pytest.mark.parametrize(
    "text",
    ["sk-abcdefghijklmnop1234567890", "ghp_" + "a1" * 18, "-----BEGIN PRIVATE KEY-----\nMIIE", "postgres://me:hunter22@db/x",
     "Bearer abcdefghijklmnop1234"],
)  # fmt: skip
def test_keys_in_the_flow_are_seen_wherever_they_stand(text: str) -> None:
    assert place(
        around(
            {
                "p": prompt(
                    f"Use {text} now",
                )
            }
        )
    )[:2] == ("literal_secret", "p")
    assert place(around({"p": prompt(a=text)})) == ("literal_secret", "p", "/in/a")


def test_a_header_for_keys_with_a_text_in_it() -> None:
    def header(value: Any) -> list[str]:
        params = {"url": "https://x.example/", "headers": {"X-Api-Key": value}}
        return [each.code for each in problems(around({"h": node("http.request", params)}))]

    assert header("plain-old-words") == ["literal_secret"]
    assert header({"$secret": "their-key"}) == []


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://localhost:8080/x", "http://169.254.169.254/latest", "http://10.1.2.3/", "http://[::1]/",
     "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://db.internal/", "http://intranet/",
     "http://[::ffff:127.0.0.1]/", "http://printer.local/"],
)  # fmt: skip
def test_private_addresses_are_warned_of(url: str) -> None:
    found_here = problems(around({"h": node("http.request", {"url": url})}))
    assert [(each.code, each.severity) for each in found_here] == [("private_address", "warning")]


@pytest.mark.parametrize("url", ["https://api.example.com/x", "{{address}}", "https://8.8.8.8/"])
def test_public_addresses_are_not(url: str) -> None:
    inputs = {"address": "https://x.example/"} if "{{" in url else {}
    assert found(around({"h": node("http.request", {"url": url}, **inputs)})) == []


def test_cycles() -> None:
    nodes = {"p": prompt(a=("q", "text")), "q": prompt(a=("p", "text")), "r": prompt(a=("q", "text"))}
    error = only(around(nodes))
    assert (error.code, error.node) == ("cycle", "p")
    assert "p → q → p" in error.message
    assert set(error.dependents) == {"q", "r"}
    assert only(around({"p": prompt(a=("p", "text"))})).code == "cycle"


def test_ways_that_never_meet() -> None:
    branch = node("control.branch", {"when": "true"}, value=("t", "value"))
    both = {"b": branch, "p": prompt("{{a}}{{c}}", a=("b", "then"), c=("b", "else")), "q": prompt(a=("p", "text"))}
    error = only(around(both))
    assert (error.code, error.node, error.dependents) == ("never_runs", "p", ("q",))
    merge = node("control.merge", {"names": ["a", "c"], "type": "text"}, a=("b", "then"), c=("b", "else"))
    assert "never_runs" not in [code for code, _ in found(around({"b": branch, "m": merge}))]
    later = {"b": branch, "p": prompt(a=("b", "then")), "q": prompt("{{a}}{{c}}", a=("p", "text"), c=("b", "else"))}
    assert only(around(later)).node == "q"
    signal = [{"from": ["b", "else"], "to": "p"}]
    assert only(around({"b": branch, "p": prompt(a=("b", "then"))}, control=signal)).node == "p"


def test_the_error_branch_of_a_node() -> None:
    risky = {**node("http.request", {"url": "https://x.example/"}), "policy": {"on_error": "branch"}}
    taken = node("data.transform", {"inputs": {"e": "record{code: text}"}, "cel": "e.code"}, e=("h", "error"))
    assert [code for code, _ in found(around({"h": risky, "t2": taken}))] == ["unused_node"]
    plain = node("http.request", {"url": "https://x.example/"})
    assert only(around({"h": plain, "t2": taken})).code == "unknown_port"
    both = prompt("{{a}}{{b}}", a=("h", "text"), b=link("h", "error", "json_to_text"))
    assert only(around({"h": risky, "p": both})).code == "never_runs"


def test_policies() -> None:
    def with_policy(policy: dict[str, Any], kind: str = "prompt.template", **params: Any) -> Any:
        return around({"p": {**node(kind, params or {"template": "x"}), "policy": policy}})

    assert place(with_policy({"cache": "auto"}, "http.request", url="https://x.example/")) == (
        "bad_policy", "p", "/policy/cache",
    )  # fmt: skip
    assert place(with_policy({"on_error": "default"})) == ("bad_policy", "p", "/policy/default")
    assert place(with_policy({"on_error": "default", "default": {"text": 1}})) == (
        "bad_policy",
        "p",
        "/policy/default/text",
    )
    assert place(with_policy({"default": {"text": "x"}})) == ("bad_policy", "p", "/policy/default")
    assert found(with_policy({"on_error": "default", "default": {"text": "x"}, "cache": "auto"})) == [
        ("unused_node", "p")
    ]


def loop(nodes: list[str], **more: Any) -> dict[str, Any]:
    return {"kind": "foreach", "nodes": nodes, "max_iterations": 10, "over": link("l", "value"), **more}


def test_a_loop_gives_items_and_leaves_lists() -> None:
    nodes = {"p": prompt(a=("g", "item")), "j": node("model.embed", {"model": MODEL}, texts=("g", "all"))}
    assert found(around(nodes, groups={"g": loop(["p"], collect={"all": ["p", "text"]})})) == [("unused_node", "j")]
    number = {"p": prompt(a=("g", "index"))}
    assert only(around(number, groups={"g": loop(["p"])})).code == "coercion_needed"
    assert only(around({"p": prompt(a=("g", "gone"))}, groups={"g": loop(["p"])})).code == "unknown_port"


def test_the_type_of_a_list_that_is_written_down() -> None:
    def items(*values: Any) -> list[str]:
        nodes = {"p": prompt(a=("g", "item"))}
        return [each.code for each in problems(around(nodes, groups={"g": loop(["p"], over=list(values))}))]

    assert items("a", "b") == ["unused_node"]
    assert "coercion_needed" in items("a", 1)
    assert "coercion_needed" in items(["a"])
    assert "coercion_needed" in items()


def test_loops_keep_what_is_inside() -> None:
    nodes = {"p": prompt(a=("g", "item")), "q": prompt(a=("p", "text"))}
    error = only(around(nodes, groups={"g": loop(["p"])}))
    assert (error.code, error.node) == ("link_into_group", "q")
    outside = {"p": prompt(a=("g", "item")), "q": prompt(a=("g", "item"))}
    assert only(around(outside, groups={"g": loop(["p"])})).code == "unknown_port"


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"max_iterations": None}, "loop_without_bound", None),
        ({"over": None}, "missing_input", "/over"),
        ({"over": link("t", "value")}, "type_mismatch", "/over"),
        ({"over": 3}, "bad_literal", "/over"),
        ({"nodes": []}, "bad_group", None),
        ({"when": "true"}, "bad_group", "/when"),
        ({"collect": {"all": ["gone", "x"]}}, "unknown_node", "/collect/all"),
        ({"collect": {"all": ["p", "gone"]}}, "unknown_port", "/collect/all"),
    ],
)
def test_what_a_loop_over_a_list_needs(change: dict[str, Any], code: str, param: str | None) -> None:
    group = {key: value for key, value in {**loop(["p"]), **change}.items() if value is not None}
    assert place(around({"p": prompt("x")}, groups={"g": group})) == (code, "g", param)


def test_a_loop_with_variables() -> None:
    def loops(**change: Any) -> Any:
        group = {"kind": "while", "nodes": ["p"], "max_iterations": 5, "when": "index < 3 && size(draft) < 9",
                 "start": {"draft": link("t", "value")}, "carry": {"draft": ["p", "text"]}, **change}  # fmt: skip
        return around({"p": prompt(a=("g", "draft")), "q": prompt(a=("g", "draft"))}, groups={"g": group})

    assert found(loops()) == [("unused_node", "q")]
    assert place(loops(when="nope > 1")) == ("bad_expression", "g", "/when")
    assert place(loops(carry={"other": ["p", "text"]})) == ("bad_group", "g", "/carry/other")
    assert place(loops(carry={"draft": ["g", "index"]})) == ("type_mismatch", "g", "/carry/draft")
    assert place(loops(parallel=4)) == ("bad_group", "g", "/parallel")
    assert place(loops(start={"draft": "", "index": 1})) == ("bad_id", "g", "/start/index")


def test_loops_are_groups_and_inputs_stand_outside() -> None:
    assert only(around({"x": node("loop.foreach", {"max_iterations": 3})})).code == "misplaced_node"
    value = around({"p": prompt("x")}, groups={"g": loop(["t", "p"])})
    assert [(each.code, each.node) for each in problems(value) if each.severity == "error"] == [("misplaced_node", "t")]


def test_the_interface() -> None:
    outputs = {"outputs": {"o": {"type": "text"}}}
    out = node("flow.output", {"name": "o"}, value="x")
    assert only(flow({}, interface=outputs)).code == "unreachable_output"
    assert only(flow({"a": out, "b": out}, interface=outputs)).code == "duplicate_output"
    assert only(flow({"a": node("flow.output", {"name": "other"}, value="x")})).code == "unknown_interface"
    assert only(flow({"a": node("flow.output", {"name": "o"}, value=1)}, interface=outputs)).code == "bad_literal"
    assert found(flow({}, interface={"inputs": {"i": {"type": "text"}}})) == [("unused_input", None)]
    wrong = {"inputs": {"i": {"type": "list<text>", "default": ["a", 1]}}}
    assert place(flow({"i": node("flow.input", {"name": "i"})}, interface=wrong)) == (
        "bad_literal", None, "/interface/inputs/i/default",
    )  # fmt: skip


def test_a_model_is_asked_something() -> None:
    assert place(around({"c": node("model.chat", {"model": MODEL})})) == ("missing_input", "c", "/in/messages")
    asked = node("model.chat", {"model": MODEL}, messages=link("t", "value", "text_to_messages"))
    assert found(around({"c": asked})) == [("unused_node", "c")]


def test_what_a_flow_requires() -> None:
    value = answering(
        call=node(
            "http.request",
            {"url": "https://api.example.com/{{q}}", "bearer": {"$secret": "their-key"}},
            q=("question", "value"),
        ),
        free=node("http.request", {"url": "{{q}}"}, q=("question", "value")),
    )
    needed = requirements(loaded(value), built_in())
    assert needed.capabilities == ("models", "net:*", "net:api.example.com")
    assert needed.secrets == ("their-key",)
    assert needed.references == ("model:assistant",)
    assert "http.request@1" in needed.nodes
    declared = {"capabilities": ["models", "net:*"], "secrets": ["their-key"], "references": ["model:assistant"]}
    lacking = problems({**value, "requires": {**declared, "nodes": list(needed.nodes)}})
    assert [(each.code, each.param) for each in lacking] == [("undeclared_requirement", "/requires/capabilities")]
    assert "net:api.example.com" in lacking[0].message


def test_there_is_a_most_of_problems() -> None:
    value = flow({f"n{count}": node("acme.x") for count in range(1_000)})
    told = validate(loaded(value), built_in())
    assert len(told) == bounds.MAX_PROBLEMS + 1
    assert told[-1].code == "too_many_problems"
    assert "800" in told[-1].message


def test_long_chains_and_wide_flows_are_judged() -> None:
    chain = {"n0": prompt("x"), **{f"n{count}": prompt(a=(f"n{count - 1}", "text")) for count in range(1, 4_000)}}
    assert check(loaded(flow(chain)), built_in()).can_run
    loops = {
        f"g{count}": {
            "kind": "foreach", "nodes": [f"n{count}"], "max_iterations": 3,
            "over": link(f"g{count - 1}", "all") if count else ["x"], "collect": {"all": [f"n{count}", "text"]},
        }
        for count in range(400)
    }  # fmt: skip
    assert check(loaded(flow({f"n{count}": prompt("x") for count in range(400)}, groups=loops)), built_in()).can_run
    branches = {"b0": node("control.branch", {"when": "true"}, value="x")}
    branches |= {
        f"b{count}": node("control.branch", {"when": "true"}, value=(f"b{count - 1}", "then"))
        for count in range(1, 1_000)
    }
    assert check(loaded(flow(branches)), built_in()).can_run
    ring = {f"n{count}": prompt(a=(f"n{(count + 1) % 4_000}", "text")) for count in range(4_000)}
    assert [each.code for each in validate(loaded(flow(ring)), built_in())] == ["cycle"]
