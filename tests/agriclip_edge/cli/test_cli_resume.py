"""An interrupted run loses nothing: its journal is taken up, and the result is that of an uninterrupted one."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
FILES, ROUNDS = 25, 16
OUTPUT, JOURNAL = Path("answers.json"), Path("answers.json.partial")


@pytest.fixture
def many(tmp_path: Path, photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments that name 400 photos, one of them broken; each photo many times."""
    monkeypatch.chdir(tmp_path)
    for number in range(FILES - 1):
        photo(Path("many", f"{number:02}.png"), number, 200)
    Path("many", "broken.jpg").write_text("rust")
    return ["many"] * ROUNDS


@pytest.fixture
def expected(many: list[str], cli: Cli) -> bytes:
    """What a run writes that nobody interrupts."""
    assert cli("classify", *many, "--output", "uninterrupted.json").code == 1
    return Path("uninterrupted.json").read_bytes()


def whole_lines() -> int:
    return JOURNAL.read_bytes().count(b"\n") if JOURNAL.exists() else 0


def interrupted(start: Cli, many: list[str], with_signal: int, *more: str) -> tuple[int, bytes]:
    """Starts a run and sends it a signal when some photos are done."""
    with start("classify", *many, "--output", OUTPUT, *more) as process:
        end = time.monotonic() + 30
        while whole_lines() < 20:
            assert process.poll() is None and time.monotonic() < end, process.communicate()[1]
            time.sleep(0.002)
        process.send_signal(with_signal)
        _, err = process.communicate(timeout=30)
        return process.returncode, err


def test_ctrl_c_and_resume(many: list[str], expected: bytes, start: Cli, cli: Cli) -> None:
    code, err = interrupted(start, many, signal.SIGINT, "--log", "run.json")
    complaints = [line for line in err.decode().splitlines() if "broken.jpg" not in line]
    done = whole_lines() - 1
    assert code == 130
    assert 19 <= done < FILES * ROUNDS
    assert len(complaints) == 1
    assert "photos are in answers.json.partial; --resume goes on" in complaints[0]
    assert not OUTPUT.exists()
    log = json.loads(Path("run.json").read_text())
    assert log["exit_code"] == 130
    assert log["photos"]["given"] == FILES * ROUNDS

    resumed = cli("classify", *many, "--output", OUTPUT, "--resume", "--log", "run.json")
    assert resumed.code == 1  # the broken photo
    assert OUTPUT.read_bytes() == expected
    assert not JOURNAL.exists()
    counts = json.loads(Path("run.json").read_text())["photos"]
    assert counts == {"given": 400, "answered": 384, "failed": 16, "resumed": done}


def test_killed_in_the_middle_of_a_line(many: list[str], expected: bytes, start: Cli, cli: Cli) -> None:
    """A process that is killed, and the half line of a disk that lost its last block."""
    code, _ = interrupted(start, many, signal.SIGKILL)
    assert code == -signal.SIGKILL
    whole = JOURNAL.read_bytes()
    JOURNAL.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 30])
    assert cli("classify", *many, "--output", OUTPUT, "--resume").code == 1
    assert OUTPUT.read_bytes() == expected
    assert not JOURNAL.exists()


NAMES = [f"{number}.png" for number in range(5)]
NEARLY_FULL = 1400  # bytes that a file may have: the header and two or three records


@pytest.fixture
def journal(tmp_path: Path, photo: Callable[..., Path], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The journal of a run over five photos that a full disk has stopped (a limit on the size of files, here)."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(NAMES):
        photo(Path(name), number)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (NEARLY_FULL, before[1]))
    try:
        done = cli("classify", *NAMES, "--output", OUTPUT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (done.code, done.out) == (2, b"")
    assert done.lines == ["agriclip-edge: answers.json.partial: File too large"]
    assert not OUTPUT.exists()
    assert 2 <= whole_lines() <= 4
    return JOURNAL.read_bytes()


def test_a_full_disk_and_resume(journal: bytes, cli: Cli) -> None:
    assert cli("classify", *NAMES, "--output", "other.json").code == 0
    done = cli("classify", *NAMES, "--output", OUTPUT, "--resume")
    assert (done.code, done.lines) == (0, [])
    assert OUTPUT.read_bytes() == Path("other.json").read_bytes()
    assert sorted(os.listdir()) == [*NAMES, "answers.json", "other.json"]


def test_what_is_done_is_not_done_again(journal: bytes, cli: Cli) -> None:
    """The photos that the journal knows are gone, and nobody misses them."""
    os.unlink(NAMES[0])
    assert cli("classify", *NAMES, "--output", OUTPUT, "--resume").code == 0
    assert [record["error"] for record in json.loads(OUTPUT.read_text())] == [None] * 5


def test_more_photos_than_before(journal: bytes, cli: Cli, photo: Callable[..., Path]) -> None:
    photo(Path("9.png"), 9)
    names = ["9.png", NAMES[0], *NAMES, NAMES[0]]
    assert cli("classify", *names, "--output", "other.json").code == 0
    assert cli("classify", *names, "--output", OUTPUT, "--resume").code == 0
    assert OUTPUT.read_bytes() == Path("other.json").read_bytes()


def test_fewer_photos_than_before(journal: bytes, cli: Cli) -> None:
    assert cli("classify", NAMES[4], "--output", OUTPUT, "--resume").code == 0
    assert [record["path"] for record in json.loads(OUTPUT.read_text())] == [NAMES[4]]


def test_another_format_of_the_same_answers(journal: bytes, cli: Cli) -> None:
    cli("classify", *NAMES, "--output", "other.csv")
    assert cli("classify", *NAMES, "--output", OUTPUT, "--resume", "--format", "csv").code == 0
    assert OUTPUT.read_bytes() == Path("other.csv").read_bytes()


def test_nothing_is_begun_anew_unasked(journal: bytes, cli: Cli) -> None:
    done = cli("classify", *NAMES, "--output", OUTPUT)
    assert (done.code, done.lines) == (
        2,
        ["agriclip-edge: answers.json.partial holds an interrupted run; --resume goes on with it, or delete it"],
    )
    assert JOURNAL.read_bytes() == journal


OTHERS = (
    ["--labels", "red soil, blue sky"],
    ["--pack", "field-cover"],
    ["--top-k", "3"],
    ["--min-confidence", "0.2"],
)


@pytest.mark.parametrize("other", OTHERS, ids=" ".join)
def test_other_answers_are_not_mixed_in(other: list[str], journal: bytes, cli: Cli) -> None:
    done = cli("classify", *NAMES, "--output", OUTPUT, "--resume", *other)
    assert (done.code, len(done.lines)) == (2, 1)
    assert "answers.json.partial is of another bundle, labels or options; delete it to begin anew" in done.lines[0]
    assert JOURNAL.read_bytes() == journal
    assert not OUTPUT.exists()


def test_another_working_folder(journal: bytes, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    done = cli("classify", *NAMES, "--output", tmp_path / OUTPUT, "--resume")
    assert (done.code, len(done.lines)) == (2, 1)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"rust\n", b"[]\n", b"\xff\xfe\n"], ids=["empty", "half", "text", "array", "bytes"]
)
def test_a_journal_that_is_none(content: bytes, journal: bytes, cli: Cli) -> None:
    JOURNAL.write_bytes(content)
    done = cli("classify", *NAMES, "--output", OUTPUT, "--resume")
    assert (done.code, len(done.lines)) == (2, 1)
    assert "delete it to begin anew" in done.lines[0]
    assert JOURNAL.read_bytes() == content


@pytest.mark.parametrize("line", [b"rust\n", b"[1, 2]\n", b'{"path": 3}\n', b"{}\n", b"\xff\n", b"null\n"], ids=repr)
def test_a_broken_record_is_done_again(line: bytes, journal: bytes, cli: Cli) -> None:
    cli("classify", *NAMES, "--output", "other.json")
    lines = journal.splitlines(keepends=True)
    JOURNAL.write_bytes(lines[0] + line + b"".join(lines[1:]))
    done = cli("classify", *NAMES, "--output", OUTPUT, "--resume")
    assert (done.code, done.lines) == (0, [])
    assert OUTPUT.read_bytes() == Path("other.json").read_bytes()


def test_resume_without_anything_to_resume(cli: Cli, field: Path) -> None:
    """As a script calls it that always says --resume: first a whole run, then nothing."""
    assert cli("classify", "field", "--output", OUTPUT, "--resume").code == 0
    before = OUTPUT.stat()
    done = cli("classify", "field", "--output", OUTPUT, "--resume")
    assert (done.code, done.lines) == (0, ["agriclip-edge: answers.json is complete; nothing to resume"])
    assert OUTPUT.stat().st_mtime_ns == before.st_mtime_ns
