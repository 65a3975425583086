"""What a bundle says of its C: it reads back as it was, and nonsense is refused by field."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge.bundle import Bundle, npz_bytes, seal
from edge.errors import BundleError
from edge.micro import GOLDEN, MODEL, Micro, MicroExplanation, Operation, Stored


@pytest.fixture(scope="module")
def compiled(bundle):
    """The bundle with a C program, such as an export for microcontrollers adds."""
    classes = len(bundle.manifest.labels)
    units = tuple(np.linspace(0.5, 2, classes).tolist())
    explanations = tuple(
        MicroExplanation(head.method, head.layer, Stored((6, 6), 0.1, -128), 0.99, 0.9, 16, units=units)
        for head in bundle.manifest.heads[:2]
    )
    steps = {"steps": 2, "nodes": (1000, 20000), "weights": (16384, 16384)}
    micro = Micro(
        identifier="beats",
        input=Stored((12, 12, 3), 0.02, 3),
        scores=Stored((classes,), 1 / 256, -128),
        arena=4096,
        constants=9000,
        reference_arena=8192,
        reference="tflite_micro 1",
        explanations=(explanations[0], dataclasses.replace(explanations[1], **steps)),
        operations=(
            Operation("CONV_2D", "whylite_conv", "predict", 12345),
            Operation("ARG_MAX", "whylite_arg_max", explanations[0].method, 0),
        ),
    )
    members = dict(bundle.members) | {
        MODEL: b"model",
        GOLDEN: npz_bytes(x=np.zeros(3, np.int8)),
        "c/whylite_beats.c": b"",
        "c/whylite_beats.h": b"",
        "c/whylite.h": b"",
    }
    return seal(dataclasses.replace(bundle.manifest, micro=micro), members)


def test_it_reads_back_as_it_was(compiled):
    opened = Bundle.from_bytes(compiled.to_bytes())
    assert opened.manifest.micro == compiled.manifest.micro
    assert opened.members == compiled.members


def changed(**fields):
    return lambda micro: dataclasses.replace(micro, **fields)


def explaining(index, **fields):
    def change(micro):
        explanations = list(micro.explanations)
        explanations[index] = dataclasses.replace(explanations[index], **fields)
        return dataclasses.replace(micro, explanations=tuple(explanations))

    return change


NONSENSE = {
    "a name that leaves the folder": (changed(identifier="../beats"), "micro.identifier is '../beats'"),
    "a name of no file": (changed(identifier="other"), "micro lacks its member c/whylite_other.c"),
    "a negative arena": (changed(arena=-1), "micro.arena is -1"),
    "a shape of nothing": (changed(input=Stored((0,), 1.0, 0)), "micro.input.shape is [0]"),
    "a scale of nothing": (changed(scores=Stored((4,), 0.0, 0)), "micro.scores.scale is 0.0"),
    "a zero point of more than 8 bits": (changed(input=Stored((4,), 1.0, 200)), "micro.input.zero_point is 200"),
    "one method twice": (
        lambda micro: dataclasses.replace(micro, explanations=(micro.explanations[0],) * 2),
        "micro.explanations explain by the same method twice",
    ),
    "a method that the bundle has not": (explaining(0, method="tarot"), "micro.explanations[0].method is 'tarot'"),
    "units of too few classes": (explaining(0, units=(1.0,)), "micro.explanations[0].units are 1"),
    "a negative part of the constants": (changed(explaining=-1), "micro.explaining is -1"),
    "a negative residual": (explaining(0, residual_p90=-0.1), "micro.explanations[0].residual is (None, -0.1)"),
    "a unit without end": (explaining(0, units=(float("inf"),) * 4), "micro.explanations[0].units are not all above 0"),
    "a fidelity of nothing": (explaining(0, samples=0), "micro.explanations[0].fidelity is"),
    "steps without weights": (explaining(1, weights=()), "micro.explanations[1] is of 2 steps, 2 nodes and 0 weights"),
    "weights that do not sum to 1": (explaining(1, weights=(1, 2)), "the weights do not sum to it"),
    "a node beyond the end": (explaining(1, nodes=(0, 40000)), "micro.explanations[1].nodes or weights are beyond"),
    "work for nobody": (
        changed(operations=(Operation("ADD", "whylite_add", "lunch", 1),)),
        "micro.operations[0].part is 'lunch'",
    ),
    "negative work": (
        changed(operations=(Operation("ADD", "whylite_add", "predict", -1),)),
        "micro.operations[0].macs is -1",
    ),
}


@pytest.mark.parametrize(("change", "message"), NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused_by_field(compiled, change, message):
    manifest = dataclasses.replace(compiled.manifest, micro=change(compiled.manifest.micro))
    with pytest.raises(BundleError) as caught:
        Bundle.from_bytes(seal(manifest, compiled.members).to_bytes(), "x.why")
    assert message in caught.value.cause


@pytest.mark.parametrize("name", ["c/../../evil.c", "c//etc/passwd", "c/sub/whylite.h", "c/notes.txt", "c/a\n.c"])
def test_a_source_that_would_be_written_elsewhere_is_refused(compiled, name):
    with pytest.raises(BundleError, match="a source called"):
        Bundle.from_bytes(seal(compiled.manifest, {**compiled.members, name: b""}).to_bytes(), "x.why")
