"""A text spoken."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port

NODE = NodeType(
    type="speech.speak",
    v=1,
    title="Speak",
    description="Speaks a text.",
    category="media",
    params=fields.parameters(
        ("model",),
        model=fields.reference("model", "Model"),
        voice=fields.text("Voice", "As the model calls it.", most=200),
        format=fields.choice("Format", "mp3", "opus", "wav", "flac", default="mp3"),
    ),
    ports=fixed({"text": port("text", "Text")}, {"audio": port("audio", "Recording")}),
    capabilities=("models",),
    timeout_s=300,
    unavailable="flows cannot hand recordings on in this version yet",
)
