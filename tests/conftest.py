"""Options that all tests share, and the rule that CI fails where a test that must run was skipped."""

import signal

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database-location",
        metavar="URI",
        help="run the server tests against this database (postgres://…); default: an in-memory SQLite",
    )
    parser.addoption(
        "--cluster-provider",
        choices=("auto", "current", "kind", "local"),
        default="auto",
        help="where the end-to-end tests find their cluster; default: kind where Docker runs, else local",
    )
    parser.addoption(
        "--no-skips",
        action="store_true",
        help="a skipped test fails the run: what must run here cannot be left out unseen",
    )


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A script's `make test &` ignores it, and so would each program that is to be interrupted in a test:
        # they inherit what is ignored, and not what is handled.
        signal.signal(signal.SIGINT, lambda *_: None)
    if config.getoption("--no-skips"):
        config.pluginmanager.register(SkipsFail(), "skips-fail")


class SkipsFail:
    """Turns a run with a skipped test into a failed one, naming each."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.skipped.append(report.nodeid)

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skipped.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for nodeid in self.skipped:
            terminalreporter.write_line(f"SKIPPED BUT MUST RUN {nodeid}", red=True)
