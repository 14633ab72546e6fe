"""What a photo is told apart by: hashes of its bytes and pixels, difference hashes, a thumbnail."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from agriclip_edge.errors import PhotoError
from agriclip_edge.imaging.decode import RGB, decode
from agriclip_edge.parallel import ordered_map

from .candidates import Candidate

Grey: TypeAlias = npt.NDArray[np.uint8]

THUMBNAIL = 16  # pixels a side
TURNS = (
    "",
    "turned 90°",
    "turned 180°",
    "turned 270°",
    "mirrored",
    *(f"mirrored, turned {a}°" for a in (90, 180, 270)),
)
_FLUSH = 64  # photos between writes of the journal: a killed run repeats no more than these


class Print(msgspec.Struct, frozen=True):
    """One photo's fingerprint.

    Attributes:
        key: `Candidate.key`.
        file: sha256 of the file's bytes.
        pixels: sha256 of the decoded pixels and their shape.
        width: upright, in pixels; of the box, where there is one.
        height: upright, in pixels.
        hashes: 64-bit difference hashes of the photo as it is and in the seven other positions of `TURNS`.
        thumbnail: grey, 16×16, row by row.
        error: why the photo cannot be used; everything else is empty then.
    """

    key: str
    file: str = ""
    pixels: str = ""
    width: int = 0
    height: int = 0
    hashes: tuple[int, ...] = ()
    thumbnail: bytes = b""
    error: str = ""


def fingerprint(rgb: RGB, key: str = "", file: str = "") -> Print:
    """The fingerprint of a picture, uint8 (H, W, 3)."""
    grey = Image.fromarray(rgb).convert("L")
    pixels = hashlib.sha256(f"{rgb.shape}".encode() + np.ascontiguousarray(rgb).tobytes()).hexdigest()
    height, width = rgb.shape[:2]
    return Print(
        key, file, pixels, width, height, difference_hashes(grey), _shrink(grey, THUMBNAIL, THUMBNAIL).tobytes()
    )


def difference_hashes(grey: Image.Image) -> tuple[int, ...]:
    """Whether each of 8×8 cells is brighter than its left neighbour, as 64 bits, for the eight positions of `TURNS`.

    Source: N. Krawetz, "Kind of like that" (2013): the dHash. A turned picture's 9×8 cells are those of the picture
    itself, turned, so that two reductions serve all eight.
    """
    wide, tall = _shrink(grey, 9, 8), _shrink(grey, 8, 9)
    hashes = []
    for turn in range(len(TURNS)):
        cells = turn_grey(tall if turn % 2 else wide, turn)
        bits = np.packbits(cells[:, 1:] > cells[:, :-1])
        hashes.append(int.from_bytes(bits.tobytes(), "big"))
    return tuple(hashes)


def turn_grey(grey: Grey, turn: int) -> Grey:
    """A grey picture (H, W) in position number ``turn`` of `TURNS`."""
    return np.rot90(grey[:, ::-1] if turn >= 4 else grey, turn % 4)


def read_prints(
    candidates: Sequence[Candidate], journal: Path, workers: int, progress: Callable[[int], None]
) -> list[Print]:
    """Fingerprint every candidate, or take its fingerprint from the journal of an earlier run.

    Args:
        candidates: in any order; those of one file that follow one another are decoded once.
        journal: file of JSON lines that is read first and added to.
        workers: threads.
        progress: called with the number of photos that each step has finished.

    Returns:
        one fingerprint a candidate, in order; those that cannot be used carry an error.
    """
    known = _read_journal(journal)
    prints = {candidate.key: known[candidate.key] for candidate in candidates if candidate.key in known}
    progress(sum(candidate.key in prints for candidate in candidates))
    missing = [candidate for candidate in candidates if candidate.key not in prints]
    files = [list(group) for _, group in groupby(missing, key=lambda candidate: candidate.blob)]
    with journal.open("ab") as file:
        waiting = 0
        for found in ordered_map(_fingerprint_file, files, workers):
            for entry in found:
                prints[entry.key] = entry
                file.write(msgspec.json.encode(entry) + b"\n")
            waiting += len(found)
            if waiting >= _FLUSH:
                file.flush()
                waiting = 0
            progress(len(found))
    return [prints[candidate.key] for candidate in candidates]


def _fingerprint_file(candidates: Sequence[Candidate]) -> list[Print]:
    try:
        data = candidates[0].blob.read()
        rgb = decode(data)
    except PhotoError as error:
        return [Print(candidate.key, error=str(error)) for candidate in candidates]
    file = hashlib.sha256(data).hexdigest()
    return [_fingerprint_part(candidate, rgb, file) for candidate in candidates]


def _fingerprint_part(candidate: Candidate, rgb: RGB, file: str) -> Print:
    try:
        part = rgb if candidate.box is None else candidate.box.cut(rgb)
    except PhotoError as error:
        return Print(candidate.key, error=str(error))
    return fingerprint(part, candidate.key, file)


def _read_journal(path: Path) -> dict[str, Print]:
    """What earlier runs have found; a line that was cut off by a kill is cut away, so that the next begins its own."""
    if not path.exists():
        return {}
    decoder = msgspec.json.Decoder(Print)
    found, whole = {}, 0
    with path.open("r+b") as file:
        for line in file:
            try:
                entry = decoder.decode(line)
            except msgspec.MsgspecError:
                break
            if not line.endswith(b"\n"):
                break
            found[entry.key] = entry
            whole += len(line)
        file.truncate(whole)
    return found


def _shrink(grey: Image.Image, width: int, height: int) -> Grey:
    return np.asarray(grey.resize((width, height), Image.Resampling.BOX))


@dataclass(frozen=True)
class PrintTable:
    """Fingerprints as arrays, for the search: hashes uint64 (N, 8), thumbnails uint8 (N, 256)."""

    hashes: npt.NDArray[np.uint64]
    thumbnails: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, prints: Iterable[Print]) -> PrintTable:
        """Stack fingerprints that carry no error."""
        rows = list(prints)
        hashes = np.array([row.hashes for row in rows], np.uint64).reshape(-1, len(TURNS))
        grey = np.frombuffer(b"".join(row.thumbnail for row in rows), np.uint8)
        return cls(hashes, grey.reshape(-1, THUMBNAIL * THUMBNAIL))
