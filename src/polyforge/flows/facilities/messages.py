"""Messages of flows: by e-mail as the house sends them, and to addresses that take them."""

from collections.abc import Sequence
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from polyforge.egress.fetching import fetch
from polyforge.egress.guarding import Guard
from polyforge.flows.facilities.once import Once
from polyforge.kernel.errors import Invalid, PolyforgeError, UpstreamFailed, UpstreamRefused
from polyforge.ports.notifier import Notice, Notifier
from polyforge.tenancy.callers import Caller

_SECONDS: Final = 30.0
_ANSWER_BYTES: Final = 64 * 1024
_MOST_TEXT: Final = 100_000
_MOST_SUBJECT: Final = 200
_MOST_RECEIVERS: Final = 50
_OK: Final = range(200, 300)
_REFUSED: Final = range(400, 500)
_LATER: Final = frozenset({408, 425, 429})
_encode: Final = msgspec.json.Encoder().encode


class FlowMessages:
    """Sends messages; each is handed over when `send` returns."""

    def __init__(self, notifier: Notifier, guard: Guard, once: Once) -> None:
        self._notifier = notifier
        self._once = once
        self._guard = guard

    async def send(
        self,
        caller: Caller,
        channel: Literal["slack", "email", "webhook"],
        to: Sequence[str],
        subject: str,
        text: str,
        *,
        key: str,
    ) -> None:
        """Send one. UpstreamFailed or UpstreamRefused where it is not taken, Invalid for what is too long."""
        if len(text) > _MOST_TEXT:
            raise Invalid(f"a message has at most {_MOST_TEXT} characters; send less", param="text")
        if len(to) > _MOST_RECEIVERS:
            raise Invalid(f"a message goes to at most {_MOST_RECEIVERS} addresses", param="email")
        # A subject is one line: what follows a line's end would be read as another header.
        title = " ".join("".join(each if each.isprintable() else " " for each in subject).split())[:_MOST_SUBJECT]
        match channel:
            case "email":
                await self._mail(caller, to, title, text, key)
            case "slack":
                await self._post(to[0], {"text": f"*{title}*\n{text}" if title else text}, key)
            case "webhook":
                await self._post(to[0], {"id": key, "subject": title, "text": text}, key)

    async def _mail(self, caller: Caller, to: Sequence[str], subject: str, text: str, key: str) -> None:
        """To each once: whoever sends again because some were not sent sends only those."""
        for sent, address in enumerate(to):
            notice = Notice(address, subject or "Message", text)

            async def send(notice: Notice = notice) -> tuple[bytes, bytes]:
                await self._notifier.send(notice)
                return b"text/plain", b""

            try:
                await self._once.do(caller, f"{key}:{address}".encode(), "mail", _encode(notice), send)
            except PolyforgeError as error:
                raise UpstreamFailed(f"{error.message}; {sent} of {len(to)} messages were sent") from error

    async def _post(self, url: str, message: dict[str, str], key: str) -> None:
        headers = {"content-type": "application/json", "idempotency-key": key}
        answer = await fetch(
            self._guard, "POST", url, headers, _encode(message), timeout_seconds=_SECONDS, max_bytes=_ANSWER_BYTES
        )
        # The address may itself be a secret, so no error tells more of it than its host.
        host = urlsplit(url).hostname
        if answer.status in _REFUSED and answer.status not in _LATER:
            raise UpstreamRefused(f"{host} does not take the message: it answered {answer.status}", status=502)
        if answer.status not in _OK:
            raise UpstreamFailed(f"{host} answered {answer.status}")
