"""The evaluation harness on photos made by code, with the tiny bundle, which tells colours apart."""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agriclip_edge.errors import LabelError, UsageError
from agriclip_edge.imaging.decode import RGB
from training.data import DataError, read_collection
from training.evaluation.command import ask
from training.evaluation.compare import MEAN, compare
from training.evaluation.confusion import draw_confusions
from training.evaluation.everyday import everyday_task, read_table
from training.evaluation.judge import Given, JudgeConfig, judge_subject
from training.evaluation.metrics import half_width, mean_per_class, mean_per_class_accuracy, resample
from training.evaluation.prompts import by_task, choose, from_facts, label_vectors, through, written_by
from training.evaluation.record import Evaluation, read_evaluation, write_evaluation
from training.evaluation.seen import count_seen, known_synonyms, trained_labels
from training.evaluation.shots import Support, linear_probe, mean_with_text, nearest_mean, neighbours
from training.evaluation.subjects import Subject, Vectors, bundle_subject
from training.evaluation.tasks import JudgedTask, PhotoSet, collection_tasks, path_task
from training.evaluation.vectors import EvaluationError, embed_photos

CONFIG = JudgeConfig.tiny()
NAMES = through(["{}"])


@pytest.fixture(scope="module")
def subject(tiny_bundle: Path) -> Subject:
    return bundle_subject(tiny_bundle)


@pytest.fixture
def given(data: Path) -> Given:
    return ask_of(data)


def ask_of(data: Path, split: str = "query", support: str | None = "support") -> Given:
    tasks = collection_tasks(read_collection(data / "alive-mini"), split, support)
    return Given("alive-mini", split, support or "", tasks)


def without(task: JudgedTask, label: str, keep: int) -> JudgedTask:
    """The task with so many support photos of one label."""
    row = task.labels.index(label)
    photos = zip(task.support.names, task.support.files, task.support.label.tolist())
    others = [photo for photo in photos if photo[2] != row]
    own = [
        photo for photo in zip(task.support.names, task.support.files, task.support.label.tolist()) if photo[2] == row
    ]
    return replace(task, support=PhotoSet.of(others + own[:keep]))


def test_everything_is_judged_and_stands_beside_chance(subject: Subject, given: Given) -> None:
    record = judge_subject(subject, given, NAMES, "names", CONFIG)
    few = ("1-shot", "3-shot", "text+1-shot", "teach-1-shot", "text+3-shot", "teach-3-shot")
    assert record.methods == ("zero-shot", "zero-shot-adapted", "knn-3", *few, "probe")
    for task, asked in zip(record.tasks, given.tasks):
        for score in task.scores:
            assert score.photos + score.left_out == len(score.right) == len(asked.photos)
            assert score.chance == score.majority == pytest.approx(1 / len(task.labels))
            assert 0 <= score.low <= score.accuracy <= score.high <= 1
            assert len(score.by_draw) == (CONFIG.draws if "shot" in score.method and score.method != "zero-shot" else 1)
        assert sum(map(sum, task.confusion)) == len(asked.photos)
        zero_shot = task.scores[0]
        assert sum(row[number] for number, row in enumerate(task.confusion)) == sum(zero_shot.right)
    mean = record.mean()
    assert mean is not None and (mean.tasks, mean.photos, mean.accuracy, mean.gain) == (2, 20, 1.0, 1.0)
    assert mean.chance == pytest.approx((1 / 3 + 1 / 2) / 2)
    probe = record.mean("probe")
    assert probe is not None and probe.accuracy == 1.0


def test_the_last_photo_counts_whatever_the_batch(subject: Subject, given: Given) -> None:
    photos = given.tasks[0].photos
    many = PhotoSet.of(
        (n, f, r) for _ in range(3) for n, f, r in zip(photos.names, photos.files, photos.label.tolist())
    )
    one_more = PhotoSet.of([*zip(many.names, many.files, many.label.tolist())][:33])  # a batch of 32, and one of 1
    sizes: list[int] = []

    def embed(rgb: Sequence[RGB]) -> Vectors:
        sizes.append(len(rgb))
        return subject.embed(rgb)

    vectors = embed_photos(replace(subject, embed=embed), one_more)
    assert sizes == [32, 1] and vectors.shape[0] == 33
    np.testing.assert_allclose(vectors[32], vectors[32 - 12], atol=1e-5)


def test_an_encoder_that_drops_photos_is_refused(subject: Subject, given: Given) -> None:
    dropping = replace(subject, embed=lambda rgb: subject.embed(rgb)[:-1])
    with pytest.raises(EvaluationError, match=r"gave \(11, 16\) for 12 photos"):
        judge_subject(dropping, given, NAMES, "names")
    squeezing = replace(subject, embed=lambda rgb: subject.embed(rgb).squeeze())
    photos = given.tasks[0].photos
    single = PhotoSet.of([(photos.names[0], photos.files[0], 0)])
    with pytest.raises(EvaluationError, match=r"gave \(16,\) for 1 photos"):
        embed_photos(squeezing, single)


def test_a_broken_photo_is_named(subject: Subject, given: Given) -> None:
    task = replace(
        given.tasks[0], photos=PhotoSet.of([("a.jpg", given.tasks[0].photos.files[0], 0), ("b.jpg", b"x", 1)])
    )
    with pytest.raises(DataError, match="b.jpg"):
        judge_subject(subject, replace(given, tasks=[task]), NAMES, "names")


def test_embeddings_are_kept_by_what_they_depend_on(subject: Subject, given: Given, tmp_path: Path) -> None:
    first = embed_photos(subject, given.tasks[0].photos, tmp_path)
    silent = replace(subject, embed=lambda rgb: pytest.fail("embedded again"))
    np.testing.assert_array_equal(embed_photos(silent, given.tasks[0].photos, tmp_path), first)
    embed_photos(replace(subject, model="another"), given.tasks[0].photos, tmp_path)
    embed_photos(replace(subject, preprocessing="another"), given.tasks[0].photos, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    for path in tmp_path.iterdir():
        path.write_bytes(b"cut off")
    np.testing.assert_allclose(embed_photos(subject, given.tasks[0].photos, tmp_path), first, atol=1e-5)


def test_labels_with_few_support_photos_are_told(subject: Subject, given: Given) -> None:
    fruit = without(without(given.tasks[0], "red apple", 0), "green apple", 1)
    record = judge_subject(subject, replace(given, tasks=[fruit]), NAMES, "names", CONFIG).tasks[0]
    few, mixed, probe = (record.score(name) for name in ("3-shot", "text+3-shot", "probe"))
    assert few is not None and mixed is not None and probe is not None
    assert (few.photos, few.left_out, few.classes, few.chance) == (8, 4, 2, 0.5)
    assert few.note == "red apple: no support photo, left out; green apple: 1 for 3"
    assert few.right[:4].count(None) == 0 or few.right.count(None) == 4
    assert few.accuracy == 1.0 and (probe.left_out, probe.classes) == (4, 2)
    assert (mixed.photos, mixed.classes, mixed.accuracy) == (12, 3, 1.0)  # its text stands in
    assert mixed.note == "red apple: 0 for 3; green apple: 1 for 3"


def test_shots_without_support_photos_are_refused(subject: Subject, data: Path) -> None:
    with pytest.raises(UsageError, match="has no support photos"):
        judge_subject(subject, ask_of(data, support=None), NAMES, "names", CONFIG)


def clouds(seed: int, each: int, spread: float) -> tuple[Vectors, np.ndarray]:
    """Unit vectors around three centres, and which."""
    generator = np.random.default_rng(seed)
    label = np.repeat(np.arange(3), each)
    vectors = np.eye(3, 8, dtype=np.float32)[label] + spread * generator.standard_normal((3 * each, 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), label


def test_more_shots_are_better_and_draws_are_repeatable() -> None:
    (vectors, actual), (held, label) = clouds(0, 60, 0.6), clouds(1, 40, 0.6)
    support = Support(held, label, 3)
    shares = []
    for shots in (1, 5, 40):
        predicted = nearest_mean(vectors, support, shots, 20, (0,))
        assert np.array_equal(predicted, nearest_mean(vectors, support, shots, 20, (0,)))
        shares.append([mean_per_class_accuracy(row, actual) for row in predicted])
    assert np.mean(shares[0]) + 0.05 < np.mean(shares[1]) < np.mean(shares[2])
    assert half_width(shares[0]) > half_width(shares[1]) > half_width(shares[2]) == pytest.approx(0, abs=1e-12)
    probe, _ = linear_probe(vectors, support, (0,))
    assert mean_per_class_accuracy(probe[0], actual) > np.mean(shares[1])
    texts = np.eye(3, 8, dtype=np.float32)
    with_text = [mean_per_class_accuracy(row, actual) for row in mean_with_text(vectors, support, texts, 1, 20, (0,))]
    assert np.mean(with_text) > np.mean(shares[0]) + 0.05


def test_neighbours_vote() -> None:
    vectors = np.array([[1, 0]], np.float32)
    held = np.array([[0.999, 0.045], [0.995, 0.0998], [0.995, -0.0998], [0, 1]], np.float32)
    support = Support(held, np.array([0, 1, 1, 2]), 3)
    assert neighbours(vectors, support, 1).tolist() == [[0]]
    assert neighbours(vectors, support, 3).tolist() == [[1]]
    assert neighbours(vectors, support, 50).tolist() == [[1]]


def test_a_label_without_photos_is_found_by_its_text_across_the_gap() -> None:
    offset = np.zeros(8, np.float32)
    offset[7] = 3  # photos lie far from texts, all in one direction
    texts = np.eye(3, 8, dtype=np.float32)

    def photo(rows: np.ndarray) -> Vectors:
        vectors = texts[rows] + offset
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    support = Support(photo(np.array([0, 1])), np.array([0, 1]), 3)
    assert mean_with_text(photo(np.arange(3)), support, texts, 1, 1, (0,)).tolist() == [[0, 1, 2]]


def test_the_probe_bears_a_label_with_a_single_photo() -> None:
    held, label = clouds(1, 4, 0.1)
    support = Support(held[:9], label[:9], 3)
    vectors, actual = clouds(0, 10, 0.1)
    assert mean_per_class_accuracy(linear_probe(vectors, support, (0,))[0][0], actual) == 1.0
    singles = Support(held[::4], label[::4], 3)
    assert mean_per_class_accuracy(linear_probe(vectors, singles, (0,))[0][0], actual) == 1.0


def test_resampling_knows_the_spread_of_a_share() -> None:
    right, actual = np.repeat([1.0, 0.0], [160, 40]), np.zeros(200, np.int64)
    drawn = resample(right, actual, 3000, 1)
    assert drawn.mean() == pytest.approx(mean_per_class(right, actual), abs=0.003)
    assert drawn.std() == pytest.approx((0.8 * 0.2 / 200) ** 0.5, rel=0.05)


# Prompts


def test_each_way_writes_the_prompts_that_it_says(subject: Subject, given: Given, tmp_path: Path) -> None:
    fruit = given.tasks[0]
    assert through(["{}", "a {}"])(fruit)[0] == [("red apple", 1.0), ("a red apple", 1.0)]
    table = tmp_path / "templates.toml"
    table.write_text('fruit = ["fruit: {}"]\ntest = ["made: {}"]\n')
    assert by_task(table, ["{}"])(fruit)[0] == [("fruit: red apple", 1.0)]
    assert by_task(table, ["{}"])(given.tasks[1])[0] == [("made: brown soil", 1.0)]  # by its domain
    assert by_task(table, ["{}"])(replace(fruit, name="x", domain=""))[0] == [("red apple", 1.0)]
    table.write_text('fruit = ["no place for the label"]\n')
    with pytest.raises(LabelError, match="0 times"):
        by_task(table, ["{}"])
    assert choose("tasks", subject, None)(replace(fruit, domain="soil"))[0][-1] == ("soil type: red apple", 1.0)


def test_weights_count_and_what_cannot_be_weighed_is_refused(subject: Subject, given: Given) -> None:
    cover = given.tasks[1]
    mixed = written_by(lambda labels: [[(label, 3.0), ("red apple", 1.0)] for label in labels])(cover)
    soil, apple = subject.embed_texts(["brown soil", "red apple"])
    expected = 3 * soil + apple
    vectors = label_vectors(mixed, subject, {})
    np.testing.assert_allclose(vectors[0], expected / np.linalg.norm(expected), atol=1e-5)
    for broken in ([["a"]], [["a"], []], [["a"], [("b", -1.0)]], [["a"], [("b", float("nan"))]]):
        with pytest.raises(LabelError, match="cover"):
            written_by(lambda labels, broken=broken: broken)(cover)  # type: ignore[misc]
    with pytest.raises(UsageError, match="no prompts are called 'no_such:thing'"):
        choose("no_such:thing", subject, None)


def test_facts_and_names_weigh_alike() -> None:
    task = JudgedTask("t", "", ("bean leaf with rust", "thing without facts"), PhotoSet.of(()), PhotoSet.of(()))
    known, unknown = from_facts(["{}", "a photo of {}"])(task)
    assert sum(weight for text, weight in known if text.startswith("bean leaf with rust: ")) == pytest.approx(1)
    assert sum(weight for _, weight in known) == pytest.approx(2)
    assert unknown == [("thing without facts", 0.5), ("a photo of thing without facts", 0.5)]


# Seen labels


def test_seen_means_by_words_or_synonym(subject: Subject, data: Path) -> None:
    trained = trained_labels(data, ["alive-mini"])
    assert trained == {"red apple", "green apple", "yellow banana", "brown soil", "blue water"}
    assert count_seen(["Red Apple", "pear"], trained, {}) == 1
    synonyms = known_synonyms()
    assert count_seen(["bean leaf with rust"], synonyms["bean leaf with rust"] - {"bean leaf with rust"}, synonyms) == 1
    given = replace(ask_of(data), trained_on=("x",), trained=frozenset({"blue water"}), synonyms={})
    record = judge_subject(subject, given, NAMES, "names")
    assert [task.seen_labels for task in record.tasks] == [0, 1]
    assert [(mean.group, mean.tasks) for mean in record.means] == [("all", 2), ("seen", 1), ("unseen", 1)]


# Tasks


def write_folder(task: JudgedTask, root: Path) -> Path:
    for name, data, row in zip(task.photos.names, task.photos.files, task.photos.label.tolist()):
        folder = root / task.labels[row].replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name.rsplit("/", 1)[1]).write_bytes(data)
    return root


def test_a_folder_a_tar_and_a_collection_are_one_task(given: Given, data: Path, tmp_path: Path) -> None:
    fruit = given.tasks[0]
    folder, split = path_task(write_folder(fruit, tmp_path / "mine"))
    assert (
        split == ""
        and set(folder.labels) == set(fruit.labels)
        and sorted(folder.photos.files) == sorted(fruit.photos.files)
    )
    tar, split = path_task(data / "alive-mini" / "fruit.tar", shots=True)
    assert split == "query" and sorted(tar.photos.files) == sorted(fruit.photos.files)
    assert sorted(tar.support.files) == sorted(fruit.support.files)
    assert len(path_task(data / "alive-mini" / "fruit.tar", "val")[0].support) == 0


def test_what_is_no_task_is_refused(given: Given, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a folder nor a file"):
        path_task(tmp_path / "nothing")
    folder = write_folder(given.tasks[0], tmp_path / "mine")
    with pytest.raises(DataError, match="has class folders and no splits"):
        path_task(folder, shots=True)
    with pytest.raises(DataError, match="not 'test'"):
        path_task(data / "alive-mini" / "fruit.tar", "test")
    (folder / "stray.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"unexpected entry 'stray\.jpg'"):
        path_task(folder)
    (tmp_path / "note.tar").write_text("no tar")
    with pytest.raises(DataError, match=r"note\.tar cannot be read"):
        path_task(tmp_path / "note.tar")
    with tarfile.open(tmp_path / "link.tar", "w:") as archive:
        link = tarfile.TarInfo("query/a/1.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "elsewhere"
        archive.addfile(link)
    with pytest.raises(DataError, match="is no file"):
        path_task(tmp_path / "link.tar")


def test_another_number_of_photos_than_stated_is_told(collection_root: Path) -> None:
    document = (collection_root / "tasks.json").read_text()
    (collection_root / "tasks.json").write_text(document.replace('"query": 4', '"query": 5', 1))
    with pytest.raises(DataError, match=r"holds 4 query photos of 'red apple'; tasks\.json says 5"):
        collection_tasks(read_collection(collection_root), "query", None)


def test_the_everyday_task_has_thirty_labels_and_real_answers(subject: Subject) -> None:
    table, task = read_table(), everyday_task()
    assert len(set(table.labels)) == 30 == len(task.labels)
    assert {"skimage/chelsea.png", "sklearn/flower.jpg", "skimage/rocket.jpg"} <= set(task.photos.names)
    answers = dict(zip(task.photos.names, (task.labels[row] for row in task.photos.label)))
    assert answers["skimage/chelsea.png"] == "cat" and answers["sklearn/china.jpg"] == "temple"
    record = judge_subject(subject, ask(subject, None, None, [], True, None, None, False, []), NAMES, "names")
    assert record.tasks[0].scores[0].photos == len(task.photos) == 16


# Records


@pytest.fixture(scope="module")
def record(subject: Subject, data: Path) -> Evaluation:
    return judge_subject(subject, ask_of(data), NAMES, "names", CONFIG)


def test_a_record_is_read_as_it_was_written(record: Evaluation, tmp_path: Path) -> None:
    path = write_evaluation(record, tmp_path / "new")
    assert path.name == "evaluation-alive-mini-query-names.json" and read_evaluation(path) == record
    rows = list(csv.DictReader(path.with_suffix(".csv").open(encoding="utf-8")))
    assert len(rows) == 10 * 3 and rows[0]["task"] == "fruit" and float(rows[0]["accuracy"]) == 1.0
    path.write_bytes(path.read_bytes().replace(b'"split":"query"', b'"split":"train"'))
    with pytest.raises(UsageError, match="judge again"):
        read_evaluation(path)
    path.write_bytes(b"{}")
    with pytest.raises(UsageError, match="no record"):
        read_evaluation(path)


def test_every_task_has_its_picture(record: Evaluation, tmp_path: Path) -> None:
    paths = draw_confusions(record, tmp_path / "pictures")
    assert [path.name for path in paths] == ["fruit.png", "cover.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_all_that_figures_depend_on_is_in_the_protocol(subject: Subject, record: Evaluation, data: Path) -> None:
    given = ask_of(data)
    swapped = [replace(task, labels=tuple(reversed(task.labels))) for task in given.tasks]
    fewer = [replace(task, photos=task.support) for task in given.tasks]
    quick = replace(CONFIG, probe=False)
    tasks, base = record.protocol, (subject, given, NAMES, quick)
    changes = {
        "model": (replace(subject, model="x"), *base[1:]),
        "text_encoder": (replace(subject, text_encoder="x"), *base[1:]),
        "preprocessing": (replace(subject, preprocessing="x"), *base[1:]),
        "labels": (subject, replace(given, tasks=swapped), NAMES, quick),
        "photos": (subject, replace(given, tasks=fewer), NAMES, quick),
        "prompts": (subject, given, through(["a {}"]), quick),
        "shots": (*base[:3], replace(quick, shots=(2,))),
        "draws": (*base[:3], replace(quick, draws=4)),
        "seed": (*base[:3], replace(quick, seed=1)),
    }
    for field, (who, asked, prompter, config) in changes.items():
        other = judge_subject(who, asked, prompter, "names", config)
        assert (
            getattr(other.protocol, field) != getattr(tasks, field) and other.protocol_sha256 != record.protocol_sha256
        )
        with pytest.raises(EvaluationError, match=rf"different protocols.*{field}"):
            compare(record, other, "1-shot", ())
    assert judge_subject(subject, given, NAMES, "names", CONFIG) == record


def test_models_are_compared_on_the_same_photos(subject: Subject, record: Evaluation, data: Path) -> None:
    def colour_blind(rgb: Sequence[RGB]) -> Vectors:
        return subject.embed([np.repeat(photo.mean(axis=2, keepdims=True), 3, 2).astype(np.uint8) for photo in rgb])

    worse = judge_subject(
        replace(subject, embed=colour_blind, model="grey"),
        ask_of(data),
        NAMES,
        "names",
        replace(CONFIG, few_shot=False, probe=False),
    )
    rows = compare(record, worse)
    assert [row.task for row in rows] == ["fruit", "cover", MEAN]
    mean = worse.mean()
    assert mean is not None and rows[-1].gain == pytest.approx(mean.accuracy - 1.0) and rows[-1].gain < -0.2
    assert rows[-1].low <= rows[-1].gain <= rows[-1].high < 0
    assert all(row.gain == row.low == row.high == 0 for row in compare(record, record))
    with pytest.raises(UsageError, match="no field 'modle'"):
        compare(record, worse, vary=("modle",))
    with pytest.raises(UsageError, match="not judged by '9-shot'"):
        compare(record, record, "9-shot")


def test_zero_shot_does_not_depend_on_shots(subject: Subject, record: Evaluation, data: Path) -> None:
    alone = judge_subject(
        subject, ask_of(data, support=None), NAMES, "names", replace(CONFIG, few_shot=False, probe=False)
    )
    assert compare(record, alone)[-1].gain == 0
    short = msgspec.structs.replace(alone, means=())
    with pytest.raises(UsageError, match="not judged"):
        compare(record, short)
