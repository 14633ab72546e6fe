"""`classify` keeps the contract of docs/answer.md in every format, whatever the photos are."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import agriclip_edge

Cli = Callable[..., Any]


def jsonl(out: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_table(cli: Cli, field: Path) -> None:
    done = cli("classify", "field", "--top-k", "2")
    assert (done.code, done.lines) == (0, [])
    lines = done.text.splitlines()
    assert [lines[0], lines[3], lines[6]] == ["field/a.PNG", "field/b.png", "field/row 2/c.png"]
    assert lines[1].endswith("green leaf  (plant)")
    assert lines[4].endswith("red apple  (apple)")
    assert lines[7].endswith("blue water")
    assert "%" in lines[1]
    assert "\x1b" not in done.text  # no colours where nobody sees them


def test_json(cli: Cli, field: Path) -> None:
    done = cli("classify", "field", "missing.jpg", "field/b.png", "field/b.png", "--format", "json", "--top-k", "3")
    assert done.code == 1
    assert done.out.startswith(b"[\n{")
    assert done.out.endswith(b"}\n]\n")
    records = done.json
    assert [record["path"] for record in records] == [
        "field/a.PNG",
        "field/b.png",
        "field/row 2/c.png",
        "missing.jpg",
        "field/b.png",
        "field/b.png",
    ]
    for record in records:
        assert list(record) == ["path", "predictions", "answer", "error"]
        assert [list(one) for one in record["predictions"]] == [["label", "parent", "confidence", "cosine"]] * len(
            record["predictions"]
        )
    assert records[3] == {"path": "missing.jpg", "predictions": [], "answer": None, "error": "no such file"}
    assert records[1] == records[4] == records[5]
    assert len(records[0]["predictions"]) == 3
    assert records[1]["predictions"][0]["label"] == "red apple"


def test_records_are_the_sdks(cli: Cli, field: Path, tiny_bundle: Path) -> None:
    classifier = agriclip_edge.load(tiny_bundle)
    for record in cli("classify", "field", "--format", "json").json:
        assert record == classifier.classify(record["path"]).to_record()


def test_jsonl_is_json_line_by_line(cli: Cli, field: Path) -> None:
    arguments = ("classify", "field", "missing.jpg", "--format")
    assert jsonl(cli(*arguments, "jsonl").out) == cli(*arguments, "json").json


def test_csv_is_the_flat_form(cli: Cli, field: Path, root: Path) -> None:
    Path('a, "b"\n.png').write_bytes(Path("field/b.png").read_bytes())
    arguments = ("classify", "field", "missing.jpg", 'a, "b"\n.png', "--format")
    rows = list(csv.reader(io.StringIO(cli(*arguments, "csv").text)))
    expected = []
    for record in cli(*arguments, "json").json:
        for place, one in enumerate(record["predictions"], start=1):
            values = (one["label"], one["parent"], str(one["confidence"]), str(one["cosine"]))
            answer = record["answer"]
            expected.append([record["path"], str(place), *values, "", answer["text"], answer["reason"] or ""])
        if not record["predictions"]:
            expected.append([record["path"], "", "", "", "", "", record["error"], "", ""])
    assert rows[0] == ["path", "rank", "label", "parent", "confidence", "cosine", "error", "answer", "reason"]
    assert ",".join(rows[0]) in (root / "docs" / "answer.md").read_text(encoding="utf-8")
    assert rows[1:] == expected


def test_an_empty_list_of_photos(spawn: Cli) -> None:
    done = spawn("classify", "-", "--format", "json", given=b"\n\n")
    assert (done.code, done.out, done.lines) == (0, b"[]\n", [])


def test_min_confidence(cli: Cli, field: Path) -> None:
    whole = cli("classify", "field/b.png", "--format", "json", "--top-k", "99").json[0]
    everything, answer = whole["predictions"], whole["answer"]
    assert (answer["kind"], answer["label"]) == ("label", everything[0]["label"])
    least = everything[1]["confidence"] + 1e-6
    assert cli("classify", "field/b.png", "--format", "json", "--min-confidence", str(least)).json[0] == {
        "path": "field/b.png",
        "predictions": everything[:1],
        "answer": answer,
        "error": None,
    }
    record = cli("classify", "field/b.png", "--min-confidence", "1", "--format", "json").json[0]
    assert record["answer"]["kind"] != "label"
    done = cli("classify", "field/b.png", "--min-confidence", "1")
    text, reason = record["answer"]["text"], record["answer"]["reason"]
    assert done.code == 0
    assert done.text.splitlines()[1].startswith(f"  {text}")
    assert done.text.splitlines()[-1] == "  nothing reaches the least confidence"
    rows = list(
        csv.reader(cli("classify", "field/b.png", "--min-confidence", "1", "--format", "csv").text.splitlines())
    )
    assert rows[1:] == [["field/b.png", "", "", "", "", "", "", text, reason]]


# --- Labels ---------------------------------------------------------------------------------------------------------


def labels_of(done: Any) -> set[str]:
    assert done.code == 0, done.err
    return {one["label"] for record in done.json for one in record["predictions"]}


JSON = ("--format", "json", "--top-k", "99")
FRUIT = {"red apple", "green apple", "yellow banana"}


def test_packs(cli: Cli, field: Path) -> None:
    every = labels_of(cli("classify", "field", *JSON))
    field_cover = labels_of(cli("classify", "field", "--pack", "field-cover", *JSON))
    assert labels_of(cli("classify", "field", "--pack", "fruit-colour", *JSON)) == FRUIT
    assert every == FRUIT | field_cover
    assert labels_of(cli("classify", "field", "--pack", "fruit-colour", "--pack", "field-cover", *JSON)) == every


def test_labels_in_words(cli: Cli, field: Path) -> None:
    Path("beans.txt").write_text("red soil\nblue sky\n")
    Path("beans.csv").write_text("label,parent,synonyms\nred soil,soil,red apple\nblue sky,,\n")
    for arguments in (
        ["--labels", "red soil, blue sky"],
        ["--labels-file", "beans.txt"],
        ["--labels-file", "beans.csv"],
    ):
        done = cli("classify", "field", *arguments, *JSON)
        assert labels_of(done) == {"red soil", "blue sky"}
        assert done.json[1]["predictions"][0]["label"] == "red soil"
    assert (
        cli("classify", "field/b.png", "--labels-file", "beans.csv", *JSON).json[0]["predictions"][0]["parent"]
        == "soil"
    )


def test_templates(cli: Cli, field: Path) -> None:
    def cosine(*arguments: str) -> float:
        done = cli("classify", "field/b.png", "--labels", "red apple", *arguments, *JSON)
        found: float = done.json[0]["predictions"][0]["cosine"]
        return found

    assert cosine("--template", "{}") != cosine("--template", "a weed beside {}")
    assert cosine("--template", "{}", "--template", "a photo of {}") == cosine()


# --- Lists on stdin -------------------------------------------------------------------------------------------------


def test_list_on_stdin(spawn: Cli, field: Path) -> None:
    given = b"field/b.png\r\n\nfield/row 2\nmissing.jpg\nfield/*.PNG"
    done = spawn("classify", "-", "--format", "jsonl", given=given)
    assert [record["path"] for record in jsonl(done.out)] == [
        "field/b.png",
        "field/row 2/c.png",
        "missing.jpg",
        "field/a.PNG",
    ]
    assert (done.code, done.lines) == (1, ["agriclip-edge: missing.jpg: no such file"])


def test_names_that_are_not_utf8(spawn: Cli, cli: Cli, field: Path) -> None:
    """Given as arguments, on stdin and found in a folder; in JSON the bytes come back."""
    data = Path("field/b.png").read_bytes()
    os.mkdir(b"odd \xe9")
    names = sorted(b"odd \xe9/" + name for name in (b"row \xff\xfe.png", "é.png".encode("latin-1"), "稲.png".encode()))
    for name in names:
        with open(name, "wb") as file:
            file.write(data)
    for done in (
        spawn("classify", *names, "--format", "json"),
        cli("classify", os.fsdecode(b"odd \xe9"), "--format", "json"),
        spawn("classify", "-", "--format", "jsonl", given=b"\n".join(names)),
    ):
        assert (done.code, done.lines) == (0, [])
        records = done.json if done.out.startswith(b"[") else jsonl(done.out)
        assert [os.fsencode(record["path"]) for record in records] == names
    cli("classify", os.fsdecode(b"odd \xe9"), "--output", "odd.json")
    assert [os.fsencode(record["path"]) for record in json.loads(Path("odd.json").read_text())] == names
    missing = cli("classify", "no\udcff.png", "--format", "csv")
    assert (missing.code, missing.lines) == (1, ["agriclip-edge: no\\udcff.png: no such file"])
    assert missing.out.splitlines()[1] == b"no\\udcff.png,,,,,,no such file,,"
    assert spawn("classify", *names).code == 0  # as a table


def test_names_that_would_move_the_cursor(cli: Cli, tmp_path: Path) -> None:
    done = cli("classify", "a\nb\r\x1b]2;x\x07.jpg")
    assert (done.code, done.lines) == (1, ["agriclip-edge: a b\\r\\x1b]2;x\\x07.jpg: no such file"])


# --- What cannot be read --------------------------------------------------------------------------------------------


def test_bad_photos_are_a_line_each(spawn: Cli, field: Path, photos: dict[str, Path]) -> None:
    Path("empty.jpg").touch()
    Path("text.jpg").write_text("rust")
    Path("half.jpg").write_bytes(photos["perch"].read_bytes()[:9000])
    os.mkfifo("pipe.jpg")
    arguments = [
        "empty.jpg",
        "field/b.png",
        "text.jpg",
        "half.jpg",
        "pipe.jpg",
        "missing.jpg",
        "field/a.PNG",
        "/dev/null",
    ]
    done = spawn("classify", *arguments, "--format", "jsonl")
    assert done.code == 1
    assert [line.split(": ", 2)[:2] for line in done.lines] == [
        ["agriclip-edge", name] for name in arguments if not name.startswith("field")
    ]
    errors = {record["path"]: record["error"] for record in jsonl(done.out)}
    assert list(errors) == arguments
    assert [name for name, error in errors.items() if error is None] == ["field/b.png", "field/a.PNG"]
    for line in done.lines:
        _, name, error = line.split(": ", 2)
        assert errors[name] == error


def test_a_folder_and_a_photo_that_may_not_be_read(
    spawn: Cli, field: Path, photo: Cli, without_privileges: tuple[str, ...]
) -> None:
    photo(Path("field/secret.png"))
    os.chmod("field/secret.png", 0)
    os.chmod("field/row 2", 0)
    try:
        done = spawn("classify", "field", "field/row 2/c.png", "--format", "jsonl", before=without_privileges)
    finally:
        os.chmod("field/row 2", 0o755)
    assert done.code == 1
    assert [(record["path"], record["error"]) for record in jsonl(done.out)] == [
        ("field/a.PNG", None),
        ("field/b.png", None),
        ("field/secret.png", "cannot be read: Permission denied"),
        ("field/row 2", "folder cannot be read: Permission denied"),
        ("field/row 2/c.png", "cannot be read: Permission denied"),
    ]
    assert len(done.lines) == 3


def test_pillows_own_warnings_stay_inside(spawn: Cli, tmp_path: Path) -> None:
    """A picture of 100 million pixels, and one with broken EXIF: nothing but our own lines on stderr."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0))
    (tmp_path / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")))
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff\x06\0\0\0" * 5
    cow = (Path(__file__).parents[3] / "examples" / "photos" / "cow.jpg").read_bytes()
    data = cow[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + cow[2:]
    (tmp_path / "exif.jpg").write_bytes(data)
    done = spawn("classify", "large.png", "exif.jpg")
    assert done.code == 1
    assert [line.split(": ")[1] for line in done.lines] == ["large.png"]


def test_any_number_of_threads_gives_the_same(cli: Cli, field: Path) -> None:
    alone = cli("classify", "field", "field", "field", *JSON, "--threads", "1")
    assert cli("classify", "field", "field", "field", *JSON, "--threads", "7").out == alone.out


# --- Output files and the log ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["answers.json", "answers.jsonl", "answers.CSV", "answers.txt"])
def test_output_file(name: str, cli: Cli, field: Path) -> None:
    """Its form is what its name ends in, its bytes are those of stdout, and nothing else stays."""
    form = {"answers.json": "json", "answers.jsonl": "jsonl", "answers.CSV": "csv", "answers.txt": "table"}[name]
    arguments = ("classify", "field", "field/b.png", "missing.jpg")
    printed = cli(*arguments, "--format", form)
    Path("out").mkdir()
    Path("out", name).write_text("old")
    done = cli(*arguments, "--output", f"out/{name}")
    assert (done.code, done.out) == (1, b"")
    assert Path("out", name).read_bytes() == printed.out
    assert os.listdir("out") == [name]
    cli(*arguments, "--output", f"out/{name}", "--format", "jsonl")
    assert len(jsonl(Path("out", name).read_bytes())) == 5


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("none/answers.json", "none/answers.json.partial: No such file or directory"),
        ("field", "field: Is a directory"),
        ("field/b.png/x.json", "field/b.png/x.json: Not a directory|field/b.png/x.json.partial: Not a directory"),
        ("/dev/full", "No space left on device"),
    ],
)
def test_output_that_cannot_be_written(output: str, words: str, cli: Cli, field: Path) -> None:
    before = sorted(Path().rglob("*"))
    done = cli("classify", "field/a.PNG", "--output", output)
    assert (done.code, done.out, len(done.lines)) == (2, b"", 1)
    assert any(part in done.lines[0] for part in words.split("|"))
    assert sorted(Path().rglob("*")) == before


def test_output_to_a_pipe(spawn: Cli, field: Path) -> None:
    done = spawn("classify", "field", "--output", "/dev/stdout", "--format", "jsonl")
    assert (done.code, len(jsonl(done.out))) == (0, 3)


def test_run_log(cli: Cli, field: Path, tiny_bundle: Path) -> None:
    bundle = agriclip_edge.Bundle.open(tiny_bundle)
    done = cli("classify", "field", "missing.jpg", "--log", "run.json", "--pack", "field-cover", "--output", "a.csv")
    assert done.code == 1
    log = json.loads(Path("run.json").read_text())
    assert log["bundle"] == {"name": "agriclip-tiny", "version": "1", "sha256": bundle.sha256}
    templates = ["{}", "a photo of {}"]
    assert log["labels"] == {"pack": "field-cover", "count": 5, "templates": templates, "adapted": 0}
    assert log["photos"] == {"given": 4, "answered": 3, "failed": 1, "resumed": 0}
    assert log["exit_code"] == 1
    assert log["started"] <= log["finished"]
    assert {"python", "agriclip-edge", "numpy", "pillow", "onnxruntime"} <= set(log["versions"])
    assert all(log["versions"][name] for name in ("python", "numpy", "pillow", "onnxruntime"))
    assert set(log["machine"]) == {"system", "architecture"}


def test_run_log_of_a_run_that_failed(spawn: Cli, field: Path) -> None:
    done = spawn("classify", "field", "--bundle", "none", "--log", "run.json")
    assert (done.code, len(done.lines)) == (2, 1)
    log = json.loads(Path("run.json").read_text())
    assert (log["exit_code"], log["photos"]) == (2, {})
    assert log["command"][1:] == ["classify", "field", "--bundle", "none", "--log", "run.json"]


# --- Wrong use ------------------------------------------------------------------------------------------------------

USES: dict[str, tuple[list[str], str]] = {
    "no photo": ([], "Missing argument 'PHOTO...'"),
    "an unknown option": (["x.jpg", "--topk", "3"], "No such option"),
    "top-k 0": (["x.jpg", "--top-k", "0"], "'--top-k': 0 is not in the range"),
    "top-k in words": (["x.jpg", "--top-k", "few"], "'few' is not a valid integer"),
    "min-confidence 2": (["x.jpg", "--min-confidence", "2"], "'--min-confidence'"),
    "min-confidence not a number": (["x.jpg", "--min-confidence", "nan"], "min_confidence is nan; accepted: 0 to 1"),
    "an unknown format": (["x.jpg", "--format", "xml"], "'xml' is not one of 'table', 'json', 'jsonl', 'csv'"),
    "no thread": (["x.jpg", "--threads", "0"], "'--threads': 0 is not in the range"),
    "resume without output": (["x.jpg", "--resume"], "--resume without --output"),
    "packs and labels": (
        ["x.jpg", "--pack", "a", "--labels", "b"],
        "--pack and --labels together; accepted: one of them",
    ),
    "labels twice": (["x.jpg", "--labels-file", "a", "--labels", "b"], "--labels and --labels-file together"),
    "a template alone": (["x.jpg", "--template", "{}"], "--template goes with --labels or --labels-file"),
    "a template without a place": (["x.jpg", "--labels", "a", "--template", "b"], "template 'b' holds 0 times {}"),
    "no label": (["x.jpg", "--labels", ""], "an empty label; accepted: words"),
    "a label twice": (["x.jpg", "--labels", "rust, Rust"], "label 'Rust' is there twice"),
    "an unknown pack": (
        ["x.jpg", "--pack", "wheat"],
        "no pack named 'wheat'; the bundle has: fruit-colour, field-cover",
    ),
    "a missing file of labels": (
        ["x.jpg", "--labels-file", "none.txt"],
        "cannot read the labels in none.txt: No such file",
    ),
    "a missing bundle": (["x.jpg", "--bundle", "none"], "no bundle at none; accepted: a bundle's folder or zip file"),
    "a photo as bundle": (["x.jpg", "--bundle", "field/a.PNG"], "field/a.PNG is not a readable zip file"),
}


@pytest.mark.parametrize(("arguments", "words"), USES.values(), ids=list(USES))
def test_wrong_use(arguments: list[str], words: str, cli: Cli, field: Path) -> None:
    done = cli("classify", *arguments)
    assert (done.code, done.out, len(done.lines)) == (2, b"", 1)
    assert done.lines[0].startswith("agriclip-edge: ")
    assert words in done.lines[0]


def test_answers_set_against_a_place(cli: Cli, field: Path, photo: Callable[..., Path], tmp_path: Path) -> None:
    plain = cli("classify", field, "--format", "json").json
    few = cli("classify", field, "--adapt", field)
    assert (few.code, few.out) == (2, b"")
    assert few.lines == ["agriclip-edge: 3 photos of the place could be used; accepted: at least 4"]
    for number in range(3):
        photo(field / f"{number}.png", number)
    (field / "z.jpg").write_bytes(b"\xff\xd8")
    done = cli("classify", "field/a.PNG", "--adapt", field, "--format", "json", "--log", "run.json")
    assert done.code == 0 and len(done.lines) == 1 and "z.jpg" in done.lines[0]  # every answer that was asked is there
    assert json.loads(Path("run.json").read_text())["labels"]["adapted"] == 6
    (asked,), (before, *_) = done.json, plain
    confidences = [{one["label"]: one["confidence"] for one in answer["predictions"]} for answer in (before, asked)]
    cosines = [{one["label"]: one["cosine"] for one in answer["predictions"]} for answer in (before, asked)]
    assert confidences[0] != confidences[1]
    shared = cosines[0].keys() & cosines[1].keys()
    assert shared and all(cosines[0][label] == cosines[1][label] for label in shared)
    several = ("--pack", "fruit-colour", "--pack", "field-cover")
    again = cli("classify", "field/a.PNG", *several, "--adapt", "field/*.png", "--format", "json")
    assert again.code == 0 and len(again.json[0]["predictions"]) == 5
