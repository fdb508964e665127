"""The command line: parse, call, print. CONTRACT: exit codes 0, 1, 2, 130; results on stdout."""

import argparse
import importlib
import os
import sys
import traceback
from typing import NoReturn

from overfit import __version__
from overfit.errors import PartialFailure, UserError, sentence

# Modules of overfit.commands.
COMMANDS = (
    "encode", "decode", "info", "batch", "sweep", "evaluate", "report", "plot", "meta-train",
    "pretrain", "bases", "clips",
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see `{self.prog} --help`)")


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="overfit", description="Compression by overfitting a small model per image.")
    top.add_argument("--version", action="version", version=f"overfit {__version__}")
    commands = top.add_subparsers(dest="command", required=True, parser_class=_Parser)
    common = _Parser(add_help=False)
    common.add_argument("--json", metavar="FILE", help="write the result as JSON ('-': stdout)")
    common.add_argument("--quiet", action="store_true", help="no progress, no summary")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    for name in COMMANDS:
        module = importlib.import_module(f"overfit.commands.{name.replace('-', '_')}")
        command = commands.add_parser(name, parents=[common], help=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return top


def _write_json(destination: str | None, about: dict) -> None:
    if destination is None:
        return
    from overfit.io.json_file import json_text, write_json

    if destination == "-":
        print(json_text(about, 1))
    else:
        write_json(destination, about)


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    debug = "--debug" in (sys.argv if argv is None else argv)
    try:
        arguments = parser().parse_args(argv)
        try:
            about = arguments.run(arguments)
        except PartialFailure as error:
            _write_json(arguments.json, error.about)
            raise
        _write_json(arguments.json, about)
        return 0
    except KeyboardInterrupt:
        print("overfit: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of stdout has gone: nothing is left to be said, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        expected = isinstance(error, UserError | PartialFailure)
        hint = "" if expected else " (--debug shows where)"
        print(f"overfit: error: {sentence(error)}{hint}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1


if __name__ == "__main__":
    sys.exit(main())
