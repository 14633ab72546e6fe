"""Accuracy through a small real bundle on small real tars of photos."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import agriclip_edge
from benchmarks.accuracy import AccuracyConfig, answer_task, measure, resample, rounding
from benchmarks.tasks import photo_files
from training.data import DataError, read_collection
from training.evaluate import mean_per_class_accuracy

RED, GREEN, YELLOW, BLUE = (230, 20, 20), (30, 200, 40), (240, 230, 10), (20, 80, 245)
# label: colours of its validation photos; the second yellow banana is red, and so is answered wrongly
FRUIT = {"red apple": [RED, RED, RED], "green apple": [GREEN, GREEN], "yellow banana": [YELLOW, RED]}
WATER = {"blue water": [BLUE], "green grass": [GREEN, GREEN]}
CONFIG = AccuracyConfig(collections=(("alive-mini", "val"),), draws=500)


def jpeg(colour: tuple[int, int, int], seed: int) -> bytes:
    pixels = np.random.default_rng(seed).normal(colour, 4, (60, 80, 3)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def write_task(root: Path, name: str, photos: dict[str, list[tuple[int, int, int]]]) -> dict[str, object]:
    with tarfile.open(root / f"{name}.tar", "w") as archive:
        for label, colours in photos.items():
            for number, colour in enumerate(colours):
                for split in ("train", "val"):
                    member = tarfile.TarInfo(f"{split}/{label.replace(' ', '_')}/{number:04d}.jpg")
                    content = jpeg(colour, number)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    classes = [{"label": label, "train": len(colours), "val": len(colours)} for label, colours in photos.items()]
    texts = ("title", "domain", "setting", "licence", "source", "commit", "upstream")
    return {"task": name, "classes": classes, **dict.fromkeys(texts, "")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "alive-mini"
    root.mkdir()
    tasks = [write_task(root, "fruit-colour", FRUIT), write_task(root, "water", WATER)]
    (root / "tasks.json").write_text(json.dumps({"name": "alive-mini", "tasks": tasks}))
    return tmp_path


def test_accuracy_by_task_and_their_mean(data: Path, tiny_bundle: Path) -> None:
    measured = measure(data, tiny_bundle, lambda *_: None, CONFIG)
    fruit, water, mean = measured.details[0].rows
    assert fruit[:5] == ("fruit-colour", 7, 3, pytest.approx(1 / 3), pytest.approx((1 + 1 + 1 / 2) / 3))
    assert water[:5] == ("water", 3, 2, 0.5, 1.0)
    assert (fruit[7], water[7]) == ("pack", "typed")
    assert set(measured.samples) == {"alive-mini"}  # this bundle's INT8 was judged by no gate
    assert mean[4] == pytest.approx((5 / 6 + 1) / 2)
    assert measured.samples["alive-mini"] == (mean[4],)
    low, high = measured.intervals["alive-mini"]
    assert low < mean[4] < high == 1.0
    assert measured.subject["bundle"] == "agriclip-tiny 1"


def test_photos_are_answered_as_classify_answers_them(data: Path, tiny_bundle: Path) -> None:
    collection = read_collection(data / "alive-mini")
    classifier = agriclip_edge.load(tiny_bundle)
    answers = answer_task(classifier, collection.root, collection.tasks[0], "val")
    classifier.use_packs("fruit-colour")
    names = list(FRUIT)
    files = photo_files(collection.root, collection.tasks[0], "val")
    assert [names[row] for row in answers.predicted] == [classifier.classify(data).best.label for _, data in files]
    assert [names[row] for row in answers.actual] == [label for label, _ in files]


def test_the_same_photos_give_the_same_measurement(data: Path, tiny_bundle: Path) -> None:
    assert measure(data, tiny_bundle, lambda *_: None, CONFIG) == measure(data, tiny_bundle, lambda *_: None, CONFIG)


def test_missing_photos_are_told(data: Path, tiny_bundle: Path) -> None:
    (data / "alive-mini" / "water.tar").unlink()
    with pytest.raises(DataError, match=r"water\.tar cannot be read"):
        measure(data, tiny_bundle, lambda *_: None, CONFIG)


def test_another_number_of_photos_is_told(data: Path, tiny_bundle: Path) -> None:
    write_task(data / "alive-mini", "water", {"blue water": [BLUE], "green grass": [GREEN]})
    with pytest.raises(DataError, match=r"holds 1 val photos of 'green grass'; tasks\.json says 2"):
        measure(data, tiny_bundle, lambda *_: None, CONFIG)


def test_a_class_that_is_not_stated_is_told(data: Path, tiny_bundle: Path) -> None:
    write_task(data / "alive-mini", "water", {**WATER, "white milk": [RED]})
    with pytest.raises(DataError, match="holds the class 'white_milk'"):
        measure(data, tiny_bundle, lambda *_: None, CONFIG)


def test_resampling_agrees_with_drawing_the_photos_one_by_one() -> None:
    actual = np.array([0] * 12 + [1] * 4 + [2])
    predicted = np.array([0] * 7 + [1] * 5 + [1, 0, 0, 1] + [2])
    generator = np.random.default_rng(1)
    drawn = []
    for _ in range(1500):
        chosen = generator.integers(0, len(actual), len(actual))
        drawn.append(mean_per_class_accuracy(predicted[chosen], actual[chosen]))
    quick = resample(predicted, actual, 1500, seed=2)
    assert quick.mean() == pytest.approx(np.mean(drawn), abs=0.01)
    assert quick.std() == pytest.approx(np.std(drawn), rel=0.1)
    assert np.array_equal(quick, resample(predicted, actual, 1500, seed=2))


def test_what_rounding_costs_is_the_figure_of_the_gate(default_bundle: Path) -> None:
    classifier = agriclip_edge.load(default_bundle)
    figures = next(v.figures for v in classifier.bundle.manifest.image if v.name == "cpu-int8")
    assert rounding(classifier) == {
        "int8_drop_points": (figures["drop_mean"],),
        "int8_worst_drop_points": (figures["drop_task"],),
    }
