"""`overfit decode`: an .ovf file back to an image."""

from overfit.commands.common import read_bytes, text_stream

HELP = "turn an .ovf file back into an image"


def add_arguments(parser) -> None:
    parser.add_argument("input", metavar="FILE.ovf")
    parser.add_argument("-o", "--output", required=True, help=".png, .ppm, .bmp, .tif, .webp")


def run(arguments) -> dict:
    from overfit import decoding
    from overfit.io.images import check_image_output, save_image

    check_image_output(arguments.output)
    data = read_bytes(arguments.input)
    image = decoding.decode(data)
    save_image(arguments.output, image if image.ndim == 3 else image[..., None])
    about = decoding.info(data) | {"input": arguments.input, "output": arguments.output}
    if not arguments.quiet:
        size = f"{about['width']}x{about['height']}"
        print(f"{arguments.output}: {size} pixels", file=text_stream(arguments))
    return about
