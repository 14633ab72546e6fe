"""The licence texts that a bundle carries."""

from __future__ import annotations

from pathlib import Path

APACHE = "LICENSES/Apache-2.0.txt"

_OWN = Path(__file__).resolve().parent.parent / "LICENSE"  # ours is the Apache licence 2.0 too


def licence_files() -> dict[str, bytes]:
    """Contents of the licence texts by their path inside a bundle."""
    return {APACHE: _OWN.read_bytes()}
