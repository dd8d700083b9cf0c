"""What a run tells of itself never ends it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fast_nst.config import TrainConfig
from fast_nst.models.transform_net import TransformNet
from fast_nst.training.data.photos import open_photos
from fast_nst.training.logging import previews
from fast_nst.training.logging.run_recorder import RunRecorder
from fast_nst.training.state.run_folder import RunFolder


@pytest.fixture
def network(config: TrainConfig) -> TransformNet:
    return TransformNet(config.network).eval()


@pytest.fixture
def folder(config: TrainConfig) -> RunFolder:
    folder = RunFolder(config)
    folder.path.mkdir()
    folder.begin(config)
    return folder


def begun(config: Any, folder: RunFolder, step: int = 0) -> RunRecorder:
    style = np.full((30, 40, 3), 200, np.uint8)
    return RunRecorder(config, folder, open_photos(config.dataset), step, previews.style_sheet(style))


def shown(folder: RunFolder) -> list[int]:
    return sorted(int(path.stem.removeprefix("step_")) for path in (folder.path / "previews").iterdir())


@pytest.mark.slow
def test_previews_are_made_early_when_due_and_when_asked_for(
    config: TrainConfig, folder: RunFolder, network: TransformNet
) -> None:
    recorder = begun(replace(config, preview_every=300), folder)
    for step in (0, 7, 50, 100, 150, 200, 300, 301, 600):
        recorder.preview(network, step)
    recorder.preview(network, 601, now=True)
    recorder.close()
    assert shown(folder) == [0, 50, 100, 200, 300, 600, 601]
    with Image.open(folder.path / "previews/step_000050.jpg") as sheet:
        assert sheet.size == (5 * 256, 2 * 256)


def test_tensorboard_has_the_previews_the_histogram_and_the_settings(
    config: TrainConfig, folder: RunFolder, network: TransformNet
) -> None:
    recorder = begun(config, folder)
    recorder.preview(network, 0)
    recorder.close()
    events = EventAccumulator(str(folder.path)).Reload()
    tags = events.Tags()
    assert tags["images"] == ["preview"]
    assert tags["histograms"] == ["output values"]
    (settings,) = events.Tensors("config/text_summary")
    assert b'preset = "tiny"' in settings.tensor_proto.string_val[0]


@pytest.mark.parametrize("obstacle", ["a folder of that name", "a file in place of the folder"])
def test_a_preview_that_is_refused_costs_a_warning(
    config: TrainConfig,
    folder: RunFolder,
    network: TransformNet,
    caplog: pytest.LogCaptureFixture,
    obstacle: str,
) -> None:
    recorder = begun(config, folder)
    if obstacle == "a folder of that name":
        (folder.path / "previews/step_000050.jpg").mkdir()
    else:
        (folder.path / "previews").rmdir()
        (folder.path / "previews").touch()
    recorder.preview(network, 50)
    recorder.close()
    (record,) = caplog.records
    assert record.getMessage().startswith("no preview of step 50: ")


def test_weights_that_are_none_have_no_preview_and_end_nothing(
    config: TrainConfig, folder: RunFolder, network: TransformNet
) -> None:
    recorder = begun(config, folder)
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    recorder.preview(network, 50)
    recorder.close()
    assert shown(folder) == []


def test_a_new_run_shows_no_previews_of_an_earlier_one_and_a_resumed_one_does(
    config: TrainConfig, folder: RunFolder, network: TransformNet
) -> None:
    for step, expected in ((0, []), (5, [3])):
        recorder = begun(config, folder, step)
        assert shown(folder) == expected
        recorder.preview(network, 3, now=True)
        recorder.close()
    begun(config, folder, 0).close()
    assert shown(folder) == []


def test_no_file_of_a_run_log_stays_open(
    config: TrainConfig, folder: RunFolder, network: TransformNet
) -> None:
    handles = Path("/proc/self/fd")
    if not handles.exists():
        pytest.skip("handles are counted in /proc")
    begun(config, folder).close()
    before = len(os.listdir(handles))
    for _ in range(3):
        recorder = begun(config, folder)
        recorder.preview(network, 0)
        recorder.close()
    assert len(os.listdir(handles)) <= before
