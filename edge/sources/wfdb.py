"""Records of PhysioNet with their annotations: ``wfdb:mitdb/100?channels=MLII&symbols=NLRej,AaJS,VE``.

Reads headers, signals of formats 16 and 212, and annotations in the format of MIT, which are most of what heart beats
come in. The package ``wfdb`` reads more, and brings pandas, scipy, matplotlib and aiohttp onto the board.
See https://physionet.org/physiotools/wag/header-5.htm, signal-5.htm and annot-5.htm.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.files import open_ordinary, read_bytes
from edge.samples import Samples, Signal, check_channels
from edge.samples.windows import Marks
from edge.sources import Feed, Item, Model, told

_FRAMES = 4096  # at one time
_HEADER_BYTES, _ANNOTATION_BYTES = 1 << 20, 16 << 20
# Codes of beats and other marks that have a symbol, from ecgcodes.h.
_CODES = (*range(1, 15), 16, *range(18, 21), *range(21, 42))
SYMBOLS = dict(zip(_CODES, 'NLRaVFJASEj/Q~|sT*D"=pB^t+u?![]en@xf()r', strict=True))
_SKIP, _AUX = 59, 63  # between them are fields of the annotation before
_HEADER = re.compile(r"(?P<file>\S+)\s+(?P<format>\d+)(?P<more>[x:]\d+)*(?:\+(?P<skip>\d+))?(?:\s+(?P<rest>.*))?", re.A)
_GAIN = re.compile(r"(?P<gain>[-+.eE\d]+)(?:\((?P<baseline>[-+]?\d+)\))?(?:/\S*)?", re.A)


@dataclass(frozen=True)
class Options:
    """``channels`` by name or from 0, all by default. Each group of ``symbols`` is a class, in the model's order.

    ``annotations`` is the file's extension. With symbols, windows lie around ``beats``, or ``every`` hop and have the
    class of most beats in them.
    """

    channels: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    annotations: str = "atr"
    windows: Literal["beats", "every"] | None = None
    hop: str | None = None


@dataclass(frozen=True)
class Record:
    """What a header says: one ``gain`` (steps per unit), ``baseline`` (the step that is 0) and name for each signal."""

    path: Path
    bits: int
    rate: float
    names: tuple[str, ...]
    gain: NDArray[np.float64]
    baseline: NDArray[np.float64]
    skip: int


def open(location: str, options: Options, model: Model) -> Feed:
    """Read the header ``location``.hea and the annotations; signals are in physical units, mostly mV."""
    record = read_header(Path(location))
    places = check_channels(options.channels or record.names, record.names, location)
    if len(options.symbols) > len(model.labels):
        raise InputError(
            f"symbols are {len(options.symbols)} groups, and the model has {len(model.labels)} classes",
            "write one group of symbols for each class, with commas between: symbols=NLRej,AaJS,VE",
        )
    around = options.windows == "beats" or (options.windows is None and bool(options.symbols))
    if around and (options.hop or not options.symbols):
        raise InputError("windows around beats need symbols and have no hop", "or write windows=every")
    marks = np.empty(0, np.int64), np.empty(0, np.int64)
    if options.symbols:
        marks = _classes(read_annotations(Path(f"{location}.{options.annotations}")), options.symbols)
    signal = Signal(len(places), record.rate, options.hop, around)
    return Feed(partial(_read, record, places, marks), signal=signal)


def _classes(annotations: Marks, groups: tuple[str, ...]) -> Marks:
    """Return the annotations that are in a group, and which one."""
    class_of = {symbol: index for index, group in enumerate(groups) for symbol in group}
    if unknown := class_of.keys() - set(SYMBOLS.values()):
        raise InputError(f"there is no symbol {min(unknown)!r}", f"annotations are {' '.join(SYMBOLS.values())}")
    table = np.array([class_of.get(SYMBOLS.get(code, ""), -1) for code in range(64)])
    places, codes = annotations
    classes = table[codes]
    return places[classes >= 0], classes[classes >= 0]


def _read(record: Record, places: list[int], marks: Marks) -> Generator[Item]:
    try:
        with open_ordinary(record.path) as file:
            file.seek(record.skip)
            yield None
            begin, pending, count = 0, b"", len(record.names)
            while data := file.read(_FRAMES * 3 * count):
                digits, pending = decode(pending + data, record.bits, count)
                missing = -(1 << (11 if record.bits == 212 else 15))
                good = (digits[:, places] != missing).all(axis=1)
                physical = ((digits - record.baseline) / record.gain).astype(np.float32)[:, places]
                yield from _marked(physical, good, begin, marks)
                begin += len(digits)
            if len(pending) >= 3:
                yield from told(str(record.path), [f"its last {len(pending)} bytes are no whole frame"])
    except OSError as error:
        raise InputError(f"cannot read {record.path}: {error.strerror}", "look at the disk") from error


def _marked(x: NDArray[np.float32], good: NDArray[np.bool_], begin: int, marks: Marks) -> Iterator[Item]:
    """Yield samples from place ``begin`` of the record, with their marks, without those that are marked as missing."""
    low, high = np.searchsorted(marks[0], [begin, begin + len(x)])
    places, classes = marks[0][low:high] - begin, marks[1][low:high]
    if not good.all():
        yield from told("wfdb", [f"{np.sum(~good)} samples from {begin} on are marked as missing"])
        places = np.minimum(np.cumsum(good)[places] - good[places], max(0, int(good.sum()) - 1))
    if good.any():
        yield Samples(x[good], (places, classes))


def read_header(record: Path) -> Record:
    """Read ``record``.hea; InputError where it is none, or describes what is not read here."""
    path = Path(f"{record}.hea")
    try:
        text = read_bytes(path, _HEADER_BYTES).decode("latin-1")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "name a record: wfdb:mitdb/100") from error
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        first = lines[0].split()
        count = int(first[1])
        rate = float(first[2].partition("/")[0].partition("(")[0]) if len(first) > 2 else 250.0
        signals = [_signal(line) for line in lines[1 : count + 1]]
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} cannot be read: {error}", "a header begins: NAME SIGNALS RATE SAMPLES") from error
    kinds = {(file, bits, skip) for file, bits, skip, *_ in signals}
    if not 0 < count == len(signals) or len(kinds) != 1 or not 0 < rate < 1e9:
        raise InputError(
            f"{path}: {len(signals)} of {count} signals in {len(kinds)} files or formats, {rate:g} samples per second",
            "all signals of a record must be in one file",
        )
    ((file, bits, skip),) = kinds
    if bits not in {16, 212}:
        raise InputError(f"{path}: signals of format {bits}", "16 and 212 can be read; convert it with xform")
    if Path(file).name != file:
        raise InputError(f"{path} names the signal file {file!r}", "it lies beside the header")
    *_, gains, baselines, names = zip(*signals, strict=True)
    different = tuple(name if names.count(name) == 1 else str(place) for place, name in enumerate(names))
    return Record(path.with_name(file), bits, rate, different, np.array(gains), np.array(baselines), skip)


def _signal(line: str) -> tuple[str, int, int, float, float, str]:
    """Return file, format, bytes to skip, gain, baseline and name of a line; ValueError where it is no such line."""
    found = _HEADER.fullmatch(line.strip())
    if found is None or found["more"]:
        raise ValueError("several samples per frame, or a skew")
    rest = (found["rest"] or "").split(maxsplit=6)
    gain, baseline = 200.0, float(rest[2]) if len(rest) > 2 else 0.0
    if rest:
        stated = _GAIN.fullmatch(rest[0])
        if stated is None:
            raise ValueError("no gain")
        gain = float(stated["gain"]) or 200.0
        baseline = float(stated["baseline"]) if stated["baseline"] else baseline
    if not (np.isfinite(gain) and np.isfinite(baseline)):
        raise ValueError("no gain")
    return (
        found["file"],
        int(found["format"]),
        int(found["skip"] or 0),
        gain,
        baseline,
        rest[6] if len(rest) > 6 else "",
    )


def decode(data: bytes, bits: int, channels: int) -> tuple[NDArray[np.int16], bytes]:
    """Return the whole frames of ``channels`` in ``data``, ``[t, channels]``, and the bytes that are left over."""
    if bits == 16:
        size = 2 * channels
        whole = len(data) - len(data) % size
        return np.frombuffer(data[:whole], "<i2").reshape(-1, channels), data[whole:]
    # 212: three bytes are two samples of 12 bits; an even number of frames is a whole number of such
    size = 3 * channels if channels % 2 else 3 * channels // 2
    whole = len(data) - len(data) % size
    triple = np.frombuffer(data[:whole], np.uint8).reshape(-1, 3).astype(np.int16)
    low, shared, high = triple.T
    pairs = np.stack([low | ((shared & 15) << 8), high | ((shared >> 4) << 8)], axis=1)
    signed = (pairs ^ 2048) - 2048
    return signed.reshape(-1, channels), data[whole:]


def read_annotations(path: Path) -> Marks:
    """Return the places and codes of a file of annotations, up to its end mark or to where it is cut short."""
    try:
        data = read_bytes(path, _ANNOTATION_BYTES)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "leave symbols out where there are none") from error
    words = np.frombuffer(data[: len(data) & ~1], "<u2").tolist()
    places, codes = [], []
    at = time = 0
    while at < len(words) and words[at]:
        code, field = words[at] >> 10, words[at] & 1023
        at += 1
        if code == _SKIP:
            time += (words[at] << 16) + words[at + 1] if at + 1 < len(words) else 0  # ascending in all that is sound
            at += 2
        elif code == _AUX:
            at += (field + 1) // 2
        elif code < _SKIP:
            time += field
            places.append(time)
            codes.append(code)
    return np.array(places, np.int64), np.array(codes, np.int64)
