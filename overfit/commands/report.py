"""`overfit report`: one HTML page about the results of `overfit evaluate`."""

from overfit.commands.common import check_writable, raise_failures, text_stream

HELP = "write one HTML page about the results of `overfit evaluate`"


def add_arguments(parser) -> None:
    parser.add_argument("results", metavar="DIR", help="what `overfit evaluate -o DIR` has written")
    parser.add_argument("-o", "--output", required=True, metavar="REPORT.html")
    parser.add_argument(
        "--anchor", metavar="LABEL", help="curve that BD-rates refer to; default: a classical one"
    )
    parser.add_argument(
        "--published", nargs="+", default=[], metavar="PATH",
        help="files of published curves, or folders of them, to be shown beside",
    )  # fmt: skip
    parser.add_argument(
        "--averaging", default="mean", choices=("mean", "pooled"),
        help="over pictures: mean of PSNRs (default), or PSNR of the pooled squared error",
    )  # fmt: skip
    parser.add_argument("--title", help="of the page")


def run(arguments) -> dict:
    from overfit.io.atomic import atomic_write
    from overfit.report.page import build

    check_writable(arguments.output)
    page = build(
        arguments.results,
        arguments.anchor,
        arguments.published,
        arguments.averaging,
        arguments.title,
    )
    data = page.html.encode("utf-8", "replace")
    with atomic_write(arguments.output) as file:
        file.write(data)
    about = {
        "results": page.results,
        "anchor": page.anchor,
        "output": arguments.output,
        "bytes": len(data),
        "problems": page.problems,
    }
    if not arguments.quiet:
        text = f"{arguments.output}: {page.results} results, {len(data) / 1e6:.1f} MB"
        print(text, file=text_stream(arguments))
    raise_failures(page.problems, about)
    return about
