"""The table and the picture of the README: one photo at default settings, at several lambdas.

    python experiments/readme.py

JPEG and WebP are encoded at the quality whose file is nearest in size to ours, and all files are
decoded again. Writes experiments/results/readme.json and docs/astronaut.png.
"""

import argparse
import io

import common
import numpy as np
from PIL import Image, ImageDraw

import overfit
from overfit.codecs.nearest import FAMILIAR, nearest_size
from overfit.fitting.encode import encode
from overfit.fitting.groups import AUTO_BASE, Options, Request
from overfit.io.images import load_image

CROP = (slice(40, 200), slice(150, 310))  # rows, columns: the face
PICTURED = 2e-3  # lambda of the picture


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
    return np.asarray(Image.open(buffer))


def picture(panels: dict[str, np.ndarray]) -> Image.Image:
    """Crops side by side, doubled, with a caption above each."""
    side, head = 2 * (CROP[0].stop - CROP[0].start), 34
    sheet = Image.new("RGB", (len(panels) * (side + 8) - 8, side + head), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (caption, image) in enumerate(panels.items()):
        crop = Image.fromarray(image[CROP]).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(crop, (i * (side + 8), head))
        draw.text((i * (side + 8), 8), caption, fill="black", font_size=15)
    return sheet


def _row(about: dict) -> dict:
    keys = ("base", "lmbda", "steps", "bytes", "bpp", "psnr", "ms_ssim", "bits", "seconds",
            "seconds_compile", "macs_per_pixel")  # fmt: skip
    return {key: about[key] for key in keys}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lmbdas", type=float, nargs="+", default=[5e-4, 2e-3, 8e-3])
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    image = load_image("sample:astronaut")
    rows = []
    for lmbda in arguments.lmbdas:
        options = Options(lmbda=lmbda, steps=arguments.steps)
        (result,) = encode([Request(image, options._replace(base=AUTO_BASE))])
        (plain,) = encode([Request(image, options)])
        row = _row(result.about) | {"without_base": _row(plain.about)}
        about = result.about
        for codec in FAMILIAR:
            row[codec] = nearest_size(image, codec, about["bytes"])._asdict()
        rows.append(row)
        print(row, flush=True)
        if lmbda == PICTURED:
            ours, other = overfit.decode(result.data), jpeg(image, row["jpeg"]["value"])
            picture(
                {
                    "original": image,
                    f"overfit: {about['bytes']} bytes, {about['psnr']:.1f} dB": ours,
                    f"JPEG: {row['jpeg']['bytes']} bytes, {row['jpeg']['psnr']:.1f} dB": other,
                }
            ).save(common.RESULTS.parents[1] / "docs" / "astronaut.png", optimize=True)
        common.save("readme", rows)


if __name__ == "__main__":
    main()
