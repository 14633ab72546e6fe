"""What `agriclip-edge classify one.jpg` does, step by step in its order; prints the milliseconds of each as JSON."""

import json
import os
import sys
import time


def main(photo: str, bundle_path: str = "") -> None:
    """Go the way of one photo in a new process, with a mark after each step."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does
    spent: dict[str, float] = {}
    last = time.perf_counter()

    def mark(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        spent[name] = (now - last) * 1e3
        last = now

    import agriclip_edge.cli.app

    mark("import the command line (typer)")
    import numpy

    mark("import numpy")
    import PIL.Image

    mark("import Pillow")
    import msgspec

    mark("import msgspec")
    import onnxruntime

    mark("import onnxruntime")
    import agriclip_edge.classifier
    import agriclip_edge.labels.pack
    import agriclip_edge.runtimes.onnx

    mark("import the rest of the SDK")
    bundle = agriclip_edge.Bundle.open(bundle_path or None)
    mark("open the bundle")
    packs = [bundle.pack(entry.name) for entry in bundle.manifest.packs if entry.default]
    pack = agriclip_edge.labels.pack.merge(packs)
    mark("read the default packs")
    bundle.read(bundle.manifest.image[0].file)
    mark("read and hash the encoder")
    classifier = agriclip_edge.Classifier(bundle, pack)
    # the constructor reads and hashes the encoder once more
    mark("create the session")
    spent["create the session"] -= spent["read and hash the encoder"]
    timing = classifier.classify(photo).timing_ms
    spent |= {"decode": timing.decode, "preprocess": timing.preprocess, "encode": timing.encode, "rank": timing.rank}
    assert numpy and PIL.Image and msgspec and onnxruntime
    print(json.dumps(spent))


if __name__ == "__main__":
    main(*sys.argv[1:])
