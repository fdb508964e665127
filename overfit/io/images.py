"""Still images as uint8 arrays: 8-bit RGB or grey in, lossless files out.

Whatever cannot be taken over exactly (transparency, more than 8 bits, other color spaces, several
frames) is refused rather than silently converted: a rate-distortion figure is only worth
something when it is clear which pixels were coded.
"""

import importlib.util
import os
import re
import warnings

import numpy as np
from PIL import Image

from overfit.errors import UserError
from overfit.io.atomic import atomic_write

# Formats where a sample of more than 8 bits is recognized below. Pillow knows more (AVIF,
# JPEG 2000, SGI, ...) but reduces some of their deep images to 8 bits without a word.
_READABLE = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "QOI")

# Of files that are likely to be of these formats.
EXTENSIONS = (
    ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg", ".gif", ".qoi",
)  # fmt: skip

_GREY_MODES = ("1", "L", "LA")
_RGB_MODES = ("P", "PA", "RGB", "RGBA")

# EXIF tag 0x0112: how to bring the stored pixels [H, W, C] upright (Exif 2.32, section 4.6.4 A).
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}

# Pictures inside the scikit-image wheel. Its other ones are downloaded on first use, horse.png is
# translucent, and chessboard_RGB.png has 16 bits.
_SAMPLES = {
    os.path.splitext(file)[0]: file
    for file in (
        "astronaut.png brick.png camera.png cell.png chelsea.png chessboard_GRAY.png "
        "clock_motion.png coffee.png coins.png color.png grass.png gravel.png "
        "hubble_deep_field.jpg ihc.png logo.png microaneurysms.png moon.png motorcycle_left.png "
        "motorcycle_right.png page.png phantom.png retina.jpg rocket.jpg text.png"
    ).split()
} | {"cat": "chelsea.png"}

# Extension -> (Pillow format, options that make it lossless, whether it can hold one channel).
_WRITABLE = {
    "": ("PNG", {}, True),
    ".png": ("PNG", {}, True),
    ".pgm": ("PPM", {}, True),
    ".ppm": ("PPM", {}, False),
    ".bmp": ("BMP", {}, True),
    ".tif": ("TIFF", {}, True),
    ".tiff": ("TIFF", {}, True),
    ".webp": ("WEBP", {"lossless": True}, False),
}
_WEBP_MAX_SIDE = 16383  # px; 14 bits in the VP8L header


def load_image(path_or_spec: str | os.PathLike[str]) -> np.ndarray:
    """Reads one still image as stored, turned upright by its EXIF orientation.

    Args:
      path_or_spec: a file, or `sample:NAME` for a picture that ships with scikit-image.

    Returns:
      uint8 [H, W, 3] (RGB; palettes are expanded) or [H, W, 1] (grey; 1-bit images become 0 and
      255), 0..255, contiguous and writable. Color profiles are not applied.

    Raises:
      UserError: the file cannot be read, or is not one opaque 8-bit RGB or grey picture.
    """
    spec = os.fspath(path_or_spec)
    path = _sample_path(spec) if spec.startswith("sample:") else spec
    if not path:
        raise UserError("the path of the input image is empty; give the name of an image file")
    if os.path.isdir(path):
        raise UserError(f"cannot read '{spec}': it is a folder; give an image file inside it")
    try:
        with open(path, "rb") as file:
            header = file.read(4096)
            if not header:
                raise UserError(f"cannot read '{spec}': the file is empty; check how it was made")
            file.seek(0)
            # Pillow warns of broken metadata and of 89 to 179 million pixels; both are fine here.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _read(file, header, spec)
    except FileNotFoundError as error:
        raise UserError(f"cannot read '{spec}': there is no such file; check the path") from error
    except Image.UnidentifiedImageError as error:
        raise UserError(
            f"cannot read '{spec}': not an image of a supported kind ({', '.join(_READABLE)}), or "
            "damaged; convert it to PNG"
        ) from error
    except Image.DecompressionBombError as error:
        raise UserError(
            f"cannot read '{spec}': it claims more than "
            f"{2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels; cut it into smaller "
            "images"
        ) from error
    except (UserError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(
            f"cannot read '{spec}': {reason}; check that the file is complete and readable"
        ) from error


def _read(file, header: bytes, spec: str) -> np.ndarray:
    """The body of `load_image`: `file` is open at its start, `header` holds its first bytes."""
    with Image.open(file, formats=_READABLE) as image:
        # An MPO is a JPEG photo with previews or depth maps behind it; other readers ignore these.
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            raise UserError(
                f"'{spec}' has {getattr(image, 'n_frames', 1)} frames or pages, and one still "
                "image is expected; save the wanted one as PNG"
            )
        bits = _bits_per_sample(image, header)
        if bits > 8:
            raise UserError(
                f"'{spec}' has {bits} bits per sample, and only 8-bit images are supported; "
                "convert it to 8 bits"
            )
        if image.mode not in _GREY_MODES + _RGB_MODES:
            raise UserError(
                f"'{spec}' is a {image.mode} image, and only RGB and grey ones are supported; "
                "convert it to 8-bit RGB"
            )
        image.load()
        orientation = _orientation(image)  # after load: a PNG may carry it behind the pixels
        pixels = _pixels(image, spec)
    upright = _UPRIGHT.get(orientation, lambda a: a)(pixels)
    return np.array(upright, order="C")  # a copy: Pillow's own buffer is read-only


def _bits_per_sample(image: Image.Image, header: bytes) -> int:
    """Bits of the deepest sample in the file; Pillow's mode hides it for 16-bit RGB."""
    if image.format == "PNG":
        return header[24]  # 8 signature, 8 chunk head, 8 width and height (PNG spec, 11.2.2 IHDR)
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, (1,))  # BitsPerSample
        return max(bits) if isinstance(bits, tuple) else bits
    if image.format == "PPM":
        magic, *numbers = re.sub(rb"#[^\r\n]*", b" ", header).split(maxsplit=4)
        if magic in (b"P2", b"P3", b"P5", b"P6"):
            return int(numbers[2]).bit_length()  # the largest sample value
    if image.mode.startswith("I"):
        return 16
    return 32 if image.mode == "F" else 8


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # unreadable EXIF: shown as stored, as image viewers do
        return 1


def _pixels(image: Image.Image, spec: str) -> np.ndarray:
    """uint8 [H, W, 3] or [H, W, 1] of a loaded image, without an alpha that is 255 throughout."""
    grey = image.mode in _GREY_MODES
    if image.has_transparency_data:
        image = image.convert("LA" if grey else "RGBA")
        alpha = np.asarray(image.getchannel("A"))
        if alpha.min() < 255:
            raise UserError(
                f"'{spec}' has transparent pixels, which are not supported; flatten it onto a "
                "background"
            )
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels[:, :, None] if grey else pixels


def _sample_path(spec: str) -> str:
    """The file of `sample:NAME`. scikit-image is located, not imported: that takes a second."""
    name = spec.removeprefix("sample:")
    package = importlib.util.find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise UserError(
            f"'{spec}' is a picture from scikit-image, which is not installed; "
            "run: pip install 'overfit[demo]'"
        )
    folder = os.path.join(package.submodule_search_locations[0], "data")
    paths = {known: os.path.join(folder, file) for known, file in _SAMPLES.items()}
    available = {known: path for known, path in paths.items() if os.path.isfile(path)}
    if name not in available:
        raise UserError(
            f"there is no sample picture '{name}'; choose one of: {', '.join(sorted(available))}"
        )
    return available[name]


def check_image_output(path: str | os.PathLike[str]) -> None:
    """Raises UserError unless `save_image` writes the kind of file that `path` names.

    For use before a long computation whose result is to be saved there.
    """
    extension = os.path.splitext(os.fspath(path))[1].lower()
    if extension not in _WRITABLE:
        raise UserError(
            f"cannot write '{os.fspath(path)}': '{extension}' is not one of the lossless image "
            f"formats that are supported; use one of {', '.join(filter(None, _WRITABLE))}"
        )


def save_image(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Writes an image losslessly, in the format that the extension names, whole or not at all.

    Formats: .png (also without extension), .pgm (grey only), .ppm, .bmp, .tif/.tiff, .webp
    (lossless). .ppm and .webp hold RGB only: a grey image gets three equal channels there.

    Args:
      path: the output file.
      array: uint8 [H, W, 3] or [H, W, 1], 0..255.

    Raises:
      UserError: `path` cannot be written, or names a format that cannot hold the image exactly.
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3):
        raise ValueError(
            f"expected uint8 [H, W, 3] or [H, W, 1], got {array.dtype} {list(array.shape)}"
        )
    check_image_output(path)
    name = os.fspath(path)
    extension = os.path.splitext(name)[1].lower()
    kind, options, holds_grey = _WRITABLE[extension]
    if extension == ".pgm" and array.shape[2] == 3:
        raise UserError(f"cannot write '{name}': .pgm holds grey images only; use .ppm or .png")
    if kind == "WEBP" and max(array.shape[:2]) > _WEBP_MAX_SIDE:
        raise UserError(f"cannot write '{name}': WebP ends at {_WEBP_MAX_SIDE} px a side; use .png")
    image = Image.fromarray(array if array.shape[2] == 3 else array[:, :, 0])
    if not holds_grey:
        image = image.convert("RGB")
    with atomic_write(name) as file:
        image.save(file, format=kind, **options)
