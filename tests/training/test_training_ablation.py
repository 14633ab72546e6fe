"""The ablation at its smallest: every cell, every seed, resumable, one table."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from rich.console import Console

from agriclip_edge.errors import UsageError
from training.ablation import METHODS, RECORD, START, TABLE, TRAINED, Ablation, Start, read_ablation, run_ablation
from training.align.artefact import MODEL
from training.align.config import AlignConfig
from training.align.encoders import conse_encoder, dino_backbone
from training.checkpoint import write_checkpoint
from training.dino.config import DinoConfig
from training.image_tower import ImageTower
from training.progress import StatusLine
from training.synthetic import write_text_model
from training.text_tower import TextTower

JUDGED = ("alive-mini:val", "alive-mini:query")
SEEDS = (0, 1, 2)


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
    return Start(text, backbone, conse_encoder(backbone, classifier, torch.zeros(4), words, text), "random")


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
    tiny = DinoConfig.tiny()
    align = AlignConfig.tiny()
    return run_ablation(data, output, start, encoders, dino, ["alive-mini"], JUDGED, SEEDS, align, tiny, status)


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


def test_stage_2_is_trained_where_no_run_is_given(data: Path, start: Start, tmp_path: Path) -> None:
    encoder = [write_run(tmp_path / "encoder", 0)]
    tiny, align = DinoConfig.tiny(), AlignConfig.tiny()
    arguments = ([], ["alive-mini"], ("alive-mini:val",), (4,), align, tiny, Counting())
    record = run_ablation(data, tmp_path / "out", start, encoder, *arguments)
    assert (tmp_path / "out" / "dino-4" / "backbone.safetensors").exists()
    assert record.subjects["trained dino, seed 4"] != record.subjects["start dino"]


def test_what_makes_no_table_is_refused(data: Path, start: Start, tmp_path: Path) -> None:
    encoder, other = write_run(tmp_path / "a", 0), write_run(tmp_path / "b", 1, ("a photo of {}",))
    with pytest.raises(UsageError, match="no run of stage 1"):
        ablate(data, tmp_path, start, [], [], Counting())
    with pytest.raises(UsageError, match="--dino is given 2 times"):
        ablate(data, tmp_path, start, [encoder], [encoder, encoder], Counting())
    with pytest.raises(UsageError, match="not one protocol"):
        ablate(data, tmp_path, start, [encoder, other, other], [encoder], Counting())
    with pytest.raises(UsageError, match="not its train photos"):
        run_ablation(
            data, tmp_path, start, [encoder], [encoder], ["alive-mini"], ["alive-mini:train"], SEEDS,
            AlignConfig.tiny(), DinoConfig.tiny(), Counting(),
        )  # fmt: skip
    (tmp_path / RECORD).write_text("{}")
    with pytest.raises(UsageError, match="no record of an ablation"):
        read_ablation(tmp_path / RECORD)
