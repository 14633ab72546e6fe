from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from contrastive_shards import captions, write_shards

from agriclip_edge.errors import UsageError
from training.contrastive.config import ContrastiveConfig
from training.contrastive.distributed import World
from training.contrastive.fit import Fit
from training.contrastive.model import Clip, build, load, save
from training.contrastive.rates import depth, parameter_groups, tower_of
from training.contrastive.stream import Batch, PairStream
from training.contrastive.wise import interpolate
from training.synthetic import write_text_model

ALONE = World(0, 1, torch.device("cpu"))
TINY = ContrastiveConfig.tiny()
CURVES = Path(__file__).with_name("contrastive_curves.json")
RECIPES = {
    "softmax": {},
    "sigmoid": {"loss": "sigmoid", "rate": 1e-3},
    "adapters": {"image": "lora", "text": "frozen", "rate": 3e-2, "lora_rank": 4, "lora_alpha": 4.0, "average": 0.0},
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("fit") / "shards")


def start(config: ContrastiveConfig) -> Clip:
    torch.manual_seed(config.seed)
    return build(config.model, bias=config.loss == "sigmoid")


def batches(shards: Path, config: ContrastiveConfig, count: int) -> list[Batch]:
    stream = PairStream([shards], config, captions)
    return [batch for batch, _ in zip(stream.batches(32, slice(0, config.batch)), range(count))]


def course(shards: Path, config: ContrastiveConfig, steps: int = 20) -> tuple[Fit, list[float]]:
    fit = Fit(config, start(config), 20, ALONE)
    losses = []
    for batch in batches(shards, config, steps):
        if fit.step == 0 and config.loss == "sigmoid":
            fit.fit_bias(batch)
        losses.append(fit.train_step(batch)["loss"])
        if fit.step == 10:
            fit.model()  # judging in between changes nothing
    return fit, losses


@pytest.mark.parametrize("name", RECIPES)
def test_twenty_steps_take_the_stored_course(shards: Path, name: str) -> None:
    config = replace(TINY, **RECIPES[name])
    fit, losses = course(shards, config)
    assert losses == pytest.approx(json.loads(CURVES.read_text())[name], rel=0.02)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    before, after = fit.start.net.state_dict(), fit.model(share=1.0).net.state_dict()
    moved = {tower_of(key) for key in before if not torch.equal(before[key], after[key])}
    assert moved == ({"image", "scale"} if name == "adapters" else {"image", "text", "scale"})
    if name == "adapters":
        change = after["visual.transformer.resblocks.0.attn.in_proj_weight"]
        change = change - before["visual.transformer.resblocks.0.attn.in_proj_weight"]
        assert torch.linalg.matrix_rank(change, rtol=1e-4) == 4


@pytest.mark.parametrize("name", RECIPES)
def test_several_passes_take_the_gradient_of_one(shards: Path, name: str) -> None:
    config = replace(TINY, **RECIPES[name])
    found: list[dict[str, Any]] = []
    for micro in (8, 3):
        fit = Fit(replace(config, micro=micro), start(config), 20, ALONE)
        measured = [fit.train_step(batch) for batch in batches(shards, config, 2)]
        found.append({"measured": measured[-1], **dict(fit.model(share=1.0).net.state_dict())})
    assert found[0].pop("measured") == pytest.approx(found[1].pop("measured"), rel=1e-4, abs=1e-6)
    for key, tensor in found[0].items():
        torch.testing.assert_close(tensor, found[1][key], rtol=1e-3, atol=2e-4, msg=key)


def test_wise_goes_from_the_start_to_the_tuned_weights(shards: Path) -> None:
    fit, _ = course(shards, replace(TINY, average=0.0), 2)
    first, tuned = fit.start.net.state_dict(), fit.clip.net.state_dict()
    assert all(torch.equal(tensor, first[key]) for key, tensor in fit.model(share=0.0).net.state_dict().items())
    assert all(torch.equal(tensor, tuned[key]) for key, tensor in fit.model(share=1.0).net.state_dict().items())
    middle = fit.model(share=0.5).net.state_dict()
    torch.testing.assert_close(middle["visual.proj"], (first["visual.proj"] + tuned["visual.proj"]) / 2)
    with pytest.raises(UsageError, match="not of one model"):
        interpolate(first, {key: tensor for key, tensor in tuned.items() if key != "visual.proj"}, 0.5)


def test_the_average_follows_the_weights(shards: Path) -> None:
    fit, _ = course(shards, replace(TINY, average=0.8), 4)
    first, tuned = fit.start.net.state_dict()["visual.proj"], fit.clip.net.state_dict()["visual.proj"]
    average = fit.model(share=1.0).net.state_dict()["visual.proj"]
    assert 0.1 * (tuned - first).norm() < (average - first).norm() < (tuned - first).norm()


def test_deep_layers_learn_slower_and_the_start_is_kept(shards: Path) -> None:
    net = start(TINY).net
    rates = {id(p): g["lr"] for g in parameter_groups(net, 1.0, 0.5, 0.1) for p in g["params"]}
    found = {name: rates[id(p)] for name, p in net.named_parameters()}
    assert found["visual.conv1.weight"] == found["token_embedding.weight"] == 0.5**3
    assert found["visual.transformer.resblocks.0.mlp.c_fc.weight"] == 0.5**2
    assert found["transformer.resblocks.1.ln_1.bias"] == 0.5
    assert found["visual.proj"] == found["text_projection"] == found["logit_scale"] == 1
    decays = {id(p): g["weight_decay"] for g in parameter_groups(net, 1.0, 0.5, 0.1) for p in g["params"]}
    assert {decays[id(p)] for p in net.parameters() if p.ndim < 2} == {0.0}

    def kept(**other: float) -> float:
        fit, _ = course(shards, replace(TINY, average=0.0, anchor=0.0, **other), 6)
        photos = batches(shards, TINY, 1)[0].images
        with torch.inference_mode():
            return float((fit.start.images(photos) * fit.model(share=1.0).images(photos)).sum(dim=1).mean())

    harsh = kept(layer_decay=1.0, warm_up=0.0)
    assert kept(layer_decay=0.3, warm_up=0.5) > harsh
    assert kept(layer_decay=1.0, warm_up=0.0, rate=3e-5) > harsh


def test_an_anchor_keeps_the_start(shards: Path) -> None:
    free = course(shards, replace(TINY, anchor=0.0), 8)[0]
    held = course(shards, replace(TINY, anchor=10.0), 8)[0]
    photos = batches(shards, TINY, 1)[0].images
    with torch.inference_mode():
        cosines = [
            float((fit.start.images(photos) * fit.model(share=1.0).images(photos)).sum(dim=1).mean())
            for fit in (free, held)
        ]
    assert cosines[1] > cosines[0]


def test_depths_of_the_common_architectures() -> None:
    assert [depth(name) for name in ("visual.trunk.blocks.3.norm1.weight", "visual.trunk.patch_embed.proj.weight")] == [
        4,
        0,
    ]
    assert depth("text.transformer.encoder.layer.5.output.dense.weight") == 6
    assert depth("text.transformer.embeddings.word_embeddings.weight") == 0
    assert depth("visual.trunk.conv_stem.weight") == 0 and depth("visual.trunk.conv_head.weight") is None
    assert depth("visual.layer3.1.bn1.weight") == 4 and depth("visual.bn1.weight") == 0


def test_timm_and_transformers_towers(shards: Path, tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"a photo of red green yellow brown blue apple".split()]
    write_text_model(tmp_path / "bert", "\n".join(words).encode())
    from transformers import BertTokenizerFast

    BertTokenizerFast(str(tmp_path / "bert" / "vocab.txt")).save_pretrained(tmp_path / "bert")
    path = tmp_path / "towers.json"
    image = {"timm_model_name": "test_efficientnet", "timm_proj": "linear", "timm_pool": "avg", "image_size": 32}
    names = {"hf_model_name": "bert", "hf_tokenizer_name": "bert"}
    text = {**names, "hf_proj_type": "linear", "hf_pooler_type": "mean_pooler", "context_length": 16}
    document = {"embed_dim": 16, "vision_cfg": image, "text_cfg": text}
    path.write_text(json.dumps(document))
    for modes in ({"text": "frozen"}, {"image": "frozen", "text": "lora"}):
        config = replace(TINY, model=str(path), **modes)
        fit, losses = course(shards, config, 3)
        assert all(loss > 0 for loss in losses)
        model = fit.model()
        save(tmp_path / "run" / "model.safetensors", model, model.net.state_dict(), {})
        again = load(tmp_path / "run")
        photos = batches(shards, config, 1)[0].images
        with torch.inference_mode():
            assert torch.equal(again.images(photos), model.images(photos))
        assert (again.embed(["a red apple"]) == model.embed(["a red apple"])).all()
        assert again.space("text") == model.space("text")
        assert (model.space("text") == fit.start.space("text")) is (modes.get("text") == "frozen")
        kept = fit.start.net.visual.state_dict()["trunk.bn1.running_mean"]
        assert torch.equal(kept, model.net.visual.state_dict()["trunk.bn1.running_mean"]) is ("image" in modes)


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-17", "", "knows no model 'ViT-B-17'"),
        ("ViT-B-16", "no-such-tag", "has no pretrained weights 'no-such-tag'"),
        ("nowhere.json", "", "cannot be read"),
    ],
)
def test_what_cannot_be_built_is_said(model: str, pretrained: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(model, pretrained)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    torch.save({"visual.proj": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(UsageError):
        build(TINY.model, str(tmp_path / "other.pt"))
    clip = start(TINY)
    torch.save(clip.net.state_dict(), tmp_path / "own.pt")
    torch.manual_seed(5)
    assert build(TINY.model, str(tmp_path / "own.pt")).space("image") == clip.space("image")


if __name__ == "__main__":  # writes the stored courses anew
    import tempfile

    torch.set_num_threads(1)
    root = write_shards(Path(tempfile.mkdtemp()) / "shards")
    found = {name: [round(x, 5) for x in course(root, replace(TINY, **own))[1]] for name, own in RECIPES.items()}
    CURVES.write_text(json.dumps(found, indent=1) + "\n")
