"""Three bands through an encoder of photos: vectors made once, and a head learnt against texts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agriclip_edge.errors import UsageError
from training.diffclip.protocol import judge
from training.diffclip.record import mean
from training.diffclip.rgb import WINDOW, Eyes, Rgb, fine_tuned, linear_head, rgb_methods
from training.diffclip.synthetic import synthetic_scene
from training.evaluation.subjects import Subject, bundle_subject
from training.fit import embedder
from training.image_tower import ImageTower

SCENE = synthetic_scene(tiles=2, side=12, bands=12, classes=3)
PIXELS = np.argwhere(SCENE.labels > 0)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return bundle_subject(Path("tests/data/tiny_bundle"))


def counted(subject: Subject) -> tuple[Subject, list[int]]:
    photos: list[int] = []

    def embed(given: object) -> np.ndarray:
        assert isinstance(given, list) and all(photo.shape == (WINDOW, WINDOW, 3) for photo in given)
        photos.append(len(given))
        return subject.embed(given)

    return replace(subject, embed=embed), photos


def test_a_window_is_embedded_once_and_kept(subject: Subject, tmp_path: Path) -> None:
    watched, photos = counted(subject)
    eyes = Eyes(watched, tmp_path)
    first = eyes.of(SCENE, PIXELS[:5])
    again = eyes.of(SCENE, PIXELS[[4, 0, 7, 0]])
    assert sum(photos) == 6
    np.testing.assert_array_equal(again[[0, 1, 3]], first[[4, 0, 0]])
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-3)
    kept = Eyes(watched, tmp_path)
    np.testing.assert_array_equal(kept.of(SCENE, PIXELS[[0, 4]]), first[[0, 4]])
    assert sum(photos) == 6
    next((tmp_path / "rgb").iterdir()).write_bytes(b"nothing")
    with pytest.raises(UsageError, match="holds no vectors"):
        Eyes(watched, tmp_path).of(SCENE, PIXELS[:1])


def test_all_heads_are_judged_on_the_same_draws(subject: Subject) -> None:
    watched, photos = counted(subject)
    methods = rgb_methods(watched)
    record = judge(SCENE, methods, "stored", (2,), (0,), lambda *told: None, most_test_pixels=40)
    assert [method.name for method in methods] == ["RGB linear head", "RGB nearest mean", "RGB SVM"]
    assert sum(photos) == 6 + 40 and all(0 <= mean(record, m.name, 2).mean[0] <= 1 for m in methods)
    assert len({method.settings for method in methods}) == 3
    assert Rgb(Eyes(subject), "linear head").settings != Rgb(Eyes(subject), "linear head", texts_name="facts").settings


def test_the_head_learns_what_the_shots_say() -> None:
    generator = np.random.default_rng(0)
    texts = generator.normal(size=(3, 32)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    centres = generator.normal(size=(3, 32))  # photos of a class lie nowhere near its text
    labels = np.repeat(np.arange(3), 4)
    asked = np.repeat(np.arange(3), 50)

    def photos(of: np.ndarray) -> np.ndarray:
        vectors = 5 + centres[of] + generator.normal(0, 0.5, (len(of), 32))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    named = linear_head(photos(labels), labels, texts, photos(asked))
    assert (named == asked).mean() > 0.9


def test_texts_decide_where_photos_lie_near_them() -> None:
    """A class without a shot is still named by its text."""
    generator = np.random.default_rng(1)
    texts = np.eye(4, 32, dtype=np.float32)
    labels = np.repeat(np.arange(3), 3)

    def photos(of: np.ndarray) -> np.ndarray:
        vectors = texts[of] + 0.05 * generator.normal(size=(len(of), 32))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    unseen = linear_head(photos(labels), labels, texts, photos(np.full(40, 3)))
    assert (unseen == 3).mean() > 0.9


def test_a_whole_tower_learns_what_the_shots_say() -> None:
    """Its answers become right where those of its start are chance; the tower that was given stays as it was."""
    generator = np.random.default_rng(2)
    torch.manual_seed(0)
    tower = ImageTower(16, "test_efficientnet").eval()
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    texts = np.eye(3, 16, dtype=np.float32)
    labels, asked = np.repeat(np.arange(3), 4), np.repeat(np.arange(3), 20)
    hues = np.array([(120, 80, 60), (60, 120, 80), (80, 60, 120)])

    def windows(of: np.ndarray) -> np.ndarray:
        return (hues[of][:, None, None] + generator.integers(0, 40, (len(of), WINDOW, WINDOW, 3))).astype(np.uint8)

    shots, ask = windows(labels), windows(asked)
    named = fine_tuned(tower, shots, labels, texts, ask, seed=0)
    assert (named == asked).mean() > 0.9
    np.testing.assert_array_equal(fine_tuned(tower, shots, labels, texts, ask, seed=0), named)
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())


def test_a_tower_that_can_be_trained_is(subject: Subject) -> None:
    tower = ImageTower(subject.embed_texts(["maize"]).shape[1], "test_efficientnet").eval()
    own = replace(subject, tower=tower, embed=embedder(tower, 32))
    methods = rgb_methods(own)
    record = judge(SCENE, methods[:1], "stored", (2,), (0,), lambda *told: None, most_test_pixels=20)
    assert [method.name for method in methods][:2] == ["RGB CLIP-style", "RGB linear head"]
    assert 0 <= mean(record, "RGB CLIP-style", 2).mean[0] <= 1
