"""The few-shot protocol, its record, and the baselines, on the synthetic scene."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from agriclip_edge.errors import UsageError
from agriclip_edge.scene.scene import Scene
from training.diffclip.baselines import FEATURES, baselines, classify_blocks, components, tile_means
from training.diffclip.labelled import LabelledScene
from training.diffclip.protocol import judge
from training.diffclip.record import difference, mean, read_record, write_record
from training.diffclip.scores import score
from training.diffclip.synthetic import synthetic_scene

SCENE = synthetic_scene(tiles=6, side=16, bands=20)


def silent(done: float, total: float, text: str) -> None:
    assert done <= total and text


@dataclass
class Guess:
    """Names every pixel by the label of the first shot, and remembers what it was shown."""

    name: str = "guess"
    settings: str = ""
    seen: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    def fit_predict(
        self, scene: LabelledScene, shots: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int
    ) -> np.ndarray:
        self.seen.append((shots, labels, test))
        return np.full(len(test), labels[0])


def test_scores_against_a_table_done_by_hand() -> None:
    found = score(np.array([1, 1, 2, 2, 2, 1]), np.array([1, 1, 1, 2, 2, 2]), 3)
    assert found.overall == pytest.approx(4 / 6) and found.average == pytest.approx(2 / 3)
    assert found.kappa == pytest.approx((4 / 6 - 0.5) / 0.5) and np.isnan(found.by_class[2])


def test_kappa_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import cohen_kappa_score

    generator = np.random.default_rng(0)
    actual, predicted = generator.integers(1, 6, 300), generator.integers(1, 6, 300)
    assert score(predicted, actual, 5).kappa == pytest.approx(cohen_kappa_score(actual, predicted))


@pytest.mark.parametrize("protocol", ["stored", "blocked", "random"])
def test_methods_see_the_same_shots_and_no_test_pixel_twice(protocol: str) -> None:
    one, other = Guess(), Guess("other guess")
    record = judge(SCENE, [one, other], protocol, (1, 2), range(3), silent)  # type: ignore[arg-type]
    assert len(record.draws) == 12
    for mine, theirs in zip(one.seen, other.seen):
        for a, b in zip(mine, theirs):
            np.testing.assert_array_equal(a, b)
        shots, labels, test = mine
        assert not set(map(tuple, shots)) & set(map(tuple, test))
        assert (SCENE.labels[tuple(shots.T)] == labels).all() and (SCENE.labels[tuple(test.T)] > 0).all()
        if protocol != "random":
            tiles = SCENE.scene.tile
            assert not set(tiles[tuple(shots.T)]) & set(tiles[tuple(test.T)])
    assert {difference(record, "guess", "other guess", k).gain for k in (1, 2)} == {(0.0, 0.0, 0.0)}


def test_a_blocked_split_tests_nothing_near_a_shot_of_its_tile() -> None:
    whole = LabelledScene(
        Scene("one tile", SCENE.scene.modalities, np.zeros_like(SCENE.scene.tile)),
        SCENE.labels,
        SCENE.classes,
        groups=SCENE.groups,
    )
    guess = Guess()
    judge(whole, [guess], "blocked", (5,), (0,), silent, distance=8)
    shots, _, test = guess.seen[0]
    assert np.abs(shots[:, None] - test).max(axis=-1).min() >= 8


def test_a_run_that_was_cut_off_goes_on_and_forgets_other_settings(tmp_path: Path) -> None:
    first, again, changed = Guess(), Guess(), Guess(settings="rate=2")
    record = judge(SCENE, [first], "stored", (1,), range(2), silent, tmp_path)
    assert judge(SCENE, [again], "stored", (1, 2), range(3), silent, tmp_path).draws[0] == record.draws[0]
    assert len(again.seen) == 6 - 2
    judge(SCENE, [changed], "stored", (1,), range(2), silent, tmp_path)
    assert len(changed.seen) == 2
    for kept in (tmp_path / "draws").iterdir():
        kept.write_text("{}")
    with pytest.raises(UsageError, match="is no draw"):
        judge(SCENE, [Guess()], "stored", (1,), (0,), silent, tmp_path)


def test_a_record_reads_back_and_becomes_tables(tmp_path: Path) -> None:
    methods = [method for method in baselines(SCENE) if "nearest" in method.name]
    record = judge(SCENE, methods, "stored", (1, 5), range(4), silent)
    pair = (methods[-1].name, methods[0].name)
    path = write_record(record, tmp_path, [pair])
    kept = read_record(path)
    assert kept.draws == record.draws and len(kept.means) == 2 * len(methods)
    told = mean(record, methods[0].name, 5)
    values = [draw.overall for draw in record.of(methods[0].name, 5)]
    assert told.mean[0] == pytest.approx(np.mean(values)) and told.deviation[0] == pytest.approx(np.std(values, ddof=1))
    gain = difference(record, *pair, 5)
    gains = [a.overall - b.overall for a, b in zip(*(record.of(name, 5) for name in pair))]
    assert gain.gain[0] == pytest.approx(np.mean(gains))
    assert gain.half_width[0] == pytest.approx(3.182446 * np.std(gains, ddof=1) / 2)  # Student's t, 3 degrees
    page = path.with_suffix(".md").read_text()
    assert f"| {methods[0].name} | " in page and f"{100 * told.mean[0]:.1f}±" in page and "| maize |" in page
    path.write_text(page)
    with pytest.raises(UsageError, match="is no few-shot record"):
        read_record(path)


def test_what_cannot_be_judged_is_said() -> None:
    plain = LabelledScene(SCENE.scene, SCENE.labels, SCENE.classes)
    for scene, protocol, methods, says in (
        (plain, "stored", [Guess()], "comes with no split"),
        (plain, "blocked", [Guess()], "names no places"),
        (SCENE, "sideways", [Guess()], "no protocol 'sideways'"),
        (SCENE, "stored", [Guess(), Guess()], "different names"),
    ):
        with pytest.raises(UsageError, match=says):
            judge(scene, methods, protocol, (1,), (0,), silent)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no test pixel lies 99 pixels from 50 shots"):
        judge(SCENE, [Guess()], "random", (50,), (0,), silent, distance=99)


def test_every_baseline_learns_and_more_shots_help() -> None:
    methods = baselines(SCENE)
    assert len(methods) == 3 * len(FEATURES) and len({method.name for method in methods}) == len(methods)
    quick = [method for method in methods if "forest" not in method.name or method.name.endswith(", spectra")]
    record = judge(SCENE, quick, "stored", (1, 20), range(2), silent, most_test_pixels=300)
    for method in quick:
        few, many = mean(record, method.name, 1).mean[0], mean(record, method.name, 20).mean[0]
        assert many > 0.4 > 0.25 and many > few - 0.05, method.name  # chance is a quarter
    assert mean(record, "SVM, spectra+lidar", 20).mean[0] > 0.85
    assert difference(record, "SVM, spectra+lidar", "SVM, spectra", 20).gain[0] > 0


def test_the_nearest_mean_is_that_of_scikit_learn() -> None:
    from sklearn.neighbors import NearestCentroid

    generator = np.random.default_rng(0)
    own, ask = generator.normal(size=(30, 5)).astype(np.float32), generator.normal(size=(200, 5)).astype(np.float32)
    labels = generator.integers(1, 5, 30)
    scaled = [np.clip((part - own.mean(axis=0)) / own.std(axis=0), -10, 10) for part in (own, ask)]
    truth = NearestCentroid().fit(scaled[0], labels).predict(scaled[1])
    np.testing.assert_array_equal(classify_blocks("nearest mean", [(own, ask)], labels, 0), truth)


def test_a_scene_of_one_modality_has_no_rows_of_lidar() -> None:
    alone = LabelledScene(
        Scene("alone", SCENE.scene.modalities[:1], SCENE.scene.tile), SCENE.labels, SCENE.classes, SCENE.splits
    )
    assert {method.name for method in baselines(alone)} == {
        f"{kind}, {features}"
        for kind in ("SVM", "random forest", "nearest mean")
        for features in ("spectra", "PCA+7×7")
    }
    (lidar,) = [method for method in baselines() if method.name == "SVM, lidar"]
    with pytest.raises(UsageError, match="needs a second"):
        judge(alone, [lidar], "stored", (1,), (0,), silent)


def test_rows_have_the_scenes_own_names_of_its_modalities() -> None:
    first, second = SCENE.scene.modalities
    radar = replace(SCENE, scene=replace(SCENE.scene, modalities=(first, replace(second, name="radar"))))
    named = {method.name: method for method in baselines(radar)}
    assert "nearest mean, PCA+7×7+radar" in named and not any("lidar" in name for name in named)
    (same,) = [method for method in baselines(SCENE) if method.name == "SVM, spectra+lidar"]
    assert named["SVM, spectra+radar"].settings == same.settings


def test_components_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    first = SCENE.scene.modalities[0]
    found = components(first, SCENE.carries)[..., :3].reshape(-1, 3)
    truth = PCA(3).fit_transform(first.values.reshape(-1, first.values.shape[-1]).astype(np.float64))
    for column in range(3):
        assert abs(np.corrcoef(found[:, column], truth[:, column])[0, 1]) > 0.9999


def test_means_stop_at_tiles_and_at_missing_data() -> None:
    values = np.arange(8 * 4, dtype=np.float32).reshape(8, 4, 1)
    tile = np.repeat(np.arange(2, dtype=np.int32), 16).reshape(8, 4)
    valid = np.ones((8, 4), bool)
    valid[0, 0] = False
    means = tile_means(values, valid, tile, side=3)
    assert means[1, 1, 0] == pytest.approx(values[0:3, 0:3].sum() / 8)
    assert means[3, 1, 0] == pytest.approx(values[2:4, 0:3].mean()) and means[4, 3, 0] == pytest.approx(
        values[4:6, 2:4].mean()
    )
    assert means[0, 0, 0] == 0
