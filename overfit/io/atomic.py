"""Output files and folders appear whole or not at all."""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from typing import BinaryIO

from overfit.errors import UserError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a binary file that takes the name `path` only when the block ends without an exception.

    The bytes go to a temporary file in the same folder, which then replaces `path` in one step.
    After any exception, KeyboardInterrupt included, the temporary file is gone and a previous file
    at `path` is untouched. A link is followed: the file that it points to is replaced.

    Raises:
      UserError: `path` cannot be written, or the disk is full.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(os.path.join(folder, "a.bin")) as file:
    ...         written = file.write(b"abc")
    ...     os.listdir(folder)
    ['a.bin']
    """
    name = os.fspath(path)
    target, mode = _check_target(name)
    temporary = os.path.join(os.path.dirname(target), f".overfit-{secrets.token_hex(8)}.tmp")
    try:
        file = open(temporary, "xb")  # not tempfile.mkstemp: its files are 0600 whatever the umask
    except OSError as error:
        raise UserError(
            f"cannot write '{name}': {_reason(error)} (the folder must be writable); "
            "choose another output folder"
        ) from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            with contextlib.suppress(OSError):  # some file systems have no permissions to keep
                os.chmod(temporary, mode)
        _replace(temporary, target, name)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            raise UserError(
                f"cannot write '{name}': {_reason(error)}; free some space or choose another folder"
            ) from error
        raise


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[str]:
    """Makes a folder that takes the name `path` only when the block ends without an exception.

    The block writes its files to the folder whose name it is given, next to `path`. After any
    exception that folder is gone with all that is in it. An empty folder at `path` is replaced.

    Raises:
      UserError: `path` cannot be written, holds something already, or the disk is full.
    """
    name = os.fspath(path)
    target = os.path.realpath(name)
    check_folder_output(name)
    temporary = os.path.join(os.path.dirname(target), f".overfit-{secrets.token_hex(8)}.tmp")
    try:
        os.mkdir(temporary)
    except OSError as error:
        raise UserError(
            f"cannot write '{name}': {_reason(error)} (the folder around it must exist and be "
            "writable); choose another output folder"
        ) from error
    try:
        yield temporary
        _replace(temporary, target, name)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            raise UserError(
                f"cannot write '{name}': {_reason(error)}; free some space or choose another folder"
            ) from error
        raise


def check_folder_output(path: str | os.PathLike[str]) -> None:
    """Raises UserError unless `atomic_folder` can make that folder, as far as names tell."""
    name = os.fspath(path)
    if not name:
        raise UserError("the output path is empty; give the name of the folder to write")
    if os.path.lexists(name) and not (os.path.isdir(name) and not os.listdir(name)):
        raise UserError(
            f"cannot write '{name}': it exists and is no empty folder; choose another output folder"
        )


def _check_target(name: str) -> tuple[str, int | None]:
    """Returns the real path behind `name` and the permission bits of the file there, if any."""
    if not name:
        raise UserError("the output path is empty; give the name of the file to write")
    if name.endswith(os.sep) or os.path.isdir(name):
        raise UserError(f"cannot write '{name}': it is a folder; add a file name")
    if "\0" in name:
        raise UserError(f"cannot write {name!r}: null characters are not allowed; remove them")
    target = os.path.realpath(name)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise UserError(
            f"cannot write '{name}': the folder '{folder}' does not exist; create it first"
        )
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return target, None
    except OSError as error:  # for example a name that is too long
        raise UserError(
            f"cannot write '{name}': {_reason(error)}; choose another output name"
        ) from error
    if not stat.S_ISREG(old.st_mode):
        # Replacing a device or a pipe would put a plain file in its place.
        raise UserError(f"cannot write '{name}': it is not a regular file; choose another name")
    if not os.access(target, os.W_OK):
        raise UserError(f"cannot write '{name}': the file is read-only; choose another name")
    return target, stat.S_IMODE(old.st_mode)


def _replace(temporary: str, target: str, name: str) -> None:
    try:
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(
            f"cannot write '{name}': {_reason(error)}; choose another output name"
        ) from error


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
