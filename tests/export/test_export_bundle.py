"""From a run to a bundle that a device can use."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agriclip_edge import load
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.bundle.verify import verify_bundle
from agriclip_edge.errors import LabelError, UsageError
from export.bundle import BundleConfig, export_bundle, with_trust
from export.cli import main
from export.parity import GateError
from export.taxonomy import Parents, read_parents
from export.text_encoder import export_text_encoder
from export.variants import choose
from training.answers import Trust, TypedFigures, judge_answers
from training.captions import FACTS, read_facts
from training.checkpoint import write_checkpoint
from training.data import read_collection, read_photos
from training.encoder import MODEL, load_tower, vectors_of
from training.evaluate import embed_photos, evaluate
from training.fit import embedder
from training.image_tower import ImageTower
from training.looks import fit_words
from training.results import judge_run, read_results
from training.text_tower import TextTower

PLAIN = BundleConfig("made", "3", "made by a test", choose(["cpu-float"]), answers=60)
PARENTS = Parents(tasks={"fruit": "fruit"}, labels={"yellow banana": "herb"})


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> BundleConfig:
    """With one of the shipped files of facts."""
    folder = tmp_path_factory.mktemp("facts")
    for name in ("vocabulary", "sources", "library-plantation"):
        shutil.copy(FACTS / f"{name}.toml", folder)
    return replace(PLAIN, library=folder)


@pytest.fixture(scope="module")
def bundle(run: Path, text_tower: TextTower, config: BundleConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("out") / "bundle"
    export_bundle(run, run.parent, target, text_tower, PARENTS, config)
    return target


def test_it_answers_as_the_model_did(bundle: Path, run: Path) -> None:
    classifier, judged = load(bundle), read_results(run)[0]
    collection = read_collection(run.parent / "alive-mini")
    labels = np.concatenate([classifier.bundle.pack(task.name).embeddings for task in collection.tasks])
    photos = read_photos(collection, "val")
    shipped = evaluate(lambda rgb: classifier.embed(list(rgb)), labels, collection, photos)
    for found, expected in zip(shipped.results, judged.table.results):
        assert found.task == expected.task
        assert found.accuracy == pytest.approx(expected.accuracy, abs=0.1)  # one photo may lie on the edge


def fitted(bundle: Path, run: Path) -> Trust:
    """The temperature again, from the answers of the preferred variant as it ships."""
    classifier, collection = (
        load(bundle, runtime=Bundle.open(bundle).manifest.image[0].name),
        read_collection(run.parent / "alive-mini"),
    )
    labels = np.concatenate([classifier.bundle.pack(task.name).embeddings for task in collection.tasks])
    photos = read_photos(collection, "val")
    cosines = (classifier.embed(list(photos.rgb)) @ labels.T).astype(np.float64)
    return judge_answers(cosines, photos.task, photos.label, [t.name for t in collection.tasks], collection.rows)


@pytest.fixture(scope="module")
def of_looks(run: Path, text_tower: TextTower, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, whose embeddings also say how photos look, and whose words know it of its classes."""
    root = tmp_path_factory.mktemp("looks")
    shutil.copytree(run.parent / "alive-mini", root / "alive-mini")
    tower, description = load_tower(run)
    collection = read_collection(root / "alive-mini")
    torch.manual_seed(3)
    wide = ImageTower(tower.dim, "test_efficientnet", 6).eval()
    wide.backbone.load_state_dict(tower.backbone.state_dict())
    with torch.no_grad():
        for own, known in zip(wide.head.parameters(), tower.head.parameters()):
            own[: tower.dim] = known
    labels = torch.from_numpy(vectors_of(description["config"], text_tower, collection))
    photos = read_photos(collection, "train")
    looks = wide.looks_part(torch.from_numpy(embed_photos(embedder(wide, 32), photos)))
    wide.words = fit_words(labels, torch.from_numpy(photos.label), looks, labels[:0], looks[:0])
    description["config"]["looks"] = 6
    write_checkpoint(root / "run" / MODEL, wide.state_dict(), description)
    judge_run(root / "run", root, "alive-mini", "val", text_tower)
    return root / "run"


def test_looks_go_all_the_way_to_the_device(
    of_looks: Path, run: Path, text_tower: TextTower, config: BundleConfig, tmp_path: Path
) -> None:
    export_bundle(of_looks, of_looks.parent, tmp_path / "bundle", text_tower, PARENTS, config)
    classifier, (tower, description) = load(tmp_path / "bundle"), load_tower(of_looks)
    assert classifier.bundle.manifest.embedding_dim == text_tower.dim + 6
    collection = read_collection(of_looks.parent / "alive-mini")
    exact = vectors_of(description["config"], text_tower, collection, tower.words)
    packed = np.concatenate([classifier.bundle.pack(task.name).embeddings for task in collection.tasks])
    assert (exact * packed).sum(axis=1).min() > 0.99  # INT8 of the text encoder's weights
    classifier.use_labels(list(collection.labels[:2]))
    typed = classifier.pack.embeddings
    assert (typed * packed[:2]).sum(axis=1).min() > 0.99
    photo = read_photos(collection, "val").rgb[0]
    narrow, wide = load_tower(run)[0], classifier.embed([photo])[0]
    own = embedder(narrow, 32)([photo])[0]
    assert own @ wide[: text_tower.dim] * np.sqrt(2) > 0.999 and np.linalg.norm(wide) == pytest.approx(1, abs=1e-3)


def test_its_manifest_tells_what_it_was_made_from(bundle: Path, run: Path) -> None:
    judged = read_results(run)[0]
    manifest = Bundle.open(bundle).manifest
    assert manifest.temperature == pytest.approx(fitted(bundle, run).temperature, rel=2e-3)  # packs are float16
    assert manifest.sources["checkpoint"] == judged.model
    assert manifest.image[0].figures["accuracy"] == pytest.approx(judged.table.mean, abs=1e-4)


def test_its_manifest_takes_the_numbers_of_all_packs(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    typed = TypedFigures(unknown=0.123456, sets=9, error=0.1, auroc=0.9, lost=0.1, rejected=0.9)
    trust = Trust((), {}, 0.0412345, 0.71239, np.zeros(0), np.zeros(0, bool), typed)
    found = with_trust(manifest, trust)
    assert (found.temperature, found.threshold, found.unknown) == (0.04123, 0.7124, 0.1235)
    assert with_trust(manifest, replace(trust, typed=None)).unknown is None
    assert manifest.unknown is None  # of two tasks: too few to judge label sets by


def test_its_packs_come_from_its_own_text_encoder(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert [entry.name for entry in opened.manifest.packs] == ["fruit", "cover"]
    pack = opened.pack("fruit")
    assert [(label.text, label.parent) for label in pack.labels] == [
        ("red apple", "fruit"),
        ("green apple", "fruit"),
        ("yellow banana", "herb"),
    ]
    typed = load(bundle).build_pack(pack.labels, facts=False)
    np.testing.assert_allclose(typed.embeddings, pack.embeddings, atol=1e-3)


def test_it_carries_the_facts_library(bundle: Path, config: BundleConfig) -> None:
    opened = Bundle.open(bundle)
    assert opened.facts is not None
    assert [facts.label for facts in opened.facts.classes] == list(read_facts(config.library))
    labels = load(bundle).build_pack(["frosty pod rot", "red apple"]).labels
    assert [label.facts for label in labels] == ["cocoa pod with frosty pod rot", ""]
    assert opened.pack("fruit").labels[0].facts == ""


def test_tasks_of_the_further_collection_have_packs_that_nobody_is_given(
    run: Path, text_tower: TextTower, config: BundleConfig, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(run.parent / "alive-mini", data / "alive-mini")
    tasks = json.loads((data / "alive-mini" / "tasks.json").read_text())
    further = {**tasks["tasks"][0], "task": "deepweeds", "title": "weeds"}
    (data / "alive-plus").mkdir()
    (data / "alive-plus" / "tasks.json").write_text(json.dumps({**tasks, "tasks": [*tasks["tasks"], further]}))
    export_bundle(run, data, tmp_path / "bundle", text_tower, PARENTS, config)
    packs = Bundle.open(tmp_path / "bundle").manifest.packs
    assert [(pack.name, pack.default) for pack in packs] == [
        ("fruit", True), ("cover", True), ("deepweeds", False), ("weeds", False),
    ]  # fmt: skip


def test_the_same_run_gives_the_same_bytes(
    bundle: Path, run: Path, text_tower: TextTower, config: BundleConfig, tmp_path: Path
) -> None:
    export_bundle(
        run,
        run.parent,
        tmp_path / "again.zip",
        text_tower,
        PARENTS,
        config,
        zipped=True,
    )
    assert Bundle.open(tmp_path / "again.zip").sha256 == Bundle.open(bundle).sha256
    assert list(verify_bundle(tmp_path / "again.zip"))


def test_its_text_space_does_not_depend_on_the_photos_trained_on(bundle: Path, text_tower: TextTower) -> None:
    prompts = ["red apple", "blue water"]
    text = Bundle.open(bundle).manifest.text
    assert text is not None
    assert (
        Bundle.open(bundle).read(text.file) == export_text_encoder(text_tower, prompts, {"licence": "Apache-2.0"}).data
    )


def test_the_card_tells_accuracy_sources_and_limits(bundle: Path, run: Path) -> None:
    card = Bundle.open(bundle).read("card.md").decode()
    judged = read_results(run)[0]
    for result in judged.table.results:
        figures = f"{result.photos} | {result.classes} | {100 * result.chance:.1f} | {100 * result.accuracy:.1f}"
        assert f"| {result.task} | {figures} |" in card
    for words in (
        "made by code",
        "CC0-1.0",
        "## Limits",
        "## Calibration",
        "## Field corruptions",
        "| low resolution |",
        f"{Bundle.open(bundle).manifest.temperature:.4f}",
    ):
        assert words in card


def test_a_run_that_was_not_judged_is_refused(run: Path, text_tower: TextTower, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(run / "model.safetensors", tmp_path / "run")
    with pytest.raises(UsageError, match="python -m training evaluate"):
        export_bundle(tmp_path / "run", run.parent, tmp_path / "bundle", text_tower, PARENTS, BundleConfig())
    assert not (tmp_path / "bundle").exists()


def test_the_shipped_parents_are_words_and_a_broken_table_is_refused(tmp_path: Path) -> None:
    parents = read_parents()
    assert parents.of("deepweeds", "lantana") == "weed"
    assert parents.of("deepweeds", "rangeland without a target weed") == ""
    assert parents.of("plant-seedlings", "maize seedling") == "crop seedling"
    assert parents.of("unknown", "thing") == ""
    (tmp_path / "parents.toml").write_text("[tasks]\na = 1\n")
    with pytest.raises(LabelError, match=r"parents\.toml"):
        read_parents(tmp_path / "parents.toml")


def test_wrong_input_ends_in_one_line_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note.txt").write_text("keep me")
    monkeypatch.setattr("sys.argv", ["export", "tiny", "--output", str(tmp_path / "note.txt")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1 and "note.txt" in captured.err


def test_a_variant_beyond_its_budget_is_named_and_nothing_is_written(
    run: Path, text_tower: TextTower, tmp_path: Path
) -> None:
    strict = tmp_path / "budget.toml"
    strict.write_text("[int8]\nmean_cosine = 0.9999999\np1_cosine = 0.97\ndrop_mean = 0.5\ndrop_task = 1.0\n")
    config = BundleConfig("made", "3", "made by a test", choose(["cpu-int8"]), strict, answers=60)
    with pytest.raises(GateError, match=r"variant cpu-int8 does not pass its gate: mean_cosine is .*blame: .* dB"):
        export_bundle(run, run.parent, tmp_path / "bundle", text_tower, PARENTS, config)
    assert not (tmp_path / "bundle").exists()


def test_an_unknown_variant_is_refused() -> None:
    assert choose([])[0].name == "cpu-int8"
    assert [plan.name for plan in choose(["tensorrt", "cpu-float"])] == ["cpu-float", "tensorrt-fp16", "tensorrt-int8"]
    with pytest.raises(UsageError, match="no variant or runtime is called 'gpu'; accepted: onnxruntime, cpu-int8"):
        choose(["gpu"])
