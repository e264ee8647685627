"""The page at / in a real browser: every flow, by keyboard too, and what it must never keep or show."""

import re

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import browser as chromium
from tests.support import server
from tests.support.browser import Visit
from tests.support.page import (
    TOKENS,
    VALUE,
    get,
    give_token,
    paste,
    press,
    put,
    read,
    the_error_of,
)

pytestmark = pytest.mark.slow

MEBIBYTE = 1024 * 1024


def test_every_flow_by_keyboard_alone(visit: Visit, api: httpx.Client, key: str) -> None:
    page = visit.page
    result = page.get_by_role("region", name="Found")
    expect(page.get_by_label("Token", exact=True)).to_be_focused()
    page.keyboard.type(TOKENS["admin"])
    press(page, "Enter")
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    # Put, with an expiry and a condition.
    press(page, "Shift+Tab", "ArrowRight")
    expect(page.get_by_role("radio", name="Put")).to_be_checked()
    press(page, "Tab")
    page.keyboard.type(key)
    press(page, "Tab", "Tab", "Tab", "Tab")
    expect(page.get_by_label("Value", exact=True)).to_be_focused()
    page.keyboard.type(VALUE)
    press(page, "Tab")
    page.keyboard.type("2")
    press(page, "Tab", "Tab", "ArrowDown")
    expect(page.get_by_label("Condition")).to_have_value("absent")
    press(page, "Control+Enter")
    stored = page.get_by_role("region", name="Stored durably")
    expect(stored).to_be_focused()
    entry = read(api, key)
    assert (entry["value"], entry["expires_at"] is None) == (VALUE, False)
    expect(stored).to_contain_text(f"Revision{entry['revision']}")
    expect(stored).to_contain_text("in 2 hours")
    expect(page.get_by_label("Value", exact=True)).to_have_value("")
    # Get, show, copy, hide.
    page.get_by_label("Key", exact=True).focus()
    press(page, "Shift+Tab", "ArrowLeft", "Tab", "Enter")
    expect(result).to_be_focused()
    expect(result).to_contain_text(f"Revision{entry['revision']}")
    expect(result).to_contain_text("in 2 hours")
    press(page, "s")
    expect(result).to_contain_text(VALUE)
    press(page, "c")
    expect(page.get_by_role("status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == VALUE
    press(page, "Escape")
    expect(result).not_to_contain_text(VALUE)
    # Edit: only over what was read, and it expires when it would have.
    press(page, "e")
    expect(page.get_by_label("Value", exact=True)).to_be_focused()
    press(page, "Control+End")
    page.keyboard.type("!")
    press(page, "Control+Enter")
    expect(stored).to_be_focused()
    edited = read(api, key)
    assert edited["value"] == f"{VALUE}!"
    assert edited["expires_at"] is not None
    # Delete, after a second thought.
    page.get_by_role("radio", name="Put").focus()
    press(page, "ArrowRight", "Tab", "Enter")
    dialog = page.get_by_role("dialog", name="Delete this key from database 0?")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    press(page, "Enter")
    expect(page.get_by_role("button", name="Delete key")).to_be_focused()
    # Until the page has taken the answer it does nothing twice.
    expect(page.locator("#form")).to_have_attribute("aria-busy", "false")
    assert read(api, key)["value"] == f"{VALUE}!"
    press(page, "Enter")
    expect(dialog).to_be_visible()
    press(page, "Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Delete key")).to_be_focused()
    expect(page.locator("#form")).to_have_attribute("aria-busy", "false")
    press(page, "Enter")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    press(page, "Tab")
    expect(dialog.get_by_role("button", name="Delete key")).to_be_focused()
    press(page, "Enter")
    expect(page.get_by_role("region", name="Deleted")).to_be_focused()
    assert read(api, key)["code"] == "key-not-found"


def test_the_page_holds_a_value_only_while_it_is_shown(page: Page, api: httpx.Client, key: str) -> None:
    put(api, key)
    get(page, key)
    expect(page.get_by_role("region", name="Found")).to_be_focused()
    assert VALUE not in page.content()
    page.get_by_role("button", name="Show", exact=True).last.click()
    expect(page.locator("#shown")).to_have_text(VALUE)
    assert key not in page.content()
    page.get_by_role("button", name="Hide", exact=True).click()
    assert VALUE not in page.content()


@pytest.mark.parametrize("secret", ["token", "key", "value"])
def test_what_is_typed_is_masked_until_shown(visit: Visit, secret: str) -> None:
    page = visit.page
    if secret != "token":
        give_token(page)
        page.get_by_role("radio", name="Put").check(force=True)
    field, toggle = page.locator(f"#{secret}"), page.locator(f"[data-masks={secret}]")
    masked = "(field) => field.type === 'password' || getComputedStyle(field).webkitTextSecurity === 'disc'"
    assert field.get_attribute("autocomplete") == "off"
    assert field.evaluate(masked)
    toggle.press("Enter")
    assert not field.evaluate(masked)
    expect(toggle).to_have_accessible_name(f"Hide the {secret}")
    page.keyboard.press("Escape")
    assert field.evaluate(masked)


def test_a_value_is_text_whatever_is_in_it(page: Page, api: httpx.Client, key: str) -> None:
    markup = "<img src=x onerror=alert(1)></pre><script>alert(2)</script>\u202e\0 \r\n"
    put(api, key, markup)
    get(page, key)
    page.get_by_role("region", name="Found").press("s")
    assert page.locator("#shown").evaluate("(shown) => shown.textContent") == markup


def test_a_database_is_picked_from_the_list_or_typed(page: Page, api: httpx.Client, key: str) -> None:
    put(api, key, "of seven", database=7)
    page.get_by_role("button", name="Forget token").click()
    give_token(page)
    picker = page.get_by_label("Database", exact=True)
    expect(picker.locator("option", has_text=re.compile(r"^7 · \d+ keys?$"))).to_have_count(1)
    picker.select_option("7")
    get(page, key)
    page.get_by_role("region", name="Found").press("s")
    expect(page.locator("#shown")).to_have_text("of seven")
    # A number that is not in the list is typed, and is in the list as soon as it has a key.
    page.get_by_role("radio", name="Put").check(force=True)
    picker.select_option("Another number")
    page.get_by_label("Database number").fill("2147483647")
    page.get_by_label("Value", exact=True).fill("of the last")
    press(page, "Control+Enter")
    expect(page.get_by_role("region", name="Stored durably")).to_be_focused()
    assert read(api, key, 2147483647)["value"] == "of the last"
    expect(picker).to_have_value("2147483647")
    expect(page.get_by_label("Database number")).to_be_hidden()


def test_a_token_that_may_not_list_databases_types_the_number(
    visit: Visit, api: httpx.Client, key: str
) -> None:
    page = visit.page
    give_token(page, "write")
    expect(page.get_by_label("Database", exact=True)).to_be_hidden()
    page.get_by_role("radio", name="Put").check(force=True)
    page.get_by_label("Database number").fill("3")
    page.get_by_label("Value", exact=True).fill(VALUE)
    get(page, key)
    expect(page.get_by_role("region", name="Stored durably")).to_be_focused()
    assert read(api, key, 3)["value"] == VALUE
    page.get_by_role("radio", name="Get").check(force=True)
    press(page, "Enter")
    expect(page.get_by_role("alert")).to_contain_text("scopes do not allow this")


@pytest.mark.parametrize(
    ("filled", "label", "error"),
    [
        ({"Key": ""}, "Key", "Give a key."),
        ({"Key": "k" * 1025}, "Key", "may have 1024 bytes"),
        ({"Database number": "2147483648"}, "Database number", "from 0 to 2147483647"),
        ({"Database number": "one"}, "Database number", "from 0 to 2147483647"),
        ({"Expires after": "-1"}, "Expires after", "above 0"),
        ({"Expires after": "1e999"}, "Expires after", "above 0"),
        ({"Expires after": "9e9"}, "Expires after", "3155760000"),
        ({"Revision": "0"}, "Revision", "above 0"),
        ({"Revision": "9007199254740991"}, "Condition", "nothing was changed"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_an_error_is_told_beside_its_field(
    page: Page, key: str, filled: dict[str, str], label: str, error: str
) -> None:
    page.get_by_role("radio", name="Put").check(force=True)
    if "Database number" in filled:
        page.get_by_label("Database", exact=True).select_option("Another number")
    if "Revision" in filled:
        page.get_by_label("Condition").select_option("revision")
    for name, text in {"Key": key, **filled}.items():
        page.get_by_label(name, exact=True).fill(text)
    press(page, "Control+Enter")
    expect(page.locator("[aria-invalid]")).to_have_count(1)
    assert error in the_error_of(page, label)


def test_a_key_that_is_not_there_and_conditions(page: Page, api: httpx.Client, key: str) -> None:
    get(page, key)
    expect(page.locator("[aria-invalid]")).to_have_count(1)
    assert the_error_of(page, "Key") == "There is no such key in this database."
    page.keyboard.type("!")
    expect(page.locator("[aria-invalid]")).to_have_count(0)
    revision = put(api, key)
    page.get_by_role("radio", name="Delete").check(force=True)
    page.get_by_label("Condition").select_option("revision")
    page.get_by_label("Revision", exact=True).fill(str(revision - 1))
    get(page, key)
    press(page, "Tab", "Enter")
    expect(page.locator("[aria-invalid]")).to_have_count(1)
    assert "nothing was changed" in the_error_of(page, "Condition")
    assert read(api, key)["value"] == VALUE


def test_a_value_as_large_as_it_may_be(page: Page, api: httpx.Client, key: str) -> None:
    """One line of a mebibyte: in a text field, a browser lays it out for most of a minute."""
    large = "v" * MEBIBYTE
    page.get_by_role("radio", name="Put").check(force=True)
    paste(page, "Value", large + "!")
    get(page, key)
    expect(page.locator("[aria-invalid]")).to_have_count(1)
    assert "may have 1048576 bytes" in the_error_of(page, "Value")
    paste(page, "Value", large)
    expect(page.get_by_text("1,048,576 characters, too many to show here")).to_be_visible()
    get(page, key)
    expect(page.get_by_role("region", name="Stored durably")).to_be_focused()
    assert read(api, key)["value"] == large
    page.get_by_role("radio", name="Get").check(force=True)
    get(page, key)
    found = page.get_by_role("region", name="Found")
    expect(found).to_contain_text("1,048,576 bytes")
    found.press("s")
    expect(page.get_by_text("The first 65,536 characters are shown")).to_be_visible()
    assert page.locator("#shown").evaluate("(shown) => shown.textContent.length") == 65536
    found.press("c")
    expect(page.get_by_role("status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == large
    found.press("e")
    press(page, "Control+Enter")
    expect(page.get_by_role("region", name="Stored durably")).to_be_focused()
    assert read(api, key)["value"] == large


@pytest.mark.parametrize("token", ["wrong", "two words", "schlüssel", ""])
def test_a_token_that_is_none_is_refused_beside_its_field(visit: Visit, token: str) -> None:
    visit.page.get_by_label("Token", exact=True).fill(token)
    press(visit.page, "Enter")
    expect(visit.page.locator("[aria-invalid]")).to_have_count(1)
    assert the_error_of(visit.page, "Token")


def test_without_authentication_no_token_is_asked_for(
    browser: Browser, shared: server.Process, client: httpx.Client, key: str
) -> None:
    with chromium.visiting(browser) as visit:
        page = visit.page
        page.goto(f"{shared.url}/")
        expect(page.get_by_label("Key", exact=True)).to_be_focused()
        expect(page.get_by_text("No token needed")).to_be_visible()
        expect(page.get_by_label("Token", exact=True)).to_be_hidden()
        page.get_by_role("radio", name="Put").check(force=True)
        page.get_by_label("Value", exact=True).fill(VALUE)
        get(page, key)
        expect(page.get_by_role("region", name="Stored durably")).to_be_focused()
        assert read(client, key)["value"] == VALUE
        visit.check(f"{shared.url}/")
