"""Every attack is refused with its own fault and message: in the SDK, on the command line, in little memory, in place.

Needs what the runtime needs and pytest, nothing else; the attacks are committed files (see README.md).
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agriclip_edge
from agriclip_edge import Bundle, BundleError, BundleFault, LabelPack
from agriclip_edge.bundle.verify import verify_bundle
from agriclip_edge.labels.store import read_pack_file
from agriclip_edge.teaching import read_lessons

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TINY = ROOT / "tests" / "data" / "tiny_bundle"
PHOTO = ROOT / "examples" / "photos" / "cow.jpg"
EXPECTED: dict[str, dict[str, Any]] = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
KINDS = ("bundles", "packs", "lessons")
STEPS = ("open", "load", "labels", "photo", "verify")
MOST_MEMORY = 32 << 20  # bytes that refusing any one attack may take


@dataclass(frozen=True)
class Case:
    """One committed attack."""

    path: Path
    fault: BundleFault
    message: str
    at: str
    zip_only: bool

    @property
    def arguments(self) -> list[str]:
        """What makes ``classify`` meet it."""
        return ["--labels", "red apple, green apple"] if self.at == "labels" else []


def cases(folder: str) -> list[Case]:
    return [
        Case(HERE / path, BundleFault(row["fault"]), row["message"], row["at"], row.get("zip_only", False))
        for path, row in EXPECTED.items()
        if path.startswith(folder)
    ]


BUNDLES, PACKS, LESSONS = cases("bundles/"), cases("packs/"), cases("lessons/")
FOLDERS = [case for case in BUNDLES if not case.zip_only]


def each(chosen: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", chosen, ids=[case.path.stem for case in chosen])


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever an attack would write or read beside the caller shows here: the folder stays as it was."""
    here = tmp_path / "here"
    here.mkdir()
    weights = here / "weights.bin"  # a graph with weights outside would find these
    weights.write_bytes(np.ones((3, 16), np.float32).tobytes())
    monkeypatch.chdir(here)
    yield
    assert list(here.iterdir()) == [weights]


def shown(message: str) -> str:
    """A message's part as it is printed: what is no printable text as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)


def refused(action: Callable[[], object], fault: BundleFault, message: str) -> None:
    """Runs what must be refused, and holds fault, message and form of the refusal."""
    with pytest.raises(BundleError) as caught:
        action()
    assert caught.value.fault is fault, caught.value
    assert shown(message) in str(caught.value)
    assert str(caught.value).endswith(f" [{fault.value}]")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1000


def one_line(found: Any, fault: BundleFault, message: str) -> None:
    """Holds how the command line refused: exit code 2, one line on stderr, nothing answered."""
    assert found.code == 2
    assert len(found.lines) == 1, found.err
    assert found.lines[0].startswith("agriclip-edge: ")
    assert found.lines[0].endswith(f"[{fault.value}]")
    assert shown(message) in found.lines[0]


def take(step: str, bundle: Path) -> object:
    """One step with a bundle, as a program would go."""
    if step == "open":
        return Bundle.open(bundle)
    if step == "load":
        return agriclip_edge.load(bundle)
    if step == "labels":
        return agriclip_edge.load(bundle, labels=["red apple", "green apple"])
    if step == "photo":
        return agriclip_edge.load(bundle).classify(PHOTO)
    return list(verify_bundle(bundle))


def unpacked(case: Case, folder: Path) -> Path:
    """The same bundle as a folder."""
    with zipfile.ZipFile(case.path) as archive:
        archive.extractall(folder)
    return folder


def test_every_fault_is_provoked() -> None:
    provoked = {case.fault for case in BUNDLES + PACKS} | {BundleFault.NOT_FOUND}  # nothing there is no file to commit
    assert provoked == set(BundleFault)


def test_the_committed_files_are_those_of_the_table() -> None:
    committed = {path.relative_to(HERE).as_posix() for kind in KINDS for path in (HERE / kind).iterdir()}
    assert committed == set(EXPECTED)
    page = (HERE / "README.md").read_text("utf-8")
    listed = re.findall(r"^\| `((?:bundles|packs|lessons)/[^`]+)` \|", page, flags=re.M)
    assert sorted(listed) == sorted(EXPECTED)


def test_the_bundle_without_any_attack_is_sound(cli: Callable[..., Any]) -> None:
    """What is refused is refused for the attack alone."""
    assert cli("verify", TINY).code == 0
    assert take("photo", TINY) and take("labels", TINY)


@each(BUNDLES)
def test_a_bundle_is_refused_by_verify(case: Case) -> None:
    refused(lambda: list(verify_bundle(case.path)), case.fault, case.message)


@each(FOLDERS)
def test_a_bundle_is_refused_as_a_folder(case: Case, tmp_path: Path) -> None:
    folder = unpacked(case, tmp_path / "bundle")
    refused(lambda: list(verify_bundle(folder)), case.fault, case.message)
    refused(lambda: take(case.at, folder), case.fault, case.message)


@each(BUNDLES)
def test_a_bundle_is_refused_at_its_step_and_not_before(case: Case) -> None:
    refused(lambda: take(case.at, case.path), case.fault, case.message)
    before = [step for step in STEPS[: STEPS.index(case.at)] if (case.at, step) != ("photo", "labels")]
    if case.at != "open" and Bundle.open(case.path).manifest.scene is not None:
        before = ["open"]  # photos are nothing to it
    for step in before:
        take(step, case.path)


@each(BUNDLES)
def test_the_command_line_refuses_a_bundle(case: Case, cli: Callable[..., Any]) -> None:
    one_line(cli("verify", case.path), case.fault, case.message)
    if case.at != "verify":
        found = cli("classify", PHOTO, "--bundle", case.path, *case.arguments)
        one_line(found, case.fault, case.message)
        assert found.out == b""


@pytest.mark.parametrize(
    "command", ["info", "packs list", "packs show x", "packs build x --labels red", "embed y --output y.npy"]
)
def test_every_command_that_opens_a_bundle_refuses_it(command: str, cli: Callable[..., Any]) -> None:
    case = next(case for case in BUNDLES if case.path.stem == "path-climbs")
    one_line(cli(*command.split(), "--bundle", case.path), case.fault, case.message)


@each(PACKS)
def test_a_pack_is_refused(case: Case) -> None:
    if case.at == "read":
        refused(lambda: LabelPack.from_bytes(case.path.read_bytes()), case.fault, case.message)
    else:
        pack = read_pack_file(case.path)
        refused(lambda: Bundle.open(TINY).accept(pack), case.fault, case.message)
        refused(lambda: agriclip_edge.load(TINY).use(pack), case.fault, case.message)
    refused(lambda: agriclip_edge.load(TINY, packs=[str(case.path)]), case.fault, case.message)


@each(PACKS)
def test_the_command_line_refuses_a_pack(case: Case, cli: Callable[..., Any], tmp_path: Path) -> None:
    one_line(cli("packs", "add", case.path), case.fault, case.message)
    assert not (tmp_path / "home").exists()
    found = cli("classify", PHOTO, "--pack", case.path)
    one_line(found, case.fault, case.message)
    assert found.out == b""


@each(LESSONS)
def test_lessons_are_refused(case: Case, cli: Callable[..., Any], tmp_path: Path) -> None:
    refused(lambda: read_lessons(case.path, Bundle.open(TINY)), case.fault, case.message)
    one_line(cli("teach", "--import", case.path, "--pack", "fruit-colour"), case.fault, case.message)
    assert not (tmp_path / "home").exists()


def test_a_classifier_keeps_its_labels_when_a_pack_is_refused() -> None:
    classifier = agriclip_edge.load(TINY)
    labels = classifier.pack.labels
    for case in PACKS:
        refused(lambda case=case: classifier.use_packs(str(case.path)), case.fault, case.message)  # type: ignore[misc]
    assert classifier.pack.labels == labels


@pytest.mark.parametrize(
    "name", ["bundles/graph-truncated.zip", "bundles/zip-two-names.zip", "packs/pickle.safetensors"]
)
def test_a_process_of_its_own_says_one_line(name: str) -> None:
    """As a process: neither a library's own words nor a traceback stand beside ours."""
    arguments = ["verify", str(HERE / name)] if name.endswith(".zip") else ["packs", "add", str(HERE / name)]
    code, error = process(*arguments)
    assert code == 2
    assert len(error.splitlines()) == 1
    assert EXPECTED[name]["message"] in error


def process(*arguments: str) -> tuple[int, str]:
    """Exit code and stderr of one command line in a process of its own, with the tiny bundle."""
    environment = {**os.environ, "AGRICLIP_EDGE_BUNDLE": str(TINY)}
    command = [sys.executable, "-m", "agriclip_edge", *arguments]
    run = subprocess.run(command, capture_output=True, check=False, env=environment, timeout=30)
    return run.returncode, run.stderr.decode()


MEASURE = """
import json, sys
from pathlib import Path

photo, tiny, *paths = sys.argv[1:]
import agriclip_edge
from agriclip_edge.bundle.verify import verify_bundle
from agriclip_edge.teaching import read_lessons

agriclip_edge.load(tiny, labels=["red apple"]).classify(photo)
for line in verify_bundle(tiny):
    pass
changes = []
watched = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate",
           "socket.connect", "socket.__new__", "subprocess.Popen", "os.system", "os.exec", "os.fork",
           "pickle.find_class"}

def watch(event, arguments):
    if event in watched:
        changes.append([event, repr(arguments)])
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & 0o3:
        changes.append([event, repr(arguments)])

sys.addaudithook(watch)

def memory(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(key)) << 10

READ = {
    ".safetensors": lambda path: agriclip_edge.load(tiny, packs=[path]),
    ".lessons": lambda path: read_lessons(Path(path), agriclip_edge.Bundle.open(tiny)),
    ".zip": lambda path: list(verify_bundle(path)),
}
grown = {}
for path in paths:
    before = memory("VmHWM")
    for action in (
        lambda: READ[Path(path).suffix](path),
        lambda: agriclip_edge.load(path if Path(path).suffix in ("", ".zip") else tiny, labels=["red apple"]),
    ):
        try:
            action()
        except (agriclip_edge.BundleError, agriclip_edge.UsageError):
            pass
    grown[path] = memory("VmHWM") - before
print(json.dumps([grown, changes]))
"""


def measured(paths: list[Path]) -> tuple[dict[str, int], list[list[str]]]:
    """Peak memory that refusing each file adds to a fresh process, and whatever it changed, started or called."""
    program = [sys.executable, "-c", MEASURE, str(PHOTO), str(TINY), *map(str, paths)]
    run = subprocess.run(program, capture_output=True, check=False, timeout=60)
    assert run.stderr == b"", run.stderr.decode()  # a traceback, or what a library says by itself
    grown, changes = json.loads(run.stdout)
    return grown, changes


def test_refusing_takes_little_memory_and_changes_nothing() -> None:
    grown, changes = measured([case.path for case in BUNDLES + PACKS + LESSONS])
    assert changes == []
    assert len(grown) == len(EXPECTED)
    assert {path: size for path, size in grown.items() if size > MOST_MEMORY} == {}


# What git cannot hold well or what is large is made here.


def write_zip(path: Path, entries: dict[str, bytes], like: Path = TINY) -> Path:
    """The tiny bundle as a deflated zip, with some files replaced or added."""
    files = {name.relative_to(like).as_posix(): name.read_bytes() for name in sorted(like.rglob("*")) if name.is_file()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**files, **entries}.items():
            archive.writestr(name, data)
    return path


def copy_of_tiny(folder: Path) -> Path:
    with zipfile.ZipFile(write_zip(folder.with_suffix(".zip"), {})) as archive:
        archive.extractall(folder)
    return folder


def manifest_with(**changes: Any) -> bytes:
    return json.dumps({**json.loads((TINY / "bundle.json").read_bytes()), **changes}).encode()


def test_nothing_there(tmp_path: Path, cli: Callable[..., Any]) -> None:
    nothing = tmp_path / "no-such-bundle"
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    for path in (nothing, tmp_path / "circle", tmp_path / "pipe", Path("/dev/null")):
        for step in STEPS:
            refused(lambda step=step, path=path: take(step, path), BundleFault.NOT_FOUND, "no bundle at")  # type: ignore[misc]
    one_line(cli("verify", nothing), BundleFault.NOT_FOUND, "accepted: a bundle's folder or zip file")


def test_a_folder_without_a_manifest(tmp_path: Path, cli: Callable[..., Any]) -> None:
    refused(lambda: Bundle.open(tmp_path), BundleFault.NOT_A_BUNDLE, "holds no bundle.json")
    one_line(cli("verify", tmp_path), BundleFault.NOT_A_BUNDLE, "holds no bundle.json")


@pytest.mark.parametrize("name", ["bundle.json", "image/encoder.onnx", "card.md"])
@pytest.mark.parametrize("target", ["absolute", "relative", "by a folder"])
def test_links_that_lead_outside(name: str, target: str, tmp_path: Path, cli: Callable[..., Any]) -> None:
    """The file outside is the right one, byte for byte: only the link is wrong."""
    bundle, outside = copy_of_tiny(tmp_path / "bundle"), tmp_path / "outside"
    outside.mkdir()
    victim = bundle / name
    victim.rename(outside / victim.name)
    if target == "absolute":
        victim.symlink_to(outside / victim.name)
    elif target == "relative":
        victim.symlink_to(os.path.relpath(outside / victim.name, victim.parent))
    else:
        (bundle / "way").symlink_to(outside)
        victim.symlink_to(bundle / "way" / victim.name)
    refused(lambda: list(verify_bundle(bundle)), BundleFault.PATH_UNSAFE, f"{name} is a link to a file outside")
    one_line(cli("verify", bundle), BundleFault.PATH_UNSAFE, "a link to a file outside the bundle")
    if name != "card.md":
        refused(lambda: agriclip_edge.load(bundle), BundleFault.PATH_UNSAFE, f"{name} is a link to a file outside")


@pytest.mark.parametrize("kind", ["circle", "dangling", "folder", "pipe"])
def test_what_is_no_regular_file(kind: str, tmp_path: Path, cli: Callable[..., Any]) -> None:
    bundle = copy_of_tiny(tmp_path / "bundle")
    victim = bundle / "image" / "encoder.onnx"
    victim.unlink()
    if kind == "circle":
        victim.symlink_to("encoder.onnx")
    elif kind == "dangling":
        victim.symlink_to("nowhere.onnx")
    elif kind == "folder":
        victim.mkdir()
    else:
        os.mkfifo(victim)
    refused(lambda: agriclip_edge.load(bundle), BundleFault.FILE_MISSING, "image/encoder.onnx")
    one_line(cli("verify", bundle), BundleFault.FILE_MISSING, "image/encoder.onnx")


def test_a_pipe_in_place_of_a_pack_does_not_block(tmp_path: Path) -> None:
    pipe = tmp_path / "labels.safetensors"
    os.mkfifo(pipe)
    code, error = process("packs", "add", str(pipe))
    assert code == 2
    assert len(error.splitlines()) == 1


def zip_of_many(count: int) -> bytes:
    """A zip whose directory names ``count`` empty entries."""
    directory = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0) + b"%07d" % number
        for number in range(count)
    )
    listed = min(count, 0xFFFF)
    return directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, listed, listed, len(directory), 0, 0)


def test_zips_of_thousands_of_entries(tmp_path: Path, cli: Callable[..., Any]) -> None:
    path = tmp_path / "many.zip"
    path.write_bytes(zip_of_many(8_200))
    refused(lambda: Bundle.open(path), BundleFault.ARCHIVE_UNSAFE, "at most 8,192 are accepted")
    one_line(cli("verify", path), BundleFault.ARCHIVE_UNSAFE, "at most 8,192 are accepted")


def test_a_zip_of_a_million_entries_is_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "million.zip"
    path.write_bytes(zip_of_many(500_000))
    start = time.process_time()
    with pytest.raises(BundleError) as caught:
        Bundle.open(path)
    assert caught.value.fault is BundleFault.ARCHIVE_UNSAFE
    assert time.process_time() - start < 1


def test_large_bombs(tmp_path: Path) -> None:
    """64 MB of zeros in 64 kB, declared and not: neither is inflated further than the manifest's size."""
    zeros = bytes(64 << 20)
    whole = write_zip(tmp_path / "declared.zip", {"card.md": zeros})
    data = bytearray(whole.read_bytes())
    assert len(data) < 200_000
    size, crc = len((TINY / "card.md").read_bytes()), zlib.crc32(zeros[: len((TINY / "card.md").read_bytes())])
    place = data.index(b"card.md", data.index(b"PK\1\2")) - 46
    struct.pack_into("<L", data, place + 16, crc)
    struct.pack_into("<L", data, place + 24, size)
    lying = tmp_path / "lying.zip"
    lying.write_bytes(data)
    del zeros
    refused(lambda: list(verify_bundle(whole)), BundleFault.SIZE_MISMATCH, "card.md has 67,108,864 bytes")
    refused(lambda: list(verify_bundle(lying)), BundleFault.HASH_MISMATCH, "card.md has sha256")
    grown, _ = measured([whole, lying])
    assert max(grown.values()) < MOST_MEMORY


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_manifest_over_its_limit(kind: str, tmp_path: Path, cli: Callable[..., Any]) -> None:
    manifest = manifest_with(description="a" * (4 << 20))
    if kind == "zip":
        bundle = write_zip(tmp_path / "bundle.zip", {"bundle.json": manifest})
    else:
        bundle = copy_of_tiny(tmp_path / "bundle")
        (bundle / "bundle.json").write_bytes(manifest)
    refused(lambda: Bundle.open(bundle), BundleFault.TOO_LARGE, "bundle.json has 4,19")
    one_line(cli("verify", bundle), BundleFault.TOO_LARGE, "expected at most 4,194,304")


def test_a_manifest_of_too_many_files(tmp_path: Path) -> None:
    files = [{"path": f"f{number}", "size": 0, "sha256": "0" * 64} for number in range(4097)]
    bundle = copy_of_tiny(tmp_path / "bundle")
    (bundle / "bundle.json").write_bytes(manifest_with(files=files))
    refused(lambda: Bundle.open(bundle), BundleFault.MANIFEST_INVALID, "lists 4097 files; at most 4096")


@pytest.mark.parametrize("name", ["../../evil", "/evil", "a/b", "..", ".hidden", "EVIL", "", "con\n", "e" * 65])
def test_a_pack_cannot_choose_its_place(name: str, tmp_path: Path, cli: Callable[..., Any]) -> None:
    pack = Bundle.open(TINY).pack("fruit-colour")
    data = pack.to_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + length].replace(rb"\"fruit-colour\"", json.dumps(json.dumps(name))[1:-1].encode())
    path = tmp_path / "pack.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])
    before = sorted(tmp_path.rglob("*"))
    found = cli("packs", "add", path, "--replace")
    assert found.code == 2
    assert len(found.lines) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_an_enormous_pack_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    with open(path, "wb") as file:
        file.truncate((1 << 30) + 1)  # a hole: it takes no room on the disk
    grown, _ = measured([path])
    assert grown[str(path)] < MOST_MEMORY
    refused(lambda: read_pack_file(path), BundleFault.TOO_LARGE, "at most 1,073,741,824")


def test_a_pack_of_mere_header_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "header.safetensors"
    header = b'{"__metadata__":{},"a":[' + b"[]," * (5 << 20) + b"1]}"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(BundleError):
        read_pack_file(path)
    grown, _ = measured([path])
    assert grown[str(path)] < 3 * len(header) + MOST_MEMORY
