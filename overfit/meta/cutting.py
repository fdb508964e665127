"""Training clips cut from videos: short runs of frames within a scene, in which something moves.

A video is read twice, frame by frame: to look for scenes, and to write the clips that were chosen.
What was found is kept beside them, and clips appear whole, so that a run that was stopped goes on.
"""

import itertools
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from overfit.errors import UserError, sentence
from overfit.io.clip_writers import save_frames
from overfit.io.clips import open_clip, rgb_frame
from overfit.io.datasets import Instance
from overfit.io.json_file import write_json

MANIFEST = "manifest.json"
_SCAN = "scan.json"
THUMB = (64, 36)  # px, of the pictures that are compared
CUT = 10.0  # levels: less is no cut
CUT_RATIO = 4.0  # times the median change around it: less is fast motion
AROUND = 6  # frames before and after that count for it
STATIC = 0.15  # levels per frame, mean over a clip: less is a still
_TOLD_FRAMES = 100


class Cutting(NamedTuple):
    """What is cut."""

    length: int = 7  # frames of a clip
    height: int | None = None  # px; larger frames are shrunk to it
    count: int = 20  # clips of a video, at most
    total: int | None = None  # of all videos
    seed: int = 0  # which ones


class Scan(NamedTuple):
    """What was seen of a video."""

    frames: int
    width: int
    height: int
    fps: str
    changes: list[float]  # mean absolute difference of a frame's luma from the one before; first: 0
    stamp: list[int]  # size and time of the file


Tell = Callable[[int, int, str], None]  # pieces done, of how many, what


def cut_clips(
    videos: Sequence[Instance],
    folder: Path,
    cutting: Cutting,
    tell: Tell = lambda done, count, doing: None,
) -> dict:
    """Writes clips as folders of PNG frames, VIDEO/FIRST_FRAME/00000.png, and manifest.json.

    Returns: the manifest: "settings", "videos" with what was rejected in each and why, "clips" with
    the frames of their videos that they are, [first, behind the last], and "failures".

    Raises:
      UserError: bad settings, the folder has clips of other videos or settings, no video can be
        read, or nothing is left of them.
    """
    _check(cutting)
    settings = cutting._asdict() | {"inputs": [video.name for video in videos]}
    _claim(folder, settings)
    scans, failures = {}, {}
    for index, video in enumerate(videos):

        def looked(frame: int, index=index, video=video) -> None:
            tell(index, len(videos), f"looking for scenes in {video.name}, frame {frame}")

        try:
            scans[video.name] = _scanned(video, folder / video.name / _SCAN, looked)
        except UserError as error:
            failures[video.name] = sentence(error)
    if not scans:
        raise UserError(next(iter(failures.values())))
    split = {name: stretches(scan.changes, cutting.length) for name, scan in scans.items()}
    chosen = choose({name: starts for name, (starts, _) in split.items()}, cutting)
    manifest = {
        "settings": settings,
        "videos": [
            _about(video, scans[video.name], *split[video.name])
            for video in videos
            if video.name in scans
        ],
        "clips": [
            _clip(video, start, scans[video.name], cutting)
            for video in videos
            for start in chosen.get(video.name, ())
        ],
        "failures": failures,
    }
    write_json(folder / MANIFEST, manifest)
    if not manifest["clips"]:
        raise UserError(
            f"no video has {cutting.length} frames of one scene in which something moves; "
            f"'{folder / MANIFEST}' says what was rejected"
        )
    done = itertools.count(1)
    for video in videos:
        if chosen.get(video.name):
            size = _shrunk(scans[video.name], cutting.height)
            for clip in _cut(video, chosen[video.name], folder, size, cutting.length):
                tell(next(done), len(manifest["clips"]), clip)
    return manifest


def _about(video: Instance, scan: Scan, starts: list[int], rejected: list[dict]) -> dict:
    """What the manifest says of a video."""
    return {
        "name": video.name,
        "source": video.path,
        "width": scan.width,
        "height": scan.height,
        "fps": scan.fps,
        "frames": scan.frames,
        "cuts": scene_cuts(scan.changes),
        "candidates": len(starts),
        "rejected": rejected,
    }


def _clip(video: Instance, start: int, scan: Scan, cutting: Cutting) -> dict:
    """What the manifest says of a clip."""
    width, height = _shrunk(scan, cutting.height)
    return {
        "folder": _folder_of(video.name, start),
        "video": video.name,
        "frames": [start, start + cutting.length],
        "width": width,
        "height": height,
    }


def _check(cutting: Cutting) -> None:
    least = {"length": 2, "height": 16, "count": 1, "total": 1}
    for name, value in least.items():
        given = getattr(cutting, name)
        if given is not None and given < value:
            raise UserError(f"--{name} must be at least {value}, not {given}")


def _claim(folder: Path, settings: dict) -> None:
    """The folder is made, and is of these settings."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = json.loads((folder / MANIFEST).read_text())["settings"]
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"cannot write to '{folder}': {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        known = None
    if known != settings:
        raise UserError(f"'{folder}' has clips of other videos or settings; choose another folder")


def _folder_of(name: str, start: int) -> str:
    return f"{name}/{start:06d}"


# -- Looking for scenes ----------------------------------------------------------------------------


def _scanned(video: Instance, kept: Path, tell: Callable[[int], None]) -> Scan:
    status = os.stat(video.path)
    stamp = [status.st_size, status.st_mtime_ns]
    try:
        scan = Scan(**json.loads(kept.read_text()))
        if scan.stamp == stamp:
            return scan
    except (OSError, ValueError, TypeError):
        pass
    with open_clip(video.path) as (shape, frames):
        changes = []
        for change in _changes(frames):
            if len(changes) % _TOLD_FRAMES == 0:
                tell(len(changes))
            changes.append(round(change, 3))
    if not changes:
        raise UserError(f"'{video.path}' holds no frames; check how it was made")
    scan = Scan(len(changes), shape.width, shape.height, str(shape.fps), changes, stamp)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_json(kept, scan._asdict())
    return scan


def _changes(frames: Iterator[tuple[np.ndarray, ...]]) -> Iterator[float]:
    before = None
    for planes in frames:
        picture = Image.fromarray(planes[0]).convert("L").resize(THUMB, Image.Resampling.BOX)
        now = np.asarray(picture, np.float32)
        yield 0.0 if before is None else float(np.abs(now - before).mean())
        before = now


def scene_cuts(changes: list[float]) -> list[int]:
    """The frames that start a new scene, by how much each differs from the one before.

    A cut stands out among the changes around it; fast motion and noise do not.
    """
    cuts = []
    for frame in range(1, len(changes)):
        around = changes[max(1, frame - AROUND) : frame] + changes[frame + 1 : frame + AROUND + 1]
        usual = float(np.median(around)) if around else 0.0
        if changes[frame] > max(CUT, CUT_RATIO * usual):
            cuts.append(frame)
    return cuts


def stretches(changes: list[float], length: int) -> tuple[list[int], list[dict]]:
    """Where clips of a video can start, one behind the other, and the frames that are in none.

    The second: {"frames": [first, behind the last], "reason": "static", or "short" for what is left
    of a scene}.
    """
    bounds = [0, *scene_cuts(changes), len(changes)]
    starts, rejected = [], []

    def reject(begin: int, end: int, reason: str) -> None:
        last = rejected[-1] if rejected else None
        if last and last["reason"] == reason == "static" and last["frames"][1] == begin:
            last["frames"][1] = end
        else:
            rejected.append({"frames": [begin, end], "reason": reason})

    for begin, end in itertools.pairwise(bounds):
        for start in range(begin, end - length + 1, length):
            if np.mean(changes[start + 1 : start + length]) < STATIC:
                reject(start, start + length, "static")
            else:
                starts.append(start)
        if (end - begin) % length:
            reject(end - (end - begin) % length, end, "short")
    return starts, rejected


def choose(starts: dict[str, list[int]], cutting: Cutting) -> dict[str, list[int]]:
    """At most `count` of each video, whatever the others are, and of these `total`; in order."""

    def some(of: list, count: int, seed: tuple[int, ...]) -> list:
        order = np.random.default_rng(seed).permutation(len(of))[:count]
        return [of[i] for i in sorted(order)]

    chosen = {
        name: some(those, cutting.count, (cutting.seed, zlib.crc32(name.encode())))
        for name, those in starts.items()
    }
    if cutting.total is None:
        return chosen
    clips = [(name, start) for name, those in chosen.items() for start in those]
    kept = some(clips, cutting.total, (cutting.seed,))
    return {name: [start for of, start in kept if of == name] for name in starts}


# -- Writing clips ---------------------------------------------------------------------------------


def _shrunk(scan: Scan, height: int | None) -> tuple[int, int]:
    """Width and height of the clips of a video."""
    if height is None or scan.height <= height:
        return scan.width, scan.height
    return max(1, round(scan.width * height / scan.height)), height


def _cut(
    video: Instance, starts: list[int], folder: Path, size: tuple[int, int], length: int
) -> Iterator[str]:
    """Writes the clips of a video that are not there; the name of each that is."""
    missing = []
    for start in starts:
        name = _folder_of(video.name, start)
        if (folder / name).is_dir():
            yield name
        else:
            missing.append(start)
    if not missing:
        return
    with open_clip(video.path) as (_, frames):
        position = 0
        for start in missing:
            within = itertools.islice(frames, start - position, start - position + length)
            position = start + length
            name = _folder_of(video.name, start)
            save_frames(folder / name, (_resized(frame, size) for frame in within))
            yield name


def _resized(planes: tuple[np.ndarray, ...], size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3] of a frame, in the size given."""
    frame = planes[0] if len(planes) == 1 else rgb_frame(planes)
    if frame.shape[1::-1] == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))
