"""The ablation at its smallest: every cell, every seed, resumable, one table."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from agriclip_edge.errors import UsageError
from training.ablation import METHODS, RECORD, START, TABLE, TRAINED, Ablation, Start, read_ablation, run_ablation
from training.ablation_config import AblationConfig, read_config
from training.align.artefact import MODEL
from training.align.encoders import conse_encoder, dino_backbone
from training.checkpoint import read_checkpoint, write_checkpoint
from training.config import EncoderConfig
from training.data import hold_out, read_joined, spread
from training.dino.config import DinoConfig
from training.fit import Fit
from training.image_tower import ImageTower
from training.progress import StatusLine
from training.synthetic import rename_tasks, write_collection, write_text_model
from training.text_tower import TextTower

JUDGED = ("alive-mini:val", "alive-mini:query")
SEEDS = (0, 1, 2)
CONFIG = AblationConfig.tiny()


def write_run(folder: Path, seed: int, templates: tuple[str, ...] = ("{}",)) -> Path:
    torch.manual_seed(seed)
    config = {"architecture": "test_efficientnet", "input_size": 32, "templates": templates}
    write_checkpoint(folder / MODEL, ImageTower(16, "test_efficientnet").state_dict(), {"config": config, "photos": ""})
    return folder


@pytest.fixture(scope="module")
def start(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    folder = tmp_path_factory.mktemp("start")
    write_text_model(folder / "text", next(tiny_bundle.rglob("vocab.txt")).read_bytes(), 16)
    text = TextTower(folder / "text")
    backbone = dino_backbone(write_run(folder, 9), 32)
    words = ["apple", "water", "soil", "banana"]
    classifier = torch.randn(4, 256, generator=torch.Generator().manual_seed(0))
    return Start(text, backbone, conse_encoder(backbone, classifier, torch.zeros(4), words, text))


class Counting(StatusLine):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def ablate(
    data: Path, output: Path, start: Start, encoders: list[Path], dino: list[Path], status: StatusLine
) -> Ablation:
    return run_ablation(data, output, start, encoders, dino, ["alive-mini"], JUDGED, SEEDS, CONFIG, status)


def test_every_cell_is_there_once_a_seed(data: Path, start: Start, tmp_path: Path) -> None:
    encoders = [write_run(tmp_path / f"encoder-{seed}", seed) for seed in SEEDS]
    dino = [write_run(tmp_path / "dino", 7)]
    status = Counting()
    record = ablate(data, tmp_path / "out", start, encoders, dino, status)
    expected = {(METHODS[0], "", encoder) for encoder in (START, TRAINED)}
    expected |= set(itertools.product(METHODS[1:], (START, TRAINED), (START, TRAINED)))
    assert sorted((r.method, r.dino, r.encoder, r.seed) for r in record.rows) == sorted(
        (*kind, seed) for kind in expected for seed in SEEDS
    )
    assert all(tuple(row.tables) == JUDGED and len(row.tables[JUDGED[0]].results) == 2 for row in record.rows)
    assert (
        len({row.cosine for row in record.rows if (row.method, row.dino, row.encoder) == ("aligned", *[TRAINED] * 2)})
        == 3
    )
    assert record.held_out_unseen == (False,) * 3
    samples = record.samples()
    assert len(samples) == 20 and all(len(values) == 3 for values in samples.values())
    # The table says what the rows say.
    columns, cells = record.cells()
    aligned = next(row for row in cells if row[:3] == ("aligned", "ALive", "ALive"))
    own, alone = (
        samples["aligned-trained-trained-alive-mini-val_pct"],
        samples["contrastive-only-trained-alive-mini-val_pct"],
    )
    assert aligned[3] == pytest.approx(sum(own) / 3) and aligned[5] == pytest.approx((sum(own) - sum(alone)) / 3)
    assert all(len(row) == len(columns) for row in cells)
    assert read_ablation(tmp_path / "out" / RECORD) == record
    assert (tmp_path / "out" / TABLE).read_text() == record.markdown()
    # Again: nothing is fitted anew, and a lost cell alone is made again.
    lost = sorted((tmp_path / "out" / "cells").iterdir())[0]
    lost.unlink()
    again = Counting()
    assert ablate(data, tmp_path / "out", start, encoders, dino, again) == record
    fitted = [line for line in again.said if line.startswith("seed")]
    assert lost.exists() and 1 <= len(fitted) <= 2 < len([line for line in status.said if line.startswith("seed")])


def test_both_stages_are_trained_a_seed_without_what_that_seed_holds_out(start: Start, tmp_path: Path) -> None:
    names = ["alive-mini", "alive-plus"]
    for seed, name in enumerate(names):
        write_collection(tmp_path / name, seed)
    rename_tasks(tmp_path / "alive-plus")
    output, status = tmp_path / "out", Counting()

    def run() -> Ablation:
        return run_ablation(tmp_path, output, start, [], [], names, ("alive-plus:val",), (3, 4), CONFIG, status)

    record = run()
    assert record.held_out_unseen == (True, True) and len(record.rows) == 2 * (2 + 8)
    assert record.subjects["trained encoder, seed 3"] != record.subjects["trained encoder, seed 4"]
    assert record.subjects["trained dino, seed 3"] != record.subjects["trained dino, seed 4"]
    assert record.courses == (
        "stage 1 (an epoch each at 32, 32, 32 px)",
        "stage 2 (12 steps of 8 photos at 32 px)",
    )
    for seed in (3, 4):
        kept = hold_out(read_joined(tmp_path, names, "train")[1], CONFIG.align.held_out, seed)[0]
        encoder = read_checkpoint(output / f"encoder-{seed}" / MODEL)[1]
        assert encoder["photos"] == kept.sha256 and encoder["config"]["seed"] == seed
        dino = read_checkpoint(output / f"dino-{seed}" / "backbone.safetensors")[1]
        assert dino["config"]["seed"] == seed and len(dino["photos"]) == 2
    assert record.photos == 120 and "train stage 1" in record.markdown()
    # It learnt something: colours are told better than before.
    own = record.samples()
    assert min(own["contrastive-only-trained-alive-plus-val_pct"]) > max(
        own["contrastive-only-start-alive-plus-val_pct"]
    )
    # A second run finds all of it.
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")}
    assert run() == record and before == {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")}


def test_some_photos_of_every_class_are_enough(data: Path, start: Start, tmp_path: Path) -> None:
    config, dino = replace(CONFIG, photos=30), [write_run(tmp_path / "dino", 7)]
    arguments = ([], dino, ["alive-mini"], ("alive-mini:val",), (0,), config, Counting())
    record = run_ablation(data, tmp_path / "out", start, *arguments)
    assert record.photos == 30 and record.held_out_unseen == (True,)
    some = read_joined(data, ["alive-mini"], "train")[1]
    some = some.take(spread(some, 30))
    assert np.bincount(some.label).tolist() == [6] * 5
    kept = hold_out(some, config.align.held_out, 0)[0]
    assert read_checkpoint(tmp_path / "out" / "encoder-0" / MODEL)[1]["photos"] == kept.sha256


def test_a_seed_that_is_cut_off_goes_on(
    data: Path, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(output: Path) -> Ablation:
        arguments = ([], [write_run(tmp_path / "dino", 7)], ["alive-mini"], ("alive-mini:val",), (0,), CONFIG)
        return run_ablation(data, output, start, *arguments, Counting())

    whole_epoch = Fit.run_epoch

    def cut(fit: Fit, told: Callable[[int, int, float], None] | None = None) -> float:
        if fit.epoch == 2:
            raise KeyboardInterrupt
        return whole_epoch(fit, told)

    record = run(tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(Fit, "run_epoch", cut)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut")
    assert run(tmp_path / "cut") == record


def test_recipes_are_changed_by_a_file_that_says_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    path.write_text("photos = 9\n[encoder]\nsizes = [128, 160]\n[dino]\nsteps = 100\n[align]\nheld_out = 0.2\n")
    config = read_config(path, AblationConfig())
    assert config.encoder == replace(EncoderConfig(), sizes=(128, 160)) and config.align.held_out == 0.2
    assert config.dino == replace(DinoConfig.offline(), steps=100) and config.photos == 9
    for text, message in (
        ("[encoder]\nsize = 3", r"sets encoder\.size; accepted: .*encoder\.sizes"),
        ("[student]\nsteps = 3", r"sets student\.steps"),
        ("[student]", r"sets student\."),
        ("[dino]\nsteps = 'many'", "Expected `int`"),
        ("[dino]\nbatch = 25", "multiple of micro_batch"),
        ("[encoder.loss]\ngeneral = 1.0", "accepted here: 0"),
        ("steps = 3", "sets steps"),
        ("dino = 3", "sets dino"),
        ("photos = 1.5", "short.toml"),
        ("encoder.loss = 3", "Expected `object`"),
        ("[", "short.toml"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=message):
            read_config(path, AblationConfig())
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(tmp_path / "none.toml", AblationConfig())


def test_what_makes_no_table_is_refused(data: Path, start: Start, tmp_path: Path) -> None:
    encoder, other = write_run(tmp_path / "a", 0), write_run(tmp_path / "b", 1, ("a photo of {}",))
    with pytest.raises(UsageError, match="no seed"):
        run_ablation(data, tmp_path, start, [], [], ["alive-mini"], JUDGED, (), CONFIG, Counting())
    with pytest.raises(UsageError, match="--dino is given 2 times"):
        ablate(data, tmp_path, start, [encoder], [encoder, encoder], Counting())
    with pytest.raises(UsageError, match="not one protocol"):
        ablate(data, tmp_path, start, [encoder, other, other], [encoder], Counting())
    with pytest.raises(UsageError, match="not its train photos"):
        run_ablation(
            data, tmp_path, start, [encoder], [encoder], ["alive-mini"], ["alive-mini:train"], SEEDS, CONFIG, Counting()
        )
    (tmp_path / RECORD).write_text("{}")
    with pytest.raises(UsageError, match="no record of an ablation"):
        read_ablation(tmp_path / RECORD)
