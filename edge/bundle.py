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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import soundness
from .codec import from_json, to_json
from .errors import BundleError
from .files import read_bytes
from .manifest import FORMAT, Manifest

MODEL, GOLDEN, MANIFEST = "model.tflite", "golden.npz", "manifest.json"
BASELINE = "baseline.npz"  # absent where Integrated Gradients starts at zero
REPORT = "report.html"  # for people; absent where none was asked for
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
