import importlib.util
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from overfit.errors import UserError
from overfit.io.images import check_image_output, load_image, save_image

HAS_SKIMAGE = importlib.util.find_spec("skimage") is not None
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (20, 31, 3), dtype=np.uint8)
GREY = RGB[:, :, :1]


def saved(path, image, **options):
    """Saves a Pillow image, or an array, and returns the path as a string."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image if image.shape[2] != 1 else image[:, :, 0])
    image.save(path, **options)
    return str(path)


def refused(path, *words):
    with pytest.raises(UserError) as error:
        load_image(path)
    message = str(error.value)
    assert all(word in message for word in words), message
    assert os.path.basename(str(path)) in message
    assert "\n" not in message


def png(width, height, depth, color, rows):
    """A PNG file made by hand: Pillow cannot write 16-bit RGB."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    end = chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + end


def tiff16(array):
    """A little-endian TIFF of uint16 [H, W, 3], one strip, made by hand."""
    height, width, _ = array.shape
    data = array.astype("<u2").tobytes()
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, 8),  # bits per sample: at offset 8
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 14),  # the strip: behind them
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
    ]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<IHHH", 14 + len(data), 16, 16, 16) + data + directory


# Reading: what is accepted


@pytest.mark.parametrize("array", [RGB, GREY], ids=["rgb", "grey"])
@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.gif", "A.PNG"])
def test_lossless_files_come_back_exactly(tmp_path, name, array):
    if name == "a.gif":
        array = RGB // 86 * 86  # 27 colors, so that the palette holds them all
    image = load_image(saved(tmp_path / name, array))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous and image.flags.writeable
    np.testing.assert_array_equal(image, array)


def test_lossy_files_come_as_pillow_decodes_them(tmp_path):
    for name, options in [("a.jpg", {}), ("b.jpg", {"progressive": True}), ("a.webp", {})]:
        path = saved(tmp_path / name, RGB, **options)
        np.testing.assert_array_equal(load_image(path), np.asarray(Image.open(path)))
    assert load_image(saved(tmp_path / "g.jpg", GREY)).shape == (20, 31, 1)


def test_a_path_object_is_accepted(tmp_path):
    saved(tmp_path / "a.png", RGB)
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), RGB)


def test_the_extension_does_not_matter(tmp_path):
    path = saved(tmp_path / "a.jpg", RGB, format="PNG")
    np.testing.assert_array_equal(load_image(path), RGB)


def test_a_palette_becomes_rgb(tmp_path):
    palette = Image.fromarray(RGB).quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(load_image(saved(tmp_path / "a.png", palette)), expected)


def test_one_bit_becomes_grey(tmp_path):
    bits = (GREY > 127).astype(np.uint8) * 255
    for name in ("a.png", "a.tif", "a.pbm", "a.bmp"):
        path = saved(tmp_path / name, Image.fromarray(bits[:, :, 0]).convert("1", dither=None))
        np.testing.assert_array_equal(load_image(path), bits)


def test_few_bits_span_the_full_range(tmp_path):
    (tmp_path / "a.png").write_bytes(png(4, 1, 2, 0, [b"\x1b"]))  # 0, 1, 2, 3 of 3
    np.testing.assert_array_equal(load_image(tmp_path / "a.png")[0, :, 0], [0, 85, 170, 255])


@pytest.mark.parametrize("array", [RGB, GREY], ids=["rgb", "grey"])
def test_an_opaque_alpha_is_dropped(tmp_path, array):
    alpha = np.full((*array.shape[:2], 1), 255, np.uint8)
    path = saved(tmp_path / "a.png", np.concatenate([array, alpha], axis=2))
    np.testing.assert_array_equal(load_image(path), array)


def test_an_unused_transparent_color_is_dropped(tmp_path):
    white_free = np.minimum(RGB, 254)
    path = saved(tmp_path / "rgb.png", white_free, transparency=(255, 255, 255))
    np.testing.assert_array_equal(load_image(path), white_free)
    path = saved(tmp_path / "grey.png", np.minimum(GREY, 254), transparency=255)
    np.testing.assert_array_equal(load_image(path), np.minimum(GREY, 254))
    palette = Image.fromarray(RGB).quantize(16)
    path = saved(tmp_path / "palette.png", palette, transparency=200)
    np.testing.assert_array_equal(load_image(path), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name == "a.webp" else {}
    path = saved(tmp_path / name, RGB, exif=exif, **options)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    image = load_image(path)
    np.testing.assert_array_equal(image, expected)
    assert image.flags.c_contiguous
    assert image.shape[:2] == ((31, 20) if orientation > 4 else (20, 31))


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_broken_exif_does_not_spoil_a_photo(tmp_path, exif):
    path = saved(tmp_path / "a.jpg", RGB, exif=exif)
    assert load_image(path).shape == RGB.shape


def test_a_photo_with_a_preview_is_the_photo(tmp_path):
    path = tmp_path / "a.jpg"
    preview = Image.fromarray(RGB[::2, ::2])
    saved(path, Image.fromarray(RGB), format="MPO", save_all=True, append_images=[preview])
    assert load_image(path).shape == RGB.shape


# Reading: what is refused


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_real_transparency_is_refused(tmp_path, mode):
    image = Image.fromarray(RGB).convert("RGBA")
    image.putpixel((3, 4), (9, 9, 9, 254))
    image = image.quantize(8) if mode == "P" else image.convert(mode)
    refused(saved(tmp_path / "a.png", image), "transparent", "flatten")


@pytest.mark.parametrize(("mode", "color"), [("RGB", (1, 2, 3)), ("L", 7), ("1", 1)])
def test_a_used_transparent_color_is_refused(tmp_path, mode, color):
    path = saved(tmp_path / "a.png", Image.new(mode, (5, 5), color), transparency=color)
    refused(path, "transparent")


@pytest.mark.parametrize(("color", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_is_refused(tmp_path, color, samples):
    (tmp_path / "a.png").write_bytes(png(2, 2, 16, color, [bytes(range(4 * samples))] * 2))
    refused(tmp_path / "a.png", "16 bits", "8 bits")


def test_deep_tiff_is_refused(tmp_path):
    grey = RGB[:, :, 0]
    (tmp_path / "rgb.tif").write_bytes(tiff16(RGB.astype(np.uint16) * 257))
    refused(tmp_path / "rgb.tif", "16 bits")
    deep = [("i16.tif", np.uint16, "16"), ("i32.tif", np.int32, "32"), ("f.tif", np.float32, "32")]
    for name, dtype, bits in deep:
        refused(saved(tmp_path / name, Image.fromarray(grey.astype(dtype))), f"{bits} bits")


def test_deep_netpbm_is_refused(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P6 # a comment\n2 1\n65535\n" + bytes(12))
    (tmp_path / "a.pgm").write_bytes(b"P5\n# 1 2 3\n2 1 4095\n" + bytes(4))
    (tmp_path / "a.pfm").write_bytes(b"Pf\n2 1\n-1.0\n" + bytes(8))
    refused(tmp_path / "a.ppm", "16 bits")
    refused(tmp_path / "a.pgm", "12 bits")
    refused(tmp_path / "a.pfm", "32 bits")


def test_other_color_spaces_are_refused(tmp_path):
    cmyk = Image.fromarray(RGB).convert("CMYK")
    refused(saved(tmp_path / "a.jpg", cmyk), "CMYK", "RGB")
    refused(saved(tmp_path / "a.tif", cmyk), "CMYK")
    refused(saved(tmp_path / "b.tif", Image.new("LAB", (4, 4))), "LAB")


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_several_frames_are_refused(tmp_path, name):
    other = [Image.fromarray(255 - RGB)]
    path = saved(tmp_path / name, Image.fromarray(RGB), save_all=True, append_images=other)
    refused(path, "2 frames")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.bmp", "a.ppm", "a.gif"])
def test_a_truncated_file_is_refused(tmp_path, name):
    path = saved(tmp_path / name, RGB)
    data = (tmp_path / name).read_bytes()
    for size in (1, 10, 40, len(data) // 2, len(data) * 3 // 4):
        (tmp_path / name).write_bytes(data[:size])
        refused(path, "cannot read")


def test_a_damaged_png_is_refused(tmp_path):
    path = saved(tmp_path / "a.png", RGB)
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    refused(path, "cannot read")


def test_what_is_no_image_file_is_refused(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("this is not a picture\n" * 20)
    refused(tmp_path / "empty.png", "empty")
    refused(tmp_path / "text.png", "not an image", "PNG")
    refused(tmp_path / "missing.png", "no such file")
    refused(tmp_path, "folder")
    refused(f"{tmp_path}/text.png/x.png", "cannot read")
    with pytest.raises(UserError, match="empty"):
        load_image("")
    with pytest.raises(UserError, match="null"):
        load_image("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_an_unreadable_file_is_refused(tmp_path):
    path = saved(tmp_path / "a.png", RGB)
    os.chmod(path, 0)
    refused(path, "Permission denied")


def test_a_decompression_bomb_is_refused_and_a_large_photo_is_not(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png(60000, 60000, 8, 2, []))
    refused(tmp_path / "a.png", "million pixels")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", RGB.size // 3 - 1)  # Pillow only warns here
    np.testing.assert_array_equal(load_image(saved(tmp_path / "b.png", RGB)), RGB)


# Samples


@pytest.mark.skipif(not HAS_SKIMAGE, reason="needs scikit-image")
def test_samples():
    assert load_image("sample:astronaut").shape == (512, 512, 3)
    assert load_image("sample:camera").shape == (512, 512, 1)
    np.testing.assert_array_equal(load_image("sample:cat"), load_image("sample:chelsea"))


@pytest.mark.skipif(not HAS_SKIMAGE, reason="needs scikit-image")
@pytest.mark.parametrize("name", ["horse", "", "../__init__.py", "Astronaut"])
def test_unknown_samples_list_the_known_ones_and_all_of_these_load(name):
    with pytest.raises(UserError, match=f"'{name}'; choose one of: ") as error:
        load_image(f"sample:{name}")
    known = str(error.value).split("choose one of: ")[1].split(", ")
    assert {"astronaut", "cat", "chelsea", "coffee", "rocket"} <= set(known)
    if name == "horse":
        for other in known:
            assert load_image(f"sample:{other}").ndim == 3


@pytest.mark.skipif(not HAS_SKIMAGE, reason="needs scikit-image")
def test_samples_do_not_import_scikit_image():
    code = (
        "import sys, overfit.io.images as i; i.load_image('sample:rocket'); "
        "sys.exit('skimage' in sys.modules or 'jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_samples_without_scikit_image_name_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'overfit\[demo\]'"):
        load_image("sample:astronaut")


# Writing


@pytest.mark.parametrize("array", [RGB, GREY], ids=["rgb", "grey"])
@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a", "a.ppm", "a.bmp", "a.tif", "a.webp"])
def test_saved_images_come_back_exactly(tmp_path, name, array):
    save_image(tmp_path / name, array)
    image = load_image(tmp_path / name)
    np.testing.assert_array_equal(image, np.broadcast_to(array, image.shape))
    assert image.shape[2] == 3 or array is GREY
    assert os.listdir(tmp_path) == [name]


def test_formats_follow_the_extension(tmp_path):
    expected = {"a.png": "PNG", "a": "PNG", "a.ppm": "PPM", "a.bmp": "BMP", "a.webp": "WEBP"}
    for name, kind in expected.items():
        save_image(tmp_path / name, GREY)
        with Image.open(tmp_path / name) as image:
            assert image.format == kind
    assert (tmp_path / "a.ppm").read_bytes()[:2] == b"P6"


def test_pgm_is_for_grey(tmp_path):
    save_image(tmp_path / "a.pgm", GREY)
    np.testing.assert_array_equal(load_image(tmp_path / "a.pgm"), GREY)
    with pytest.raises(UserError, match="grey images only"):
        save_image(tmp_path / "b.pgm", RGB)


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.gif", "a.avif", "a.ovf", "a.png.gz"])
def test_lossy_and_unknown_extensions_are_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"lossless.*\.png"):
        check_image_output(tmp_path / name)
    with pytest.raises(UserError, match=r"lossless.*\.png"):
        save_image(tmp_path / name, RGB)
    assert os.listdir(tmp_path) == []


def test_webp_has_a_largest_side(tmp_path):
    with pytest.raises(UserError, match=r"16383.*\.png"):
        save_image(tmp_path / "a.webp", np.zeros((1, 16384, 3), np.uint8))


def test_views_are_saved_as_seen(tmp_path):
    save_image(tmp_path / "a.png", RGB[::-1, ::2])
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), RGB[::-1, ::2])


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        save_image(tmp_path / "missing" / "a.png", RGB)


@pytest.mark.parametrize(
    "array", [RGB.astype(np.float32), RGB[:, :, 0], np.zeros((4, 4, 4), np.uint8)]
)
def test_other_arrays_are_a_programming_error(tmp_path, array):
    with pytest.raises(ValueError, match="expected uint8"):
        save_image(tmp_path / "a.png", array)
