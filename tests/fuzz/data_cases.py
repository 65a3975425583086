"""What is given beside a model: calibration data, baselines and labels that do not fit, or are no such thing."""

from __future__ import annotations

import io
import random
import zipfile

import numpy as np

from tests.references.mutate import mutant

SHAPE = (6, 6, 4)
_DTYPES = (
    "f4",
    "f4",
    "f4",
    "f8",
    "f2",
    "i1",
    "u1",
    "i4",
    "i8",
    "u8",
    ">f4",
    "?",
    "c8",
    "U3",
    "S2",
    "M8[s]",
    "V4",
    "O",
    "f4,i4",
)
_VALUES = (0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e300, -1e39, 3e38, 1e-45, 255.0)


def npy(value: np.ndarray) -> bytes:
    """Return an array as a file, objects pickled."""
    file = io.BytesIO()
    np.save(file, value, allow_pickle=True)
    return file.getvalue()


def lying_npy(rng: random.Random) -> bytes:
    """Return a file whose header says what is not so."""
    shape = rng.choice(
        ("(1000000000000, 6, 6, 4)", "(3, 6, 6, 4)", "(-1, 6, 6, 4)", "(0, 6, 6, 4)", "()", "(9**9,)", "3", "(1e3,)")
    )
    kind = rng.choice(("'<f4'", "'|O'", "'<f999'", "[('a', '<f4')]", "None", "'<U0'", "'|V0'"))
    header = f"{{'descr': {kind}, 'fortran_order': {rng.choice(('False', 'True', '1'))}, 'shape': {shape}, }}"
    if rng.random() < 0.2:
        header = rng.choice(("(" * 5000, "{'descr': ", "{}", "[]", header + "#", "\0", header * 200))
    body = bytes(rng.choice((0, 12, 3 * 6 * 6 * 4 * 4)))
    version = rng.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x09"))
    width = 2 if version == b"\x01\x00" else 4
    return b"\x93NUMPY" + version + len(header).to_bytes(width, "little") + header.encode() + body


def some_array(rng: random.Random, *shapes: tuple[int, ...]) -> np.ndarray:
    """Return numbers, or what are none, of one of the shapes or another."""
    shape = rng.choice((*shapes, *shapes, *shapes, (), (0,), (5,), (0, *SHAPE), (2, 6, 6, 3), (1, 2, *SHAPE)))
    value = np.random.default_rng(rng.randrange(99)).normal(0, 1, shape).astype(rng.choice(("f4", "f8")))
    with np.errstate(all="ignore"):
        if value.size and rng.random() < 0.4:
            value.flat[rng.randrange(value.size)] = rng.choice(_VALUES)
        made = value.astype(rng.choice(_DTYPES)) if rng.random() < 0.6 else value
    return np.asfortranarray(made) if rng.random() < 0.1 else made


def npz(rng: random.Random) -> bytes:
    """Return calibration data that may be anything."""
    count = rng.choice((1, 2, 17))
    members = {rng.choice(("x", "x", "x", "x", "X", "data")) + ".npy": npy(some_array(rng, (count, *SHAPE)))}
    if rng.random() < 0.3:
        members["y.npy"] = npy(
            rng.choice(
                (
                    np.zeros(count, int),
                    np.zeros(count + 1, int),
                    np.zeros(count),
                    np.full(count, 99),
                    np.zeros((count, 1), int),
                )
            )
        )
    if rng.random() < 0.2:
        members["x.npy"] = lying_npy(rng)
    if rng.random() < 0.05:
        members["x.npy"] = b"" if rng.random() < 0.5 else rng.randbytes(300)
    file = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def data_files(rng: random.Random) -> tuple[str, dict[str, bytes], list[str]]:
    """Return what was done, files beside the model, and the options that name them."""
    kind = rng.choice(("calibration", "calibration", "calibration", "baseline", "labels", "options"))
    if kind == "calibration":
        data = npz(rng)
        if rng.random() < 0.3:
            recipe, data = mutant([data], rng)
            kind = f"{kind} {recipe}"
        return kind, {"x.npz": data}, ["--calibration", "x.npz", "--method", "saliency"]
    if kind == "baseline":
        data = lying_npy(rng) if rng.random() < 0.3 else npy(some_array(rng, SHAPE))
        data = mutant([data], rng)[1] if rng.random() < 0.2 else data
        return kind, {"b.npy": data}, ["--baseline", "b.npy", "--method", "integrated_gradients"]
    if kind == "labels":
        text = rng.choice(
            (
                b"a\nb\nc\n",
                b"a\nb\n",
                b"",
                b"\xff\xfe\n",
                b"a\n\nc\n",
                b"a\0\nb\nc\n",
                b"\xef\xbb\xbfa\nb\nc",
                b"a\r\nb\r\nc",
            )
        )
        text = mutant([text or b" "], rng)[1] if rng.random() < 0.3 else text
        return kind, {"labels.txt": text}, ["--labels", "labels.txt", "--method", "saliency"]
    options = rng.choice(
        (
            *(
                ["--calibration", path]
                for path in ("", ".", "missing.npz", "victim.tflite", "/dev/zero", "/dev/null", "a" * 300)
            ),
            *(["--baseline", path] for path in ("missing.npy", ".npy", "/dev/zero/.npy", "victim.tflite", "nan", "")),
            *(["--labels", path] for path in ("", ".", "missing.txt", "/dev/zero", "/dev/full", "victim.tflite")),
            *(["--layer", name] for name in ("", "nothing", "image", "scores", "const0", "\udcff", "0")),
            *(["--output", name] for name in ("", "nothing", "image", "\udcff")),
            *(["--signature", name] for name in ("", "nothing", "\udcff", "serving_default")),
            *(["--memory", size] for size in ("1", "0", "-1", "1kB", "1 TB", "nan", "x", "1e400", "9" * 400)),
            *(["--batch", size] for size in ("1", "16", "1000000000")),
            *(["--numerics", name] for name in ("deq", "f32", "hybrid", "mixed")),
        )
    )
    return " ".join(options)[:60], {}, [*options, "--method", "integrated_gradients"]
