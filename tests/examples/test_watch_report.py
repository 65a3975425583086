import io
import re
from collections import Counter
from dataclasses import replace

import matplotlib.image
import numpy as np

from edge.manifest import Check
from examples.watch import micro, picture, report
from tests.examples.made_up import make_case, make_micro, make_result
from tests.page import Page

HOSTILE = "<script>alert('x')</script> & \"quoted\""


def pixels(png):
    return matplotlib.image.imread(io.BytesIO(png), format="png")


def test_picture_is_drawn_for_one_window_and_for_several(unseen):
    cases = [make_case(unseen, index, 1) for index in (0, 10, 20)]
    one, three = pixels(picture.picture(cases[:1])), pixels(picture.picture(cases))
    assert three.shape[0] > 1.8 * one.shape[0]
    assert three.shape[1] > 1.8 * one.shape[1]


def test_the_same_explanations_give_the_same_picture(unseen):
    case = make_case(unseen, 3, 2)
    assert picture.picture([case]) == picture.picture([case])


def test_picture_shows_the_attribution(unseen):
    """The colour for what speaks for the answer is there when something does, and not when nothing does."""
    case = make_case(unseen, 3, 2)
    silent = replace(case, integrated=replace(case.integrated, map=np.zeros((200, 6), np.float32)))

    def orange(drawn):
        ink = pixels(picture.picture([drawn]))[..., :3]
        legend = int(0.87 * len(ink))
        return (np.abs(ink[:legend] - np.array([0xD9, 0x48, 0x0F]) / 255).max(axis=-1) < 0.03).sum()

    assert orange(case) > 200
    assert orange(silent) == 0


def test_picture_survives_maps_that_say_nothing(unseen):
    case = make_case(unseen, 3, 2)
    empty = replace(
        case,
        gradcam=replace(case.gradcam, map=np.zeros(25, np.float32)),
        integrated=replace(case.integrated, map=np.zeros((200, 6), np.float32), residual=None),
    )
    assert pixels(picture.picture([empty])).ndim == 3


def test_windows_to_show_are_median_hits_and_the_most_confident_miss():
    truth = np.array([0, 0, 0, 1, 1, 1])
    confidence = [0.9, 0.5, 0.7, 0.8, 0.6, 0.95]
    says = [0, 0, 0, 1, 0, 0]
    scores = np.zeros((6, 7), np.float32)
    scores[np.arange(6), says] = confidence
    assert picture.choose(scores, truth, right=(0, 1, 5)) == [2, 3, 5]
    assert picture.choose(scores[:4], truth[:4], right=(0,)) == [2]


def test_report_is_one_file_that_needs_nothing_else(unseen):
    text = report.html(make_result(unseen))
    page = Page(text)
    assert page.tags["img"] == 2
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    assert all(value.startswith("data:image/png;base64,") for name, value in page.attributes if name == "src")
    assert not {name for name, _ in page.attributes} & {"href", "srcset", "onload", "onerror"}
    without_images = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?:|//|@import|url\(", without_images)


def test_report_says_what_was_measured(unseen):
    result = make_result(unseen)
    words = " ".join(Page(report.html(result)).words)
    for figure in (f"{result.hit.mean():.1%}", "450.0 kB/s", "86.00 ×", "40 µs", "1.20 ms", "4.00%", "✓ passed"):
        assert figure in words
    for subject in (8, 9, 10):
        assert f"subject {subject}" in words


def test_report_does_not_hide_a_failed_check_or_a_loss(unseen):
    failed = Check("saliency against central differences", 0.2, 0.001, False, 8, "median relative error")
    result = make_result(unseen, check=failed, dropped=Counter({"Map": 17}))
    words = " ".join(Page(report.html(result)).words)
    assert "✗ failed" in words
    assert "✓ passed" not in words
    assert "0 of 1" in words
    assert "17 Map" in words


def test_report_escapes_every_text(unseen):
    hostile = Check(HOSTILE, 0, 0, True, 1, HOSTILE)
    made = make_micro(unseen, toolchain=HOSTILE)
    dropped = Counter({HOSTILE: 1})
    result = make_result(unseen, check=hostile, note=HOSTILE, facts={HOSTILE: HOSTILE}, dropped=dropped, micro=made)
    manifest = replace(
        result.manifest,
        kind=HOSTILE,
        notes=(HOSTILE,),
        heads=tuple(replace(head, method=HOSTILE) for head in result.manifest.heads),
    )
    spread = result.summary.phases["predict"]
    summary = replace(result.summary, phases={HOSTILE: spread}, methods={HOSTILE: spread})
    page = Page(report.html(replace(result, manifest=manifest, summary=summary)))
    assert page.tags["script"] == 0
    assert " ".join(page.words).count("<script>alert('x')</script> & \"quoted\"") >= 9


def test_report_says_what_the_firmware_came_to_and_shows_a_window_of_it(unseen):
    page = Page(report.html(make_result(unseen, micro=make_micro(unseen))))
    words = " ".join(page.words)
    assert page.tags["img"] == 3
    for figure in (
        "850,000",
        "1.010",
        "80.000",
        "0.999",
        "71,360 bytes",
        "19,152 bytes",
        "8,656 in TensorFlow Lite Micro",
    ):
        assert figure in words
    assert "Left out" not in words
    assert "Left out" in " ".join(Page(report.html(make_result(unseen))).words)


def test_what_the_firmware_came_to_is_said_in_the_terminal(unseen):
    said = micro.text(make_micro(unseen))
    assert "71,360 bytes of flash, 19,152 of RAM" in said
    assert "with gradcam 1.010 times as many; maps correlate by 0.999 with those on Linux (windows: 21)" in said
    assert said.endswith("with integrated_gradients 80.000 times as many")
