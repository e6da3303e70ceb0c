"""Errors of Azure OpenAI: OpenAI's, and how long to wait in words where the headers do not tell.

Source: https://learn.microsoft.com/en-us/azure/ai-services/openai/quotas-limits.
"""

import re
from typing import Final

from polyforge.dialects import openai_errors
from polyforge.dialects.upstream_error import UpstreamError

_WAIT: Final = re.compile(r"retry after (\d{1,6}) (milli)?seconds?", re.IGNORECASE)


def decode_error(body: bytes) -> UpstreamError:
    """The error in an upstream's body, as far as it is one."""
    said = openai_errors.decode_error(body)
    if (wait := _WAIT.search(said.message)) is not None:
        said.retry_after = int(wait[1]) / (1000 if wait[2] else 1)
    return said
