"""What a process with open_clip does for one photo; prints where its time goes as JSON (ms).

The weights are random, as no download is at hand: drawing them takes the place of reading a file of 600 MB.
"""

import itertools
import json
import sys
import time


def main(path: str) -> None:
    """Import open_clip, build ViT-B-32, preprocess one photo by its own transform and encode it."""
    marks = [("", time.perf_counter())]
    import open_clip
    import torch
    from PIL import Image

    marks.append(("import", time.perf_counter()))
    model, _, transform = open_clip.create_model_and_transforms("ViT-B-32", pretrained=None)
    model.eval()
    marks.append(("build ViT-B-32", time.perf_counter()))
    with Image.open(path) as image:
        pixels = transform(image).unsqueeze(0)
    marks.append(("decode and preprocess", time.perf_counter()))
    with torch.no_grad():
        embedding = model.encode_image(pixels)
        embedding /= embedding.norm(dim=-1, keepdim=True)
    assert embedding.shape == (1, 512)
    marks.append(("encode", time.perf_counter()))
    print(json.dumps({name: (end - start) * 1e3 for (_, start), (name, end) in itertools.pairwise(marks)}))


if __name__ == "__main__":
    main(sys.argv[1])
