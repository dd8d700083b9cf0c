"""Networks of other projects: recognized, converted without loss, or refused with what differs."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from fast_nst.models.checkpoint import load_checkpoint, save_checkpoint
from fast_nst.models.convert import FAMILIES, ModelImportError, import_network

WIDTHS = (4, 6, 8)
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def plain_names(last: list[str]) -> tuple[list[str], list[str]]:
    """The convolutions and the norms of pytorch/examples, in the order in which a picture meets them."""
    convs = [f"conv{i}.conv2d" for i in (1, 2, 3)]
    convs += [f"res{i}.conv{j}.conv2d" for i in range(1, 6) for j in (1, 2)]
    norms = ["in1", "in2", "in3", *(f"res{i}.in{j}" for i in range(1, 6) for j in (1, 2)), "in4", "in5"]
    return convs + last, norms


def rrmina_names() -> tuple[list[str], list[str]]:
    blocks = [f"ConvBlock.{i}" for i in (0, 2, 4)]
    blocks += [f"ResidualBlock.{i}.conv{j}" for i in range(5) for j in (1, 2)]
    ends = [f"DeconvBlock.{i}.conv_transpose" for i in (0, 2)] + ["DeconvBlock.4.conv_layer"]
    norms = [f"{name}.norm_layer" for name in [*blocks, "DeconvBlock.0", "DeconvBlock.2"]]
    return [f"{name}.conv_layer" for name in blocks] + ends, norms


def eriklindernoren_names() -> tuple[list[str], list[str]]:
    blocks = [f"model.{i}" for i in range(3)]
    blocks += [f"model.{i}.block.{j}" for i in range(3, 8) for j in range(2)]
    blocks += ["model.8", "model.9", "model.10"]
    return [f"{name}.block.1" for name in blocks], [f"{name}.norm" for name in blocks[:-1]]


def igreat_names() -> tuple[list[str], list[str]]:
    convs = ["layers.0.conv", "layers.3.conv", "layers.6.conv"]
    convs += [f"layers.{i}.conv{j}.conv" for i in range(9, 14) for j in (1, 2)]
    convs += ["layers.14.conv.conv", "layers.17.conv.conv", "layers.20.conv"]
    norms = ["layers.1", "layers.4", "layers.7"]
    norms += [f"layers.{i}.instance_norm{j}" for i in range(9, 14) for j in (1, 2)]
    return convs, [*norms, "layers.15", "layers.18"]


PROJECTS = {
    "pytorch/examples": plain_names([f"deconv{i}.conv2d" for i in (1, 2, 3)]),
    "yakhyo/fast-neural-style-transfer": plain_names([f"upsample_conv{i}.conv2d" for i in (1, 2, 3)]),
    "gordicaleksa/pytorch-neural-style-johnson": plain_names(
        ["up1.conv2d.conv2d", "up2.conv2d.conv2d", "up3.conv2d"]
    ),
    "rrmina/fast-neural-style-pytorch": rrmina_names(),
    "eriklindernoren/Fast-Neural-Style-Transfer": eriklindernoren_names(),
    "igreat/fast-style-transfer": igreat_names(),
}
IMAGENET = ("gordicaleksa", "eriklindernoren", "igreat")
every_project = pytest.mark.parametrize("project", PROJECTS)


def trained(project: str, seed: int = 0) -> dict[str, Tensor]:
    """A network of random weights whose results use the range of a picture."""
    torch.manual_seed(seed)
    convs, norms = PROJECTS[project]
    first, second, third = WIDTHS
    pairs = [(3, first), (first, second), (second, third), *[(third, third)] * 10]
    pairs += [(third, second), (second, first), (first, 3)]
    state: dict[str, Tensor] = {}
    for i, (name, (inputs, outputs)) in enumerate(zip(convs, pairs, strict=True)):
        side = 9 if i in (0, len(convs) - 1) else 3
        shape = (inputs, outputs) if "conv_transpose" in name else (outputs, inputs)
        state[f"{name}.weight"] = torch.randn(*shape, side, side) / (side * inputs**0.5)
        state[f"{name}.bias"] = torch.randn(outputs)
    for name, (_, outputs) in zip(norms, pairs[:-1], strict=True):
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.rand(outputs) + 0.5, torch.randn(outputs) / 3
    if not project.startswith(IMAGENET):
        state[f"{convs[-1]}.weight"] *= 60
        state[f"{convs[-1]}.bias"] = 60 * state[f"{convs[-1]}.bias"] + 128
    return state


def painted(project: str, state: dict[str, Tensor], image: Tensor) -> Tensor:
    """The project's result, from 0 to 255, of a picture in [0, 1]: its architecture in plain terms."""
    convs, norms = (iter(names) for names in PROJECTS[project])

    def conv(x: Tensor, stride: int = 1) -> Tensor:
        name = next(convs)
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        if "conv_transpose" in name:
            return F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)
        margin = weight.shape[-1] // 2
        return F.conv2d(F.pad(x, (margin,) * 4, mode="reflect"), weight, bias, stride)

    def norm(x: Tensor) -> Tensor:
        name = next(norms)
        return F.instance_norm(x, weight=state[f"{name}.weight"], bias=state[f"{name}.bias"])

    levels = not project.startswith(IMAGENET)
    bgr = project.startswith("rrmina")
    x = image * 255 if levels else (image - MEAN) / STD
    x = x.flip(1) if bgr else x
    for stride in (1, 2, 2):
        x = F.relu(norm(conv(x, stride)))
    for _ in range(5):
        branch = norm(conv(F.relu(norm(conv(x)))))
        x = branch + x * (2 if project.startswith("yakhyo") else 1)
    for _ in range(2):
        x = F.relu(norm(conv(x if bgr else F.interpolate(x, scale_factor=2, mode="nearest"))))
    x = conv(x)
    x = x.flip(1) if bgr else x
    return x if levels else (x * STD + MEAN) * 255


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Saves what a project would and returns the path."""

    def save(content: object, name: str = "theirs.pth") -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


def refusal(path: Path) -> str:
    with pytest.raises(ModelImportError) as caught:
        import_network(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_the_projects_tested_are_those_that_are_known() -> None:
    assert PROJECTS.keys() == {family.project for family in FAMILIES}


@every_project
@pytest.mark.parametrize(("height", "width"), [(32, 40), (33, 30), (31, 35)])
def test_an_imported_network_stylizes_what_the_original_stylizes(
    project: Any, height: int, width: int, saved: Callable[..., Path]
) -> None:
    state = trained(project)
    network, metadata = import_network(saved(state))
    image = torch.rand(2, 3, height, width)
    wanted = painted(project, state, image)[..., :height, :width]
    assert wanted.std() > 20
    assert metadata["imported"]["project"] == project
    assert (network(image) * 255 - wanted).abs().max() < 0.02


@every_project
def test_a_saved_import_stylizes_the_same(project: Any, saved: Callable[..., Path], tmp_path: Path) -> None:
    network, metadata = import_network(saved(trained(project)))
    save_checkpoint(tmp_path / "ours.safetensors", network, metadata, half=False)
    found = load_checkpoint(tmp_path / "ours.safetensors")
    image = torch.rand(1, 3, 21, 26)
    assert torch.equal(found.network(image), network(image))
    assert found.metadata["imported"]["file"] == "theirs.pth"
    assert len(found.metadata["imported"]["sha256"]) == 64


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "num_of_epochs": 2, "content_weight": 1.0},
        lambda state: {"model_state_dict": state, "loss": 0.1},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"net": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3},
        lambda state: state | {"in1.running_mean": torch.ones(4), "res1.in2.running_var": torch.ones(8)},
        lambda state: {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
        lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
        lambda state: {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()},
        lambda state: {name.replace("res1.", "res1._orig_mod."): tensor for name, tensor in state.items()},
        lambda state: {f"module.{k}": t for k, t in state.items()} | {"n_averaged": torch.tensor(3)},
        lambda state: {"state_dict": {f"net.{name}": tensor for name, tensor in state.items()}},
        lambda state: {name: torch.nn.Parameter(tensor) for name, tensor in state.items()},
        lambda state: {name: tensor for name, tensor in state.items() if name != "conv2.conv2d.bias"},
        lambda state: {name: tensor.half() if "in1" in name else tensor for name, tensor in state.items()},
    ],
    ids=[
        "nested",
        "nested-otherwise",
        "parallel",
        "both",
        "old-statistics",
        "compiled",
        "parallel-compiled",
        "compiled-parallel",
        "part-compiled",
        "averaged",
        "lightning",
        "parameters",
        "no-bias",
        "half",
    ],
)
def test_the_wrappings_of_children_do_not_matter(
    wrap: Callable[..., Any], saved: Callable[..., Path]
) -> None:
    state = {name: tensor.half().float() for name, tensor in trained("pytorch/examples").items()}
    image = torch.rand(1, 3, 24, 24)
    expected = import_network(saved(state, "plain.pth"))[0](image)
    torch.testing.assert_close(import_network(saved(wrap(state)))[0](image), expected, rtol=0, atol=1e-5)


def test_a_network_may_be_narrower_and_shallower(saved: Callable[..., Path]) -> None:
    state = trained("pytorch/examples")
    state = {name: tensor for name, tensor in state.items() if not name.startswith(("res4", "res5"))}
    config = import_network(saved(state))[0].config
    assert (config.widths, config.blocks) == (WIDTHS, 3)


def test_safetensors_of_theirs_are_read_too(tmp_path: Path) -> None:
    save_file(trained("pytorch/examples"), tmp_path / "theirs.safetensors")
    assert import_network(tmp_path / "theirs.safetensors")[0].config.widths == WIDTHS


@every_project
def test_what_is_nearly_a_known_network_is_refused_with_what_differs(
    project: Any, saved: Callable[..., Path]
) -> None:
    state = trained(project)
    name = PROJECTS[project][1][4] + ".weight"
    state["attention.weight"] = torch.zeros(3, 5)
    told = refusal(saved({key: tensor for key, tensor in state.items() if key != name}))
    assert f"nearest is {project}, from which it differs in that it lacks {name}" in told
    assert told.endswith("has attention.weight (3, 5)")


def test_a_tensor_of_another_shape_is_named(saved: Callable[..., Path]) -> None:
    state = trained("pytorch/examples")
    state["res2.conv1.conv2d.weight"] = torch.zeros(8, 8, 5, 5)
    told = refusal(saved(state))
    assert "pytorch/examples, but res2.conv1.conv2d.weight has shape (8, 8, 5, 5)" in told
    assert "call for (8, 8, 3, 3)" in told
    state["conv1.conv2d.weight"] = torch.zeros(())
    assert "shapes [(), " in refusal(saved(state))


def test_what_has_nothing_in_common_is_reported_what_is_known(saved: Callable[..., Path]) -> None:
    told = refusal(saved({"features.0.weight": torch.zeros(4)}))
    assert "(features.0.weight …) have nothing in common" in told
    assert all(project in told for project in PROJECTS)
    assert "holds no tensor" in refusal(saved({}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s | {"in1.num_batches_tracked": torch.tensor(1)}, "batch norm, or instance norm with"),
        (lambda s: s | {"in2.bias": torch.full((6,), torch.nan)}, "in2.bias is not finite"),
        (lambda s: {"a": s, "b": s}, "holds several networks, a, b"),
        (lambda s: {f"body.{name}": tensor for name, tensor in s.items()}, "give it to --style as it is"),
        (lambda s: {1: s, ("a", 2): s}, "holds several networks, 1, ('a', 2)"),
        (lambda s: list(s), "holds a list"),
        (lambda s: Path("/"), "it is a pickle of Python objects (pathlib."),
        (lambda s: torch.nn.Conv2d(1, 1, 1), "(torch.nn.modules.conv.Conv2d), such as a whole module, which"),
        (
            lambda s: s | {"in2.bias": torch.zeros(1).expand(10**12)},
            "in2.bias has shape (1000000000000,) but",
        ),
        (lambda s: s | {"in2.bias": torch.zeros(6).to_sparse()}, "in2.bias is sparse or nested"),
        (lambda s: s | {"in2.bias": torch.zeros(6, device="meta")}, "in2.bias has a shape but no values"),
        (lambda s: s | {"in2.bias": torch.zeros(6).to(torch.float8_e4m3fn)}, "has type torch.float8_e4m3fn"),
        (lambda s: s | {"in2.bias": torch.zeros(6, dtype=torch.complex64)}, "has type torch.complex64"),
        (lambda s: s | {"in2.bias": torch.zeros(6, dtype=torch.int32)}, "has type torch.int32"),
        (lambda s: s | {"conv1.conv2d.weight": torch.zeros(0, 3, 9, 9)}, "its widths are three numbers"),
        (lambda s: {"a\nb\x1b[31m" + "c" * 999: torch.zeros(1)}, r"(a b\x1b[31mccc"),
    ],
    ids=[
        "batch-norm",
        "nan",
        "several",
        "ours",
        "numbered",
        "list",
        "code",
        "module",
        "stride-0",
        "sparse",
        "meta",
        "fp8",
        "complex",
        "integers",
        "empty",
        "names",
    ],
)
def test_what_cannot_be_used_is_refused(
    change: Callable[..., Any], told: str, saved: Callable[..., Path]
) -> None:
    assert told in refusal(saved(change(trained("pytorch/examples"))))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    assert "there is no file" in refusal(tmp_path / "gone.pth")
    assert "is not a regular file" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.pth", b"", "is empty: the download or the copy went wrong"),
        ("a.pth", b"<!DOCTYPE html>\n<title>404", "is a web page: the download or the copy went wrong"),
        ("a.onnx", b"\x08\x07\x12\x07pytorch", "is an ONNX model: no command reads those; give the"),
        ("a.t7", b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", "is a file of Torch7 (Lua)"),
        ("a.pth", b"\xff\xd8\xff\xe0\0\x10JFIF", "is a picture, not a model"),
        ("a.pth", b"nothing known", "cannot be read as a style network"),
        ("a.pth", b"\x80\x02}q\0.", "cannot be read as a style network"),
        ("a.safetensors", b"\xff" * 99, "cannot be read as a style network"),
    ],
)
def test_what_is_no_network_at_all_is_called_what_it_is(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert told in refusal(tmp_path / name)


def test_a_program_is_reported_from_weights(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Conv2d(1, 1, 1)), tmp_path / "a.pt")
    assert "is a TorchScript program: import takes weights alone" in refusal(tmp_path / "a.pt")


def test_a_compressed_archive_is_not_unpacked(saved: Callable[..., Path], tmp_path: Path) -> None:
    path = saved({"zeros": torch.zeros(1 << 22)})
    with (
        zipfile.ZipFile(path) as file,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for member in file.infolist():
            small.writestr(member.filename, file.read(member))
    assert (tmp_path / "b.pth").stat().st_size < 1 << 16
    assert "compressed, which torch.save does not do" in refusal(tmp_path / "b.pth")


@pytest.mark.weights
@pytest.mark.parametrize("name", ["candy", "mosaic"])
def test_a_real_network_stylizes_within_a_hundredth_of_a_level(name: str, shared: Path) -> None:
    (path,) = (shared / "peers").glob(f"{name}_*.model")
    network, _ = import_network(path)
    assert network.config.widths == (16, 32, 64)
    state = torch.load(path, weights_only=True)
    image = torch.rand(1, 3, 70, 65)
    wanted = painted("pytorch/examples", state, image)[..., :70, :65]
    assert (network(image) * 255 - wanted).abs().max() < 0.01
