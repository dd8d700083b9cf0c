"""Names of results, worked out before anything is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError
from fast_nst.inference.batch.jobs import Job, plan
from fast_nst.inference.video.codecs import VIDEO_ENDINGS
from fast_nst.io.images import EXTENSIONS
from fast_nst.io.remote import write_bytes


def planned(
    *sources: str, out: str | None = None, format: str | None = None, skip: bool = False
) -> list[Job]:
    return plan(sources, "dots", StylizeConfig(out=out, format=format, skip_existing=skip)).jobs


def targets(*sources: str, **options: str | bool | None) -> list[str]:
    return [job.target for job in planned(*sources, **options)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: ``holiday`` with pictures at two depths, ``a.png`` beside it. Nothing is opened."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "a.png",
        "holiday/b.jpg",
        "holiday/sun/c.heic",
        "holiday/.hidden/d.jpg",
        "holiday/notes.txt",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return tmp_path


NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0*?["), min_size=1, max_size=30
).filter(lambda name: name not in (".", "..", "-"))


def stem(name: str) -> str:
    """Without the ending of a picture or video, as in `shot 10.00.01`, which has none."""
    known = EXTENSIONS | VIDEO_ENDINGS.keys()
    return Path(name).stem if Path(name).suffix.lower() in known else name


@given(NAMES)
def test_every_name_gives_a_name_in_the_current_folder_that_differs(name: Any) -> None:
    (job,) = planned(f"no-such-folder/{name}")
    assert os.path.dirname(job.target) == ""
    assert job.target != name
    assert os.path.splitext(job.target)[0].endswith("_dots")


@given(NAMES, st.sampled_from(["png", ".JPG", "tiff"]))
def test_a_chosen_format_is_the_ending(name: Any, format: Any) -> None:
    assert targets(f"no-such-folder/{name}", format=format) == [
        f"{stem(name)}_dots.{format.lower().removeprefix('.')}"
    ]


def test_what_is_missing_is_that_job_s_failure(folder: Path) -> None:
    assert targets("gone.jpg", "a.png") == ["gone_dots.jpg", "a_dots.png"]


def test_a_folder_goes_beside_itself_without_hidden_files(folder: Path) -> None:
    assert targets("holiday") == ["holiday_dots/b.jpg", "holiday_dots/sun/c.png"]
    assert (
        targets(str(folder / "holiday")) == targets("holiday/") == targets("./holiday") == targets("holiday")
    )


def test_the_current_folder_has_a_name_too(folder: Path) -> None:
    os.chdir("holiday")
    assert targets(".") == ["holiday_dots/b.jpg", "holiday_dots/sun/c.png"]
    assert targets("..") == [
        f"{folder.name}_dots/{name}" for name in ("a.png", "holiday/b.jpg", "holiday/sun/c.png")
    ]


def test_a_folder_and_a_picture_share_an_output_folder(folder: Path) -> None:
    assert targets("holiday", "a.png", out="out") == ["out/b.jpg", "out/sun/c.png", "out/a.png"]


def test_a_folder_of_one_picture_still_makes_a_folder(folder: Path) -> None:
    assert targets("holiday/sun", out="out") == ["out/c.png"]
    with pytest.raises(InputError, match="names one file"):
        targets("holiday/sun", out="out.png")


def test_results_of_an_earlier_run_inside_the_folder_are_left_out(folder: Path) -> None:
    Path("holiday/out").mkdir()
    Path("holiday/out/b.jpg").touch()
    assert targets("holiday", out="holiday/out") == ["holiday/out/b.jpg", "holiday/out/sun/c.png"]
    assert len(planned("holiday", out="elsewhere")) == 3


def test_a_pattern_reaches_into_sub_folders(folder: Path) -> None:
    assert targets("**/*.jpg", "holiday/*/c*") == ["b_dots.jpg", "c_dots.png"]


def test_two_names_of_one_place_are_one_result(folder: Path) -> None:
    os.symlink("holiday", "linked")
    assert targets("x/b.jpg", "y/b.jpg", out="linked/new/../") == [
        "linked/new/../x_b.jpg",
        "linked/new/../y_b.jpg",
    ]


def test_stdin_goes_to_stdout_unless_reported_otherwise(folder: Path) -> None:
    assert planned("-") == [Job("-", "-")]
    assert planned("-", out="b.jpg") == [Job("-", "b.jpg")]
    assert planned("-", "a.png", out="out") == [Job("-", "out/stdin.png"), Job("a.png", "out/a.png")]
    with pytest.raises(InputError, match="one picture"):
        planned("-", "a.png")


def test_an_input_is_safe_even_from_another_picture_s_result(folder: Path) -> None:
    Path("a_dots.png").touch()
    with pytest.raises(InputError, match=r"a_dots\.png, an input, would be overwritten by a\.png's result"):
        planned("a.png", "a_dots.png")
    assert len(planned("a.png", "a_dots.png", skip=True)) == 2


def test_what_an_earlier_run_wrote_beside_a_pattern_s_matches_is_no_input(folder: Path) -> None:
    Path("b.png").touch()
    assert targets("*.png") == ["a_dots.png", "b_dots.png"]
    Path("a_dots.png").touch()
    assert targets("*.png", skip=True) == ["a_dots.png", "b_dots.png"]
    Path("out").mkdir()
    Path("out/a.png").touch()
    assert targets("**/*.png", out="out") == ["out/a.png", "out/a_dots.png", "out/b.png"]
    with pytest.raises(InputError, match="an input, would be overwritten"):
        plan(["*.png"], "dots", StylizeConfig(overwrite=True))


def test_a_source_that_yields_nothing_stops_no_other(folder: Path) -> None:
    Path("empty").mkdir()
    dead, empty, good = planned("*.webp", "empty", "a.png")
    assert dead == Job("*.webp", "", error="no file matches *.webp")
    assert empty.error == (
        "no pictures or videos in the folder empty; names end in .jpg, .png, .mp4 and so on"
    )
    assert good == Job("a.png", "a_dots.png")
    assert planned("*.webp", "a.png", out="b.png")[1] == Job("a.png", "b.png")
    with pytest.raises(
        InputError, match=r"^no file matches \*\.webp; no pictures or videos in the folder empty; "
    ):
        planned("*.webp", "empty")


def test_addresses_keep_their_sub_folders_and_may_be_mixed_with_paths(folder: Path) -> None:
    root = f"memory://{folder.name}/in"
    for name in ("x.png", "sun/y.gif"):
        write_bytes(f"{root}/{name}", b"")
    assert targets(root) == ["in_dots/sun/y.png", "in_dots/x.png"]
    assert targets(root, "a.png", out="s3://b/out/") == [
        "s3://b/out/sun/y.png",
        "s3://b/out/x.png",
        "s3://b/out/a.png",
    ]
    assert targets("holiday", out="s3://b/out") == ["s3://b/out/b.jpg", "s3://b/out/sun/c.png"]
    assert targets("a.png", out="s3://b/c.jpg") == ["s3://b/c.jpg"]
    assert targets("a.png", out=f"file://{folder}/new/") == [f"{folder}/new/a.png"]
    assert targets(f"file://{folder}/a.png") == ["a_dots.png"]
    with pytest.raises(InputError, match="over itself"):
        targets(f"{root}/x.png", out=f"{root}/x.png")


def test_results_that_would_share_a_file_have_longer_names(folder: Path) -> None:
    for name in ("p/a.jpg", "p/a.png", "p/b.tif", "p/sun/a.jpg", "q/a.jpg", "q/c.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    made = plan(["p"], "dots", StylizeConfig(format="png"))
    assert [job.target for job in made.jobs] == [
        "p_dots/a.jpg.png",
        "p_dots/a.png.png",
        "p_dots/b.png",
        "p_dots/sun/a.png",
    ]
    assert made.notes == [
        "2 results have longer names, since several sources would share one: p/a.jpg -> p_dots/a.jpg.png"
    ]
    assert targets("p", "q", out="o") == [
        "o/p/a.jpg",
        "o/a.png",
        "o/b.tif",
        "o/sun/a.jpg",
        "o/q/a.jpg",
        "o/c.png",
    ]
    assert targets("p/a.jpg", "q/a.jpg", "p/a.png", format="webp") == [
        "p_a_dots.jpg.webp",
        "q_a_dots.jpg.webp",
        "a_dots.png.webp",
    ]
    assert plan(["p/a.jpg"], "dots", StylizeConfig(format="png")).notes == []


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["a", "b.c", "sun/a", "a.jpg"]), unique=True, min_size=1), st.data())
def test_no_two_results_share_a_file_and_names_do_not_depend_on_the_order(stems: Any, data: Any) -> None:
    endings = st.lists(st.sampled_from([".jpg", ".png", ".JPG", ".bmp", ".mp4", ".mkv"]), unique=True)
    names = [f"{stem}{ending}" for stem in stems for ending in data.draw(endings)]
    sources = [f"{folder}/{name}" for folder in ("no-x", "no-y") for name in names]
    options = {"out": "o/", "format": data.draw(st.sampled_from(["png", "mp4", None]))}
    if not sources or (options["format"] == "png" and not any("mp4" not in name for name in names)):
        return
    try:
        one = plan(sources, "dots", StylizeConfig(**options)).jobs
    except InputError as error:
        assert "--format" in str(error)
        return
    other = plan(sources[::-1], "dots", StylizeConfig(**options)).jobs
    assert {(job.source, job.target) for job in one} == {(job.source, job.target) for job in other}
    free = [job.target for job in one if job.error is None]
    assert len(set(free)) == len(free)


@pytest.mark.parametrize("name", ["shot 10.00.01", "candy.v1.5", "a.b", "trailing."])
def test_a_name_with_dots_keeps_its_tail(folder: Path, name: str) -> None:
    assert targets(name) == [f"{name}_dots.png"]
    assert targets(f"{name}.jpg") == [f"{name}_dots.jpg"]
    assert targets(f"{name}.jpg", format="png", out="o/") == [f"o/{name}.png"]
    assert targets(f"{name}.mp4", format="mkv", out="o/") == [f"o/{name}.mkv"]
