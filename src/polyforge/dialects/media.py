"""`data:` URLs, in which OpenAI's dialects carry pictures and files."""

from polyforge.kernel.errors import Invalid

_MARK = ";base64,"


def read_data_url(url: str, param: str) -> tuple[str, str] | None:
    """Media type and base64 text of a `data:` URL; None for another URL, Invalid for one without base64."""
    if not url.startswith("data:"):
        return None
    head, mark, data = url[5:].partition(_MARK)
    if not mark or len(head) > 255:  # noqa: PLR2004 - a media type
        raise Invalid(f"{param}: a data: URL must be written as data:<media type>;base64,<data>", param=param)
    return head.partition(";")[0] or "application/octet-stream", data


def data_url(media_type: str, data: str) -> str:
    """The `data:` URL of base64 text."""
    return f"data:{media_type}{_MARK}{data}"
