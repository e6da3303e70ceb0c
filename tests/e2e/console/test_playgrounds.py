"""Who tries models without a program: chats side by side, tools, what is saved and shared, embeddings, guardrails."""

import base64
import dataclasses
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.console.conftest import TOKENS, Windows
from tests.support.behaviours import NEVER, Answer, Exchange, Tokens
from tests.support.browser import NARROW, Window
from tests.support.scripted.openai import OpenAI
from tests.support.scripted.scenarios import SCENARIOS
from tests.support.settings import settings, solo
from tests.support.site import Site
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=")
MARKDOWN = """# Rivers

1. **Ganga**
2. *Kaveri*

| River | km |
|---|---:|
| Ganga | 2525 |

```python
length = 2525
```

<b>not bold</b>"""


@dataclasses.dataclass(frozen=True)
class Streamed:
    """Chunks of a stream, as a provider sends them."""

    chunks: tuple[bytes, ...]

    async def play(self, exchange: Exchange) -> None:
        """Answer `exchange`."""
        await exchange.head(200, {"content-type": "text/event-stream"}, None)
        for chunk in self.chunks:
            await exchange.body(chunk)
        await exchange.end()


@pytest.fixture(scope="module")
def site_settings(upstream: Upstream) -> dict[str, Any]:
    """Models of a scripted provider, one of them dear, one guarded; and guardrails of three kinds."""
    priced = {name: model for one in ("assistant", "rival", "caller", "slow") for name, model in _priced(one).items()}
    models = {**priced, **solo("dear"), **_priced("guarded", guardrails=["cards"])}
    guardrails = {
        "addresses": {"use": "pii", "kinds": ["email"], "action": "mask"},
        "cards": {"use": "pii", "kinds": ["card"], "action": "block"},
        "attacks": {"use": "injection", "on": ["input"], "action": "flag"},
    }
    return settings(upstream, models, guardrails=guardrails)


def _priced(name: str, **more: Any) -> dict[str, Any]:
    return solo(name, price=TOKENS, **more)


@pytest.fixture(scope="module")
def spent(site: Site) -> str:
    """A model whose budget is too small for one call, once the gateway knows that."""
    site.api("POST", "/budgets", 201, {"name": "small", "subject": "model", "subject_id": "dear", "amount_usd": 0.5})
    key = site.server.create_key(name="spender").key
    asked = {"model": "dear", "messages": [{"role": "user", "content": "Hello"}]}
    eventually(lambda: site.server.call("/api/v1/chat", key=key, json=asked).status == 402, "a spent budget")
    return "dear"


def panes(page: Page) -> Locator:
    return page.get_by_test_id("pane")


def choose(page: Page, *models: str) -> None:
    """One pane for each of these models."""
    expect(panes(page)).to_have_count(1)
    for place, model in enumerate(models):
        if place:
            page.get_by_role("button", name="Add model").click()
        panes(page).nth(place).get_by_role("combobox", name="Model").select_option(model)


def say(page: Page, text: str, *, to: str = "Message to all models") -> None:
    page.get_by_label(to, exact=True).fill(text)
    page.get_by_label(to, exact=True).press("Enter")


def test_models_answer_side_by_side_and_refusals_are_explained(
    site: Site, windows: Windows, upstream: Upstream, spent: str
) -> None:
    window = windows()
    upstream.script("assistant", Answer(MARKDOWN, tokens=Tokens(11, 7)))
    upstream.script("rival", Answer("The Ganga is the longest.", tokens=Tokens(11, 5)))
    site.sign_in(window, path="/chat")
    page = window.page
    window.forgive("/api/v1/chat", "status of 402")
    window.forgive("/api/v1/chat", "status of 400")
    choose(page, "assistant", "rival", spent, "guarded")
    say(page, "Charge 4111 1111 1111 1111 and tell me of rivers")
    first, second, third, fourth = (panes(page).nth(place) for place in range(4))
    expect(first.get_by_test_id("facts")).to_contain_text("11 in, 7 out")
    expect(first.get_by_role("cell", name="2525")).to_be_visible()
    expect(first.get_by_text("<b>not bold</b>")).to_be_visible()
    expect(second.get_by_text("The Ganga is the longest.")).to_be_visible()
    expect(second.get_by_test_id("facts")).to_contain_text("lab / rival")
    refused = third.get_by_role("alert")
    expect(refused).to_contain_text("nothing was sent and nothing was spent")
    expect(refused.get_by_role("link", name="See budgets and limits")).to_have_attribute("href", "/limits")
    expect(fourth.get_by_role("alert")).to_contain_text("cards")
    link = first.get_by_role("link", name="Request", exact=True).get_attribute("href") or ""
    found = eventually(lambda: _logged(site, link.removeprefix("/requests/")), "the request in the log")
    assert found["price_usd"] == pytest.approx(11e-6 + 2 * 7e-6)
    expect(first.get_by_test_id("facts")).to_contain_text("$0.000025")
    window.shoot("wide")
    window.axe()
    window.fits()
    page.set_viewport_size({"width": NARROW["width"], "height": NARROW["height"]})
    window.shoot("narrow")
    window.fits()


def _logged(site: Site, request_id: str) -> Any:
    answer = site.server.api("GET", f"/requests/{request_id}")
    return answer.json if answer.status == 200 else None


def test_a_tool_is_called_and_the_answer_goes_on(site: Site, window: Window, upstream: Upstream) -> None:
    upstream.script("caller", Streamed(OpenAI().stream(SCENARIOS["only_tools"]).chunks), Answer("24 degrees there."))
    site.sign_in(window, path="/chat")
    page = window.page
    choose(page, "caller")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_role("button", name="Add tool").click()
    window.shoot("settings")
    window.axe()
    page.keyboard.press("Escape")
    say(page, "How is the weather?", to="Message")
    call = page.get_by_role("region", name="Wants to call get_weather")
    expect(call).to_contain_text('"city": "Köln"')
    call.get_by_label("Result of get_weather").fill('{"degrees": 24}')
    window.shoot("call")
    window.axe()
    page.get_by_role("button", name="Send the result").click()
    expect(page.get_by_text("24 degrees there.")).to_be_visible()
    asked, answered = (received.json for received in upstream.wait_for("caller", 2))
    assert asked["temperature"] == 0.5
    assert asked["tools"][0]["function"]["name"] == "get_weather"
    assert [message["role"] for message in answered["messages"]] == ["system", "user", "assistant", "tool"]
    assert answered["messages"][-1]["content"] == '{"degrees": 24}'
    page.get_by_role("button", name="Actions for caller").click()
    page.get_by_role("menuitem", name="Show as code").click()
    for language, sign in (("curl", "/v1/chat/completions"), ("Python", "OpenAI("), ("TypeScript", "new OpenAI(")):
        page.get_by_role("tab", name=language).click()
        expect(page.get_by_role("tabpanel")).to_contain_text(sign)
        expect(page.get_by_role("tabpanel")).to_contain_text("YOUR_KEY")
    window.shoot("code")


def test_an_answer_can_be_stopped_and_asked_again_and_images_go_along(
    site: Site, window: Window, upstream: Upstream
) -> None:
    upstream.script("slow", Answer("one two three four", pauses={2: NEVER}), Answer("A pixel."))
    site.sign_in(window, path="/chat")
    page = window.page
    choose(page, "slow")
    page.get_by_label("Add images").and_(page.locator("input")).set_input_files(
        {"name": "pixel.png", "mimeType": "image/png", "buffer": PIXEL}
    )
    expect(page.get_by_role("img", name="Image pixel.png")).to_be_visible()
    say(page, "What is it?", to="Message")
    expect(page.get_by_test_id("live")).to_contain_text("one two")
    window.shoot("streaming")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped by you.")).to_be_visible()
    (received,) = upstream.wait_for("slow", 1)
    received.wait_aborted()
    assert received.json["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_text("A pixel.")).to_be_visible()
    expect(page.get_by_test_id("answer")).to_have_count(1)
    page.get_by_role("button", name="Edit and send again").click()
    page.get_by_role("textbox", name="Edit and send again").fill("Really?")
    page.get_by_role("button", name="Send again", exact=True).click()
    expect(page.get_by_role("log").get_by_text("Really?")).to_be_visible()
    expect(page.get_by_text("A pixel.")).to_be_visible()
    assert upstream.wait_for("slow", 3)[-1].json["messages"][0]["content"][1]["text"] == "Really?"


def test_a_message_stays_when_the_settings_are_wrong(site: Site, window: Window, upstream: Upstream) -> None:
    site.sign_in(window, path="/chat")
    page = window.page
    choose(page, "rival")
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Add tool").click()
    page.get_by_role("dialog").get_by_label("Name", exact=True).fill("")
    page.keyboard.press("Escape")
    say(page, "A long question", to="Message")
    expect(page.get_by_text("Something in the settings is wrong.")).to_be_visible()
    window.shoot("mend-them")
    page.get_by_role("dialog").get_by_role("button", name="Remove tool 1").click()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Message", exact=True)).to_have_value("A long question")
    upstream.script("rival", Answer("Yes."))
    page.get_by_label("Message", exact=True).press("Enter")
    expect(page.get_by_text("Yes.")).to_be_visible()


def test_a_chat_is_saved_shared_and_gone_on_with_in_a_copy(site: Site, windows: Windows, upstream: Upstream) -> None:
    upstream.script("assistant", Answer("The Ganga."))
    mine = windows("mine")
    site.sign_in(mine, path="/chat")
    page = mine.page
    choose(page, "assistant")
    say(page, "Which river is the longest?", to="Message")
    expect(page.get_by_text("The Ganga.")).to_be_visible()
    page.get_by_role("button", name="Save", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Rivers")
    dialog.get_by_label("Everybody in the project may read it").check()
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1, name="Rivers")).to_be_visible()
    page.reload()
    expect(page.get_by_text("The Ganga.")).to_be_visible()
    theirs = windows("theirs", color_scheme="dark")
    site.sign_in(theirs, site.person("ben@forge.example", "developer", "Ben Okri"), path="/chat")
    page = theirs.page
    page.get_by_role("button", name="Saved chats").click()
    page.get_by_role("tab", name="Shared in the project").click()
    theirs.shoot("saved")
    theirs.axe()
    page.get_by_role("dialog").get_by_role("button", name="Rivers").click()
    expect(page.get_by_text("Rivers belongs to Ada Lovelace.")).to_be_visible()
    expect(page.get_by_text("The Ganga.")).to_be_visible()
    expect(page.get_by_label("Message", exact=True)).to_have_count(0)
    theirs.shoot("read-only")
    theirs.axe()
    page.get_by_role("button", name="Make a copy").click()
    page.get_by_role("dialog").get_by_label("Name").fill("My rivers")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1, name="My rivers")).to_be_visible()
    say(page, "And the second?", to="Message")
    expect(page.get_by_test_id("answer")).to_have_count(2)


def test_embeddings_are_compared_by_the_model_that_is_built_in(site: Site, window: Window) -> None:
    site.sign_in(window, path="/embeddings")
    page = window.page
    page.get_by_label("Model").select_option("polyforge/static-minilm")
    page.get_by_role("textbox", name="Texts").fill(
        "The cat sleeps on the sofa.\nA kitten naps on the couch.\n\nShares fell sharply."
    )
    page.get_by_role("button", name="Compare").click()
    table = page.get_by_role("table", name="Similarity")
    expect(table.get_by_role("row")).to_have_count(4)
    cells = [
        [float(cell) for cell in row.get_by_role("cell").all_inner_texts()] for row in table.get_by_role("row").all()
    ]
    alike, unlike = cells[1][1], cells[1][2]
    assert alike > 0.5 > unlike
    assert [cells[place + 1][place] for place in range(3)] == [1, 1, 1]
    expect(page.get_by_text("256", exact=True)).to_be_visible()
    window.shoot("similarity")
    window.axe()
    page.get_by_role("tab", name="Map").click()
    expect(page.get_by_role("img", name="Map of 3 texts")).to_be_visible()
    window.shoot("map")
    window.axe()
    page.set_viewport_size({"width": NARROW["width"], "height": NARROW["height"]})
    window.shoot("narrow", full_page=True)
    window.fits()
    page.get_by_role("textbox", name="Texts").fill("\n".join(map(str, range(51))))
    expect(page.get_by_text("at most 50 are compared")).to_be_visible()
    expect(page.get_by_role("button", name="Compare")).to_be_disabled()


def test_guardrails_show_what_they_would_do(site: Site, window: Window) -> None:
    site.sign_in(window, path="/guardrails")
    page = window.page
    page.get_by_label("Text", exact=True).fill("Write to joe@example.com about card 4111 1111 1111 1111.")
    page.get_by_role("button", name="Try the guardrails").click()
    verdicts = page.get_by_role("list", name="What each would do")
    masked = verdicts.get_by_role("listitem", name="addresses")
    expect(masked).to_contain_text("Changes it")
    expect(masked.get_by_role("deletion")).to_have_text("joe@example.com")
    expect(masked.get_by_role("insertion")).to_have_text("[EMAIL]")
    expect(verdicts.get_by_role("listitem", name="cards")).to_contain_text("Refuses the call")
    expect(verdicts.get_by_role("listitem", name="attacks")).to_contain_text("Lets it pass")
    window.shoot("tried")
    window.axe()
    page.get_by_role("button", name="Language").click()
    page.get_by_role("menuitem", name="हिन्दी").click()
    expect(page.get_by_role("heading", level=1, name="गार्डरेल")).to_be_visible()
    window.shoot("hindi")
    page.set_viewport_size({"width": NARROW["width"], "height": NARROW["height"]})
    window.shoot("narrow", full_page=True)
    window.fits()
