"""Classifies very many photos in one process; prints its resident memory on the way as JSON (MB by photos done)."""

import gc
import itertools
import json
import os
import resource
import sys
import time

import agriclip_edge

_SETTLE = 0.2  # seconds in which the photos that are under way get done


def resident_mb() -> float:
    """Resident memory now, in MB of 1e6 bytes."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(folder: str, checkpoints: str, workers: str, bundle: str = "", runtime: str = "") -> None:
    """Cycle through a folder's photos.

    Args:
        folder: of the photos.
        checkpoints: numbers of photos after which memory is read, by commas; the last ends the run.
        workers: threads.
        bundle: the bundle; the shipped one when empty.
        runtime: runtime or variant of the bundle; the fastest when empty.
    """
    wanted = [int(number) for number in checkpoints.split(",")]
    names = sorted(os.path.join(folder, name) for name in os.listdir(folder))
    classifier = agriclip_edge.load(bundle or None, threads=1, runtime=runtime or None)
    loaded = resident_mb()
    photos = itertools.islice(itertools.cycle(names), wanted[-1])
    found = {}
    start = time.perf_counter()
    for done, answer in enumerate(classifier.classify_many(photos, workers=int(workers)), start=1):
        if answer.error is not None:
            raise SystemExit(f"{answer.path}: {answer.error}")
        if done in wanted:
            time.sleep(_SETTLE)
            found[done] = resident_mb()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"loaded": loaded, "after": found, "peak": peak, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
