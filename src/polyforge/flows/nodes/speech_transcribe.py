"""What was said in a recording."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port

NODE = NodeType(
    type="speech.transcribe",
    v=1,
    title="Transcribe",
    description="Writes down what is said in a recording.",
    category="media",
    params=fields.parameters(
        ("model",),
        model=fields.reference("model", "Model"),
        language=fields.text("Language", "A tag such as `hi`. Left out: found out by the model.", most=35),
    ),
    ports=fixed(
        {"audio": port("audio", "Recording")},
        {
            "text": port("text", "What was said"),
            "segments": port("list<record{start: number, end: number, text: text}>", "With times in seconds"),
        },
    ),
    capabilities=("models",),
    timeout_s=900,
    unavailable="flows cannot hand recordings on in this version yet",
)
