"""The whole way of a photo: one, several, any number, from several threads, while labels change."""

from __future__ import annotations

import io
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

import agriclip_edge
from agriclip_edge import Answer, BundleError, BundleFault, Classifier, Label, LabelError, PhotoError, UsageError
from agriclip_edge.adaptation import SHARE
from agriclip_edge.labels.store import PackStore

COLOURS = {
    "red apple": (220, 10, 10),
    "green leaf": (30, 190, 40),
    "blue water": (20, 60, 230),
    "white flower": (250,) * 3,
}


def photo(colour: tuple[int, ...] = (220, 10, 10), height: int = 60, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def noise(number: int, height: int = 50, width: int = 70) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(rgb: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()


def plain(answers: list[Answer]) -> list[tuple[Any, ...]]:
    """What an answer says, without the time that it took."""
    return [(answer.path, answer.predictions, answer.error) for answer in answers]


@pytest.fixture(scope="module")
def classifier(tiny_bundle: Path) -> Classifier:
    """For tests that leave its labels alone."""
    return agriclip_edge.load(tiny_bundle, threads=2)


# --- One photo ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "colour"), COLOURS.items(), ids=list(COLOURS))
def test_names_what_it_sees(label: str, colour: tuple[int, ...], classifier: Classifier) -> None:
    best = classifier.classify(photo(colour)).best
    assert best is not None
    assert best.label == label
    assert best.confidence > 0.5


def test_one_photo_in_every_form(classifier: Classifier, tmp_path: Path) -> None:
    rgb = noise(0)
    path = tmp_path / "photo.png"
    path.write_bytes(png(rgb))
    expected = classifier.classify(rgb)
    assert expected.path is None
    for given, name in (
        (path, str(path)),
        (str(path), str(path)),
        (png(rgb), None),
        (bytearray(png(rgb)), None),
        (Image.fromarray(rgb), None),
        (Image.open(path), None),
    ):
        found = classifier.classify(given)
        assert (found.path, found.predictions, found.error) == (name, expected.predictions, None)


def test_choice(classifier: Classifier) -> None:
    everything = classifier.classify(photo(), top_k=99).predictions
    assert len(everything) == 8  # all labels of both packs
    assert sum(prediction.confidence for prediction in everything) == pytest.approx(1)
    assert classifier.classify(photo()).predictions == everything[:5]
    assert classifier.classify(photo(), top_k=1).predictions == everything[:1]
    assert classifier.classify(photo(), min_confidence=everything[1].confidence).predictions == everything[:2]
    assert classifier.classify(photo(), min_confidence=1).predictions == ()


def test_confidence_and_cosine_are_what_they_say(classifier: Classifier) -> None:
    cosines = classifier.embed(noise(1)) @ classifier.pack.embeddings.T
    weights = np.exp(cosines[0].astype(np.float64) / 0.1)
    found = {one.label: one for one in classifier.classify(noise(1), top_k=99).predictions}
    for label, cosine, weight in zip(classifier.pack.labels, cosines[0], weights / weights.sum()):
        assert found[label.text].cosine == pytest.approx(float(cosine), abs=1e-6)
        assert found[label.text].confidence == pytest.approx(weight, abs=1e-5)
        assert found[label.text].parent == label.parent


def test_a_packs_own_temperature_goes_first(tiny_bundle: Path) -> None:
    classifier = agriclip_edge.load(tiny_bundle, packs=["fruit-colour"])
    sharp = classifier.classify(photo()).predictions[0].confidence
    classifier.use(replace(classifier.pack, temperature=10.0))
    assert sharp > 0.9 > 0.5 > classifier.classify(photo()).predictions[0].confidence > 1 / 3


def test_timing(classifier: Classifier) -> None:
    data = png(noise(2, 600, 800))
    start = time.perf_counter()
    timing = classifier.classify(data).timing_ms
    whole = (time.perf_counter() - start) * 1e3
    stages = (timing.decode, timing.preprocess, timing.encode, timing.rank)
    assert min(stages) > 0
    assert timing.decode > timing.rank
    assert timing.total == pytest.approx(sum(stages))
    assert timing.total < whole


# --- Several photos -------------------------------------------------------------------------------------------------


def test_batch(classifier: Classifier) -> None:
    frames = np.stack([noise(number) for number in range(37)])
    answers = classifier.classify_batch(frames, top_k=3)
    assert len(answers) == 37
    for answer, frame in zip(answers, frames):
        alone = classifier.classify(frame, top_k=3)
        assert [one.label for one in answer.predictions] == [one.label for one in alone.predictions]
        cosines = [one.cosine for one in answer.predictions]
        assert np.allclose(cosines, [one.cosine for one in alone.predictions], atol=1e-5)
        assert answer.timing_ms.encode > 0
    assert classifier.classify_batch([]) == []
    assert plain(classifier.classify_batch(list(frames), top_k=3)) == plain(answers)


def mixed(tmp_path: Path) -> tuple[list[Any], list[str | None]]:
    """Good and bad photos of every form, and the error of each."""
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "good.png").write_bytes(png(noise(3)))
    items: list[tuple[Any, str | None]] = [
        (noise(0), None),
        (tmp_path / "missing.jpg", "no such file"),
        (str(tmp_path / "good.png"), None),
        (tmp_path / "empty.jpg", "is empty (0 bytes)"),
        (png(noise(1)), None),
        (
            Image.open(io.BytesIO(png(noise(1))[:-100])),
            "cannot be decoded: image file is truncated (38 bytes not processed)",
        ),
        (
            noise(2).astype(np.float32),
            "array of float32 (50, 70, 3); accepted: RGB uint8 (H, W, 3), H and W at least 1",
        ),
        (None, "a photo cannot be a NoneType; accepted: path, bytes, Pillow image, uint8 array (H, W, 3)"),
        (Image.fromarray(noise(4)), None),
    ]
    return [item for item, _ in items], [error for _, error in items]


@pytest.mark.parametrize("method", ["classify_batch", "classify_many"])
def test_bad_photos_leave_the_others_alone(method: str, classifier: Classifier, tmp_path: Path) -> None:
    photos, errors = mixed(tmp_path)
    answers = list(getattr(classifier, method)(photos))
    assert [answer.error and answer.error.split(" (3")[0] for answer in answers] == [
        error and error.split(" (3")[0] for error in errors
    ]
    for item, answer in zip(photos, answers):
        assert answer.path == (str(item) if isinstance(item, (str, Path)) else None)
        if answer.error is None:
            cosines = [one.cosine for one in answer.predictions]
            right = classifier.classify(item)
            assert [one.label for one in answer.predictions] == [one.label for one in right.predictions]
            assert np.allclose(cosines, [one.cosine for one in right.predictions], atol=1e-5)
        else:
            assert answer.predictions == ()


def test_a_batch_of_bad_photos_alone(classifier: Classifier) -> None:
    assert [answer.error for answer in classifier.classify_batch(["a.jpg", "b.jpg"])] == ["no such file"] * 2


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_many_in_order(workers: int, classifier: Classifier) -> None:
    frames = [noise(number, 20 + 40 * (number % 3), 30) for number in range(30)]
    answers = list(classifier.classify_many(iter(frames), workers=workers))
    assert plain(answers) == plain([classifier.classify(frame) for frame in frames])


def test_any_number_is_read_a_few_items_ahead(classifier: Classifier) -> None:
    taken = 0

    def camera() -> Iterator[np.ndarray]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield noise(number, 8, 8)

    answers = classifier.classify_many(camera(), workers=2)
    for number, answer in enumerate(itertools.islice(answers, 60)):
        assert answer.error is None
        assert taken <= number + 6
    answers.close()  # type: ignore[attr-defined]


def test_a_camera_that_fails_says_so(classifier: Classifier) -> None:
    def camera() -> Iterator[np.ndarray]:
        yield noise(0)
        raise OSError("the camera is gone")

    with pytest.raises(OSError, match="the camera is gone"):
        list(classifier.classify_many(camera()))


# --- Embeddings -----------------------------------------------------------------------------------------------------


def test_embed(classifier: Classifier) -> None:
    frames = [noise(number) for number in range(20)]
    found = classifier.embed(frames)
    assert found.shape == (20, 16)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    for form in (tuple(frames), np.stack(frames)):
        assert (classifier.embed(form) == found).all()
    assert np.allclose(np.vstack([classifier.embed(frame) for frame in frames]), found, atol=1e-5)
    assert classifier.embed(png(noise(0))).shape == (1, 16)
    assert classifier.embed([]).shape == (0, 16)


def test_embed_raises_for_a_bad_photo(classifier: Classifier) -> None:
    with pytest.raises(PhotoError, match="no such file"):
        classifier.embed([noise(0), "missing.jpg"])
    with pytest.raises(PhotoError, match="a photo cannot be a"):
        classifier.embed(noise(0) for _ in range(3))  # type: ignore[arg-type]


# --- Several threads ------------------------------------------------------------------------------------------------


def test_eight_threads_give_what_one_gives(classifier: Classifier) -> None:
    frames = [noise(number) for number in range(24)]
    alone = plain([classifier.classify(frame, top_k=99) for frame in frames])

    def all_of_them(_: int) -> list[tuple[Any, ...]]:
        return plain([classifier.classify(frame, top_k=99) for frame in frames])

    with ThreadPoolExecutor(8) as pool:
        assert all(found == alone for found in pool.map(all_of_them, range(8)))
    assert plain(list(classifier.classify_many(frames, workers=8, top_k=99))) == alone


def test_a_change_of_labels_is_atomic(tiny_bundle: Path) -> None:
    """While one thread changes the labels all the time, every answer is wholly under one choice of them."""
    classifier = agriclip_edge.load(tiny_bundle, packs=["fruit-colour"])
    typed = classifier.build_pack(["red soil", "green soil"])
    fruit, field = classifier.pack, classifier.bundle.pack("field-cover")
    choices = [{label.text for label in pack.labels} for pack in (fruit, field, typed)]
    over = threading.Event()

    def answer(number: int) -> list[frozenset[str]]:
        seen: list[Answer] = []
        while not over.is_set():
            seen.append(classifier.classify(noise(number, 9, 9), top_k=99))
            seen += classifier.classify_batch([noise(number, 9, 9)] * 3, top_k=99)
            seen += classifier.classify_many([noise(number, 9, 9)] * 3, top_k=99, workers=2)
        for one in seen:
            assert sum(prediction.confidence for prediction in one.predictions) == pytest.approx(1)
        return [frozenset(prediction.label for prediction in one.predictions) for one in seen]

    with ThreadPoolExecutor(8) as pool:
        working = [pool.submit(answer, number) for number in range(8)]
        end = time.monotonic() + 1.0
        for pack in itertools.cycle((field, typed, fruit)):
            classifier.use(pack)
            time.sleep(0.0005)
            if time.monotonic() > end:
                break
        over.set()
        seen = [labels for future in working for labels in future.result()]
    assert all(set(labels) in choices for labels in seen)
    assert set(seen) == {frozenset(choice) for choice in choices}


def test_a_batch_keeps_the_labels_that_it_began_with(tiny_bundle: Path) -> None:
    classifier = agriclip_edge.load(tiny_bundle, packs=["fruit-colour"])

    class Photos(list[np.ndarray]):
        """The labels change when the second half is asked for."""

        def __getitem__(self, which: Any) -> Any:
            if isinstance(which, slice) and which.start:
                classifier.use_packs("field-cover")
            return super().__getitem__(which)

    answers = classifier.classify_batch(Photos([noise(0)] * 40))
    assert classifier.pack.name == "field-cover"
    assert {one.label for answer in answers for one in answer.predictions} == {
        "red apple",
        "green apple",
        "yellow banana",
    }


def test_labels_typed_in_several_threads(tiny_bundle: Path) -> None:
    """The text encoder is loaded once, by whoever comes first."""
    classifier = agriclip_edge.load(tiny_bundle)
    with ThreadPoolExecutor(8) as pool:
        packs = list(pool.map(lambda number: classifier.build_pack(["red leaf", f"leaf {number % 2}"]), range(16)))
    for number, pack in enumerate(packs):
        assert (pack.embeddings == packs[number % 2].embeddings).all()


# --- Labels ---------------------------------------------------------------------------------------------------------


def test_default_packs_are_used_when_nobody_chooses(classifier: Classifier) -> None:
    assert classifier.pack.name == "fruit-colour+field-cover"


def test_packs_by_name_and_by_file(tiny_bundle: Path, tmp_path: Path) -> None:
    classifier = agriclip_edge.load(tiny_bundle, packs=["field-cover"])
    assert classifier.pack.name == "field-cover"
    assert classifier.use_packs("field-cover", "fruit-colour").name == "field-cover+fruit-colour"
    assert classifier.use_packs().name == "fruit-colour+field-cover"
    own = classifier.build_pack(["red soil"], name="own", title="soils")
    path = PackStore(tmp_path).add(own)
    assert classifier.use_packs(str(path)).title == "soils"
    for names, words in ((["none"], "no pack named 'none'"), (["field-cover", "none"], "no pack named 'none'")):
        with pytest.raises(LabelError, match=words):
            classifier.use_packs(*names)
    assert classifier.pack.name == "own"  # a failed change changes nothing


def test_labels_in_words(tiny_bundle: Path) -> None:
    classifier = agriclip_edge.load(tiny_bundle, labels=["red soil", Label("blue sky", "sky", ("blue water",))])
    assert classifier.classify(photo((20, 60, 230))).best == classifier.classify(photo((20, 60, 230))).predictions[0]
    assert classifier.classify(photo((20, 60, 230))).predictions[0].label == "blue sky"
    pack = classifier.use_labels(["green leaf", "brown soil"], templates=["{}"])
    assert classifier.pack is pack
    assert pack.templates == ("{}",)
    assert classifier.classify(photo((30, 190, 40))).predictions[0].label == "green leaf"
    assert {one.label for one in classifier.classify(photo(), top_k=99).predictions} == {"green leaf", "brown soil"}


def test_a_built_pack_is_the_same_after_it_was_stored(classifier: Classifier) -> None:
    before = classifier.pack
    pack = classifier.build_pack(["red leaf", "wheat"], name="mine")
    assert classifier.pack is before
    assert (pack.name, pack.title, pack.templates) == ("mine", "mine", ("{}", "a photo of {}"))
    stored = agriclip_edge.LabelPack.from_bytes(pack.to_bytes())
    assert (stored.embeddings == pack.embeddings).all()


def test_labels_that_cannot_be_used_change_nothing(tiny_bundle: Path) -> None:
    classifier = agriclip_edge.load(tiny_bundle)
    before = classifier.pack
    for labels, templates, words in (
        ([], None, "0 labels"),
        (["rust", "Rust"], None, "is there twice"),
        (["rust", " "], None, "an empty label"),
        (["rust"], ["no place"], "holds 0 times {}"),
        (["red " * 20], None, "tokens; at most 16"),
    ):
        with pytest.raises(LabelError, match=words):
            classifier.use_labels(labels, templates=templates)
    foreign = replace(before, text_encoder="0" * 64)
    with pytest.raises(BundleError) as caught:
        classifier.use(foreign)
    assert caught.value.fault is BundleFault.PACK_FOREIGN_TEXT_ENCODER
    assert classifier.pack is before


# --- Wrong use ------------------------------------------------------------------------------------------------------

USES: dict[str, tuple[Callable[[Classifier], Any], str]] = {
    "top_k 0": (lambda it: it.classify(photo(), top_k=0), "top_k is 0; accepted: at least 1"),
    "top_k below 0": (lambda it: it.classify_batch([photo()], top_k=-1), "top_k is -1"),
    "min_confidence below 0": (
        lambda it: it.classify(photo(), min_confidence=-0.1),
        "min_confidence is -0.1; accepted: 0 to 1",
    ),
    "min_confidence above 1": (lambda it: it.classify_many([photo()], min_confidence=1.5), "min_confidence is 1.5"),
    "min_confidence not a number": (
        lambda it: it.classify(photo(), min_confidence=float("nan")),
        "min_confidence is nan",
    ),
    "no worker": (lambda it: it.classify_many([photo()], workers=0), "workers is 0; accepted: at least 1"),
    "packs and labels": (lambda it: agriclip_edge.load(it.bundle, packs=["a"], labels=["b"]), "both packs and labels"),
    "templates alone": (lambda it: agriclip_edge.load(it.bundle, templates=["{}"]), "templates without labels"),
    "no thread": (lambda it: agriclip_edge.load(it.bundle, threads=0), "threads is 0; accepted: at least 1"),
}


@pytest.mark.parametrize(("use", "words"), USES.values(), ids=list(USES))
def test_wrong_use(use: Callable[[Classifier], Any], words: str, classifier: Classifier) -> None:
    with pytest.raises(UsageError, match=words):
        use(classifier)


def test_an_open_bundle_is_taken_as_it_is(tiny_bundle: Path) -> None:
    bundle = agriclip_edge.Bundle.open(tiny_bundle)
    assert agriclip_edge.load(bundle).bundle is bundle


def test_the_shipped_bundle_knows_a_cow(default_bundle: Path, photos: dict[str, Path]) -> None:
    classifier = agriclip_edge.load()
    best = classifier.classify(photos["cow"]).best
    assert best is not None
    assert best.label == "cow"
    chosen = agriclip_edge.load(labels=["a cow", "a tomato", "an empty field"]).classify(photos["cow"]).best
    assert chosen is not None
    assert chosen.label == "a cow"


# --- What to make of it ---------------------------------------------------------------------------------------------


def test_an_answer_is_a_label_or_none_of_these_by_the_packs_own_numbers(tiny_bundle: Path) -> None:
    classifier = agriclip_edge.load(tiny_bundle, packs=["fruit-colour"])
    red = classifier.classify(photo())
    assert red.verdict is not None and red.best is not None
    assert (red.verdict.kind, red.verdict.label) == ("label", red.best.label)
    classifier.use(replace(classifier.pack, unknown=min(1.0, red.best.cosine + 1e-3)))
    textured = np.where(np.indices((60, 80)).sum(axis=0)[:, :, np.newaxis] % 2, (220, 10, 10), (200, 10, 10))
    dark = (textured // 10).astype(np.uint8)
    for given, reason in ((dark, "too-dark"), (photo(), "blurred")):
        one, together = classifier.classify(given), classifier.classify_batch([given])[0]
        assert one.verdict is not None and one.verdict.reason == reason
        assert one.verdict.kind == "none" and one.predictions
        assert together.verdict is not None
        assert (together.verdict.kind, together.verdict.reason) == ("none", reason)
    assert next(classifier.classify_many(["no-such-file.jpg"])).verdict is None


def test_typed_labels_take_the_bundles_least_cosine_where_it_is_of_their_kind(tiny_bundle: Path) -> None:
    bundle = agriclip_edge.Bundle.open(tiny_bundle)
    plain = agriclip_edge.load(bundle, labels=["red apple", "yellow banana"])
    best = plain.classify(photo()).best
    assert best is not None
    bundle.manifest = msgspec.structs.replace(bundle.manifest, unknown=min(1.0, best.cosine + 1e-3))
    classifier = agriclip_edge.load(bundle, labels=["red apple", "yellow banana"])
    found = classifier.classify(photo()).verdict
    assert found is not None and found.kind == "none" and classifier.classify(photo()).predictions
    taught = replace(classifier.pack, image_encoder=bundle.image_encoder_id)  # cosines to photos: another kind
    classifier.use(taught)
    found = classifier.classify(photo()).verdict
    assert found is not None and found.kind == "label"


def test_a_higher_least_confidence_makes_an_answer_unsure(classifier: Classifier) -> None:
    found = classifier.classify(noise(3), min_confidence=1.0).verdict
    assert found is not None and found.kind != "label"


# --- Adapted to a place by photos without labels --------------------------------------------------------------------


def test_adapt_sets_the_labels_in_use_against_a_place(tiny_bundle: Path, tmp_path: Path) -> None:
    classifier = agriclip_edge.load(tiny_bundle)
    before, plain_pack = classifier.classify(noise(1), top_k=99), classifier.pack
    reddish = [photo((220, 10 + 20 * step, 10)) for step in range(6)]
    pack = classifier.adapt([*reddish, tmp_path / "missing.jpg", png(noise(0))[:50]])
    assert pack is classifier.pack and pack.origin is not None
    assert (pack.origin.photos, pack.origin.image_encoder) == (6, classifier.bundle.image_encoder_id)
    mean = classifier.embed(reddish).mean(axis=0)
    np.testing.assert_allclose(pack.origin.vector, SHARE * mean, atol=1e-3)

    after = classifier.classify(noise(1), top_k=99)
    cosines = {one.label: one.cosine for one in before.predictions}
    assert {one.label: one.cosine for one in after.predictions} == cosines
    scores = (classifier.embed(noise(1)) @ pack.embeddings.T - pack.offsets)[0].astype(np.float64) / 0.1
    weights = np.exp(scores - scores.max())
    expected = dict(zip((label.text for label in pack.labels), weights / weights.sum()))
    assert {one.label: one.confidence for one in after.predictions} == pytest.approx(expected, abs=1e-5)
    confidences = [one.confidence for one in after.predictions]
    assert confidences == sorted(confidences, reverse=True)
    explained = classifier.explain(noise(1))
    assert explained.label == after.predictions[0].label
    assert explained.confidence == pytest.approx(after.predictions[0].confidence, abs=1e-5)

    classifier.use(plain_pack)
    assert classifier.classify(noise(1), top_k=99).predictions == before.predictions  # bit for bit


def test_adapt_takes_frames_and_typed_labels(tiny_bundle: Path) -> None:
    classifier = agriclip_edge.load(tiny_bundle, labels=["red leaf", "green leaf"])
    assert classifier.adapt(np.stack([noise(seed) for seed in range(4)])).origin.photos == 4  # type: ignore[union-attr]
    assert classifier.use_labels(["red leaf", "green leaf"]).origin is None  # labels are what they are built as


def test_adapt_that_fails_changes_nothing(tiny_bundle: Path) -> None:
    classifier = agriclip_edge.load(tiny_bundle)
    before = classifier.pack
    with pytest.raises(UsageError, match="3 photos of the place could be used; accepted: at least 4") as caught:
        classifier.adapt([photo(), b"no photo", photo(), photo()])
    assert isinstance(caught.value.__cause__, PhotoError)
    with pytest.raises(UsageError, match="one str; accepted: a list of photos"):
        classifier.adapt("field/")
    assert classifier.pack is before
    classifier.teach("red apple", [photo()])
    taught = classifier.pack
    with pytest.raises(LabelError, match="taught by photos with labels"):
        classifier.adapt([photo()] * 4)
    assert classifier.pack is taught


def test_photos_are_answered_wholly_before_or_wholly_after_adapting(tiny_bundle: Path) -> None:
    classifier = agriclip_edge.load(tiny_bundle, threads=2)
    plain_pack = classifier.pack
    place = classifier.adapt([photo((200, 10 * step, 20)) for step in range(5)])
    asked = noise(3)
    expected = []
    for pack in (plain_pack, place):
        classifier.use(pack)
        expected.append(classifier.classify(asked).predictions)
    assert expected[0] != expected[1]
    done = threading.Event()

    def switch() -> None:
        for pack in itertools.cycle((plain_pack, place)):
            if done.is_set():
                return
            classifier.use(pack)

    with ThreadPoolExecutor(5) as pool:
        switching = pool.submit(switch)
        found = list(pool.map(lambda _: classifier.classify(asked).predictions, range(80)))
        done.set()
        switching.result()
    assert all(one in expected for one in found)


def test_an_origin_of_another_image_encoder_is_refused(tiny_bundle: Path) -> None:
    classifier = agriclip_edge.load(tiny_bundle)
    pack = classifier.adapt([noise(seed) for seed in range(4)])
    assert pack.origin is not None
    foreign = replace(pack, origin=replace(pack.origin, image_encoder="0" * 64))
    with pytest.raises(BundleError, match="adapt it again with this bundle") as caught:
        classifier.use(foreign)
    assert caught.value.fault is BundleFault.PACK_FOREIGN_PREPROCESSING
