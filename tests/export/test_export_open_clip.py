"""From any CLIP to a bundle, on models of random weights: what the device says is what open_clip says."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from agriclip_edge import load
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.bundle.verify import verify_bundle
from agriclip_edge.errors import LabelError, UsageError
from agriclip_edge.imaging.preprocess import preprocess
from export.cli import main
from export.image_encoder import made_photos
from export.open_clip_bundle import ClipConfig, export_open_clip, plan_packs
from export.open_clip_graphs import export_image_tower
from export.open_clip_model import open_model, standard_merges
from export.parity import GateError
from training.captions import FACTS, read_facts

LABELS = "label,parent,synonyms\nmango leaf,leaf,\nmaize leaf with rust,leaf,corn leaf with rust\ncow,,\n"
PROMPTS = ["a photo of a mango leaf.", "Maïs with RUST!", "a cow"]
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
VIT = {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8}
# MobileOne has branches that are folded, and text without a causal mask sees its padding, as in MobileCLIP.
MOBILE = {"timm_model_name": "mobileone_s0", "timm_model_pretrained": False, "timm_pool": "avg", "timm_proj": "linear"}
MODELS: dict[str, dict[str, Any]] = {
    "tiny-vit": {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT},
    "tiny-quick": {"embed_dim": 24, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "tiny-mobile": {
        "embed_dim": 24,
        "vision_cfg": {**MOBILE, "image_size": 64},
        "text_cfg": {**TEXT, "no_causal_mask": True},
        "custom_text": True,
    },
}


class Made:
    """A model that open_clip made, its description and its weights."""

    def __init__(self, folder: Path, name: str) -> None:
        self.config = folder / f"{name}.json"
        self.config.write_text(json.dumps(MODELS[name]))
        open_clip.add_model_config(self.config)
        torch.manual_seed(0)
        logging.disable(logging.WARNING)
        self.model = open_clip.create_model(name).eval()
        logging.disable(logging.NOTSET)
        with torch.no_grad():
            self.model.logit_scale.fill_(4.0)  # not what every new model has
            for module in self.model.modules():  # statistics that a fold must get right
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.running_mean.normal_(0, 0.1)
                    module.running_var.uniform_(0.5, 1.5)
        self.weights = folder / f"{name}.pt"
        torch.save({"epoch": 1, "state_dict": self.model.state_dict()}, self.weights)
        self.safe = folder / f"{name}.safetensors"
        save_file({key: value.contiguous().clone() for key, value in self.model.state_dict().items()}, self.safe)

    @torch.inference_mode()
    def photos(self, squares: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Unit vectors of photos by open_clip and torchvision's normalisation."""
        mean = torch.tensor(self.model.visual.preprocess_cfg["mean"]).view(3, 1, 1)
        std = torch.tensor(self.model.visual.preprocess_cfg["std"]).view(3, 1, 1)
        pixels = torch.from_numpy(squares).permute(0, 3, 1, 2) / 255
        return self.model.encode_image((pixels - mean) / std, normalize=True).numpy()

    @torch.inference_mode()
    def texts(self, prompts: list[str]) -> np.ndarray[Any, Any]:
        """Unit vectors of prompts by open_clip and its tokenizer."""
        return self.model.encode_text(open_clip.get_tokenizer("ViT-B-32")(prompts), normalize=True).numpy()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    folder, there = tmp_path_factory.mktemp("clip"), {}

    def make(name: str) -> Made:
        if name not in there:
            there[name] = Made(folder, name)
        return there[name]

    return make


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "My Field.csv"
    path.write_text(LABELS)
    return path


@pytest.mark.parametrize(("name", "kind"), [("tiny-vit", "weights"), ("tiny-mobile", "safe")])
def test_a_device_says_what_open_clip_says(
    name: str, kind: str, made: Callable[[str], Made], labels: Path, tmp_path: Path
) -> None:
    model = made(name)
    config = ClipConfig(label_files=(labels,), licence="MIT")
    export_open_clip(str(model.config), str(getattr(model, kind)), tmp_path / "bundle", config)
    assert list(verify_bundle(tmp_path / "bundle"))
    classifier = load(tmp_path / "bundle")
    size = classifier.bundle.manifest.preprocessing.size
    squares = made_photos(6, size)
    found = classifier.embed(list(squares))
    np.testing.assert_allclose((found * model.photos(squares)).sum(axis=1), 1, atol=1e-4)
    typed = classifier.build_pack(PROMPTS, templates=["{}"]).embeddings
    texts = model.texts(PROMPTS)
    assert (typed * texts).sum(axis=1).min() >= 0.998
    np.testing.assert_allclose(found @ typed.T, model.photos(squares) @ texts.T, atol=0.03)
    manifest = classifier.bundle.manifest
    assert manifest.temperature == pytest.approx(np.exp(-4.0), abs=1e-6)
    assert manifest.text is not None and manifest.text.tokenizer == "clip-bpe"
    assert manifest.text.inputs[0].shape == [None, None if name == "tiny-vit" else 77]
    assert [entry.name for entry in manifest.packs] == ["my-field"]
    answer = classifier.classify(squares[0])
    assert {one.label for one in answer.predictions} == {"mango leaf", "maize leaf with rust", "cow"}


def test_photos_of_any_shape_walk_as_open_clip_cuts_them(made: Callable[[str], Made]) -> None:
    model = made("tiny-vit")
    photo = np.asarray(Image.fromarray(made_photos(1, 96)[0]).resize((96, 80)))
    theirs = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**{**model.model.visual.preprocess_cfg, "size": 32}), is_train=False
    )
    with torch.inference_mode():
        expected = model.model.encode_image(theirs(Image.fromarray(photo))[None], normalize=True).numpy()
    assert (model.photos(preprocess(photo, 32)[None]) * expected).sum() > 0.999


def test_facts_are_embedded_by_the_models_own_text_tower(
    made: Callable[[str], Made], labels: Path, tmp_path: Path
) -> None:
    model = made("tiny-vit")
    for name in ("vocabulary", "sources", "library-plantation"):
        shutil.copy(FACTS / f"{name}.toml", tmp_path)
    config, output = ClipConfig(label_files=(labels,), library=tmp_path), tmp_path / "bundle"
    said: list[str] = []
    export_open_clip(str(model.config), str(model.weights), output, config, say=said.append)
    opened = Bundle.open(output)
    classes = list(read_facts(tmp_path).values())
    assert opened.facts is not None and opened.facts.classes == tuple(classes)
    assert any(f"on {len(classes):,} classes" in line for line in said)
    assert f"facts on {len(classes):,} classes" in opened.read("card.md").decode()
    expected = model.texts(list(classes[0].prompts)).mean(axis=0)
    assert opened.facts.symptoms[0] @ expected / np.linalg.norm(expected) > 0.999
    classifier = load(output)
    known, plain = (classifier.build_pack(["frosty pod rot"], facts=facts) for facts in (True, False))
    assert known.labels[0].facts == "cocoa pod with frosty pod rot" and plain.labels[0].facts == ""
    assert not np.allclose(known.embeddings, plain.embeddings, atol=1e-3)
    assert opened.pack(opened.manifest.packs[0].name).labels[0].facts == ""


def test_both_towers_as_onnx_files(
    made: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = made("tiny-vit")
    for tower, door in (("image", "images"), ("text", "input_ids")):
        output = tmp_path / f"{tower}.onnx"
        command = ["onnx", "--open-clip", str(model.config), "--pretrained", str(model.weights), "--tower", tower]
        monkeypatch.setattr("sys.argv", ["export", *command, "--output", str(output)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, capsys.readouterr().err
        graph = onnx.load(output)
        assert [one.name for one in graph.graph.input] == [door]
        assert {one.key for one in graph.metadata_props} >= {"checkpoint", "model"}
    assert "values differ from PyTorch by at most" in capsys.readouterr().out


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, square in enumerate(made_photos(72, 64)):
        (folder / f"label-{number % 2}").mkdir(exist_ok=True)
        Image.fromarray(square).save(folder / f"label-{number % 2}" / f"{number:03}.png")
    return folder


def test_what_does_not_pass_its_gate_is_left_out_and_said(
    made: Callable[[str], Made], labels: Path, photos: Path, tmp_path: Path
) -> None:
    model, said = made("tiny-mobile"), list[str]()
    config = ClipConfig(label_files=(labels,), photos=photos)
    strict = tmp_path / "budget.toml"
    budgets = "\n".join(
        f"[{kind}]\nmean_cosine = {least}\np1_cosine = -1\ndrop_mean = 100\ndrop_task = 100"
        for kind, least in (("int8", 2), ("fp16-weights", 0.9999), ("bf16", 2))
    )
    strict.write_text(budgets)
    export_open_clip(
        str(model.config),
        str(model.weights),
        tmp_path / "bundle",
        ClipConfig(**{**vars(config), "budget": strict}),
        say=said.append,
    )
    bundle = Bundle.open(tmp_path / "bundle")
    assert [variant.name for variant in bundle.manifest.image] == ["cpu-float"]
    assert any("cpu-int8 was left out" in line and "mean_cosine" in line for line in said)
    assert "cpu-int8 was left out" in bundle.read("card.md").decode()
    with pytest.raises(GateError, match="mean_cosine"):
        asked = ClipConfig(label_files=(labels,), photos=photos, variants=("cpu-int8",), budget=strict)
        export_open_clip(str(model.config), str(model.weights), tmp_path / "no", asked)
    assert not (tmp_path / "no").exists()


def test_an_int8_variant_enters_with_its_figures(
    made: Callable[[str], Made], labels: Path, photos: Path, tmp_path: Path
) -> None:
    model = made("tiny-mobile")
    wide = tmp_path / "budget.toml"
    wide.write_text("[int8]\nmean_cosine = 0.5\np1_cosine = 0.2\ndrop_mean = 100\ndrop_task = 100\n")
    config = ClipConfig(label_files=(labels,), photos=photos, variants=("cpu-int8",), budget=wide)
    export_open_clip(str(model.config), str(model.weights), tmp_path / "bundle.zip", config, zipped=True)
    (variant,) = Bundle.open(tmp_path / "bundle.zip").manifest.image
    assert (variant.name, variant.precision) == ("cpu-int8", "int8")
    assert {"mean_cosine", "accuracy", "drop.folders"} <= set(variant.figures)
    assert load(tmp_path / "bundle.zip").classify(made_photos(1, 64)[0]).best is not None


def test_the_same_weights_give_the_same_bytes(made: Callable[[str], Made], labels: Path, tmp_path: Path) -> None:
    model = made("tiny-vit")
    for name in ("one", "two"):
        config = ClipConfig(label_files=(labels,))
        export_open_clip(str(model.config), str(model.weights), tmp_path / name, config)
    assert Bundle.open(tmp_path / "one").sha256 == Bundle.open(tmp_path / "two").sha256


def test_without_lists_the_shipped_labels_are_used(default_bundle: Path) -> None:
    plans = plan_packs(())
    assert [plan.name for plan in plans] == [entry.name for entry in Bundle.open().manifest.packs]
    assert all(plan.labels for plan in plans)


def test_a_folder_of_open_clip(made: Callable[[str], Made], tmp_path: Path) -> None:
    model = made("tiny-vit")
    preprocessing = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "interpolation": "bilinear"}
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": MODELS["tiny-vit"], "preprocess_cfg": preprocessing})
    )
    save_file(model.model.state_dict(), tmp_path / "open_clip_model.safetensors")
    found = open_model(str(tmp_path), None)
    assert found.notes[0] == "mean 0.1, 0.2, 0.3 and standard deviation 0.5, 0.6, 0.7"
    assert "bilinear" in found.notes[1]
    with pytest.raises(UsageError, match="brings its own weights"):
        open_model(f"local-dir:{tmp_path}", "laion2b")


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that transformers wrote, with the tokenizer's vocabulary beside it."""
    import transformers

    torch.manual_seed(1)
    side = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**side, "vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407},
        vision_config={**side, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    folder = tmp_path_factory.mktemp("hugging-face")
    transformers.CLIPModel(config).save_pretrained(folder)
    merges = standard_merges().decode().splitlines()
    from agriclip_edge.text.clip_tokenizer import END, START, ClipBpe

    names = {START: "<|startoftext|>", END: "<|endoftext|>"}
    vocabulary = {names.get(token, token): number for token, number in ClipBpe(standard_merges()).ids.items()}
    (folder / "tokenizer.json").write_text(
        json.dumps({"model": {"type": "BPE", "merges": merges, "vocab": vocabulary}})
    )
    return folder


def test_a_folder_of_transformers(hugging_face: Path) -> None:
    import transformers

    ours, theirs = open_model(str(hugging_face), None), transformers.CLIPModel.from_pretrained(hugging_face).eval()
    squares, ids = made_photos(3, 32), ours.tokens(PROMPTS)
    mean, std = (torch.tensor(ours.notes and values).view(3, 1, 1) for values in (MEAN, STD))
    pixels = (torch.from_numpy(squares).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        result = theirs(input_ids=ids, pixel_values=pixels)
        np.testing.assert_allclose(ours.image(torch.from_numpy(squares)), result.image_embeds, atol=1e-5)
        np.testing.assert_allclose(ours.text(ids), result.text_embeds, atol=1e-5)
    assert export_image_tower(ours, {}).traced.difference < 1e-4


MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def test_a_folder_with_other_words_is_refused(hugging_face: Path, tmp_path: Path) -> None:
    for path in hugging_face.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    document = json.loads((tmp_path / "tokenizer.json").read_text())
    document["model"]["merges"] = document["model"]["merges"][:-1]
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match="another tokenizer than CLIP's byte pairs"):
        open_model(str(tmp_path), None)


class Harmful:
    """What must never be run by a file of weights."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harmful"),))


def test_what_cannot_be_exported_is_refused_in_one_line(
    made: Callable[[str], Made], labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Harmful()}, tmp_path / "harmful.pt")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "weights.txt").write_text("none")
    vit = str(made("tiny-vit").config)
    for name, weights, words in (
        ("ViT-B-16-SigLIP", "webli", "reads text with the tokenizer timm/ViT-B-16-SigLIP; accepted: models with"),
        ("roberta-ViT-B-32", "laion2b", "reads text with the tokenizer roberta-base"),
        ("MobileCLIP2-S00", None, "open_clip has no model 'MobileCLIP2-S00'.*MobileCLIP2-S0"),
        ("MobileCLIP2-S0", None, "no weights are named for MobileCLIP2-S0; accepted.*dfndr2b"),
        ("MobileCLIP2-S0", "missing.pt", "no weights 'missing.pt' for MobileCLIP2-S0"),
        (vit, "weights.txt", "is no file of weights"),
        (vit, "harmful.pt", "open_clip cannot open tiny-vit"),
        (vit, "broken.safetensors", "open_clip cannot open tiny-vit"),
        (vit, str(made("tiny-mobile").weights), "open_clip cannot open tiny-vit"),
        ("broken.json", "harmful.pt", "open_clip cannot open broken.json"),
        ("gone.json", "harmful.pt", "no such file: gone.json"),
        ("local-dir:gone", None, "open_clip cannot open local-dir:gone"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            open_model(name, weights)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "harmful").exists()
    with pytest.raises(UsageError, match="at least 32"):
        (tmp_path / "few").mkdir()
        few = ClipConfig(label_files=(labels,), photos=tmp_path / "few")
        export_open_clip(vit, str(made("tiny-vit").weights), tmp_path / "bundle", few)
    with pytest.raises(LabelError, match="holds 0 times"):
        export_open_clip(vit, None, tmp_path / "bundle", ClipConfig(templates=("a photo",)))
    with pytest.raises(UsageError, match="'my-field'"):
        plan_packs((labels, labels))
    assert not (tmp_path / "bundle").exists()
