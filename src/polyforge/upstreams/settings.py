"""What the settings of most providers have in common, field by field."""

from typing import Annotated, Final

from pydantic import Field

from polyforge.secrets.references import SecretRef

DEFAULT_CONNECTIONS: Final = 1000
DEFAULT_RESPONSE_BYTES: Final = 64 * 1024 * 1024

ApiKey = Annotated[SecretRef | None, Field(description="`env:NAME`, `file:/path` or `secret:name`; none sends no key.")]
Headers = Annotated[dict[str, str], Field(description="More headers to send with each call.")]
MaxConnections = Annotated[int, Field(ge=1, description="Most calls at once per gateway process.")]
MaxResponseBytes = Annotated[int, Field(ge=1024, description="Largest answer that is not streamed.")]
