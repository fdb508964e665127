"""`overfit bases`: what instances can start from, listed, described, exchanged."""

from overfit.commands.common import text_stream

HELP = "list, describe, export and import bases"


def add_arguments(parser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="those that are here")
    info = actions.add_parser("info", help="where one comes from")
    info.add_argument("base", help="name, file, or start of its identity")
    export = actions.add_parser("export", help="copy one to a file, for others")
    export.add_argument("base")
    export.add_argument("-o", "--output", required=True, metavar="FILE.ovb")
    get = actions.add_parser("import", help="keep one that others have made")
    get.add_argument("file", metavar="FILE.ovb")
    get.add_argument("--name", help="default: that of the file")


def run(arguments) -> dict:
    about = _ACTIONS[arguments.action](arguments)
    if not arguments.quiet:
        for line in about.get("bases", [about]):
            print(f"{line['name']}  {line['identity']}  {line['method']}  {line['bytes']} bytes",
                  file=text_stream(arguments))  # fmt: skip
        if "card" in about:
            known = {"lmbdas": about["lmbdas"], **about["settings"], **about["card"]}
            for key, value in known.items():
                print(f"  {key}: {value}", file=text_stream(arguments))
            if "measured" in about:
                print(f"\n{about['measured']}", file=text_stream(arguments))
    return about


def _about(entry) -> dict:
    return {
        "name": entry.name,
        "identity": entry.identity,
        "method": entry.load().method,
        "bytes": entry.path.stat().st_size,
        "path": str(entry.path),
    }


def _list(arguments) -> dict:
    from overfit.bases import library

    return {"bases": [_about(entry) for entry in library.entries()]}


def _info(arguments) -> dict:
    from overfit.bases import library

    entry = library.find(arguments.base)
    base = entry.load()
    about = _about(entry) | {"settings": base.settings, "lmbdas": base.lmbdas, "card": base.card}
    # What it gains is measured after it is made, so that it stands beside it.
    measured = entry.path.with_suffix(".md")
    return about | ({"measured": measured.read_text()} if measured.exists() else {})


def _export(arguments) -> dict:
    from overfit.bases import library
    from overfit.io.atomic import atomic_write

    entry = library.find(arguments.base)
    with atomic_write(arguments.output) as file:
        file.write(entry.path.read_bytes())
    return _about(entry) | {"output": arguments.output}


def _import(arguments) -> dict:
    from overfit.bases import library

    return _about(library.add(arguments.file, arguments.name))


_ACTIONS = {"list": _list, "info": _info, "export": _export, "import": _import}
