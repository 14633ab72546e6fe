"""The rules of the house: who imports whom, what the wheel holds, what a public docstring says."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tomllib

import agriclip_edge

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "timm", "open_clip", "onnx", "openvino", "tensorrt", "transformers")


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    program = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    return set(run.stdout.split("\n")[-2].split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = modules_after("import agriclip_edge")
    assert "agriclip_edge" in loaded
    assert not loaded & {*HEAVY, "numpy", "PIL", "onnxruntime", "typer", "click", "msgspec", "safetensors"}


def test_loading_a_classifier_loads_no_training_or_other_runtime() -> None:
    bundle = ROOT / "tests" / "data" / "tiny_bundle"
    loaded = modules_after(
        f"import agriclip_edge; agriclip_edge.load({str(bundle)!r}).classify('examples/photos/cow.jpg')"
    )
    assert "onnxruntime" in loaded
    assert not loaded & set(HEAVY)


def test_help_loads_no_numerics() -> None:
    program = "import agriclip_edge.cli.app as app; app.run(['classify', '--help'])"
    loaded = modules_after(program)
    assert "typer" in loaded
    assert not loaded & {"numpy", "PIL", "onnxruntime", "rich", "msgspec", "logging"}


def test_listing_packs_loads_no_pillow() -> None:
    loaded = modules_after("import agriclip_edge.cli.app as app; app.run(['packs', 'list'])")
    assert "numpy" in loaded
    assert not loaded & {"PIL", "onnxruntime"}


def test_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout


def wheel() -> Path:
    """The wheel that the Makefile builds before any test."""
    wheels = sorted((ROOT / "build" / "wheel").glob("agriclip_edge-*.whl"))
    assert len(wheels) == 1, "no wheel in build/wheel; run: make test"
    return wheels[0]


def test_the_wheel_holds_the_package_alone() -> None:
    with zipfile.ZipFile(wheel()) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {re.sub(r"-[^-]+\.dist-info$", ".dist-info", top) for top in tops} == {
        "agriclip_edge",
        "agriclip_edge.dist-info",
    }


def test_the_wheel_holds_every_file_of_the_package() -> None:
    source = ROOT / "agriclip_edge"
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel()) as archive:
        held = {name for name in archive.namelist() if name.startswith("agriclip_edge/")}
    assert held == expected


def test_the_runtime_needs_six_light_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[<>=\[ ]", requirement)[0] for requirement in project["dependencies"]}
    assert names - {"click"} == {"msgspec", "numpy", "onnxruntime", "pillow", "safetensors", "typer"}


PUBLIC = [name for name in agriclip_edge.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example_that_runs(name: str) -> None:
    thing = getattr(agriclip_edge, name)
    assert ">>> " in (thing.__doc__ or ""), f"{name} has no example; `make check` runs those that are there"
    if inspect.isclass(thing) and not issubclass(thing, BaseException):
        for key, value in vars(thing).items():
            function = getattr(value, "__func__", value)
            if inspect.isfunction(function) and not key.startswith("_") and function.__module__.startswith("agriclip"):
                assert function.__doc__, f"{name}.{key} has no docstring"


def test_public_names_are_those_of_the_api_page() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)", page, flags=re.MULTILINE) == PUBLIC


def tracked_text() -> list[Path]:
    """Text files of the repository, as git lists them."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    suffixes = {".py", ".md", ".toml", ".txt", ".yaml", ".json", ".svg", ".csv", ""}
    return [ROOT / name for name in names if Path(name).suffix in suffixes and (ROOT / name).is_file()]


def test_no_file_names_a_machine() -> None:
    forbidden = re.compile(r"(?<![\w./])/(?:work|home|root|Users)/\w")
    own = Path(__file__).resolve()
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked_text()
        if path != own
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if forbidden.search(line)
    ]
    assert found == []


def test_every_shipped_photo_has_its_source_and_licence() -> None:
    for folder in (ROOT / "examples" / "photos", ROOT / "tests" / "data" / "photos"):
        sources = (folder / "SOURCES.md").read_text(encoding="utf-8")
        photos = [path for path in folder.iterdir() if path.suffix == ".jpg"]
        assert photos
        for photo in photos:
            row = next(line for line in sources.splitlines() if f"`{photo.name}`" in line)
            assert re.search(r"public domain|CC0|CC-BY", row, flags=re.IGNORECASE), photo.name
