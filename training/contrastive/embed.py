"""Embeddings of millions of photos, shard by shard, over many workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.decode import decode
from agriclip_edge.parallel import ordered_map

from ..data import SPLITS, DataError
from ..shards.index import Shard, file_sha256, read_index
from .stream import read_entries
from .vectors import vectors_identity, write_vectors


@dataclass(frozen=True)
class Job:
    """One shard to embed, and where its vectors go."""

    shard: str
    sha256: str
    photos: int
    output: str


def embed_shards(
    roots: Sequence[Path],
    output: Path,
    model: str,
    pretrained: str,
    workers: int = 1,
    *,
    gpus: float = 0,
    address: str = "",
    said: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Embed the photos of all shards; a shard whose vectors of this model are there already is left.

    Args:
        roots: folders that `build-shards` wrote; every worker must see them and ``output`` under the same path.
        output: folder for one file a shard.
        model: as `training.contrastive.model.build`.
        pretrained: likewise.
        workers: processes under Ray Data; 1 without ``address`` computes here, without Ray.
        gpus: of each worker.
        address: of a Ray cluster; empty starts one on this machine.
        said: called with shards done and shards in all.

    Returns:
        number of shards embedded now.

    Raises:
        DataError: an index or a shard is broken or holds other bytes than its index says.
        UsageError: Ray is not installed, or there is no such model.
    """
    if workers < 1:
        raise UsageError(f"workers is {workers}; accepted: at least 1")
    space = Embedder(model, pretrained, "cpu").space  # a wrong name ends here, before any worker starts
    output.mkdir(parents=True, exist_ok=True)
    every = [_job(root, shard, output, several=len(roots) > 1) for root in roots for shard in _shards(root)]
    if len({job.output for job in every}) != len(every):
        raise UsageError("two of the folders have one name; accepted: folders of different names")
    jobs = [job for job in every if vectors_identity(Path(job.output)) != _made_of(job, space)]
    done = len(every) - len(jobs)
    said(done, len(every))
    local = workers == 1 and not address
    results = map(Embedder(model, pretrained), jobs) if local else _ray(jobs, model, pretrained, workers, gpus, address)
    for count, problem in enumerate(results if jobs else (), start=1):
        if problem:
            raise DataError(problem)
        said(done + count, len(every))
    return len(jobs)


class Embedder:
    """A worker: it loads the model once and embeds whole shards."""

    def __init__(self, model: str, pretrained: str, device: str = "") -> None:
        """Load the model onto ``device``; empty takes a GPU where there is one."""
        import torch

        from .model import build

        torch.manual_seed(0)  # random weights, of a trial, are the same in every worker
        kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._clip = build(model, pretrained).to(kind).eval()
        self.space = self._clip.space("image")

    def __call__(self, job: Job) -> str:
        """Embed a shard; returns what is wrong with it, or nothing."""
        path = Path(job.shard)
        try:
            if file_sha256(path) != job.sha256:
                return f"{path} is not the shard that its index describes; build it again"
            entries = list(read_entries(0, path))
        except DataError as error:
            return str(error)
        photos = ordered_map(lambda entry: decode(entry.data, input_size=self._clip.size), entries, workers=2)
        vectors = self._clip.embed_photos(list(photos))
        write_vectors(Path(job.output), [entry.sha256 for entry in entries], vectors, _made_of(job, self.space))
        return ""


def _ray(jobs: Sequence[Job], model: str, pretrained: str, workers: int, gpus: float, address: str) -> Iterator[str]:
    """Run the jobs under Ray Data; results in any order, each as soon as its shard is done."""
    try:
        import ray
    except ImportError:
        raise UsageError("Ray is not installed; install it with: pip install 'ray[data]'") from None
    started = not ray.is_initialized()
    if started:
        _start(ray, address, workers)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False

        class Worker(Embedder):
            """`Embedder` on the rows of a dataset."""

            def __init__(self) -> None:
                super().__init__(model, pretrained)

            def __call__(self, row: Any) -> Any:
                return {"problem": super().__call__(Job(**row))}

        rows: Any = ray.data.from_items([vars(job) for job in jobs], override_num_blocks=len(jobs))
        actors = ray.data.ActorPoolStrategy(size=min(workers, len(jobs)))
        for row in rows.map(Worker, compute=actors, num_cpus=1, num_gpus=gpus).iter_rows():
            yield row["problem"]
    finally:
        if started:
            ray.shutdown()


def _start(ray: Any, address: str, workers: int) -> None:
    """Join a cluster, or start one here of one core a worker.

    Ray gives a new node 30 seconds, which a busy machine may miss; what it has read by then is there the next time.
    """
    here = {} if address else {"num_cpus": workers, "include_dashboard": False}
    for left in (2, 1, 0):
        try:
            ray.init(address=address or None, logging_level="ERROR", log_to_driver=False, **here)
            return
        except Exception as error:  # Ray raises plain ones
            ray.shutdown()
            if not left or "timed out" not in str(error):
                raise UsageError(f"Ray cannot be started or reached: {str(error).splitlines()[0][:200]}") from None


def _shards(root: Path) -> list[Shard]:
    return [shard for shard in read_index(root).shards if shard.split in SPLITS]


def _job(root: Path, shard: Shard, output: Path, several: bool) -> Job:
    name = f"{root.resolve().name}-{Path(shard.name).stem}" if several else Path(shard.name).stem
    path = (root / shard.name).resolve()
    return Job(str(path), shard.sha256, shard.photos, str((output / f"{name}.safetensors").resolve()))


def _made_of(job: Job, space: str) -> dict[str, str]:
    return {"model": space, "shard": job.sha256}
