"""Where bases are found, and what is said where they are not."""

import numpy as np
import pytest

from overfit.bases import library
from overfit.bases.base import Base, identity, pack
from overfit.coding.parameters import Prior, Quantized
from overfit.errors import UserError


def data(value: int) -> bytes:
    center = Quantized(np.full((2,), value, np.int64), 4)
    return pack(Base("c3", {}, {"entropy/w0": Prior(center, 50)}, {}))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OVERFIT_BASES", str(tmp_path / "bases"))
    return tmp_path


def written(folder, name: str, value: int):
    path = folder / f"{name}.ovb"
    path.write_bytes(data(value))
    return path


def test_an_added_base_is_found_by_name_identity_file_and_prefix(folder):
    path = written(folder, "mine", 1)
    entry = library.add(path)
    assert entry.name == "mine" and entry.identity == identity(data(1))
    for text in ("mine", entry.identity, entry.identity[:6], str(path)):
        assert library.find(text).identity == entry.identity
    assert library.of_file(entry.prefix) == entry and len(entry.prefix) == 3
    assert library.find("mine").load().arrays["entropy/w0"].spread == 50
    assert "mine" in [known.name for known in library.entries()]


def test_a_name_stays_with_its_base(folder):
    library.add(written(folder, "mine", 1))
    library.add(written(folder, "mine", 1))  # the same one
    with pytest.raises(UserError, match="--name"):
        library.add(written(folder, "mine", 2))
    library.add(written(folder, "mine", 2), "other")
    assert library.find("mine").identity == identity(data(1))
    assert library.find("other").identity == identity(data(2))


@pytest.mark.parametrize("text", ["mine", "abcdef", "none.ovb", "sub/x.ovb"])
def test_what_is_not_there_is_named(folder, text):
    with pytest.raises(UserError, match=text.replace(".", "\\.")):
        library.find(text)


def test_a_file_that_needs_a_missing_base_says_which(folder):
    with pytest.raises(UserError, match="123456.*bases import"):
        library.of_file(b"\x12\x34\x56")


def test_a_damaged_base_is_refused(folder):
    path = written(folder, "mine", 1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="mine.ovb.*damaged"):
        library.add(path)
    assert not (folder / "bases").exists()
