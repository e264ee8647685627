"""Swagger UI at /docs in a real browser: it loads under its policy, and a call can be tried with a token."""

import pytest
from playwright.sync_api import Browser, expect

from tests.support import browser as chromium
from tests.support import server
from tests.support.page import TOKENS

pytestmark = pytest.mark.slow


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
        page.get_by_label("auth-bearer-value").fill(TOKENS["admin"])
        page.get_by_role("button", name="Apply credentials").click()
        page.get_by_role("button", name="Close").click()
        call.get_by_role("button", name="Execute").click()
        expect(answer.locator(".response-col_status")).to_contain_text("200")
        expect(answer).to_contain_text('"status": "success"')
        visit.check(f"{guarded.url}/docs#/keys/putKey")
