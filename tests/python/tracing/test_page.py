"""The page of a trace: whole in itself, and deaf to what a hostile trace would have it do."""

import base64
import hashlib
import html.parser
import json
import re

import pytest

from python.tracing.synthetic import PROGRAMS, Delays, operation, run, text
from weft import tracing
from weft.tracing import _page, _tables

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'<!--\u2028"


class Reader(html.parser.HTMLParser):
    """Every tag with its attributes, and the text of scripts."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.scripts, self._in = [], [], None
        self.feed(content)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._in = None

    def handle_data(self, data):
        if self._in == "script":
            self.scripts[-1] += data


def page_of(content, name="trace.json"):
    trace = tracing.parse(content, name)
    return tracing.page(trace, tracing.summary(trace))


def data_of(page):
    return json.loads(Reader(page).scripts[0])


def chunks(world=4, **delays):
    return run(PROGRAMS["ring"](world), Delays(**delays))


def hostile_page():
    names = dict.fromkeys(("kind", "algorithm", "dtype", "op", "protocol", "path"), HOSTILE)
    events = [operation(**names), operation(op_id=1, status="failed", culprit=2, **names)]
    slices = chunks()
    for one in slices:
        if "args" in one:
            one["args"]["algorithm"] = HOSTILE
        else:
            one["id"] += HOSTILE
    content = text([*events, *slices], devices=[HOSTILE] * 4, weft_version=HOSTILE)
    return page_of(content, f"{HOSTILE}.json")


def test_nothing_in_a_trace_becomes_markup():
    reader = Reader(hostile_page())
    tame = Reader(page_of(text([operation(), *chunks()])))
    tags = {tag for tag, _ in reader.tags}
    assert "img" not in tags
    assert tags == {tag for tag, _ in tame.tags} | {"tr"}
    assert [attrs for tag, attrs in reader.tags if tag == "script"] == [
        {"type": "application/json", "id": "data"}, {},
    ]  # fmt: skip
    assert reader.scripts[1] == tame.scripts[1]
    assert HOSTILE in data_of(hostile_page())["texts"]


def test_no_attribute_of_a_tag_runs_or_loads_anything():
    for tag, attrs in Reader(hostile_page()).tags:
        for name in attrs:
            assert not name.startswith("on"), tag
            assert name not in ("src", "href", "srcset", "action"), tag


def test_the_page_allows_its_own_script_and_nothing_from_outside():
    page = page_of(text([operation(), *chunks()]))
    reader = Reader(page)
    policy = next(a["content"] for _, a in reader.tags if "content" in a and "http-equiv" in a)
    digest = base64.b64encode(hashlib.sha256(reader.scripts[1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    assert not re.search(r"https?:|url\(|@import|\bimport\(|fetch\(", page)
    assert "innerHTML" not in page
    assert "prefers-color-scheme: dark" in page


def test_the_drawing_has_every_event_with_its_columns():
    events = [operation(op_id=2**64 - 2, rank=1), *chunks(3)]
    data = data_of(page_of(text(events, devices=["sim:0", "sim:1", "sim:2"])))
    drawn = [event for event in events if event["ph"] == "X"]
    assert len(data["items"]) == len(drawn)
    assert data["lanes"] == ["rank 0 block 0 chunks", "rank 1 sim:1 host",
                             "rank 1 block 0 chunks", "rank 2 block 0 chunks"]  # fmt: skip
    for item in data["items"]:
        columns = data["columns"][item[4]]
        assert len(item) == 5 + len(columns)
    first = dict(zip([name for name, _ in data["columns"][0]], data["items"][0][5:], strict=True))
    assert data["texts"][first["op_id"]] == str(2**64 - 2)  # no number of a browser's
    assert data["left_out"] == 0


def test_rates_over_time_add_up_to_what_was_moved():
    data = data_of(page_of(text(chunks(3))))
    for row in data["rates"]["gbps"]:
        moved = sum(row["rates"]) * data["rates"]["part_us"] * 1e3
        assert moved == pytest.approx(4 << 20, rel=0.01)


def test_a_move_too_short_for_a_rate_has_none():
    move = next(event for event in chunks(2) if event.get("name") == "move")
    move["ts"], move["dur"], move["args"]["bytes"] = 0.0, 1e-320, 2**63 - 1
    (link,) = tracing.summary(tracing.parse(text([move])))["chunks"]["links"]
    assert link["gbps"] is None
    assert data_of(page_of(text([move])))["items"]


def test_a_page_of_a_file_whose_name_is_no_utf8_can_be_written(tmp_path):
    file = tmp_path / "a\udcff.json"
    file.write_text(text([operation()]))
    trace = tracing.read(file)
    page = tracing.page(trace, tracing.summary(trace))
    assert b"<title>weft trace: a?.json</title>" in page.encode()


def test_the_straggler_and_the_links_are_in_the_tables():
    page = page_of(text(chunks(4, way={(2, 3): 300.0})))
    assert "slow link 2-&gt;3" in page
    assert 'class="matrix"' in page
    assert 'id="heat"' in page
    assert 'id="heat"' not in page_of(text([operation()]))


def test_the_longest_events_are_drawn_where_there_are_too_many(monkeypatch):
    monkeypatch.setattr(_page, "MOST_DRAWN", 10)
    events = [operation(op_id=i, dur=float(i)) for i in range(25)]
    page = page_of(text(events))
    data = data_of(page)
    assert sorted(item[2] for item in data["items"]) == [float(i) for i in range(15, 25)]
    assert data["left_out"] == 15
    assert "15 shortest events are not drawn" in page


def test_long_tables_are_cut_and_say_so(monkeypatch):
    monkeypatch.setattr(_tables, "MOST_ROWS", 3)
    events = [operation(op_id=i, kind=f"kind_{i}") for i in range(5)]
    assert "And 2 more." in page_of(text(events))


def test_an_empty_trace_has_a_page():
    data = data_of(page_of(text([])))
    assert data["items"] == []
    assert data["lanes"] == []
