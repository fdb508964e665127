"""`overfit decode`: an .ovf file back to an image or a clip."""

import sys

from overfit.commands.common import read_bytes, text_stream
from overfit.errors import UserError

HELP = "turn an .ovf file back into an image or a clip"


def add_arguments(parser) -> None:
    parser.add_argument("input", metavar="FILE.ovf")
    parser.add_argument(
        "-o", "--output", required=True,
        help=".png, .ppm, .bmp, .tif, .webp; of a clip the name of a folder for PNG frames; of a "
        "4:2:0 clip also .y4m or .yuv",
    )  # fmt: skip
    parser.add_argument("--frames", metavar="A:B", help="of a clip: frames A to B - 1 only")
    parser.add_argument(
        "--salvage", action="store_true", help="of a clip: grey where it is damaged, not an error"
    )


def run(arguments) -> dict:
    from overfit import decoding
    from overfit.coding.clip_container import is_clip
    from overfit.method import has_latents

    data = read_bytes(arguments.input)
    if is_clip(data):
        return _clip(arguments, data)
    codec, _ = decoding.open_sections(data)
    return (_image if has_latents(codec) else _planes)(arguments, data)


def _image(arguments, data: bytes) -> dict:
    from overfit import decoding
    from overfit.io.images import check_image_output, save_image

    if arguments.frames is not None or arguments.salvage:
        raise UserError(f"--frames and --salvage are for clips; '{arguments.input}' is an image")
    check_image_output(arguments.output)
    image = decoding.decode(data)
    save_image(arguments.output, image if image.ndim == 3 else image[..., None])
    about = decoding.info(data)
    return _told(arguments, about, f"{about['width']}x{about['height']} pixels")


def _clip(arguments, data: bytes) -> dict:
    import io

    from overfit import clip_decoding
    from overfit.io.clip_writers import check_clip_output, save_frames, save_planes

    head = clip_decoding.opened(io.BytesIO(data)).head
    check_clip_output(arguments.output, head.format)
    start, stop = _range(arguments.frames, head.size[0])
    lost: list[str] = []
    frames = clip_decoding.decode_frames(
        io.BytesIO(data), start, stop, lost.append if arguments.salvage else None
    )
    if head.format == "rgb":
        save_frames(arguments.output, frames)
    else:
        save_planes(arguments.output, clip_decoding.shape_of(head), frames)
    for sentence in lost:
        print(f"lost: {sentence}", file=sys.stderr)
    about = {"method": head.method, "frames": stop - start, "lost": lost}
    about |= {"width": head.size[2], "height": head.size[1], "fps": float(head.fps)}
    size = f"{about['width']}x{about['height']}"
    return _told(arguments, about, f"{about['frames']} frames of {size} pixels")


def _planes(arguments, data: bytes) -> dict:
    import itertools

    from overfit import decoding
    from overfit.io.clip_writers import check_clip_output, save_planes

    if arguments.salvage:
        raise UserError("--salvage is for clips in patches; what is damaged here is lost")
    shape, frames = decoding.planes(data)
    check_clip_output(arguments.output, shape.format)
    start, stop = _range(arguments.frames, shape.frames)
    if not 0 <= start < stop <= shape.frames:
        raise UserError(
            f"there are no frames {start}:{stop} in a clip of {shape.frames} frames; the first is 0"
        )
    save_planes(arguments.output, shape, itertools.islice(frames, start, stop))
    about = decoding.info(data) | {"frames": stop - start}
    size = f"{shape.width}x{shape.height}"
    return _told(arguments, about, f"{about['frames']} frames of {size} pixels")


def _range(text: str | None, count: int) -> tuple[int, int]:
    """A:B as numbers, either of which may be missing; UserError for anything else."""
    if text is None:
        return 0, count
    first, colon, last = text.partition(":")
    try:
        return int(first or 0), int(last or count) if colon else int(first) + 1
    except ValueError:
        raise UserError(f"--frames must be A:B, say 0:8, not '{text}'") from None


def _told(arguments, about: dict, what: str) -> dict:
    if not arguments.quiet:
        print(f"{arguments.output}: {what}", file=text_stream(arguments))
    return about | {"input": arguments.input, "output": arguments.output}
