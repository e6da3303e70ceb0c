"""The canonical form of work: what a caller asks for and what comes back, whatever dialect either side speaks.

Only what routing, limits, guardrails and metering need is decoded; the body itself travels as the bytes it came in.
"""

from typing import Literal

import msgspec
from typing_extensions import Buffer

from polyforge.kernel.usage import NO_USAGE, Usage

Task = Literal[
    "chat",
    "completion",
    "embedding",
    "rerank",
    "classification",
    "image_classification",
    "image_generation",
    "transcription",
    "speech",
    "translation",
    "language_detection",
    "tabular_prediction",
    "tokenization",
    "moderation",
    "inference",
]
"""What a model does; `inference` is whatever one does that takes tensors and gives tensors."""

Dialect = Literal["openai", "openai_responses", "anthropic", "oip", "ulca", "platform"]
"""The wire format that a caller speaks; errors are rendered in it."""


class InferenceRequest(msgspec.Struct, gc=False):
    """One request for a model. `body` is what arrived, in `dialect`; the other fields were read out of it."""

    task: Task
    dialect: Dialect
    model: str
    body: bytes
    stream: bool = False
    wants_usage: bool = False
    """Whether the caller asked for the usage chunk of a stream."""
    output_limit: int | None = None
    """The most output tokens per choice that the caller asked for."""
    choices: int = 1
    parts: int = 0
    """Messages, tools and tool calls: each may cost tokens beyond the bytes it is written in."""
    images: int = 0
    """Images and files in the prompt: each may cost tokens that its bytes tell nothing of."""
    tools: bool = False
    """Whether the model is offered tools."""
    structured: bool = False
    """Whether the answer must follow a JSON schema."""
    inputs: list[str] | list[list[int]] | None = None
    """Texts, or token ids, of an embedding request."""
    dimensions: int | None = None
    encoding: Literal["float", "base64"] = "float"
    variant: Literal["edit", "translation"] | None = None
    """Another way to do the task: to make an image out of others, to transcribe into English."""
    units: Usage = NO_USAGE
    """The most that it uses of what is not counted in tokens: images, audio, characters."""
    binary: int = 0
    """Bytes of the body that are files, and tell nothing of tokens."""
    tries: int = 1
    """How often the model may be asked: again, when its answer does not hold."""
    recalls: bool = False
    """Whether it refers to earlier answers, which have to be put into the body first."""
    keeps: bool = False
    """Whether the answer shall be kept, so that later requests can refer to it."""
    end_user: str = ""
    """Whom the caller asks for, as the caller names them; empty where it says nothing."""


class TensorRequest(InferenceRequest, gc=False):
    """A request of the Open Inference Protocol; its tensors stay in the body, which nobody but the model's host reads.

    `model` and `version` came from the path.
    """

    operation: Literal["infer", "infer_stream", "generate", "generate_stream"] = "infer"
    version: str = ""
    """Empty: whichever answers."""
    header_length: int | None = None
    """Where the JSON ends and raw tensors begin; None: it is all JSON."""


class Moderation(msgspec.Struct, frozen=True, gc=False):
    """What a moderation model makes of one text."""

    categories: dict[str, bool]
    """Whether it would let the text through, by category: True where not."""
    scores: dict[str, float]
    """How sure it is, by category, from 0 to 1."""


class EmbeddingResult(msgspec.Struct, gc=False):
    """`rows` vectors of `dimensions` little-endian float32 each, row-major in `data`."""

    data: Buffer
    rows: int
    dimensions: int
    usage: Usage
