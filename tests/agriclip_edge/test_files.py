"""A file is written whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agriclip_edge.files import atomic_write


def test_replaces_when_all_went_well(tmp_path: Path) -> None:
    target = tmp_path / "answers.json"
    target.write_text("old")
    with atomic_write(target) as file:
        file.write(b"new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["answers.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_leaves_the_old_when_something_fails(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "answers.json"
    target.write_text("old")
    with pytest.raises(error), atomic_write(target) as file:
        file.write(b"half")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["answers.json"]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A process that may write no file of more than 1,000 bytes, as on a disk that is nearly full."""
    program = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from agriclip_edge.files import atomic_write\n"
        "try:\n"
        "    with atomic_write(sys.argv[1]) as file:\n"
        "        file.write(bytes(100_000))\n"
        "except OSError as error:\n"
        "    print(error.strerror)"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, tmp_path / "big"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "File too large\n"
    assert os.listdir(tmp_path) == []


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "none" / "answers.json"):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)], ids=oct)
def test_others_may_read_it_as_any_file(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "a") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode
