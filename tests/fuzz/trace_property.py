"""What holds for every file that may be a trace.

It is summed up and drawn, or refused by InvalidArgument with file and reason in one line: never
another exception, and never for longer than a second. Tables go round through JSON, and of the
page every tag, attribute and entity is the page's own, whatever the file holds.
"""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from typing import Any

import weft
from weft import tracing

__all__ = ["NAME", "check"]

LONGEST = 1.0  # seconds of the processor: what else runs on the machine is no fault of the input
#: Of the file: hostile as well, and no UTF-8.
NAME = "<img src=x onerror=alert(1)>&\"'\udcff.json"

FOLDER = Path(tracing.__file__).parent
SCRIPT = f"<script>{(FOLDER / 'page.js').read_text(encoding='utf-8')}</script>"
STYLE = f"<style>\n{(FOLDER / 'page.css').read_text(encoding='utf-8')}</style>"
DATA = re.compile(r'<script type="application/json" id="data">([^<>&]*)</script>')
#: Every tag that a page may have besides its script, style and data.
TAG = re.compile(
    r"""<(?:!doctype\ html | html\ lang="en"
    | meta\ (?:charset="utf-8" | name="viewport"\ content="[\w\-=, ]+"
        | http-equiv="Content-Security-Policy"\ content="[\w\-'+/=; ]+")
    | canvas\ (?:id="timeline"\ tabindex="0"\ role="img"\ aria-label="[\w;,+\- \n]+"
        | id="heat"\ role="img"\ aria-label="[\w ]+")
    | td\ style="background:color-mix\(in\ srgb,\ var\(--hot\)\ \d+%,\ var\(--cold\)\)"
        \ title="[\d,]+\ bytes\ in\ [\d,.]+\ us"
    | (?:p|div|td|th|span|table)\ class="[a-z\- ]+" | div\ id="tip"
    | /?(?:html|head|title|body|h1|h2|p|div|span|canvas|table|caption|thead|tbody|tr|th|td)
    )>""",
    re.VERBOSE,
)
ENTITY = re.compile(r"&(?:amp|lt|gt|quot|#x27);")


def check(data: bytes) -> None:
    """Raise AssertionError where the property does not hold for `data`."""
    start = time.thread_time()
    trace = read(data)
    made = None
    if trace is not None:
        tables = tracing.summary(trace)
        made = tables, tracing.page(trace, tables)
    took = time.thread_time() - start
    assert took < LONGEST, f"{took:.1f} s"
    if trace is not None and made is not None:
        check_tables(trace, made[0])
        check_page(made[0], made[1])


def read(data: bytes) -> tracing.Trace | None:
    """The trace, or None for what is none."""
    try:
        return tracing.read_open(io.BytesIO(data), NAME)
    except weft.InvalidArgument as error:
        message = str(error)
        assert message.startswith(f"{NAME}:"), ascii(message)
        reason = message.removeprefix(NAME)
        assert 3 < len(reason) < 500, ascii(message)
        assert reason.isprintable(), ascii(message)  # in one line, and nothing for the terminal
        return None


def check_tables(trace: tracing.Trace, tables: dict[str, Any]) -> None:
    assert json.loads(json.dumps(tables, allow_nan=False)) == tables
    assert tables["events"] == len(trace.operations) + len(trace.slices)
    assert sum(row["operations"] for row in tables["ranks"]) <= len(trace.operations)
    assert tables["faults_total"] >= len(tables["faults"])
    found = [tables["stragglers"]]
    if tables["chunks"] is not None and tables["chunks"]["predicted"] is not None:
        found.append(tables["chunks"]["predicted"]["stragglers"])
    for one in found:
        assert one["examined"] >= one["held_up"]
        assert len(one["overall"]) <= one["examined"]


def check_page(tables: dict[str, Any], page: str) -> None:
    page.encode()
    assert page.count(SCRIPT) == page.count(STYLE) == 1
    rest = page.replace(SCRIPT, "").replace(STYLE, "")
    (data,) = DATA.findall(rest)
    drawn = json.loads(data)
    assert len(drawn["items"]) + drawn["left_out"] == tables["events"]
    text = ENTITY.sub("", TAG.sub("", DATA.sub("", rest)))
    wrong = re.search(r".{,40}[<>&\"].{,40}", text)
    assert wrong is None, wrong[0]
