"""The loss network against torchvision's, and everything that can be wrong with a file of weights."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fast_nst.errors import InputError
from fast_nst.io.images import load_image
from fast_nst.models import vgg
from fast_nst.models.vgg import VGGFeatures, WeightsError, layer_names, load_vgg, weights_digest

# fmt: off
VGG16 = [
    "conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1",
    "conv2_1", "relu2_1", "conv2_2", "relu2_2", "pool2",
    "conv3_1", "relu3_1", "conv3_2", "relu3_2", "conv3_3", "relu3_3", "pool3",
    "conv4_1", "relu4_1", "conv4_2", "relu4_2", "conv4_3", "relu4_3", "pool4",
    "conv5_1", "relu5_1", "conv5_2", "relu5_2", "conv5_3", "relu5_3", "pool5",
]
VGG19 = [
    "conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1",
    "conv2_1", "relu2_1", "conv2_2", "relu2_2", "pool2",
    "conv3_1", "relu3_1", "conv3_2", "relu3_2", "conv3_3", "relu3_3", "conv3_4", "relu3_4", "pool3",
    "conv4_1", "relu4_1", "conv4_2", "relu4_2", "conv4_3", "relu4_3", "conv4_4", "relu4_4", "pool4",
    "conv5_1", "relu5_1", "conv5_2", "relu5_2", "conv5_3", "relu5_3", "conv5_4", "relu5_4", "pool5",
]
# fmt: on
NAMES = {"vgg16": VGG16, "vgg19": VGG19}
# As torchvision documents its transforms for the two releases.
MEAN_STD = {
    "IMAGENET1K_V1": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "IMAGENET1K_FEATURES": ((0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)),
}


@pytest.fixture(scope="module", params=["vgg16", "vgg19"])
def reference(request: pytest.FixtureRequest) -> tuple[str, nn.Sequential]:
    """torchvision's own convolutions with random weights of a scale that keeps activations alive."""
    with torch.device("meta"):  # its 100 million classifier weights need no memory here
        features = getattr(torchvision.models, request.param)(weights=None).features
    features.to_empty(device="cpu").requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for module in features:
        if isinstance(module, nn.Conv2d):
            module.weight.normal_(0, (2 / (9 * module.in_channels)) ** 0.5, generator=generator)
            module.bias.normal_(0, 0.1, generator=generator)
    return request.param, features


def named(features: nn.Sequential) -> dict[str, Tensor]:
    return {f"features.{key}": t for key, t in features.state_dict().items()}


def small_weights(seed: int = 0) -> dict[str, Tensor]:
    """Weights as far as relu2_2."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for index, (inputs, outputs) in {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128)}.items():
        found[f"features.{index}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator)
        found[f"features.{index}.bias"] = torch.randn(outputs, generator=generator)
    return found


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("arch", ["vgg16", "vgg19"])
def test_layers_are_named_as_in_the_paper_and_in_its_order(arch: str) -> None:
    assert layer_names(arch) == NAMES[arch]


@pytest.mark.parametrize(("release", "pooling"), [*zip(MEAN_STD, ["max", "average"], strict=True)])
def test_every_layer_is_what_torchvision_computes_from_the_same_file(
    reference: tuple[str, nn.Sequential], pooling: Any, release: Any, tmp_path: Path
) -> None:
    arch, features = reference
    save_file(named(features), tmp_path / "vgg.safetensors")
    network = load_vgg(arch, NAMES[arch], file=tmp_path / "vgg.safetensors", weights=release, pooling=pooling)
    images = torch.rand(2, 3, 37, 32, generator=torch.Generator().manual_seed(1))
    found = network(images)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in MEAN_STD[release])
    x = (images - mean) / std
    for name, module in zip(NAMES[arch], features, strict=True):
        if isinstance(module, nn.MaxPool2d) and pooling == "average":
            module = nn.AvgPool2d(2, 2)
        elif isinstance(module, nn.ReLU):
            module = nn.ReLU()  # theirs works in place
        x = module(x)
        torch.testing.assert_close(found[name], x, msg=name)
    assert found["relu5_1"].std() > 0


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_both_kinds_of_file_load_in_either_precision(suffix: str, dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {name: t.to(dtype) for name, t in small_weights().items()}
    path = tmp_path / f"vgg{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    network = load_vgg("vgg16", ["relu2_2"], file=path)
    assert network.body.conv2_2.weight.dtype == torch.float32
    torch.testing.assert_close(network.body.conv2_2.weight, tensors["features.7.weight"].float())
    torch.testing.assert_close(network.body.conv1_1.bias, tensors["features.0.bias"].float())


def test_only_what_the_layers_need_is_built_and_read(tmp_path: Path) -> None:
    save_file(small_weights(), tmp_path / "vgg.safetensors")
    network = load_vgg("vgg19", ["relu2_1", "conv1_2"], file=tmp_path / "vgg.safetensors")
    assert [name for name, _ in network.body.named_children()] == VGG19[:7]
    assert list(network(torch.rand(1, 3, 8, 8))) == ["conv1_2", "relu2_1"]


def test_a_pass_for_shallow_layers_stops_there() -> None:
    network = VGGFeatures("vgg16", ["relu1_1", "relu2_2"])
    ran: list[str] = []
    for name, module in network.body.named_children():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    assert list(network(torch.rand(1, 3, 8, 8), ["relu1_1"])) == ["relu1_1"]
    assert ran == ["conv1_1", "relu1_1"]


def test_asking_a_built_network_for_another_layer_is_refused() -> None:
    with pytest.raises(InputError, match=r"not asked for when the network was built: \['relu3_1'\]"):
        VGGFeatures("vgg16", ["relu1_1"])(torch.rand(1, 3, 8, 8), ["relu3_1"])


def test_a_convolution_is_not_overwritten_by_the_relu_behind_it() -> None:
    found = VGGFeatures("vgg16", ["conv1_1", "relu1_1"])(torch.rand(1, 3, 8, 8))
    assert found["conv1_1"].min() < 0
    torch.testing.assert_close(found["relu1_1"], found["conv1_1"].clamp_min(0))


def test_the_network_is_frozen_and_keeps_nothing_but_weights_in_its_state() -> None:
    network = VGGFeatures("vgg16", ["relu1_1"])
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert set(network.state_dict()) == {"body.conv1_1.weight", "body.conv1_1.bias"}


def test_the_input_is_left_as_it_was() -> None:
    images = torch.rand(1, 3, 8, 8)
    before = images.clone()
    VGGFeatures("vgg16", ["relu1_1"])(images)
    torch.testing.assert_close(images, before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("layer", "hint"),
    [("relu2_3", "did you mean 'relu2_2'"), ("Conv4-2", "conv4_2"), ("xyzzy", "known: conv1_1")],
)
def test_an_unknown_layer_is_refused_with_the_nearest_name(layer: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint) as caught:
        VGGFeatures("vgg16", [layer])
    assert layer in str(caught.value)


def test_an_unknown_network_or_release_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown loss network 'vgg11'; there are vgg16, vgg19, distilled"):
        VGGFeatures("vgg11", ["relu1_1"])
    with pytest.raises(InputError, match="unknown VGG weights 'V2'; there are IMAGENET1K_V1 and"):
        load_vgg("vgg16", ["relu1_1"], weights="V2", file=tmp_path / "any.pth")


def test_a_file_without_a_layer_is_refused_by_its_name_and_by_what_needs_it(tmp_path: Path) -> None:
    tensors = small_weights()
    for part in ("weight", "bias"):
        del tensors[f"features.7.{part}"]
    save_file(tensors, tmp_path / "vgg.safetensors")
    load_vgg("vgg16", ["relu2_1"], file=tmp_path / "vgg.safetensors")
    # The deepest layer needs it, wherever that stands in the list.
    with pytest.raises(
        WeightsError, match=r"lacks conv2_2 of vgg16 \(features.7.weight\), which relu2_2 needs"
    ):
        load_vgg("vgg16", ["relu2_2", "relu1_1"], file=tmp_path / "vgg.safetensors")


def test_the_missing_layer_of_a_deep_file_is_found_behind_the_ones_that_are_there(tmp_path: Path) -> None:
    shapes = {name: t.shape for name, t in VGGFeatures("vgg19", ["relu4_2"]).body.named_parameters()}
    tensors = {
        f"features.{VGG19.index(name.split('.')[0])}.{name.split('.')[1]}": torch.zeros(
            shape, dtype=torch.float16
        )
        for name, shape in shapes.items()
        if not name.startswith("conv4_2")
    }
    save_file(tensors, tmp_path / "vgg.safetensors")
    with pytest.raises(WeightsError, match="lacks conv4_2 of vgg19"):
        load_vgg("vgg19", ["relu1_2", "relu4_2"], file=tmp_path / "vgg.safetensors")


def changed(key: str, value: object) -> dict[str, object]:
    return {**small_weights(), key: value}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            changed("features.2.weight", torch.zeros(64, 3, 3, 3)),
            r"conv1_2 .* has shape \(64, 3, 3, 3\), vgg16 needs",
        ),
        (changed("features.2.bias", torch.zeros(128)), r"conv1_2 \(features.2.bias\) has shape \(128,\)"),
        (changed("features.2.bias", 3), "conv1_2 .* has shape int"),
        (
            changed("features.5.bias", torch.full((128,), np.nan)),
            "conv2_1 .* is not finite; the file is damaged",
        ),
        (changed("features.5.bias", torch.zeros(128, dtype=torch.uint8)), "conv2_1 .* has type torch.uint8"),
        ({"state_dict": small_weights()}, "lacks conv1_1"),
        ([1, 2, 3], "holds a list, not a dictionary"),
    ],
)
def test_a_pth_file_that_does_not_fit_is_refused_with_the_layer(
    content: Any, reason: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "vgg.pth")
    with pytest.raises(WeightsError, match=reason) as caught:
        load_vgg("vgg16", ["relu2_2"], file=tmp_path / "vgg.pth")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "vgg.pth") in str(caught.value)


@pytest.mark.parametrize("name", ["vgg.pth", "vgg.safetensors", "vgg"])
@pytest.mark.parametrize(
    "content", [b"", b"not weights at all\n" * 9, b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(40)]
)
def test_a_file_of_something_else_is_refused_in_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_vgg("vgg16", ["relu1_1"], file=tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no VGG weights at .*none\.pth; give --vgg-weights"):
        load_vgg("vgg16", ["relu1_1"], file=tmp_path / "none.pth")
    with pytest.raises(WeightsError, match=r"no VGG weights at .*none\.safetensors; give --vgg-weights"):
        load_vgg("vgg16", ["relu1_1"], file=tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="is not a regular file"):
        load_vgg("vgg16", ["relu1_1"], file=tmp_path)


@pytest.mark.parametrize("wrap", ["plain", "zip", "inside"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(wrap: str, tmp_path: Path) -> None:
    canary, path = tmp_path / "it-ran", tmp_path / "vgg.pth"
    bomb = {**small_weights(), "extra": Bomb(canary)} if wrap == "inside" else Bomb(canary)
    path.write_bytes(pickle.dumps(bomb)) if wrap == "plain" else torch.save(bomb, path)
    with pytest.raises(WeightsError, match="cannot be read as VGG weights"):
        load_vgg("vgg16", ["relu2_2"], file=path)
    assert not canary.exists()
    pickle.loads(pickle.dumps(Bomb(canary)))  # the bomb does work
    assert canary.exists()


def test_the_digest_names_the_weights_and_not_the_file(tmp_path: Path) -> None:
    save_file(small_weights(), tmp_path / "a.safetensors")
    torch.save(small_weights(), tmp_path / "b.pth")
    save_file(small_weights(seed=1), tmp_path / "c.safetensors")
    a, b, c = (
        weights_digest(load_vgg("vgg16", ["relu2_2"], file=tmp_path / name))
        for name in ("a.safetensors", "b.pth", "c.safetensors")
    )
    assert a == b != c


# The download: torch.hub's own code against a server on this machine.


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that stands for torchvision's site, with an empty cache."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "home" / "hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setattr(vgg, "WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}/")
    yield folder
    torch.hub.set_dir(before)
    server.shutdown()
    server.server_close()
    thread.join()


def publish(served: Path, content: object, monkeypatch: Any, digits: str = "") -> str:
    """Put a file on the site under a name that carries the start of its hash."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    digits = digits or hashlib.sha256(buffer.getvalue()).hexdigest()[:8]
    name = f"vgg16-{digits}.pth"
    (served / name).write_bytes(buffer.getvalue())
    monkeypatch.setitem(vgg._DOWNLOADS, ("vgg16", "IMAGENET1K_V1"), name)
    return name


def test_the_names_of_the_published_files_are_torchvisions() -> None:
    enums = {"vgg16": torchvision.models.VGG16_Weights, "vgg19": torchvision.models.VGG19_Weights}
    for (arch, weights), file in vgg._DOWNLOADS.items():
        assert vgg.WEIGHTS_URL + file == enums[arch][weights].url


def test_weights_are_downloaded_once_and_said_so_on_stderr_alone(
    served: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = publish(served, small_weights(), monkeypatch)
    first = load_vgg("vgg16", ["relu2_2"])
    torch.testing.assert_close(first.body.conv2_2.weight, small_weights()["features.7.weight"])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert name in printed.err
    (served / name).unlink()
    assert weights_digest(load_vgg("vgg16", ["relu2_2"])) == weights_digest(first)


def test_a_download_with_another_hash_is_refused_and_not_kept(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(served, small_weights(), monkeypatch, digits="00000000")
    with pytest.raises(WeightsError, match=r"could not download the vgg16 weights .*invalid hash value"):
        load_vgg("vgg16", ["relu2_2"])
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]


def test_a_downloaded_pickle_does_not_run_even_when_its_hash_is_right(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(served, Bomb(tmp_path / "it-ran"), monkeypatch)
    with pytest.raises(WeightsError):
        load_vgg("vgg16", ["relu1_1"])
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize(
    "damage", [lambda d: b"cut short", lambda d: d[:-1] + bytes([d[-1] ^ 1]), lambda d: b""]
)
def test_a_downloaded_file_is_checked_whenever_it_is_loaded(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[..., Any]
) -> None:
    name = publish(served, small_weights(), monkeypatch)
    load_vgg("vgg16", ["relu1_1"])
    cached = tmp_path / "home" / "hub" / "checkpoints" / name
    cached.write_bytes(damage(cached.read_bytes()))
    with pytest.raises(
        WeightsError, match=r"is damaged: its SHA-256 begins .*; delete it to download it again"
    ) as caught:
        load_vgg("vgg16", ["relu1_1"])
    assert str(caught.value).startswith(str(cached))


def test_without_a_network_one_line_says_which_file_goes_where(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:  # a port that nobody listens on
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(vgg, "WEIGHTS_URL", f"http://127.0.0.1:{free.getsockname()[1]}/")
    with pytest.raises(WeightsError) as caught:
        load_vgg("vgg19", ["relu1_1"])
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "home" / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth") in message
    assert "--vgg-weights FILE" in message


def test_weights_that_nobody_publishes_are_refused_with_those_that_are() -> None:
    with pytest.raises(
        WeightsError, match="no IMAGENET1K_FEATURES weights of vgg19; there are IMAGENET1K_V1"
    ):
        load_vgg("vgg19", ["relu1_1"], weights="IMAGENET1K_FEATURES")


@pytest.mark.weights
def test_the_real_vgg19_gives_finite_sparse_features_down_to_its_end(shared: Path) -> None:
    network = load_vgg("vgg19", VGG19, file=shared / "weights" / "vgg19-imagenet-fp16.safetensors")
    photo = load_image(shared / "data" / "content" / "chicago.jpg", short_side=64)
    for name, found in network(photo[None]).items():
        assert torch.isfinite(found).all(), name
        if name.startswith("relu"):
            assert 0.02 < (found > 0).float().mean() < 0.98, name


@pytest.mark.weights
def test_a_vgg16_cut_at_conv3_3_serves_relu3_3_and_refuses_relu4_3_by_name(shared: Path) -> None:
    file = shared / "weights" / "vgg16-imagenet-to-conv3_3-fp16.safetensors"
    network = load_vgg("vgg16", ["relu1_2", "relu3_3"], file=file)
    kept = load_file(file)["features.14.weight"].float()
    torch.testing.assert_close(network.body.conv3_3.weight, kept)
    with pytest.raises(WeightsError, match=r"lacks conv4_1 of vgg16 .*, which relu4_3 needs"):
        load_vgg("vgg16", ["relu4_3", "relu1_2"], file=file)
