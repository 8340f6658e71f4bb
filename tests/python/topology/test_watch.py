"""`weft topo --watch` on recorded counters: rates, errors, links that are down, masked machines."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

import weft
from weft.cli.app import app
from weft.cli.watch import rates, watch


def link(device, number, sent=0, received=0, errors=0, active=True):
    return {
        "device": device, "link": number, "active": active, "sent_bytes": sent,
        "received_bytes": received, "replay_errors": errors, "recovery_errors": 0, "crc_errors": 0,
    }  # fmt: skip


def reading(seconds, *links, notes=()):
    return {"seconds": seconds, "links": list(links), "notes": list(notes)}


def masked(number):
    return link(0, number) | {"sent_bytes": None, "received_bytes": None}


def show(capsys, *readings):
    """What watch() writes, for so many readings."""
    naps = []
    following = iter(readings)
    found = watch(0.5, len(readings) - 1, read=lambda: next(following), sleep=naps.append)
    assert naps == [0.5] * (len(readings) - 1 if found else 0)
    return found, capsys.readouterr()


def test_rates_are_of_all_links_of_a_device_between_two_readings():
    first = reading(0.0, link(0, 0), link(1, 0))
    before = reading(10.0, link(0, 0, 5_000, 0), link(0, 1, 0, 0), link(1, 0, 0, 0, 2))
    now = reading(
        12.0, link(0, 0, 5_000 + 8 * 10**9, 10**9), link(0, 1, 2 * 10**9, 10**9, active=False),
        link(1, 0, 0, 0, 5),
    )  # fmt: skip
    rows = rates(first, before, now)
    assert [(row.device, row.links_up, row.links) for row in rows] == [(0, 1, 2), (1, 1, 1)]
    assert rows[0].sent_gbps == pytest.approx(5.0)
    assert rows[0].received_gbps == pytest.approx(1.0)
    assert [row.errors for row in rows] == [0, 5]


def test_a_counter_that_fell_was_reset_and_one_that_is_not_told_is_no_zero():
    rows = rates(reading(0.0), reading(0.0, link(0, 0, 9 * 10**9)), reading(1.0, link(0, 0, 10**9)))
    assert rows[0].sent_gbps == pytest.approx(1.0)
    assert rows[0].errors is None  # the first reading did not have the link
    rows = rates(reading(0.0, masked(0)), reading(0.0, masked(0)), reading(1.0, masked(0)))
    assert rows[0].sent_gbps is None
    assert rows[0].errors == 0


def test_a_table_is_written_each_time(capsys):
    found, said = show(
        capsys, reading(0.0, link(0, 0, 1)), reading(1.0, link(0, 0, 10**9)),
        reading(2.0, link(0, 0, 3 * 10**9, 0, 7)),
    )  # fmt: skip
    assert found
    lines = [line.split() for line in said.out.splitlines() if line.startswith("cuda:0")]
    assert lines == [["cuda:0", "1/1", "1.00", "0.00", "0"], ["cuda:0", "1/1", "2.00", "0.00", "7"]]
    assert said.err == ""


def test_masked_counters_are_said_to_be_so(capsys):
    _, said = show(capsys, reading(0.0, masked(0)), reading(1.0, masked(0)))
    assert "does not tell what NVLinks move; virtual machines often mask it" in said.err
    assert "?" in said.out
    _, said = show(capsys, reading(0.0, link(0, 0)), reading(1.0, link(0, 0)))
    assert "every NVLink's counter reads 0" in said.err
    assert "masked" in said.err


def test_without_a_link_there_is_nothing_to_watch(capsys):
    found, said = show(capsys, reading(0.0, notes=["there is no NVML"]))
    assert not found
    assert said.out == ""
    assert said.err == "weft: there is no NVML\nweft: there is nothing to watch\n"


@pytest.mark.skipif(weft.cuda.is_available(), reason="there is a GPU here")
def test_the_command_ends_well_where_there_is_no_gpu():
    result = CliRunner().invoke(app, ["topo", "--watch", "0.01", "--count", "2"])
    assert result.exit_code == 0
    assert "nothing to watch" in result.stderr
    assert CliRunner().invoke(app, ["topo", "--watch", "0"]).exit_code == 2
