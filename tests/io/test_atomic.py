import errno
import os
import stat

import pytest

from overfit.errors import UserError
from overfit.io.atomic import atomic_write


def write(path, data=b"new"):
    with atomic_write(path) as file:
        file.write(data)


def test_writes_a_new_file_and_nothing_else(tmp_path):
    write(tmp_path / "a.bin", b"abc")
    assert (tmp_path / "a.bin").read_bytes() == b"abc"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_replaces_an_old_file(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"old and longer")
    write(str(tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_takes_a_name_without_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError, MemoryError])
def test_an_exception_leaves_the_old_file_and_no_temporary(tmp_path, error):
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(error):
        with atomic_write(tmp_path / "a.bin") as file:
            file.write(b"half of it")
            file.flush()
            assert (tmp_path / "a.bin").read_bytes() == b"old"
            raise error
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_exception_leaves_no_file_where_there_was_none(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with atomic_write(tmp_path / "a.bin"):
            raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_a_failed_rename_cleans_up(tmp_path, monkeypatch):
    def fail(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match="Operation not permitted"):
        write(tmp_path / "a.bin")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_said_clearly(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"a\.bin.*No space left"):
        write(tmp_path / "a.bin")
    assert os.listdir(tmp_path) == []


def test_other_errors_of_the_caller_keep_their_type(tmp_path):
    with pytest.raises(FileNotFoundError):
        with atomic_write(tmp_path / "a.bin"):
            open(tmp_path / "nothing")


def test_bad_targets_are_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path, message in [
        ("", "empty"),
        (tmp_path / "missing" / "a.bin", "does not exist"),
        (tmp_path / "file" / "a.bin", "does not exist"),
        (tmp_path / "folder", "is a folder"),
        (f"{tmp_path}/new/", "is a folder"),
        (tmp_path / ("x" * 300), "too long"),
        (f"{tmp_path}/a\0b", "null"),
    ]:
        with pytest.raises(UserError, match=message):
            write(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_devices_and_pipes_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(UserError, match="not a regular file"):
            write(path)
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_read_only_targets_are_refused(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"old")
    (tmp_path / "a.bin").chmod(0o444)
    with pytest.raises(UserError, match="read-only"):
        write(tmp_path / "a.bin")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(UserError, match="must be writable"):
            write(tmp_path / "b.bin")
    finally:
        tmp_path.chmod(0o755)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    def fail(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(UserError, match="Permission denied.*must be writable"):
        write(tmp_path / "a.bin")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_new_files_follow_the_umask(tmp_path, umask, mode):
    old = os.umask(umask)
    try:
        write(tmp_path / "a.bin")
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(tmp_path / "a.bin").st_mode) == mode


def test_a_replaced_file_keeps_its_permissions(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"private")
    (tmp_path / "a.bin").chmod(0o600)
    write(tmp_path / "a.bin")
    assert stat.S_IMODE(os.stat(tmp_path / "a.bin").st_mode) == 0o600


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "a.bin")  # dangling at first
    for data in (b"one", b"two"):
        write(tmp_path / "link", data)
        assert (tmp_path / "elsewhere" / "a.bin").read_bytes() == data
    assert (tmp_path / "link").is_symlink()
