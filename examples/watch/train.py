"""Train the network again: ``python -m examples.watch.train``.

Same seeds, same figures: on one kind of machine two runs give the same weights, bit for bit. Every choice (network,
augmentation, number of epochs) was made by ``--cross-validate``, which leaves out one training subject at a time; the
test subjects were looked at once, at the end. ``--leave-one-out`` trains ten networks, each tested on the subject it
has not seen, and says how much people differ.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from examples.watch import model as network
from examples.watch.augment import Augmentation, Augmenter
from examples.watch.data import (
    LABELS,
    RATE_HZ,
    TEST_SUBJECTS,
    TRAIN_SUBJECTS,
    Recording,
    Windows,
    cut,
    load,
    of_subjects,
)

SEED = 0
EPOCHS = 30
STEPS = 30  # per epoch
BATCH = 64
THREADS = 2  # a sum's order, and so its last bit, depends on how many threads share it


def fit(recordings: Sequence[Recording], seed: int = SEED, how: Augmentation | None = None) -> keras.Model:
    """Train a network on ``recordings`` for a fixed number of steps: nothing is chosen while it trains."""
    keras.utils.set_random_seed(seed)
    model = network.build()
    rate = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * STEPS, alpha=0.01)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-3),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        jit_compile=False,
    )
    model.fit(_Draws(Augmenter(recordings, seed, how)), epochs=EPOCHS, shuffle=False, verbose=0)
    trained = network.build()  # without the optimiser's state, which would treble the file
    trained.set_weights(model.get_weights())
    return trained


def accuracy(scores: NDArray[np.float32], windows: Windows) -> dict[int, float]:
    """Return subject: share of its windows whose highest score, of ``scores`` ``[N, classes]``, is the truth."""
    hit = scores.argmax(axis=1) == windows.y
    return {int(subject): float(hit[windows.subject == subject].mean()) for subject in np.unique(windows.subject)}


def confusion(scores: NDArray[np.float32], windows: Windows) -> NDArray[np.int64]:
    """Return how often each exercise (row) was answered with each (column)."""
    counts = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(counts, (windows.y, scores.argmax(axis=1)), 1)
    return counts


def left_out(recordings: Sequence[Recording], subjects: Sequence[int]) -> dict[int, float]:
    """For each of ``subjects`` train on the others and return the accuracy on it, windows 1 s apart."""
    result: dict[int, float] = {}
    for subject in subjects:
        model = fit(of_subjects(recordings, [other for other in subjects if other != subject]))
        windows = cut(of_subjects(recordings, [subject]), hop=RATE_HZ)
        result |= accuracy(model(windows.x, training=False).numpy(), windows)
        print(f"  subject {subject} left out: {result[subject]:.1%} of {len(windows)} windows", flush=True)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Train, say how good it is on people never seen, write ``model.keras``."""
    parser = argparse.ArgumentParser(prog="python -m examples.watch.train", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=network.MODEL_PATH, help="default: %(default)s")
    folds = parser.add_mutually_exclusive_group()
    folds.add_argument("--cross-validate", action="store_true", help="leave out each training subject in turn")
    folds.add_argument("--leave-one-out", action="store_true", help="leave out each of the ten subjects in turn")
    arguments = parser.parse_args(argv)
    make_reproducible()
    recordings = load()

    if arguments.cross_validate or arguments.leave_one_out:
        subjects = TRAIN_SUBJECTS if arguments.cross_validate else TRAIN_SUBJECTS + TEST_SUBJECTS
        shares = list(left_out(recordings, subjects).values())
        print(f"mean {np.mean(shares):.1%}, standard deviation {np.std(shares):.1%}, lowest {min(shares):.1%}")
        return 0

    began = time.perf_counter()
    model = fit(of_subjects(recordings, TRAIN_SUBJECTS))
    print(f"{model.count_params()} parameters, trained in {time.perf_counter() - began:.0f} s")
    windows = cut(of_subjects(recordings, TEST_SUBJECTS))
    scores = model(windows.x, training=False).numpy()
    print(f"unseen subjects: {np.mean(scores.argmax(axis=1) == windows.y):.1%} of {len(windows)} windows")
    for subject, share in accuracy(scores, windows).items():
        print(f"  subject {subject}: {share:.1%}")
    model.save(arguments.output)
    print(f"wrote {arguments.output}, weights SHA-256 {network.weights_digest(model)}")
    return 0


def make_reproducible() -> None:
    """Ask TensorFlow for the same sums in the same order; call before its first operation."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()


class _Draws(keras.utils.PyDataset):
    """An epoch of freshly augmented batches, drawn in order by one worker."""

    def __init__(self, augmenter: Augmenter) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._augmenter = augmenter

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, _index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        x, y = self._augmenter.draw(BATCH)
        return x, np.eye(len(LABELS), dtype=np.float32)[y]


if __name__ == "__main__":
    sys.exit(main())
