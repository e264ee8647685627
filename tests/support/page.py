"""The page at / as a visitor uses it, and the API as the tests look behind it."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, expect

TOKENS = {"read": "token-r", "write": "token-w", "admin": "token-a"}
VALUE = "a value to keep"


def write_tokens(path: Path, tokens: dict[str, str]) -> None:
    hashed = {scope: sha256(token.encode()).hexdigest() for scope, token in tokens.items()}
    path.write_text("\n".join(f"n {scope} sha256:{digest}" for scope, digest in hashed.items()))


def give_token(page: Page, scope: str = "admin") -> None:
    page.get_by_label("Token", exact=True).fill(TOKENS[scope])
    page.keyboard.press("Enter")
    expect(page.get_by_label("Key", exact=True)).to_be_focused()


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def get(page: Page, key: str) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")


def put(api: httpx.Client, key: str, value: str = VALUE, **options: Any) -> int:
    revision: int = api.put("/kv", json={"key": key, "value": value, **options}).json()["revision"]
    return revision


def paste(page: Page, label: str, text: str) -> None:
    page.evaluate("(text) => navigator.clipboard.writeText(text)", text)
    page.get_by_label(label, exact=True).focus()
    press(page, "Control+v")


def read(api: httpx.Client, key: str, database: int = 0) -> dict[str, Any]:
    entry: dict[str, Any] = api.post("/kv", json={"key": key, "database": database}).json()
    return entry


def the_error_of(page: Page, label: str) -> str:
    """The text that the field, which has the focus, is described and marked as wrong by."""
    field = page.get_by_label(label, exact=True)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    return page.locator(f"#{field.get_attribute('id')}-error").inner_text()
