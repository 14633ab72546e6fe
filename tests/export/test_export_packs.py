"""Packs of tasks, broader ones, and the facts library go into a bundle by its own text encoder."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from agriclip_edge import Label, LabelError, load
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.labels.facts import Facts
from agriclip_edge.text.encoder import TextEncoder
from export.packs import FACTS_FILE, SYMPTOMS_FILE, PackPlan, embed_symptoms, with_packs
from export.taxonomy import Broader, Parents, join_packs, plan_packs, read_broader, read_parents
from export.writer import write_bundle
from training.captions import shipped_facts
from training.data import ClassEntry, Task

SEEN = ("red fruit", "red fruit with a leaf")
RED = Facts("red apple", "produce", "apple", SEEN, ("made",), names={"es": "manzana roja"})
WATER = Facts("blue water", "land", "water", ("blue water seen from above",), ("made",))
PARENTS = Parents({"one": "fruit"}, {"straw": ""})


def task(name: str, *labels: str) -> Task:
    classes = tuple(ClassEntry(label) for label in labels)
    return Task(name, f"{name}'s title", "made", "made", "CC0-1.0", "made", "", "", classes)


def test_a_pack_a_task() -> None:
    one, two = plan_packs([task("one", "red apple", "straw"), task("two", "wheat")], PARENTS, [RED])
    assert one == PackPlan(
        "one", "one's title", (Label("red apple", "fruit", names={"es": "manzana roja"}), Label("straw")), True
    )
    assert two.labels == (Label("wheat"),)
    assert not plan_packs([task("one", "red apple")], PARENTS, default=False)[0].default


def test_broader_packs_join_those_that_are_there() -> None:
    plans = plan_packs([task("one", "red apple", "straw"), task("two", "wheat", "Straw")], PARENTS)
    broader = {"all": Broader("all of it", ("two", "one", "three")), "none": Broader("nothing", ("three",))}
    (joined,) = join_packs(plans, broader)
    assert [label.text for label in joined.labels] == ["wheat", "Straw", "red apple"]
    assert (joined.name, joined.title, joined.default) == ("all", "all of it", False)
    with pytest.raises(LabelError, match="'one' has the name of a task"):
        join_packs(plans, {"one": Broader("x", ("two",))})


def test_the_shipped_tables_agree() -> None:
    broader = read_broader()
    assert set(broader) == {"crop-disease", "weeds", "produce", "livestock", "fish", "land"}
    named = [name for pack in broader.values() for name in pack.tasks]
    assert len(named) == len(set(named))
    assert set(named) >= set(read_parents().tasks) - {"medicinal-plant-leaf-five"}


def test_a_broken_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broader.toml").write_text("[weeds]\ntitle = 1\ntasks = []\n")
    with pytest.raises(LabelError, match=r"broader\.toml"):
        read_broader(tmp_path / "broader.toml")


def test_the_library_is_written_and_read(tiny_bundle: Path, tmp_path: Path) -> None:
    tiny = Bundle.open(tiny_bundle)
    files = {entry.path: tiny.read(entry.path) for entry in tiny.manifest.files if not entry.path.startswith("packs/")}
    plain = msgspec.structs.replace(tiny.manifest, packs=[])
    plan = PackPlan("one", "one", (Label("red apple"),))
    write_bundle(tmp_path / "made", *with_packs(plain, files, [plan], [RED, WATER]))
    made = Bundle.open(tmp_path / "made")
    assert made.manifest.facts is not None
    assert {FACTS_FILE, SYMPTOMS_FILE} <= {entry.path for entry in made.manifest.files}
    assert made.facts is not None and made.facts.classes == (RED, WATER)
    encoder = TextEncoder(made, 1)
    exact = embed_symptoms([RED, WATER], encoder)
    both = encoder.embed(RED.prompts).sum(axis=0)
    assert np.allclose(exact[0], both / np.linalg.norm(both), atol=1e-6)
    assert ((exact * made.facts.symptoms).sum(axis=1) > 0.999).all()
    assert load(tmp_path / "made", labels=["Red apples"]).pack.labels[0].facts == "red apple"
    shipped = made.pack("one").embeddings[0]  # of names alone, as it was judged
    assert np.allclose(shipped, load(made).build_pack(["red apple"], facts=False).embeddings[0], atol=1e-3)


def test_packs_of_a_run_that_was_trained_on_symptoms_hold_them(tiny_bundle: Path, tmp_path: Path) -> None:
    library = (shipped_facts()["maize leaf with common rust"], shipped_facts()["cow"])
    tiny = Bundle.open(tiny_bundle)
    files = {entry.path: tiny.read(entry.path) for entry in tiny.manifest.files if not entry.path.startswith("packs/")}
    plain = msgspec.structs.replace(tiny.manifest, packs=[])
    plan = PackPlan("one", "one", (Label("Cow", "animal"), Label("blue water")))
    write_bundle(tmp_path / "made", *with_packs(plain, files, [plan], library, 0.75))
    made = Bundle.open(tmp_path / "made")
    assert made.manifest.facts is not None and made.manifest.facts.share == 0.75
    pack = made.pack("one")
    assert [label.facts for label in pack.labels] == ["cow", ""]
    typed = load(made).build_pack(["Cow", "blue water"])
    assert np.allclose(typed.embeddings, pack.embeddings, atol=1e-3)
    alone = load(made).build_pack(["Cow", "blue water"], facts=False).embeddings
    assert made.facts is not None
    mixed = 0.25 * alone[0] + 0.75 * made.facts.symptoms[1]
    assert np.allclose(pack.embeddings[0], mixed / np.linalg.norm(mixed), atol=2e-3)
    assert np.allclose(pack.embeddings[1], alone[1], atol=1e-3)


def test_without_facts_there_is_no_library(tiny_bundle: Path) -> None:
    assert Bundle.open(tiny_bundle).manifest.facts is None


def test_every_shipped_class_is_found_by_its_own_label() -> None:
    from agriclip_edge.labels.matching import Index

    library = tuple(shipped_facts().values())
    index = Index(library)
    for facts in library:
        assert index.find(facts.label).facts is facts
    found = index.find("frosty pod rot").facts
    assert found is not None and found.scientific == "Moniliophthora roreri"
