"""A report is one file that a colleague opens anywhere: it must be whole, safe and complete."""

import html.parser
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from overfit import decoding
from overfit.cli import main
from overfit.errors import UserError
from overfit.evaluation import Plan, jobs
from overfit.io.datasets import find_all
from overfit.jobs.backends import Workers
from overfit.jobs.drive import drive
from overfit.jobs.job import Failure
from overfit.jobs.measure import quality
from overfit.jobs.store import read_results
from overfit.report import pictures, samples
from overfit.report.curves import Curve, write_curve
from overfit.report.page import build
from overfit.report.summary import summarize

GOLDEN = Path(__file__).parents[1] / "golden"
HOSTILE_NAME = "<img src=x onerror=alert(1)>&\"'"
HOSTILE_LABEL = "c3 </script><script>alert(1)</script> $x_{ \u540d"
FAILURE = Failure("lost.png", "jpeg", {"quality": 20.0}, "it is <b>no</b> picture")


def _fit_record(preset: str, jpeg: dict, folder: Path) -> dict:
    """A record of a stored .ovf file for the picture of another record."""
    data = (GOLDEN / f"{preset}.ovf").read_bytes()
    (folder / f"{preset}.ovf").write_bytes(data)
    about = decoding.info(data)
    original = np.asarray(Image.open(jpeg["input"]))
    return jpeg | {
        "key": f"fit of {preset}",
        "label": HOSTILE_LABEL,
        "codec": "overfit",
        "setting": {"lmbda": 1e-3},
        "bytes": len(data),
        "bpp": about["bpp"],
        "bits": about["bits"],
        "macs_per_pixel": about["macs_per_pixel"],
        "file": f"{preset}.ovf",
        "device": "a machine",
        "versions": {"overfit": "0"},
        **quality(original, decoding.decode(data)),
    }


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Results of JPEG at three qualities and one C3 file for each of two pictures of 48x40 px."""
    root = tmp_path_factory.mktemp("evaluated")
    (root / "pictures").mkdir()
    noise = np.random.default_rng(0).normal(0, 4, (40, 48, 3))
    for preset, name in (("c3-kodak", "plain"), ("c3-clic", HOSTILE_NAME)):
        pixels = np.asarray(Image.open(GOLDEN / f"{preset}.png"))
        noisy = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(root / "pictures" / f"{name}.png")
    plan = Plan(("jpeg",), ladders={"jpeg": (10.0, 40.0, 80.0)})
    assert (
        drive(jobs(find_all([str(root / "pictures")]), plan), root / "results", Workers(count=1))[1]
        == []
    )
    lines = (root / "results" / "results.jsonl").read_text().splitlines()
    first = {json.loads(line)["name"]: json.loads(line) for line in lines}
    for preset, name in (("c3-kodak", "plain"), ("c3-clic", HOSTILE_NAME)):
        lines.append(json.dumps(_fit_record(preset, first[name], root / "results")))
    (root / "results" / "results.jsonl").write_text("\n".join(lines) + "\n")
    summarize(root / "results", [FAILURE])
    return root


@pytest.fixture
def folder(evaluated, tmp_path):
    """A copy of the results that a test may damage; the pictures are where they were."""
    return Path(shutil.copytree(evaluated / "results", tmp_path / "results"))


class _Reader(html.parser.HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_the_page_loads_nothing_and_runs_only_its_own_script(evaluated):
    page = build(evaluated / "results", title="</title><script>alert(2)</script>")
    tags = _Reader(page.html).tags
    assert page.problems == [] and page.results == 8
    for tag, attributes in tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not [name for name in attributes if name.startswith("on")], attributes
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/")), attributes
    assert [a.get("type") for tag, a in tags if tag == "script"] == ["application/json", None]
    assert not re.findall(r"@import|url\((?!#)", page.html)
    assert "default-src 'none'" in page.html
    # Nothing that came from data has become markup.
    assert "<img src=x" not in page.html and "<script>alert" not in page.html
    assert "<b>no</b>" not in page.html
    images = [a["src"] for tag, a in tags if tag == "img" and "src" in a]
    assert len(images) == 2 * (1 + 7)  # the maps and the latent grids of two files


def test_identifiers_are_unique(evaluated):
    """Figures that share one would be clipped by each other's frames."""
    tags = _Reader(build(evaluated / "results").html).tags
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(names) == len(set(names)) > 50


def test_the_page_says_what_it_holds_and_what_not(evaluated):
    text = build(evaluated / "results", averaging="pooled").html
    for expected in (
        "plain", "2 inputs", "pooled (bits over pixels", "a machine", "PCHIP", "overfit 0",
        "it is &lt;b&gt;no&lt;/b&gt; picture",  # the failure
        "has 1 points and needs 2",  # why C3 has no BD-rate
        "MS-SSIM is not known for any curve",  # the pictures are too small
    ):  # fmt: skip
        assert expected in text, expected


def test_crops_are_the_decoded_pictures_to_the_bit(evaluated):
    records, _ = read_results(evaluated / "results")
    shown = samples.crops(records, evaluated / "results", 10**6).shown
    assert {picture["name"] for picture in shown} == {"plain", HOSTILE_NAME}
    fits = {r["name"]: r for r in records if r["codec"] == "overfit"}
    for picture in shown:
        assert picture["choices"][0]["text"] == "original" and picture["box"] == [0, 0, 48, 40]
        (fit,) = (c for c in picture["choices"] if c["text"].startswith("c3"))
        data = (evaluated / "results" / fits[picture["name"]]["file"]).read_bytes()
        assert fit["uri"] == pictures.lossless(decoding.decode(data))


def test_what_does_not_fit_is_named(evaluated, monkeypatch):
    monkeypatch.setattr(samples, "CROPS_BUDGET", 1)
    monkeypatch.setattr(samples, "MAPS_BUDGET", 1)
    text = build(evaluated / "results").html
    assert "7 decoded pictures are left out here" in text and "1 file is left out here" in text
    assert re.search(r"plain, jpeg, quality 10", text)


def test_the_first_crops_are_of_similar_rates():
    def record(label, bpp):
        return {
            "dataset": "d", "name": "n", "width": 8, "height": 8, "label": label, "bpp": bpp,
        }  # fmt: skip

    listed = [record("a", bpp) for bpp in (0.1, 0.5, 2.0)]
    listed += [record("b", bpp) for bpp in (0.2, 0.4, 0.6, 1.0, 3.0)]
    first = samples.by_priority(listed)
    assert [(r["label"], r["bpp"]) for r in first[:2]] == [("a", 0.5), ("b", 0.6)]
    assert len(first) == len(listed) == len({id(r) for r in first})


def test_large_maps_are_reduced_to_means():
    plane = np.arange(7 * 10.0).reshape(7, 10)
    small, block = pictures.reduced(plane, 4)
    assert block == 3 and small.shape == (3, 4)
    assert small[0, 0] == plane[:3, :3].mean() and small[2, 3] == plane[6, 9]


def _run(capsys, *arguments) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["report", *map(str, arguments), "--quiet"])
    return code, capsys.readouterr().err


def test_damage_is_listed_and_the_rest_is_shown(folder, tmp_path, capsys):
    results = folder / "results.jsonl"
    lines = results.read_text().splitlines()
    records = [json.loads(line) for line in lines]
    records[0]["bytes"] = "<many>"
    (folder / records[1]["file"]).unlink()
    records[2]["height"] = 41  # the file holds another picture
    broken = next(r for r in records if r["codec"] == "overfit")
    (folder / broken["file"]).write_bytes(b"no model")
    text = "\n".join(["{half a line", *map(json.dumps, records)]) + "\n"
    results.write_text(text)
    out = tmp_path / "r.html"
    code, err = _run(capsys, folder, "-o", out)
    assert code == 1
    assert err.count("\n") == 6, err  # five of them, and the sentence at the end
    for expected in ("line 1", "'bytes' is no count", records[1]["file"], "48x41", "not an .ovf"):
        assert expected in err
    assert err.splitlines()[-1].startswith("overfit: error: ")
    page = out.read_text()
    assert "What could not be read" in page and "half" not in page
    assert "no count above 0" in page and page.count("<tr data-label=") == 7


def test_no_single_record_can_spoil_the_page(folder):
    """Results are edited, merged and sent around."""
    records, _ = read_results(folder)
    damages = (
        {"psnr": float("nan")}, {"bpp": 0}, {"bytes": 10**400}, {"setting": {"quality": "40"}},
        {"label": "two\nlines"}, {"name": None}, {"crop": "all"},
    )  # fmt: skip
    changed = [record | damage for record, damage in zip(records, damages, strict=False)]
    del records[7]["macs_per_pixel"]
    extra = [records[0] | {"key": "intact", "device": ["odd"], "versions": 7, "psnr": None}]
    lines = [json.dumps(record) for record in [*changed, records[7], *extra]]
    (folder / "results.jsonl").write_text("\n".join(lines) + "\n")
    page = build(folder)
    assert page.results == 1 and len(page.problems) == 8, page.problems
    (folder / "summary.json").write_text('{"failures": [{}]}')
    assert "summary.json" in build(folder).problems[-1]


def test_a_report_without_the_original_pictures(folder, tmp_path, capsys):
    """Results are often looked at on another machine than the one that made them."""
    text = (folder / "results.jsonl").read_text()
    (folder / "results.jsonl").write_text(text.replace("/pictures/", "/gone/"))
    code, err = _run(capsys, folder, "-o", tmp_path / "r.html")
    assert code == 1 and err.count("no original to compare with") == 2
    assert (tmp_path / "r.html").read_text().count('"uri": ') == 8


def test_nothing_usable_writes_nothing(folder, tmp_path, capsys):
    out = tmp_path / "r.html"
    code, err = _run(capsys, folder, "-o", out, "--anchor", "vtm")
    assert code == 2 and "there is no curve 'vtm'" in err and "jpeg" in err
    (folder / "results.jsonl").write_text("{}\n[]\n")
    code, err = _run(capsys, folder, "-o", out)
    assert code == 2 and "no usable result" in err
    assert _run(capsys, tmp_path, "-o", out)[0] == 2
    assert _run(capsys, folder, "-o", tmp_path / "no" / "r.html")[0] == 2
    assert not out.exists()


def test_an_unfinished_evaluation_has_a_page_too(folder, tmp_path, capsys):
    """No picture has all results yet, so that there is nothing to average."""
    records, _ = read_results(folder)
    first = {"plain": "jpeg", HOSTILE_NAME: HOSTILE_LABEL}
    kept = [json.dumps(r) for r in records if first[r["name"]] == r["label"]]
    (folder / "results.jsonl").write_text("\n".join(kept) + "\n")
    code, _ = _run(capsys, folder, "-o", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert code == 0 and "No input has a result for every curve" in text
    assert "jpeg, quality 10: no result for &lt;img" in text and "no result for plain" in text
    assert text.count("<tr data-label=") == len(kept) == 4
    code, err = _run(capsys, folder, "-o", tmp_path / "r.html", "--anchor", "jpeg")
    assert code == 2 and "no curve can be averaged yet" in err


def test_published_curves_stand_beside_and_can_be_the_anchor(folder, tmp_path, capsys):
    (tmp_path / "published").mkdir()
    measured = json.loads(next((folder / "curves").glob("jpeg*.json")).read_text())["results"]
    halved = [rate / 2 for rate in measured["bpp"]]
    half = {"bpp": halved, "psnr-rgb": measured["psnr-rgb"]}
    names = {record["name"] for record in read_results(folder)[0]}
    document = {"name": "jpeg", "source": "a book", "images": dict.fromkeys(names, half)}
    (tmp_path / "published" / "half.json").write_text(json.dumps(document))
    curve = Curve("other", tuple(halved), tuple(measured["psnr-rgb"]), (None,) * 3, "elsewhere")
    write_curve(tmp_path / "published" / "other.json", curve)
    arguments = folder, "-o", tmp_path / "r.html", "--published", tmp_path / "published"
    code, _ = _run(capsys, *arguments, "--anchor", "jpeg (2)")
    page = (tmp_path / "r.html").read_text()
    assert code == 0
    assert "+100.0 %" in page and "a book" in page
    assert "averages over different pictures" in page and "Dashed and light" in page
    (tmp_path / "published" / "bad.json").write_text("{}")
    code, err = _run(capsys, *arguments)
    assert code == 1 and "bad.json" in err


def test_the_missing_package_is_named(monkeypatch):
    for name in ("overfit.report.page", "overfit.report.inline_svg", "overfit.report.plot"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UserError, match=r"jinja2; install .*\[report\]"):
        __import__("overfit.report.page")


# -- In a browser ----------------------------------------------------------------------------------


def _chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def opened(evaluated):
    """The page in a browser, with all that it requests and complains about."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = _chromium()
    if path is None:
        pytest.skip("no Chromium on this machine")
    file = evaluated / "report.html"
    file.write_text(build(evaluated / "results").html, encoding="utf-8")
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with playwright.sync_playwright() as started:
        try:
            browser = started.chromium.launch(
                executable_path=path, args=["--no-sandbox"] if root else []
            )
        except playwright.Error as error:
            pytest.skip(f"Chromium does not start: {error}")
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        events: list[str] = []
        page.on("console", lambda message: events.append(message.text))
        page.on("pageerror", lambda error: events.append(str(error)))
        page.on("dialog", lambda dialog: (events.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: events.append(request.url.partition(",")[0]))
        page.goto(file.as_uri())
        yield page, events, file.as_uri()
        browser.close()


def test_the_page_opens_without_complaint_or_request(opened):
    _, events, address = opened
    assert address in events
    assert all(event == address or event.startswith("data:image/") for event in events), events


def _column(page, table: str, number: int) -> list[str]:
    return page.locator(f"{table} tbody tr:visible > :nth-child({number})").all_inner_texts()


def test_tables_are_sorted_by_mouse_and_keyboard(opened):
    page, *_ = opened
    header = page.locator("#result-table th", has_text="Bytes")
    header.get_by_role("button").click()
    rising = [int(text) for text in _column(page, "#result-table", 4)]
    assert rising == sorted(rising) and len(set(rising)) > 4
    assert header.get_attribute("aria-sort") == "ascending"
    header.get_by_role("button").press("Enter")
    assert [int(text) for text in _column(page, "#result-table", 4)] == rising[::-1]
    assert header.get_attribute("aria-sort") == "descending"
    names = page.locator("#result-table th", has_text="Name")
    names.get_by_role("button").press("Space")
    assert _column(page, "#result-table", 1)[-1] == "plain"
    assert header.get_attribute("aria-sort") == "none"


def test_results_are_filtered_by_label(opened):
    page, *_ = opened
    page.select_option("#filter", HOSTILE_LABEL)
    assert _column(page, "#result-table", 2) == [HOSTILE_LABEL] * 2
    assert page.inner_text("#count") == "2 of 8 results"
    page.select_option("#filter", "")
    assert len(_column(page, "#result-table", 2)) == 8


def test_another_anchor_changes_the_table(opened):
    page, *_ = opened

    def delta(name: str) -> str:
        row = page.locator("#delta-table tbody tr", has=page.locator("th", has_text=name))
        return row.locator(".delta").first.inner_text().strip()

    assert delta("jpeg") == "anchor" and delta("overfit").startswith("n/a")
    page.select_option("#anchor", label=f"overfit {HOSTILE_LABEL}")
    assert delta("jpeg").startswith("n/a") and delta("overfit") == "anchor"
    page.select_option("#anchor", label="jpeg")
    assert delta("jpeg") == "anchor"


def test_the_axis_of_the_rate_is_switched(opened):
    page, *_ = opened
    linear, log = (
        page.locator('[data-axis="linear"]').first,
        page.locator('[data-axis="log"]').first,
    )
    assert linear.is_visible() and not log.is_visible()
    button = page.get_by_role("button", name="logarithmic")
    button.press("Enter")
    assert log.is_visible() and not linear.is_visible()
    assert button.get_attribute("aria-pressed") == "true"


def test_pictures_are_compared_with_a_slider_and_a_zoom(opened):
    page, *_ = opened
    clip = "document.querySelector('#left-image').style.clipPath"
    assert page.evaluate(clip) == "inset(0px 50% 0px 0px)"
    page.locator("#split").press("ArrowRight")
    assert page.evaluate(clip) == "inset(0px 49% 0px 0px)"
    page.get_by_role("button", name="4\N{MULTIPLICATION SIGN}").click()
    box = page.locator("#stage").bounding_box()
    assert (box["width"], box["height"]) == (4 * 48, 4 * 40)
    style = "getComputedStyle(document.querySelector('#left-image')).imageRendering"
    assert page.evaluate(style) == "pixelated"
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 5)
    assert page.evaluate(clip) == "inset(0px 75% 0px 0px)"
    # Both images have loaded, at one pixel per pixel of the picture.
    for side in ("left", "right"):
        assert page.evaluate(f"document.querySelector('#{side}-image').naturalWidth") == 48


def test_a_row_of_the_results_leads_to_its_crop(opened):
    page, *_ = opened
    row = page.locator("#result-table tbody tr", has_text="plain").filter(has_text="quality 40")
    row.get_by_role("button", name="show").click()
    assert page.inner_text("#right-text").startswith("jpeg, quality 40 (")
    assert page.inner_text("#left-text") == "original"
    assert page.inner_text("#whole-text").startswith("plain: 48")


def test_the_maps_of_one_file_are_shown_at_a_time(opened):
    page, *_ = opened
    articles = page.locator("article")
    assert [articles.nth(i).is_visible() for i in range(2)] == [True, False]
    page.select_option("#file", "1")
    assert [articles.nth(i).is_visible() for i in range(2)] == [False, True]
