"""The whole path at its smallest: from tars to a judged model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from agriclip_edge.errors import UsageError
from agriclip_edge.text.encoder import TextEncoder
from training.checkpoint import read_checkpoint
from training.cli import main
from training.config import EncoderConfig
from training.data import Photos
from training.encoder import MODEL, STATE, load_tower, train_encoder
from training.general import General
from training.image_tower import ImageTower, load_imagenet
from training.progress import StatusLine
from training.results import judge_run, read_results
from training.synthetic import rename_tasks, write_collection

CONFIG = EncoderConfig.tiny()


def new_tower() -> ImageTower:
    torch.manual_seed(0)
    return ImageTower(16, CONFIG.architecture)


def train(data: Path, run: Path, text: TextEncoder, config: EncoderConfig = CONFIG) -> None:
    train_encoder(data, run, config, new_tower(), text, StatusLine(Console(quiet=True)))


@pytest.fixture(scope="module")
def run(data: Path, text: TextEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(data, folder, text)
    return folder


def test_a_few_epochs_learn_the_colours(run: Path, data: Path, text: TextEncoder) -> None:
    results = judge_run(run, data, "alive-mini", "val", text)
    assert results.table.mean > 0.8 > 1.5 * results.table.chance
    assert read_results(run) == [results]
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log] == [1, 2, 3] and log[-1]["loss"] < log[0]["loss"]
    assert log[-1]["val"] == pytest.approx(results.table.mean)
    assert (run / "history.png").read_bytes().startswith(b"\x89PNG")


class Cut(Exception):
    """A power cut."""


def test_a_run_that_was_cut_off_ends_with_the_same_weights(
    run: Path, data: Path, text: TextEncoder, tmp_path: Path
) -> None:
    class Cutting(StatusLine):
        def step(self, done: float, total: float, words: str) -> None:
            if done / total > 0.5:  # in the middle of the second epoch
                raise Cut

    with pytest.raises(Cut):
        train_encoder(data, tmp_path, CONFIG, new_tower(), text, Cutting(Console(quiet=True)))
    assert len(read_checkpoint(tmp_path / STATE)[1]["history"]) == 1
    train(data, tmp_path, text)
    assert (tmp_path / MODEL).read_bytes() == (run / MODEL).read_bytes()
    whole, resumed = read_checkpoint(run / STATE)[0], read_checkpoint(tmp_path / STATE)[0]
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_finished_run_is_left_as_it_is(run: Path, data: Path, text: TextEncoder) -> None:
    before = (run / MODEL).read_bytes()
    train(data, run, text)
    assert (run / MODEL).read_bytes() == before


def test_a_run_of_another_recipe_is_not_gone_on_with(run: Path, data: Path, text: TextEncoder) -> None:
    with pytest.raises(UsageError, match="another recipe"):
        train(data, run, text, replace(CONFIG, seed=1))


def test_frozen_blocks_keep_weights_and_statistics(run: Path) -> None:
    start, trained = new_tower().backbone.state_dict(), load_tower(run)[0].backbone.state_dict()
    changed = {name for name in start if not torch.equal(start[name], trained[name])}
    assert not any(name.startswith(("conv_stem", "bn1", "blocks.0.")) for name in changed)
    assert any(name.startswith("blocks.1.") for name in changed)


def test_results_of_a_former_model_are_refused(run: Path, data: Path, text: TextEncoder, tmp_path: Path) -> None:
    (tmp_path / MODEL).write_bytes((run / MODEL).read_bytes())
    judge_run(tmp_path, data, "alive-mini", "val", text)
    with open(tmp_path / MODEL, "ab") as file:
        file.write(b" ")
    with pytest.raises(UsageError, match="judge it again"):
        read_results(tmp_path)


def test_imagenet_weights_are_checked_for_their_shapes(tmp_path: Path) -> None:
    tower = new_tower()
    own = {f"layer.{number}": value + 1 for number, value in enumerate(tower.backbone.state_dict().values())}
    torch.save({**own, "classifier": torch.zeros(3)}, tmp_path / "right.pth")
    load_imagenet(tower, tmp_path / "right.pth")
    assert torch.equal(tower.backbone.state_dict()["bn1.bias"], own["layer.2"])
    torch.save(dict(reversed(own.items())), tmp_path / "wrong.pth")
    with pytest.raises(UsageError, match="not those of"):
        load_imagenet(tower, tmp_path / "wrong.pth")


def test_wrong_input_ends_in_one_line_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["training", "evaluate", "--data", str(tmp_path), "--checkpoint", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setenv("AGRICLIP_MINILM", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1 and "has no config.json" in captured.err


def test_a_finished_run_goes_on_over_more_collections_and_keeps_what_it_knew(
    run: Path, text: TextEncoder, tmp_path: Path
) -> None:
    write_collection(tmp_path / "alive-mini")
    write_collection(tmp_path / "alive-plus", seed=5)
    rename_tasks(tmp_path / "alive-plus")
    config = replace(
        EncoderConfig.tiny(),
        collections=("alive-mini", "alive-plus"),
        captions=2,
        loss=replace(EncoderConfig.tiny().loss, general=1.0),
    )
    tower, _ = load_tower(run)
    asked = []

    def know(photos: Photos) -> General:
        asked.append(len(photos))
        texts = torch.from_numpy(text.embed(["leaf", "soil", "sky"]))
        return General(texts, torch.full((len(photos), 3), 1 / 3))

    status = StatusLine(Console(quiet=True))
    train_encoder(tmp_path, tmp_path / "run", config, tower, text, status, fresh=False, know=know)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert asked == [120]  # the training photos of both
    assert log[-1]["val alive-mini"] > 0.8 and log[-1]["val alive-plus"] > 0.8
    assert log[-1]["val"] == pytest.approx((log[-1]["val alive-mini"] + log[-1]["val alive-plus"]) / 2)
