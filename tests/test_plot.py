"""`overfit plot` as people and scripts use it."""

import importlib
import json
import subprocess
import sys

import pytest

from overfit.cli import main
from overfit.report.curves import Curve, write_curve

BPP = (0.1, 0.2, 0.4, 0.8)
VTM = Curve("VTM", BPP, (28.0, 31.0, 34.0, 37.0), (0.9, 0.95, 0.975, 0.99))
HALF = VTM._replace(name="half", bpp=tuple(rate / 2 for rate in BPP), ms_ssim=(None,) * 4)
FEW = VTM._replace(name="few", bpp=(0.15, 0.2), psnr=(28.0, 29.0), ms_ssim=(None,) * 2)


@pytest.fixture(autouse=True)
def _needs_matplotlib():
    pytest.importorskip("matplotlib")


@pytest.fixture
def folder(tmp_path):
    """A folder of three curves, and no other file."""
    path = tmp_path / "curves"
    path.mkdir()
    for curve in (VTM, HALF, FEW):
        write_curve(path / f"{curve.name}.json", curve)
    return path


@pytest.fixture
def plot(tmp_path, capsys):
    """Runs the command; returns its exit code, stdout and stderr."""

    def run(*arguments, output="rd.svg"):
        code = main(["plot", *map(str, arguments), "-o", str(tmp_path / output)])
        return code, *capsys.readouterr()

    return run


def test_a_figure_of_files_and_folders(plot, folder, tmp_path):
    write_curve(tmp_path / "ours.json", VTM._replace(name="overfit"))
    code, out, err = plot(folder, tmp_path / "ours.json", folder / "few.json", output="rd.png")
    assert (code, out, err) == (0, "", "")
    assert (tmp_path / "rd.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_goes_from_the_best_to_the_worst(plot, folder):
    code, out, _ = plot(folder, "--anchor", "vtm")
    assert code == 0
    head, *rows = out.splitlines()
    assert "VTM" in head and "pchip" in head
    # "few" needs 1.5 times the rate at 28 dB and 2 ** (2 / 3) times at 29: +54.31 % in the mean.
    assert [row.split()[:2] for row in rows] == [["half", "-50.00"], ["few", "+54.31"]]
    assert "100%" in rows[0] and "little overlap" not in rows[0]
    assert "11%" in rows[1] and "little overlap" in rows[1]


def test_json_names_anchor_interpolation_and_overlap(plot, folder, tmp_path):
    code, out, err = plot(folder, "--anchor", "VTM", "--json", "-")
    document = json.loads(out)
    assert code == 0 and "half" in err  # the table makes room for the JSON
    assert document["output"] == str(tmp_path / "rd.svg")
    assert sorted(document["curves"]) == ["VTM", "few", "half"]
    assert document["failed"] == []
    entry = next(entry for entry in document["bd_rates"] if entry["name"] == "half")
    assert entry.pop("bd_rate") == pytest.approx(-50)
    assert entry == {
        "name": "half",
        "anchor": "VTM",
        "metric": "psnr",
        "interpolation": "pchip",
        "overlap": 1.0,
        "error": None,
    }


def test_the_anchor_may_be_a_file_of_its_own(plot, folder, tmp_path):
    anchor = tmp_path / "anchor.json"
    write_curve(anchor, VTM._replace(name="another", bpp=tuple(2 * rate for rate in BPP)))
    code, out, _ = plot(folder / "VTM.json", "--anchor", anchor, "--json", tmp_path / "a.json")
    assert code == 0 and "-50.00" in out
    assert json.loads((tmp_path / "a.json").read_text())["curves"] == ["another", "VTM"]
    _, out, _ = plot(folder, "--anchor", folder / "VTM.json", "--json", "-", "--quiet")
    assert sorted(json.loads(out)["curves"]) == ["VTM", "few", "half"]  # and not VTM twice


def test_an_anchor_that_does_not_exist(plot, folder, tmp_path):
    code, _, err = plot(folder, "--anchor", "HM")
    assert code == 2
    assert "no anchor 'HM'" in err and "VTM, few, half" in err
    assert not (tmp_path / "rd.svg").exists()


def test_curves_without_the_metric_are_named(plot, folder):
    code, out, err = plot(folder, "--metric", "ms-ssim", "--json", "-")
    assert code == 0
    assert json.loads(out)["curves"] == ["VTM"]
    assert "not drawn, without MS-SSIM: few, half" in err
    code, _, err = plot(folder, "--metric", "ms-ssim", "--anchor", "half")
    assert code == 2 and "anchor half has no MS-SSIM" in err


def test_a_curve_that_cannot_be_compared_is_in_the_table(plot, folder):
    write_curve(folder / "above.json", Curve("above", (0.1, 0.2), (50.0, 60.0), (None, None)))
    code, out, _ = plot(folder, "--anchor", "VTM")
    assert code == 0
    assert "above" in out.splitlines()[-1] and "in common" in out.splitlines()[-1]


def test_bad_files_do_not_stop_the_good_ones(plot, folder, tmp_path):
    (folder / "damaged.json").write_text('{"results": {"bpp": [0.1')
    (folder / "other.json").write_text('{"psnr": 30}')
    code, out, err = plot(folder, tmp_path / "missing.json", "--anchor", "VTM", "--json", "-")
    assert code == 1
    assert [entry["name"] for entry in json.loads(out)["bd_rates"]] == ["few", "half"]
    assert len(json.loads(out)["failed"]) == 3
    *_, damaged, other, missing, last = err.splitlines()
    assert "damaged.json" in damaged and "not a JSON file" in damaged
    assert "other.json" in other and "'bpp'" in other
    assert "missing.json" in missing and "No such file" in missing
    assert last.startswith("overfit: error: ")
    assert (tmp_path / "rd.svg").exists()


def test_no_good_file_at_all(plot, tmp_path):
    (tmp_path / "a.json").write_text("no")
    code, _, err = plot(tmp_path / "a.json", tmp_path / "b.json")
    assert code == 2
    assert err.startswith("overfit: error: ") and err.count("\n") == 1 and "a.json" in err
    assert not (tmp_path / "rd.svg").exists()


def test_an_empty_folder(plot, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = plot(tmp_path / "empty")
    assert code == 2 and "has no .json files" in err


def test_curves_of_one_name_are_told_apart_by_their_files(plot, folder):
    write_curve(folder / "again.json", VTM)
    _, out, _ = plot(folder, "--json", "-")
    assert sorted(json.loads(out)["curves"]) == ["VTM (VTM)", "VTM (again)", "few", "half"]


def test_files_of_video_need_the_pixels_per_second(plot, tmp_path):
    path = tmp_path / "x265.json"
    path.write_text('{"results": {"bitrate": [100, 400], "psnr-rgb": [30, 36]}}')
    code, _, err = plot(path)
    assert code == 2 and "--pixels-per-second" in err
    assert plot(path, "--pixels-per-second", 1920 * 1080 * 120)[0] == 0
    assert plot(path, "--pixels-per-second", 0)[0] == 2


def test_output_is_checked_first(plot, folder):
    code, _, err = plot(folder, output="rd.pdf")
    assert code == 2 and ".png or .svg" in err


def test_title_and_logarithmic_rate_change_the_figure(plot, folder, tmp_path):
    pictures = []
    for more in ([], ["--title", "Kodak"], ["--log-rate"]):
        assert plot(folder, *more)[0] == 0
        pictures.append((tmp_path / "rd.svg").read_text())
    assert len(set(pictures)) == 3


def test_without_matplotlib_the_extra_is_named(plot, folder, monkeypatch):
    package = importlib.import_module("overfit.report")
    monkeypatch.delattr(package, "plot", raising=False)
    monkeypatch.delitem(sys.modules, "overfit.report.plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = plot(folder)
    assert code == 2 and "pip install '.[report]'" in err


def test_other_commands_do_not_load_what_plotting_needs():
    """Decoding is to start at once."""
    program = (
        "import sys, overfit.cli; overfit.cli.parser(); "
        "print([name for name in ('matplotlib', 'scipy', 'jax') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n"
