"""The whole product once, on real input: ``python -m examples.watch.demo``.

Convert the Keras model to int8 TFLite, compile the explanations into it, check them, run the bundle as a separate
process at the other end of a pty, listen to it explain every window of three people nobody trained on, have firmware
made of the same bundle explain some of them on a virtual microcontroller, and write ``report.html`` and
``explanation.png``, beside the page that export makes of any model (``watch.html``).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

import export
from edge.bundle import REPORT, Bundle, write_whole
from edge.errors import WhyLiteError
from edge.manifest import Check
from examples.watch import micro, predict, report
from examples.watch.data import (
    EXERCISES,
    LABELS,
    PREPROCESSING,
    TEST_SUBJECTS,
    TRAIN_SUBJECTS,
    Windows,
    calibration,
    cut,
    load,
    of_subjects,
)
from examples.watch.heard import Heard
from examples.watch.picture import case_of, choose, picture
from firmware_bridge import lines
from firmware_bridge.monitor import watch
from firmware_bridge.nullmodem import NullModem
from firmware_bridge.summary import Summary

METHODS = ("gradcam", "integrated_gradients", "saliency")
ENOUGH = 200  # windows of unseen subjects that must come over the link
_PATIENCE = 180.0  # seconds of silence after which the device is given up; an emulated one starts slowly


class DemoError(WhyLiteError):
    """A process that the demo started did not do its part."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 success, 1 a check failed or the link lost too much, 2 something that is needed is missing."""
    parser = argparse.ArgumentParser(prog="python -m examples.watch.demo", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder (default: %(default)s)")
    folder = parser.parse_args(argv).output
    try:
        return _demo(folder)
    except export.CheckFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _demo(folder: Path) -> int:
    began = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    with _step("convert the trained Keras model to int8 TFLite"):
        model = convert(folder)
    recordings = load()
    unseen = cut(of_subjects(recordings, TEST_SUBJECTS))
    lacking = micro.missing()
    with _step("compile GradCAM, Integrated Gradients and saliency into it, and check them"):
        seen = calibration(recordings)
        bundle = export.explain(
            model,
            calibration=seen.x,
            truth=seen.y,
            methods=METHODS,
            target="pi" if lacking else "micro",
            labels=LABELS,
            name="watch",
            preprocessing=PREPROCESSING,
            report=True,
        )
        bundle.save(folder / "watch.why")
        write_whole(folder / "watch.html", bundle.members[REPORT])
        _print_export(bundle)
    with _step(f"run it as a device on a pty and listen: {len(unseen)} windows of subjects {_list(TEST_SUBJECTS)}"):
        heard, summary = stream(folder, unseen)
        print(textwrap.indent(lines.ending(summary), " " * 5))
        same = _link_check(model.read_bytes(), unseen, heard)
        _print_check(same)
    checks = [*bundle.manifest.checks, same]
    shown = _shown(unseen, heard)
    if lacking:
        on_micro = None
        print(f"==> no microcontroller: {lacking}")
    else:
        with _step(f"make firmware of it, and run that on a virtual {micro.CORE}: {micro.WINDOWS} of these windows"):
            on_micro = micro.run(bundle, model.read_bytes(), unseen, heard, shown, folder / "micro")
            print(textwrap.indent(micro.text(on_micro), " " * 5))
            _print_check(on_micro.check)
            checks.append(on_micro.check)
    result = report.DemoResult(
        facts=_facts(bundle, model, unseen),
        subject=unseen.subject[sorted(heard.answers)],
        truth=unseen.y[sorted(heard.answers)],
        scores=np.array([heard.answers[sequence].scores for sequence in sorted(heard.answers)], np.float32),
        manifest=bundle.manifest,
        checks=checks,
        summary=summary,
        cases=[case_of(unseen, heard, sequence) for sequence in shown],
        micro=on_micro,
    )
    with _step("draw and report"):
        write_whole(folder / "explanation.png", picture(result.cases))
        write_whole(folder / "report.html", report.html(result).encode())
        print(f"     {folder / 'watch.html'}, what any export says of its model")
        print(f"     {folder / 'report.html'}\n     {folder / 'explanation.png'}")
    _print_end(result, time.perf_counter() - began)
    return 0 if summary.windows >= ENOUGH and same.passed and not heard.errors else 1


def convert(folder: Path) -> Path:
    """Convert in a process of its own, so that TensorFlow is neither in this one nor in its memory."""
    command = [sys.executable, "-m", "examples.watch.convert", "--output", str(folder)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise DemoError(f"the conversion failed:\n{finished.stderr[-2000:]}", "pip install 'whylite[keras]'")
    print("".join(f"     {line}\n" for line in finished.stdout.splitlines()), end="")
    return folder / "watch_int8.tflite"


def stream(folder: Path, windows: Windows, python: Sequence[str] = (sys.executable,)) -> tuple[Heard, Summary]:
    """Let ``whylite run``, by another ``python``, answer and explain ``windows``, and hear it out over a pty."""
    np.savez(folder / "unseen.npz", x=windows.x, y=windows.y)
    heard = Heard()
    with NullModem() as line, (folder / "device.log").open("w") as log:
        command = [*python, "-m", "whylite", "run", str(folder / "watch.why"), "--port", line.device]
        command += ["--source", f"npz:{folder / 'unseen.npz'}", "--wait-host", str(_PATIENCE)]
        device = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            summary = watch(
                line.host,
                on_record=heard.note,
                until_end=True,
                until_idle=_PATIENCE,
                stop=lambda: bool(device.poll()),  # it has failed
            )
            with suppress(subprocess.TimeoutExpired):
                device.wait(_PATIENCE)
        finally:
            device.kill()
            code = device.wait()
    if code or not heard.maps:
        log_file = folder / "device.log"
        raise DemoError(
            f"the device process ended with {code} after {len(heard.answers)} windows:\n{log_file.read_text()[-2000:]}",
            f"see {log_file}",
        )
    return heard, summary


def _shown(windows: Windows, heard: Heard) -> list[int]:
    """Choose the windows to show, of those whose answer and maps all came over the link."""
    whole = [sequence for sequence in sorted(heard.answers) if all((sequence, name) in heard.maps for name in METHODS)]
    scores = np.array([heard.answers[sequence].scores for sequence in whole], np.float32)
    return [whole[index] for index in choose(scores, windows.y[whole])]


def _facts(bundle: Bundle, model: Path, windows: Windows) -> dict[str, str]:
    manifest = bundle.manifest
    return {
        "recordings": "seglearn 1.2.5, smartwatch exercises: 10 people, 7 exercises, 6 channels at 50 Hz",
        "exercises": ", ".join(f"{label} {EXERCISES[label]}" for label in LABELS),
        "trained on": f"subjects {_list(TRAIN_SUBJECTS)}",
        "streamed": f"{len(windows)} windows of 4 s, none overlapping, of subjects {_list(TEST_SUBJECTS)}",
        "model": f"{model.name}, {model.stat().st_size:,} bytes, {manifest.kind}, SHA-256 {manifest.model_digest}",
        "bundle": f"{len(bundle.to_bytes()):,} bytes, of which the model with its explanations {len(bundle.model):,}",
        "gradients stored as": manifest.numerics,
        "baseline": manifest.baseline,
        "target": manifest.target,
        "interpreter": manifest.runtime,
        "made by": manifest.created_by,
    }


def _link_check(model: bytes, windows: Windows, heard: Heard) -> Check:
    """Hold every answer that came over the link against the original model, run here without WhyLite."""
    arrived = sorted(heard.answers)
    expected = predict.scores(model, windows.x[arrived])
    streamed = np.array([heard.answers[sequence].scores for sequence in arrived], np.float32)
    different = int((streamed != expected).any(axis=1).sum())
    what = "answers over the link that differ in any bit from the original model's"
    return Check("prediction parity over the link", different, 0, different == 0, len(arrived), what)


def _print_check(check: Check) -> None:
    mark = "ok  " if check.passed else "FAIL"
    print(f"     {mark} {check.name}: {check.value:.2g}, bound {check.bound:g}, {check.samples} inputs")


def _print_export(bundle: Bundle) -> None:
    for check in bundle.manifest.checks:
        _print_check(check)
    for head in bundle.manifest.heads:
        print(f"     {head.method}: an explained answer takes {head.cost_ratio or 0:.2f} times a bare one")


def _print_end(result: report.DemoResult, seconds: float) -> None:
    print(f"accuracy on people never seen: {result.hit.mean():.1%} of {len(result.truth)} windows")
    for subject in np.unique(result.subject):
        print(f"     subject {subject}: {result.hit[result.subject == subject].mean():.1%}")
    print(f"{seconds:.1f} s in all")


@contextmanager
def _step(what: str) -> Iterator[None]:
    began = time.perf_counter()
    print(f"==> {what}", flush=True)
    yield
    print(f"     {time.perf_counter() - began:.1f} s", flush=True)


def _list(subjects: Sequence[int]) -> str:
    return ", ".join(map(str, subjects))


if __name__ == "__main__":
    sys.exit(main())
