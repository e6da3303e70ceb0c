"""Errors of the Open Inference Protocol's paths: its body, Triton's words and codes where it has them."""

from polyforge.dialects import oip
from polyforge.dialects.oip_paths import read_model_path
from polyforge.kernel.errors import ModelNotFound, NotFound, PolyforgeError, TooLarge, UpstreamFailed
from polyforge.server.errors import Rendered, error_headers


def render_oip(path: str, error: PolyforgeError, request_id: str) -> Rendered:
    """An error as an answer to a request for this path."""
    told = PolyforgeError(_message(path, error))
    headers = error_headers(error, oip.JSON_TYPE.encode(), request_id)
    return Rendered(_status(error), headers, oip.encode_error(told))


def _message(path: str, error: PolyforgeError) -> str:
    if isinstance(error, TooLarge):
        return f"request exceeds the maximum allowed input size: {error.message}"
    if isinstance(error, ModelNotFound):
        return _unknown(path)
    return "Not Found" if type(error) is NotFound else error.message


def _unknown(path: str) -> str:
    asked = read_model_path(path)
    if asked is None:
        return "Request for unknown model"
    version = f" version {asked.version}" if asked.version else ""
    return f"Request for unknown model: '{asked.name}'{version} is not found"


def _status(error: PolyforgeError) -> int:
    if isinstance(error, TooLarge):
        return 400
    return 500 if isinstance(error, UpstreamFailed) else error.status
