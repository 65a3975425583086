"""What a board makes of the bundles in a folder: ``python -m tests.boards.answers FOLDER OUT.npz``, run on the board.

Imports the runtime and what the runtime needs, nothing else.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from edge import Explainer
from edge.errors import InterpreterError
from edge.interpreter import RUNTIMES
from examples.watch.predict import scores

Answers = dict[str, NDArray[Any]]

# TFLite's sets of kernels. The default is XNNPACK's as far as they go in LiteRT, and the built-in in tflite-runtime.
KERNELS = {"default": "AUTO", "built-in": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}
BUNDLES = ("watch", "f32", "deq", "int8")
ON_BOARD: Mapping[str, Sequence[str]] = {"default": BUNDLES, "reference": ("int8",)}
EXPLAINED = 52  # every so many of the windows: an emulated board takes its time


def answer(folder: Path, plan: Mapping[str, Sequence[str]]) -> Answers:
    """Return, under ``kernels/...``, what each set of kernels of a plan makes of the plain model and of its bundles.

    ``model``: scores of all windows ``[N, classes]``; ``BUNDLE/golden``: how many golden inputs score differently;
    ``BUNDLE/METHOD``: maps of some windows ``[n, ...]``. Nothing of a bundle that is refused with these kernels.
    """
    with np.load(folder / "windows.npz") as file:
        x = file["x"]
    model = (folder / "watch_int8.tflite").read_bytes()
    found: Answers = {}
    for kernels, bundles in plan.items():
        with interpreters_of(kernels):
            found[f"{kernels}/model"] = scores(model, x)
            for name in bundles:
                with suppress(InterpreterError):
                    explainer = Explainer.load(folder / f"{name}.why")
                    found["runtime"] = np.array(f"{explainer.runtime.name} {explainer.runtime.version}")
                    found[f"{kernels}/{name}/golden"] = np.array(explainer.check_golden())
                    for method in explainer.methods:
                        maps = [explainer.explain(window, method).map for window in x[::EXPLAINED]]
                        found[f"{kernels}/{name}/{method}"] = np.stack(maps)
    return found


@contextmanager
def interpreters_of(kernels: str) -> Iterator[None]:
    """Let every interpreter that is made meanwhile use one set of kernels."""
    for runtime in RUNTIMES.values():
        with suppress(ImportError):
            module = import_module(runtime.module)
            break
    resolver = getattr(module.OpResolverType, KERNELS[kernels])
    with patch.object(module, "Interpreter", partial(module.Interpreter, experimental_op_resolver_type=resolver)):
        yield


def main() -> None:
    """Answer, and say on what."""
    folder, out = map(Path, sys.argv[1:])
    about = f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}"
    np.savez(out, about=np.array(about), **answer(folder, ON_BOARD))


if __name__ == "__main__":
    main()
