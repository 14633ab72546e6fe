"""Photos out of shards: all of them in memory, or as a stream that many processes share."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np

from agriclip_edge.errors import PhotoError, UsageError
from agriclip_edge.imaging.decode import RGB, decode
from agriclip_edge.parallel import ordered_map

from ..data import SPLITS, Collection, DataError, Photos
from .index import Sample, Shard, read_index

Item: TypeAlias = tuple[RGB, str, str, dict[str, Any]]  # picture, label, task, the rest of `Sample`

_DECODERS = 2  # as training.data: decoding is a small part of any run


def read_shards(root: Path, split: str, progress: Callable[[Shard], None] | None = None) -> tuple[Collection, Photos]:
    """Decode all photos of one split, as `training.data.read_photos` does for a collection of tars.

    Args:
        root: folder that `build-shards` wrote.
        split: ``train``, ``val``, ``query`` or ``support``.
        progress: called after each shard.

    Returns:
        the collection, whose labels number the answers, and its photos in the order of the shards.

    Raises:
        DataError: the index or a shard is missing, broken, or holds other photos than the index says.
    """
    index = read_index(root)
    collection = index.collection(root)
    task_number = {task.name: number for number, task in enumerate(collection.tasks)}
    label_number = {label: number for number, label in enumerate(collection.labels)}
    rgb: list[RGB] = []
    answers: list[tuple[int, int]] = []
    digest = hashlib.sha256()
    for shard in _of_split(index.shards, split):
        found = list(_samples(root / shard.name))
        if len(found) != shard.photos:
            raise DataError(f"{root / shard.name} holds {len(found)} photos; the index says {shard.photos}")
        for sample, data in found:
            if sample.task not in task_number or sample.label not in label_number:
                raise DataError(f"{root / shard.name}: {sample.path} is of task {sample.task!r}, {sample.label!r}")
            digest.update(hashlib.sha256(data).digest())
            answers.append((task_number[sample.task], label_number[sample.label]))
        rgb += ordered_map(lambda entry: _decode(*entry), found, workers=_DECODERS)
        if progress is not None:
            progress(shard)
    table = np.array(answers, dtype=np.int64).reshape(-1, 2)
    return collection, Photos(tuple(rgb), table[:, 0], table[:, 1], digest.hexdigest())


def stream_shards(
    roots: Path | Sequence[Path], split: str, *, seed: int = 0, epoch: int = 0, shuffle: int = 2000
) -> Iterable[Item]:
    """One epoch of a split as a stream, shared out by shard over the ranks of DDP and their DataLoader workers.

    Every rank and worker must be given the same arguments. Rank and worker are found as webdataset finds them
    (``RANK`` and ``WORLD_SIZE``, else torch.distributed; torch.utils.data.get_worker_info). Shares differ by up to
    a shard: take an equal number of steps on every rank, by the smallest share that `shard_shares` tells.

    Args:
        roots: one folder that `build-shards` wrote, or several, whose shards are mixed.
        split: ``train``, ``val``, ``query`` or ``support``.
        seed: of the order; same seed and epoch, same order.
        epoch: changes the order.
        shuffle: photos in the buffer that each worker draws from; 0 keeps the order of the shards.

    Returns:
        an iterable (a torch IterableDataset) of picture uint8 (H, W, 3), label, task, and the other fields of `Sample`.

    Raises:
        UsageError: the split has no shard.
        DataError: as `read_shards`, while it is read.
    """
    import webdataset

    paths = [str(path) for path, _ in _shards_of(roots, split)]
    if not paths:
        raise UsageError(f"{roots}: no shard of the split {split!r}")
    stages: list[Any] = [webdataset.SimpleShardList(paths)]
    if shuffle > 0:
        # detshuffle counts one epoch up each time it runs; a fresh pipeline an epoch keeps resumed runs alike.
        stages.append(webdataset.detshuffle(bufsize=len(paths), initial=len(paths), seed=seed, epoch=epoch - 1))
    stages += [partial(_demand_a_share, len(paths)), webdataset.split_by_node, webdataset.split_by_worker, _raw_samples]
    if shuffle > 0:
        stages.append(webdataset.detshuffle(bufsize=shuffle, initial=shuffle, seed=seed + 1, epoch=epoch - 1))
    pipeline: Iterable[Item] = webdataset.DataPipeline(*stages, webdataset.map(_item))
    return pipeline


def shard_shares(roots: Path | Sequence[Path], split: str, world: int, *, seed: int = 0, epoch: int = 0) -> list[int]:
    """How many photos each of ``world`` ranks gets of `stream_shards` in one epoch, when it shuffles."""
    import webdataset

    shards = [{"photos": shard.photos} for _, shard in _shards_of(roots, split)]
    shuffled = webdataset.detshuffle(bufsize=len(shards), initial=len(shards), seed=seed, epoch=epoch - 1)
    order = [entry["photos"] for entry in shuffled.run(iter(shards))]
    return [sum(order[rank::world]) for rank in range(world)]


def _shards_of(roots: Path | Sequence[Path], split: str) -> list[tuple[Path, Shard]]:
    folders = [roots] if isinstance(roots, Path) else list(roots)
    found = [(root, shard) for root in folders for shard in _of_split(read_index(root).shards, split)]
    return [((root / shard.name).resolve(), shard) for root, shard in found]


def _of_split(shards: Sequence[Shard], split: str) -> list[Shard]:
    if split not in SPLITS:
        raise DataError(f"no split is called {split!r}; accepted: {', '.join(SPLITS)}")
    return [shard for shard in shards if shard.split == split]


def _demand_a_share(shards: int, source: Iterable[Any]) -> Iterator[Any]:
    """A stage that refuses to leave a rank or worker without photos, which would hang the others of a DDP run."""
    from webdataset.utils import pytorch_worker_info

    _, world, _, workers = pytorch_worker_info()
    if shards < world * workers:
        remedy = "fewer workers, or build with a smaller --shard-photos"
        raise UsageError(f"{shards} shards for {world} ranks of {workers} workers; {remedy}")
    yield from source


def _raw_samples(source: Iterable[dict[str, Any]]) -> Iterator[tuple[Sample, bytes]]:
    for entry in source:
        yield from _samples(Path(entry["url"]))


def _samples(path: Path) -> Iterator[tuple[Sample, bytes]]:
    """Record and JPEG of each photo of a shard, in order."""
    from webdataset.tariterators import tarfile_samples

    try:
        for raw in tarfile_samples(iter([{"url": str(path.resolve())}])):
            yield msgspec.json.decode(raw["json"], type=Sample), raw["jpg"]
    except (OSError, tarfile.TarError, KeyError, ValueError, msgspec.MsgspecError) as error:
        raise DataError(f"{path} is not a whole shard: {str(error.args[0] if error.args else error)[:200]}") from None


def _decode(sample: Sample, data: bytes) -> RGB:
    try:
        return decode(data)
    except PhotoError as error:
        raise DataError(f"{sample.path}, as it lies in its shard, {error}") from None


def _item(entry: tuple[Sample, bytes]) -> Item:
    sample, data = entry
    rest = msgspec.to_builtins(sample)
    return _decode(sample, data), rest.pop("label"), rest.pop("task"), rest
