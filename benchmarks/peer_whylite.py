"""Integrated Gradients from a bundle, as a device runs it: ``... peer_whylite FOLDER BUNDLE``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edge.explainer import Explainer

from .worker import Job, serve

METHOD = "integrated_gradients"


def main(folder: str, bundle: str) -> None:
    """Explain on request."""
    job, explainer = Job.read(folder), Explainer.load(Path(bundle))

    def explain() -> NDArray[Any]:
        return explainer.explain(job.x[0], METHOD, class_index=job.class_index, steps=job.steps).map.reshape(
            job.x.shape
        )

    manifest = explainer.manifest
    serve(explain, {"batch": manifest.head(METHOD).steps_per_call, "name": f"numerics {manifest.numerics}"})


if __name__ == "__main__":
    main(*sys.argv[1:])
