"""What stands in the ledger for an end user whose name was deleted. Pure."""

import hmac
import re
from typing import Final

from polyforge.secrets.sealing import MasterKeys

_PURPOSE: Final = "pseudonyms of end users"
_LENGTH: Final = 24
_PSEUDONYM: Final = re.compile(r"erased-[0-9a-f]{24}")


class Pseudonyms:
    """HMAC-SHA-256 under a key derived from the master key: the same for the same name, so that sums stay apart."""

    def __init__(self, master: MasterKeys) -> None:
        self._key = master.derive(_PURPOSE)[0]

    def of(self, project_id: str, name: str) -> str:
        """The pseudonym of a name in a project; of a pseudonym, itself."""
        if _PSEUDONYM.fullmatch(name):
            return name
        digest = hmac.digest(self._key, f"{project_id}\n{name}".encode("utf-8", "surrogatepass"), "sha256")
        return f"erased-{digest.hex()[:_LENGTH]}"
