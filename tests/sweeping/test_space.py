"""Sweep files: what they mean, and what is said about one with a mistake."""

import tomllib
from pathlib import Path

import pytest

from overfit import settings
from overfit.errors import UserError
from overfit.methods.c3.config import CLIC, CLIP_PRESETS, KODAK
from overfit.sweeping.space import parse, read_sweep

SWEEPS = Path(__file__).parents[2] / "sweeps"


def sweep(text: str, preset: str = "c3-kodak"):
    return parse(tomllib.loads(f'preset = "{preset}"\n{text}'), "test")


# -- The shipped ones ------------------------------------------------------------------------------


def configurations(name, preset):
    return [settings.override(preset, s) for s in read_sweep(SWEEPS / f"{name}.toml").settings()]


def test_c3_adaptive_on_kodak_has_the_12_settings_of_the_paper():
    found = configurations("c3_adaptive_kodak", KODAK)
    assert len(found) == len(set(found)) == 12 and KODAK in found
    assert {(c.synthesis.widths, c.entropy.context, c.latents.octaves()[0]) for c in found} == {
        ((w, w), context, octave) for w in (12, 18, 24) for context in (2, 3) for octave in (0, 1)
    }
    assert all(c.entropy.widths == c.synthesis.widths for c in found)
    assert all(c.latents.num_grids == 7 and c.entropy.previous == -1 for c in found)


def test_c3_adaptive_on_clic_has_the_6_settings_of_the_paper():
    found = configurations("c3_adaptive_clic", CLIC)
    assert len(found) == len(set(found)) == 6 and CLIC in found
    assert {(c.synthesis.widths, c.latents.octaves()[0]) for c in found} == {
        ((w, w), octave) for w in (12, 18, 24) for octave in (0, 1)
    }
    assert all(c.entropy.widths == c.synthesis.widths for c in found)
    assert all(c.entropy.context == 3 and c.entropy.previous == 1 for c in found)


def test_c3_adaptive_on_uvg_has_the_nine_settings_of_the_paper():
    found = read_sweep(SWEEPS / "c3_adaptive_uvg.toml")
    configs = [
        settings.override(CLIP_PRESETS[preset], changes)
        for preset, changes in map(found.changed, found.settings())
    ]
    assert len(configs) == len(set(configs)) == 9
    assert found.preset == "c3-uvg-shared" and set(CLIP_PRESETS.values()) <= set(configs)
    assert {(c.entropy, c.latents.num_grids) for c in configs} == {
        (c.entropy, c.latents.num_grids) for c in CLIP_PRESETS.values()
    }
    syntheses = {(True, True), (True, False), (False, True)}
    for preset in CLIP_PRESETS.values():
        alike = [c for c in configs if c.entropy == preset.entropy]
        assert {(c.synthesis.per_frame, c.start.mean_color) for c in alike} == syntheses


# -- The form --------------------------------------------------------------------------------------


def test_every_combination_is_a_setting_and_shares_what_is_set():
    found = sweep(
        """
        [set]
        "latents.num_grids" = 5
        [axes]
        "entropy.context" = [2, 3]
        "fit.lr" = [0.01, 0.02, 0.03]
        """
    ).settings()
    assert [(s["entropy.context"], s["fit.lr"]) for s in found] == [
        (2, 0.01), (2, 0.02), (2, 0.03), (3, 0.01), (3, 0.02), (3, 0.03)
    ]  # fmt: skip
    assert all(s["latents.num_grids"] == 5 for s in found)


def test_a_tied_path_takes_the_value_of_its_axis():
    found = sweep(
        """
        [axes]
        "synthesis.widths" = [[8], [9, 9]]
        [tied]
        "entropy.widths" = "synthesis.widths"
        """
    ).settings()
    assert found == [
        {"synthesis.widths": [8], "entropy.widths": [8]},
        {"synthesis.widths": [9, 9], "entropy.widths": [9, 9]},
    ]


def test_a_conditional_axis_exists_only_where_its_condition_holds_and_so_do_those_below_it():
    found = sweep(
        """
        [axes]
        "entropy.previous" = [-1, 1]
        "latents.order" = ["fine_to_coarse", "coarse_to_fine"]
        "fit.lr" = [0.01, 0.02]
        [when]
        "latents.order" = { "entropy.previous" = [1] }
        "fit.lr" = { "latents.order" = ["coarse_to_fine"] }
        """
    ).settings()
    assert found == [
        {"entropy.previous": -1},
        {"entropy.previous": 1, "latents.order": "fine_to_coarse"},
        {"entropy.previous": 1, "latents.order": "coarse_to_fine", "fit.lr": 0.01},
        {"entropy.previous": 1, "latents.order": "coarse_to_fine", "fit.lr": 0.02},
    ]


def test_the_budget_has_defaults_and_every_number_can_be_given():
    axes = '[axes]\n"fit.lr" = [0.01]'
    assert sweep(axes).lmbdas == (1e-3,)
    given = sweep(f"lmbdas = [1, 2e-3]\n[budget]\nsteps = 7\nrungs = [0.5]\nkeep = 0.2\n{axes}")
    assert given.lmbdas == (1.0, 2e-3)
    assert (given.budget.steps, given.budget.rungs, given.budget.keep) == (7, (0.5,), 0.2)


AXES = '[axes]\n"entropy.context" = [2, 3]\n'


@pytest.mark.parametrize(
    "text, words",
    [
        ("", ["axes"]),
        ("[axes]\n", ["axes"]),
        (f"lambdas = [1]\n{AXES}", ["lambdas", "lmbdas"]),
        (f"[bugdet]\nsteps = 5\n{AXES}", ["bugdet", "budget"]),
        (f"[budget]\nstep = 5\n{AXES}", ["step", "steps"]),
        (f"[budget]\nsteps = 0\n{AXES}", ["steps", "0"]),
        (f"[budget]\nsteps = 1.5\n{AXES}", ["steps", "1.5"]),
        (f"[budget]\nrungs = [0.3, 0.1]\n{AXES}", ["rungs"]),
        (f"[budget]\nrungs = [1.5]\n{AXES}", ["rungs"]),
        (f"[budget]\nkeep = 0\n{AXES}", ["keep"]),
        (f'[budget]\nkeep = "all"\n{AXES}', ["keep"]),
        (f'lmbdas = ["a"]\n{AXES}', ["lmbdas"]),
        (f"lmbdas = []\n{AXES}", ["lmbdas"]),
        (f'objective = "psnr"\n{AXES}', ["objective", "rd_cost"]),
        ('[axes]\n"entropy.contxt" = [2]', ["entropy.contxt", "entropy.context"]),
        ('[axes]\n"entropy.context" = [2, 9]', ["entropy.context"]),
        ('[axes]\n"entropy.context" = [2, 2]', ["same"]),
        ('[axes]\n"entropy.context" = []', ["entropy.context"]),
        ("[axes]\nentropy.context = [2]", ["entropy", "quotes"]),
        (f'[set]\n"fit.l" = 1\n{AXES}', ["fit.l", "fit.lr"]),
        (f'{AXES}[tied]\n"fit.lr" = "entropy.contex"', ["entropy.contex", "entropy.context"]),
        (f'{AXES}[when]\n"fit.lr" = {{ "entropy.context" = [2] }}', ["fit.lr"]),
        (f'{AXES}"fit.lr" = [1e-3]\n[when]\n"fit.lr" = {{ "entropy.context" = [7] }}', ["7"]),
        (f'{AXES}"fit.lr" = [1]\n[when]\n"entropy.context" = {{ "fit.lr" = [1] }}', ["above"]),
        (f'{AXES}[when]\n"entropy.context" = 2', ["condition"]),
        (f'{AXES}"fit.lr" = [1e-3]\n[when]\n"fit.lr" = {{ "entropy.context" = 2 }}', ["list"]),
        ('axes = 3\n', ["axes"]),
    ],
)  # fmt: skip
def test_a_mistake_is_named(text, words):
    with pytest.raises(UserError) as error:
        sweep(text)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_an_unknown_preset_a_missing_file_and_what_is_no_toml_are_named(tmp_path):
    with pytest.raises(UserError, match="c3-kodak"):
        sweep(AXES, preset="c3-kodac")
    with pytest.raises(UserError, match=r"none\.toml"):
        read_sweep(tmp_path / "none.toml")
    for content in (b"preset = ", b"\xff\xfe"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.toml' is no TOML"):
            read_sweep(tmp_path / "bad.toml")
    (tmp_path / "typo.toml").write_text(f'preset = "c3-kodak"\nlamdas = [1]\n{AXES}')
    with pytest.raises(UserError, match=r"typo\.toml': there is no key 'lamdas'"):
        read_sweep(tmp_path / "typo.toml")
