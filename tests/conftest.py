"""What the tests share: bundles, real photos, mutations of real files, the command line in process and as a process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"

settings.register_profile(
    "steady",  # the same examples in every run; nothing is kept beside the tests
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("steady")


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode("utf-8")

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """Its complaints, one a line."""
        assert "Traceback" not in self.err, self.err
        return self.err.splitlines()


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tiny_bundle() -> Path:
    """A whole bundle of some kilobytes, 32 pixels to 16 values, that tells colours apart."""
    return DATA / "tiny_bundle"


@pytest.fixture(scope="session")
def scene_data() -> Path:
    """``bundle/`` for scenes, 16 bands and heights to 4 classes, and a field: scene.npy, dsm.npy, classes.npy."""
    return DATA / "scene"


@pytest.fixture(scope="session")
def facts_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with a facts library of five classes, whose symptoms are those of their words' colours."""
    import numpy as np

    from agriclip_edge import Bundle
    from agriclip_edge.labels.facts import Facts, encode_classes, encode_symptoms
    from agriclip_edge.text.encoder import TextEncoder

    def entry(label: str, kind: str, parent: str, visible: str, *, host: str = "", scientific: str = "",
              synonyms: tuple[str, ...] = (), **names: str) -> Facts:  # fmt: skip
        return Facts(label, kind, parent, (visible, visible), ("made",), host, "", scientific, synonyms, names)

    classes = (
        entry("maize leaf with rust", "disease", "maize leaf", "brown spot", host="maize",
              scientific="Puccinia sorghi", synonyms=("common rust of maize",), es="roya del maíz"),
        entry("wheat leaf with rust", "disease", "wheat leaf", "yellow spot", host="wheat",
              scientific="Puccinia striiformis", synonyms=("yellow stripe rust of wheat",), es="roya del trigo"),
        entry("healthy maize leaf", "condition", "maize leaf", "green leaf", host="maize", es="hoja de maíz sana"),
        entry("ripe tomato", "ripeness", "tomato", "red fruit", host="tomato"),
        entry("leafhopper", "insect", "insect", "green insect", synonyms=("jassid",), fr="cicadelle"),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("facts") / "bundle"
    shutil.copytree(DATA / "tiny_bundle", folder)
    vectors = TextEncoder(Bundle.open(folder), 1).embed([facts.visible[0] for facts in classes])
    files = {"facts/library.json.gz": encode_classes(classes), "facts/symptoms.int8": encode_symptoms(vectors)}
    (folder / "facts").mkdir()
    manifest = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    manifest["facts"] = dict(zip(("file", "symptoms"), files))
    for name, data in files.items():
        (folder / name).write_bytes(data)
        manifest["files"].append({"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    (folder / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    return folder


@pytest.fixture(scope="session")
def default_bundle() -> Path:
    """The bundle that ships in the package."""
    from agriclip_edge.bundle.reader import DEFAULT_BUNDLE

    assert DEFAULT_BUNDLE.is_dir(), f"{DEFAULT_BUNDLE} is not there: `make model` makes it"
    return DEFAULT_BUNDLE


@pytest.fixture(scope="session")
def photos() -> dict[str, Path]:
    """Real photos by name; cow is the README's own."""
    found = {path.stem: path for path in sorted((DATA / "photos").glob("*.jpg"))}
    return {"cow": ROOT / "examples" / "photos" / "cow.jpg", **found}


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the packs, the bundle or the folder of whoever runs it."""
    monkeypatch.setenv("AGRICLIP_EDGE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("AGRICLIP_EDGE_BUNDLE", raising=False)
    monkeypatch.delenv("AGRICLIP_EDGE_DEBUG", raising=False)


@pytest.fixture
def cli(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., Result]:
    """Runs one command line in this process; the bundle is the tiny one unless ``--bundle`` says otherwise."""
    from agriclip_edge.cli.app import run

    monkeypatch.setenv("AGRICLIP_EDGE_BUNDLE", str(tiny_bundle))

    def call(*arguments: str | Path) -> Result:
        capsysbinary.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsysbinary.readouterr()
        return Result(code, captured.out, captured.err.decode("utf-8"))

    return call


@pytest.fixture
def start(tiny_bundle: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts ``python -m agriclip_edge`` as a process of its own, in an empty folder, with the tiny bundle."""

    def begin(*arguments: str | bytes | Path, before: Sequence[str] = (), **options: Any) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "AGRICLIP_EDGE_BUNDLE": str(tiny_bundle), **options.pop("env", {})}
        return subprocess.Popen(
            [*before, sys.executable, "-m", "agriclip_edge", *arguments],
            env=environment,
            cwd=options.pop("cwd", tmp_path),
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=options.pop("stderr", subprocess.PIPE),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whoever runs the tests may ignore it
            **options,
        )

    return begin


@pytest.fixture
def spawn(start: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., Result]:
    """Runs one command line as a process of its own, to its end."""

    def call(*arguments: str | bytes | Path, given: bytes | None = None, **options: Any) -> Result:
        if given is not None:
            options["stdin"] = subprocess.PIPE
        with start(*arguments, **options) as process:
            try:
                out, err = process.communicate(given, timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Result(process.returncode, out or b"", (err or b"").decode("utf-8"))

    return call


@pytest.fixture(scope="session")
def mutated() -> Callable[[st.DataObject, bytes], bytes]:
    """Draws a broken copy of a real file: bits flipped, bytes set, parts cut out, doubled or put elsewhere."""
    edits = st.lists(
        st.tuples(
            st.sampled_from(("flip", "set", "cut", "double", "insert", "end")),
            st.floats(0, 1, exclude_max=True),
            st.floats(0, 1, exclude_max=True),
            st.binary(min_size=1, max_size=8)
            | st.sampled_from((b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff")),
        ),
        min_size=1,
        max_size=4,
    )

    def mutate(data: st.DataObject, original: bytes) -> bytes:
        found = bytearray(original)
        for kind, where, how_much, octets in data.draw(edits):
            at = int(where * len(found))
            to = at + 1 + int(how_much * min(64, len(found)))
            if kind == "flip" and found:
                found[at] ^= 1 << int(how_much * 8)
            elif kind == "set":
                found[at : at + len(octets)] = octets
            elif kind == "cut":
                del found[at:to]
            elif kind == "double":
                found[at:at] = found[at:to]
            elif kind == "insert":
                found[at:at] = octets
            else:
                del found[at:]
        return bytes(found)

    return mutate
