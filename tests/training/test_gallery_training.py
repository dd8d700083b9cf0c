"""Training a network of many styles: end to end, resumed, and in the files it leaves."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from fast_nst.config import GalleryNetConfig, GalleryTrainConfig, LossConfig
from fast_nst.errors import InputError
from fast_nst.inference.styles import choose_style
from fast_nst.inference.stylizer import Stylizer
from fast_nst.models.checkpoint import CheckpointError, load_gallery, row_shapes, save_checkpoint
from fast_nst.models.gallery_files import gallery_rows
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.model_files import bundled_galleries
from fast_nst.report import TaskReport
from fast_nst.training import step_form
from fast_nst.training.data.styles import read_styles
from fast_nst.training.step_form import form_times
from fast_nst.training.trainer import Trainer


@pytest.fixture(scope="module")
def styles(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("styles")
    shutil.copy(material / "the_waves.png", folder / "the_waves.png")
    with Image.open(material / "photos" / "0.png") as image:
        image.rotate(90).save(folder / "Other one.png")
    return folder


@pytest.fixture
def gallery_config(material: Path, styles: Path, tmp_path: Path) -> GalleryTrainConfig:
    return GalleryTrainConfig(
        styles=styles,
        dataset=str(material / "photos"),
        vgg_weights=material / "vgg.safetensors",
        loss_network="vgg16",
        loss=LossConfig(content_layers=("relu1_2",), style_layers=("relu1_1", "relu1_2")),
        image_size=32,
        style_size=32,
        batch_size=2,
        steps=6,
        warmup=2,
        report_every=1,
        warm_start=None,
        compile="off",
        precision="fp32",
        device="cpu",
        out=tmp_path / "gallery.safetensors",
        run=tmp_path / "run",
    )


def finished(trainer: Trainer) -> list[TaskReport]:
    return list(trainer)


@pytest.mark.parametrize(("term", "skipped"), [("identity", 0), ("style", 2)])
def test_only_a_spike_of_other_terms_than_the_identity_rows_is_skipped(
    gallery_config: GalleryTrainConfig, term: str, skipped: int
) -> None:
    trainer = Trainer(replace(gallery_config, steps=26, save_every=26))
    trainer.training_step.objective.register_forward_hook(
        lambda _, __, terms: (
            terms._replace(**{term: getattr(terms, term) + 100}) if trainer.step in (23, 24) else None
        )
    )
    finished(trainer)
    assert trainer.training_step.loss_monitor.skipped == skipped


def test_it_trains_validates_shows_and_writes_a_gallery(gallery_config: GalleryTrainConfig) -> None:
    config = replace(
        gallery_config,
        temporal=True,
        validate_every=6,
        preview_every=6,
        validation=Path(gallery_config.dataset),
    )
    reports = finished(Trainer(config))
    assert [report.step for report in reports] == [1, 2, 3, 4, 5, 6]
    assert set(reports[0].losses) == {"content", "style", "identity", "tv", "grid", "temporal"}
    loaded = load_gallery(gallery_config.out or Path())
    rows = gallery_rows(Path(), loaded.metadata)
    assert [(row.style, row.scale) for row in rows] == [
        (None, 0.0),
        ("other-one", 1.0),
        ("other-one", 2.0),
        ("the-waves", 1.0),
        ("the-waves", 2.0),
    ]
    assert [style["id"] for style in loaded.metadata["styles"]] == ["other-one", "the-waves"]
    assert loaded.metadata["validation"]["objective"] > 0
    assert loaded.metadata["validation"]["distance the-waves"] > 0
    (preview,) = (config.run or Path()).glob("previews/step_000006.jpg")
    with Image.open(preview) as image:
        assert image.width >= 256
    stylizer = Stylizer.load(config.out or Path(), backend="torch").mix({"the-waves": 1})
    assert stylizer.run_float(torch.rand(3, 20, 20)).shape == (3, 20, 20)


@pytest.fixture
def whole(gallery_config: GalleryTrainConfig) -> bytes:
    finished(Trainer(gallery_config))
    assert gallery_config.out
    return gallery_config.out.read_bytes()


def test_a_resumed_run_gives_the_same_bytes(
    gallery_config: GalleryTrainConfig, whole: bytes, tmp_path: Path
) -> None:
    other = replace(gallery_config, run=tmp_path / "other", out=tmp_path / "again" / "gallery.safetensors")
    (tmp_path / "again").mkdir()
    trainer = Trainer(other)
    for report in trainer:
        if report.step == 3:
            trainer.stop()
    finished(Trainer(replace(other, resume=True)))
    resumed, straight = (load_gallery(path) for path in (other.out, gallery_config.out) if path)
    for name, tensor in straight.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], tensor)


def test_a_warm_start_keeps_the_rows_of_styles_that_are_known_and_predicts_the_others(
    gallery_config: GalleryTrainConfig, styles: Path, tmp_path: Path
) -> None:
    finished(Trainer(gallery_config))
    folder = tmp_path / "styles"
    folder.mkdir()
    shutil.copy(styles / "the_waves.png", folder)
    shutil.copy(styles / "Other one.png", folder / "another.png")
    other = replace(
        gallery_config,
        styles=folder,
        warm_start=gallery_config.out,
        run=tmp_path / "other",
        out=tmp_path / "other.safetensors",
    )
    trained = load_gallery(gallery_config.out or Path()).network
    before, network = trained.state_dict(), Trainer(other).network
    assert isinstance(network, GalleryNet)
    after, of_rows = network.state_dict(), row_shapes(trained)
    for name in before:
        if name not in of_rows:
            assert torch.equal(after[name], before[name])
        else:  # content, another x 2, the-waves x 2 after content, other-one x 2, the-waves x 2
            assert torch.equal(after[name][[0, 3, 4]], before[name][[0, 3, 4]])
    assert not all(torch.equal(after[name][1:3], before[name][1:3]) for name in of_rows)


def test_without_a_word_training_begins_with_the_bundled_gallery(
    gallery_config: GalleryTrainConfig, tmp_path: Path
) -> None:
    trainer = Trainer(replace(gallery_config, warm_start=Path("auto"), steps=1))
    bundled = load_gallery(bundled_galleries()["gallery"]).network.state_dict()
    name = next(name for name in bundled if name not in row_shapes(GalleryNet(gallery_config.network)))
    assert torch.equal(trainer.network.state_dict()[name], bundled[name])
    assert trainer.task.details["warm_start"] == "gallery"
    random = Trainer(replace(gallery_config, steps=1, run=tmp_path / "random")).network.state_dict()
    assert not torch.equal(random[name], bundled[name])


def test_a_gallery_of_another_shape_is_no_warm_start(
    gallery_config: GalleryTrainConfig, tmp_path: Path
) -> None:
    network = GalleryNet(GalleryNetConfig(widths=(4, 6), blocks=1, rows=1))
    save_checkpoint(tmp_path / "small.safetensors", network, {"rows": [{"style": None, "scale": 0.0}]})
    with pytest.raises(InputError, match="is another network"):
        Trainer(replace(gallery_config, warm_start=tmp_path / "small.safetensors"))


def test_a_changed_style_image_is_refused(
    gallery_config: GalleryTrainConfig, styles: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "styles"
    shutil.copytree(styles, folder)
    config = replace(gallery_config, styles=folder, steps=2)
    finished(Trainer(config))
    Image.new("RGB", (40, 40), "red").save(folder / "the_waves.png")
    with pytest.raises(InputError):
        Trainer(replace(config, steps=4, resume=True))


def test_the_command_takes_a_folder_of_styles(
    material: Path, styles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fast_nst.cli.train import main

    monkeypatch.chdir(tmp_path)
    flags = f"""--styles {styles} --dataset {material / "photos"} --vgg-weights {material / "vgg.safetensors"}
    --loss-network vgg16 --content-layers relu1_2 --style-layers relu1_1 --image-size 32 --style-size 32
    --batch-size 2 --steps 2 --compile off --precision fp32 --device cpu --scales 1 --out g.safetensors
    --validation-images 0"""
    assert main(flags.split()) == 0
    assert load_gallery(tmp_path / "g.safetensors").network.config.rows == 3


def test_a_list_names_the_styles(styles: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.toml"
    listed.write_text(
        f'[[style]]\nfile = "{styles.as_posix()}/the_waves.png"\nid = "waves"\n'
        'title = "The Waves"\nyear = 1831\n'
    )
    (style,) = read_styles(listed)
    assert style.details == {"id": "waves", "title": "The Waves", "year": "1831"}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "needs a table"),
        ("style = 3", "needs a table"),
        ("[[style]]\ntitle = 'x'", "lacks its file"),
        ("[[style]]\nfile = 'x.png'", "no style image"),
        ("[[style]]\nfile = 'x.png'\npainter = 'me'", "unknown key"),
        ("[[style]]\nfile = 'x.png'\nid = '../up'", "id has letters"),
        ("[[style", "cannot be read as TOML"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(text: str, match: str, tmp_path: Path) -> None:
    listed = tmp_path / "list.toml"
    listed.write_text(text)
    with pytest.raises(InputError, match=match):
        read_styles(listed)


def test_two_style_images_of_one_name_are_refused(styles: Path, tmp_path: Path) -> None:
    for name in ("a.png", "A.jpg"):
        with Image.open(styles / "the_waves.png") as image:
            image.save(tmp_path / name)
    with pytest.raises(InputError, match="same name"):
        read_styles(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no style images"):
        read_styles(tmp_path)


@pytest.fixture
def extended(gallery_config: GalleryTrainConfig, material: Path, tmp_path: Path) -> GalleryTrainConfig:
    """A trained gallery, and the settings that add a style to it."""
    finished(Trainer(gallery_config))
    painting = tmp_path / "my painting.png"
    with Image.open(material / "photos" / "1.png") as image:
        image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(painting)
    return replace(
        gallery_config,
        styles=painting,
        extend=gallery_config.out,
        out=tmp_path / "mine.safetensors",
        run=tmp_path / "mine",
    )


def test_an_added_style_is_a_small_file_and_a_style_of_the_whole_gallery(
    extended: GalleryTrainConfig,
) -> None:
    assert extended.out
    assert extended.extend
    before = load_gallery(extended.extend)
    finished(Trainer(extended))
    after = load_gallery(extended.out)
    names = row_shapes(after.network)
    for name, tensor in before.network.state_dict().items():
        kept = after.network.state_dict()[name]
        assert torch.equal(kept[: len(tensor)] if name in names else kept, tensor)
    assert [row.style for row in gallery_rows(extended.out, after.metadata)][-2:] == ["my-painting"] * 2
    assert extended.out.stat().st_size < extended.extend.stat().st_size
    stylizer = Stylizer.load(extended.out, backend="torch")
    assert stylizer.style == "my-painting"
    assert stylizer.styles == ("other-one", "the-waves", "my-painting")
    mixed = stylizer.mix({"my-painting": 1, "the-waves": 1})
    assert mixed.run_float(torch.rand(3, 20, 20)).shape == (3, 20, 20)
    chosen = choose_style(f"{extended.out}#my-painting:3,the-waves:1")
    assert chosen.weights == {"my-painting": 0.75, "the-waves": 0.25}


@pytest.mark.slow
def test_only_the_rows_of_an_added_style_learn(extended: GalleryTrainConfig) -> None:
    trainer = Trainer(extended)
    before = {name: t.clone() for name, t in trainer.training_step.network.state_dict().items()}
    reports = finished(trainer)
    assert len(reports) == extended.steps
    names = row_shapes(trainer.training_step.network)
    for name, tensor in trainer.training_step.network.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name not in names)


@pytest.mark.slow
def test_an_added_style_without_its_gallery_is_refused(extended: GalleryTrainConfig, tmp_path: Path) -> None:
    finished(Trainer(extended))
    elsewhere = tmp_path / "elsewhere" / "mine.safetensors"
    elsewhere.parent.mkdir()
    shutil.copy(extended.out or "", elsewhere)
    with pytest.raises(CheckpointError, match="added to a gallery"):
        load_gallery(elsewhere)
    with pytest.raises(CheckpointError, match="added to a gallery"):
        Stylizer.load(elsewhere)


def test_the_command_adds_a_style(
    extended: GalleryTrainConfig, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fast_nst.cli.add_style import main

    monkeypatch.chdir(tmp_path)
    flags = f"""--dataset {material / "photos"} --vgg-weights {material / "vgg.safetensors"} --scales 1
    --loss-network vgg16 --content-layers relu1_2 --style-layers relu1_1 --image-size 32 --style-size 32
    --batch-size 2 --steps 2 --compile off --precision fp32 --device cpu --validation-images 0"""
    assert main([str(extended.styles), "--extend", str(extended.extend), *flags.split()]) == 0
    stylizer = Stylizer.load("my painting.safetensors", backend="torch")
    assert stylizer.style == "my-painting"


@pytest.mark.slow
def test_the_form_of_a_gallerys_steps_can_be_measured(
    gallery_config: GalleryTrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(step_form, "cpu_has_bf16", lambda: True)
    trainer = Trainer(gallery_config)
    times = form_times(trainer.network, trainer.task.objective, "gallery")
    assert set(times) == {"fp32 channels_last", "fp32 contiguous", "bf16 channels_last", "bf16 contiguous"}
    assert min(times.values()) > 0
