"""The bases that come with the package: files that were made with one need it forever."""

import pytest

from overfit import method, settings
from overfit.bases import library
from overfit.fitting.groups import DEFAULT_PRESET
from overfit.methods.c3.architecture import parameter_shapes

# A released base never changes, and stays: add to these, and change none.
IDENTITIES = {
    "c3-clic-1": "ab694d36d0907a7d8578d8e0f4b6a597",
    "c3-kodak-1": "ba151cfbbab2ca4b17019c842685d972",
    "c3-uvg-shared-1": "5f0850f8e9714d784a1498508d718ebe",
    "upsampler-klopp21": "ec263c5bc432a376a6278231527e6424",
    "reference-small-1": "dcccfb3aafda959c448a95fef648c219",
    "stat-ssf-small-1": "3b01dbe3b03bdc272d45b9bbecf83117",
}


def test_released_bases_are_there_unchanged():
    found = {entry.name: entry.identity for entry in library.shipped()}
    assert IDENTITIES.items() <= found.items()
    assert set(found) == set(IDENTITIES), "a base is shipped that is not listed here"


@pytest.mark.parametrize("entry", library.shipped(), ids=lambda entry: entry.name)
def test_a_shipped_base_is_small_fits_a_preset_and_has_a_card(entry):
    base = entry.load()
    whole_codec = method.load(base.method).pretraining is not None
    assert entry.path.stat().st_size < (8_000_000 if whole_codec else 64_000)
    preset = base.card["plan"]["preset"] or DEFAULT_PRESET[base.method]
    config = method.load(base.method).presets[preset]
    if base.method == "c3":
        assert base.shapes() == parameter_shapes(config, 3)
    lmbda = base.lmbdas[0] if base.lmbdas else 1e-3
    assert library.suited(base.method, settings.paths(config), lmbda) == entry
    assert entry.path.with_suffix(".md").read_text().startswith("# ")
    assert base.card["trained_on"]
