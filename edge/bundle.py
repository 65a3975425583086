"""The bundle format ``.why``: a sealed zip with a model, its explanations and what was measured about them.

Members are stored uncompressed and aligned, so that a device can map them. The zip's comment holds the SHA-256 of
everything before it and the manifest names the SHA-256 of every member; opening checks both. Nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import soundness
from .codec import from_json, to_json
from .errors import BundleError
from .files import read_bytes
from .samples.preprocessing import Preprocessing

FORMAT = 1
MODEL, GOLDEN, MANIFEST = "model.tflite", "golden.npz", "manifest.json"
BASELINE = "baseline.npz"  # absent where Integrated Gradients starts at zero
REPORT = "report.html"  # for people; absent where none was asked for
LOGITS, LOGITS_PER_INPUT_UNIT, NO_UNIT = "logits", "logits per input unit", "no unit of the model's"
"""What a map's values may be in; only those in logits may be added up."""
_SEAL = b"whylite sha256 "
_ALIGNMENT = 64  # of a member's first byte: a cache line, and more than any tensor asks for
_MAX_BYTES = 1 << 30
_DAMAGED = "copy or export it again"
# What zipfile and numpy raise for archives that are damaged or hostile.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ValueError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # one date for every member, so that equal exports are equal files


def quantize(real: NDArray[Any], scale: float, zero_point: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return real values as the integers that stand for them, rounded to nearest (ties to even) and clipped.

    The one way in which inputs become a model's, at export as on the device.
    """
    limits = np.iinfo(dtype)
    stored = np.divide(real, np.float32(scale), dtype=np.float32)
    np.rint(stored, out=stored)
    stored += zero_point
    np.maximum(stored, limits.min, out=stored)  # np.clip would take longer than all the rest
    np.minimum(stored, limits.max, out=stored)
    return np.asarray(stored.astype(dtype))


@dataclass(frozen=True)
class Port:
    """A model input or output: its name in the signature, shape without the batch, and how numbers are stored.

    ``scale`` is None where numbers are stored as they are, such as float32 or ids. ``minimum`` and ``maximum`` are the
    range of real values seen in calibration, ``limits`` the smallest and largest id that a look-up table has. An input
    that is not ``batched`` has no batch dimension.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0
    minimum: float | None = None
    maximum: float | None = None
    limits: tuple[int, ...] | None = None
    batched: bool = True

    def quantize(self, real: NDArray[np.float32]) -> NDArray[Any]:
        """Return real values as the stored numbers, rounded to nearest and clipped, with the batch dimension if any."""
        real = real[None] if self.batched else real
        if self.scale is None:
            return np.asarray(real, self.dtype)
        return quantize(real, self.scale, self.zero_point, np.dtype(self.dtype))

    def real(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return stored numbers as float32 where they stand for such, and else as they are."""
        return stored if self.scale is None else self.dequantize(stored)

    def dequantize(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Return stored numbers as float32."""
        if self.scale is None:
            return np.asarray(stored, np.float32)
        return np.asarray((stored.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale))


@dataclass(frozen=True)
class Schedule:
    """Integrated-Gradients nodes and weights on [0, 1], and what they were worth on the calibration inputs.

    ``residual_p50`` and ``residual_p90`` are quantiles of ``|f(x) - f(x') - sum(map)| / |f(x) - f(x')|``, ``error_p50``
    and ``error_p90`` of the Euclidean distance to the map of a dense integration, relative to the size of that.
    ``completeness`` is the 95th percentile of the former, over the median of ``|f(x) - f(x')|`` where that is larger;
    None where too few inputs decide.
    ``rule`` names how nodes and weights were chosen. Where ``intervals`` is given, they are chosen anew for each input,
    from the outputs at the ends of so many intervals (``edge.nuig``), at ``place`` in the part that is each step's, and
    those here are uniform.
    """

    steps: int
    nodes: tuple[float, ...]
    weights: tuple[float, ...]
    residual_p50: float | None = None
    residual_p90: float | None = None
    rule: str = ""
    error_p50: float | None = None
    error_p90: float | None = None
    intervals: int = 0
    place: float = 1.0
    completeness: float | None = None

    @property
    def probes(self) -> int:
        """How many forward passes it takes to choose the steps, beside those at the ends of the path."""
        return max(self.intervals - 1, 0)


@dataclass(frozen=True)
class Noise:
    """What SmoothGrad adds to the copies of an input.

    Normal noise whose deviation is ``level`` times that input's range, of ``samples`` copies unless another number is
    asked for, from ``numpy.random.default_rng(seed)``: copy by copy, so that fewer of them are the first of more.
    """

    level: float
    samples: int
    seed: int


@dataclass(frozen=True)
class ExplanationHead:
    """One explanation method of the bundle.

    ``predicted`` is the signature that picks the predicted class itself and returns the scores too, ``chosen`` the
    one that takes a class; ``unit`` is what their output ``map`` is multiplied by to be in ``map_unit``, one of
    :data:`LOGITS`, :data:`LOGITS_PER_INPUT_UNIT` and :data:`NO_UNIT`, or empty in bundles that do not say.
    ``map_shape`` is the map's shape without dimensions of size 1 along which the model has no extent. ``stored_input``
    says whether they read the input as the model stores it (int8) or as float32. ``front`` is None for a map of the
    input (or of a chosen layer); where the way to the input is barred, the map is that of ``layer``, the first tensor
    that can be reached, and ``front`` the signature that leads from the input to it. ``each`` is the signature that
    gives gradient and logits at one interpolation step, with ``each_unit`` in place of ``unit``, where steps may be
    chosen on the way (``edge.refine``). ``cost_ratio`` is the measured time of an explanation over that of a plain
    prediction, on the machine that exported; ``peak_memory`` the bytes by which loading the model, predicting and
    explaining made a process grow there, at the most. ``noise`` is given where a map is a mean over noisy copies of the
    input, ``steps_per_call`` of which share a call then.
    """

    method: str
    layer: str
    map_shape: tuple[int, ...]
    chosen: str
    predicted: str | None = None
    unit: float = 1.0
    signed: bool = True
    stored_input: bool = False
    steps_per_call: int = 0
    schedules: tuple[Schedule, ...] = ()
    front: str | None = None
    each: str | None = None
    each_unit: float = 1.0
    cost_ratio: float | None = None
    peak_memory: int | None = None
    noise: Noise | None = None
    map_unit: str = ""


@dataclass(frozen=True)
class Check:
    """One check made at export: what was measured, the bound it was held to, and on how many inputs.

    ``method`` is the one it is about, empty where it is about the whole model. Where the bound comes from a null
    distribution, ``band`` are its 5th and 95th percentiles and ``seeds`` what its random numbers came from. A check
    that is not ``gating`` is of a visual aid: it may fail and the method is shipped all the same, as what it is.
    """

    name: str
    value: float
    bound: float
    passed: bool
    samples: int
    detail: str = ""
    method: str = ""
    band: tuple[float, ...] | None = None
    seeds: tuple[int, ...] = ()
    gating: bool = True


@dataclass(frozen=True)
class Measure:
    """A figure of one method that is reported and bounds nothing, with its 95 % confidence interval if it has one.

    ``reference`` is what the same figure is where there is nothing to explain, such as for a random order of values.
    """

    name: str
    method: str
    value: float
    samples: int
    interval: tuple[float, ...] | None = None
    reference: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Candidate:
    """What one method was worth under one choice of numerics when the choice was made.

    ``cost_ratio`` is its time over a prediction's (per interpolation step, for Integrated Gradients); ``fidelity`` and
    ``fidelity_p05`` are the median and 5th percentile of the rank correlation with exact arithmetic, ``lost`` what the
    numerics alone leave of the logit's change, as ``Schedule.completeness``: None but for Integrated Gradients.
    ``sign_agreement`` and ``top_overlap`` are medians too, and decide nothing: which part of the exact map's values
    keep their sign, and which part of its largest tenth by magnitude is in the other's.
    """

    numerics: str
    method: str
    cost_ratio: float
    fidelity: float
    fidelity_p05: float
    lost: float | None = None
    sign_agreement: float | None = None
    top_overlap: float | None = None


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds. ``model_digest`` is the SHA-256 of the model file that was exported.

    ``recurrent`` models keep state from run to run; each input is predicted and explained from zero state. Where the
    model streams, from one step to the next, ``states`` are its variables (of full shape), ``state`` is the signature
    that reads them, and ``scores`` the one that predicts in a given state and leaves none behind.

    ``yes_no`` models have one output, the sigmoid score of class 1; class 0, of label 0, has what is left of 1. The
    answer is class 1 above one half; what is explained is the logit of class 1, whatever the answer.

    ``preprocessing`` is how raw values of a sensor become the model's input; None where nobody said.
    """

    name: str
    model_digest: str
    kind: str
    input: Port
    output: Port
    labels: tuple[str, ...]
    predict: str
    logits: str | None
    heads: tuple[ExplanationHead, ...]
    numerics: str
    target: str
    baseline: str
    runtime: str
    checks: tuple[Check, ...] = ()
    measures: tuple[Measure, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    notes: tuple[str, ...] = ()
    states: tuple[Port, ...] = ()
    state: str | None = None
    scores: str | None = None
    created_by: str = ""
    recurrent: bool = False
    yes_no: bool = False
    preprocessing: Preprocessing | None = None
    format: int = FORMAT
    members: dict[str, str] = field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch."""
        return self.input.shape

    def place(self, class_index: int) -> int:
        """Return which of the model's outputs a class is explained by."""
        return 0 if self.yes_no else class_index

    def head(self, method: str) -> ExplanationHead:
        """Return the head of ``method``; :class:`BundleError` listing what there is."""
        for head in self.heads:
            if head.method == method:
                return head
        there = ", ".join(head.method for head in self.heads)
        raise BundleError(f"bundle {self.name!r} has no method {method!r}", f"it explains by {there}; export it again")


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: the manifest and every other member's bytes."""

    manifest: Manifest
    members: Mapping[str, bytes]

    def __repr__(self) -> str:
        methods = ", ".join(head.method for head in self.manifest.heads)
        sizes = ", ".join(f"{name} {len(content):,} bytes" for name, content in self.members.items())
        return f"<Bundle {self.manifest.name!r}: {methods}; {sizes}>"

    @property
    def model(self) -> bytes:
        """The TFLite file: the user's subgraph 0 untouched, and one signature per explanation."""
        return self.members[MODEL]

    def arrays(self, member: str = GOLDEN) -> dict[str, NDArray[Any]]:
        """Return the arrays of an ``.npz`` member."""
        return read_npz(self.members[member], member)

    @property
    def baseline(self) -> NDArray[np.float32]:
        """Where Integrated Gradients starts, float32 of the shape of its maps."""
        shapes = [head.map_shape for head in self.manifest.heads if head.schedules]
        shape = shapes[0] if shapes else self.manifest.input_shape
        if BASELINE not in self.members:
            return np.zeros(shape, np.float32)
        baseline = self.arrays(BASELINE).get("baseline")
        if baseline is None or baseline.shape != shape or baseline.dtype.kind != "f":
            raise BundleError(f"{BASELINE} of bundle {self.manifest.name!r} does not fit its maps", _DAMAGED)
        return np.asarray(baseline, np.float32)

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Read and verify a bundle; raises :class:`BundleError` for whatever is not sound."""
        path = Path(path)
        try:
            data = read_bytes(path, _MAX_BYTES)
        except OSError as error:
            raise BundleError(f"cannot read {path}: {error.strerror}", "give the path of a .why bundle") from error
        return cls.from_bytes(data, path.name)

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "bundle") -> Bundle:
        """Read and verify a bundle's bytes."""
        if len(data) < 100 or not data.startswith(b"PK") or data[-64 - len(_SEAL) : -64] != _SEAL:
            raise BundleError(f"{name} is not a WhyLite bundle, or is cut short", _DAMAGED)
        if hashlib.sha256(data[:-64]).hexdigest().encode() != data[-64:]:
            raise BundleError(f"{name} is damaged: its SHA-256 is not the one it was sealed with", _DAMAGED)
        members = _read_members(data, name)
        manifest = _read_manifest(members.pop(MANIFEST, None), name)
        for member, digest in manifest.members.items():
            if member not in members:
                raise BundleError(f"{name} lacks its member {member}", _DAMAGED)
            if hashlib.sha256(members[member]).hexdigest() != digest:
                raise BundleError(f"{name}: member {member} does not match the manifest", _DAMAGED)
        if set(members) != set(manifest.members) or MODEL not in members:
            raise BundleError(f"{name} holds members that its manifest does not name", _DAMAGED)
        return cls(manifest, members)

    def to_bytes(self) -> bytes:
        """Return the bundle as a sealed zip; equal bundles give equal bytes."""
        document = json.dumps(to_json(self.manifest), indent=1, ensure_ascii=False).encode()
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for member, content in {MANIFEST: document, **self.members}.items():
                entry = zipfile.ZipInfo(member, _EPOCH)
                start = file.tell() + 30 + len(member.encode()) + 4
                padding = -start % _ALIGNMENT
                entry.extra = struct.pack("<HH", 0xD935, padding) + bytes(padding)
                archive.writestr(entry, content)
            archive.comment = _SEAL + b"0" * 64
        data = file.getvalue()[:-64]
        return data + hashlib.sha256(data).hexdigest().encode()

    def save(self, path: str | Path) -> None:
        """Write the bundle to ``path``, whole or not at all."""
        write_whole(Path(path), self.to_bytes())


def seal(manifest: Manifest, members: Mapping[str, bytes]) -> Bundle:
    """Return a bundle of these members, their digests entered into the manifest."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    return Bundle(replace(manifest, members=digests), dict(members))


def write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` into ``path`` so that no reader ever sees half of it; :class:`BundleError` if it cannot be done."""
    with _writing(path) as temporary:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def ensure_writable(path: Path) -> None:
    """Raise :class:`BundleError` where :func:`write_whole` could not put a file; for long work to ask before."""
    with _writing(path) as temporary:
        temporary.touch()
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """Give a file beside ``path`` to write into, of which nothing is left in the end."""
    if not path.name or "\0" in str(path):
        raise BundleError(f"cannot write {str(path)!r}: that is no name of a file", "name a file in a folder")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
    except OSError as error:
        raise BundleError(
            f"cannot write {path}: {error.strerror}", "choose a folder that exists and has room"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _read_members(data: bytes, name: str) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                if (
                    entry.compress_type != zipfile.ZIP_STORED
                    or entry.file_size > len(data)
                    or entry.filename in members
                ):
                    raise BundleError(
                        f"{name}: member {entry.filename!r} is compressed, repeated or too large", _DAMAGED
                    )
                members[entry.filename] = archive.read(entry)
    except ZIP_ERRORS as error:
        raise BundleError(f"{name} is not a readable zip: {error}", _DAMAGED) from error
    return members


def _read_manifest(document: bytes | None, name: str) -> Manifest:
    if document is None:
        raise BundleError(f"{name} has no {MANIFEST}", _DAMAGED)
    try:
        value = json.loads(document)
        if isinstance(value, dict) and value.get("format", FORMAT) != FORMAT:
            raise BundleError(
                f"{name} has format {value['format']!r}, this is WhyLite for format {FORMAT}", "update WhyLite"
            )
        manifest = from_json(Manifest, value)
        soundness.check(manifest)
        json.dumps(to_json(manifest), ensure_ascii=False).encode()  # JSON can spell what is no text
    except (ValueError, OverflowError, RecursionError) as error:
        raise BundleError(f"{name}: {MANIFEST} is not valid: {error}"[:500], _DAMAGED) from error
    return manifest


def npz_bytes(**arrays: NDArray[Any]) -> bytes:
    """Return arrays as an ``.npz`` file whose bytes depend on nothing but the arrays."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), content.getvalue())
    return file.getvalue()


def read_npz(data: bytes, name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays in an ``.npz``; a header that promises more than there is cannot make it allocate."""
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(data):
                    raise BundleError(f"{name}: {entry.filename!r} is compressed or too large", _DAMAGED)
                arrays[entry.filename.removesuffix(".npy")] = _read_npy(archive.read(entry))
    except ZIP_ERRORS as error:
        raise BundleError(f"{name} is not a readable .npz: {error}", _DAMAGED) from error
    return arrays


def _read_npy(data: bytes) -> NDArray[Any]:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"array format {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran or dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError("an array's size does not match its header")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape)
