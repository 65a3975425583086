"""What is asked of a board: answers and maps like this machine's, and a link that loses nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.watch.demo import METHODS
from examples.watch.heard import Heard
from firmware_bridge.summary import Summary

from .answers import EXPLAINED, KERNELS, Answers

MAPS = 1e-5  # by which maps in float arithmetic may differ, of the map's largest value
INTEGER_MAPS = 0.98  # to which maps in integer arithmetic must correlate: kernels round differently


@dataclass(frozen=True)
class Check:
    """One thing asked of a board, what was found, and whether that will do."""

    name: str
    found: str
    passed: bool = True


def judge(board: Answers, here: Answers) -> list[Check]:
    """Compare a board's answers with this machine's, by those kernels of this machine that come nearest to its own.

    TFLite's sets of kernels round integers differently, and which of them an interpreter takes depends on its version
    and processor; a bundle's own float arithmetic hardly depends on them.
    """
    distances = {kernels: _exact_distance(board, here, kernels) for kernels in KERNELS}
    nearest = min(distances, key=distances.__getitem__)
    likeness = min(
        correlation(maps, here[f"{nearest}/{name}"]) for name, maps in _maps(board, "default", "watch", "int8")
    )
    golden = sum(int(board[f"default/{bundle}/golden"]) for bundle in ("watch", "deq", "int8"))
    by_reference = different(board["reference/model"], here["reference/model"])
    other = [name for name, maps in _maps(board, "reference", "int8") if different(maps, here[f"reference/{name}"])]
    refused = "reference/int8/golden" not in board
    by_own = different(board["default/model"], here[f"{nearest}/model"])
    windows = len(board["default/model"])
    return [
        Check("nearest kernels", nearest),
        Check("f32, deq maps apart", f"{distances[nearest]:.1e}", distances[nearest] <= MAPS),
        Check("integer maps alike", f"{likeness:.4f}", likeness >= INTEGER_MAPS),
        Check("golden", f"{golden} differ" if golden else "equal", golden == 0),
        Check("int8 scores, reference kernels", f"{by_reference} of {windows} differ", by_reference == 0),
        Check("int8 maps, reference kernels", "refused" if refused else f"{len(other)} methods differ", not other),
        Check("int8 scores, own kernels", f"{by_own} of {windows} differ"),
    ]


def judge_link(board: Answers, sent: Sequence[int], heard: Heard, summary: Summary) -> list[Check]:
    """Compare what came over the link with what the board answered without one; ``sent`` numbers the windows."""
    answers = sum(
        number in heard.answers and np.array_equal(heard.answers[number].scores, board["default/model"][window])
        for number, window in enumerate(sent)
    )
    complete = all((number, method) in heard.maps for number in range(len(sent)) for method in METHODS)
    true = all(
        np.abs(heard.maps[number, method].values - board[f"default/watch/{method}"][window // EXPLAINED]).max()
        <= heard.maps[number, method].step
        for number, window in enumerate(sent)
        for method in METHODS
        if window % EXPLAINED == 0 and (number, method) in heard.maps
    )
    lost = summary.lost_frames + sum(summary.bad.values()) + summary.dropped.total() + len(heard.errors)
    return [
        Check("streamed", f"{answers} of {len(sent)}", answers == len(sent)),
        Check("their maps", "all" if complete and true else "wrong" if complete else "missing", complete and true),
        Check("lost", f"{lost}", lost == 0),
    ]


def table(boards: Sequence[tuple[str, Sequence[Check]]]) -> str:
    """Return a line per check and a column per board; what failed is marked."""
    names = [check.name for check in boards[0][1]]
    rows = [("", *(about for about, _ in boards))]
    for name, *checks in zip(names, *(checks for _, checks in boards), strict=True):
        rows.append((name, *(check.found + ("" if check.passed else "  FAIL") for check in checks)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def different(found: NDArray[Any], expected: NDArray[Any]) -> int:
    """Return how many of ``[N, ...]`` differ in any bit."""
    return sum(a.tobytes() != b.tobytes() for a, b in zip(found, expected, strict=True))


def apart(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference of two maps ``[N, ...]``, of the largest magnitude in the one expected."""
    axes = tuple(range(1, expected.ndim))
    size = np.abs(expected).max(axes)
    return float((np.abs(found - expected).max(axes) / np.where(size > 0, size, 1)).max())


def correlation(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the least correlation of two maps ``[N, ...]``; 1 where both are zero."""
    pairs = zip(found.reshape(len(found), -1), expected.reshape(len(expected), -1), strict=True)
    return min(1.0 if not a.any() and not b.any() else float(np.corrcoef(a, b)[0, 1]) for a, b in pairs)


def _exact_distance(board: Answers, here: Answers, kernels: str) -> float:
    return max(apart(maps, here[f"{kernels}/{name}"]) for name, maps in _maps(board, "default", "f32", "deq"))


def _maps(board: Answers, kernels: str, *bundles: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for bundle in bundles:
        for method in METHODS:
            if f"{kernels}/{bundle}/{method}" in board:
                yield f"{bundle}/{method}", board[f"{kernels}/{bundle}/{method}"]
