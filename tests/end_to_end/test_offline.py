"""Nothing leaves the device and nothing is written but what was named, whatever command of the installed wheel runs.

Held twice at a time: by an audit hook in the process, which refuses sockets and notes every change to the file system,
and, where Linux allows it, in a network namespace that has no network, for what does not go through Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).resolve().parents[2]

# Python runs a module of this name at its start. It is the same process as the command: nothing is asked of ours.
SITECUSTOMIZE = """
import os
import sys

_log = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND)
_paths = {
    "os.remove": (0,), "os.rmdir": (0,), "os.mkdir": (0,), "os.chmod": (0,), "os.chown": (0,), "os.truncate": (0,),
    "os.utime": (0,), "os.setxattr": (0,), "os.rename": (0, 1), "os.link": (0, 1), "os.symlink": (1,),
    "shutil.rmtree": (0,), "sqlite3.connect": (0,),
}
_refused = ("socket.__new__", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind",
            "socket.sendto", "socket.gethostname", "urllib.Request", "subprocess.Popen", "os.system", "os.exec",
            "os.posix_spawn", "os.fork")

def _note(event, path):
    path = os.fsdecode(path) if isinstance(path, (str, bytes)) or hasattr(path, "__fspath__") else repr(path)
    os.write(_log, (event + "\\t" + os.path.abspath(path) + "\\n").encode("utf-8", "backslashreplace"))

def _watch(event, arguments):
    if event in _refused:
        _note(event, repr(arguments))
        raise PermissionError("refused by the test: " + event)
    if event == "open":
        path, mode, flags = arguments
        if isinstance(path, int):
            return  # a file that is open already, and was noted then
        writes = isinstance(mode, str) and set(mode) & set("wax+")
        if writes or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
            _note(event, path)
    else:
        for place in _paths.get(event, ()):
            _note(event, arguments[place])

sys.addaudithook(_watch)
os.write(_log, b"watching\\t\\n")
"""


@dataclass(frozen=True)
class Command:
    """One command line and the files that it names."""

    words: tuple[str, ...]
    writes: tuple[str, ...] = ()  # files and folders, in the folder where it runs
    prints: str = ""  # a part of what it prints
    env: tuple[tuple[str, str], ...] = ()


# Else the shell is read from the processes above, and a test may have none there.
NAMED_SHELL = (("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1"),)
HOME = "home"  # AGRICLIP_EDGE_HOME, in the folder where it runs; the choice of a runtime is remembered there
COMPLETE = (
    ("_AGRICLIP_EDGE_COMPLETE", "complete_bash"),
    ("COMP_WORDS", "agriclip-edge classify --pack man"),
    ("COMP_CWORD", "3"),
)
COMMANDS = {
    "classify": Command(("classify", "cow.jpg"), (HOME,), prints="cow"),
    "classify a folder": Command(("classify", "photos", "--format", "jsonl"), (HOME,), prints='"error": null'),
    "classify by a pack": Command(("classify", "cow.jpg", "--pack", "mango-leaf-disease"), (HOME,), prints="mango"),
    "classify by labels": Command(("classify", "cow.jpg", "--labels", "a cow, a lemon"), (HOME,), prints="a cow"),
    "classify to a file": Command(
        ("classify", "photos", "--output", "out/answers.csv", "--log", "out/run.json"), writes=("out", HOME)
    ),
    "embed": Command(("embed", "photos", "--output", "out/photos.npy", "--log", "out/run.json"), writes=("out", HOME)),
    "embed as safetensors": Command(("embed", "cow.jpg", "--output", "out/cow.safetensors"), writes=("out", HOME)),
    "info": Command(("info",), prints="sha256"),
    "verify": Command(("verify",), prints="text encoder"),
    "packs list": Command(("packs", "list"), prints="mango-leaf-disease"),
    "packs show": Command(("packs", "show", "mango-leaf-disease"), prints="anthracnose"),
    "packs build": Command(("packs", "build", "mine", "--labels", "rust, blight"), (HOME,), prints="2 labels"),
    "packs build to a file": Command(
        ("packs", "build", "mine", "--labels", "rust, blight", "--output", "out/mine.safetensors"), writes=("out",)
    ),
    "packs add": Command(("packs", "add", "own.safetensors"), (HOME,), prints="labels"),
    "packs remove": Command(("packs", "remove", "old"), (HOME,), prints="removed"),
    "doctor": Command(("doctor",), prints="onnxruntime"),
    "help": Command(("--help",), prints="classify"),
    "help of a command": Command(("classify", "--help"), prints="--labels"),
    "version": Command(("--version",), prints="agriclip-edge"),
    "completion script": Command(("--show-completion", "bash"), prints="complete", env=NAMED_SHELL),
    "completion": Command((), prints="mango-leaf-disease", env=COMPLETE),
}
EACH = pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """The folder where a command runs: photos, a pack, a place for outputs, a home with a pack."""
    folder = tmp_path / "field"
    (folder / "photos").mkdir(parents=True)
    (folder / "out").mkdir()
    (folder / HOME / "packs").mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "photos" / "cow.jpg", folder)
    shutil.copy(ROOT / "tests" / "data" / "photos" / "perch.jpg", folder / "photos")
    shutil.copy(ROOT / "tests" / "data" / "photos" / "duck.jpg", folder / "photos")
    shipped = ROOT / "agriclip_edge" / "default_bundle" / "packs" / "mango-leaf-disease.safetensors"
    shutil.copy(shipped, folder / "own.safetensors")
    shutil.copy(shipped, folder / HOME / "packs" / "old.safetensors")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def changed_outside(before: dict[str, bytes], after: dict[str, bytes], named: tuple[str, ...]) -> list[str]:
    """Files that are new, gone or other than before, but for those under the named folders."""
    different = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return sorted(name for name in different if not name.startswith(tuple(f"{folder}/" for folder in named)))


@cache
def without_network() -> tuple[str, ...]:
    """The words that start a program where there is no network; none where that is not allowed."""
    if shutil.which("unshare") is None:
        return ()
    ways = ("unshare", "-n"), ("unshare", "-rn")
    allowed = (way for way in ways if subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0)
    return next(allowed, ())


@EACH
def test_nothing_leaves_and_nothing_stray_is_written(command: Command, run: Run, field: Path, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
    log = tmp_path / "audit.log"
    log.touch()
    before = files(field)
    env = {"PYTHONPATH": str(hook), "AUDIT_LOG": str(log), "PYTHONDONTWRITEBYTECODE": "1", **dict(command.env)}
    env["AGRICLIP_EDGE_HOME"] = str(field / HOME)
    done = run(*without_network(), "agriclip-edge", *command.words, cwd=field, env=env)
    assert done.returncode == 0
    typed = 2 if {"--labels", "--labels-file"} & set(command.words) else 0
    meant = [line.endswith((", its words alone", ")")) for line in done.stderr.splitlines()]
    assert meant == [True] * typed, done.stderr  # one line a label: what it was taken to mean
    assert command.prints in done.stdout
    events = [line.split("\t") for line in log.read_text(encoding="utf-8").splitlines()]
    assert events.pop(0) == ["watching", ""]
    named = tuple(f"{field / folder}{os.sep}" for folder in command.writes)
    assert [(event, path) for event, path in events if not (named and f"{path}{os.sep}".startswith(named))] == []
    assert changed_outside(before, files(field), command.writes) == []
    written = {name for name, data in files(field).items() if before.get(name) != data} | (before.keys() - files(field))
    assert bool(written) == bool(command.writes), written
    assert not [name for name in written if name.endswith((".tmp", ".partial"))]


@pytest.mark.parametrize("attempt", ["connect", "resolve", "unix", "write"])
def test_the_watch_itself_sees(attempt: str, run: Run, field: Path, tmp_path: Path) -> None:
    """What it is to refuse is refused, what it is to note is noted."""
    hook, log = tmp_path / "hook", tmp_path / "audit.log"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
    log.touch()
    programs = {
        "connect": "import socket; socket.create_connection(('127.0.0.1', 9), timeout=1)",
        "resolve": "import socket; socket.getaddrinfo('localhost', 80)",
        "unix": "import socket; socket.socket(socket.AF_UNIX)",
        "write": "open('stray', 'w').close()",
    }
    surroundings = {"PYTHONPATH": str(hook), "AUDIT_LOG": str(log)}
    done = run("python", "-c", programs[attempt], cwd=field, env=surroundings)
    noted = log.read_text(encoding="utf-8")
    if attempt == "write":
        assert done.returncode == 0
        assert f"open\t{field / 'stray'}\n" in noted
    else:
        assert "PermissionError: refused by the test" in done.stderr
        assert "socket." in noted
