"""Stage 2 at its smallest: it learns, goes on after SIGKILL, and is the same over two processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from agriclip_edge.errors import UsageError
from training.checkpoint import read_checkpoint
from training.data import read_collection, read_photos
from training.dino.config import PRECISIONS, DinoConfig
from training.dino.fit import DinoFit
from training.dino.monitors import few_per_class, linear_probe, nearest_neighbours
from training.dino.network import Network, new_tower
from training.dino.run import BACKBONE, LOG, STATE, load_backbone, start_tower, train_dino
from training.dino.workers import Workers
from training.image_tower import ImageTower
from training.progress import StatusLine

ROOT = Path(__file__).parents[2]
CONFIG = replace(DinoConfig.tiny(), steps=6, monitor_every=2)
KILLED = """
import os, signal, sys
import torch
from pathlib import Path
from rich.console import Console
from tests.training.test_training_dino_run import train
from training.progress import StatusLine

class Cut(StatusLine):
    def step(self, done, total, text):
        if done == 5:
            os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
train(Path(sys.argv[1]), Path(sys.argv[2]), Cut(Console(quiet=True)))
"""


def tower(architecture: str = CONFIG.architecture) -> ImageTower:
    torch.manual_seed(0)
    return start_tower(architecture, "random")[0]


def train(data: Path, run: Path, status: StatusLine | None = None, config: DinoConfig = CONFIG) -> None:
    train_dino(data, run, config, tower(config.architecture), ["alive-mini"], status or StatusLine(Console(quiet=True)))


def log(run: Path) -> list[dict[str, Any]]:
    """The entries but for their times."""
    entries = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    return [{name: entry[name] for name in entry if name != "images_per_second"} for entry in entries]


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)


def steps(config: DinoConfig, photos: Sequence[Any], count: int) -> list[dict[str, float]]:
    run = DinoFit(config, tower(config.architecture), photos, Workers()).run()
    return [next(run) for _ in range(count)]


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dino")
    train(data, folder)
    return folder


@pytest.fixture(scope="module")
def photos(data: Path) -> Sequence[Any]:
    return read_photos(read_collection(data / "alive-mini"), "train").rgb


def test_a_run_leaves_a_backbone_a_log_and_a_picture(run: Path) -> None:
    entries = log(run)
    assert [entry["step"] for entry in entries] == [0, 2, 4, 6]
    assert entries[-1]["loss"] < entries[1]["loss"] and entries[-1]["mean_entropy"] > 1
    assert all(0 <= entry[name] <= 1 for entry in entries if "knn" in entry for name in ("knn", "probe"))
    assert ["knn" in entry for entry in entries] == [True, False, True, True]
    assert (run / "history.png").read_bytes().startswith(b"\x89PNG")
    backbone, architecture = load_backbone(run)
    before, after = tower().backbone.state_dict(), backbone.backbone.state_dict()
    assert architecture == CONFIG.architecture and before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "blocks.2.0.conv_pwl.weight" in changed
    assert not any(name.startswith(("conv_stem", "bn1", "blocks.0.")) for name in changed)  # frozen


def test_a_run_that_was_killed_goes_on_with_the_same_curve(run: Path, data: Path, tmp_path: Path) -> None:
    assert process("-c", KILLED, str(data), str(tmp_path)).returncode == -signal.SIGKILL
    assert read_checkpoint(tmp_path / STATE)[1]["step"] == 4 and not (tmp_path / BACKBONE).exists()
    train(data, tmp_path)
    assert log(tmp_path) == log(run)
    assert (tmp_path / BACKBONE).read_bytes() == (run / BACKBONE).read_bytes()


def test_a_finished_run_is_left_and_another_recipe_is_refused(run: Path, data: Path) -> None:
    before = (run / STATE).stat().st_mtime_ns
    train(data, run)
    assert (run / STATE).stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="another recipe"):
        train(data, run, config=replace(CONFIG, seed=1))


@pytest.mark.parametrize("targets", ["centring", "sinkhorn"])
def test_two_processes_give_the_loss_of_one(data: Path, photos: Sequence[Any], tmp_path: Path, targets: str) -> None:
    command = ["training", "dino", "--data", str(data), "--output", str(tmp_path), "--recipe", "tiny"]
    options = ["--weights", "random", "--steps", "4", "--targets", targets, "--threads", "1"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = process(*torchrun, "-m", *command, *options)
    assert ended.returncode == 0, ended.stderr
    config = replace(DinoConfig.tiny(), steps=4, targets=targets)
    alone = steps(config, photos, 4)
    shared = [entry for entry in log(tmp_path) if entry["step"]]
    for name in ("loss", "target_entropy", "mean_entropy"):
        expected = [(alone[i][name] + alone[i + 1][name]) / 2 for i in (0, 2)]
        assert [entry[name] for entry in shared] == pytest.approx(expected, rel=1e-4)


def test_micro_batches_are_one_step(photos: Sequence[Any]) -> None:
    """A transformer has no batch statistics: any cut of a step into micro-batches gives the same course."""
    config = replace(CONFIG, architecture="test_vit", batch=8)
    whole, cut = (steps(replace(config, micro_batch=size), photos, 3) for size in (8, 2))
    assert [step["loss"] for step in cut] == pytest.approx([step["loss"] for step in whole], rel=1e-4)


def test_bfloat16_is_near_float32(photos: Sequence[Any]) -> None:
    exact, half, again = (steps(replace(CONFIG, precision=name), photos, 2) for name in (*PRECISIONS, "bfloat16"))
    losses = [[step["loss"] for step in run] for run in (exact, half)]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.05)
    assert again == half  # every gradient comes of memory that somebody wrote
    assert torch.backends.mkldnn.enabled


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_other_backbones_learn_and_freeze(architecture: str, photos: Sequence[Any]) -> None:
    fit = DinoFit(replace(CONFIG, architecture=architecture), tower(architecture), photos, Workers())
    before = {name: value.clone() for name, value in fit.student.tower.state_dict().items()}
    for _ in fit.run():
        pass
    after = fit.student.tower.state_dict()
    frozen = {"test_resnet": ("backbone.conv1", "backbone.layer1"), "test_vit": ("backbone.pos", "backbone.blocks.0.")}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and not any(name.startswith(frozen[architecture]) for name in moved)
    ImageTower(1, architecture).backbone.load_state_dict(fit.model().backbone.state_dict())


def test_the_teacher_follows_the_student(photos: Sequence[Any]) -> None:
    fit = DinoFit(replace(CONFIG, teacher_momentum=(0.75, 0.75)), tower(), photos, Workers())
    start = fit.teacher.projection.layers[0].weight.clone()
    next(fit.run())
    moved = fit.student.projection.layers[0].weight.detach()
    assert not torch.equal(moved, start)
    assert torch.allclose(fit.teacher.projection.layers[0].weight, 0.75 * start + 0.25 * moved, atol=1e-7)


def test_views_of_one_size_take_one_forward_pass(photos: Sequence[Any]) -> None:
    network = DinoFit(CONFIG, tower(), photos, Workers()).student.eval()
    sizes: list[tuple[int, ...]] = []
    network.tower.backbone.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape)))
    large, small = torch.zeros(4, 32, 32, 3, dtype=torch.uint8), torch.ones(6, 16, 16, 3, dtype=torch.uint8)
    assert network([large, small]).shape == (10, CONFIG.prototypes)
    assert sizes == [(4, 3, 32, 32), (6, 3, 16, 16)]
    assert isinstance(network, Network)


def test_a_stage_1_run_may_be_the_start(tmp_path: Path) -> None:
    from training.checkpoint import write_checkpoint

    torch.manual_seed(3)
    stage_1 = ImageTower(4, CONFIG.architecture)
    write_checkpoint(
        tmp_path / "model.safetensors", stage_1.state_dict(), {"config": {"architecture": CONFIG.architecture}}
    )
    loaded, architecture = start_tower("resnet50", str(tmp_path))
    assert architecture == CONFIG.architecture
    images = torch.randint(0, 255, (2, 32, 32, 3), dtype=torch.uint8)
    assert torch.equal(loaded.eval().features(images), stage_1.eval().features(images))


def test_monitors_read_labels_off_features(data: Path) -> None:
    generator = np.random.default_rng(0)
    labels = torch.tensor([7, 7, 3, 3, 3, 9])
    centres = {7: (5.0, 0.0), 3: (0.0, 5.0), 9: (-5.0, -5.0)}
    support = torch.tensor([centres[int(label)] for label in labels]) + torch.from_numpy(generator.normal(size=(6, 2)))
    asked = torch.tensor([(4.0, 1.0), (1.0, 6.0), (-6.0, -4.0)], dtype=torch.float64)
    assert nearest_neighbours(support, labels, asked, 1).tolist() == [7, 3, 9]
    assert linear_probe(support, labels, asked).tolist() == [7, 3, 9]
    few = few_per_class(read_photos(read_collection(data / "alive-mini"), "train"), 2, seed=0)
    assert np.bincount(few.label).tolist() == [2] * 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targets": "none"}, "accepted: centring, sinkhorn"),
        ({"precision": "int3"}, "accepted: float32, bfloat16"),
        ({"batch": 7}, "accepted: a multiple of micro_batch"),
        ({"monitor_every": 3, "save_every": 2}, "accepted: a multiple of 2"),
    ],
)
def test_a_recipe_that_cannot_run_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        replace(CONFIG, **change)


def test_starts_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no ImageNet weights of test_vit"):
        start_tower("test_vit", "imagenet")
    with pytest.raises(UsageError, match="no checkpoint"):
        start_tower("test_vit", str(tmp_path))
    with pytest.raises(UsageError, match="for 3 processes"):
        DinoFit(CONFIG, new_tower(CONFIG.architecture), [], Workers(count=3))
