"""ENVI files as instruments and GDAL write them, and headers that lie."""

from pathlib import Path

import numpy as np
import pytest

from agriclip_edge.errors import PhotoError
from agriclip_edge.scene.read import open_raster, read_modality

LINES, SAMPLES, BANDS = 3, 4, 5
CUBE = np.arange(LINES * SAMPLES * BANDS).reshape(LINES, SAMPLES, BANDS)  # (H, W, C)
ORDER = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}
TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}


def write(
    folder: Path, interleave: str = "bsq", number: int = 2, order: int = 0, more: str = "", offset: int = 0
) -> Path:
    dtype = np.dtype((">" if order else "<") + TYPES[number])
    data = np.ascontiguousarray(CUBE.transpose(ORDER[interleave])).astype(dtype).tobytes()
    (folder / "cube.img").write_bytes(b"\xff" * offset + data)
    header = folder / "cube.hdr"
    header.write_text(
        f"ENVI\ndescription = {{\n made by a test}}\nsamples = {SAMPLES}\nlines   = {LINES}\nbands = {BANDS}\n"
        f"header offset = {offset}\nfile type = ENVI Standard\ndata type = {number}\ninterleave = {interleave}\n"
        f"byte order = {order}\n{more}"
    )
    return header


@pytest.mark.parametrize("interleave", ORDER)
@pytest.mark.parametrize("order", [0, 1])
def test_every_interleave_and_byte_order_gives_the_same_cube(tmp_path: Path, interleave: str, order: int) -> None:
    values = read_modality(open_raster(write(tmp_path, interleave, 2, order, offset=7), "hyperspectral")).values
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, CUBE)


@pytest.mark.parametrize("number", TYPES)
def test_every_data_type_is_read(tmp_path: Path, number: int) -> None:
    np.testing.assert_array_equal(
        read_modality(open_raster(write(tmp_path, "bip", number), "hyperspectral")).values, CUBE
    )


def test_a_window_is_the_part_of_the_whole(tmp_path: Path) -> None:
    with open_raster(write(tmp_path, "bil").with_suffix(".img"), "hyperspectral") as raster:  # by its data file
        values, valid = raster.read(slice(1, 3), slice(2, 4))
    np.testing.assert_array_equal(values, CUBE[1:3, 2:4])
    assert valid.all() and valid.shape == (2, 2)


def test_what_the_header_says_of_bands_and_place_is_kept(tmp_path: Path) -> None:
    more = (
        "wavelength units = Micrometers\nwavelength = {0.45, 0.55,\n 0.65, 0.75, 0.85}\nbbl = {1, 1, 0, 1, 1}\n"
        "data ignore value = 0\nreflectance scale factor = 10000\n"
        "map info = {UTM, 1, 1, 500000.0, 4000000.0, 2.0, 2.0, 17, North, WGS-84, units=Meters}\n"
        'coordinate system string = {PROJCS["UTM 17N"]}\n'
    )
    with open_raster(write(tmp_path, more=more), "hyperspectral") as raster:
        values, valid = raster.read()
    assert raster.unit == "reflectance" and raster.ground_sampling == 2.0 and raster.crs == 'PROJCS["UTM 17N"]'
    assert raster.transform == (2.0, 0.0, 500000.0, 0.0, -2.0, 4000000.0)
    assert raster.wavelengths is not None
    np.testing.assert_allclose(raster.wavelengths, [450, 550, 750, 850])
    np.testing.assert_allclose(values, CUBE[..., [0, 1, 3, 4]] / 10_000, rtol=1e-6)
    assert not valid[0, 0] and valid.sum() == LINES * SAMPLES - 1


def test_wavelengths_without_a_unit_are_told_by_their_size(tmp_path: Path) -> None:
    found = read_modality(
        open_raster(write(tmp_path, more="wavelength = {0.4, 0.5, 0.6, 0.7, 2.5}"), "hyperspectral")
    ).wavelengths
    assert found is not None
    np.testing.assert_allclose(found, [400, 500, 600, 700, 2500])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("lines   = 3", "lines   = 3000000", "speaks of 120,000,000 bytes, the file has 120"),
        ("lines   = 3", "lines   = 99999999999999999999", "lines is '99999999999999999999'"),
        ("lines   = 3", "lines   = -1", "lines is '-1'"),
        ("lines   = 3\n", "", "lines is ''"),
        ("bands = 5", "bands = 100000", "bands is '100000'; accepted: 1 to 4,096"),
        ("data type = 2", "data type = 6", "data type is 6"),
        ("interleave = bsq", "interleave = spiral", "interleave is 'spiral'"),
        ("byte order = 0", "byte order = 2", "byte order is '2'"),
        ("byte order = 0", "byte order = 0\nfile compression = 1", "compressed"),
        ("byte order = 0", "byte order = 0\nwavelength = {1, 2}", "5 channels and 2 wavelengths"),
        ("byte order = 0", "byte order = 0\nwavelength = {a, b}", "not a number"),
        ("byte order = 0", "byte order = 0\nbbl = {0, 0, 0, 0, 0}", "0 of them good"),
        ("byte order = 0", "byte order = 0\nreflectance scale factor = 0", "accepted: above 0"),
        ("ENVI\n", "JUNK\n", "no raster of an accepted format"),
    ],
)
def test_a_header_that_lies_is_one_clear_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    header = write(tmp_path)
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new))
    with pytest.raises(PhotoError, match=r"cube\.") as caught:
        read_modality(open_raster(header, "hyperspectral"))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_missing_data_are_named(tmp_path: Path) -> None:
    header = write(tmp_path)
    (tmp_path / "cube.img").unlink()
    with pytest.raises(PhotoError, match="no data file cube beside it"):
        open_raster(header, "hyperspectral")
