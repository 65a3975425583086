"""Files by others: pipes, devices, bombs and lies are refused at once, and what is sound is read as numpy reads it."""

from __future__ import annotations

import io
import os
import resource
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest

from edge.bundle import Bundle
from edge.errors import BundleError
from edge.files import open_ordinary, read_array, read_arrays, read_bytes


def header(shape: str, kind: str = "'<f4'") -> bytes:
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.fixture
def archive(tmp_path):
    def archive(content: bytes, method: int = zipfile.ZIP_STORED, name: str = "x.npy"):
        path = tmp_path / "x.npz"
        with zipfile.ZipFile(path, "w", method) as file:
            file.writestr(name, content)
        return path

    return archive


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("kind", ["f4", "f8", ">f4", "i2", "?", "U3", "c8", "f4,i4"])
@pytest.mark.parametrize("shape", [(3, 2), (0, 4), (), (1, 1, 5)])
def test_arrays_are_what_numpy_reads(save, kind, shape, tmp_path):
    x = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    save(tmp_path / "x.npz", x=x, other=np.zeros(2))
    arrays, names = read_arrays(tmp_path / "x.npz", ("x", "y"))
    assert list(arrays) == ["x"]
    assert names == ["x", "other"]
    assert arrays["x"].dtype == x.dtype
    np.testing.assert_array_equal(arrays["x"], x)


@pytest.mark.parametrize(
    "x", [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(2_000_000.0)]
)
def test_an_array_alone_is_what_numpy_reads(x, tmp_path):
    np.save(tmp_path / "x.npy", x)
    np.testing.assert_array_equal(read_array(tmp_path / "x.npy"), x)


@pytest.mark.parametrize("read", [lambda path: read_bytes(path, 100), lambda path: read_arrays(path, "x"), read_array])
@pytest.mark.timeout(20)
def test_what_has_no_end_is_not_begun(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (
        tmp_path / "pipe",
        "/dev/zero",
        tmp_path,
        tmp_path / "absent",
        tmp_path / "nul\0",
        tmp_path / ("a" * 300),
    ):
        with pytest.raises(OSError):
            read(path)


def test_bytes_are_read_up_to_a_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a" * 100)
    assert read_bytes(path, 100) == b"a" * 100
    with pytest.raises(OSError, match="larger than"):
        read_bytes(path, 99)


LIES = {
    "more than there is": header("(1000000000000, 5, 2)"),
    "less than there is": header("(1,)") + bytes(400),
    "negative sizes": header("(-1, -2)") + bytes(8),
    "objects": header("(1,)", "'|O'") + b"cos\nsystem\n(S'true'\ntR.",
    "no size": header("(4,)", "'<U0'"),
    "no shape": header("'x'") + bytes(4),
    "a deep one": header("(" * 3000) + bytes(4),
    "unfinished": b"\x93NUMPY\x01\x00\x05\x00{'a':",
    "a version to come": b"\x93NUMPY\x09\x00" + bytes(100),
    "nothing": b"",
    "no array": b"1, 2, 3",
}


@pytest.mark.parametrize("content", LIES.values(), ids=LIES)
def test_a_header_that_lies_is_refused_in_words_without_pickles(content, archive, tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    for read in (lambda: read_array(path), lambda: read_arrays(archive(content), ("x",))):
        with pytest.raises(ValueError, match="not a readable") as caught:
            read()
        assert "pickle" not in str(caught.value)


def test_a_bomb_is_not_unpacked(archive):
    """What is declared is compared with what the archive says of itself, and both with what anybody needs."""
    small_outside = archive(header("(75000000,)") + bytes(300_000_000), zipfile.ZIP_DEFLATED)
    assert small_outside.stat().st_size < 1 << 20
    with little_memory(), pytest.raises(ValueError, match="not a readable"):
        read_arrays(small_outside, ("x",))


def test_a_small_file_takes_little_memory_whatever_is_allowed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a" * 100)
    with little_memory():
        assert read_bytes(path, 1 << 30) == b"a" * 100


@contextmanager
def little_memory():
    """Let this process have 100 MiB more than it has, as on a small board."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: PTH123, SIM115
    try:
        resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_a_giant_array_is_refused_by_its_size(tmp_path):
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        file.write(header(f"({1 << 40},)"))
        file.truncate(file.tell() + (4 << 40))  # of holes: it takes no room
    with pytest.raises(ValueError, match="4096 GiB is more than anybody needs"):
        read_array(path)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.zeros(100_000))

    def shrinking(given):
        file = open_ordinary(given)
        os.truncate(path, 5000)
        return file

    monkeypatch.setattr("edge.files.open_ordinary", shrinking)
    with pytest.raises(ValueError, match="not a readable"):
        read_arrays(path, ("x",))


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"a" * 100)
    fstat = os.fstat

    def growing(descriptor):
        status = fstat(descriptor)
        with path.open("ab") as file:
            file.write(b"b")
        return status

    monkeypatch.setattr("edge.files.os.fstat", growing)
    with pytest.raises(OSError, match="grew"):
        read_bytes(path, 1000)


def test_a_flipped_bit_in_an_archive_is_noticed(archive):
    content = io.BytesIO()
    np.save(content, np.zeros(1000))
    path = archive(content.getvalue())
    data = bytearray(path.read_bytes())
    data[4000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="not a readable"):
        read_arrays(path, ("x",))


@pytest.mark.timeout(20)
def test_a_bundle_is_an_ordinary_file_too(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(BundleError, match="cannot read") as caught:
            Bundle.open(path)
        assert caught.value.hint
