from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import speed
from benchmarks.growth import measure
from benchmarks.table import Table, median_seconds, peak_bytes, show_seconds


def test_ratios_are_to_the_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.add("plain", 0.5, unit="image")
    row = table.add("fast", 0.125, reference="plain", share_of_peak=0.25, note="a, b")
    assert row.ratio == 0.25 and table["plain"].ratio is None
    table.save(tmp_path / "deep" / "speed.csv")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["speed.csv"]
    with (tmp_path / "deep" / "speed.csv").open(encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert list(first)[:4] == ["case", "seconds", "reference", "ratio"]
    assert (first["reference"], first["ratio"], first["seconds"]) == ("", "", "0.5")
    assert (second["reference"], second["ratio"], second["note"]) == ("plain", "0.25", "a, b")
    shown = capsys.readouterr().out
    assert "0.25 x plain" in shown and "25% of peak" in shown


def test_a_case_is_measured_once_and_its_reference_first() -> None:
    table = Table()
    table.add("plain", 0.5)
    with pytest.raises(ValueError, match="'plain' is in the table"):
        table.add("plain", 0.4)
    with pytest.raises(KeyError, match="'other' was not measured"):
        table.add("fast", 0.4, reference="other")


def test_the_median_leaves_warm_up_and_preparation_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], []
    monkeypatch.setattr("benchmarks.table.time.perf_counter", lambda: now[0])
    lengths = iter([100.0, 3.0, 1.0, 2.0])

    def call() -> None:
        now[0] += next(lengths)

    def before() -> None:
        calls.append(len(calls))
        now[0] += 50

    assert median_seconds(call, repeats=3, warm_up=1, before=before) == 2
    assert len(calls) == 4


def test_times_are_shown_with_their_unit() -> None:
    assert [show_seconds(t) for t in (12.345, 0.0123, 4.5e-5)] == ["12.3 s", "12.3 ms", "45 us"]


def test_peak_memory_is_that_of_the_process() -> None:
    before = peak_bytes()
    block = np.ones(64 << 20, np.uint8)
    assert block[0] and before < peak_bytes() < 1 << 36
    assert peak_bytes() - before < 1 << 30


def test_multiply_adds_are_counted() -> None:
    a, b = torch.rand(3, 5), torch.rand(5, 7)
    assert speed.multiply_adds(lambda: a @ b) == 3 * 5 * 7


@pytest.mark.parametrize("side", [240, 512])
def test_the_plain_boxes_are_the_same(side: int) -> None:
    from attnlib.boxes import map_to_boxes

    attention = np.zeros((15, 15), np.float32)
    attention[3:5, 2:9] = 0.9
    [box] = map_to_boxes(attention, size=(side, side), threshold=0.5)
    [(y0, x0, y1, x1)] = speed.plain_boxes(attention, side)
    assert box.as_tuple() == (x0, y0, x1, y1)


def test_sections_fill_the_table(tmp_path: Path) -> None:
    table = Table()
    settings = speed.Settings(repeats=1, config=speed.Config(input_size=64), folder=tmp_path)
    speed.images(table, settings)
    speed.boxes(table, settings)
    cases = [row.case for row in table.rows]
    assert "decode + resize, 512 px JPG" in cases and "boxes, 1024 px, one find" in cases
    assert all(row.seconds > 0 for row in table.rows)


def test_growth_measures_both_parts() -> None:
    found = measure(4, size=64, grid=4, steps=2)
    assert found["images"] == 4 and min(found["features_seconds"], found["training_seconds"]) > 0


def test_the_command_says_what_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["speed", "--help"])
    with pytest.raises(SystemExit) as left:
        speed.main()
    shown = capsys.readouterr().out
    assert left.value.code == 0 and "--full" in shown and "--out" in shown


def test_a_peer_that_is_not_there_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table, settings = Table(), speed.Settings(1, speed.Config(), tmp_path)
    monkeypatch.delenv(speed.PEERS, raising=False)
    speed.peers(table, settings)
    assert not table.rows and speed.PEERS in capsys.readouterr().out
