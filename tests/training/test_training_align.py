"""Stage 3: exact maps, one solution whatever the shards, and no map beside another text tower."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from agriclip_edge.errors import UsageError
from training.align.artefact import (
    ALIGNMENT,
    MODEL,
    Ensemble,
    load_aligned,
    load_ensemble,
    mix,
    read_alignment,
)
from training.align.config import AlignConfig
from training.align.encoders import (
    Backbone,
    TextAligned,
    conse_encoder,
    dino_backbone,
    text_sha256,
    trained_encoder,
)
from training.align.features import FeatureStore
from training.align.fit import best_share, split
from training.align.ridge import RidgeSums, explained
from training.align.run import align, read_parts, unseen
from training.checkpoint import read_checkpoint, write_checkpoint
from training.data import hold_out, read_collection, read_joined, read_photos
from training.encoder import load_tower
from training.fit import embed_all
from training.image_tower import ImageTower
from training.progress import StatusLine
from training.synthetic import rename_tasks, write_collection, write_text_model
from training.text_tower import TextTower

QUIET = StatusLine(Console(quiet=True))
SIZE, DIM = 32, 16


@pytest.fixture(scope="module")
def texts(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TextTower, TextTower]:
    """A text tower and another of other weights."""
    vocabulary = next(tiny_bundle.rglob("vocab.txt")).read_bytes()
    folders = [tmp_path_factory.mktemp("text") for _ in range(2)]
    for seed, folder in enumerate(folders):
        write_text_model(folder, vocabulary, DIM, seed)
    return TextTower(folders[0]), TextTower(folders[1])


def write_run(folder: Path, seed: int) -> Path:
    """What stage 1 leaves, with random weights."""
    torch.manual_seed(seed)
    config = {"architecture": "test_efficientnet", "input_size": SIZE, "templates": ["{}", "a photo of {}"]}
    tensors = ImageTower(DIM, "test_efficientnet").state_dict()
    write_checkpoint(folder / MODEL, tensors, {"config": config, "photos": "", "collection": "alive-mini"})
    return folder


@pytest.fixture(scope="module")
def pair(
    texts: tuple[TextTower, TextTower], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Backbone, TextAligned, tuple[str, ...]]:
    """A backbone, an encoder, its templates."""
    encoder, templates, _ = trained_encoder(write_run(tmp_path_factory.mktemp("encoder"), 1), texts[0])
    return dino_backbone(write_run(tmp_path_factory.mktemp("dino"), 2), SIZE), encoder, templates


@pytest.fixture(scope="module")
def run(
    pair: tuple[Backbone, TextAligned, tuple[str, ...]],
    texts: tuple[TextTower, TextTower],
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("aligned")
    align(data, folder, *pair, ["alive-mini"], AlignConfig.tiny(), texts[0], QUIET)
    return folder


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_an_exact_affine_map_is_recovered() -> None:
    features, weight, bias = random(200, 12) * 3 + 50, random(4, 12, seed=1), random(4, seed=2)
    found = next(RidgeSums(12, 4).add(features, features @ weight.T + bias).solve([0.0]))
    assert torch.allclose(found.weight, weight, atol=1e-9) and torch.allclose(found.bias, bias, atol=1e-7)
    assert torch.allclose(explained(found(features), features @ weight.T + bias), torch.ones(4, dtype=torch.float64))


def test_a_penalised_map_is_that_of_the_normal_equations() -> None:
    features, targets, weights = random(60, 5), random(60, 3, seed=1), random(60, seed=2).abs() + 0.1
    share = (weights / weights.sum())[:, None]
    x, y = features - (share * features).sum(0), targets - (share * targets).sum(0)
    gram = x.T @ (share * x)
    penalty = 0.3 * gram.diagonal().mean() * torch.eye(5)
    expected = torch.linalg.solve(gram + penalty, x.T @ (share * y)).T
    found = next(RidgeSums(5, 3).add(features, targets, weights).solve([0.3]))
    assert torch.allclose(found.weight, expected, atol=1e-12)
    assert torch.allclose(found((share * features).sum(0)[None]), (share * targets).sum(0)[None])


def test_shards_in_any_order_give_one_solution() -> None:
    features, targets = random(90, 6), random(90, 2, seed=1)
    whole = RidgeSums(6, 2).add(features, targets)
    shards = [RidgeSums(6, 2).add(features[i::3], targets[i::3]) for i in (2, 0, 1)]
    kept = RidgeSums.of({name: value.clone() for name, value in shards[0].tensors().items()})
    merged = kept.merge(shards[1]).merge(shards[2])
    for one, other in zip(whole.solve([1e-3, 1.0]), merged.solve([1e-3, 1.0])):
        assert torch.allclose(one.weight, other.weight, atol=1e-12) and torch.allclose(one.bias, other.bias)


def test_features_that_never_vary_are_no_obstacle() -> None:
    features = torch.cat([random(50, 3), torch.full((50, 1), 7.0, dtype=torch.float64)], dim=1)
    found = next(RidgeSums(4, 1).add(features, features[:, :1]).solve([0.0]))
    assert torch.allclose(found(features), features[:, :1], atol=1e-9)


def test_explained_is_by_dimension() -> None:
    targets = random(100, 2) + torch.tensor([100.0, 0.0])
    predicted = torch.stack([torch.full((100,), 100.0).double(), targets[:, 1]], dim=1)
    found = explained(predicted, targets)
    # A scalar variance over all dimensions would credit the first with the distance of the means.
    assert found[0] < 0.1 and found[1] == pytest.approx(1)


def test_the_run_is_one_image_encoder_that_others_can_read(
    run: Path, pair: tuple[Backbone, TextAligned, tuple[str, ...]], texts: tuple[TextTower, TextTower], data: Path
) -> None:
    backbone, encoder, templates = pair
    tower, description = load_aligned(run, texts[0])
    plain, _ = load_tower(run)  # what `export` and `evaluate` call
    photos = read_photos(read_collection(data / "alive-mini"), "val").rgb
    vectors = embed_all(tower, photos, SIZE)
    assert torch.equal(vectors, embed_all(plain, photos, SIZE))
    alignment = read_alignment(run / ALIGNMENT, texts[0])
    assert torch.allclose(vectors, alignment.vectors(embed_all(backbone.features, photos, SIZE)), atol=1e-5)
    targets = encoder.project(embed_all(encoder.backbone.features, photos, SIZE))
    mean_cosine = float((vectors * targets).sum(dim=1).mean())
    middle = torch.nn.functional.normalize(targets.mean(dim=0), dim=0)
    assert mean_cosine > float((targets @ middle).mean())  # nearer to each photo's own target than one vector for all
    assert tuple(description["config"]["templates"]) == templates
    report = json.loads((run / "report.json").read_text())
    best = max(report["cosine_by_strength"], key=lambda entry: entry[1])
    assert best == [report["strength"], report["held_out_cosine"]] and len(report["held_out_explained"]) == DIM
    assert report["target"]["text"] == text_sha256(texts[0]) and report["source"]["weights"] == backbone.space.weights


def test_another_text_tower_is_an_error(run: Path, texts: tuple[TextTower, TextTower]) -> None:
    for load in (load_aligned, load_ensemble):
        load(run, texts[0])
        with pytest.raises(UsageError, match="is aligned to the text tower"):
            load(run, texts[1])
    with pytest.raises(UsageError, match="is aligned to the text tower"):
        read_alignment(run / ALIGNMENT, texts[1])


def test_another_backbone_is_an_error(
    run: Path, pair: tuple[Backbone, TextAligned, tuple[str, ...]], texts: tuple[TextTower, TextTower], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="takes features of"):
        read_alignment(run / ALIGNMENT, texts[0]).tower(pair[1].backbone)
    tensors, description = read_checkpoint(run / MODEL)
    tensors["backbone.conv_stem.weight"] += 1
    write_checkpoint(tmp_path / MODEL, tensors, description)
    with pytest.raises(UsageError, match="another backbone than it names"):
        load_aligned(tmp_path, texts[0])
    with pytest.raises(UsageError, match="names no text tower"):
        load_aligned(write_run(tmp_path / "stage-1", 0), texts[0])


def test_the_ensemble_is_the_weighted_sum_of_unit_vectors(run: Path, texts: tuple[TextTower, TextTower]) -> None:
    ensemble, description = load_ensemble(run, texts[0])
    images = torch.randint(0, 255, (3, SIZE, SIZE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        a, b = ensemble.aligned(images), ensemble.contrastive(images)
        expected = description["share"] * a + (1 - description["share"]) * b
        assert torch.allclose(ensemble(images), expected / expected.norm(dim=1, keepdim=True), atol=1e-6)
        assert torch.allclose(Ensemble(ensemble.aligned, ensemble.contrastive, 1.0)(images), a, atol=1e-6)
    assert torch.allclose(mix(a, b, 0.0), b, atol=1e-6)


def test_the_middle_of_equally_good_shares_is_taken() -> None:
    share, tried = best_share(lambda value: 1.0 if 0.2 < value < 0.8 else 0.5, 11)
    assert share == pytest.approx(0.5) and len(tried) == 11 and tried[0] == (0.0, 0.5)


def test_held_out_photos_are_those_of_stage_1(texts: tuple[TextTower, TextTower], tmp_path: Path) -> None:
    names, config = ["alive-mini", "alive-plus"], AlignConfig.tiny()
    for seed, name in enumerate(names):
        write_collection(tmp_path / name, seed)
    rename_tasks(tmp_path / "alive-plus")
    parts = read_parts(tmp_path, names, ("{}",), texts[0], QUIET)
    sides = split(parts, config)
    assert all(sorted([*kept, *out]) == list(range(60)) and len(out) == 15 for kept, out in sides)
    assert not np.array_equal(sides[0][1], split(parts, replace(config, seed=1))[0][1])
    # As the command of stage 1 holds them out, of one collection and of two.
    for some in (1, 2):
        photos = hold_out(read_joined(tmp_path, names[:some], "train")[1], config.held_out, config.seed)[0]
        own = split(parts[:some], config)
        pictures = [part.photos.rgb[index] for part, (kept, _) in zip(parts, own) for index in kept]
        assert all(np.array_equal(one, other) for one, other in zip(photos.rgb, pictures, strict=True))
        assert unseen(parts[:some], config, photos.sha256) and not unseen(parts[2 - some :][:1], config, photos.sha256)


def test_too_few_photos_to_hold_out_are_refused(
    pair: tuple[Backbone, TextAligned, tuple[str, ...]], texts: tuple[TextTower, TextTower], data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no photo is held out"):
        align(data, tmp_path, *pair, ["alive-mini"], AlignConfig(held_out=0.01), texts[0], QUIET)


def test_features_are_computed_once(
    pair: tuple[Backbone, TextAligned, tuple[str, ...]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.align.features._SHARD", 16)
    photos = read_photos(read_collection(data / "alive-mini"), "val")
    whole = FeatureStore(tmp_path, QUIET).features(pair[0], photos)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    assert torch.allclose(whole, embed_all(pair[0].features, photos.rgb, SIZE), atol=1e-6)
    times = [file.stat().st_mtime_ns for file in files]
    files[1].unlink()  # a cut after the first shard
    assert torch.equal(FeatureStore(tmp_path, QUIET).features(pair[0], photos), whole)
    assert files[0].stat().st_mtime_ns == times[0] and files[1].exists()
    FeatureStore(tmp_path, QUIET).features(pair[1].backbone, photos)  # other weights are other files
    assert len(list(tmp_path.iterdir())) == 4


def test_conse_gives_a_sure_photo_its_class_text(
    pair: tuple[Backbone, TextAligned, tuple[str, ...]], texts: tuple[TextTower, TextTower]
) -> None:
    words = ["red apple", "blue water", "brown soil"]
    weight = 100 * torch.eye(3, 256)
    encoder = conse_encoder(pair[0], weight, torch.zeros(3), words, texts[0])
    features = torch.eye(3, 256)
    features[2, :2] = 1.0
    features[2, 2] = 0.0  # halfway between the first two
    found, vectors = encoder.project(features), torch.from_numpy(texts[0].embed(words))
    assert torch.allclose(found[:2], vectors[:2], atol=1e-5)
    assert torch.allclose(found[2], mix(vectors[:1], vectors[1:2], 0.5)[0], atol=1e-5)
