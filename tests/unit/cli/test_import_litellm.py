"""Configurations of the LiteLLM proxy as settings."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from polyforge.cli.importing.findings import Finding
from polyforge.cli.importing.litellm import Imported, import_litellm
from polyforge.cli.main import app
from polyforge.kernel.errors import SettingsError
from polyforge.wiring import adapters
from polyforge.wiring.settings import compose

TEAM = """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/team-4o-eu
      api_base: os.environ/AZURE_EU
      api_key: os.environ/AZURE_EU_KEY
      api_version: "2024-10-21"
      rpm: 600
      order: 1
    model_info: {base_model: azure/gpt-4o, supports_vision: true, max_input_tokens: 128000, max_output_tokens: 16384}
  - model_name: gpt-4o
    litellm_params: {model: gpt-4o, api_key: sk-very-secret-1, order: 2, weight: 3, temperature: 0.2}
  - model_name: claude
    litellm_params:
      model: anthropic/claude-sonnet-4-5
      input_cost_per_token: 0.000003
      output_cost_per_token: 0.000015
      input_cost_per_token_above_200k_tokens: 0.000006
      cache_read_input_token_cost: 3e-07
  - model_name: embed
    litellm_params: {model: openai/text-embedding-3-small, api_key: sk-very-secret-2}
  - model_name: thumbs
    litellm_params: {model: openai/gpt-image-1, api_key: sk-very-secret-1}
    model_info: {mode: image_generation, output_cost_per_image: 0.04}
  - model_name: rank
    litellm_params: {model: cohere/rerank-v3.5}
    model_info: {mode: rerank}
router_settings:
  routing_strategy: latency-based-routing
  fallbacks: [{gpt-4o: [claude, nowhere]}]
  context_window_fallbacks: [{gpt-4o: [claude]}]
  model_group_alias: {gpt-4: gpt-4o, ghost: nothing}
  num_retries: 2
  cooldown_time: 30
  redis_host: os.environ/REDIS_HOST
litellm_settings: {drop_params: true, request_timeout: 120, cache: true, set_verbose: false, fallbacks: []}
general_settings: {master_key: sk-very-secret-3, database_url: "postgresql://u:very-secret-4@db/litellm"}
environment_variables: {AZURE_EU: "https://team-eu.openai.azure.com/"}
guardrails: [{guardrail_name: pii}]
"""

SERVERS = """
model_list:
  - {model_name: "openai/*", litellm_params: {model: "openai/*", api_key: os.environ/OPENAI_API_KEY}}
  - {model_name: "*", litellm_params: {model: "openrouter/*"}}
  - {model_name: "few/*", litellm_params: {model: "openai/gpt-*"}}
  - {model_name: llama, litellm_params: {model: hosted_vllm/meta/llama-3.1-8b, api_base: "http://gpu-1:8000/v1"}}
  - {model_name: llama, litellm_params: {model: hosted_vllm/meta/llama-3.1-8b, api_base: "http://gpu-2:8000/v1"}}
  - {model_name: small, litellm_params: {model: ollama_chat/llama3.2, api_base: "http://localhost:11434"}}
  - {model_name: fast, litellm_params: {model: groq/llama-3.3-70b, litellm_credential_name: shared}}
  - {model_name: own, litellm_params: {model: facebook/opt, custom_llm_provider: openai, api_base: "http://own/v1"}}
  - {model_name: vertex, litellm_params: {model: vertex_ai/gemini-2.5-pro, vertex_project: p-1,
      vertex_location: europe-west4, vertex_credentials: /keys/google.json}}
  - {model_name: vertex-claude, litellm_params: {model: vertex_ai/claude-sonnet-4, vertex_project: p-1,
      vertex_credentials: os.environ/GOOGLE_JSON}}
  - {model_name: gemini, litellm_params: {model: gemini/gemini-2.5-flash, extra: 1}}
  - {model_name: bedrock, litellm_params: {model: bedrock/converse/anthropic.claude-v2, aws_region_name: us-east-1,
      aws_access_key_id: os.environ/A, aws_secret_access_key: os.environ/B}}
  - {model_name: maker, litellm_params: {model: sagemaker_chat/endpoint-1, aws_region_name: us-west-2}}
  - {model_name: hub, litellm_params: {model: huggingface/org/model, api_base: "https://x.endpoints.example"}}
  - {model_name: odd, litellm_params: {model: replicate/some/model}}
  - {model_name: nameless, litellm_params: {}}
credential_list: [{credential_name: shared, credential_values: {api_key: os.environ/SHARED}}]
general_settings: {master_key: os.environ/LITELLM_MASTER_KEY}
"""


def imported(text: str, environ: dict[str, str] | None = None) -> Imported:
    """The import of a file, which gives settings that are valid, those of adapters too."""
    result = import_litellm(yaml.safe_load(text) or {}, environ or {})
    settings, _ = compose(result.settings, "a test", environ={})
    for name, provider in settings.providers.items():
        adapters.find("providers", name, provider)
    return result


def why(result: Imported, path: str) -> str:
    """What was said about a path."""
    return "; ".join(finding.message for finding in result.findings if finding.path == path)


@pytest.fixture
def team() -> Imported:
    return imported(TEAM)


@pytest.fixture
def servers() -> Imported:
    return imported(SERVERS)


def test_secrets_become_references_and_are_never_repeated(team: Imported) -> None:
    assert "very-secret" not in repr(team)
    providers = team.settings["providers"]
    assert [providers[name]["api_key"] for name in ("azure", "openai", "openai-2")] == [
        "env:AZURE_EU_KEY",
        "env:OPENAI_API_KEY",
        "env:OPENAI_API_KEY_2",
    ]
    assert "OPENAI_API_KEY_2" in why(team, "model_list[3].litellm_params.api_key")
    assert "POLYFORGE_ADMIN_KEY" in why(team, "general_settings.master_key")


def test_deployments_keep_order_weight_limits_and_costs(team: Imported) -> None:
    first, second, *fallen = team.settings["models"]["gpt-4o"]["deployments"]
    assert (first["model"], first["priority"], first["limits"]) == (
        "team-4o-eu",
        0,
        {"context": 128_000, "output": 16_384},
    )
    assert first["capabilities"] == {"vision": True}
    assert (second["model"], second["priority"], second["weight"]) == ("gpt-4o", 1, 3)
    assert [(each["model"], each["priority"]) for each in fallen] == [("claude-sonnet-4-5", 2)]
    (claude,) = team.settings["models"]["claude"]["deployments"]
    tiers = [{"above": 200_000, "input": 6.0}]
    assert claude["cost"] == {"input": 3.0, "output": 15.0, "cached_input": 0.3, "tiers": tiers}


def test_tasks_follow_the_mode_or_the_name(team: Imported) -> None:
    models = team.settings["models"]
    tasks = {name: models[name]["task"] for name in models}
    assert tasks == {
        "gpt-4o": "chat",
        "claude": "chat",
        "embed": "embedding",
        "thumbs": "image_generation",
        "gpt-4": "chat",
    }
    assert models["thumbs"]["deployments"][0]["cost"] == {"per_image": 0.04}
    assert "rerank" in why(team, "model_list[5]")


def test_routing_becomes_the_gateways(team: Imported) -> None:
    assert team.settings["gateway"] == {
        "attempts": 3,
        "cooldown_seconds": 30.0,
        "timeouts": {"request": 120.0, "total": 120.0},
        "unsupported_parameters": "drop",
    }
    model = team.settings["models"]["gpt-4o"]
    assert model["routing"] == {"strategy": "least_latency"}
    assert model["on_context_overflow"] == "larger"
    assert "limits.context" in why(team, "router_settings.context_window_fallbacks")
    assert len(team.settings["models"]["gpt-4"]["deployments"]) >= 2


@pytest.mark.parametrize(
    "path",
    [
        "model_list[0].litellm_params.rpm",
        "model_list[0].model_info.base_model",
        "model_list[1].litellm_params.temperature",
        "router_settings.fallbacks",
        "router_settings.model_group_alias.ghost",
        "router_settings.redis_host",
        "general_settings.database_url",
        "guardrails",
    ],
)
def test_what_has_no_counterpart_is_told(team: Imported, path: str) -> None:
    assert [finding.kind for finding in team.findings if finding.path == path] == ["left out"]


@pytest.mark.parametrize(
    ("section", "cache"),
    [
        ("cache: true", {"default": {}}),
        ("cache: true, cache_params: {type: local, ttl: 60}", {"default": {"ttl": 60}}),
        ("cache: true, cache_params: {type: redis, host: r, password: sk-very-secret-9}", {"default": {}}),
        ("cache: false, cache_params: {ttl: 60}", None),
    ],
)
def test_answers_are_kept_where_they_were(section: str, cache: object) -> None:
    result = imported(f"litellm_settings: {{{section}}}")
    assert result.settings.get("cache") == cache
    to_do = [finding.path for finding in result.findings if finding.kind == "to do"]
    assert to_do == (["litellm_settings.cache_params.type"] if "redis" in section else [])
    assert "very-secret" not in str(result)


def test_variables_of_the_file_are_told_by_name(team: Imported) -> None:
    assert why(team, "environment_variables.AZURE_EU")
    assert team.settings["providers"]["azure"]["endpoint"].startswith("https://team-eu.openai.azure.com")


def test_an_address_in_a_variable_that_is_not_set_leaves_the_deployment_out() -> None:
    text = "model_list: [{model_name: m, litellm_params: {model: azure/m, api_base: os.environ/WHERE}}]"
    result = imported(text)
    assert result.settings == {}
    assert "WHERE" in why(result, "model_list[0]")
    assert imported(text, {"WHERE": "https://a.example"}).settings["models"].keys() == {"m"}


def test_servers_and_services(servers: Imported) -> None:
    models, providers = servers.settings["models"], servers.settings["providers"]
    used = {name: [providers[each["provider"]] for each in model["deployments"]] for name, model in models.items()}
    assert [each["base_url"] for each in used["llama"]] == ["http://gpu-1:8000/v1", "http://gpu-2:8000/v1"]
    assert used["llama"][0] == {"use": "openai", "preset": "vllm", "base_url": "http://gpu-1:8000/v1"}
    assert used["small"] == [{"use": "openai", "preset": "ollama", "base_url": "http://localhost:11434/v1"}]
    assert used["fast"][0]["api_key"] == "env:SHARED"
    assert (models["own"]["deployments"][0]["model"], used["own"][0]["base_url"]) == ("facebook/opt", "http://own/v1")
    assert used["vertex"][0]["credentials"] == "file:/keys/google.json"
    assert (used["vertex-claude"][0]["use"], used["vertex-claude"][0]["credentials"]) == (
        "vertex_anthropic",
        "env:GOOGLE_JSON",
    )
    assert models["bedrock"]["deployments"][0]["model"] == "anthropic.claude-v2"
    assert used["bedrock"][0]["secret_access_key"] == "env:B"
    assert used["maker"][0]["format"] == "openai"
    assert models["hub"]["deployments"][0]["model"] == "org/model"
    assert servers.settings["admin_key"] == "env:LITELLM_MASTER_KEY"


def test_wildcards_stand_for_all_models_of_a_provider_and_for_nothing_less(servers: Imported) -> None:
    models = servers.settings["models"]
    assert models["openai/*"]["deployments"] == [{"provider": "openai"}]
    assert models["*"]["deployments"] == [{"provider": "openrouter"}]
    assert "few/*" not in models
    assert "gpt-*" in why(servers, "model_list[2]")


def test_unknown_providers_and_entries_without_a_model_are_told(servers: Imported) -> None:
    assert "replicate" in why(servers, "model_list[14]")
    assert "litellm_params.model" in why(servers, "model_list[15]")


def test_fallbacks_are_not_passed_on() -> None:
    listed = "".join(f"{{model_name: {name}, litellm_params: {{model: openai/{name}}}}}, " for name in "abc")
    text = f"model_list: [{listed}]\nrouter_settings: {{fallbacks: [{{b: [c]}}, {{a: [b]}}], default_fallbacks: [c]}}"
    models = imported(text).settings["models"]
    tried = {name: [each["model"] for each in model["deployments"]] for name, model in models.items()}
    assert tried == {"a": ["a", "b", "c"], "b": ["b", "c"], "c": ["c"]}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("model_list: {}", "model_list"),
        ("model_list: [5]", r"model_list\[0\]"),
        ("router_settings: {num_retries: many}", "router_settings.num_retries"),
        ("litellm_settings: {request_timeout: .nan}", "litellm_settings.request_timeout"),
        ("general_settings: [1]", "general_settings"),
        ("model_list: [{model_name: m, litellm_params: {model: gpt-4o, order: -1}}]", "order"),
    ],
)
def test_what_is_no_such_configuration_names_the_place(text: str, path: str) -> None:
    with pytest.raises(SettingsError, match=path):
        import_litellm(yaml.safe_load(text), {})


def test_an_application_in_entra_takes_the_place_of_a_key_when_it_is_whole() -> None:
    params = "model: azure/m, api_base: 'https://a.example', tenant_id: t, client_id: c"
    whole = imported(f"model_list: [{{model_name: m, litellm_params: {{{params}, client_secret: written-out}}}}]")
    assert whole.settings["providers"]["azure"]["client_secret"] == "env:AZURE_CLIENT_SECRET"
    assert "written-out" not in repr(whole)
    part = imported(f"model_list: [{{model_name: m, litellm_params: {{{params}}}}}]")
    assert part.settings["providers"]["azure"]["api_key"] == "env:AZURE_API_KEY"


def test_an_empty_file_gives_empty_settings() -> None:
    assert imported("") == Imported({}, [])


def test_the_command_writes_settings_and_lists_the_rest(tmp_path: Path) -> None:
    source, out = tmp_path / "config.yaml", tmp_path / "polyforge.yaml"
    source.write_text(TEAM)
    run = CliRunner().invoke(app, ["import", "litellm", str(source), "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert "model_list[0].litellm_params.rpm" in run.output
    written: dict[str, Any] = yaml.safe_load(out.read_text())
    assert written["providers"]["openai"]["api_key"] == "env:OPENAI_API_KEY"
    assert CliRunner().invoke(app, ["import", "litellm", str(source), "--out", str(out)]).exit_code != 0


def test_what_the_command_prints_can_be_read_by_programs(tmp_path: Path) -> None:
    source = tmp_path / "config.yaml"
    source.write_text(SERVERS)
    printed = CliRunner().invoke(app, ["import", "litellm", str(source)]).output
    document = json.loads(CliRunner().invoke(app, ["import", "litellm", str(source), "--json"]).output)
    assert yaml.safe_load(printed) == document["settings"]
    assert {finding["kind"] for finding in document["findings"]} <= {"left out", "changed", "to do"}
    assert Finding(**document["findings"][0]).path.startswith("model_list")
