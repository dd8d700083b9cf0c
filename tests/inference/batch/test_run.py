"""Running jobs: no exception of one job ends the run, and results that appear meanwhile are skipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError
from fast_nst.inference.batch import run as run_module
from fast_nst.inference.batch.jobs import Job
from fast_nst.inference.batch.results import Result
from fast_nst.inference.batch.run import run_jobs
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import Picture, read_picture
from fast_nst.models.checkpoint import Checkpoint

if TYPE_CHECKING:
    from tests.inference.conftest import Meddle

ERRORS = [
    RuntimeError("shape '[1, 2]' is invalid"),
    MemoryError(),
    RecursionError("maximum recursion depth exceeded"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    AssertionError(),
    KeyError("codec"),
    AttributeError("'NoneType' object has no attribute 'name'"),
    av.error.InvalidDataError(1094995529, "Invalid data found when processing input"),
    OSError(5, "Input/output error"),
    ZeroDivisionError("division by zero"),
    BrokenPipeError(32, "Broken pipe"),
    TypeError("line one\nline two"),
    NotImplementedError(),
    InputError("the result is not a number"),
]
every_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
some_errors = pytest.mark.parametrize(
    "error",
    [pytest.param(error, marks=() if i % 4 == 0 else pytest.mark.slow) for i, error in enumerate(ERRORS)],
    ids=lambda error: type(error).__name__,
)


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Three pictures of one size; the second one is red."""
    for i, color in enumerate(("gray", "red", "gray")):
        Image.new("RGB", (16, 12), color).save(tmp_path / f"{i}.png")
    return [Job(str(tmp_path / f"{i}.png"), str(tmp_path / f"out/{i}.png")) for i in range(3)]


def results(jobs: Sequence[Job], stylizer: Stylizer, **options: Any) -> list[Result]:
    return [r for r in run_jobs(jobs, stylizer, StylizeConfig(**options)) if isinstance(r, Result)]


def check_second_failed(found: list[Result], error: Exception) -> None:
    assert [result.error is None for result in found] == [True, False, True]
    for result in found:
        assert Path(result.job.target).exists() == (result.error is None)
    message = found[1].error
    assert message is not None
    assert message.isprintable()
    assert "1.png" in message
    expected = isinstance(error, InputError | MemoryError | OSError)
    assert (f"internal error, {type(error).__name__}" in message) != expected
    assert ("--debug" in message) != expected
    assert found[1].traceback is not None


@every_error
def test_an_error_of_reading_fails_one_job(
    stylizer: Stylizer, jobs: list[Job], monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    read = run_module.read_picture

    def fails(source: str, **options: int) -> Picture:
        if source.endswith("1.png"):
            raise error if not isinstance(error, InputError) else InputError(f"{source}: {error}")
        return read(source, **options)

    monkeypatch.setattr(run_module, "read_picture", fails)
    check_second_failed(results(jobs, stylizer), error)


@pytest.mark.parametrize("batch_size", [1, 3])
@some_errors
def test_an_error_of_the_network_fails_one_job_also_in_a_batch(
    meddled: Callable[[Meddle], Stylizer], jobs: list[Job], error: Any, batch_size: int
) -> None:
    def fail(pictures: Sequence[Picture]) -> None:
        if any(np.array_equal(picture.rgb[0, 0], (255, 0, 0)) for picture in pictures):
            raise error

    check_second_failed(results(jobs, meddled(fail), batch_size=batch_size), error)


@every_error
def test_an_error_of_writing_fails_one_job(
    stylizer: Stylizer, jobs: list[Job], monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    write = run_module.write_picture

    def fails(place: Path, picture: Picture, **options: Any) -> None:
        if place.name == "1.png":
            raise error if not isinstance(error, InputError) else InputError(f"{place}: {error}")
        write(place, picture, **options)

    monkeypatch.setattr(run_module, "write_picture", fails)
    check_second_failed(results(jobs, stylizer), error)


@some_errors
def test_an_error_of_a_video_fails_one_job_and_keeps_its_frames(
    meddled: Callable[[Meddle], Stylizer], jobs: list[Job], clip: Callable[..., Path], error: Any
) -> None:
    video = clip("1.png.mp4", picture=lambda i: np.full((48, 64, 3), 250 if i == 6 else 90, np.uint8))
    jobs[1] = Job(str(video), str(video.parent / "out/1.png.mp4"), video=True)

    def fail(pictures: Sequence[Picture]) -> None:
        if any(picture.rgb.mean() > 200 for picture in pictures):
            raise error if not isinstance(error, InputError) else InputError(f"{video}: {error}")

    found = results(jobs, meddled(fail))
    check_second_failed(found, error)
    assert str(found[1].error).endswith("1.png.partial.mp4 holds the first 6 frames")


@some_errors
def test_an_error_of_reading_or_writing_a_video_fails_one_job(
    stylizer: Stylizer,
    jobs: list[Job],
    clip: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    error: Any,
) -> None:
    from fast_nst.inference.video import pipeline

    video = clip("1.png.mp4")
    jobs[1] = Job(str(video), str(video.parent / "out/1.png.mp4"), video=True)

    def fails(*_: object) -> None:
        raise error if not isinstance(error, InputError) else InputError(f"{video}: {error}")

    for owner, method in (
        (pipeline.VideoFile, "_read_to_first_frame"),
        (pipeline.VideoFile, "_frame"),
        (pipeline.VideoWriter, "_open"),
        (pipeline.VideoWriter, "_convert"),
        (pipeline.VideoWriter, "finish"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, fails)
            found = results(jobs, stylizer, overwrite=True)
        assert [result.error is None for result in found] == [True, False, True], method
        assert str(found[1].error).isprintable()
        assert sorted(path.name for path in (video.parent / "out").iterdir()) == ["0.png", "2.png"]


def test_a_result_that_another_process_writes_meanwhile_is_skipped(
    meddled: Callable[[Meddle], Stylizer], jobs: list[Job]
) -> None:
    def write_all(_: Sequence[Picture]) -> None:
        for job in jobs:
            Path(job.target).parent.mkdir(exist_ok=True)
            Path(job.target).write_text("theirs")

    stylizer = meddled(write_all)
    found = results(jobs, stylizer, skip_existing=True)
    assert [(result.skipped, result.error) for result in found] == [(True, None)] * 3
    assert {Path(job.target).read_text() for job in jobs} == {"theirs"}
    for job in jobs:
        Path(job.target).unlink()
    assert all("exists" in str(result.error) for result in results(jobs, stylizer))


def test_a_video_that_another_process_writes_meanwhile_is_skipped(
    meddled: Callable[[Meddle], Stylizer], clip: Callable[..., Path], tmp_path: Path
) -> None:
    job = Job(str(clip("a.mp4")), str(tmp_path / "b.mp4"), video=True)
    stylizer = meddled(lambda _: Path(job.target).write_text("theirs"))
    (result,) = results([job], stylizer, skip_existing=True)
    assert (result.skipped, result.error) == (True, None)
    assert Path(job.target).read_text() == "theirs"


class SmallMachine(Stylizer):
    """One that has no memory for a whole picture of more than 10 pixels a side."""

    def run_uint8(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if images.shape[2] > 10:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte")
        return super().run_uint8(images)


class TinyMachine(SmallMachine):
    """One that has none for row bands either."""

    def in_bands(self, picture: Picture, **options: Any) -> Picture:
        raise MemoryError


def test_a_picture_too_large_for_the_memory_costs_a_line_and_is_stylized_in_row_bands(
    checkpoint: Checkpoint, stylizer: Stylizer, jobs: list[Job], caplog: pytest.LogCaptureFixture
) -> None:
    (result,) = results(jobs[:1], SmallMachine(checkpoint, device="cpu", precision="fp32"))
    assert result.error is None
    assert caplog.messages == ["16 x 12 pixels: out of memory; stylizing it in row bands"]
    expected = stylizer(read_picture(jobs[0].source)).rgb
    assert np.abs(read_picture(jobs[0].target).rgb.astype(int) - expected).max() <= 1


def test_a_picture_too_large_for_row_bands_too_does_not_stop_the_others(
    checkpoint: Checkpoint, jobs: list[Job]
) -> None:
    Image.new("RGB", (10, 10), "gray").save(jobs[0].source)
    first, second = results(jobs[:2], TinyMachine(checkpoint, device="cpu"))
    assert first.error is None
    assert "1.png: not enough memory for 16 x 12 pixels" in str(second.error)
    assert "--size" in str(second.error)
