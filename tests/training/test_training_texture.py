"""Of which texture a photo is: statistics of an encoder's maps, as a further part of its embedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from agriclip_edge.errors import UsageError
from agriclip_edge.text.encoder import TextEncoder
from training.checkpoint import write_checkpoint
from training.data import read_collection, read_photos
from training.distil.command import _begin
from training.distil.config import DistilConfig
from training.distil.run import add_texture
from training.distil.teachers import without_texture
from training.encoder import MODEL, load_tower
from training.evaluation.subjects import run_subject
from training.image_tower import TEXTURE_SHARE, ImageTower
from training.texture import MAPS, Texture, statistics
from training.words import Words

DIM, LOOKS, WIDTH = 16, 5, 7


def words(dim: int = DIM) -> Words:
    torch.manual_seed(3)
    unit = torch.nn.functional.normalize
    return Words(unit(torch.randn(4, dim)), unit(torch.randn(4, LOOKS)), torch.zeros(0, dim), torch.zeros(0, LOOKS))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A student of chance that says how photos look."""
    torch.manual_seed(4)
    tower = ImageTower(DIM, "test_efficientnet", LOOKS)
    tower.words = words()
    config = {"architecture": "test_efficientnet", "input_size": 32, "looks": LOOKS, "templates": ["{}"]}
    write_checkpoint(tmp_path / "run" / MODEL, tower.state_dict(), {"config": config})
    return tmp_path / "run"


def test_statistics_are_means_and_spreads_of_channels() -> None:
    maps = [torch.randn(3, 4, 5, 5) * 3 + 1, torch.randn(3, 2, 2, 2)]
    found = statistics(maps).numpy()
    flat = [part.flatten(2).numpy() for part in maps]
    assert found.shape == (3, 12)
    assert np.allclose(found[:, :6], np.concatenate([part.mean(axis=2) for part in flat], axis=1), atol=1e-5)
    assert np.allclose(found[:, 6:], np.concatenate([part.std(axis=2) for part in flat], axis=1), atol=1e-3)


def test_texture_is_where_statistics_differ_most_whatever_their_scale() -> None:
    generator = torch.Generator().manual_seed(5)
    shared, noise = torch.randn(200, 1, generator=generator), torch.randn(200, 6, generator=generator)
    found = torch.cat([shared.repeat(1, 4) + 0.1 * noise[:, :4], noise[:, 4:]], dim=1)
    told = [
        Texture.of(part, 1).project((part - part.mean(dim=0)) / part.std(dim=0, correction=0))
        for part in (found, found * torch.tensor([1e-2, 1, 10, 1e3, 1, 1]) + 40)
    ]
    assert torch.allclose(told[0].abs(), told[1].abs(), atol=1e-2)
    assert np.corrcoef(told[0].detach().numpy()[:, 0], shared[:, 0].numpy())[0, 1] ** 2 > 0.98
    with pytest.raises(UsageError, match="accepted: 1 to 6"):
        Texture.of(found, 7)


def test_a_run_gets_a_texture_and_says_in_words_what_it_said(run: Path, data: Path, text: TextEncoder) -> None:
    photos = read_photos(read_collection(data / "alive-mini"), "train").rgb
    before = run_subject(run, text, "space")
    asked, told = before.embed_texts(["a cow", "soil"]), before.embed(photos)
    add_texture(run, photos, WIDTH)
    after = run_subject(run, text, "space")
    assert after.model != before.model and load_tower(run)[0].width == DIM + LOOKS + WIDTH
    wide, vectors = after.embed_texts(["a cow", "soil"]), after.embed(photos)
    assert np.allclose(wide, np.pad(asked, ((0, 0), (0, WIDTH))), atol=1e-6)
    assert np.allclose(vectors[:, : DIM + LOOKS], np.sqrt(1 - TEXTURE_SHARE) * told, atol=1e-5)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors @ wide.T, np.sqrt(1 - TEXTURE_SHARE) * told @ asked.T, atol=1e-5)
    own = vectors[:, DIM + LOOKS :] / np.sqrt(TEXTURE_SHARE)
    assert (own @ own.T)[~np.eye(len(own), dtype=bool)].mean() < 0.5  # photos differ in it


def test_a_texture_is_fitted_anew_and_taken_from_what_is_trained_further(run: Path, data: Path) -> None:
    photos = read_photos(read_collection(data / "alive-mini"), "train").rgb
    add_texture(run, photos[::2], WIDTH)
    add_texture(run, photos, WIDTH + 1)
    assert load_tower(run)[0].width == DIM + LOOKS + WIDTH + 1
    tower, _, _ = _begin(DistilConfig.tiny(), None, run, DIM)
    assert tower.texture is None and tower.width == DIM + LOOKS and tower.words is not None and tower.words.blank == 0


def test_texture_needs_enough_maps(run: Path, data: Path) -> None:
    photos = read_photos(read_collection(data / "alive-mini"), "train").rgb
    least = sum(part.shape[1] for part in load_tower(run)[0].maps(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))[1])
    whole = (run / MODEL).read_bytes()
    with pytest.raises(UsageError, match=f"accepted: 1 to {2 * least}"):
        add_texture(run, photos, 2 * least + 1)
    assert MAPS == 2 and (run / MODEL).read_bytes() == whole


def test_a_run_without_looks_gets_a_texture_that_it_does_not_teach(run: Path, data: Path, text: TextEncoder) -> None:
    photos = read_photos(read_collection(data / "alive-mini"), "train").rgb
    plain = ImageTower(DIM, "test_efficientnet")
    config = {"architecture": "test_efficientnet", "input_size": 32, "templates": ["{}"]}
    write_checkpoint(run / MODEL, plain.state_dict(), {"config": config})
    before = run_subject(run, text, "space")
    told = before.embed(photos)
    add_texture(run, photos, WIDTH)
    after = run_subject(run, text, "space")
    assert np.allclose(after.embed(photos)[:, :DIM], np.sqrt(1 - TEXTURE_SHARE) * told, atol=1e-5)
    assert np.array_equal(after.embed_texts(["a cow"]), np.pad(text.embed(["a cow"]), ((0, 0), (0, WIDTH))))
    further = load_tower(run, texture=False)[0]
    assert further.texture is None and further.width == DIM
    teacher = without_texture(run, run_subject(run, text, "space"))
    assert np.array_equal(teacher.embed(photos), told)
    assert teacher.model == before.model != after.model and np.array_equal(
        teacher.embed_texts(["a cow"]), before.embed_texts(["a cow"])
    )
