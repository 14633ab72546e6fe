"""Broken and hostile bundles: archives, manifests, files and vocabularies."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from attack_tools import (
    CARD,
    FACTS,
    GZIP_HEAD,
    IMAGE,
    MAP,
    PACK,
    VOCABULARY,
    Attack,
    Entry,
    bundle_zip,
    described,
    gzip_of,
    pack_file,
    pack_parts,
    tensors_file,
    tiny_files,
    tiny_manifest,
    to_json,
    with_facts,
    with_files,
    zeros_deflated,
    zip_of,
)

_INFLATED = 6_000_000  # bytes; over the manifest's limit of 4 MiB, and 38 kB deflated
_DEEP = 40_000  # brackets


def bundles() -> list[Attack]:
    """Every bundle but those with hostile graphs."""
    return [
        *_archives(),
        *_manifests_unread(),
        *_manifests_invalid(),
        *_paths(),
        *_files(),
        *_vocabularies(),
        *_facts(),
        *_reference(),
        *_scenes(),
    ]


def _entries(*replaced: Entry) -> list[Entry]:
    """The whole bundle as entries; those of the same names are replaced."""
    files = tiny_files()
    entries = [Entry(b"bundle.json", to_json(described(tiny_manifest(), files)))]
    entries += [Entry(name.encode(), data) for name, data in files.items()]
    by_name = {entry.name: entry for entry in replaced}
    return [by_name.get(entry.name, entry) for entry in entries]


def _archives() -> list[Attack]:
    whole = zip_of(_entries())
    files = tiny_files()
    card = files[CARD]
    bomb = zeros_deflated(_INFLATED)
    prefix = zlib.crc32(b" " * len(card))

    def made(name: str, says: str, fault: str, message: str, data: bytes, at: str = "open") -> Attack:
        return Attack(name, says, fault, message, data, at, zip_only=True)

    def extra(*entries: Entry) -> bytes:
        return zip_of([*_entries(), *entries])

    return [
        made("zip-text", "a text file, no zip", "not-a-bundle", "is not a readable zip file", b"no zip at all\n" * 20),
        made("zip-truncated", "the second half of the zip is missing", "not-a-bundle", "is not a readable zip file",
             whole[: len(whole) // 2]),
        made("zip-directory-cut", "the zip's directory is overwritten", "not-a-bundle", "is not a readable zip file",
             whole.replace(b"PK\1\2", b"PK\0\0")),
        made("zip-without-manifest", "a zip without bundle.json", "not-a-bundle", "holds no bundle.json",
             zip_of(_entries()[1:])),
        made("zip-entry-climbs", "an entry named ../../evil.sh", "path-unsafe", "'../../evil.sh'",
             extra(Entry(b"../../evil.sh", b"echo"))),
        made("zip-entry-absolute", "an entry named /etc/cron.d/evil", "path-unsafe", "'/etc/cron.d/evil'",
             extra(Entry(b"/etc/cron.d/evil", b"* * * * *"))),
        made("zip-entry-null", "an entry whose name some readers cut at a null byte", "path-unsafe", "unsafe path",
             extra(Entry(b"card.md\0.sh", b"echo"))),
        made("zip-symlink", "card.md is a symbolic link to /etc/passwd", "archive-unsafe", "is a link or a device",
             zip_of(_entries(Entry(b"card.md", b"/etc/passwd", mode=0o120777)))),
        made("zip-device", "card.md is a character device", "archive-unsafe", "is a link or a device",
             zip_of(_entries(Entry(b"card.md", b"", mode=0o020666)))),
        made("zip-encrypted", "card.md is encrypted", "archive-unsafe", "is encrypted",
             zip_of(_entries(Entry(b"card.md", b"\x17" * 12 + card, flags=1)))),
        made("zip-duplicate", "card.md is there twice", "archive-unsafe", "is there twice",
             extra(Entry(b"card.md", b"# another\n"))),
        made("zip-method", "card.md is compressed by a method that is not accepted", "archive-unsafe",
             "is compressed by method 12", zip_of(_entries(Entry(b"card.md", card, method=12)))),
        made("zip-checksum", "card.md has another CRC-32 than declared", "archive-unsafe", "cannot be read: Bad CRC-32",
             zip_of(_entries(Entry(b"card.md", card, crc=1))), "verify"),
        made("zip-deflate-broken", "card.md is no deflate stream", "archive-unsafe", "card.md cannot be read",
             zip_of(_entries(Entry(b"card.md", b"\xff" * 40, method=8, size=len(card)))), "verify"),
        made("zip-two-names", "card.md has another name in its local header, one that is not UTF-8", "archive-unsafe",
             "card.md cannot be read",
             zip_of(_entries(Entry(b"card.md", card, local_name=b"\xffard.md", local_flags=0x800))), "verify"),
        made("zip-size-too-small", "card.md declares fewer bytes than it and the manifest have", "size-mismatch",
             "card.md has 10 bytes",
             zip_of(_entries(Entry(b"card.md", card, size=10, crc=zlib.crc32(card[:10])))), "verify"),
        made("zip-size-too-large", "card.md declares 4 GB", "size-mismatch", "card.md has 4,000,000,000 bytes",
             zip_of(_entries(Entry(b"card.md", card, size=4_000_000_000))), "verify"),
        made("bomb-declared", "card.md inflates to 6 MB and says so; the manifest lists 390 bytes", "size-mismatch",
             "card.md has 6,000,000 bytes; expected at most",
             zip_of(_entries(Entry(b"card.md", bomb, method=8, size=_INFLATED))), "verify"),
        made("bomb-lying", "card.md inflates to 6 MB and declares the 390 bytes of the manifest", "hash-mismatch",
             "card.md has sha256",
             zip_of(_entries(Entry(b"card.md", bomb, method=8, size=len(card), crc=prefix))), "verify"),
        made("bomb-manifest", "bundle.json inflates to 6 MB", "too-large", "bundle.json has 6,000,000 bytes",
             zip_of(_entries(Entry(b"bundle.json", bomb, method=8, size=_INFLATED)))),
        made("bomb-manifest-lying", "bundle.json inflates to 6 MB and declares 2,000 bytes", "manifest-unreadable",
             "is not valid JSON",
             zip_of(_entries(Entry(b"bundle.json", bomb, method=8, size=2000, crc=zlib.crc32(b" " * 2000))))),
    ]  # fmt: skip


def _manifests_unread() -> list[Attack]:
    files = tiny_files()
    text = to_json(described(tiny_manifest(), files))

    def made(name: str, says: str, message: str, data: bytes) -> Attack:
        return Attack(name, says, "manifest-unreadable", message, bundle_zip(data, files))

    return [
        made("json-empty", "bundle.json is empty", "is not valid JSON: Expecting value", b""),
        made("json-truncated", "bundle.json ends in the middle", "is not valid JSON", text[: len(text) // 2]),
        made("json-not-utf8", "bundle.json is Latin-1", "is not valid JSON: 'utf-8' codec",
             text.replace(b"tells colours", b"d\xe9c\xe8le les couleurs")),
        made("json-duplicate-key", "bundle.json has a key twice, the second with another meaning",
             "duplicate key 'temperature'",
             text.replace(b'"temperature": 0.1', b'"temperature": 0.1, "temperature": 9')),
        made("json-nan", "NaN as temperature", "NaN is not a number of JSON",
             text.replace(b'"temperature": 0.1', b'"temperature": NaN')),
        made("json-infinity", "-Infinity as temperature", "-Infinity is not a number of JSON",
             text.replace(b'"temperature": 0.1', b'"temperature": -Infinity')),
        made("json-deep", "40,000 brackets", "is nested too deeply", b"[" * _DEEP),
        made("json-long-number", "a number of 5,000 digits", "is not valid JSON: Exceeds the limit",
             text.replace(b'"embedding_dim": 16', b'"embedding_dim": ' + b"9" * 5000)),
    ]  # fmt: skip


def _changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A whole bundle whose manifest was changed."""
    files = tiny_files()
    manifest = described(tiny_manifest(), files)
    change(manifest)
    return bundle_zip(manifest, files)


def _manifests_invalid() -> list[Attack]:
    def made(
        name: str, says: str, message: str, change: Callable[[dict[str, Any]], object], fault: str = "manifest-invalid"
    ) -> Attack:
        return Attack(name, says, fault, message, _changed(change))

    def entry(manifest: dict[str, Any], path: str) -> dict[str, Any]:
        found: dict[str, Any] = next(entry for entry in manifest["files"] if entry["path"] == path)
        return found

    files = tiny_files()
    overflow = to_json(described(tiny_manifest(), files)).replace(b'"temperature": 0.1', b'"temperature": 1e999')
    odd = "format-unsupported"
    return [
        Attack("temperature-overflow", "temperature 1e999, infinite for a reader", "manifest-invalid",
               "gives temperature inf", bundle_zip(overflow, files)),
        made("threshold-zero", "a threshold that every answer reaches", "gives threshold 0",
             lambda m: m.update(threshold=0)),
        made("threshold-over", "a confidence that nothing reaches", "gives threshold 1.5",
             lambda m: m.update(threshold=1.5)),
        made("unknown-under", "a cosine below -1", "gives unknown -1.5", lambda m: m.update(unknown=-1.5)),
        Attack("unknown-overflow", "a least cosine of 1e999, infinite for a reader", "manifest-invalid",
               "gives unknown inf",
               bundle_zip(overflow.replace(b"1e999", b'0.1, "unknown": 1e999'), files)),
        made("format-other", "another format", "is of format 'agriclip-model'",
             lambda m: m.update(format="agriclip-model"), odd),
        made("format-long", "a format of 30,000 characters, to fill the log", "is of format 'aaaaaaaa",
             lambda m: m.update(format="a" * 30_000), odd),
        made("format-version", "format version 2", "'agriclip-bundle' version 2",
             lambda m: m.update(format_version=2), odd),
        made("preprocessing-version", "preprocessing version 7", "wants preprocessing version 7",
             lambda m: m["preprocessing"].update(version=7), odd),
        made("field-unknown", "a field that version 1 does not have", "unknown field `run_on_open`",
             lambda m: m.update(run_on_open="setup.py")),
        made("field-unknown-inside", "an unknown field in a variant", "unknown field `provider_library`",
             lambda m: m["image"][0].update(provider_library="/tmp/evil.so")),
        made("field-newline", "an unknown field whose name is a line of its own",
             "unknown field `\nagriclip-edge: all is",
             lambda m: m.update({"\nagriclip-edge: all is well": 1})),
        made("name-control", "a name that clears the terminal", "holds control characters: '\\x1b[2J",
             lambda m: m.update(name="\x1b[2Jagriclip")),
        made("title-control", "a pack's title that clears the terminal", "holds control characters: 'fruit\\x1b[2J",
             lambda m: m["packs"][0].update(title="fruit\x1b[2J")),
        made("field-missing", "no licences", "missing required field `licences`", lambda m: m.pop("licences")),
        made("type-string", "a size as a string", "Expected `int`, got `str`",
             lambda m: entry(m, CARD).update(size="390")),
        made("type-boolean", "true in place of format version 1", "Expected `int`, got `bool`",
             lambda m: m.update(format_version=True)),
        made("file-listed-twice", "card.md and CARD.md are one file on many systems", "lists a file twice",
             lambda m: m["files"].append({**entry(m, CARD), "path": "CARD.md"})),
        made("file-not-listed", "the card is a file without size and hash", "uses 'other.md', which it does not list",
             lambda m: m.update(card="other.md")),
        made("file-negative", "a file of -1 bytes", "the size -1", lambda m: entry(m, CARD).update(size=-1)),
        made("file-hash-form", "a sha256 that is none", "no sha256 of 64 hex digits",
             lambda m: entry(m, CARD).update(sha256="d41d8cd98f00b204e9800998ecf8427e")),
        made("file-huge", "a file of 3 TB", "3,000,000,000,000 bytes",
             lambda m: entry(m, IMAGE).update(size=3_000_000_000_000), "too-large"),
        made("encoder-none", "no image encoder", "has no image encoder", lambda m: m.update(image=[])),
        made("temperature-zero", "temperature 0", "gives temperature 0", lambda m: m.update(temperature=0)),
        made("dim-zero", "embeddings of no values", "gives embedding_dim 0", lambda m: m.update(embedding_dim=0)),
        made("size-huge", "photos of 1,000,000 × 1,000,000 pixels", "gives preprocessing size 1000000",
             lambda m: m["preprocessing"].update(size=1_000_000)),
        made("pack-name-climbs", "a pack named ../../evil", "names packs '../../evil'",
             lambda m: m["packs"][0].update(name="../../evil")),
        made("pack-name-twice", "two packs of one name", "names two packs alike",
             lambda m: m["packs"][0].update(name=m["packs"][1]["name"])),
        made("template-without-place", "a template without {}", "needs templates that hold {} once each",
             lambda m: m["text"].update(templates=["a photo"])),
    ]  # fmt: skip


def _paths() -> list[Attack]:
    def made(name: str, says: str, path: str, message: str | None = None) -> Attack:
        def change(manifest: dict[str, Any]) -> None:
            next(entry for entry in manifest["files"] if entry["path"] == CARD)["path"] = path
            manifest["card"] = path

        return Attack(name, says, "path-unsafe", message or f"unsafe path {path!r}", _changed(change))

    return [
        made("path-climbs", "a path that begins with ..", "../card.md"),
        made("path-climbs-inside", "a path that climbs on its way", "packs/../../card.md"),
        made("path-absolute", "an absolute path", "/etc/passwd"),
        made("path-backslash", "a path for Windows", "..\\card.md"),
        made("path-drive", "a path with a drive", "C:/card.md"),
        made("path-hidden", "a hidden folder", ".git/config"),
        made("path-dot", "a path through .", "./card.md"),
        made("path-empty", "an empty path", ""),
        made("path-empty-segment", "an empty segment", "packs//card.md"),
        made("path-newline", "a line break in the path", "card.md\nagriclip-edge: all is well"),
        made("path-null", "a null byte in the path", "card.md\0.txt"),
        made("path-lookalike", "full-width dots and slash, which some systems fold to ../", "．．／card.md"),
        made("path-long", "a path of 300 characters", "a/" * 149 + "aa", "unsafe path 'a/a/a/"),
    ]


def _files() -> list[Attack]:
    files = tiny_files()
    manifest = described(tiny_manifest(), files)

    def made(name: str, says: str, fault: str, message: str, changed: dict[str, bytes], at: str = "load") -> Attack:
        return Attack(name, says, fault, message, bundle_zip(manifest, changed), at)

    def packs_changed(change: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
        """A bundle, described truly, whose first pack's own header was changed."""
        header, rows = pack_parts(files[PACK])
        other = {**files, PACK: pack_file(change(header), rows)}
        return bundle_zip(described(tiny_manifest(), other), other)

    image = files[IMAGE]
    shorter = {**tiny_manifest(), "packs": [{**tiny_manifest()["packs"][0], "labels": 4}]}
    return [
        made("file-missing", "the image encoder is not there", "file-missing", "image/encoder.onnx is listed",
             {name: data for name, data in files.items() if name != IMAGE}),
        made("file-shorter", "the image encoder lacks its last byte", "size-mismatch",
             "image/encoder.onnx has 3,189 bytes", {**files, IMAGE: image[:-1]}),
        made("file-longer", "the image encoder has a byte more", "size-mismatch",
             "image/encoder.onnx has 3,191 bytes",
             {**files, IMAGE: image + b"\0"}),
        made("file-changed", "one bit of the image encoder is another", "hash-mismatch",
             "image/encoder.onnx has sha256",
             {**files, IMAGE: image[:-1] + bytes([image[-1] ^ 1])}),
        made("file-changed-pack", "one bit of a pack is another", "hash-mismatch", f"{PACK} has sha256",
             {**files, PACK: files[PACK][:-1] + bytes([files[PACK][-1] ^ 1])}),
        made("file-changed-vocabulary", "one letter of the vocabulary is another", "hash-mismatch",
             f"{VOCABULARY} has sha256", {**files, VOCABULARY: files[VOCABULARY].replace(b"cow", b"cat")}, "labels"),
        made("file-unlisted", "a file that the manifest does not list", "manifest-invalid",
             "1 files are not in bundle.json, the first is 'setup.py'",
             {**files, "setup.py": b"import os\n"}, "verify"),
        Attack("pack-count", "the manifest says 4 labels, the pack has 3", "pack-invalid",
               "holds 3 labels; bundle.json says 4", bundle_zip(described(shorter, files), files), "verify"),
        Attack("pack-of-another-name", "the bundle's own pack names itself otherwise", "pack-invalid",
               "pack fruit-colour names itself 'maize-leaf-disease'",
               packs_changed(lambda header: {**header, "name": "maize-leaf-disease"}), "load"),
        Attack("pack-of-another-bundle", "the bundle's own pack was made with another text encoder",
               "pack-foreign-text-encoder", "was made with text encoder 0f343b0931",
               packs_changed(lambda header: {**header, "text_encoder": "0f343b0931" + "0" * 54}), "load"),
        Attack("pack-of-another-size", "the bundle's own pack was made for another preprocessing",
               "pack-foreign-preprocessing", "was made for preprocessing 2c26b46b68",
               packs_changed(lambda header: {**header, "preprocessing": "2c26b46b68" + "0" * 54}), "load"),
    ]  # fmt: skip


def _vocabularies() -> list[Attack]:
    vocabulary = tiny_files()[VOCABULARY]

    def made(name: str, says: str, message: str, data: bytes, fault: str = "vocabulary-invalid") -> Attack:
        return Attack(name, says, fault, message, with_files(vocabulary=data), "labels")

    return [
        made("vocabulary-not-utf8", "a vocabulary in Latin-1", "the vocabulary is not UTF-8",
             vocabulary.replace(b"straw", b"bl\xe9")),
        made("vocabulary-duplicate", "a token twice", "the vocabulary holds a token twice",
             vocabulary.replace(b"straw\n", b"cow\n")),
        made("vocabulary-without-cls", "no [CLS]", "the vocabulary lacks [CLS]",
             vocabulary.replace(b"[CLS]", b"[cls]")),
        made("vocabulary-empty", "an empty vocabulary", "the vocabulary lacks [PAD] [UNK] [CLS] [SEP]", b""),
        made("vocabulary-shifted", "a vocabulary longer than the graph's table", "cannot run the graph",
             vocabulary.replace(b"[CLS]\n", b"[CLS]\n" + b"".join(b"t%d\n" % n for n in range(200))), "graph-mismatch"),
    ]  # fmt: skip


def _facts() -> list[Attack]:
    def made(name: str, says: str, message: str, data: bytes, fault: str = "facts-invalid") -> Attack:
        return Attack(f"facts-{name}", says, fault, message, data, "labels")

    def entry(**fields: Any) -> bytes:
        return gzip_of(to_json({"classes": [{**FACTS, **fields}]}))

    bomb = GZIP_HEAD + zeros_deflated(_INFLATED) + bytes(8)
    good = gzip_of(to_json({"classes": [FACTS]}))
    return [
        made("bomb", "38 kB of facts that inflate to 6 MB", "inflates to over 4,194,304 bytes", with_facts(bomb),
             "too-large"),
        made("not-gzip", "facts as plain JSON", "not a gzip file", with_facts(to_json({"classes": [FACTS]}))),
        made("truncated", "the end of the facts is missing", "truncated", with_facts(good[:-12])),
        made("longer", "bytes behind the facts", "goes on behind its end", with_facts(good + b"\0" * 8)),
        made("checksum", "facts that are not those of their checksum", "not a gzip file",
             with_facts(good.replace(b"red apple", b"red abcde"))),
        made("not-json", "facts that are no JSON", "JSON is malformed", with_facts(gzip_of(b"{'classes': []}"))),
        made("deep", "40,000 brackets as facts", "got `array`", with_facts(gzip_of(b"[" * _DEEP))),
        made("deep-inside", "40,000 brackets in a field that version 1 does not have", "unknown field",
             with_facts(gzip_of(b'{"more":' + b"[" * _DEEP))),
        made("none", "no class", "0 classes; accepted: 1 to", with_facts(gzip_of(to_json({"classes": []})))),
        made("field-unknown", "a field that version 1 does not have", "unknown field `script`",
             with_facts(entry(script="import os"))),
        made("number", "a number as a statement", "Expected `str`, got `int`", with_facts(entry(visible=[7]))),
        made("control", "a label that clears the terminal", "holds control characters",
             with_facts(entry(label="\x1b[2J\x1b[1;1Hall is well"))),
        made("bidi", "a name that is read from right to left", "holds control characters",
             with_facts(entry(names={"es": "\u202eelppa neerg"}))),
        made("long", "a statement of 20,000 characters", "has 20000 characters",
             with_facts(entry(visible=["a" * 20_000]))),
        made("twice", "a class twice", "class 'red apple' is there twice",
             with_facts(gzip_of(to_json({"classes": [FACTS, FACTS]})))),
        made("symptoms-short", "a row of 15 values", "has 15 bytes; accepted: 1 rows of 16",
             with_facts(symptoms=b"\1" * 15)),
        made("symptoms-more", "a row too many", "has 32 bytes; accepted: 1 rows of 16",
             with_facts(symptoms=b"\1" * 32)),
        made("symptoms-zero", "a row of zeros", "row 0 is zero", with_facts(symptoms=bytes(16))),
        Attack("facts-not-listed", "a library that is not listed", "manifest-invalid", "uses 'facts/other.gz'",
               with_facts(file="facts/other.gz")),
        Attack("facts-share", "symptoms that count twice", "manifest-invalid", "gives facts the share 2.0",
               with_facts(share=2.0)),
        Attack("facts-entry-unknown", "a field of the library's entry that version 1 does not have", "manifest-invalid",
               "unknown field `script`", with_facts(script="x")),
    ]  # fmt: skip


def _reference() -> list[Attack]:
    def made(name: str, says: str, message: str, data: bytes) -> Attack:
        files = {**tiny_files(), "reference.safetensors": data}
        document = described({**tiny_manifest(), "reference": "reference.safetensors"}, files)
        return Attack(f"reference-{name}", says, "reference-invalid", message, bundle_zip(document, files), "verify")

    return [
        made("not-safetensors", "statistics that are text", "not a safetensors file", b"statistics\n"),
        made("pack", "a label pack in place of statistics", "holds ['embeddings']; accepted: centres",
             tiny_files()[PACK]),
    ]  # fmt: skip


def _scenes() -> list[Attack]:
    heights = {"name": "lidar", "unit": "metres", "channels": 1}
    bands = {"name": "hyperspectral", "unit": "reflectance", "channels": 2, "wavelengths": [550.0, 660.0]}
    graph = {"name": "float", "runtime": "onnxruntime", "precision": "fp32", "file": IMAGE}
    words = {"encoder": "0" * 64, "file": CARD, "templates": ["{}"]}

    def made(name: str, says: str, message: str, fault: str = "manifest-invalid", /, **changes: Any) -> Attack:
        tiny, image, at = tiny_manifest(), changes.pop("image", []), changes.pop("at", "open")
        files = {**tiny_files(), **({MAP: changes.pop("map")} if "map" in changes else {})}
        sound = {"modalities": [bands, heights], "variants": [graph], "receptive_field": 5}
        document = {**tiny, "image": image, "scene": {**sound, **changes}}
        return Attack(f"scene-{name}", says, fault, message, bundle_zip(described(document, files), files), at)

    return [
        made("and-photos", "a bundle for photos and for scenes", "is for photos and for scenes",
             image=tiny_manifest()["image"]),
        made("none", "a scene without an encoder", "has no scene encoder", variants=[]),
        made("modalities-none", "a scene of nothing", "gives a scene 0 modalities", modalities=[]),
        made("modalities-alike", "a modality with the name of another's mask", "and their masks alike",
             modalities=[bands, {**heights, "name": "hyperspectral_valid"}]),
        made("modality-climbs", "a modality named ../../evil", "names modalities and their masks '../../evil'",
             modalities=[{**heights, "name": "../../evil"}]),
        made("unit", "a unit that there is not", "Invalid enum value 'furlongs'",
             modalities=[{**heights, "unit": "furlongs"}]),
        made("channels-huge", "2,000,000,000 channels", "gives lidar 2000000000 channels",
             modalities=[{**heights, "channels": 2_000_000_000}]),
        made("wavelengths-many", "more wavelengths than channels", "gives hyperspectral 3 wavelengths",
             modalities=[{**bands, "wavelengths": [1.0, 2.0, 3.0]}]),
        made("wavelength-huge", "a wavelength of 1e300 nm", "gives hyperspectral the wavelength 1e+300",
             modalities=[{**bands, "wavelengths": [550.0, 1e300]}]),
        made("level-over", "more of the mean than there is", "gives hyperspectral the level 1.5",
             modalities=[{**bands, "level": {"share": 1.5}}]),
        made("level-negative", "a mean that is added", "gives hyperspectral the level -0.5",
             modalities=[{**bands, "level": {"share": -0.5}}]),
        made("level-words", "a level in words", "Expected `float`, got `str`",
             modalities=[{**bands, "level": {"share": "half"}}]),
        made("level-unknown", "a field of levels that version 1 does not have", "unknown field `script`",
             modalities=[{**bands, "level": {"share": 0.5, "script": "x"}}]),
        made("text-encoder", "words through an encoder that is no hash", "gives text encoder 'yes'",
             text={**words, "encoder": "yes"}),
        made("text-file", "a map for words that is not listed", "uses 'text/other.safetensors'",
             text={**words, "file": "text/other.safetensors"}),
        made("text-template", "a template without a place for the words", "needs templates that hold {} once each",
             text={**words, "templates": ["a field"]}),
        made("text-control", "a template that clears the terminal", "holds control characters",
             text={**words, "templates": ["\x1b[2J{}"]}),
        *(
            made(f"map-{name}", says, message, "text-map-invalid", text={**words, "file": MAP}, map=data, at="verify")
            for name, says, message, data in (
                ("text", "a map for words that is text", "not a safetensors file", b"a map\n"),
                ("pack", "a label pack in place of a map", "holds ['embeddings']; accepted: bias", tiny_files()[PACK]),
                ("shape", "a map to 15 values", "weight is float32 (15, 3); accepted: float32 (16, 3)",
                 tensors_file(centre=((3,), 0.0), weight=((15, 3), 1.0), bias=((16,), 0.0))),
                ("empty", "a map from nothing", "takes texts of 0 values",
                 tensors_file(centre=((0,), 0.0), weight=((16, 0), 0.0), bias=((16,), 0.0))),
                ("nan", "NaN in a map", "weight holds values that are no numbers",
                 tensors_file(centre=((3,), 0.0), weight=((16, 3), float("nan")), bias=((16,), 0.0))),
                ("huge", "a map of 1e30", "bias holds values that are no numbers or beyond 10000",
                 tensors_file(centre=((3,), 0.0), weight=((16, 3), 1.0), bias=((16,), 1e30))),
            )
        ),
        made("field-even", "a receptive field of 4 pixels", "gives receptive_field 4", receptive_field=4),
        made("field-wide", "margins that leave nothing of a tile", "accepted: larger tiles", receptive_field=255),
        made("sampling", "pixels of -1 m", "gives ground_sampling -1", ground_sampling=-1.0),
        made("file", "an encoder that is not listed", "uses 'scene/other.onnx'",
             variants=[{**graph, "file": "scene/other.onnx"}]),
        made("field-unknown", "a field that version 1 does not have", "unknown field `provider_library`",
             provider_library="x"),
        made("precision-control", "a precision that clears the terminal", "holds control characters",
             variants=[{**graph, "precision": "\x1b[2Jfp32"}]),
    ]  # fmt: skip
