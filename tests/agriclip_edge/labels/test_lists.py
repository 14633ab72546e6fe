"""Lists of labels are read as people write them, and what is wrong is said with its line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agriclip_edge.errors import LabelError
from agriclip_edge.labels.lists import as_labels, parse_labels, read_label_file
from agriclip_edge.labels.pack import Label, check_labels

TYPED = {
    "one": ("bean rust", ["bean rust"]),
    "two": ("bean leaf with rust, healthy bean leaf", ["bean leaf with rust", "healthy bean leaf"]),
    "spaces around": ("  rust ,\tblight  ", ["rust", "blight"]),
    "other alphabets": ("稲,गेहूँ", ["稲", "गेहूँ"]),
}


@pytest.mark.parametrize(("text", "labels"), TYPED.values(), ids=list(TYPED))
def test_typed_labels(text: str, labels: list[str]) -> None:
    assert parse_labels(text) == tuple(Label(label) for label in labels)


WRONG = {
    "nothing": ("", "an empty label"),
    "commas": (",,", "an empty label"),
    "a comma at the end": ("rust,", "an empty label"),
    "twice": ("rust, blight, Rust", "label 'Rust' is there twice"),
    "a colour code": ("rust, \x1b[31mred", "holds control characters"),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=list(WRONG))
def test_typed_labels_that_are_wrong(text: str, words: str) -> None:
    with pytest.raises(LabelError, match=words):
        parse_labels(text)


def test_labels_and_words_together() -> None:
    rich = Label("wheat", "cereal", ("Triticum",))
    assert as_labels([rich, " rust "]) == (rich, Label("rust"))
    assert as_labels(word for word in ("a", "b")) == (Label("a"), Label("b"))


RUST, OATS = Label("rust"), Label("oats", "cereal", ("Avena sativa", "oat"))
FILES: dict[str, tuple[str, bytes, list[Label]]] = {
    "one a line": ("l.txt", b"rust\nblight\n", [RUST, Label("blight")]),
    "no line break at the end": ("l.txt", b"rust", [RUST]),
    "Windows line breaks": ("l.txt", b"rust\r\nblight\r\n", [RUST, Label("blight")]),
    "byte order mark": ("l.txt", b"\xef\xbb\xbfrust\n", [RUST]),
    "empty lines and spaces": ("l.txt", b"\n  rust  \n\n\n", [RUST]),
    "commas belong to the label": ("l.txt", b"leaf, with rust\n", [Label("leaf, with rust")]),
    "no suffix": ("labels", b"rust\n", [RUST]),
    "UTF-8": ("l.txt", "maïs\n稲\n".encode(), [Label("maïs"), Label("稲")]),
    "CSV, labels alone": ("l.csv", b"label\nrust\n", [RUST]),
    "CSV, all columns": ("l.csv", b"label,parent,synonyms\noats,cereal,Avena sativa;oat\nrust,,\n", [OATS, RUST]),
    "CSV, columns in another order": ("l.CSV", b"Synonyms, LABEL ,parent\nAvena sativa; oat,oats,cereal\n", [OATS]),
    "CSV, byte order mark": ("l.csv", b"\xef\xbb\xbflabel,parent\nrust,\n", [RUST]),
    "CSV, quoted": ("l.csv", b'label,parent\n"leaf, ""rusty""",x\n', [Label('leaf, "rusty"', "x")]),
    "CSV, Windows line breaks": ("l.csv", b"label,parent\r\nrust,\r\n", [RUST]),
    "CSV, names": (
        "l.csv",
        b"Label,Names.ES,names.pt-BR\nrust,roya,ferrugem\nblight,,\n",
        [Label("rust", names={"es": "roya", "pt-BR": "ferrugem"}), Label("blight")],
    ),
    "CSV, empty synonyms": ("l.csv", b"label,synonyms\nrust,; ;\n", [RUST]),
}


@pytest.mark.parametrize(("name", "data", "labels"), FILES.values(), ids=list(FILES))
def test_files(name: str, data: bytes, labels: list[Label], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert read_label_file(tmp_path / name) == tuple(labels)
    assert read_label_file(str(tmp_path / name)) == tuple(labels)


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "empty": ("l.txt", b"", "holds no label; accepted: one a line"),
    "empty lines": ("l.txt", b"\n \n", "holds no label"),
    "twice": ("l.txt", b"rust\nblight\n\nRust\n", "line 4: label 'Rust' is already on line 1"),
    "not UTF-8": ("l.txt", b"rust\nma\xefs\n", r"is not UTF-8 text \(byte 7\)"),
    "UTF-16": ("l.txt", "rust\n".encode("utf-16"), "is not UTF-8 text"),
    "a picture": ("l.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is not UTF-8 text"),
    "a null byte": ("l.txt", b"rust\nbli\0ght\n", "line 2: label 'bli.x00ght' holds control characters"),
    "too long": ("l.txt", b"rust\n" + b"x" * 201, "line 2: label 'xxx.*has 201 characters"),
    "CSV, empty": ("l.csv", b"", r"has the columns \[\]; accepted: label"),
    "CSV, header alone": ("l.csv", b"label\n", "holds no label"),
    "CSV, no header": ("l.csv", b"rust\nblight\n", r"has the columns \['rust'\]; accepted: label"),
    "CSV, unknown column": ("l.csv", b"label,colour\nrust,red\n", r"\['label', 'colour'\]; accepted: label"),
    "CSV, a column twice": ("l.csv", b"label,label\na,b\n", "accepted: label"),
    "CSV, semicolons": ("l.csv", b"label;parent\nrust;\n", r"has the columns \['label;parent'\]"),
    "CSV, a cell too many": ("l.csv", b"label,parent\nrust,\nblight,x,y\n", "line 3: has not 2 columns"),
    "CSV, a cell too few": ("l.csv", b"label,parent\nrust\n", "line 2: has not 2 columns"),
    "CSV, an empty label": ("l.csv", b"label,parent\nrust,\n,x\n", "line 3: an empty label"),
    "CSV, twice": ("l.csv", b"label\nrust\nrust\n", "line 3: label 'rust' is already on line 2"),
    "CSV, a quote left open": ("l.csv", b'label\n"rust\nblight\n', "l.csv, line"),
    "CSV, a null byte": ("l.csv", b"label\nru\0st\n", "l.csv, line 2"),
    "CSV, a language": ("l.csv", b"label,names.spanish\nrust,roya\n", r"names.spanish'\]; accepted: label"),
    "CSV, no language": ("l.csv", b"label,names.\nrust,roya\n", "accepted: label"),
    "CSV, a language twice": ("l.csv", b"label,names.es,Names.es\na,b,c\n", "accepted: label"),
    "CSV, a broken name": ("l.csv", b"label,names.es\nrust,a\x1bb\n", "line 2: label .* holds control characters"),
    "CSV, a broken synonym": ("l.csv", b"label,synonyms\nrust,a;\x1bb\n", "line 2: label .* holds control characters"),
    "CSV, a field beyond csv's limit": ("l.csv", b"label\n" + b"x" * 200_000 + b"\n", "l.csv, line 2"),
}


@pytest.mark.parametrize(("name", "data", "words"), BROKEN.values(), ids=list(BROKEN))
def test_broken_files(name: str, data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(LabelError, match=words) as caught:
        read_label_file(tmp_path / name)
    assert name in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_parents_are_held_to_the_same_rules(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes(b"label,parent\nrust,ok\nblight,\x1b[31m\n")
    with pytest.raises(LabelError, match=r"l\.csv, line 3: .*control characters"):
        read_label_file(tmp_path / "l.csv")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "missing.txt", "cannot read the labels in .*missing.txt: No such file"),
        (tmp_path, "cannot read the labels in .*: Is a directory"),
        (Path("a\0b"), "cannot read the labels in .*null byte"),
    ):
        with pytest.raises(LabelError, match=words):
            read_label_file(path)


@given(data=st.data(), suffix=st.sampled_from([".txt", ".csv"]))
def test_mutated_files(
    data: st.DataObject, suffix: str, mutated: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    original = 'label,parent,synonyms\n"oats, white",cereal,Avena sativa;oat\nmaïs,,\n稲,grass,\n'.encode()
    path = os.path.join(tmp_path_factory.getbasetemp(), f"mutated{suffix}")
    with open(path, "wb") as file:
        file.write(mutated(data, original))
    try:
        check_labels(read_label_file(path))
    except LabelError as error:
        assert str(error)
