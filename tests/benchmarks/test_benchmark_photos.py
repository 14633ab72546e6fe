"""Generated photos are JPEGs of the asked size, different from each other and the same in every run."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.camera import make_folder


def test_each_number_is_another_photo_and_the_same_in_every_run(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths = make_folder(tmp_path / name, [(200, 150), (200, 150), (90, 120)], 5, lambda *_: None)
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    assert len(set(contents[0])) == 3
    with Image.open(tmp_path / "a" / "00002.jpg") as photo:
        assert (photo.format, photo.size) == ("JPEG", (90, 120))


def test_photos_have_the_texture_of_a_camera(tmp_path: Path) -> None:
    (path,) = make_folder(tmp_path, [(800, 600)], 0, lambda *_: None)
    with Image.open(path) as photo:
        grey = np.asarray(photo.convert("L")).astype(float)
    fine = np.abs(np.diff(grey, axis=1)).mean()
    assert fine > 2  # an upscaled picture without noise has under 1
    assert path.stat().st_size / (800 * 600) > 0.15  # bytes a pixel; 12 megapixels take 2 MB and more
