"""What the operator's log lines look like, and what is not among them."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys
from dumbkv_operator import logs
logs.configure(*sys.argv[1:])
logging.getLogger("dumbkv_operator.apply").info("create Service %s", "web")
logging.getLogger("aiohttp.access").info("GET /healthz")
logging.getLogger("kopf.objects").info("Handler succeeded.", extra={"settings": "all of them"})
logging.getLogger("kopf.objects").warning("Handler failed.", extra={"settings": "all of them"})
"""


def lines(level: str, style: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, level, style]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()


def test_a_line_says_when_in_utc_how_important_and_who() -> None:
    first = lines("info", "text")[0]
    when, _, rest = first.partition(" ")
    assert when.endswith("Z")
    assert rest == "INFO dumbkv_operator.apply: create Service web"


@pytest.mark.parametrize("style", ["text", "json"])
def test_probes_and_events_that_went_well_are_told_at_debug_only(style: str) -> None:
    assert len(lines("info", style)) == 2
    assert len(lines("debug", style)) == 4
    assert len(lines("warning", style)) == 1


def test_json_has_one_object_a_line_and_no_baggage() -> None:
    told = [json.loads(line) for line in lines("info", "json")]
    assert [each["message"] for each in told] == ["create Service web", "Handler failed."]
    assert all(set(each) == {"time", "level", "logger", "message"} for each in told)
