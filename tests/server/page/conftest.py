"""A browser, and a server that asks for tokens. All tests here are synchronous, as playwright is."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.support import browser as chromium
from tests.support import server
from tests.support.browser import Visit
from tests.support.page import TOKENS, give_token, write_tokens
from tests.support.server import Environment


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium. Only modules whose tests are all synchronous can have one."""
    with chromium.running() as running:
        yield running


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "tokens"
    write_tokens(path, TOKENS)
    return path


@pytest.fixture(scope="module")
def guarded(shared_settings: Environment, token_file: Path) -> Iterator[server.Process]:
    environment = {**shared_settings, "DUMBKV_AUTH_TOKENS_FILE": str(token_file)}
    with server.running(token_file.with_name("log"), environment) as process:
        yield process


@pytest.fixture
def api(guarded: server.Process) -> Iterator[httpx.Client]:
    with guarded.client(TOKENS["admin"]) as client:
        yield client


@pytest.fixture
def visit(browser: Browser, guarded: server.Process) -> Iterator[Visit]:
    """The page as it opens. At the end, whatever happened: nothing complained, leaked or stayed."""
    with chromium.visiting(browser, permissions=["clipboard-read", "clipboard-write"]) as visit:
        visit.page.goto(f"{guarded.url}/")
        yield visit
        visit.check(f"{guarded.url}/")


@pytest.fixture
def page(visit: Visit) -> Page:
    """The page after the token was given."""
    give_token(visit.page)
    return visit.page
