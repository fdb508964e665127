"""A folder of results: one JSON object a line, appended as jobs finish; the coded files beside it.

A line is complete or it is not there: an interrupted write leaves half a line at the end, which the
next run cuts off. One process at a time appends; any number may read. Workers do not append: they
leave a file per record, so that nothing depends on who started them, or on whether they are still
there. These files are taken up by the run that started the workers or by the next one.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from overfit.errors import UserError
from overfit.io.json_file import json_text, write_json

RESULTS = "results.jsonl"
RECORDS = "records"  # a folder


def read_results(folder: str | os.PathLike[str]) -> tuple[list[dict], list[str]]:
    """The results in a folder, in the order of their making, and what is damaged there.

    Of two results with one key the later counts. The second list has one sentence per line that is
    no result; half a line at the very end is a run in progress and no damage.

    Raises:
      UserError: there are no results to be read.
    """
    path = Path(folder) / RESULTS
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"cannot read results from '{path}': {error.strerror}") from error
    results: dict[str, dict] = {}
    damaged = []
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            record = json.loads(line)
            results.pop(record["key"], None)
            results[record["key"]] = record
        except (ValueError, KeyError, TypeError):
            damaged.append(f"{path}, line {number}: no result; delete the line")
    return list(results.values()), damaged


class Store:
    """Appends results to a folder; made by `open_store`."""

    def __init__(self, folder: Path, file, done: dict[str, dict]):
        self.folder = folder
        self.done = done  # key -> record
        self._file = file

    def append(self, record: dict) -> None:
        """Adds a result, which has a "key"; on the disk when this returns."""
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(json_text(record).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:  # a full disk: half a line must not spoil the next one
            self._file.truncate(end)
            raise UserError(f"cannot write to '{self.folder}': {error.strerror}") from error
        self.done[record["key"]] = record


@contextlib.contextmanager
def open_store(folder: str | os.PathLike[str]) -> Iterator[Store]:
    """Opens a folder of results for this process alone; makes it where there is none.

    Raises:
      UserError: the folder cannot be written, or another process is appending to it.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = open(path / RESULTS, "a+b")
    except OSError as error:
        raise UserError(f"cannot write results to '{path}': {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"another run is writing to '{path}'; wait for it or choose another folder"
            ) from error
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        results, _ = read_results(path)
        yield Store(path, file, {record["key"]: record for record in results})


def intact(record: dict, folder: Path) -> bool:
    """Whether the coded file of a record is there in its size: another job may have replaced it."""
    path = folder / record["file"]
    return path.is_file() and path.stat().st_size == record["bytes"]


def leave(record: dict, folder: Path) -> None:
    """What a worker does with a record."""
    (folder / RECORDS).mkdir(exist_ok=True)
    write_json(folder / RECORDS / f"{record['key']}.json", record)


def left(key: str, folder: Path) -> dict | None:
    """The record that a worker has left for the job with this key, if its file is there as well."""
    try:
        record = json.loads((folder / RECORDS / f"{key}.json").read_bytes())
    except FileNotFoundError:
        return None
    return record if intact(record, folder) else None


def left_keys(folder: Path) -> set[str]:
    """Of the jobs for which workers have left records."""
    return {path.stem for path in (folder / RECORDS).glob("*.json")}


def take_up(store: Store, belongs: Callable[[dict], bool] = lambda record: True) -> None:
    """Appends what workers have left and no run has heard of, as far as it belongs there."""
    for key in sorted(left_keys(store.folder) - store.done.keys()):
        record = left(key, store.folder)
        if record is not None and belongs(record):
            store.append(record)


def tidy(store: Store) -> None:
    """Removes what workers have left, once it has been appended and they have ended."""
    for key in left_keys(store.folder) & store.done.keys():
        (store.folder / RECORDS / f"{key}.json").unlink()
