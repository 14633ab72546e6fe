"""Distillation at its smallest: views that survive a kill and are checked, a student that learns and opens as a run."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from agriclip_edge.errors import UsageError
from agriclip_edge.text.encoder import TextEncoder
from training import synthetic
from training.checkpoint import read_checkpoint, write_checkpoint
from training.config import EncoderConfig
from training.data import DataError, read_collection, read_joined, read_tar
from training.distil.ablation import BASE, RECORD, read_ablation, run_ablation, variants
from training.distil.config import DistilConfig, QuantisationAware, StoreConfig
from training.distil.losses import TERMS, DistilLoss
from training.distil.quantise import plain, prepare
from training.distil.run import Lesson, distil, fitting, read_lesson
from training.distil.start import architecture_of, new_student
from training.distil.store import HEADER, TEXTS, read_reinforced, recheck, shard_name, store_teacher
from training.distil.teachers import faster, open_teacher
from training.encoder import MODEL, label_vectors, load_tower, template_embeddings, train_encoder
from training.evaluation.subjects import Subject, run_subject
from training.image_tower import ImageTower
from training.progress import StatusLine
from training.results import judge_run
from training.symptoms import with_codes

SPACE = "the test's text encoder"
STORE, CONFIG = StoreConfig.tiny(), DistilConfig.tiny()
QUIET = StatusLine(Console(quiet=True))


@dataclass(frozen=True)
class School:
    """A teacher's run, and the encoders that specs open."""

    data: Path
    text: TextEncoder
    teacher: Path

    def open(self, spec: str) -> Subject:
        return run_subject(Path(spec), self.text, SPACE)

    def far(self, spec: str) -> Subject:
        """The same photos in a space of another text encoder, of 6 values."""
        own = self.open(spec)

        def few(vectors: np.ndarray) -> np.ndarray:
            kept = vectors[:, :6]
            return kept / np.linalg.norm(kept, axis=1, keepdims=True)

        return replace(
            own, text_encoder="far", embed=lambda p: few(own.embed(p)), embed_texts=lambda p: few(own.embed_texts(p))
        )

    def store(self, output: Path, status: StatusLine = QUIET, config: StoreConfig = STORE, far: bool = False) -> None:
        spec = str(self.teacher)
        teachers = [(spec, self.open(spec)), *([(spec, self.far(spec))] if far else [])]
        store_teacher(self.data, output, config, teachers, (SPACE, self.text.embed), status)

    def lesson(self, stored: Path, share: float = 0.05) -> Lesson:
        return read_lesson(self.data, stored, SPACE, share, self.open, QUIET)


@pytest.fixture(scope="module")
def school(data: Path, text: TextEncoder, tmp_path_factory: pytest.TempPathFactory) -> School:
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(1)
    train_encoder(data, folder, EncoderConfig.tiny(), ImageTower(16, "test_efficientnet"), text, QUIET)
    return School(data, text, folder)


@pytest.fixture(scope="module")
def stored(school: School, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reinforced")
    school.store(folder)
    return folder


@pytest.fixture(scope="module")
def lesson(school: School, stored: Path) -> Lesson:
    return school.lesson(stored)


def student(seed: int = 0) -> ImageTower:
    return new_student("test_efficientnet", 16, seed)[0]


@pytest.fixture(scope="module")
def run(lesson: Lesson, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    distil(lesson, folder, fitting(CONFIG, lesson, pretrained=True), student(), QUIET, fresh=True)
    return folder


class Cut(Exception):
    """A power cut."""


class Cutting(StatusLine):
    """Ends the program after a share of the work."""

    def __init__(self, share: float) -> None:
        super().__init__(Console(quiet=True))
        self.share = share

    def step(self, done: float, total: float, text: str) -> None:
        if done / total > self.share:
            raise Cut


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


# The stored views.


def test_teachers_vectors_are_of_the_very_views(school: School, stored: Path) -> None:
    found = read_reinforced(stored)
    _, photos = read_joined(school.data, ["alive-mini"], "train")
    assert found.views[0].shape == (60, 3, 16) and found.views[0].dtype == torch.float16
    assert (
        found.wholes[0].shape == (60, 16) and found.header.codes == () and found.texts[SPACE].sets.shape == (3, 5, 16)
    )
    assert len(found.header.prompts) == len(set(found.header.prompts))
    assert recheck(found, photos, 1.0, school.open) == 180  # every one
    spoilt = [found.view(photo, number).corruption for photo in range(60) for number in range(3)]
    assert 0.3 < np.mean([bool(kind) for kind in spoilt]) < 0.7


def test_views_that_were_cut_off_end_the_same(school: School, stored: Path, tmp_path: Path) -> None:
    with pytest.raises(Cut):
        school.store(tmp_path, Cutting(0.3))
    assert shard_name(0) in contents(tmp_path) and shard_name(3) not in contents(tmp_path)
    kept = (tmp_path / shard_name(0)).stat().st_mtime_ns
    (tmp_path / shard_name(1)).write_bytes(b"half")  # a disk that lost its last writes
    school.store(tmp_path)
    assert contents(tmp_path) == contents(stored)
    assert (tmp_path / shard_name(0)).stat().st_mtime_ns == kept


_KILLED = """
import sys
from pathlib import Path
from rich.console import Console
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.text.encoder import TextEncoder
from training.distil.config import StoreConfig
from training.distil.teachers import faster, open_teacher
from training.distil.store import store_teacher
from training.evaluation.subjects import run_subject
from training.progress import StatusLine
data, teacher, output, bundle = map(Path, sys.argv[1:])
text = TextEncoder(Bundle.open(bundle), threads=1)
space = "the test's text encoder"
teachers = [(str(teacher), run_subject(teacher, text, space))]
store_teacher(data, output, StoreConfig.tiny(), teachers, (space, text.embed), StatusLine(Console(quiet=True)))
"""


def test_a_killed_process_leaves_views_that_can_be_gone_on_with(
    school: School, stored: Path, tiny_bundle: Path, tmp_path: Path, root: Path
) -> None:
    arguments = [sys.executable, "-c", _KILLED, school.data, school.teacher, tmp_path, tiny_bundle]
    process = subprocess.Popen([str(word) for word in arguments], cwd=root)
    for _ in range(3000):
        if (tmp_path / shard_name(0)).exists() or process.poll() is not None:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (tmp_path / shard_name(0)).exists()
    school.store(tmp_path)
    assert contents(tmp_path) == contents(stored)


def test_other_recipes_teachers_and_data_are_not_gone_on_with(school: School, stored: Path) -> None:
    with pytest.raises(UsageError, match="another recipe, teacher or other data"):
        school.store(stored, config=replace(STORE, seed=1))
    with pytest.raises(UsageError, match="another recipe, teacher or other data"):
        school.store(stored, far=True)


def copy_of(stored: Path, folder: Path) -> Path:
    for name, content in contents(stored).items():
        (folder / name).write_bytes(content)
    return folder


def spoil(folder: Path, tensor: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change a tensor of all shards, as a broken disk or another program would."""
    for path in folder.glob("views-*.safetensors"):
        tensors, description = read_checkpoint(path)
        write_checkpoint(path, {**tensors, tensor: change(tensors[tensor])}, description)


def test_what_is_stored_wrongly_is_found_on_reading(school: School, stored: Path, tmp_path: Path) -> None:
    cases: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = {
        "computed again has cosine": ("views.0", lambda v: v.flip(0)),
        "not of length 1": ("wholes.0", lambda v: 2 * v),
        "not what its seed gives": ("rows", lambda rows: rows + 0.01),
        "other pixels": ("checksums", lambda sums: sums + 1),
        "other tensors": ("checksums", lambda sums: sums[:-1]),
    }
    for number, (complaint, (tensor, change)) in enumerate(cases.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        spoil(copy_of(stored, folder), tensor, change)
        with pytest.raises(DataError, match=complaint):
            school.lesson(folder)
    nothing = torch.full((16,), float("nan")).half()
    spoil(copy_of(stored, tmp_path), "views.0", lambda v: nothing.expand_as(v))
    with pytest.raises(DataError, match="not of length 1"):
        school.lesson(tmp_path)


def test_folders_that_are_not_whole_are_refused(school: School, stored: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="accepted: what store-teacher wrote"):
        school.lesson(tmp_path / "none")
    copy_of(stored, tmp_path)
    (tmp_path / shard_name(2)).unlink()
    with pytest.raises(DataError, match="store-teacher makes what is missing"):
        school.lesson(tmp_path)
    copy_of(stored, tmp_path)
    header = json.loads((tmp_path / HEADER).read_text())
    (tmp_path / HEADER).write_text(json.dumps(header | {"photos": "0"}))
    with pytest.raises(DataError, match="does not belong"):
        school.lesson(tmp_path)
    (tmp_path / HEADER).write_text("{}")
    with pytest.raises(DataError, match="missing required field"):
        school.lesson(tmp_path)
    with pytest.raises(UsageError, match="another text encoder"):
        read_lesson(school.data, stored, "another", 0.05, school.open, QUIET)


def test_another_teacher_under_the_same_name_is_found(school: School, stored: Path) -> None:
    def other(spec: str) -> Subject:
        return replace(school.open(spec), model="0")

    with pytest.raises(DataError, match="not the teacher of these views"):
        read_lesson(school.data, stored, SPACE, 0.05, other, QUIET)
    read_lesson(school.data, stored, SPACE, 0.0, other, QUIET)  # opens none, as asked


def test_a_teacher_runs_by_onnx_runtime_and_says_the_same(school: School, lesson: Lesson) -> None:
    slow = school.open(str(school.teacher))
    fast = faster(school.teacher, slow)
    photos = lesson.photos.rgb[:10]
    assert fast.embed is not slow.embed and replace(fast, embed=slow.embed) == slow
    assert np.abs(fast.embed(photos) - slow.embed(photos)).max() < 1e-5
    with pytest.raises(UsageError, match="other vectors in ONNX Runtime"):
        faster(school.teacher, replace(slow, embed=lambda p: -slow.embed(p)))
    for spec in ("open_clip:ViT-B-32", "open_clip::tag"):
        with pytest.raises(UsageError, match="accepted: open_clip:NAME:WEIGHTS"):
            open_teacher(spec)


def test_labels_are_told_as_in_the_run_that_is_judged(
    school: School, text: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(synthetic.TASKS, "cover", {"bean leaf with rust": (110, 70, 40), "blue water": (30, 90, 210)})
    synthetic.write_collection(tmp_path / "alive-mini")
    config = replace(STORE, symptoms=0.5)
    teachers = [(str(school.teacher), school.open(str(school.teacher))), ("far", school.far(str(school.teacher)))]
    store_teacher(tmp_path, tmp_path / "out", config, teachers, (SPACE, with_codes(text.embed, text)), QUIET)
    found, collection = read_reinforced(tmp_path / "out"), read_collection(tmp_path / "alive-mini")
    assert sum(number >= 0 for number in found.header.codes) == 1
    for share in (0.5, 0.0):
        expected = label_vectors(text, collection, config.templates, share)
        same = np.allclose(found.texts[SPACE].labels.numpy(), expected, atol=2e-3)
        assert same == (share == 0.5)
    expected = template_embeddings(text, collection, config.templates, 0.5)
    assert torch.allclose(found.texts[SPACE].sets[:2], expected, atol=2e-3)
    # In another space a label is its name.
    names = found.texts["far"].sets[0] - torch.from_numpy(teachers[1][1].embed_texts(list(collection.labels)))
    assert float(names.abs().max()) < 2e-3
    with pytest.raises(UsageError, match="accepted: 0 to below 1"):
        StoreConfig(symptoms=1.0)


def test_a_lesson_leaves_out_copies_of_judged_photos_that_were_stored(
    school: School, stored: Path, lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [file for _, file in read_tar(school.data / "alive-mini" / "fruit.tar", "train")]
    (tmp_path / "copies.txt").write_text(hashlib.sha256(files[7]).hexdigest(), "ascii")
    monkeypatch.setattr("training.data.COPIES", tmp_path / "copies.txt")
    rest = school.lesson(stored)
    kept = [*range(7), *range(8, 60)]
    assert len(rest.photos) == 59 and torch.equal(rest.stored.rows, lesson.stored.rows[kept])
    expected = [lesson.photos.rgb[number] for number in kept]
    assert all(np.array_equal(one, other) for one, other in zip(rest.photos.rgb, expected, strict=True))
    held = read_lesson(school.data, stored, SPACE, 0.05, school.open, QUIET, dev=0.25)
    assert len(held.photos) + len(held.judged.photos) == 59
    school.store(stored)  # still the same views: nothing is made again


def test_any_open_clip_model_and_a_bundle_can_teach(tiny_bundle: Path, lesson: Lesson) -> None:
    bundle = open_teacher(str(tiny_bundle))
    vectors = bundle.embed(list(lesson.photos.rgb[:3]))
    assert vectors.shape == (3, 16) and bundle.embed_texts(["soil"]).shape == (1, 16)
    with pytest.raises(UsageError, match="open_clip cannot make 'ViT-of-tomorrow'"):
        open_teacher("open_clip:ViT-of-tomorrow:weights.pt")


# The student.


def test_a_student_learns_and_opens_like_any_run(run: Path, school: School, lesson: Lesson) -> None:
    tower, description = load_tower(run)
    assert description["config"]["architecture"] == "test_efficientnet" and description["collection"] == "alive-mini"
    results = judge_run(run, school.data, "alive-mini", "val", school.text)
    assert results.table.mean > 0.8 > 1.5 * results.table.chance
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert set(TERMS) - {"looks"} <= set(log[-1]) and log[-1]["feature"] < log[0]["feature"]
    assert log[-1]["val"] == pytest.approx(results.table.mean)
    assert (run / "history.png").read_bytes().startswith(b"\x89PNG")
    subject = run_subject(run, school.text, SPACE)
    own = subject.embed(lesson.judged.photos.rgb)
    assert own.shape == (20, 16) and np.allclose(np.linalg.norm(own, axis=1), 1, atol=1e-5)
    # It came near its teacher on photos that neither was trained on.
    near = (own * school.open(str(school.teacher)).embed(lesson.judged.photos.rgb)).sum(1).mean()
    assert near > 0.75
    assert not any("projections" in name for name in read_checkpoint(run / MODEL)[0])
    assert tower(torch.zeros(1, 32, 32, 3, dtype=torch.uint8)).shape == (1, 16)


def test_a_student_that_was_cut_off_ends_with_the_same_weights(run: Path, lesson: Lesson, tmp_path: Path) -> None:
    config = fitting(CONFIG, lesson, pretrained=True)
    with pytest.raises(Cut):
        distil(lesson, tmp_path, config, student(), Cutting(0.7), fresh=True)
    distil(lesson, tmp_path, config, student(), QUIET, fresh=True)
    assert (tmp_path / MODEL).read_bytes() == (run / MODEL).read_bytes()
    for other in (replace(config, teach=DistilLoss(feature=2.0)), replace(config, seed=1)):
        with pytest.raises(UsageError, match="another recipe"):
            distil(lesson, tmp_path, other, student(), QUIET, fresh=True)
    with pytest.raises(UsageError, match="another recipe"):
        distil(lesson, tmp_path, config, student(seed=5), QUIET, fresh=True)


def test_a_loss_that_is_off_is_not_computed(lesson: Lesson, tmp_path: Path) -> None:
    config = replace(fitting(CONFIG, lesson, pretrained=True), sizes=(32,), teach=DistilLoss(1, 0, 0, 0, 0))
    distil(lesson, tmp_path, config, student(), QUIET, fresh=True)
    entry = json.loads((tmp_path / "log.jsonl").read_text())
    assert [name for name in TERMS if name in entry] == ["feature"]
    assert entry["loss"] == pytest.approx(entry["feature"], rel=1e-5)


def test_several_teachers_of_several_spaces_teach_at_once(school: School, tmp_path: Path) -> None:
    school.store(tmp_path / "two", far=True)
    stored = read_reinforced(tmp_path / "two")
    assert [teacher.dim for teacher in stored.header.teachers] == [16, 6]
    assert stored.texts.keys() == {SPACE, "far"} and (tmp_path / "two" / TEXTS).exists()
    lesson = school.lesson(tmp_path / "two", share=0.0)
    lesson = lesson.some(30)
    config = fitting(CONFIG, lesson, pretrained=True)
    distil(lesson, tmp_path / "run", config, student(), QUIET, fresh=True)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["feature"] < log[0]["feature"]
    assert load_tower(tmp_path / "run")[0].head.out_features == 16
    with pytest.raises(Cut):
        distil(lesson, tmp_path / "cut", config, student(), Cutting(0.7), fresh=True)
    distil(lesson, tmp_path / "cut", config, student(), QUIET, fresh=True)
    assert (tmp_path / "cut" / MODEL).read_bytes() == (tmp_path / "run" / MODEL).read_bytes()


def test_held_out_photos_are_not_trained_on(school: School, stored: Path) -> None:
    whole = school.lesson(stored)
    some = read_lesson(school.data, stored, SPACE, 0.0, school.open, QUIET, dev=0.25)
    assert some.judged.name == "dev" and len(some.photos) + len(some.judged.photos) == 60
    trained = {id(rgb): number for number, rgb in enumerate(some.photos.rgb)}
    assert not any(id(rgb) in trained for rgb in some.judged.photos.rgb)
    # What is stored still belongs to its photo.
    number = next(n for n, rgb in enumerate(whole.photos.rgb) if np.array_equal(rgb, some.photos.rgb[7]))
    assert torch.equal(whole.stored.views[0][number], some.stored.views[0][7])


def test_rounded_training_learns_exact_weights_of_the_same_names(run: Path, lesson: Lesson, tmp_path: Path) -> None:
    tower, _ = load_tower(run)
    photos = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8))
    rounded = prepare(load_tower(run)[0], QuantisationAware(float_layers=1)).eval()
    with torch.no_grad():
        exact, apart = tower(photos), rounded(photos)
    learnt = plain(rounded)
    assert learnt.keys() == tower.state_dict().keys()
    assert all(torch.equal(tensor, learnt[name]) for name, tensor in tower.state_dict().items())
    assert not torch.equal(apart, exact) and float((apart * exact).sum(1).min()) > 0.9
    weight = rounded.backbone.conv_head.weight
    levels = weight / weight.abs().flatten(1).amax(1)[:, None, None, None] * 127
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    lesson = lesson.some(30)
    config = fitting(replace(CONFIG, quantisation=QuantisationAware(float_layers=1)), lesson, pretrained=True)
    with pytest.raises(UsageError, match="starts from a finished run"):
        distil(lesson, tmp_path, config, student(), QUIET, fresh=True)
    with pytest.raises(Cut):
        distil(lesson, tmp_path / "cut", config, load_tower(run)[0], Cutting(0.7), fresh=False)
    for name in ("cut", "whole"):
        accuracies = distil(lesson, tmp_path / name, config, load_tower(run)[0], QUIET, fresh=False)
    assert (tmp_path / "cut" / MODEL).read_bytes() == (tmp_path / "whole" / MODEL).read_bytes()
    tuned, _ = load_tower(tmp_path / "whole")
    assert accuracies["val"] > 0.8 and not torch.equal(tuned.head.weight, tower.head.weight)


# The ablation, and what a student starts from.


def test_the_ablation_has_each_loss_off_and_alone(lesson: Lesson, tmp_path: Path) -> None:
    config = replace(
        fitting(CONFIG, lesson, pretrained=True),
        sizes=(32,),
        statistics=8,
        teach=DistilLoss(affinity=0, interactive=0, whole=0, looks=0),
    )
    started: list[int] = []

    def start(seed: int) -> tuple[ImageTower, bool]:
        started.append(seed)
        return student(seed), True

    record = run_ablation(lesson, tmp_path, config, start, (3,), 40, QUIET)
    words = ("all", BASE, "without feature", "without task", "feature alone")
    assert tuple(dict.fromkeys(row.losses for row in record.rows)) == words and record.photos == 40
    assert [row.seed for row in record.rows] == [3] * 5
    columns, rows = record.cells()
    assert all(len(row) == len(columns) for row in rows)
    base = next(row for row in rows if row[0] == BASE)
    assert base[3] == 0 and rows[0][4] == 0
    found = record.samples()
    assert rows[0][3] == pytest.approx(np.mean(found["all-val_pct"]) - np.mean(found["task-alone-val_pct"]))
    assert read_ablation(tmp_path / RECORD) == record
    assert (tmp_path / "distil-ablation.md").read_text() == record.markdown()
    assert all(path.suffix == ".json" for path in (tmp_path / "cells").iterdir())
    started.clear()
    next((tmp_path / "cells").iterdir()).unlink()
    assert run_ablation(lesson, tmp_path, config, start, (3,), 40, QUIET) == record
    assert started == [3]
    with pytest.raises(UsageError, match="accepted: task and at least one other"):
        variants(DistilLoss(1, 0, 0, 0, 0))
    (tmp_path / RECORD).write_text("{}")
    with pytest.raises(UsageError, match="no record"):
        read_ablation(tmp_path / RECORD)


def test_a_subset_is_spread_over_all_classes(lesson: Lesson) -> None:
    some = lesson.some(20)
    places = {photo.tobytes(): place for place, photo in enumerate(lesson.photos.rgb)}
    chosen = [places[photo.tobytes()] for photo in some.photos.rgb]
    assert len(chosen) == 20 and (np.diff(chosen) > 0).all()
    assert set(np.bincount(some.photos.label)) == {4}
    assert torch.equal(some.stored.wholes[0], lesson.stored.wholes[0][chosen])
    assert some.photos.sha256 != lesson.photos.sha256 == lesson.some(0).photos.sha256
    assert len(lesson.some(10**6).photos) == len(lesson.photos)


def test_names_of_architectures_are_timms() -> None:
    assert architecture_of("efficientnet_lite0") == "tf_efficientnet_lite0"
    assert architecture_of("mobilenetv4_conv_small") == "mobilenetv4_conv_small"
    with pytest.raises(UsageError, match="timm knows no architecture"):
        new_student("efficientnet_of_tomorrow", 16, 0)
    tower, pretrained = new_student("test_efficientnet", 16, 0)
    assert not pretrained and torch.equal(tower.head.weight, student().head.weight)
