"""Data sets: the pictures or clips behind a folder, a glob, or the name of a public set.

Nothing is downloaded: a named set is the user's copy, given as NAME:FOLDER (or NAME alone where the
environment variable OVERFIT_DATA names a folder that has it as a subfolder).
"""

import fnmatch
import glob
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from overfit.errors import UserError
from overfit.io.images import EXTENSIONS as IMAGE_EXTENSIONS

CLIPS = (
    ".y4m", ".yuv", ".mp4", ".mkv", ".mov", ".webm", ".avi", ".264", ".265", ".h264", ".hevc",
    ".y4m.xz", ".yuv.xz",
)  # fmt: skip


_DEEPEST = 8  # folders under each other; links may go round in circles


class Instance(NamedTuple):
    """One signal of a data set."""

    dataset: str
    name: str  # unique within the data set
    path: str  # for `load_image` or `load_clip`
    kind: str  # "image" or "video"


class Layout(NamedTuple):
    """What a public data set looks like on disk."""

    kind: str
    count: int | None  # of all members
    pattern: str  # a regular expression for the names (without extension) of its members


LAYOUTS = {
    "kodak": Layout("image", 24, r"kodim(0[1-9]|1\d|2[0-4])"),
    # The professional validation set, as C3 and Cool-chic use it.
    "clic2020": Layout("image", 41, r".+"),
    # The seven sequences of the papers; the files are named Beauty_1920x1080_120fps_420_8bit_YUV
    # and so on.
    "uvg": Layout(
        "video", 7, r"(?i)(beauty|bosphorus|honeybee|jockey|readyset|shakendry|yachtride).*"
    ),
    "mcl-jcv": Layout("video", 30, r"(?i)videosrc\d\d.*"),
    # The septuplets: sequences/00001/0001/im1.png, of which those of sep_trainlist.txt where it is
    # there, or a flat copy of some.
    "vimeo90k": Layout("video", None, r".+"),
    # No public set: any folder of clips, or of folders of frames.
    "clips": Layout("video", None, r".+"),
}  # fmt: skip


def _extension(path: Path) -> str:
    name = path.name.lower()
    return next((e for e in (*IMAGE_EXTENSIONS, *CLIPS) if name.endswith(e)), "")


def _instances(dataset: str, root: Path, paths: Iterable[Path]) -> list[Instance]:
    found = []
    for path in paths:
        extension = _extension(path)
        if not extension:
            continue
        kind = "image" if extension in IMAGE_EXTENSIONS else "video"
        relative = path.relative_to(root).as_posix()
        found.append(Instance(dataset, relative[: len(relative) - len(extension)], str(path), kind))
    return found


def natural(name: str) -> list[str | int]:
    """Sort key that puts frame9 before frame10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name)]


def _in_order(found: Iterable[Instance]) -> list[Instance]:
    return sorted(found, key=lambda instance: natural(instance.name))


def _from_folder(dataset: str, folder: Path) -> list[Instance]:
    files = _instances(dataset, folder, (p for p in folder.rglob("*") if p.is_file()))
    return _in_order(files)


def _clips_below(dataset: str, root: Path) -> list[Instance]:
    """Files that are clips, and folders of pictures, each of which is one clip."""
    found = []
    for name, folders, files in os.walk(root, followlinks=True):
        folder = Path(name)
        folders[:] = [sub for sub in folders if not sub.startswith(".")]
        inside = _instances(dataset, root, (folder / file for file in files))
        found += [i for i in inside if i.kind == "video"]
        if folder != root and any(i.kind == "image" for i in inside):
            found.append(_frames(dataset, root, folder))
        if len(folder.relative_to(root).parts) >= _DEEPEST:
            folders.clear()
    return found


def _frames(dataset: str, root: Path, folder: Path) -> Instance:
    return Instance(dataset, folder.relative_to(root).as_posix(), str(folder), "video")


def _training_septuplets(dataset: str, root: Path) -> list[Instance]:
    """Those of Vimeo-90k's own list that are here; none without the list."""
    listed = root / "sep_trainlist.txt"
    names = listed.read_text().split() if listed.is_file() else []
    folders = [root / "sequences" / name for name in names]
    return [_frames(dataset, root, folder) for folder in folders if folder.is_dir()]


def _named(name: str, folder: Path) -> list[Instance]:
    layout = LAYOUTS[name]
    below = _clips_below if layout.kind == "video" else _from_folder
    listed = _training_septuplets(name, folder) if name == "vimeo90k" else []
    found = [
        i for i in listed or below(name, folder)
        if i.kind == layout.kind and re.fullmatch(layout.pattern, os.path.basename(i.name))
    ]  # fmt: skip
    if not found:
        raise UserError(f"'{folder}' has no {layout.kind} of {name}; give the folder of your copy")
    return _in_order(found)


def find(spec: str) -> list[Instance]:
    """The members of a data set, in the natural order of their names.

    spec: a file, `sample:NAME`, a folder (all pictures and clips below it), a glob, or a named
    set: `kodak:FOLDER`, `clic2020:FOLDER`, `uvg:FOLDER`, `mcl-jcv:FOLDER`, `vimeo90k:FOLDER`,
    `clips:FOLDER`. In the last four a folder of pictures below it is a clip.

    Raises:
      UserError: there is nothing.
    """
    name, colon, folder = spec.partition(":")
    if name in LAYOUTS and not Path(spec).exists():
        if not colon:
            home = os.environ.get("OVERFIT_DATA")
            if home is None:
                raise UserError(
                    f"where is {name}? Say {name}:FOLDER, or set OVERFIT_DATA to its parent"
                )
            folder = os.path.join(home, name)
        if not os.path.isdir(folder):
            raise UserError(f"there is no folder '{folder}'; give the one of your copy of {name}")
        return _named(name, Path(folder))
    if spec.startswith("sample:"):
        return [Instance("sample", folder, spec, "image")]
    path = Path(spec)
    if path.is_dir():
        found = _from_folder(path.resolve().name, path)
    elif path.is_file():
        found = _instances(path.resolve().parent.name, path.parent, [path])
    else:
        paths = [Path(p) for p in sorted(glob.glob(spec, recursive=True))]
        files = [p for p in paths if p.is_file()]
        root = Path(os.path.commonpath([p.parent for p in files])) if files else path
        found = _in_order(_instances(root.resolve().name, root, files))
    if not found:
        raise UserError(f"'{spec}' has no pictures and no clips; give a folder, a file or a glob")
    return found


def find_all(specs: Iterable[str], only: Iterable[str] = ()) -> list[Instance]:
    """Members of several data sets; `only` keeps the names that match one of its globs.

    Raises:
      UserError: nothing is left, or two members have one name.
    """
    found = [instance for spec in specs for instance in find(spec)]
    only = list(only)
    if only:
        found = [i for i in found if any(fnmatch.fnmatchcase(i.name, glob) for glob in only)]
    if not found:
        raise UserError(f"no name in the data set matches {', '.join(only)}")
    names = [i.name for i in found]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"two inputs have the name '{twice}'; take them in separate runs")
    return found
