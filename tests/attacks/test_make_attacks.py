"""The committed attacks are those that make_attacks.py writes from the tiny bundle, byte for byte."""

from __future__ import annotations

from pathlib import Path

from make_attacks import MAX_BYTES, everything

HERE = Path(__file__).resolve().parent


def test_writing_them_again_gives_the_same_bytes() -> None:
    written = everything()
    folders = ("bundles", "packs", "lessons")
    committed = {path.relative_to(HERE).as_posix() for folder in folders for path in (HERE / folder).iterdir()}
    assert committed == {path for path in written if path.startswith(folders)}
    changed = [path for path, data in written.items() if (HERE / path).read_bytes() != data]
    assert changed == [], "write them again: python tests/attacks/make_attacks.py"
    assert all((HERE / path).stat().st_size < MAX_BYTES for path in committed)
