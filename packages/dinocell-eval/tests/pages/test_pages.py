"""The reports: everything in one file, every number where it belongs, readable in a browser of any width."""

import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from dinocell_eval import compare, evaluate
from dinocell_eval.cases.image_cases import CASES, drawn
from dinocell_eval.pages import comparison_page, draw_gallery_image, evaluation_page, worst_images
from dinocell_eval.pages.evaluation_page import input_table
from dinocell_eval.pages.gallery import WINDOW_PX, error_window, png
from dinocell_eval.pages.svg import Axis, Chart, element, tick_label

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Checks that tags close in order and keeps text and attributes."""

    def __init__(self, page):
        super().__init__()
        self.open, self.words, self.attributes = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, *one) for one in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, *one) for one in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


@pytest.fixture(scope="module")
def evaluation(fields):
    return evaluate(*fields, names=[f"field {k}" for k in range(len(fields[0]))], boxes=True, boundary_px=2)


@pytest.fixture(scope="module")
def gallery(evaluation, fields):
    truths, predictions = fields
    planes = [(truth > 0) * 900.0 + 100 for truth in truths]
    return [
        draw_gallery_image(evaluation, image, truths[image], predictions[image], plane=planes[image] if order else None)
        for order, image in enumerate(worst_images(evaluation, number=3))
    ]


@pytest.fixture(scope="module")
def report(evaluation, gallery):
    inputs = {"pairs": [{"name": "a", "truth": {"file": "a.tif", "sha256": "f" * 64}, "predicted": None}]}
    return evaluation_page(evaluation, facts={"command": "dinocell eval a b"}, gallery=gallery, inputs=inputs)


@pytest.fixture(scope="module")
def second(fields):
    truths, predictions = fields
    moved = [np.roll(p, 2, axis=1) for p in predictions]
    return evaluate(truths, moved, names=[f"field {k}" for k in range(len(truths))], boxes=True, boundary_px=2)


@pytest.fixture(scope="module")
def comparison(evaluation, second):
    return comparison_page(evaluation, second, compare(evaluation, second), names=("old model", "new model"))


def test_a_report_is_well_formed_and_loads_nothing_from_elsewhere(report, comparison):
    for page in (report, comparison):
        reader = Reader(page)
        links = [value for _, name, value in reader.attributes if name in ("src", "href")]
        assert all(value.startswith("data:") for value in links)
        assert "<script" not in page
        outside = set(re.findall(r"(?:https?:)?//[\w.-]+", re.sub(r"base64,[\w+/=]+", "", page)))
        assert outside <= {"http://www.w3.org"}, "the name of the SVG language is no link"


def test_a_report_shows_the_numbers_of_the_evaluation(report, evaluation):
    text = Reader(report).text
    for name, value in evaluation.protocol.values.items():
        assert name in text
        assert f"{value:.3f}" in text
    low, high = evaluation.protocol.intervals["SEG"]
    assert f"{low:.3f} to {high:.3f}" in text
    for name, value in evaluation.pooled.items():
        assert name in text
        assert value is None or f"{value:.4f}" in text or f"{value:.0f}" in text
    assert "dinocell eval a b" in text
    assert "f" * 16 in text
    assert evaluation.definitions["aji"].definition in text


def test_the_drawings_say_in_words_what_they_show(report):
    reader = Reader(report)
    drawings = [value for tag, name, value in reader.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(drawings) == 7
    assert "AP against IoU threshold" in drawings
    assert all(value for tag, name, value in reader.attributes if (tag, name) == ("img", "alt"))


def test_every_image_has_a_dot_for_every_metric_that_is_defined(report, evaluation):
    drawing = report[report.index('aria-label="Metrics of each image"') :].split("</svg>")[0]
    for name in ("seg", "dice"):
        defined = [value for value in evaluation.per_image[name] if value is not None]
        assert len(defined) == len(evaluation.names) - 1
        assert all(f": {value:.3f}</title>" in drawing for value in defined)


def test_the_classes_of_the_bars_add_up(report, evaluation):
    drawing = report[report.index('aria-label="Error classes') :].split("</svg>")[0]
    counts = re.findall(r"<title>[a-z ]+: (\d+) of (\d+), ", drawing)
    assert sum(int(n) for n, _ in counts) == evaluation.counts["n_truth"] + evaluation.counts["n_predicted"]


def test_ignored_files_are_listed_beside_the_pairs():
    page = input_table({"pairs": [], "ignored": ["<a>.tif", "a_flows.tif"]})
    assert "2 ignored files beside labels" in page
    assert "&lt;a&gt;.tif" in page
    assert "ignored" not in input_table({"pairs": [], "ignored": []})


def test_names_of_files_cannot_become_markup():
    name = "<script>alert('x')</script>\"&"
    case = CASES["split_cell"]
    result = evaluate([case.truth], [case.predicted], names=[name], boxes=True)
    gallery = [draw_gallery_image(result, 0, case.truth, case.predicted)]
    page = evaluation_page(result, title=name, facts={name: name}, gallery=gallery)
    page += comparison_page(result, result, compare(result, result), names=(name, name))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("name", CASES)
def test_any_case_alone_gives_a_report_and_a_comparison(name):
    case = CASES[name]
    result = evaluate([case.truth], [case.predicted], iou_thresholds=[0.5], boxes=True)
    gallery = [draw_gallery_image(result, image, case.truth, case.predicted) for image in worst_images(result)]
    Reader(evaluation_page(result, gallery=gallery))
    page = comparison_page(result, result, compare(result, result))
    assert "1 image: no intervals and no p-values" in Reader(page).text
    assert "nan" not in page.lower().replace("provenance", "")


def test_a_set_without_images_gives_a_report():
    empty = evaluate([], [])
    assert "undefined" in evaluation_page(empty)
    Reader(comparison_page(empty, empty, compare(empty, empty)))


def test_many_images_and_cells_are_drawn_as_squares_and_a_sample_of_dots(monkeypatch):
    monkeypatch.setattr("dinocell_eval.pages.charts.MOST_DOTS", 20)
    labels = np.arange(1, 31)[None].repeat(2, 0)
    assert "30 points" in evaluation_page(evaluate([labels], [labels], num_replicates=0))
    single = drawn("11.2")
    many = evaluation_page(evaluate([single] * 30, [single] * 30, num_replicates=0))
    strips = many[many.index('aria-label="Metrics of each image"') :].split("</svg>")[0]
    assert strips.count("<circle") == 8 * 20


def test_a_comparison_shows_differences_with_interval_and_p_value(comparison, evaluation, second):
    text = Reader(comparison).text
    one = compare(evaluation, second).differences["ap_0.50"]
    assert f"{one.difference:+.3f}".replace("-", "\N{MINUS SIGN}") in text
    assert f"{one.higher} / {one.lower}" in text
    assert "old model" in text
    assert "p-values are not corrected" in text


def test_the_worst_images_lost_most_and_perfect_ones_are_left_out():
    cases = [CASES[name] for name in ("missed_cell", "perfect_cell", "spurious_cell", "merged_cells")]
    result = evaluate([c.truth for c in cases], [c.predicted for c in cases])
    assert worst_images(result) == [3, 0, 2]
    assert worst_images(result, number=1) == [3]


def decoded(content):
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)))


def test_pictures_hold_what_was_drawn():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(decoded(png(grey)), grey)
    colour = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    assert np.array_equal(decoded(png(colour)), colour)


def test_outlines_have_the_colour_of_their_class_and_are_clear_elsewhere():
    truth = drawn("\n".join([".........", ".11111...", ".11111.2.", ".11111.2.", "........."]))
    predicted = np.where(truth == 1, 7, 0)
    result = evaluate([truth], [predicted], boxes=True)
    image = draw_gallery_image(result, 0, truth, predicted)
    outlines = decoded(image.truth)
    assert outlines[1, 1].tolist() == [0x00, 0x9E, 0x73, 255]
    assert outlines[2, 7].tolist() == [0xD5, 0x5E, 0x00, 255]
    assert outlines[0, 0].tolist() == [0, 0, 0, 0]
    assert outlines[2, 3, 3] == 0, "the inside of a cell is clear"
    assert decoded(image.predicted)[2, 7, 3] == 0
    assert decoded(image.background).tolist() == np.where(truth > 0, 78, 30).tolist()


def test_an_image_is_stretched_between_its_percentiles_also_a_constant_one():
    truth = drawn("1111....")
    result = evaluate([truth], [truth * 0], boxes=True)
    plane = np.array([[1000, 1000, 1000, 1000, 200, 200, 200, 200]], np.uint16)
    assert decoded(draw_gallery_image(result, 0, truth, truth * 0, plane=plane).background).tolist() == [
        [235] * 4 + [0] * 4
    ]
    constant = draw_gallery_image(result, 0, truth, truth * 0, plane=np.full((1, 8), 7.0))
    assert set(decoded(constant.background).ravel().tolist()) == {0}
    with_nan = np.where(np.arange(8) == 6, np.nan, plane)
    assert decoded(draw_gallery_image(result, 0, truth, truth * 0, plane=with_nan).background).tolist() == [
        [235] * 4 + [0] * 4
    ]
    with pytest.raises(ValueError, match="the image of '0' holds no finite pixel"):
        draw_gallery_image(result, 0, truth, truth * 0, plane=np.full((1, 8), np.inf))
    with pytest.raises(ValueError, match=r"image '0' has \(1, 3\) pixels and its labels \(1, 8\), expected the same"):
        draw_gallery_image(result, 0, truth, truth * 0, plane=np.zeros((1, 3)))


def test_a_large_image_is_shown_where_the_errors_are():
    truth = np.zeros((1500, 1400), np.int32)
    truth[100:110, 100:110] = 1
    truth[1300:1310, 900:910], truth[1320:1330, 1000:1010] = 2, 3
    result = evaluate([truth], [np.zeros_like(truth)], boxes=True)
    y0, x0, y1, x1 = error_window(result, 0, truth.shape)
    assert (y1 - y0, x1 - x0) == (WINDOW_PX, WINDOW_PX)
    assert y1 <= 1500
    assert x1 <= 1400
    assert y0 <= 1300
    assert x0 <= 900
    assert error_window(evaluate([truth], [truth]), 0, truth.shape) == (0, 0, 512, 512)


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(0, 1, 0, 100), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Axis(-0.27, 0.27, 0, 100), [-0.2, 0, 0.2]),
        (Axis(0, 7, 0, 100), [0, 2, 4, 6]),
        (Axis(8, 30_000, 0, 100, log=True), [10, 100, 1000, 10_000]),
        (Axis(8, 60, 0, 100, log=True), [10, 20, 50]),
    ],
)
def test_ticks_are_round_numbers_within_the_axis(axis, ticks):
    assert axis.ticks() == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0, "0"),
        (0.25, ".25"),
        (-0.4, "\N{MINUS SIGN}.4"),
        (1, "1"),
        (20_000, "20k"),
        (250, "250"),
        (-3, "\N{MINUS SIGN}3"),
    ],
)
def test_labels_of_ticks_are_short(value, label):
    assert tick_label(value) == label


def test_a_logarithmic_axis_puts_equal_ratios_at_equal_distances():
    axis = Axis(1, 100, 0, 200, log=True)
    assert [axis(1), axis(10), axis(100)] == [0, 100, 200]
    chart = Chart()
    assert chart.y_axis(0, 1)(0) > chart.y_axis(0, 1)(1), "greater values are higher up"


def test_attributes_and_text_are_escaped():
    assert element("g", class_="a", data_x='"<', left=None) == '<g class="a" data-x="&quot;&lt;"/>'


@pytest.fixture
def browser(tmp_path):
    if BROWSER is None:
        pytest.skip("no chromium or chrome is installed")

    def load(page, width):
        measure = (
            "<script>const d = document.documentElement.dataset;"
            "d.wider = document.documentElement.scrollWidth - innerWidth;"
            "d.broken = [...document.images].filter(i => !i.naturalWidth).length;"
            "d.flat = [...document.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().height < 40).length;"
            "</script>"
        )
        (tmp_path / "page.html").write_text(page.replace("</body>", measure + "</body>"), encoding="utf-8")
        done = subprocess.run(
            [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
             f"--window-size={width},1000", "--dump-dom", (tmp_path / "page.html").as_uri()],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        return dict(re.findall(r'data-(\w+)="(-?[\d.]+)"', done.stdout[:400]))

    return load


@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_shows_the_report_without_scrolling_sideways_and_every_picture(browser, report, width):
    found = browser(report, width)
    assert float(found["wider"]) <= 0
    assert found["broken"] == "0"
    assert found["flat"] == "0"


def test_a_browser_shows_the_comparison(browser, comparison):
    found = browser(comparison, 900)
    assert float(found["wider"]) <= 0
    assert found["flat"] == "0"
