"""The exit codes, one line a failure, and nobody left with half an output."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import agriclip_edge

Cli = Callable[..., Any]

COMMANDS = (
    ["classify"], ["embed"], ["info"], ["verify"], ["doctor"], ["packs"],
    ["packs", "list"], ["packs", "show"], ["packs", "build"], ["packs", "add"], ["packs", "remove"],
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_examples(command: list[str], cli: Cli) -> None:
    for flag in ("--help", "-h"):
        done = cli(*command, flag)
        assert (done.code, done.lines) == (0, [])
        assert "Examples:" in done.text
        assert f"agriclip-edge {command[0]}" in done.text


def test_help_says_all_there_is(cli: Cli) -> None:
    done = cli("--help")
    assert done.code == 0
    for command in COMMANDS[:6]:
        assert f"\n  {command[0]} " in done.text
    assert "Exit codes: 0 all done, 1 some photos failed, 2 wrong use or a broken bundle, 130 interrupted" in done.text


def test_no_command(cli: Cli) -> None:
    for arguments in ([], ["packs"]):
        done = cli(*arguments)
        assert done.code == 2
        assert "Usage: agriclip-edge" in done.text


def test_version(cli: Cli) -> None:
    done = cli("--version")
    assert (done.code, done.text) == (0, f"agriclip-edge {agriclip_edge.__version__}\n")


@pytest.mark.parametrize(
    "arguments", [["clasify"], ["--colour"], ["packs", "drop"], ["verify", "a", "b"]], ids=" ".join
)
def test_wrong_command(arguments: list[str], cli: Cli) -> None:
    done = cli(*arguments)
    assert (done.code, done.out, len(done.lines)) == (2, b"", 1)
    assert done.lines[0].startswith("agriclip-edge: ")
    assert done.lines[0].endswith("--help)")


def test_a_mistyped_command_is_told_its_neighbours(cli: Cli) -> None:
    assert "Did you mean 'classify'" in cli("clasify").lines[0]
    assert "Did you mean 'build'" in cli("packs", "biuld").lines[0]


def test_one_command_after_another(cli: Cli) -> None:
    """Whatever was asked for before, every command is there."""
    for command in (["info"], ["packs", "list"], ["packs", "show", "field-cover"], ["info"]):
        assert cli(*command).code == 0


def test_exit_code_of_the_process(spawn: Cli, field: Path) -> None:
    assert spawn("classify", "missing.jpg").code == 1
    assert spawn("classify").code == 2


# --- Closed pipes ---------------------------------------------------------------------------------------------------


def test_a_reader_that_has_seen_enough(start: Cli, field: Path) -> None:
    """As `| head -1` does."""
    with start("classify", *["field"] * 400, "--format", "jsonl") as process:
        assert process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read().decode()
        assert process.wait(30) == 1
    assert len(err.splitlines()) == 1
    assert err.startswith("agriclip-edge: the reader of the output closed it; stopped after ")
    assert err.endswith(" of 1200 photos\n")


@pytest.mark.parametrize("command", [["info"], ["--help"], ["classify", "field/b.png"]], ids=" ".join)
def test_a_reader_that_never_reads(command: list[str], start: Cli, field: Path) -> None:
    with start(*command) as process:
        process.stdout.close()
        err = process.stderr.read().decode()
        assert process.wait(30) == 1
    assert len(err.splitlines()) <= 1
    assert "Traceback" not in err


def test_nobody_reads_stderr(start: Cli, field: Path) -> None:
    with start("classify", "missing.jpg", "field/b.png", "--format", "jsonl") as process:
        process.stderr.close()
        out = process.stdout.read()
        assert process.wait(30) == 1
    assert len(out.splitlines()) == 2


# --- Full disks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [["info"], ["packs", "list", "--json"], ["classify", "field"]],
    ids=" ".join,
)
def test_stdout_on_a_full_disk(command: list[str], spawn: Cli, field: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = spawn(*command, stdout=full)
    assert (done.code, done.lines) == (
        2,
        ["agriclip-edge: the output: No space left on device; make room there, or choose another place"],
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A folder that takes some kilobytes, and what goes before a command: a real small disk where that is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode == 0:
        yield folder, ()
        subprocess.run(["umount", folder], check=True)
    else:
        yield folder, ("prlimit", "--fsize=8000")


WRITERS: dict[str, list[str]] = {
    "classify": ["classify", *["field"] * 40, "--output", "disk/answers.json"],
    "embed": ["embed", *["field"] * 60, "--output", "disk/photos.safetensors"],
    "embed to npy": ["embed", *["field"] * 60, "--output", "disk/photos.npy"],
    "packs build": ["packs", "build", "many", "--labels-file", "many.txt", "--output", "disk/many.safetensors"],
}


@pytest.mark.parametrize("command", WRITERS.values(), ids=list(WRITERS))
def test_a_disk_that_is_full(
    command: list[str], spawn: Cli, field: Path, small_disk: tuple[Path, tuple[str, ...]]
) -> None:
    """One line that names the disk; no output, whole or half; of `classify` the journal stays."""
    Path("many.txt").write_text("".join(f"leaf {number}\n" for number in range(400)))
    folder, before = small_disk
    done = spawn(*command, before=before)
    assert (done.code, done.out, len(done.lines)) == (2, b"", 1)
    assert "No space left on device" in done.lines[0] or "File too large" in done.lines[0]
    assert "disk" in done.lines[0]
    assert os.listdir(folder) == (["answers.json.partial"] if command[0] == "classify" else [])


# --- Ctrl-C ---------------------------------------------------------------------------------------------------------


def test_ctrl_c_while_printing(start: Cli, field: Path) -> None:
    with start("classify", *["field"] * 2000, "--format", "jsonl") as process:
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = first + process.stdout.read(), process.stderr.read()
        assert process.wait(30) == 130
    assert err.decode().splitlines() == ["agriclip-edge: interrupted"]
    assert out.endswith(b"}\n")  # whole lines


# --- The progress bar -----------------------------------------------------------------------------------------------


def test_progress_bar_on_a_terminal(start: Cli, field: Path) -> None:
    ours, theirs = pty.openpty()
    seen = b""
    with start("classify", *["field"] * 100, "--format", "jsonl", "--output", "a.jsonl", stderr=theirs) as process:
        os.close(theirs)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the terminal is closed when the process is gone
                break
            if not part:
                break
            seen += part
        process.stdout.close()
        assert process.wait(30) == 0
    os.close(ours)
    assert b"photos/s" in seen
    assert b"300/300" in seen


def test_no_progress_bar_elsewhere(cli: Cli, field: Path) -> None:
    assert cli("classify", *["field"] * 10).err == ""


def test_a_home_that_is_no_folder(cli: Cli, field: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("home").write_text("a file")
    monkeypatch.setenv("AGRICLIP_EDGE_HOME", "home")
    done = cli("packs", "build", "x", "--labels", "rust")
    assert (done.code, done.out, len(done.lines)) == (2, b"", 1)
    assert "home/packs: Not a directory" in done.lines[0]
