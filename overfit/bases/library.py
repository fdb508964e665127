"""Where bases lie: those that are shipped with the package, and those of the user."""

import math
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from overfit.bases.base import Base, identity, unpack
from overfit.coding.container import BASE_BYTES
from overfit.errors import UserError
from overfit.io.atomic import atomic_write

EXTENSION = ".ovb"


class Entry(NamedTuple):
    """A base that is there."""

    name: str
    identity: str  # hexadecimal
    path: Path

    def load(self) -> Base:
        """Raises UserError for a damaged file."""
        return _read(self.path)[1]

    @property
    def prefix(self) -> bytes:
        """What names it in a file."""
        return bytes.fromhex(self.identity)[:BASE_BYTES]


def folder() -> Path:
    """Of the user's own bases: $OVERFIT_BASES, or overfit/bases where the system keeps data."""
    chosen = os.environ.get("OVERFIT_BASES")
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local/share")
    return Path(chosen or os.path.join(data, "overfit", "bases"))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the base '{path}': {error.strerror}") from error


def _read(path: Path) -> tuple[bytes, Base]:
    data = _bytes(path)
    try:
        return data, unpack(data)
    except UserError as error:
        raise UserError(f"'{path}': {error}") from error


def load(path: str | os.PathLike[str]) -> Entry:
    """The base in a file; raises UserError for one that cannot be read."""
    path = Path(path)
    return Entry(path.stem, identity(_bytes(path)), path)


def _files(where: Path) -> Iterator[Path]:
    yield from sorted(where.glob(f"*{EXTENSION}"))


def shipped() -> list[Entry]:
    """The bases that come with the package."""
    return [load(path) for path in _files(Path(str(resources.files("overfit.bases"))) / "shipped")]


def entries() -> list[Entry]:
    """All bases, the shipped ones first."""
    return shipped() + [load(path) for path in _files(folder())]


# Settings that belong to the fit and not to the networks: a base serves all values of these.
_FREE = (
    "fit.", "start.", "quantizer.", "base.", "training.", "group", "latency", "latents.margin",
)  # fmt: skip


def differing(base: Base, settings: dict[str, Any]) -> list[str]:
    """The paths at which networks with these settings are others than those of the base.

    settings: {dotted path: value} of a whole configuration.
    """

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value

    return [
        path
        for path, value in base.settings.items()
        if not path.startswith(_FREE) and plain(settings.get(path)) != plain(value)
    ]


def suited(method: str, settings: dict[str, Any], lmbda: float) -> Entry | None:
    """The shipped base for networks with these settings, learned nearest to lambda; or None."""

    def distance(base: Base) -> float:
        if base.lmbdas is None:
            return math.inf
        return abs(math.log(lmbda) - math.log(base.lmbdas[0] * base.lmbdas[1]) / 2)

    known = [(entry, entry.load()) for entry in shipped()]
    found = [
        (distance(base), entry.name, entry)
        for entry, base in known
        if base.method == method and not differing(base, settings)
    ]
    return min(found)[2] if found else None


def find(text: str) -> Entry:
    """The base of that name, file, or start of its identity (six digits or more).

    Raises:
      UserError: there is none, or more than one.
    """
    if text.endswith(EXTENSION) or os.sep in text:
        return load(text)
    known = entries()
    found = [entry for entry in known if entry.name == text] or [
        entry for entry in known if len(text) >= 6 and entry.identity.startswith(text)
    ]
    if len({entry.identity for entry in found}) == 1:
        return found[0]
    if found:
        raise UserError(f"'{text}' is more than one base; give more digits of its identity")
    names = ", ".join(entry.name for entry in known) or "none is here"
    raise UserError(
        f"there is no base '{text}' (known: {names}); get its file and say: overfit bases import"
    )


def kept(text: str) -> Entry:
    """Like `find`, but only what a decoder here would find as well."""
    entry = find(text)
    if entry.identity not in {known.identity for known in entries()}:
        raise UserError(
            f"the base '{entry.path}' is not kept here, and decoders would not find it; say: "
            f"overfit bases import {entry.path}"
        )
    return entry


def of_file(prefix: bytes) -> Entry:
    """The base that a file names.

    Raises:
      UserError: it is not here, or another one begins with the same digits.
    """
    found = {e.identity: e for e in entries() if e.prefix == prefix}
    if len(found) == 1:
        return next(iter(found.values()))
    digits = prefix.hex()
    if found:
        raise UserError(
            f"more than one base here begins with {digits}: remove all but the right one"
        )
    raise UserError(
        f"the file needs the base {digits}..., which is not here; get its file from whoever made "
        "this one and say: overfit bases import FILE"
    )


def needed(prefix: bytes, method: str) -> Base:
    """The base that a file of that method names.

    Raises:
      UserError: it is not here, or belongs to another method.
    """
    entry = of_file(prefix)
    base = entry.load()
    if base.method != method:
        raise UserError(f"the file is damaged: its base '{entry.name}' is of method {base.method}")
    return base


def add(path: str | os.PathLike[str], name: str | None = None) -> Entry:
    """Copies the file of a base to the user's own.

    Raises:
      UserError: it is no base, or another one has this name: a released base never changes.
    """
    data, _ = _read(Path(path))
    name = name or Path(path).stem
    for known in entries():
        if known.name == name and known.identity != identity(data):
            raise UserError(f"another base is named '{name}'; choose a name of its own with --name")
    folder().mkdir(parents=True, exist_ok=True)
    target = folder() / f"{name}{EXTENSION}"
    with atomic_write(target) as file:
        file.write(data)
    return load(target)
