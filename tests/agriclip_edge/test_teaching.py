"""Teaching: lessons, their files, and what they make of a pack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agriclip_edge
from agriclip_edge import Bundle, BundleError, BundleFault, Label, LabelError, UsageError
from agriclip_edge.imaging.preprocess import preprocess
from agriclip_edge.labels.store import PackStore
from agriclip_edge.teaching import (
    MAX_PHOTOS,
    Lesson,
    Teaching,
    TeachingStore,
    from_bytes,
    open_teaching,
    to_bytes,
    views_of,
)


def unit(rows: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture
def teaching(bundle: Bundle) -> Teaching:
    base = replace(bundle.pack("fruit-colour"), name="mine")
    return Teaching(base).learn(Lesson(Label("cherry"), unit(1)[0], unit(5, 1)))


def noisy(colour: tuple[int, int, int], count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(sum(colour))
    noise = generator.integers(-20, 20, (count, 40, 40, 3))
    return [np.clip(np.array(colour) + part, 0, 255).astype(np.uint8) for part in noise]


def test_a_taught_label_is_answered_and_the_others_still_are(tiny_bundle: Path) -> None:
    classifier = agriclip_edge.load(tiny_bundle)
    purple, red = noisy((150, 20, 160), 10), noisy((220, 10, 10), 10)
    taught = classifier.teach("plum", purple[:5])
    taught = classifier.teach("red apple", red[:5])
    assert taught.pack is classifier.pack and taught.after.photos == 10
    assert taught.after.right > taught.before.right - 1
    assert [classifier.classify(photo).best.label for photo in purple[5:]] == ["plum"] * 5
    assert [classifier.classify(photo).best.label for photo in red[5:]] == ["red apple"] * 5
    assert classifier.pack.temperature is not None
    with pytest.raises(UsageError, match="no photo to teach by"):
        classifier.teach("plum", [])


def test_a_photo_is_embedded_with_its_middle_and_their_mirror_images(tiny_bundle: Path) -> None:
    classifier = agriclip_edge.load(tiny_bundle)
    photo = np.random.default_rng(0).integers(0, 255, (60, 40, 3), dtype=np.uint8)
    square = preprocess(photo, classifier.bundle.manifest.preprocessing.size)
    views = views_of(square)
    assert views.shape == (4, *square.shape) and views.dtype == np.uint8
    assert np.array_equal(views[0], square) and np.array_equal(views[1], square[:, ::-1])
    assert np.array_equal(views[3], views[2][:, ::-1]) and not np.array_equal(views[2], square)
    mean = classifier.embed(views).mean(axis=0)
    vectors = classifier.embed_views([photo, photo[:, ::-1].copy()])
    np.testing.assert_allclose(vectors[0], mean / np.linalg.norm(mean), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_pack_of_ones_own_is_taught_by_name(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGRICLIP_EDGE_HOME", str(tmp_path))
    classifier = agriclip_edge.load(tiny_bundle)
    taught = classifier.teach("plum", noisy((150, 20, 160), 5), pack="fruit-colour")
    assert classifier.pack is taught.pack and taught.pack.labels[-1] == Label("plum")
    assert classifier.use_packs("fruit-colour").to_bytes() == taught.pack.to_bytes()
    assert Bundle.open(tiny_bundle).pack("fruit-colour").labels == taught.pack.labels[:-1]
    again = agriclip_edge.load(tiny_bundle).teach("plum", noisy((140, 30, 150), 3), pack="fruit-colour")
    assert [len(lesson.photos) for lesson in again.teaching.lessons] == [5, 3]
    first = agriclip_edge.load(tiny_bundle).teach("plum", noisy((150, 20, 160), 2), pack="mine")
    assert [label.text for label in first.pack.labels] == ["plum"]
    with pytest.raises(LabelError, match="name"):
        classifier.teach("plum", noisy((150, 20, 160), 1), pack="../mine")
    assert sorted(path.name for path in (tmp_path / "packs").iterdir()) == [
        "fruit-colour.lessons", "fruit-colour.safetensors", "mine.lessons", "mine.safetensors",
    ]  # fmt: skip


def test_lessons_outlive_a_file(bundle: Bundle, teaching: Teaching) -> None:
    data = to_bytes(teaching, bundle, whole=True)
    lessons, base = from_bytes(data, bundle, "x")
    assert base is not None and base.to_bytes() == teaching.base.to_bytes()
    assert lessons[0].label == Label("cherry") and np.array_equal(lessons[0].photos, teaching.lessons[0].photos)
    assert from_bytes(to_bytes(teaching, bundle, whole=False), bundle, "x")[1] is None
    again, _, _ = Teaching(base, lessons).pack(bundle)
    assert again.to_bytes() == teaching.pack(bundle)[0].to_bytes()


def test_undo_gives_the_very_pack_of_before(bundle: Bundle, teaching: Teaching) -> None:
    before = teaching.pack(bundle)[0]
    more = teaching.learn(Lesson(Label("plum"), unit(1, 7)[0], unit(3, 8)))
    assert more.pack(bundle)[0].to_bytes() != before.to_bytes()
    assert more.undo().pack(bundle)[0].to_bytes() == before.to_bytes()
    assert teaching.undo().pack(bundle)[0].to_bytes() == teaching.base.to_bytes()
    with pytest.raises(LabelError, match="nothing to undo"):
        teaching.undo().undo()


def test_a_pack_may_not_be_taught_without_end(teaching: Teaching) -> None:
    with pytest.raises(LabelError, match=r"at most 2,000"):
        teaching.learn(Lesson(Label("plum"), unit(1)[0], unit(MAX_PHOTOS)))


def test_a_taught_pack_belongs_to_its_image_encoder(bundle: Bundle, teaching: Teaching) -> None:
    pack = teaching.pack(bundle)[0]
    bundle.accept(pack)
    with pytest.raises(BundleError, match="taught with image encoder") as caught:
        bundle.accept(replace(pack, image_encoder="0" * 64))
    assert caught.value.fault is BundleFault.PACK_FOREIGN_PREPROCESSING


def test_lessons_of_other_encoders_are_refused(default_bundle: Path, bundle: Bundle, teaching: Teaching) -> None:
    with pytest.raises(BundleError, match="other encoders"):
        from_bytes(to_bytes(teaching, bundle, whole=False), Bundle.open(default_bundle), "x")


def test_values_and_shapes_are_checked(bundle: Bundle, teaching: Teaching) -> None:
    long = replace(teaching, lessons=(replace(teaching.lessons[0], photos=2 * unit(5)),))
    with pytest.raises(BundleError, match="photos are no unit vectors"):
        from_bytes(to_bytes(long, bundle, whole=False), bundle, "x")
    wrong = replace(teaching, lessons=(replace(teaching.lessons[0], text=np.full(16, np.nan, np.float32)),))
    with pytest.raises(BundleError, match="texts are no unit vectors"):
        from_bytes(to_bytes(wrong, bundle, whole=False), bundle, "x")
    control = replace(teaching, lessons=(replace(teaching.lessons[0], label=Label("\x1b[2J")),))
    with pytest.raises(BundleError, match="control characters"):
        from_bytes(to_bytes(control, bundle, whole=False), bundle, "x")


@given(st.data())
def test_a_broken_file_is_refused_or_whole(
    mutated: Callable[[st.DataObject, bytes], bytes], data: st.DataObject
) -> None:
    bundle = Bundle.open(Path(__file__).parents[1] / "data" / "tiny_bundle")
    teaching = Teaching(bundle.pack("fruit-colour")).learn(Lesson(Label("cherry"), unit(1)[0], unit(5, 1)))
    try:
        lessons, _ = from_bytes(mutated(data, to_bytes(teaching, bundle, whole=True)), bundle, "x")
    except BundleError:
        return
    assert all(np.isfinite(lesson.photos).all() for lesson in lessons)


def test_the_store_keeps_lessons_beside_the_pack(bundle: Bundle, teaching: Teaching) -> None:
    store = TeachingStore(bundle)
    store.write(teaching, teaching.pack(bundle)[0])
    assert PackStore().names() == ["mine"]
    found = store.read("mine")
    assert found is not None and found.lessons[0].label.text == "cherry"
    PackStore().remove("mine")
    assert store.read("mine") is None and open_teaching(bundle, "mine") is None
