"""The commands evaluate and compare, on every kind of model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from rich.console import Console

from agriclip_edge.errors import UsageError
from training.cli import main
from training.config import EncoderConfig
from training.contrastive.model import build, save
from training.encoder import train_encoder
from training.evaluation.record import read_evaluation
from training.evaluation.subjects import open_clip_subject
from training.image_tower import ImageTower
from training.progress import StatusLine
from training.results import read_results
from training.synthetic import write_text_model
from training.text_tower import TextTower

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs one command line in this process: exit code, output, complaints."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["training", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_a_bundle_on_a_collection_and_compared_with_itself(
    call: Call, data: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    options = ("--data", data, "--bundle", tiny_bundle, "--output", tmp_path, "--few-shot", "--probe", "--shots", "1,2")
    code, out, _ = call("evaluate", *options, "--trained-on", "alive-mini")
    assert code == 0 and "zero-shot" in out and "mean over 2 seen tasks" in out
    path = tmp_path / "evaluation-alive-mini-query-names.json"
    record = read_evaluation(path)
    assert record.methods == (
        *("zero-shot", "zero-shot-adapted", "knn-5", "1-shot", "2-shot"),
        *("text+1-shot", "teach-1-shot", "text+2-shot", "teach-2-shot", "probe"),
    )
    assert record.protocol.support == "support" and record.protocol.draws == 20
    assert (tmp_path / f"{record.name}-confusion" / "fruit.png").is_file()
    assert len(list((tmp_path / "embeddings").iterdir())) == 4
    code, out, _ = call("compare", path, path, "--method", "2-shot")
    assert code == 0 and "+0.0" in out
    assert call("evaluate", *options[:-2], "--prompts", "tasks")[0] == 0
    other = tmp_path / "evaluation-alive-mini-query-tasks.json"
    code, out, err = call("compare", path, other, "--method", "probe")
    assert code == 2 and out == "" and len(err.splitlines()) == 1 and "shots: (1, 2) and (1, 5, 10)" in err


def test_a_run_is_judged_and_its_record_for_the_export_written(
    call: Call, data: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = EncoderConfig.tiny(), tmp_path / "run"
    write_text_model(tmp_path / "text", (tiny_bundle / "text" / "vocab.txt").read_bytes())
    text = TextTower(tmp_path / "text")
    torch.manual_seed(0)
    train_encoder(data, run, config, ImageTower(text.dim, config.architecture), text, StatusLine(Console(quiet=True)))
    monkeypatch.setenv("AGRICLIP_MINILM", str(tmp_path / "text"))
    assert call("evaluate", "--data", data, "--checkpoint", run, "--split", "val")[0] == 0
    record = read_evaluation(run / "evaluation" / "evaluation-alive-mini-val-names.json")
    results = read_results(run)[0]
    mean = record.mean()
    assert mean is not None and mean.accuracy == pytest.approx(results.table.mean) and results.calibration is not None
    assert record.trained_on == ("alive-mini",) and record.protocol.model == results.model
    assert call("evaluate", "--data", data, "--checkpoint", run, "--split", "query")[0] == 0
    query = next(found for found in read_results(run) if found.split == "query")
    assert query.calibration is None  # what was never trained on calibrates nothing


def test_an_open_clip_model_is_judged_by_the_same_code(tmp_path: Path, data: Path) -> None:
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (tmp_path / "tiny-peer.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-peer.json")
    torch.manual_seed(0)
    peer = open_clip_subject("tiny-peer", None)
    torch.manual_seed(0)
    again = open_clip_subject("tiny-peer", None)
    other = open_clip_subject("tiny-peer", None)
    assert (peer.model, peer.text_encoder, peer.preprocessing) == (again.model, again.text_encoder, again.preprocessing)
    assert other.model != peer.model and other.text_encoder != peer.text_encoder
    from training.data import read_collection
    from training.evaluation.judge import Given, judge_subject
    from training.evaluation.prompts import through
    from training.evaluation.tasks import collection_tasks

    tasks = collection_tasks(read_collection(data / "alive-mini"), "query", None)
    record = judge_subject(peer, Given("alive-mini", "query", "", tasks), through(peer.templates), "names")
    assert sum(task.scores[0].photos for task in record.tasks) == 20
    with pytest.raises(UsageError, match="open_clip cannot make 'no-such-model'"):
        open_clip_subject("no-such-model", None)


def test_a_contrastive_run_is_judged_with_its_own_text_tower(call: Call, data: Path, tmp_path: Path) -> None:
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (tmp_path / "tiny-clip.json").write_text(json.dumps(config))
    clip, run = build(str(tmp_path / "tiny-clip.json")), tmp_path / "run"
    save(run / "model.safetensors", clip, clip.net.state_dict(), {})
    assert call("evaluate", "--data", data, "--checkpoint", run)[0] == 0
    record = read_evaluation(run / "evaluation" / "evaluation-alive-mini-query-names.json")
    assert (record.protocol.model, record.protocol.text_encoder) == (clip.space("image"), clip.space("text"))
    assert sum(task.scores[0].photos for task in record.tasks) == 20 and read_results(run) == []


def test_the_number_right_of_the_everyday_photos_is_told(call: Call, tiny_bundle: Path, tmp_path: Path) -> None:
    code, out, _ = call("evaluate", "--bundle", tiny_bundle, "--output", tmp_path, "--everyday")
    score = read_evaluation(tmp_path / "evaluation-everyday-names.json").tasks[0].scores[0]
    assert code == 0 and f"{sum(share or 0 for share in score.right):g} of 16 right" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate"], "--output is needed"),
        (["evaluate", "--output", "o"], "name one model"),
        (["evaluate", "--output", "o", "--open-clip", "ViT-B-32"], "go together"),
        (["evaluate", "--output", "o", "--bundle", "BUNDLE", "--everyday", "--few-shot"], "no support photos"),
        (["evaluate", "--output", "o", "--bundle", "BUNDLE", "--everyday", "--collection", "x"], "choose one"),
        (["evaluate", "--output", "o", "--bundle", "BUNDLE"], "needs --data"),
        (["evaluate", "--output", "o", "--bundle", "BUNDLE", "--task", "nothing"], "neither a folder nor a file"),
        (["evaluate", "--output", "o", "--bundle", "BUNDLE", "--shots", "many"], "accepted: numbers with commas"),
        (["evaluate", "--output", "o", "--bundle", "BUNDLE", "--shots", ","], "accepted: numbers with commas"),
        (["compare", "nothing.json", "nothing.json"], "no record of an evaluation"),
    ],
)
def test_wrong_use_ends_in_one_line_and_code_2(
    call: Call, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AGRICLIP_DATA", raising=False)
    code, out, err = call(*[str(tiny_bundle) if word == "BUNDLE" else word for word in arguments])
    assert code == 2 and out == "" and len(err.splitlines()) == 1 and words in err
    assert not (tmp_path / "o").exists()
