"""What `dumbkv import` takes for a whole export, and how it finds lines in pieces of any size."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dumbkv_server.cli.api import CommandError
from dumbkv_server.cli.lines import Check, split

HEADER = b'{"format":"dumbkv-export/1","last_revision":3,"legacy_rows":0,"peppers":[]}\n'
ROWS = [b'{"row_id":"%d","revision":%d}\n' % (number, number) for number in range(1, 4)]


def end(lines: list[bytes]) -> bytes:
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    return json.dumps({"rows": len(lines) - 1, "peppers": [], "sha256": digest}).encode() + b"\n"


BODY = [HEADER, *ROWS]
WHOLE = [*BODY, end(BODY)]


def follow(lines: list[bytes]) -> Check:
    check = Check()
    for line in lines:
        check.is_row(line)
    check.require_end()
    return check


def test_a_whole_export_is_taken() -> None:
    check = follow(WHOLE)
    assert (check.rows, check.size) == (3, len(b"".join(WHOLE)))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "no whole line"),
        (BODY, "breaks off after 3 rows"),
        ([HEADER, *ROWS[1:], end(BODY)], "altered or damaged"),
        ([HEADER, ROWS[1], ROWS[0], ROWS[2], end(BODY)], "altered or damaged"),
        ([HEADER.replace(b"3", b"4"), *ROWS, end(BODY)], "altered or damaged"),
        ([HEADER, *ROWS, ROWS[0], end(BODY)], "altered or damaged"),
        ([*WHOLE, *WHOLE], "two in one"),
        ([*WHOLE, b"\n"], "two in one"),
        ([b"{}\n"], "no format"),
        ([HEADER.replace(b"/1", b"/2")], "no format"),
        ([b"\xff\n"], "no JSON"),
        ([b"[" * 100_000], "no JSON"),
        ([HEADER, b"1\n"], "no JSON object"),
        ([*BODY, b'{"code":"export-timeout","detail":"It took too long."}\n'], "It took too long"),
    ],
)
def test_anything_else_is_refused_with_a_reason(lines: list[bytes], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        follow(lines)


@given(st.lists(st.binary(max_size=5).map(lambda line: line.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_are_found_wherever_the_pieces_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert list(split(pieces)) == [line + b"\n" for line in lines]
    assert list(split([*pieces, b"rest"])) == [line + b"\n" for line in lines]


def test_a_line_without_an_end_is_refused() -> None:
    with pytest.raises(CommandError, match="a line of it has more than"):
        list(split(b"x" * (1024 * 1024) for _ in range(1024)))
