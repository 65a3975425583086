"""Where windows come from, and what is said when they do not fit the model."""

from __future__ import annotations

import random
import zipfile

import numpy as np
import pytest

from edge.capture import open_source
from edge.errors import InputError
from edge.sources import schemes
from tests.edge.windows import Model, taken

MODEL = Model((5, 2))
X = np.arange(40, dtype=np.float64).reshape(4, 5, 2)
Y = np.array([0, 1, 2, 1])


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        path = tmp_path / "windows.npz"
        np.savez(path, **arrays)
        return f"npz:{path}"

    return save


def test_windows_come_in_the_order_of_the_file_with_their_true_class(save):
    windows = taken(open_source(save(x=X, y=Y), MODEL))
    assert [window.sequence for window in windows] == [0, 1, 2, 3]
    assert [window.truth for window in windows] == [0, 1, 2, 1]
    assert all(window.x.dtype == np.float32 and window.x.shape == MODEL.input_shape for window in windows)
    assert all(window.x.flags.c_contiguous and window.capture >= 0 for window in windows)
    np.testing.assert_array_equal(windows[3].x, X[3])


def test_without_classes_there_is_no_truth(save):
    assert {window.truth for window in taken(open_source(save(x=X), MODEL))} == {None}


def test_npz_is_a_source_by_its_name():
    assert "npz" in schemes()


@pytest.mark.parametrize("spec", ["", "npz", "windows.npz", "nothing:there", ":x", "os.path:x", "../npz:x"])
def test_an_unknown_source_is_refused_with_those_there_are(spec):
    with pytest.raises(InputError) as caught:
        open_source(spec, MODEL)
    assert "npz:" in caught.value.hint


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"data": X}, "no array 'x'"),
        ({"x": X[:, :4]}, r"\[4, 4, 2\]"),
        ({"x": X[..., 0]}, r"takes float32 \[N, 5, 2\]"),
        ({"x": X[:0]}, r"\[0, 5, 2\]"),
        ({"x": X.astype(str)}, "<U"),
        ({"x": X > 3}, "bool"),
        ({"x": np.where(X == 33, np.nan, X)}, "window 3 holds NaN"),
        ({"x": np.where(X == 13, np.inf, X)}, "window 1 holds NaN or infinity"),
        ({"x": np.where(X == 33, 1e300, X)}, "window 3 holds .* more than float32 can"),
        ({"x": np.full(X.shape, 2**24 + 1)}, "integers that float32 cannot"),
        ({"x": X, "y": Y[:3]}, "4 class indices"),
        ({"x": X, "y": Y + 1}, "below 3"),
        ({"x": X, "y": Y - 1}, "below 3"),
        ({"x": X, "y": Y.astype(float)}, "float64"),
        ({"x": np.array([{"a": 1}], dtype=object)}, "cannot read"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_data_that_does_not_fit_is_refused_by_name(save, arrays, said):
    with pytest.raises(InputError, match=said) as caught:
        open_source(save(**arrays), MODEL)
    assert caught.value.hint


def test_arrays_of_other_names_are_named(save):
    with pytest.raises(InputError) as caught:
        open_source(save(data=X, labels=Y), MODEL)
    assert caught.value.hint.startswith("it has data, labels; save it with ")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "missing.npz", tmp_path):
        with pytest.raises(InputError):
            open_source(f"npz:{path}", MODEL)


def test_an_npy_is_no_npz(tmp_path):
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(InputError, match=r"not an \.npz"):
        open_source(f"npz:{tmp_path / 'x.npy'}", MODEL)


def test_damaged_files_are_input_errors_and_nothing_else(tmp_path):
    rng = random.Random(0)
    whole = tmp_path / "whole.npz"
    np.savez_compressed(whole, x=X, y=Y)
    data, path = whole.read_bytes(), tmp_path / "damaged.npz"
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.randrange(len(damaged))] if rng.random() < 0.2 else damaged)
        try:
            open_source(f"npz:{path}", MODEL)
        except InputError:
            continue


def test_a_header_that_promises_more_than_there_is_does_not_exhaust_memory(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 5, 2), }"
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as file:
        file.writestr("x.npy", npy)
    with pytest.raises(InputError):
        open_source(f"npz:{tmp_path / 'huge.npz'}", MODEL)
