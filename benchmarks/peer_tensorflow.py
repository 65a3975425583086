"""Integrated Gradients by TensorFlow's GradientTape on a rebuild of the model: ``... peer_tensorflow FOLDER``."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from export import heads, tflite
from export.tflite.fold import fold
from tests.references import tensorflow_twin

from .worker import Explain, Job, best_batch, serve


def main(folder: str) -> None:
    """Explain on request, a batch of steps at a time, with the model compiled for it (``tf.function``)."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    job = Job.read(folder)
    graph = fold(tflite.read((job.folder / "model.tflite").read_bytes()).graphs[0])
    logits = heads.find(graph).logits
    needed = graph.copy("logits")
    needed.ops = needed.ops[: 1 + next(place for place, op in enumerate(needed.ops) if logits in op.outputs)]

    def explain_at(batch: int) -> Explain:
        @tf.function(input_signature=[tf.TensorSpec((batch, *job.x.shape[1:]), tf.float32)])
        def gradient(points: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(points)
                scores = tensorflow_twin.forward(needed, points)[logits]
                score = tf.reduce_sum(scores[..., job.class_index])
            return tf.reduce_sum(tape.gradient(score, points), 0, keepdims=True)

        def explain() -> NDArray[Any]:
            parts = np.split(job.points(), job.steps // batch)
            return np.asarray(job.x * sum(gradient(tf.constant(part)).numpy() for part in parts) / job.steps)

        return explain

    batch, explain = best_batch(explain_at, job.steps)
    serve(explain, {"batch": batch, "name": f"TensorFlow {tf.__version__}"})


if __name__ == "__main__":
    main(*sys.argv[1:])
