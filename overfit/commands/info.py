"""`overfit info`: what an .ovf file says of itself."""

from overfit.commands.common import read_bytes

HELP = "say what an .ovf file holds"


def add_arguments(parser) -> None:
    parser.add_argument("input", metavar="FILE.ovf")


def run(arguments) -> dict:
    from overfit import decoding

    about = decoding.info(read_bytes(arguments.input)) | {"input": arguments.input}
    if not arguments.quiet and arguments.json != "-":
        for name, value in about.items():
            if isinstance(value, dict):
                print(f"{name}:")
                for key, item in value.items():
                    print(f"  {key}: {item}")
            else:
                print(f"{name}: {value}")
    return about
