"""The comparison that boards are held to: each check passes for this machine's own answers and fails for others."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from examples.watch.demo import METHODS
from examples.watch.heard import Heard

from . import verdict
from .answers import BUNDLES, EXPLAINED, KERNELS, ON_BOARD

WINDOWS = 2 * EXPLAINED
SENT = range(0, WINDOWS, EXPLAINED // 2)


def answers(plan, seed):
    """Return answers such as those of one machine, where each set of kernels has its own."""
    found = {"about": np.array("a board"), "runtime": np.array("a runtime")}
    for number, (kernels, bundles) in enumerate(plan.items()):
        random = np.random.default_rng((seed, number))
        found[f"{kernels}/model"] = random.random((WINDOWS, 7), np.float32)
        for bundle in bundles:
            found[f"{kernels}/{bundle}/golden"] = np.array(0)
            for method in METHODS:
                found[f"{kernels}/{bundle}/{method}"] = random.normal(size=(2, 20, 6)).astype(np.float32)
    return found


@pytest.fixture
def here():
    return answers(dict.fromkeys(KERNELS, BUNDLES), 1)


@pytest.fixture
def board(here):
    """A board whose interpreter prefers the built-in kernels."""
    return {name: here[name.replace("default/", "built-in/")].copy() for name in answers(ON_BOARD, 1)}


def failed(checks):
    return [check.name for check in checks if not check.passed]


def test_a_board_is_held_against_the_kernels_that_come_nearest(board, here):
    checks = verdict.judge(board, here)
    assert checks[0].found == "built-in"
    assert not failed(checks)


def flip(values):
    values.reshape(-1).view(np.uint8)[0] ^= 1


@pytest.mark.parametrize(
    ("name", "spoil", "fails"),
    [
        ("default/deq/saliency", lambda maps: np.multiply(maps, 1.0001, out=maps), "f32, deq maps apart"),
        ("default/int8/gradcam", lambda maps: np.negative(maps, out=maps), "integer maps alike"),
        ("default/watch/golden", lambda count: np.add(count, 1, out=count), "golden"),
        ("reference/model", flip, "int8 scores, reference kernels"),
        ("reference/int8/integrated_gradients", flip, "int8 maps, reference kernels"),
    ],
)
def test_each_difference_fails_its_check(board, here, name, spoil, fails):
    spoil(board[name])
    assert failed(verdict.judge(board, here)) == [fails]


def test_what_the_runtime_refuses_is_said(board, here):
    kept = {name: values for name, values in board.items() if not name.startswith("reference/int8")}
    checks = {check.name: check for check in verdict.judge(kept, here)}
    assert checks["int8 maps, reference kernels"].found == "refused"


@pytest.fixture
def heard(board):
    heard = Heard()
    for number, window in enumerate(SENT):
        heard.answers[number] = SimpleNamespace(scores=tuple(board["default/model"][window].tolist()))
        for method in METHODS:
            maps = board[f"default/watch/{method}"]
            values = maps[window // EXPLAINED] if window % EXPLAINED == 0 else maps[0]
            heard.maps[number, method] = SimpleNamespace(values=np.round(values, 2), step=0.01)
    return heard


def summary(**counts):
    dropped = Counter(counts.pop("dropped", {}))
    return SimpleNamespace(**{"lost_frames": 0, "bad": {}, "dropped": dropped} | counts)


def test_a_link_brings_what_the_board_answered(board, heard):
    assert not failed(verdict.judge_link(board, SENT, heard, summary()))


@pytest.mark.parametrize("counts", [{"lost_frames": 1}, {"bad": {"crc": 1}}, {"dropped": {"Map": 1}}])
def test_whatever_a_link_loses_fails_it(board, heard, counts):
    assert failed(verdict.judge_link(board, SENT, heard, summary(**counts))) == ["lost"]


def test_other_scores_and_other_maps_are_seen(board, heard):
    heard.answers[1].scores = heard.answers[0].scores
    heard.maps[2, "saliency"].values = heard.maps[2, "saliency"].values + 0.02
    assert failed(verdict.judge_link(board, SENT, heard, summary())) == ["streamed", "their maps"]
    del heard.maps[1, "gradcam"]
    assert verdict.judge_link(board, SENT, heard, summary())[1].found == "missing"


def test_the_table_marks_what_failed():
    checks = [verdict.Check("golden", "equal"), verdict.Check("lost", "3", passed=False)]
    lines = verdict.table([("a board", checks), ("another", [checks[0], checks[0]])]).splitlines()
    assert [line.split() for line in lines] == [
        ["a", "board", "another"],
        ["golden", "equal", "equal"],
        ["lost", "3", "FAIL", "equal"],
    ]
