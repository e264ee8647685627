"""What the page does when something is wrong, and what it must never keep, show or let in."""

import re
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.support import browser as chromium
from tests.support import server
from tests.support.browser import UNENCRYPTED_HOST, Visit
from tests.support.eventually import eventually
from tests.support.page import (
    TOKENS,
    VALUE,
    get,
    give_token,
    press,
    put,
    the_error_of,
    write_tokens,
)
from tests.support.server import Environment

pytestmark = pytest.mark.slow


def test_over_plain_http_it_warns_and_still_copies(
    browser: Browser, guarded: server.Process, api: httpx.Client, key: str
) -> None:
    put(api, key, key[::-1])
    url = guarded.url.replace("127.0.0.1", UNENCRYPTED_HOST)
    with chromium.visiting(browser) as visit:
        page = visit.page
        page.goto(f"{url}/")
        expect(page.get_by_text("This connection is not encrypted")).to_be_visible()
        give_token(page)
        get(page, key)
        expect(page.get_by_role("region", name="Found")).to_be_focused()
        press(page, "c")
        expect(page.get_by_role("status")).to_have_text("Copied.")
        page.get_by_label("Key", exact=True).fill("")
        press(page, "Control+v")
        expect(page.get_by_label("Key", exact=True)).to_have_value(key[::-1])


def test_while_the_server_is_asked_it_is_asked_once(
    visit: Visit, guarded: server.Process, api: httpx.Client, key: str
) -> None:
    page = visit.page
    give_token(page)
    page.get_by_role("radio", name="Put").check(force=True)
    page.get_by_label("Value", exact=True).fill(VALUE)
    form = page.locator("#form")
    guarded.popen.send_signal(signal.SIGSTOP)
    try:
        get(page, key)
        expect(form).to_have_attribute("aria-busy", "true")
        expect(page.get_by_role("status")).to_have_text("Waiting for the server.")
        page.get_by_role("button", name="Put value").click(force=True)
        press(page, "Control+Enter")
        assert [method for method, _ in visit.requests].count("PUT") == 1
    finally:
        guarded.popen.send_signal(signal.SIGCONT)
    expect(page.get_by_role("region", name="Stored durably")).to_be_focused()
    expect(form).to_have_attribute("aria-busy", "false")
    assert [method for method, _ in visit.requests].count("PUT") == 1
    guarded.popen.send_signal(signal.SIGSTOP)
    try:
        page.get_by_label("Value", exact=True).fill("another")
        get(page, key)
        expect(form).to_have_attribute("aria-busy", "true")
        press(page, "Escape")
        expect(page.get_by_role("alert")).to_contain_text("Cancelled. The write may be done or not")
    finally:
        guarded.popen.send_signal(signal.SIGCONT)


def test_a_server_that_is_gone_is_told_with_what_to_do(
    browser: Browser, tmp_path: Path, database: Environment
) -> None:
    with (
        server.running(tmp_path / "log", database) as process,
        chromium.visiting(browser) as visit,
    ):
        page = visit.page
        page.goto(f"{process.url}/")
        expect(page.get_by_label("Key", exact=True)).to_be_focused()
        process.stop()
        get(page, "k")
        expect(page.get_by_role("alert")).to_have_text(re.compile("does not answer. Check .* then try again"))
        page.get_by_role("radio", name="Put").check(force=True)
        press(page, "Enter")
        expect(page.get_by_role("alert")).to_contain_text("The write may be done or not")
        visit.check(f"{process.url}/")


def test_a_token_that_is_lost_is_asked_for_again(
    visit: Visit, api: httpx.Client, token_file: Path, key: str
) -> None:
    page = visit.page
    put(api, key)
    give_token(page, "read")
    get(page, key)
    page.get_by_role("region", name="Found").press("s")
    write_tokens(token_file, {scope: token for scope, token in TOKENS.items() if scope != "read"})
    try:
        headers = {"Authorization": f"Bearer {TOKENS['read']}"}
        eventually(lambda: api.get("/databases", headers=headers).status_code == 401, "the token is refused")
        page.get_by_role("radio", name="Get").press("Enter")
        expect(page.locator("[aria-invalid]")).to_have_count(1)
        assert "takes the former one no longer" in the_error_of(page, "Token")
        assert VALUE not in page.content()
        give_token(page)
        expect(page.get_by_label("Key", exact=True)).to_have_value(key)
        press(page, "Enter")
        expect(page.get_by_role("region", name="Found")).to_be_focused()
    finally:
        write_tokens(token_file, TOKENS)
        headers = {"Authorization": f"Bearer {TOKENS['read']}"}
        eventually(lambda: api.get("/databases", headers=headers).status_code == 200, "the token is taken")


@pytest.mark.parametrize(
    "answer", [b"<h1>Bad Gateway</h1>", b'{"message": "no upstream"}'], ids=["html", "json"]
)
def test_what_stands_before_the_server_and_answers_itself_is_told(
    browser: Browser, client: httpx.Client, answer: bytes
) -> None:
    """As an ingress does whose backend is away: only the page still comes through."""
    page_itself = client.get("/")

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_page = self.path == "/"
            self.send_response(200 if is_page else 502)
            if is_page:
                self.send_header("Content-Security-Policy", page_itself.headers["content-security-policy"])
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page_itself.content if is_page else answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy, chromium.visiting(browser) as visit:
        threading.Thread(target=proxy.serve_forever).start()
        try:
            visit.page.goto(f"http://127.0.0.1:{proxy.server_port}/")
            expect(visit.page.get_by_role("alert")).to_have_text(
                "Something in front of the server answered 502: look there."
            )
        finally:
            proxy.shutdown()
        assert visit.complaints == []


@pytest.mark.parametrize("leave", ["reload", "back", "forget", "idle"])
def test_a_page_that_is_left_forgets_all(visit: Visit, api: httpx.Client, key: str, leave: str) -> None:
    page = visit.page
    if leave == "idle":
        page.clock.install()
        page.reload()
    put(api, key)
    give_token(page)
    get(page, key)
    page.get_by_role("region", name="Found").press("s")
    expect(page.locator("#shown")).to_have_text(VALUE)
    if leave == "reload":
        page.reload()
    elif leave == "back":
        page.evaluate("self.kept = true")
        page.goto(page.url + "livez")
        page.go_back(wait_until="commit")
        expect(page.get_by_label("Token", exact=True)).to_be_focused()
        assert page.evaluate("self.kept"), "the browser loaded the page anew"
    elif leave == "forget":
        page.get_by_role("button", name="Forget token").click()
    else:
        page.clock.fast_forward("15:01")
    expect(page.get_by_label("Token", exact=True)).to_be_focused()
    for secret in ("token", "key", "value", "number", "revision"):
        expect(page.locator(f"#{secret}")).to_have_value("" if secret != "number" else "0")
    assert VALUE not in page.content()
    get_again = "fetch('/kv', {method: 'POST', body: '{}'}).then((response) => response.status)"
    assert page.evaluate(get_again) == 401


def test_nothing_can_be_injected(browser: Browser, guarded: server.Process) -> None:
    with chromium.visiting(browser) as visit:
        page = visit.page
        page.goto(f"{guarded.url}/")
        for attempt in (
            "document.body.innerHTML = '<b>markup</b>'",
            "document.body.append(Object.assign(document.createElement('script'), {text: 'self.ran = 1'}))",
            "trustedTypes.createPolicy('mine', {})",
        ):
            with pytest.raises(chromium.Error, match="TypeError"):
                page.evaluate(attempt)
        page.evaluate("document.body.append(document.createElement('iframe'), new Image())")
        page.evaluate("document.body.lastChild.src = '/livez'")
        expect(page.locator("iframe")).to_have_count(1)
        assert page.evaluate("self.ran") is None
        assert any(text.startswith("violated: require-trusted-types-for") for text in visit.complaints)
        eventually(lambda: any("img-src" in text for text in visit.complaints), "the image is refused")
