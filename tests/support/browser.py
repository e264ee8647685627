"""Debian's Chromium as a visitor of the server's pages: what a page complains of and asks for is kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

__all__ = ["Error"]
PROGRAM = "/usr/bin/chromium"
# A host that only this browser knows: to it, 127.0.0.1 by any other name is an unencrypted connection.
UNENCRYPTED_HOST = "dumbkv.test"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {UNENCRYPTED_HOST} 127.0.0.1",
)
# The limit only ends a test that would never end.
PATIENCE_MILLISECONDS = 30_000
REPORT_VIOLATIONS = """addEventListener("securitypolicyviolation", (event) => {
  console.error(`violated: ${event.effectiveDirective} ${event.blockedURI}`);
});"""
KEPT = """async () => ({
  local: localStorage.length, session: sessionStorage.length, cookie: document.cookie,
  databases: (await indexedDB.databases()).length, caches: (await caches.keys()).length,
})"""
NOTHING_KEPT = {"local": 0, "session": 0, "cookie": "", "databases": 0, "caches": 0}


@contextmanager
def running() -> Iterator[Browser]:
    """A headless Chromium. It can be used by sync tests only, and until the end of their module."""
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=PROGRAM,
            args=list(ARGUMENTS),
            # Pages that were left are kept to go back to, as in anybody's browser.
            ignore_default_args=["--disable-back-forward-cache"],
        )
        yield browser
        browser.close()


@dataclass
class Visit:
    """One page in a window of its own."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    """Errors of scripts, violations of the policy, and whatever else the page writes to the console."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and address of each request."""

    def check(self, url: str) -> None:
        """Nothing was complained of, no other host was asked, and the browser was given nothing to keep."""
        # To evaluate has no limit of its own: a page that hangs would hang the test.
        self.page.wait_for_function("true")
        assert self.complaints == []
        assert {urlsplit(address).netloc for _, address in self.requests} == {urlsplit(url).netloc}
        assert self.page.evaluate(KEPT) == NOTHING_KEPT
        assert self.page.context.cookies() == []
        assert self.page.url == url

    def check_accessibility(self, state: str) -> None:
        """Axe finds nothing, and nothing has to be scrolled sideways. `state` is for who reads a failure."""
        results = Axe().run(self.page)
        assert results.violations_count == 0, f"{state}: {results.generate_report()}"
        width = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, f"{state}: {width} pixels too wide"


@contextmanager
def visiting(browser: Browser, **options: Any) -> Iterator[Visit]:
    """A new window, with the options of a browser context (color_scheme, viewport, …)."""
    context = browser.new_context(**options)
    context.add_init_script(REPORT_VIOLATIONS)
    page = context.new_page()
    visit = Visit(page)
    page.on("request", lambda request: visit.requests.append((request.method, request.url)))
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    # That a call was refused is the browser's remark, and what the tests provoke.
    page.on("console", lambda message: _listen(visit, message.text))
    yield visit
    context.close()


def _listen(visit: Visit, text: str) -> None:
    if not text.startswith("Failed to load resource: "):
        visit.complaints.append(text)
