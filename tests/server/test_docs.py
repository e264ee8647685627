"""Swagger UI at /docs in a real browser: it loads under its policy, and a call can be tried with a token."""

from collections.abc import Iterator
from hashlib import sha256

import pytest
from playwright.sync_api import Browser, expect

from tests.support import browser as chromium
from tests.support import server
from tests.support.server import Environment

pytestmark = pytest.mark.slow
TOKEN = "token"


@pytest.fixture
def guarded(
    shared_settings: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[server.Process]:
    folder = tmp_path_factory.mktemp("docs")
    tokens = f"n admin sha256:{sha256(TOKEN.encode()).hexdigest()}"
    with server.running(folder / "log", {**shared_settings, "DUMBKV_AUTH_TOKENS": tokens}) as process:
        yield process


def test_a_call_can_be_tried_with_a_token(browser: Browser, guarded: server.Process) -> None:
    with chromium.visiting(browser) as visit:
        page = visit.page
        page.goto(f"{guarded.url}/docs")
        call = page.locator("#operations-keys-putKey")
        call.locator(".opblock-summary-control").click()
        call.get_by_role("button", name="Try it out").click()
        call.get_by_role("button", name="Execute").click()
        answer = call.locator(".live-responses-table tr.response")
        expect(answer.locator(".response-col_status")).to_contain_text("401")
        page.get_by_role("button", name="Authorize").first.click()
        page.get_by_label("auth-bearer-value").fill(TOKEN)
        page.get_by_role("button", name="Apply credentials").click()
        page.get_by_role("button", name="Close").click()
        call.get_by_role("button", name="Execute").click()
        expect(answer.locator(".response-col_status")).to_contain_text("200")
        expect(answer).to_contain_text('"status": "success"')
        visit.check(f"{guarded.url}/docs#/keys/putKey")
