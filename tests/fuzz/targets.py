"""What is fuzzed, and what must hold: a result that does what it says, or one typed error and nothing left behind."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import export
import whylite
from edge.bundle import MANIFEST, Bundle
from edge.errors import WhyLiteError
from edge.explainer import Explainer
from tests.references.mutate import mutant

from . import seeds
from .bundle_cases import bundle_file, hold_device
from .data_cases import data_files
from .isolation import Broken, Judge, Verdict
from .schema_mutations import liar

NAME = "victim.tflite"
_PROGRESS = re.compile(r" *\d+\.\d s  ")
_METHODS = (["gradcam"], ["saliency"], ["integrated_gradients"], ["gradcam", "integrated_gradients", "saliency"])


@dataclass(frozen=True)
class Case:
    """One input: what was done to make it, its files by name, and who judges it."""

    recipe: str
    files: dict[str, bytes]
    judge: Judge


def hold_error(error: WhyLiteError, *names: str) -> Verdict:
    """Return an error's class and words; raises :class:`Broken` where it lacks the cause, the place or the hint."""
    kind = type(error).__name__
    if not error.cause.strip() or not error.hint.strip():
        raise Broken(f"{kind} without cause or hint: {error.cause!r}, {error.hint!r}") from error
    if not any(name in error.cause for name in names):
        raise Broken(f"{kind} names none of {names}: {error.cause}") from error
    if len(error.cause) > 20_000:
        raise Broken(f"{kind} says {len(error.cause)} characters") from error
    for sign in ("cannot take", "cannot be compiled for it", "what was compiled as"):
        if sign in error.cause:  # typed, and worth a look all the same
            return f"{kind}: {sign}", error.cause
    return kind, error.cause


def hold_bundle(data: bytes) -> Verdict:
    """Return what kind of bundle it is; it must open, hold its checks, and explain with finite maps."""
    bundle = Bundle.from_bytes(data, "result.why")
    explainer = Explainer(bundle)
    manifest = bundle.manifest
    if not all(check.passed for check in manifest.checks):
        raise Broken("a bundle ships although a check failed")
    explainer.check_golden()
    x = np.random.default_rng(0).normal(size=manifest.input_shape).astype(np.float32)
    if manifest.input.scale is None and manifest.input.dtype != "float32":
        x = np.zeros_like(x)  # ids
    for method in explainer.methods:
        explanation = explainer.explain(x, method)
        if not np.isfinite(explanation.map).all():
            raise Broken(f"{method} gives a map that is not finite")
        if explanation.map.shape != manifest.head(method).map_shape:
            raise Broken(f"{method} gives a map of another shape than the manifest says")
    return "bundle", ""


def model_case(rng: random.Random) -> tuple[str, bytes]:
    """Return a damaged or lying model file and how it was made."""
    originals = [data for name, data in seeds.models().items() if not name.startswith("op ")]
    if rng.random() < 0.6:
        originals = list(seeds.models().values())
    return (mutant if rng.random() < 0.3 else liar)(originals, rng)


def export_case(rng: random.Random) -> Case:
    """``export.explain`` on the bytes of a model."""
    recipe, data = model_case(rng)
    methods = rng.choice(_METHODS)
    calibrated = rng.random() < 0.2
    asked = {
        "signature": rng.choice((*[None] * 8, "second", "second", "serving_default", "nothing")),
        "output": rng.choice((*[None] * 8, "scores", "scores", "0", "nothing")),
        "layer": rng.choice((*[None] * 8, "0", "1", "image")),
    }

    def judge(folder: Path) -> Verdict:
        x = np.random.default_rng(1).normal(size=(5, 6, 6, 4)) if calibrated else None
        try:
            bundle = export.explain(data, methods=methods, name=NAME, calibration=x, **asked)
        except WhyLiteError as error:
            return hold_error(error, NAME, "calibration", "input", "labels")
        return hold_bundle(bundle.to_bytes())

    said = " ".join(f"{key}={value}" for key, value in asked.items() if value)
    return Case(f"{recipe} by {'+'.join(methods)} {said}", {NAME: data}, judge)


def cli_case(rng: random.Random) -> Case:
    """``whylite export`` on a file, from the command line's side."""
    recipe, data = model_case(rng)
    options = rng.choice(([], ["--json"], ["--method", "saliency"], ["-o", "other.why"], ["--numerics", "f32"]))

    def judge(folder: Path) -> Verdict:
        return hold_command(folder, {NAME: data}, [NAME, *options])

    return Case(f"{recipe} with {' '.join(options) or 'no options'}", {NAME: data}, judge)


def _older_bundle() -> bytes:
    """Return what may be replaced by a bundle: one by its looks."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(MANIFEST, "{}")
    return file.getvalue()


def hold_command(folder: Path, files: dict[str, bytes], arguments: list[str]) -> Verdict:
    """Run ``whylite export`` in ``folder``; hold its exit code to what it says and to what it leaves behind."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    target = folder / ("other.why" if "other.why" in arguments else "victim.why")
    target.write_bytes(_older_bundle())
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".stderr"}
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = whylite.main(["export", *arguments])
        except SystemExit as stopped:  # argparse refuses an option in its own words
            if stopped.code != 2 or "error: argument" not in err.getvalue():
                raise
            return "exit 2, wrong usage", err.getvalue().splitlines()[-1]
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".stderr"}
    said = [line for line in err.getvalue().splitlines() if not _PROGRESS.match(line)]
    if code == 0:
        bundle = after[target.name]
        if after | {target.name: b""} != before | {target.name: b""}:
            raise Broken(f"other files than the bundle changed: {sorted(after)}")
        if "--json" in arguments:
            json.loads(out.getvalue())
        hold_bundle(bundle)
        return "exit 0", ""
    if code not in (1, 2):
        raise Broken(f"exit code {code}")
    if after != before:
        raise Broken(f"exit code {code}, and the folder changed: {sorted(after)}")
    if out.getvalue() or not said or not said[0].startswith("error: ") or "  hint: " not in err.getvalue():
        raise Broken(f"exit code {code} and says {err.getvalue()!r}, {out.getvalue()!r}")
    if code == 1 and "does not hold" not in said[0]:
        raise Broken(f"exit code 1 for {said[0]}")
    return f"exit {code}", said[0]


def data_case(rng: random.Random) -> Case:
    """``whylite export`` on a sound model, and what is given beside it."""
    recipe, files, options = data_files(rng)
    files = {NAME: seeds.models()["op nothing"], **files}
    return Case(recipe, files, lambda folder: hold_command(folder, files, [NAME, *options]))


def bundle_case(rng: random.Random) -> Case:
    """``edge`` on a bundle that is damaged or lies."""
    recipe, data = bundle_file(rng)
    return Case(recipe, {"victim.why": data}, lambda folder: hold_device(data, folder))


TARGETS: dict[str, Callable[[random.Random], Case]] = {
    "export": export_case,
    "cli": cli_case,
    "data": data_case,
    "bundle": bundle_case,
}
