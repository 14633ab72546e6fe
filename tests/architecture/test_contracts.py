"""The pages of the contracts are the truth: their examples are read by the code that they describe."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import jsonschema
import msgspec

from agriclip_edge.answer import Answer, Prediction, Verdict
from agriclip_edge.bundle.manifest import Manifest, parse_manifest
from agriclip_edge.cli.output import COLUMNS, Format, Writer
from agriclip_edge.errors import BundleFault
from agriclip_edge.labels.pack import _Header

DOCS = Path(__file__).resolve().parents[2] / "docs"


def fenced(page: str, language: str) -> list[str]:
    """The code blocks of one language on a page."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_answer_page_shows_a_record_that_the_sdk_writes() -> None:
    record = json.loads(fenced("answer.md", "json")[0])
    predictions = tuple(Prediction(**prediction) for prediction in record["predictions"])
    answer = Answer(record["path"], predictions, record["error"], verdict=Verdict(**record["answer"]))
    assert answer.to_record() == record
    assert list(answer.to_record()) == list(record)
    assert list(answer.to_record()["predictions"][0]) == list(record["predictions"][0])


def test_the_answer_page_shows_the_csv_that_the_command_line_writes() -> None:
    shown = fenced("answer.md", "csv")[0]
    record = json.loads(fenced("answer.md", "json")[0])
    failed = {"path": "field/row-3/empty.jpg", "predictions": [], "answer": None, "error": "is empty (0 bytes)"}
    stream = io.BytesIO()
    writer = Writer(stream, Format.csv)
    writer.write(record)
    writer.write(failed)
    writer.finish()
    assert stream.getvalue().decode() == shown
    assert next(csv.reader(io.StringIO(shown))) == list(COLUMNS)


def test_the_bundle_page_shows_a_manifest_that_the_reader_takes() -> None:
    example = fenced("bundle-format.md", "json")[0]
    manifest = parse_manifest(example.encode())
    assert manifest.image[0].input.shape == [None, 224, 224, 3]
    schema = json.loads((DOCS / "bundle.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(example), schema)


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    schema = json.loads((DOCS / "bundle.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    example = json.loads(fenced("bundle-format.md", "json")[0])
    for broken in (
        {**example, "surprise": 1},
        {key: value for key, value in example.items() if key != "files"},
        {**example, "embedding_dim": "384"},
        {**example, "image": [{**example["image"][0], "input": {"name": "images"}}]},
    ):
        assert not validator.is_valid(broken)
        try:
            msgspec.convert(broken, Manifest, strict=True)
        except msgspec.ValidationError:
            continue
        raise AssertionError(f"the reader took {broken}")


def test_the_bundle_page_shows_a_pack_header_that_the_reader_takes() -> None:
    header = msgspec.json.decode(fenced("bundle-format.md", "json")[1], type=_Header)
    assert header.labels[0].synonyms == ("corn leaf with common rust",)


def test_the_bundle_page_lists_every_fault_and_no_other() -> None:
    page = (DOCS / "bundle-format.md").read_text(encoding="utf-8")
    table = page.split("## Why a bundle or a pack is refused")[1]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, flags=re.MULTILINE) == [fault.value for fault in BundleFault]


def test_the_shipped_bundle_fits_the_schema() -> None:
    schema = json.loads((DOCS / "bundle.schema.json").read_text(encoding="utf-8"))
    shipped = DOCS.parent / "agriclip_edge" / "default_bundle" / "bundle.json"
    jsonschema.validate(json.loads(shipped.read_text(encoding="utf-8")), schema)
