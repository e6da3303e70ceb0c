"""What the console believes of the API is what the API says of itself."""

import json

from tests.support.browser import ROOT
from tests.support.clients import call
from tests.support.site import Site

DESCRIPTION = ROOT / "console" / "src" / "client" / "openapi.json"


def test_the_client_is_generated_from_the_api_as_it_is(empty_site: Site) -> None:
    served = call(empty_site.url, "/api/openapi.json", method="GET", key=empty_site.server.admin_key)
    assert json.loads(DESCRIPTION.read_text()) == served.json, "the API has changed: run `make client`"
