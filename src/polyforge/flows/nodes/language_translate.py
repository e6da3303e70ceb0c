"""A text in another language."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port

_LANGUAGE = "^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$"

NODE = NodeType(
    type="language.translate",
    v=1,
    title="Translate",
    description="Translates a text.",
    category="text",
    params=fields.parameters(
        ("model", "to"),
        model=fields.reference("model", "Model"),
        to=fields.text("Into", "A language tag, as in `hi` or `pt-BR`.", most=35, pattern=_LANGUAGE),
        source=fields.text("From", "Left out: found out from the text.", most=35, pattern=_LANGUAGE),
    ),
    ports=fixed({"text": port("text", "Text")}, {"text": port("text", "Translation")}),
    capabilities=("models",),
    deterministic=True,
    timeout_s=120,
    unavailable="translation is not part of this version yet",
)
