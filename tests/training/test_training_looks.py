"""How a photo looks, as a further part of an embedding, and as something that a student is taught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from agriclip_edge.errors import UsageError
from agriclip_edge.text.encoder import TextEncoder
from training.captions import reviewed_facts
from training.config import EncoderConfig
from training.data import Photos, read_collection, read_joined, read_photos
from training.distil.config import DistilConfig, StoreConfig
from training.distil.run import distil, fitting, read_lesson
from training.distil.start import with_looks
from training.distil.store import read_reinforced, store_teacher
from training.encoder import load_tower, train_encoder, vectors_of
from training.evaluation.subjects import Subject, run_subject
from training.fit import embedder
from training.image_tower import ARCHITECTURE, ImageTower
from training.looks import Narrow, Wide, fit_looks
from training.progress import StatusLine
from training.results import judge_run
from training.symptoms import seen_vectors
from training.words import WORDS_SHARE, Words

SPACE, LOOKS = "the test's text encoder", 5
QUIET = StatusLine(Console(quiet=True))


@pytest.fixture(scope="module")
def photos(data: Path) -> Photos:
    return read_joined(data, ["alive-mini"], "train")[1]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like that of ImageNet's weights, of chance."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "lite0.pt"
    torch.save(ImageTower(1, ARCHITECTURE).backbone.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def looks(photos: Photos, weights: Path, text: TextEncoder, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    run = tmp_path_factory.mktemp("looks")
    fit_looks(photos.rgb[:20], LOOKS, weights, run)
    return run_subject(run, text, SPACE)


@pytest.fixture(scope="module")
def teacher(data: Path, text: TextEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(1)
    train_encoder(data, folder, EncoderConfig.tiny(), ImageTower(16, "test_efficientnet"), text, QUIET)
    return folder


@pytest.fixture(scope="module")
def student(
    data: Path, text: TextEncoder, teacher: Path, looks: Subject, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A student that began as its teacher and was taught how photos look, too."""
    folder = tmp_path_factory.mktemp("student")

    def opened(spec: str) -> Subject:
        return looks if spec == "looks" else run_subject(teacher, text, SPACE)

    teachers = [(spec, opened(spec)) for spec in ("teacher", "looks")]
    store_teacher(data, folder / "stored", StoreConfig.tiny(), teachers, (SPACE, text.embed), QUIET)
    lesson = read_lesson(data, folder / "stored", SPACE, 0.02, opened, QUIET)
    recipe = fitting(replace(DistilConfig.tiny(), head_rate=3e-2), lesson, pretrained=True)
    tower = with_looks(load_tower(teacher)[0], "test_efficientnet", lesson.stored, lesson.photos.label)
    distil(lesson, folder / "run", recipe, tower, QUIET, fresh=False)
    return folder


def test_an_embedding_of_two_parts_is_a_unit_vector_and_each_part_is_too() -> None:
    torch.manual_seed(2)
    tower = ImageTower(16, "test_efficientnet", LOOKS).eval()
    vectors = tower(torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8))
    assert vectors.shape == (3, 16 + LOOKS)
    for part in (vectors, tower.text_part(vectors), tower.looks_part(vectors)):
        assert torch.allclose(part.norm(dim=1), torch.ones(3), atol=1e-5)


def test_looks_are_the_features_main_directions(looks: Subject, photos: Photos) -> None:
    vectors = looks.embed(photos.rgb[:20])
    assert vectors.shape == (20, LOOKS)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(vectors.mean(axis=0)).max() < 0.5 < np.abs(vectors).max()  # they are centred, and differ
    with pytest.raises(UsageError, match="no words"):
        looks.embed_texts(["a cow"])


def test_there_are_no_more_looks_than_features(weights: Path, photos: Photos, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="accepted: 1 to 1280"):
        fit_looks(photos.rgb[:4], 1281, weights, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tower_that_begins_to_say_how_photos_look_says_the_same_in_words(
    teacher: Path, student: Path, photos: Photos
) -> None:
    stored, tower = read_reinforced(student / "stored"), load_tower(teacher)[0]
    wide = with_looks(tower, "test_efficientnet", stored, photos.label).eval()
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    assert torch.allclose(wide.text_part(wide(images)), tower(images), atol=1e-6)
    assert with_looks(wide, "test_efficientnet", stored, photos.label) is wide
    with pytest.raises(UsageError, match="6 numbers"):
        with_looks(ImageTower(16, "test_efficientnet", LOOKS + 1), "test_efficientnet", stored, photos.label)


def test_a_student_learns_how_photos_look(student: Path, photos: Photos, looks: Subject) -> None:
    stored = read_reinforced(student / "stored")
    assert stored.header.looks == LOOKS and len(stored.texts) == 1
    tower, description = load_tower(student / "run")
    assert (tower.dim, tower.looks, description["config"]["looks"]) == (16, LOOKS, LOOKS)
    known = looks.embed(photos.rgb)
    told = embedder(tower, 32)(photos.rgb)[:, 16:] * np.sqrt(2)
    own = (told * known).sum(axis=1).mean()
    assert own > 0.3 + (told @ known.T).mean()  # nearer to the looks of its own photo than to those of others


def test_a_student_of_looks_is_judged_by_words_as_any(
    student: Path, teacher: Path, data: Path, text: TextEncoder
) -> None:
    judged = judge_run(student / "run", data, "alive-mini", "val", text).table.mean
    assert judged > judge_run(teacher, data, "alive-mini", "val", text).table.mean - 0.1
    subject = run_subject(student / "run", text, SPACE)
    assert subject.embed_texts(["a cow"]).shape == (1, 16 + LOOKS)
    tower, description = load_tower(student / "run")
    vectors = vectors_of(description["config"], text, read_collection(data / "alive-mini"), tower.words)
    photo = read_photos(read_collection(data / "alive-mini"), "val").rgb[:1]
    assert vectors.shape[1] == subject.embed(photo).shape[1]


def test_words_look_like_the_classes_whose_words_are_near() -> None:
    eye = torch.eye(4)
    words = Words(eye[:2], torch.tensor([[1.0, 0.0], [0.0, 1.0]]), eye[2:3], torch.tensor([[0.0, 1.0]]))
    asked = np.float32([[1, 0, 0, 0], [0, 1, 0, 0], [0.6, 0, 0.8, 0], [0.6, 0, 0, 0.8]])
    vectors = words.of(asked)
    assert vectors.shape == (4, 6) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[:, :4], np.sqrt(1 - WORDS_SHARE) * asked, atol=1e-6)
    assert vectors[0, 4] > 0.3 > -0.3 > vectors[1, 4]  # each label looks like itself
    only = Words(eye[:2], torch.tensor([[1.0, 0.0], [0.0, 1.0]]), eye[2:2], torch.zeros(0, 2))
    assert vectors[2, 5] > only.of(asked)[2, 5]  # and a thing like what is known by its name


def test_what_facts_say_looks_like_a_label_of_that_name_and_these_facts() -> None:
    eye = torch.eye(4)
    words = Words(eye, torch.eye(4)[:, :3].roll(1, 0) + 0.1, eye[:0], torch.zeros(0, 3))
    names, seen = np.eye(4, dtype=np.float32)[:2], np.eye(4, dtype=np.float32)[2:]
    label = (names / 3 + 2 * seen / 3) / np.linalg.norm(names / 3 + 2 * seen / 3, axis=1, keepdims=True)
    found = words.of_symptoms(names, seen, 2 / 3)
    assert np.allclose(found[:, :4], np.sqrt(1 - WORDS_SHARE) * seen, atol=1e-6)
    assert np.allclose(found[:, 4:], words.of(label)[:, 4:], atol=1e-6)


def test_labels_and_codes_are_as_wide_as_photos(student: Path, text: TextEncoder, data: Path) -> None:
    tower = load_tower(student / "run")[0]
    assert tower.words is not None and tower.words.looks == LOOKS
    facts = list(reviewed_facts().values())[:3]
    seen = seen_vectors(facts, text, 2 / 3, tower.words)
    assert seen.shape == (3, 16 + LOOKS) and np.allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-5)
    narrow = Narrow(Wide(text, tower.words), 16)
    assert np.allclose(narrow.embed(["a cow"]), text.embed(["a cow"]), atol=1e-5)
    assert np.allclose(seen_vectors(facts, narrow, 2 / 3, tower.words), seen, atol=1e-5)
