"""Parameters for each type of node."""

from typing import Any

from tests.support.flows import MODEL

SECRET = {"$secret": "key"}
SAMPLES: dict[str, dict[str, Any]] = {
    "code.python": {"code": "result = 1", "inputs": {"a": "text"}, "result": "number"},
    "control.branch": {"when": "value > 1", "inputs": {"value": "number"}},
    "control.merge": {"names": ["a", "b"], "type": "text"},
    "control.switch": {"cases": [{"name": "big", "when": "value > 1"}], "inputs": {"value": "number"}},
    "control.wait": {"seconds": 60},
    "data.cache": {"do": "recall"},
    "data.transform": {"cel": "a + 1", "inputs": {"a": "number"}, "result": "number"},
    "evaluate.score": {"measure": "judge", "model": MODEL},
    "flow.call": {"flow": {"$ref": "flow:f1@prod"}, "inputs": {"a": "text"}, "outputs": {"b": "text"}},
    "flow.input": {"name": "question"},
    "flow.output": {"name": "answer"},
    "guardrail.check": {"guardrail": {"$ref": "guardrail:pii"}},
    "http.request": {
        "url": "https://api.example.com/{{path}}", "method": "POST", "bearer": SECRET,
        "headers": {"X-Key": SECRET, "X-Say": "{{word}}"},
    },
    "human.approval": {"question": "May {{who}}?", "assignees": ["group:editors"], "expires_in_s": 3600},
    "image.generate": {"model": MODEL, "prompt": "A {{thing}}"},
    "knowledge.ingest": {"knowledge": {"$ref": "knowledge:kb1"}},
    "knowledge.retrieve": {"knowledge": {"$ref": "knowledge:kb1"}, "top": 3},
    "language.translate": {"model": MODEL, "to": "hi"},
    "loop.foreach": {"max_iterations": 10},
    "loop.while": {"max_iterations": 10, "when": "index < 3"},
    "model.chat": {"model": MODEL, "system": "You are {{role}}.", "prompt": "{{q}}"},
    "model.classify": {"model": MODEL, "labels": ["good", "bad"]},
    "model.embed": {"model": MODEL},
    "model.extract": {"model": MODEL, "schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
    "model.rerank": {"model": MODEL, "top": 3},
    "notify.send": {"email": ["a@example.com"], "subject": "About {{what}}", "text": "See {{what}}"},
    "predict.rows": {"model": MODEL},
    "prompt.template": {"template": "Say {{word}}"},
    "speech.speak": {"model": MODEL},
    "speech.transcribe": {"model": MODEL},
    "sql.query": {"connection": {"$ref": "connection:sales"}, "query": "SELECT 1 WHERE :a", "inputs": {"a": "number"}},
    "trigger.schedule": {"cron": "0 9 * * 1", "timezone": "Asia/Kolkata"},
    "trigger.webhook": {"signature": SECRET},
}  # fmt: skip
