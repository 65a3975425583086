"""``whylite export``: the command line of the explanation compiler."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
import zipfile
from pathlib import Path

import numpy as np

from edge.bundle import MANIFEST, ZIP_ERRORS, Bundle, ensure_writable
from edge.codec import to_json
from edge.errors import BundleError, WhyLiteError
from edge.files import read_array, read_bytes

from . import calibration, memory, pipeline, tables
from .errors import CalibrationError, CheckFailedError, UnsupportedModelError
from .methods import METHODS, IntegratedGradients, LayerMap, Method, SmoothGrad
from .numerics import NUMERICS
from .progress import StageLines
from .schedule import CHOICES
from .targets import TARGETS

_LABEL_BYTES = 16 << 20
# Options that only some methods have a use for.
_METHOD_OPTIONS: dict[str, tuple[type[Method], ...]] = {
    "layer": (LayerMap,),
    "batch": (IntegratedGradients, SmoothGrad),
    "schedule": (IntegratedGradients,),
    "refine": (IntegratedGradients,),
    "baseline": (IntegratedGradients,),
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``whylite export``."""
    result = argparse.ArgumentParser(
        prog="whylite export",
        description="Compile explanations into a trained TFLite classifier and pack a bundle (.why).",
        epilog="exit codes: 0 success, 1 a check failed, 2 wrong usage or bad input",
    )
    add = result.add_argument
    add("model", metavar="MODEL", help="a trained .tflite file, or a .keras model (needs whylite[keras])")
    add("-o", "--output-file", metavar="OUT.why", help="where to put the bundle (default: beside the model)")
    add("--name", metavar="NAME", help="what to call the model, in C too: whylite_NAME.h (default: its file's name)")
    add("--calibration", metavar="X.npz", help="inputs: x [N, ...], float as trained on; perhaps y [N], their classes")
    add(
        "--method",
        action="append",
        choices=list(METHODS),
        help=f"may be repeated (default: {_defaults()}); "
        f"visual aids, no evidence: {', '.join(name for name, method in METHODS.items() if not method.signed)}",
    )
    add("--target", choices=list(TARGETS), default="pi", help="where the bundle will run (default: %(default)s)")
    add("--numerics", choices=["auto", *NUMERICS], default="auto", help="how gradients are stored (default: auto)")
    add("--baseline", default="zero", metavar="zero|mean|FILE.npy", help="where Integrated Gradients starts")
    add("--layer", metavar="TENSOR|op:N", help="the layer of class activation maps (default: the last with positions)")
    add(
        "--output",
        metavar="TENSOR",
        help="the output to explain, where there are several: a tensor's name or the signature's",
    )
    add("--signature", metavar="KEY", help="the entry point to explain, where that is not the primary graph")
    add("--batch", type=int, metavar="N", help="steps or noisy copies per call (default: the fastest here)")
    add("--schedule", choices=CHOICES, default="auto", metavar="RULE", help=f"where steps lie: {', '.join(CHOICES)}")
    add(
        "--refine",
        action="store_true",
        help="let the device take steps until a tolerance is met (whylite run --tolerance)",
    )
    add("--memory", metavar="SIZE", help="the most an explanation may take, as 512k or 4M (bounds batch and numerics)")
    add(
        "--labels",
        metavar="FILE",
        help="class names, one a line; of a model with one sigmoid score, those of 0 and 1, or of 1 alone",
    )
    add(
        "--preprocessing",
        metavar="FILE.json",
        help="how raw values of a sensor become inputs, for the sources of `whylite run` (docs/sources.md)",
    )
    add("--allow-unfaithful", action="store_true", help="ship although a check failed; the bundle says so")
    add("--json", action="store_true", help="print the manifest as one JSON document")
    return result


def _defaults() -> str:
    """Return what methods each target has where none is named."""
    return "; ".join(f"{', '.join(target.defaults)} for {target.name}" for target in TARGETS.values())


def main(argv: list[str]) -> int:
    """Run ``whylite export``; ``argv[0]`` is the subcommand's name."""
    arguments = parser().parse_args(argv[1:])
    model = Path(arguments.model)
    path = Path(arguments.output_file or (model.with_suffix(".why") if model.name else model))
    try:
        _ensure_used(arguments)
        _ensure_no_input(path, arguments)
        _ensure_bundle(path)
        ensure_writable(path)
        bundle = _export(arguments)
    except CheckFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        bundle.save(path)
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    text = json.dumps(to_json(bundle.manifest), indent=1) if arguments.json else summary(bundle, path)
    print(text.encode("utf-8", "backslashreplace").decode())  # a path may be named by any bytes
    return 0


def _ensure_used(arguments: argparse.Namespace) -> None:
    """Raise :class:`UnsupportedModelError` for an option that no method asked for has a use for."""
    defaults = parser()
    asked = arguments.method or TARGETS[arguments.target].defaults
    for option, kinds in _METHOD_OPTIONS.items():
        if getattr(arguments, option) == defaults.get_default(option):
            continue
        users = [name for name, kind in METHODS.items() if issubclass(kind, kinds)]
        if not set(users).intersection(asked):
            raise UnsupportedModelError(
                f"--{option} is an option of {', '.join(users)}, and only {', '.join(asked)} is asked for",
                f"leave --{option} out, or add --method {users[0]}",
            )


def _ensure_no_input(path: Path, arguments: argparse.Namespace) -> None:
    """Raise :class:`BundleError` where writing the bundle would replace a file that it is made from."""
    given = {
        "the model": arguments.model,
        "the calibration data": arguments.calibration,
        "the labels": arguments.labels,
        "the preprocessing": arguments.preprocessing,
        "the baseline": arguments.baseline if arguments.baseline.endswith(".npy") else None,
    }
    for what, file in given.items():
        # What is not there, or is no name of a file, is said where it is read.
        with contextlib.suppress(OSError, ValueError):
            if file is not None and path.samefile(file):
                raise BundleError(f"cannot write {path}: it is {what} ({file})", "name another file with -o")


def _ensure_bundle(path: Path) -> None:
    """Raise :class:`BundleError` where writing the bundle would replace a file that is none, such as data."""
    with contextlib.suppress(OSError, ValueError):  # what is no file is said where it is written
        if not path.is_file() or not path.stat().st_size:
            return
        try:
            with zipfile.ZipFile(path) as archive:
                is_bundle = MANIFEST in archive.namelist()
        except ZIP_ERRORS:
            is_bundle = False
        if not is_bundle:
            raise BundleError(
                f"cannot write {path}: it is there already, and no .why bundle",
                "name another file with -o, or remove that one",
            )


def _export(arguments: argparse.Namespace) -> Bundle:
    x, truth = calibration.read(arguments.calibration) if arguments.calibration else (None, None)
    model: Path | bytes = Path(arguments.model)
    if isinstance(model, Path) and model.suffix in {".keras", ".h5"}:
        from .frontends import keras

        model = keras.to_tflite(model, x)

    with StageLines(sys.stderr) as progress:
        return pipeline.explain(
            model,
            calibration=x,
            truth=truth,
            methods=arguments.method,
            target=arguments.target,
            numerics=arguments.numerics,
            baseline=_baseline(arguments.baseline),
            labels=_labels(arguments.labels),
            layer=arguments.layer,
            output=arguments.output,
            signature=arguments.signature,
            batch=arguments.batch,
            memory=memory.parse(arguments.memory) if arguments.memory else None,
            schedule=arguments.schedule,
            refine=arguments.refine,
            name=arguments.name or Path(arguments.model).stem,
            preprocessing=_preprocessing(arguments.preprocessing),
            allow_unfaithful=arguments.allow_unfaithful,
            report=True,
            progress=progress,
        )


def _baseline(text: str) -> str | np.ndarray:
    if not text.endswith(".npy"):
        return text
    try:
        return read_array(text)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise CalibrationError(f"cannot read baseline {text}: {said}", "save it with numpy.save") from error


def _labels(path: str | None) -> list[str] | None:
    if path is None:
        return None
    try:
        lines = [line.strip() for line in read_bytes(path, _LABEL_BYTES).decode("utf-8").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or error
        raise CalibrationError(f"cannot read labels {path}: {said}", "pass a text file with one name a line") from error
    if "" in lines:
        raise CalibrationError(f"line {lines.index('') + 1} of {path} is empty", "give every class a name, one a line")
    return lines


def _preprocessing(path: str | None) -> dict[str, object] | None:
    if path is None:
        return None
    try:
        stated = json.loads(read_bytes(path, _LABEL_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        said = getattr(error, "strerror", None) or error
        raise CalibrationError(f"cannot read preprocessing {path}: {said}", "pass a JSON object") from error
    if not isinstance(stated, dict):
        raise CalibrationError(f"preprocessing {path} is no JSON object", 'such as {"rate": 50, "scale": [2.5]}')
    return stated


def summary(bundle: Bundle, path: Path) -> str:
    """Return what was exported, as a person wants to read it."""
    manifest = bundle.manifest
    lines = [
        f"{path}: {path.stat().st_size:,} bytes, {manifest.kind} model {manifest.name!r} "
        f"of {len(manifest.labels)} classes, numerics {manifest.numerics}, checked with {manifest.runtime}",
        "",
        *(["  on a workstation, by model.tflite:"] if manifest.micro is not None else []),
        f"  {'method':<22}{'layer':<34}{'map':<16}{'time':>9}{'memory':>11}   (over a bare answer's; at the peak)",
    ]
    for head in manifest.heads:
        shape = "x".join(map(str, head.map_shape))
        peak = "?" if head.peak_memory is None else memory.spoken(head.peak_memory)
        figures = f"{head.cost_ratio or 0:>9.2f}{peak:>11}"
        lines.append(f"  {head.method:<22}{_short(head.layer, 32):<34}{shape:<16}{figures}")
    lines += ["", f"  {'check':<48}{'measured':>10}{'bound':>18}{'inputs':>8}"]
    for check in manifest.checks:
        verdict = "ok" if check.passed else "FAILED" if check.gating else "failed, as a visual aid may"
        lines.append(
            f"  {check.name:<48}{tables.measured(check):>10}{tables.bound(check):>18}{check.samples:>8}  {verdict}"
        )
    lines += tables.undecided([head.method for head in manifest.heads], manifest.checks)
    if manifest.measures:
        lines += ["", *tables.measures(manifest.measures)]
    if manifest.candidates:
        title = f"  {'numerics tried':<16}{'method':<22}{'time':>9}{'fidelity':>10}{'5th pct':>9}{'lost':>8}"
        lines += ["", f"{title}   (one gradient over a bare answer; of the logit's change)"]
    for row in manifest.candidates:
        verdict = "  shipped" if row.numerics == manifest.numerics else ""
        figures = f"{row.cost_ratio:>9.2f}{row.fidelity:>10.3f}{row.fidelity_p05:>9.3f}" + (
            "" if row.lost is None else f"{row.lost:>8.1%}"
        )
        lines.append(f"  {row.numerics:<16}{row.method:<22}{figures}{verdict}")
    if manifest.micro is not None:
        lines += ["", "  on the microcontroller, by the C:", *tables.micro(manifest.micro)]
    lines.append("")
    if manifest.micro is not None and any(head.schedules for head in manifest.heads):
        lines.append("  on a workstation, by model.tflite:")
    for head in manifest.heads:
        if head.schedules:
            title = f"  {head.method + ' steps':<28}{'rule':<20}{'residual':>9}{'90 %':>8}{'map error':>11}{'90 %':>8}"
            lines += [f"{title}{'95 %':>8}   (of the logit's change, of the map, of the change or its median)"]
        for schedule in head.schedules:
            worth = (
                schedule.residual_p50,
                schedule.residual_p90,
                schedule.error_p50,
                schedule.error_p90,
                schedule.completeness,
            )
            r50, r90, e50, e90, most = ("?" if figure is None else f"{figure:.1%}" for figure in worth)
            probed = f" x{schedule.intervals}" if schedule.intervals else ""
            lines.append(
                f"  {schedule.steps:<28}{schedule.rule + probed:<20}{r50:>9}{r90:>8}{e50:>11}{e90:>8}{most:>8}"
            )
    lines += [f"  note: {note}" for note in manifest.notes]
    lines += ["", f"  see what it looked at: whylite report {shlex.quote(str(path))}"]
    return "\n".join(lines)


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
