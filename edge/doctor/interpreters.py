"""Which TFLite interpreter is here, whether it runs, what XNNPACK takes off it, and whether an Edge TPU is there."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.doctor.finding import Finding, Level
from edge.doctor.probe import EDGE_TPU, MODELS
from edge.interpreter import RUNTIMES, version_of
from edge.vitals import read

_SECTION = "interpreter"
_PATIENCE = 120.0  # seconds: TensorFlow takes long to import on a small board
_EDGE_TPUS = {("1a6e", "089a"), ("18d1", "9302")}  # of a Coral USB stick, before and after its firmware is loaded
_PCIE_EDGE_TPU = ("0x1ac1", "0x089a")

_NO_PROCESS = "no process can be started"

# What the errors of known mismatches contain: what to do, and how.
_KNOWN = {
    "_ARRAY_API": ("this wheel was made for NumPy 1", "pip install 'numpy<2'"),
    "NumPy 1.x": ("this wheel was made for NumPy 1", "pip install 'numpy<2'"),
    "GLIBC": ("this wheel wants a newer system: upgrade it, or install an older version of the wheel", ""),
    _NO_PROCESS: ("free some memory, or look outside the emulator", ""),
    "wrong ELF class": ("this wheel is for another width of Python: install it again with this Python's own pip", ""),
}


@dataclass(frozen=True)
class Probe:
    """How a probe of one runtime ended: what it found, or None, and what it said on stderr and why it died."""

    found: dict[str, Any] | None
    said: str
    died: str = ""


def probe(name: str) -> Probe:
    """Run the test models in the runtime ``name``, in a process of its own."""
    command = [sys.executable, "-m", "edge.doctor.probe", name]
    options: dict[str, Any] = {"capture_output": True, "text": True, "errors": "replace", "timeout": _PATIENCE}
    try:
        ended = subprocess.run(command, check=False, **options)
    except OSError as error:
        return Probe(None, _NO_PROCESS, f"cannot be tried: {_NO_PROCESS} ({error.strerror})")
    except subprocess.TimeoutExpired:
        return Probe(None, "", f"does not end within {_PATIENCE:.0f} s")
    if ended.returncode < 0:
        return Probe(None, ended.stderr, f"dies of {signal.Signals(-ended.returncode).name}")
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Probe(None, ended.stderr, f"fails: {last[:200]}")
    return Probe(json.loads(ended.stdout.splitlines()[-1]), ended.stderr)


def installed() -> list[str]:
    """Return the runtimes that are here, in the order in which they are tried, without importing them."""
    return [name for name, there in RUNTIMES.items() if importlib.util.find_spec(there.module.partition(".")[0])]


def examine(
    root: Path, names: Sequence[str], probed: Callable[[str], Probe], *, wide: bool = sys.maxsize > 2**32
) -> Iterator[Finding]:
    """Yield what there is to say of the runtimes ``names``, of which the first that runs is the one that is used.

    ``wide`` tells a 64-bit Python.
    """
    if not names:
        yield nothing(wide=wide, python=sys.version_info[:2])
    for name in names:
        result = probed(name)
        if result.found is None:
            yield _failed(name, result)
            continue
        yield from _runs(name, result, wide=wide)
        others = names[names.index(name) + 1 :]
        if others:
            also = ", ".join(f"{other} {version_of(other)}" for other in others)
            yield Finding(_SECTION, Level.OK, f"also installed, for --interpreter: {also}")
        yield from _edge_tpu(root, result.found["edge_tpu"])
        return


def nothing(*, wide: bool, python: tuple[int, int]) -> Finding:
    """Return what to install where there is no interpreter, in a 64-bit Python if ``wide``."""
    what = "no TFLite interpreter is installed"
    if wide:
        return Finding(_SECTION, Level.PROBLEM, what, command="pip install ai-edge-litert")
    if python < (3, 12):
        return Finding(_SECTION, Level.PROBLEM, what, command="pip install tflite-runtime 'numpy<2'")
    advice = "there is none for 32-bit Arm beyond Python 3.11: install a 64-bit system, or Python 3.11"
    return Finding(_SECTION, Level.PROBLEM, what, advice)


def _failed(name: str, result: Probe) -> Finding:
    what = f"{name} {version_of(name)} {result.died}"
    for sign, (advice, command) in _KNOWN.items():
        if sign in result.said:
            return Finding(_SECTION, Level.PROBLEM, what, advice, command)
    if "SIGILL" in result.died:
        advice = "this wheel uses instructions that the processor lacks: choose another interpreter"
        return Finding(_SECTION, Level.PROBLEM, what, advice)
    package = RUNTIMES[name].distributions[0]
    return Finding(_SECTION, Level.PROBLEM, what, command=f"pip install --force-reinstall {package}")


def _runs(name: str, result: Probe, *, wide: bool) -> Iterator[Finding]:
    found, title = result.found or {}, f"{name} {version_of(name)}"
    wrong = [kind for kind, answer in MODELS.items() if found[kind]["answer"] != answer]
    if wrong:
        kind = wrong[0]
        what = f"{title} answers {found[kind]['answer']} where {MODELS[kind]} is right ({kind})"
        yield Finding(_SECTION, Level.PROBLEM, what, "choose another version of it, or another interpreter")
    else:
        yield Finding(_SECTION, Level.OK, f"{title} runs float32 and int8 models")
    taken = [kind for kind in MODELS if found[kind]["delegated"]]
    who = "XNNPACK" if "XNNPACK" in result.said else "a delegate that does not say its name"
    if len(taken) == len(MODELS):
        yield Finding(_SECTION, Level.OK, f"{who} is on for float32 and int8")
    elif taken:
        left = next(kind for kind in MODELS if kind not in taken)
        advice = "ai-edge-litert 2 has it on for both" if name == "tflite-runtime" else ""
        what = f"{who} is on for {taken[0]} only: {left} models run on TFLite's own kernels"
        yield Finding(_SECTION, Level.NOTE, what, advice)
    else:
        what = "XNNPACK is off: models run on TFLite's own kernels"
        if wide:
            yield Finding(_SECTION, Level.WARNING, what, "wheels on PyPI have it on: was this one built elsewhere?")
        else:
            yield Finding(_SECTION, Level.NOTE, what, "wheels for 32-bit Arm have none; those for 64 bits do")


def _edge_tpu(root: Path, library: dict[str, Any]) -> Iterator[Finding]:
    """Tell of an Edge TPU that is there but cannot be used, or the other way round; nothing where there is neither."""
    where = _edge_tpu_device(root)
    if where and library["device"]:
        yield Finding(_SECTION, Level.OK, f"Edge TPU ({where}) opens with {EDGE_TPU}")
    elif where and library["library"]:
        what = f"Edge TPU ({where}) does not open with {EDGE_TPU}: {library['error'] or 'no reason given'}"
        advice = "its users must be in the group plugdev (USB) or apex (PCIe); log in again afterwards"
        yield Finding(_SECTION, Level.WARNING, what, advice, "sudo usermod -aG plugdev,apex $USER")
    elif where:
        advice = "Coral's package repository has it: see coral.ai/software"
        what = f"Edge TPU ({where}) is there, and {EDGE_TPU} is not"
        yield Finding(_SECTION, Level.WARNING, what, advice, "sudo apt install libedgetpu1-std")
    elif library["library"]:
        yield Finding(_SECTION, Level.NOTE, f"{EDGE_TPU} is installed, and no Edge TPU is attached")


def _edge_tpu_device(root: Path) -> str:
    """Return where an Edge TPU is attached, "" for nowhere."""
    for device in sorted((root / "sys/bus/usb/devices").glob("*")):
        if (read(device / "idVendor"), read(device / "idProduct")) in _EDGE_TPUS:
            return f"USB {device.name}"
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        if (read(device / "vendor"), read(device / "device")) == _PCIE_EDGE_TPU:
            return f"PCIe {device.name}"
    return ""
