"""A folder of results: one JSON object a line, appended as jobs finish; the coded files beside it.

A line is complete or it is not there: an interrupted write leaves half a line at the end, which the
next run cuts off. One process at a time appends; any number may read. Workers hand in their records
as files in records/, from where whoever appends takes them up.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from overfit.errors import UserError
from overfit.io.json_file import json_text, write_json

RESULTS = "results.jsonl"
RECORDS = "records"


def hand_in(record: dict, folder: Path) -> None:
    """Leaves a record, which has a "key", for the index: whether or not a driver is still there."""
    (folder / RECORDS).mkdir(exist_ok=True)
    write_json(folder / RECORDS / f"{record['key']}.json", record)


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

    def take_up(self, record: dict) -> None:
        """Appends what a worker has handed in."""
        self.append(record)
        (self.folder / RECORDS / f"{record['key']}.json").unlink(missing_ok=True)

    def take_up_all(self) -> None:
        """What a run that was killed, or a worker without a driver, has left."""
        for path in sorted((self.folder / RECORDS).glob("*.json")):
            record = json.loads(path.read_bytes())
            if record["key"] not in self.done:
                self.append(record)
            path.unlink()


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
