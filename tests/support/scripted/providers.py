"""Every provider that is scripted."""

from tests.support.scripted.anthropic import Anthropic
from tests.support.scripted.bedrock import Bedrock
from tests.support.scripted.openai import OpenAI
from tests.support.scripted.sagemaker import SageMaker
from tests.support.scripted.scenarios import ScriptedProvider

PROVIDERS: tuple[ScriptedProvider, ...] = (OpenAI(), Anthropic(), Bedrock(), SageMaker())
