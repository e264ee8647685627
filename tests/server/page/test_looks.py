"""Every state of the page at /: axe finds nothing in it, in both schemes, wide and narrow."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import browser as chromium
from tests.support import server
from tests.support.browser import UNENCRYPTED_HOST, Visit
from tests.support.page import TOKENS
from tests.support.server import Environment

pytestmark = pytest.mark.slow

SCHEMES = ("light", "dark")
WIDTHS = (1280, 375, 320)
MOVING_WHEN_BUSY = """(document.querySelector("#form").setAttribute("aria-busy", "true"),
    document.getAnimations().map((animation) => animation.animationName))"""


def submit(page: Page, label: str, text: str) -> None:
    page.get_by_label(label, exact=True).fill(text)
    page.keyboard.press("Enter")


def choose(page: Page, mode: str) -> None:
    page.get_by_role("radio", name=mode).check(force=True)


def states(page: Page, key: str) -> Iterator[str]:
    """Bring the page from one state into the next, naming each."""
    yield "the token is asked for"
    submit(page, "Token", "wrong")
    expect(page.locator("[aria-invalid]")).to_have_count(1)
    yield "the token is refused"
    submit(page, "Token", TOKENS["admin"])
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    yield "ready"
    submit(page, "Key", key)
    expect(page.locator("[aria-invalid]")).to_have_count(1)
    yield "no such key"
    choose(page, "Put")
    page.get_by_label("Value", exact=True).fill("word " * 300 + "w" * 300)
    page.get_by_label("Expires after").fill("90")
    page.get_by_label("Condition").select_option("absent")
    yield "put"
    submit(page, "Key", key)
    expect(page.get_by_role("region", name="Stored durably")).to_be_focused()
    yield "stored"
    choose(page, "Get")
    submit(page, "Key", key)
    found = page.get_by_role("region", name="Found")
    expect(found).to_be_focused()
    yield "found, masked"
    found.press("s")
    expect(page.locator("#shown")).to_be_visible()
    yield "found, shown"
    found.press("e")
    page.get_by_label("Revision", exact=True).fill("9007199254740991")
    submit(page, "Key", key)
    expect(page.locator("[aria-invalid]")).to_have_count(1)
    yield "a condition that does not hold"
    page.get_by_label("Database", exact=True).select_option("Another number")
    submit(page, "Key", key)
    expect(page.locator("[aria-invalid]")).to_have_count(1)
    yield "a database that is none"
    page.get_by_label("Database", exact=True).select_option("0")
    choose(page, "Delete")
    page.get_by_label("Condition").select_option("")
    submit(page, "Key", key)
    expect(page.get_by_role("dialog")).to_be_visible()
    yield "deletion asks"
    page.get_by_role("dialog").get_by_role("button", name="Delete key").click()
    expect(page.get_by_role("region", name="Deleted")).to_be_focused()
    page.get_by_text("Keyboard").click()
    yield "deleted, with the shortcuts"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_in_any_state(
    browser: Browser, guarded: server.Process, key: str, scheme: str, width: int
) -> None:
    with visiting(browser, scheme, width) as visit:
        # Unencrypted, so that the notice of it is there as well.
        visit.page.goto(f"{guarded.url.replace('127.0.0.1', UNENCRYPTED_HOST)}/")
        for state in states(visit.page, key):
            visit.check_accessibility(state)
        assert visit.complaints == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_while_the_server_is_asked_and_when_it_was_not_reached(
    browser: Browser, tmp_path: Path, database: Environment, scheme: str
) -> None:
    with server.running(tmp_path / "log", database) as process, visiting(browser, scheme, 375) as visit:
        page = visit.page
        page.goto(f"{process.url}/")
        expect(page.get_by_label("Key", exact=True)).to_be_focused()
        process.popen.send_signal(signal.SIGSTOP)
        submit(page, "Key", "k")
        expect(page.get_by_role("button", name="Cancel")).to_be_visible()
        visit.check_accessibility("busy")
        process.popen.kill()
        expect(page.get_by_role("alert")).to_contain_text("does not answer")
        visit.check_accessibility("not reached")


def test_both_schemes_and_reduced_motion_are_followed(browser: Browser, shared: server.Process) -> None:
    seen = set()
    for scheme in SCHEMES:
        with chromium.visiting(browser, color_scheme=scheme, reduced_motion="reduce") as visit:
            visit.page.goto(f"{shared.url}/")
            seen.add(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
            moving = moving_when_busy(visit.page)
            assert "appear" in moving
            assert "turn" not in moving
    assert len(seen) == len(SCHEMES)
    with chromium.visiting(browser) as visit:
        visit.page.goto(f"{shared.url}/")
        assert "turn" in moving_when_busy(visit.page)


def moving_when_busy(page: Page) -> list[str]:
    """The names of what moves while the page waits for the server. Its own first question is over by then."""
    expect(page.locator("#form")).to_be_visible()
    return list(page.evaluate(MOVING_WHEN_BUSY))


def visiting(browser: Browser, scheme: str, width: int) -> AbstractContextManager[Visit]:
    return chromium.visiting(browser, color_scheme=scheme, viewport={"width": width, "height": 800})
