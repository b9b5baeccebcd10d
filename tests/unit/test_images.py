"""A file becomes one grey row and a stable id, or a named reason; nothing it holds can do anything else."""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin
from scipy.ndimage import gaussian_filter

from data_contracts.catalog import COLUMNS
from data_contracts.images import DecodedImage, DecodeLimits, UnreadableImage, read_image

LIMITS = DecodeLimits()


def texture(width: int = 96, height: int = 80, seed: int = 0) -> Image.Image:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 2)
    levels = (noise - noise.min()) / (noise.max() - noise.min())
    return Image.fromarray(np.rint(levels * 240 + 8).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(content: bytes, size: int = 64, limits: DecodeLimits = LIMITS) -> DecodedImage:
    return read_image(content, size=size, limits=limits)


def reason(content: bytes, limits: DecodeLimits = LIMITS) -> str:
    with pytest.raises(UnreadableImage) as refusal:
        read(content, limits=limits)
    return refusal.value.reason


def grey_levels(content: bytes) -> np.ndarray:
    """The decoded pixels of a square picture, not resized."""
    side = read(content).width
    return read(content, size=side).pixels


def png_claiming(width: int, height: int) -> bytes:
    """A PNG header without any pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


def test_a_grey_png_keeps_its_pixels_and_the_id_is_their_hash() -> None:
    image = texture(64, 64)
    decoded = read(encoded(image, "PNG"))
    assert np.array_equal(decoded.pixels, np.asarray(image))
    assert decoded.image_id == hashlib.sha256(b"64x64:" + image.tobytes()).hexdigest()
    assert (decoded.width, decoded.height, decoded.mode, decoded.format) == (64, 64, "L", "PNG")


def test_facts_are_catalog_columns() -> None:
    facts = read(encoded(texture(), "PNG")).facts()
    assert set(facts) <= set(COLUMNS)
    assert facts["width"] == 96
    assert facts["std"] > 0


def test_a_file_and_its_bytes_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x-ray without extension"
    path.write_bytes(encoded(texture(), "JPEG"))
    assert read_image(path, size=64, limits=LIMITS).image_id == read(path.read_bytes()).image_id


def test_other_bytes_with_the_same_pixels_have_the_same_id() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", "another program wrote this")
    png = [encoded(texture(), "PNG"), encoded(texture(), "PNG", compress_level=1, pnginfo=notes)]
    jpeg = encoded(texture(), "JPEG", quality=90)
    assert png[0] != png[1]
    assert len({read(content).image_id for content in png}) == 1
    assert read(jpeg).image_id == read(jpeg + b"PK\x03\x04 trailing bytes").image_id
    assert read(png[0]).image_id != read(encoded(texture(seed=1), "PNG")).image_id


def test_a_jpeg_and_a_png_of_its_pixels_have_the_same_id() -> None:
    jpeg = encoded(texture(), "JPEG", quality=80)
    assert read(jpeg).image_id == read(encoded(Image.open(io.BytesIO(jpeg)), "PNG")).image_id


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_id_hash_and_grey_levels_do_not_depend_on_the_size_of_the_store(kind: str) -> None:
    content = encoded(texture(1700, 1600), kind)
    small, large = read(content, size=64), read(content, size=500)
    assert large.pixels.shape == (500, 500)
    assert (small.image_id, small.phash, small.width, small.descriptors.mean, small.descriptors.p99) == (
        *(large.image_id, large.phash, 1700, large.descriptors.mean, large.descriptors.p99),
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [64, 224, 500])
def test_rows_are_the_whole_picture_resized_with_antialiasing(kind: str, size: int) -> None:
    content = encoded(texture(1700, 900), kind, **({"quality": 95} if kind == "JPEG" else {}))
    plain = Image.open(io.BytesIO(content)).resize((size, size), Image.Resampling.BILINEAR)
    difference = read(content, size=size).pixels.astype(float) - np.asarray(plain)
    assert np.abs(difference).mean() < 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pictures_stand_upright_whatever_their_exif_orientation(orientation: int, kind: str) -> None:
    upright = texture(96, 80)
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # orientation 6 is shown turned by 270 degrees
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turns[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.ImageDescription] = "name of a person"
    decoded = read(encoded(stored, kind, exif=exif))
    assert (decoded.width, decoded.height) == (96, 80)
    expected = read(encoded(upright, "PNG")).pixels.astype(float)
    assert np.abs(decoded.pixels - expected).mean() < 2


def test_damaged_exif_is_ignored_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "damaged.jpg"
    path.write_bytes(encoded(texture(), "JPEG", exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x09\x01\x12\0\x03broken"))
    with pytest.warns(UserWarning, match="Corrupt EXIF"), Image.open(path) as image:
        image.getexif()
    # In a process of its own: pytest undoes the filter that the module sets when it is imported.
    program = (
        "import sys; from pathlib import Path; from data_contracts.images import DecodeLimits, read_image;"
        "print(read_image(Path(sys.argv[1]), size=64, limits=DecodeLimits()).width)"
    )
    command = [sys.executable, "-W", "error::UserWarning", "-c", program, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("96\n", "")


def test_sixteen_bits_become_eight_over_their_full_range() -> None:
    eight = np.asarray(texture(64, 64))
    sixteen = encoded(Image.fromarray(eight.astype(np.uint16) * 257), "PNG")
    assert np.array_equal(grey_levels(sixteen), eight)
    assert read(sixteen).mode == "I;16"
    assert read(sixteen).image_id == read(encoded(texture(64, 64), "PNG")).image_id


def test_twelve_bits_in_sixteen_are_scaled_over_twelve_and_say_so() -> None:
    eight = np.asarray(texture(64, 64))
    twelve = encoded(Image.fromarray(eight.astype(np.uint16) * 16), "PNG")
    assert read(twelve).mode == "I;16/12"
    assert abs(read(twelve).descriptors.mean - eight.mean()) <= 1


def test_colour_becomes_luma_of_itu_r_601() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    for column, channel in ((slice(0, 21), 0), (slice(21, 42), 1), (slice(42, 64), 2)):
        pixels[:, column, channel] = 255
    levels = grey_levels(encoded(Image.fromarray(pixels), "PNG"))
    assert levels[0, [0, 30, 63]].tolist() == [76, 150, 29]  # 255 times 0.299, 0.587, 0.114


def test_a_palette_is_looked_up() -> None:
    grey = texture(64, 64)
    indexed = Image.fromarray(255 - np.asarray(grey), "P")
    indexed.putpalette([level for index in range(256) for level in [255 - index] * 3])
    decoded = read(encoded(indexed, "PNG"))
    assert decoded.mode == "P"
    assert np.array_equal(decoded.pixels, np.asarray(grey))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composited_on_black(mode: str) -> None:
    image = texture(64, 64).convert(mode)
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, 32:] = 255
    image.putalpha(Image.fromarray(alpha))
    levels = grey_levels(encoded(image, "PNG"))
    assert levels[:, :32].max() == 0
    assert np.array_equal(levels[:, 32:], np.asarray(texture(64, 64))[:, 32:])


def test_cmyk_is_not_inverted() -> None:
    grey = texture()
    decoded = read(encoded(grey.convert("CMYK"), "JPEG", quality=95))
    assert decoded.mode == "CMYK"
    assert abs(decoded.descriptors.mean - np.asarray(grey).mean()) < 2


def test_the_format_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "picture.JPEG"
    path.write_bytes(encoded(texture(), "PNG"))
    assert read_image(path, size=64, limits=LIMITS).format == "PNG"


GREY = encoded(texture(), "PNG")
JPEG = encoded(texture(), "JPEG")
REFUSED = {
    "empty": (b"", "empty file"),
    "text": (b"patient list, page 1", "not an image"),
    "web page": (
        b"\n<!DOCTYPE html><html><title>403</title></html>",
        "not an image (looks like an HTML page: failed download?)",
    ),
    "one pixel": (encoded(Image.new("L", (1, 1)), "PNG"), "below minimum size 32 px: 1x1"),
    "black": (encoded(Image.new("L", (64, 64)), "PNG"), "no contrast"),
    "nearly flat": (encoded(texture().point(lambda level: 100 + level // 200), "JPEG"), "no contrast"),
    "one bit": (encoded(texture().convert("1"), "PNG"), "two grey levels only (a mask?)"),
    "mask": (
        encoded(texture().point(lambda level: 255 * (level > 128)), "PNG"),
        "two grey levels only (a mask?)",
    ),
    "gif": (encoded(texture(), "GIF"), "format not allowed: GIF"),
    "tiff": (encoded(texture(), "TIFF"), "format not allowed: TIFF"),
    "bmp": (encoded(texture(), "BMP"), "format not allowed: BMP"),
    "dicom without anything": (
        b"\0" * 128 + b"DICM",
        "DICOM transfer syntax not supported: none or unknown",
    ),
    "animation": (encoded(texture(), "PNG", save_all=True, append_images=[texture(seed=1)]), "several frames"),
    "bomb": (png_claiming(30_000, 30_000), "too large: 30000x30000"),
    "impossible size": (png_claiming(2_000_000_000, 2_000_000_000), "too large: 2000000000x2000000000"),
    "half a png": (GREY[: len(GREY) // 2], "truncated"),
    "half a jpeg": (JPEG[: len(JPEG) // 2], "truncated"),
    "half a progressive jpeg": (encoded(texture(), "JPEG", progressive=True)[:1500], "truncated"),
    "png header only": (GREY[:33], "damaged or not supported"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_usable_picture_is_refused_with_its_reason(name: str) -> None:
    content, expected = REFUSED[name]
    assert reason(content) == expected


def test_a_flipped_bit_in_the_image_data_of_a_png_is_noticed() -> None:
    start = GREY.index(b"IDAT") + 4
    for position in range(start, len(GREY) - 16, 199):
        damaged = bytearray(GREY)
        damaged[position] ^= 1
        assert reason(bytes(damaged)) == "damaged or not supported"


def test_limits_are_allowed_values() -> None:
    content = encoded(texture(1000, 500), "PNG")
    read(content, limits=DecodeLimits(min_side=500, max_side=1000, max_megapixels=1))
    assert reason(content, DecodeLimits(min_side=501)) == "below minimum size 501 px: 1000x500"
    assert reason(content, DecodeLimits(max_side=999)) == "too large: 1000x500"
    wide = png_claiming(1001, 1000)
    assert reason(wide, DecodeLimits(max_megapixels=1)) == "too large: 1001x1000"


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    big = tmp_path / "big.png"
    with big.open("wb") as file:
        file.truncate(2_000_001)
    for path, expected in (
        (tmp_path / "missing.png", "file cannot be read: No such file or directory"),
        (tmp_path, "not a regular file"),
        (big, "too large: a file of 2 MB"),
    ):
        with pytest.raises(UnreadableImage) as refusal:
            read_image(path, size=64, limits=DecodeLimits(max_file_megabytes=2))
        assert refusal.value.reason == expected


def test_threads_decode_what_one_thread_decodes() -> None:
    contents = [encoded(texture(seed=seed), kind) for seed in range(8) for kind in ("PNG", "JPEG")]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(read, contents * 4))
    for decoded, content in zip(together, contents * 4, strict=True):
        alone = read(content)
        assert decoded.facts() == alone.facts()
        assert np.array_equal(decoded.pixels, alone.pixels)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=150, deadline=None)
@given(
    seed=st.sampled_from([GREY, JPEG, encoded(texture(), "PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01")]),
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_bytes_give_a_picture_or_a_reason(seed: bytes, edits: list[tuple[int, int]]) -> None:
    content = bytearray(seed)
    for position, value in edits:
        content[position] = value
    try:
        shape = read(bytes(content)).pixels.shape
    except UnreadableImage:
        return
    assert shape == (64, 64)
