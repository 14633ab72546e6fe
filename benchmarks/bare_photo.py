"""The least that a Python process with ONNX Runtime does for one photo: what `classify` is held against.

No command line, no checks, no labels: reduced decode, Pillow's resize, one run of the same graph.
"""

import sys


def main(graph: str, path: str) -> None:
    """Encode one photo."""
    import numpy as np
    import onnxruntime
    from PIL import Image

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    node = session.get_inputs()[0]
    size = node.shape[1]
    with Image.open(path) as image:
        image.draft("RGB", (2 * size, 2 * size))
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        box = (left, top, left + side, top + side)
        square = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box=box)
    session.run(None, {node.name: np.asarray(square)[np.newaxis]})


if __name__ == "__main__":
    main(*sys.argv[1:])
