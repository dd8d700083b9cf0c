"""What a run leaves behind to read: metrics, a plot, TensorBoard events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fast_nst.report import StepReport, Stopwatch, clock
from fast_nst.training.logging.loss_plot import plot_losses, smooth
from fast_nst.training.logging.run_log import RunLog, read_metrics

REPORT = StepReport(
    step=10,
    steps=40,
    content=0.5,
    style=1.25,
    tv=0.25,
    grid=0.0,
    learning_rate=1e-3,
    elapsed=4,
    rate=8,
    remaining=75,
)


def reports(*steps: int) -> list[StepReport]:
    return [replace(REPORT, step=step, content=1 / step) for step in steps]


def log(folder: Path, *steps: int, keep_through: int = 0, tensorboard: bool = False) -> None:
    run = RunLog(folder, keep_through=keep_through, tensorboard=tensorboard)
    for report in reports(*steps):
        run.write(report)
    run.close()


def steps_in(folder: Path) -> list[int]:
    return [line["step"] for line in read_metrics(folder / "metrics.jsonl")]


def test_a_report_says_its_total_and_reads_as_one_line() -> None:
    assert REPORT.total == 2.0
    assert str(REPORT) == (
        "step 10/40  loss 2.0000  content 0.5000  style 1.2500  tv 0.2500  8.00 photos/s  1:15 left"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599.6, "1:00:00"), (36_061, "10:01:01"), (-3, "0:00")],
)
def test_a_time_left_reads_as_hours_minutes_and_seconds(seconds: float, words: str) -> None:
    assert clock(seconds) == words


def test_every_line_of_the_metrics_is_one_report_with_its_total(tmp_path: Path) -> None:
    log(tmp_path, 10, 20)
    first, second = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(first)["total"] == pytest.approx(0.1 + 1.5)
    assert json.loads(second)["step"] == 20
    assert set(json.loads(first)) == {*vars(REPORT), "total"}


def test_a_line_can_be_read_before_the_run_ends(tmp_path: Path) -> None:
    run = RunLog(tmp_path, tensorboard=False)
    run.write(REPORT)
    assert steps_in(tmp_path) == [10]
    run.close()


def test_a_resumed_run_drops_the_lines_of_steps_it_takes_again(tmp_path: Path) -> None:
    log(tmp_path, 10, 20, 30)
    log(tmp_path, 30, 40, keep_through=25)
    assert steps_in(tmp_path) == [10, 20, 30, 40]


def test_a_run_started_afresh_drops_them_all(tmp_path: Path) -> None:
    log(tmp_path, 10, 20)
    log(tmp_path, 10)
    assert steps_in(tmp_path) == [10]


@pytest.mark.parametrize("rest", ['{"step": 20, "cont', "\0\0\0", "20"])
def test_a_last_line_that_a_killed_run_cut_short_is_left_out(tmp_path: Path, rest: str) -> None:
    log(tmp_path, 10)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(rest)
    assert steps_in(tmp_path) == [10]
    log(tmp_path, 20, keep_through=10)
    assert steps_in(tmp_path) == [10, 20]


def test_no_metrics_are_no_lines_and_no_plot(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []
    log(tmp_path)
    assert not (tmp_path / "loss.png").exists()


def test_the_plot_of_a_run_is_a_picture_with_curves(tmp_path: Path) -> None:
    log(tmp_path, *range(1, 40))
    with Image.open(tmp_path / "loss.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[0] > 300
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_a_term_of_weight_zero_does_not_stretch_the_axis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    lines = [
        {"step": i, "content": 1.0, "style": 2.0, "tv": 0.0, "grid": 0.0, "total": 3.0} for i in range(1, 9)
    ]
    plot_losses(lines, tmp_path / "loss.png")
    axes = drawn[0].axes[0]
    assert axes.get_ylim()[0] > 0.1
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["content", "style", "total"]


@contextmanager
def room(bytes_: int) -> Iterator[None]:
    """No file may have more bytes than these, as on a full disk."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("more_bytes", [0, 7])
def test_lines_that_a_full_disk_refuses_are_written_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, more_bytes: int
) -> None:
    run = RunLog(tmp_path, tensorboard=False)
    first, second, third, last = reports(10, 20, 30, 40)
    run.write(first)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with room(len(before) + more_bytes):
        run.write(second)
        run.write(third)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    run.write(last)
    assert steps_in(tmp_path) == [10, 20, 30, 40]
    (record,) = caplog.records  # once an outage
    assert "metrics.jsonl cannot be written, trying again: " in record.getMessage()


def test_lines_that_wait_for_room_are_written_at_the_end_of_the_run(tmp_path: Path) -> None:
    run = RunLog(tmp_path, tensorboard=False)
    with room(0):
        run.write(REPORT)
    run.close()
    assert steps_in(tmp_path) == [10]


def test_a_resumed_run_needs_no_room_to_drop_lines(tmp_path: Path) -> None:
    log(tmp_path, 10, 20, 30)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with room(0):
        RunLog(tmp_path, keep_through=20, tensorboard=False)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join(before.splitlines(keepends=True)[:2])


def test_tensorboard_goes_on_where_the_disk_has_room_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = RunLog(tmp_path)
    first, second, third, last = reports(10, 20, 30, 40)
    run.write(first)
    (events,) = tmp_path.glob("events.*")
    with room(events.stat().st_size + 5):
        for report in (second, third):
            run.write(report)
    run.write(last)
    run.close()
    assert [e.step for e in EventAccumulator(str(tmp_path)).Reload().Scalars("loss/style")] == [10, 40]
    assert len([record for record in caplog.records if "TensorBoard" in record.getMessage()]) == 1


def test_a_stopwatch_leaves_out_what_it_is_paused_for_and_counts_on_from_earlier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    watch = Stopwatch(50.0)
    now += 3
    assert watch.elapsed == 53
    with watch.paused():
        now += 1000
    assert watch.elapsed == 53
    assert watch.lap() == 3
    now += 2
    assert (watch.lap(), watch.lap(), watch.elapsed) == (2, 0, 55)


def test_smoothing_keeps_a_constant_and_begins_at_the_first_value() -> None:
    assert smooth([3.0] * 50) == pytest.approx([3.0] * 50)
    noisy = [1.0, 5.0] * 40
    assert smooth(noisy)[0] == 1.0
    assert np.std(smooth(noisy)[20:]) < np.std(noisy) / 2
    assert smooth([]) == []


def test_tensorboard_shows_the_losses_and_hides_what_a_new_run_replaces(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log(tmp_path, 10, 20, 30, tensorboard=True)
    log(tmp_path, 25, 35, keep_through=20, tensorboard=True)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [e.step for e in events.Scalars("loss/content")] == [10, 20, 25, 35]
    assert events.Scalars("loss/total")[0].value == pytest.approx(0.1 + 1.5)
    log(tmp_path, 5, tensorboard=True)
    assert [e.step for e in EventAccumulator(str(tmp_path)).Reload().Scalars("loss/tv")] == [5]
