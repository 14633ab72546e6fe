from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from contrastive_shards import write_shards
from rich.console import Console

from agriclip_edge.errors import UsageError
from training.captions import captions_for
from training.contrastive.config import ContrastiveConfig, read_config
from training.contrastive.model import load
from training.contrastive.run import train_contrastive
from training.progress import StatusLine

TINY = ContrastiveConfig.tiny()
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("run") / "shards")


@pytest.fixture(scope="module")
def straight(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run without a cut."""
    output = tmp_path_factory.mktemp("straight")
    train(shards, output)
    return output


def train(shards: Path, output: Path, config: ContrastiveConfig = TINY) -> None:
    def captions(label: str) -> tuple[str, ...]:
        return captions_for(label, config.captions, config.seed)

    train_contrastive([shards], output, config, captions, StatusLine(Console(quiet=True)))


def log(output: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def command(shards: Path, output: Path, *more: str) -> list[str]:
    return [
        "-m",
        "training",
        "contrastive",
        "--shards",
        str(shards),
        "--output",
        str(output),
        "--recipe",
        "tiny",
        *more,
    ]


def test_a_run_learns_and_leaves_what_people_look_at(shards: Path, straight: Path) -> None:
    entries = log(straight)
    assert [entry["step"] for entry in entries] == list(range(1, 21))
    assert entries[-1]["loss"] < entries[0]["loss"]
    assert entries[-1]["val"] > entries[-1]["start"] and entries[-1]["kept"] > 0.3
    page = (straight / "report.html").read_text()
    assert page.count("data:image/jpeg") == 8 and "data:image/png" in page
    assert "apple" in page or "banana" in page
    assert any(path.name.startswith("events.out") for path in (straight / "tensorboard").iterdir())
    model = load(straight)
    before = model.space("image")
    train(shards, straight, replace(TINY, wise=0.0))  # a finished run only mixes again
    assert log(straight) == entries
    assert load(straight).space("image") != before
    train(shards, straight)
    assert load(straight).space("image") == before
    with pytest.raises(UsageError, match="another recipe"):
        train(shards, straight, replace(TINY, rate=1e-3))


def test_a_killed_run_takes_the_same_course(shards: Path, straight: Path, tmp_path: Path) -> None:
    output = tmp_path / "killed"
    with subprocess.Popen([sys.executable, *command(shards, output)], env=ONE_THREAD, stdout=subprocess.DEVNULL) as run:
        end = time.monotonic() + 1200
        while not (output / "state.safetensors").exists():
            assert run.poll() is None and time.monotonic() < end
            time.sleep(0.005)
        run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    assert 5 <= len(log(output)) < 20 and not (output / "model.safetensors").exists()
    train(shards, output)
    assert log(output) == log(straight)
    assert (output / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()


def test_two_processes_take_the_course_of_one(shards: Path, straight: Path, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    more = ["--device", "cpu", "--micro", "3"]  # passes of three and one: a gather, and passes that do not gather
    subprocess.run([*launch, *command(shards, tmp_path / "two", *more)], env=ONE_THREAD, check=True, timeout=1200)
    two, one = log(tmp_path / "two"), log(straight)
    assert len(two) == 20
    for own, other in zip(two, one):
        assert own == pytest.approx(other, rel=1e-3)


def test_a_file_says_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('rate = 2e-5\nimage = "lora"\n[augment]\ncolour = 0.1\n')
    config = read_config(ContrastiveConfig.vit_b_16(), path, {"batch": 64, "text": None})
    assert (config.rate, config.image, config.batch, config.model) == (2e-5, "lora", 64, "ViT-B-16")
    assert config.augment.colour == 0.1
    for content, message in [
        ("speed = 1", "sets 'speed'"),
        ('rate = "fast"', "Expected `float`"),
        ('image = "thawed"', "accepted: full, lora, frozen"),
        ("wise = 2.0", "wise is 2.0"),
        ("rate = ", "own.toml"),
    ]:
        path.write_text(content)
        with pytest.raises(UsageError, match=message):
            read_config(TINY, path, {})
