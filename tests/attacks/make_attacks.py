"""Write every attack of this folder: broken and hostile bundles, packs and lessons, of ``tests/data/tiny_bundle``.

    python tests/attacks/make_attacks.py

The same tiny bundle gives the same bytes. ``expected.json`` and the table in ``README.md`` are written with them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from attack_bundles import bundles
from attack_graphs import graphs
from attack_lessons import lessons
from attack_packs import packs
from attack_tools import Attack

HERE = Path(__file__).resolve().parent
MAX_BYTES = 60_000
_SPLIT = "<!-- written by make_attacks.py from here on -->\n"


def everything() -> dict[str, bytes]:
    """Every file that is written, by its path in this folder."""
    written: dict[str, bytes] = {}
    expected: dict[str, dict[str, object]] = {}
    tables = []
    for folder, suffix, attacks in (
        ("bundles", "zip", [*bundles(), *graphs()]),
        ("packs", "safetensors", packs()),
        ("lessons", "lessons", lessons()),
    ):
        rows = []
        for attack in attacks:
            path = f"{folder}/{attack.name}.{suffix}"
            assert path not in written, f"two attacks named {path}"
            assert len(attack.data) < MAX_BYTES, f"{path} has {len(attack.data)} bytes"
            written[path] = attack.data
            expected[path] = _expected(attack)
            rows.append(f"| `{path}` | {_cell(attack.says)} | `{attack.fault}` | {_cell(attack.message)} |\n")
        head = "| file | what is wrong with it | fault | the message says |\n|---|---|---|---|\n"
        tables.append(f"\n## {folder.capitalize()}\n\n{head}{''.join(rows)}")
    written["expected.json"] = (json.dumps(expected, indent=1, ensure_ascii=False) + "\n").encode()
    page = (HERE / "README.md").read_text(encoding="utf-8").split(_SPLIT)[0]
    written["README.md"] = (page + _SPLIT + "".join(tables)).encode()
    return written


def _expected(attack: Attack) -> dict[str, object]:
    found: dict[str, object] = {"fault": attack.fault, "message": attack.message, "at": attack.at}
    if attack.zip_only:
        found["zip_only"] = True
    return found


def _cell(text: str) -> str:
    """Text for a cell of a table: control characters and bars as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text).replace("|", "\\|")


def main() -> None:
    """Write them all anew; what is no attack any more goes."""
    written = everything()
    for folder in ("bundles", "packs", "lessons"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
    for path, data in written.items():
        (HERE / path).parent.mkdir(exist_ok=True)
        (HERE / path).write_bytes(data)


if __name__ == "__main__":
    main()
