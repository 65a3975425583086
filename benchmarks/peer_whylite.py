"""Integrated Gradients from a bundle, as a device runs it: ``... peer_whylite FOLDER BUNDLE``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.explainer import Explainer
from edge.manifest import Schedule

from .worker import Job, serve

METHOD = "integrated_gradients"


def main(folder: str, path: str) -> None:
    """Explain on request, by the rule and the number of steps of the job instead of the bundle's own schedules."""
    job, bundle = Job.read(folder), Bundle.open(Path(path))
    manifest = bundle.manifest
    nodes = (np.arange(job.steps) + 0.5) / job.steps
    schedule = Schedule(job.steps, tuple(nodes.tolist()), (1 / job.steps,) * job.steps)
    heads = tuple(replace(head, schedules=(schedule,)) for head in manifest.heads if head.method == METHOD)
    explainer = Explainer(Bundle(replace(manifest, heads=heads), bundle.members))

    def explain() -> NDArray[Any]:
        return explainer.explain(job.x[0], METHOD, class_index=job.class_index, steps=job.steps).map

    serve(explain, {"batch": heads[0].steps_per_call, "name": f"numerics {manifest.numerics}"})


if __name__ == "__main__":
    main(*sys.argv[1:])
