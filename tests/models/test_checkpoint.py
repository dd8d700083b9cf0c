"""Checkpoints: the same bytes for the same training, and one clear line for every way to be wrong."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fast_nst.config import PRESETS, NetworkConfig
from fast_nst.models.checkpoint import (
    CheckpointError,
    find_style,
    load_checkpoint,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from fast_nst.models.model_files import bundled_networks
from fast_nst.models.transform_net import TransformNet

NARROW = NetworkConfig(widths=(2, 3, 4), blocks=1)
ABOUT = {"style": "dots", "steps": 3}


def network(config: NetworkConfig = NARROW, seed: int = 0) -> TransformNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TransformNet(config)


def trained(seed: int = 0) -> TransformNet:
    """Three steps of Adam from a seed."""
    net = network(seed=seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    for _ in range(3):
        optimizer.zero_grad()
        (net(images) - images).square().mean().backward()
        optimizer.step()
    return net


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "dots.safetensors"
    save_checkpoint(path, trained(), ABOUT)
    return path


def refusal(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def header_length(data: bytes) -> int:
    return 8 + struct.unpack("<Q", data[:8])[0]


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """The file with other tensors or metadata and a checksum that agrees with them."""
    tensors, metadata = read_tensors(path)
    change(tensors, metadata)
    write_tensors(path, tensors, {k: v for k, v in metadata.items() if k not in ("sha256", "format")})


@pytest.mark.parametrize("config", [NARROW, *(replace(PRESETS[p], widths=(2, 3, 4)) for p in PRESETS)])
def test_a_network_comes_back_as_it_went(config: Any, tmp_path: Path) -> None:
    net, path = network(config).eval(), tmp_path / "style.safetensors"
    save_checkpoint(path, net, ABOUT, half=False)
    found = load_checkpoint(path)
    assert found.network.config == config
    assert found.style == "dots"
    assert found.metadata["steps"] == 3
    assert found.metadata["versions"]["torch"] == torch.__version__
    torch.testing.assert_close(found.network.state_dict(), net.state_dict(), rtol=0, atol=0)
    images = torch.rand(1, 3, 13, 10)
    torch.testing.assert_close(found.network(images), net(images), rtol=0, atol=0)


def test_what_comes_back_is_fp32_frozen_and_in_evaluation_mode(saved: Path) -> None:
    found = load_checkpoint(saved).network
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    assert {p.device.type for p in found.parameters()} == {"cpu"}
    assert not any(p.requires_grad for p in found.parameters())
    assert not any(module.training for module in found.modules())


def test_loading_draws_no_random_numbers(saved: Path) -> None:
    before = torch.random.get_rng_state()
    load_checkpoint(saved)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_saving_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    net = trained()
    save_checkpoint(tmp_path / "a.safetensors", net, ABOUT)
    assert net.training
    torch.testing.assert_close(net.state_dict(), trained().state_dict(), rtol=0, atol=0)


def test_the_same_training_gives_the_same_bytes_and_another_gives_others(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_checkpoint(tmp_path / name, trained(seed), {**ABOUT, "recipe": {"seed": seed, "lr": 0.01}})
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_the_memory_layout_of_the_weights_does_not_reach_the_file(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", trained(), ABOUT)
    save_checkpoint(tmp_path / "b", trained().to(memory_format=torch.channels_last), ABOUT)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_metadata_is_one_key_of_sorted_json(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        entries = file.metadata()
    assert set(entries) == {"fast_nst"}
    metadata = json.loads(entries["fast_nst"])
    assert list(metadata) == sorted(metadata)
    assert metadata["format"] == 1
    assert metadata["network"]["widths"] == [2, 3, 4]


def test_weights_are_stored_in_fp16_and_stylize_within_one_level_of_fp32(tmp_path: Path) -> None:
    net = network(PRESETS["tiny"]).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in net.named_parameters():  # norms as training leaves them, and a full range
            if "norm" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        images = torch.rand(2, 3, 40, 40, generator=generator)
        net.body.conv4.conv.weight.mul_(0.25 / net(images).std())
        net.body.conv4.conv.bias.fill_(0.5)
        exact = net(images)
        assert 0.2 < exact.std() < 0.3
        save_checkpoint(tmp_path / "half.safetensors", net, ABOUT)
        stored = load_checkpoint(tmp_path / "half.safetensors").network(images)
    assert {t.dtype for t in load_file(tmp_path / "half.safetensors").values()} == {torch.float16}
    levels = (exact.clamp(0, 1) * 255).round(), (stored.clamp(0, 1) * 255).round()
    assert (levels[0] - levels[1]).abs().max() <= 1


def test_a_weight_beyond_fp16_is_kept_in_fp32(tmp_path: Path) -> None:
    net = network()
    net.body.conv1_norm.weight.data[0] = 1e6
    save_checkpoint(tmp_path / "a.safetensors", net, ABOUT)
    found = load_checkpoint(tmp_path / "a.safetensors").network
    assert found.body.conv1_norm.weight[0].item() == 1e6


# Damage.


@pytest.mark.parametrize("share", [0.0, 0.21, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("bit", [0, 7])
def test_one_flipped_bit_anywhere_in_the_weights_is_noticed(saved: Path, share: float, bit: int) -> None:
    data = bytearray(saved.read_bytes())
    start = header_length(data)
    data[start + round(share * (len(data) - 1 - start))] ^= 1 << bit
    saved.write_bytes(data)
    assert "is damaged: its contents do not match its checksum" in refusal(saved)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    assert "cannot be read as safetensors" in refusal(saved)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty: the download or the copy went wrong"),
        (b"text\n" * 99, "cannot be read as safetensors: it has no header of that format"),
        (bytes(99), "cannot be read as safetensors"),
        (pickle.dumps({"a": 1}), "is a PyTorch file: fast-nst import"),
        (b"\n<!DOCTYPE html><html>404", "is a web page: the download or the copy went wrong"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "is a picture, not a model: train.py --style"),
        (b"\x89PNG\r\n\x1a\n", "is a picture, not a model"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "is a picture, not a model"),
        (b"\x08\x08\x12\x07pytorch", "is an ONNX model: no command reads those"),
        (b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", "is a file of Torch7 (Lua)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS: run git lfs pull"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras writes"),
    ],
)
@pytest.mark.parametrize("name", ["style.safetensors", "style.bin"])
def test_a_file_of_something_else_is_refused_and_says_what_it_is(
    content: Any, reason: str, name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert reason in refusal(path)


def test_a_renamed_pth_is_refused_and_says_which_command_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "style.safetensors"
    torch.save(network().state_dict(), path)
    assert f"is a PyTorch file: fast-nst import {path}" in refusal(path)


@pytest.mark.parametrize("part", ["metadata", "header"])
def test_no_flipped_bit_of_the_header_changes_a_network(saved: Path, part: str) -> None:
    """A flip is either refused or without effect, such as the letter of the checksum's own key."""
    expected = load_checkpoint(saved).network
    data = saved.read_bytes()
    end = header_length(data)
    start = data.index(b"fast_nst") if part == "metadata" else 0
    stop = data.index(b'"}', start) if part == "metadata" else end
    refused = 0
    for place in range(start, stop, 1 if part == "metadata" else 3):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        saved.write_bytes(flipped)
        try:
            found = load_checkpoint(saved).network
        except CheckpointError:
            refused += 1
            continue
        assert found.config == expected.config
        assert all(torch.equal(a, b) for a, b in zip(found.parameters(), expected.parameters(), strict=True))
    assert refused > 0


def test_a_file_of_before_the_metadata_had_a_checksum_is_read_and_its_tensors_verified(saved: Path) -> None:
    tensors, metadata = read_tensors(saved)
    del metadata["metadata_sha256"]
    expected = load_checkpoint(saved).network.state_dict()
    save_file(tensors, saved, metadata={"fast_nst": json.dumps(metadata)})
    torch.testing.assert_close(load_checkpoint(saved).network.state_dict(), expected, rtol=0, atol=0)
    data = bytearray(saved.read_bytes())
    data[-1] ^= 1
    saved.write_bytes(data)
    assert "is damaged: its contents do not match its checksum" in refusal(saved)


def test_changed_metadata_is_noticed_although_the_tensors_are_as_they_were(saved: Path) -> None:
    tensors, metadata = read_tensors(saved)
    metadata["network"]["output"] = "tanh"
    save_file(tensors, saved, metadata={"fast_nst": json.dumps(metadata)})
    assert "is damaged: its metadata does not match its checksum; get it again" in refusal(saved)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "there is no checkpoint at" in refusal(tmp_path / "none.safetensors")
    assert "there is no checkpoint at" in refusal(tmp_path)


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"fast_nst": "not json"}, {"fast_nst": "[1]"}, {"fast_nst": "{}"}]
)
def test_a_safetensors_file_of_another_project_is_refused_as_such(
    metadata: dict[str, Any] | None, tmp_path: Path
) -> None:
    path = tmp_path / "style.safetensors"
    save_file({"conv1.weight": torch.rand(3, 3)}, path, metadata=metadata)
    assert "is not a fast-nst checkpoint" in refusal(path)


def test_a_file_of_a_later_version_says_update(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        header = json.loads(file.metadata()["fast_nst"])
    save_file(load_file(saved), saved, metadata={"fast_nst": json.dumps({**header, "format": 2})})
    assert "has format 2, this version reads 1; update fast-nst" in refusal(saved)


def drop(tensors: dict[str, Any], metadata: dict[str, Any]) -> None:
    del tensors["body.conv2_norm.bias"]


def add(tensors: dict[str, Any], metadata: dict[str, Any]) -> None:
    tensors["body.conv9.weight"] = torch.zeros(1)


def reshape(tensors: dict[str, Any], metadata: dict[str, Any]) -> None:
    tensors["body.conv2_norm.bias"] = torch.zeros(7)


def spoil(tensors: dict[str, Any], metadata: dict[str, Any]) -> None:
    tensors["body.conv2_norm.bias"][1] = torch.nan


def widen(tensors: dict[str, Any], metadata: dict[str, Any]) -> None:
    metadata["network"]["widths"] = [2, 3, 10**9]  # more than any memory holds


def broaden(tensors: dict[str, Any], metadata: dict[str, Any]) -> None:
    metadata["network"]["widths"] = [2, 3, 4096]  # half a gigabyte for each convolution, if they were made


def misname(tensors: dict[str, Any], metadata: dict[str, Any]) -> None:
    metadata["network"]["upsampel"] = "tied"


def flatten(tensors: dict[str, Any], metadata: dict[str, Any]) -> None:
    metadata["network"] = [2, 3, 4]


def forget(tensors: dict[str, Any], metadata: dict[str, Any]) -> None:
    del metadata["network"]


def overflow(tensors: dict[str, Any], metadata: dict[str, Any]) -> None:
    metadata["network"]["tanh_scale"] = 10**400


def integers(tensors: dict[str, Any], metadata: dict[str, Any]) -> None:
    tensors["body.conv2_norm.bias"] = torch.zeros(3, dtype=torch.int64)


def mistype(tensors: dict[str, Any], metadata: dict[str, Any]) -> None:
    metadata["recipe"] = [1, 2]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (drop, "lacks tensor body.conv2_norm.bias"),
        (add, "has an unknown tensor body.conv9.weight"),
        (reshape, "body.conv2_norm.bias has shape (7,), its network needs (3,)"),
        (spoil, "body.conv2_norm.bias is not finite; the training that wrote it went wrong"),
        (
            widen,
            "describes a network this version does not know: widths are three numbers of channels from 1 to",
        ),
        (broaden, "its network needs (4096,"),
        (misname, "has no option 'upsampel'; did you mean 'upsample'?"),
        (flatten, "must be a table of options"),
        (forget, "holds a training state, not a style"),
        (overflow, "NetworkConfig.tanh_scale is out of range, got a number of 1329 bits"),
        (integers, "body.conv2_norm.bias has type torch.int64, its network needs torch.float32"),
        (mistype, "is damaged: 'recipe' in its metadata is [1, 2]"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_whole_file_that_does_not_fit_itself_is_refused_by_name(
    saved: Path, change: Any, reason: str
) -> None:
    rewritten(saved, change)
    assert reason in refusal(saved)


# Writing.


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond ``limit`` bytes; writing on fails as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_midway_leaves_the_old_file_and_nothing_else(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(OSError, match="too large"), full_disk(512):
        save_checkpoint(saved, network(PRESETS["tiny"]), ABOUT)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_a_missing_folder_is_an_os_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        save_checkpoint(tmp_path / "nowhere" / "a.safetensors", network(), ABOUT)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_written(saved: Path, value: Any) -> None:
    before, net = saved.read_bytes(), network()
    net.body.conv1_norm.weight.data[0] = value
    with pytest.raises(CheckpointError, match=r"weights at body\.conv1_norm\.weight are not finite"):
        save_checkpoint(saved, net, ABOUT)
    assert saved.read_bytes() == before


def test_metadata_that_json_cannot_hold_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / "a.safetensors", network(), {"folder": tmp_path})
    assert os.listdir(tmp_path) == []


# Finding a style.


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three bundled styles."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    monkeypatch.setenv("FAST_NST_CHECKPOINTS", str(folder))
    for name in ("starry-night", "the-scream", "the-great-wave"):
        (folder / f"{name}.safetensors").touch()
    return folder


def test_a_bundled_style_is_found_by_its_name(bundle: Path) -> None:
    assert list(bundled_networks()) == ["starry-night", "the-great-wave", "the-scream"]
    assert find_style("the-scream") == bundle / "the-scream.safetensors"


def test_a_checkout_finds_the_styles_beside_the_package() -> None:
    beside = Path(__file__).parents[2] / "checkpoints"
    if not beside.is_dir():
        pytest.skip("the package is installed elsewhere")
    assert find_style("starry-night-full").samefile(beside / "starry-night-full.safetensors")


def test_a_style_is_found_by_its_path_whatever_its_ending(bundle: Path, tmp_path: Path) -> None:
    for name in ("mine.safetensors", "mine.bin"):
        (tmp_path / name).touch()
        assert find_style(tmp_path / name) == tmp_path / name
        assert find_style(str(tmp_path / name)) == tmp_path / name


@pytest.mark.parametrize(
    ("style", "reason"),
    [
        (
            "stary_night",
            "unknown style 'stary_night'; did you mean 'starry-night'? bundled: starry-night, the-",
        ),
        (
            "xyz",
            "unknown style 'xyz'; bundled: starry-night, the-great-wave, the-scream; or give a .safetensors",
        ),
        ("none.safetensors", "there is no checkpoint at none.safetensors"),
    ],
)
def test_a_style_that_is_not_there_is_refused_with_the_nearest_name(
    bundle: Path, style: str, reason: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_style(style)
    assert reason in str(caught.value)


def test_without_bundled_styles_the_message_says_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAST_NST_CHECKPOINTS", str(tmp_path))
    with pytest.raises(CheckpointError, match="bundled: none"):
        find_style("starry-night")
