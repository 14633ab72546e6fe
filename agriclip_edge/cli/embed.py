"""``agriclip-edge embed``: image embeddings of photos, for search, clustering or training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .exits import DONE, INTERRUPTED, SOME_PHOTOS_FAILED, WRONG_USE, complain
from .photos import Listed, list_photos
from .progress import progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

EXAMPLES = """\b
Examples:
  agriclip-edge embed photos/ --output photos.safetensors
  agriclip-edge embed "*.jpg" --output photos.npy        (paths go to photos.keys.json)"""


def embed(
    photos: options.Photos,
    output: Annotated[
        Path,
        typer.Option("--output", metavar="FILE", help=".safetensors, or .npy with the paths in FILE's .keys.json."),
    ],
    bundle: options.BundlePath = None,
    threads: options.Threads = None,
    runtime: options.Runtime = None,
    log: options.LogPath = None,
) -> int:
    """Write the embeddings of photos: unit vectors, float32 (N, D), one row a photo that could be used."""
    import numpy as np

    from ..bundle.reader import Bundle
    from ..classifier import load
    from ..errors import PhotoError, RuntimeUnavailable, UsageError
    from ..parallel import ordered_map
    from ..runtimes import available_cores
    from .runlog import RunLog

    if output.suffix not in (".safetensors", ".npy"):
        raise UsageError(f"--output {output}; accepted: a name that ends in .safetensors or .npy")
    run_log = RunLog(log)
    code = WRONG_USE
    counts = {"given": 0, "answered": 0, "failed": 0}
    try:
        opened = Bundle.open(bundle)
        listed = list_photos(photos)
        counts["given"] = len(listed)
        workers = min(threads or available_cores(), max(len(listed), 1))
        classifier = load(opened, threads=threads if len(listed) <= 1 else 1, runtime=runtime)
        run_log.facts["bundle"] = {"name": opened.manifest.name, "sha256": opened.sha256}

        def work(item: Listed) -> npt.NDArray[np.float32] | str:
            """The embedding (D,) of one photo, or why there is none."""
            try:
                return item.error or classifier.embed(item.path)[0]
            except (PhotoError, RuntimeUnavailable) as error:
                return str(error)

        vectors = np.empty((len(listed), opened.manifest.embedding_dim), np.float32)
        keys: list[str] = []
        with progress(len(listed)) as advance:
            for item, result in zip(listed, ordered_map(work, listed, workers)):
                if isinstance(result, str):
                    complain(f"{item.path}: {result}")
                else:
                    vectors[len(keys)] = result
                    keys.append(item.path)
                advance()
        counts.update(answered=len(keys), failed=len(listed) - len(keys))
        if keys:
            _write(output, vectors[: len(keys)], keys, opened.sha256)
        else:
            complain(f"no photo could be used; {output} was not written")
        code = DONE if len(keys) == len(listed) else SOME_PHOTOS_FAILED
        return code
    except KeyboardInterrupt:
        code = INTERRUPTED
        raise
    finally:
        run_log.facts["photos"] = counts
        run_log.write(code)


def _write(output: Path, vectors: npt.NDArray[np.float32], keys: list[str], bundle: str) -> None:
    import numpy as np
    from numpy.lib import format as npy

    from ..files import atomic_write

    described = {"bundle": bundle, "keys": json.dumps(keys)}  # ASCII: a path that is not UTF-8 as in docs/answer.md
    if output.suffix == ".safetensors":
        from safetensors.numpy import save

        with atomic_write(output) as file:
            file.write(save({"embeddings": np.ascontiguousarray(vectors)}, described))
        return
    with atomic_write(output.with_suffix(".keys.json")) as keys_file, atomic_write(output) as file:
        keys_file.write(json.dumps({"bundle": bundle, "keys": keys}, indent=1).encode() + b"\n")
        keys_file.flush()  # a full disk says so before either file takes its name
        npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(vectors))
        file.write(vectors.data)  # np.save would say of a full disk only how many bytes it took
