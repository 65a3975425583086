"""An int8 graph as C: one source and one header of its own, and the kernels it calls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata, resources

import numpy as np
from numpy.typing import NDArray

from edge.explanation import Flag
from edge.micro import Operation
from edge.view.words import FLAGS

from ..errors import UnsupportedModelError
from ..tflite.graph import Graph, Tensor
from . import arena, source
from .program import ALIGNMENT, CMSIS_NN, PREDICT, Buffer, Program
from .schedule import schedule

_LARGEST = (1 << 16) - 1
"""Size of a dimension that C is told of."""
_ALWAYS = ("whylite.h", "whylite_arithmetic.h")
_FIRMWARE = """
answer attribution begin best bss_end bss_start can_use classes close code copy_bytes data_end data_source data_start
desk device device_log device_start device_step device_time fields health incoming integral integrate_finish
integrate_start integrate_step item job latency link major map message next open paint_end port profile profiled put
put_float put_head ram_used read reader real receive receiver records reset result score scores seed send_ack
send_chunk send_error send_fields send_health send_latency send_log send_map send_pong send_result send_session
send_settings sender settings skip small_margin stack_limit stack_peak stack_size stack_top take tell_input tell_result
tell_settings tick ticks when
"""
"""What the firmware around a model (firmware_bridge/firmware) calls its own, behind ``whylite_``."""


@dataclass(frozen=True)
class Steps:
    """Where Integrated Gradients takes its steps: ``nodes`` and ``weights`` in 1/32768, the latter of which sum to it.

    ``baseline`` is stored as the input is, and ``baseline_logits`` are the classes' real logits there.
    """

    nodes: tuple[int, ...]
    weights: tuple[int, ...]
    baseline: NDArray[np.int8]
    baseline_logits: tuple[float, ...]


@dataclass(frozen=True)
class Explained:
    """One explanation in a graph: the tensor ``map``, about tensor ``layer``.

    ``shape`` is what a host is told of the map, which the graph may hold flattened. The map's real values times the
    class's entry of ``units`` are what the method gives, in its own unit; without units they are that as they stand.
    Where there are ``steps``, the map is the gradient of which so many are summed. ``flags``, as on the link, go with
    every map.
    """

    method: str
    layer: str
    map: Tensor
    shape: tuple[int, ...]
    units: tuple[float, ...] = ()
    steps: Steps | None = None
    flags: int = 0


@dataclass(frozen=True)
class Described:
    """What to compile: a graph, what of it is what, and what to call it.

    ``class_index`` is the int32 tensor ``[1]`` with the class that explanations are of: the predicted one, unless the
    caller of an explanation says otherwise. ``digest`` is the SHA-256 of the model's file. ``yes_no``: see
    :class:`export.heads.Head`.
    """

    name: str
    graph: Graph
    scores: Tensor
    logits: Tensor
    digest: bytes = bytes(32)
    labels: Sequence[str] = ()
    class_index: Tensor | None = None
    explanations: Sequence[Explained] = ()
    yes_no: bool = False


@dataclass(frozen=True)
class Sources:
    """C sources by file name, kernels included, and what they take: bytes of arena, and of constants in flash.

    ``explaining`` of the constants only explanations read.
    """

    identifier: str
    files: dict[str, str]
    arena: int
    constants: int
    operations: tuple[Operation, ...] = field(repr=False)
    explaining: int = 0


def emit(described: Described) -> Sources:
    """Return a graph as C11 sources.

    Raises :class:`UnsupportedModelError`, naming the op or tensor, for what has no kernel.
    """
    graph = described.graph
    kept = list(dict.fromkeys([*graph_outputs(described), described.scores, described.logits]))
    maps = {explained.method: explained.map for explained in described.explanations}
    for tensor in (*kept, *maps.values()):
        if tensor.is_constant:
            raise UnsupportedModelError(
                f"output {tensor!r} cannot be compiled to C: it is a constant", "leave it out of the model"
            )
    for tensor in (*graph.inputs, *kept, *maps.values()):
        if not all(size > 0 for size in tensor.shape):
            raise UnsupportedModelError(
                f"tensor {tensor!r} cannot be compiled to C: a size is 0 or open", "convert the model with fixed shapes"
            )
        if max(tensor.shape, default=1) > _LARGEST:
            raise UnsupportedModelError(
                f"tensor {tensor!r} cannot be compiled to C: a size is larger than {_LARGEST:,}",
                "give the model shorter windows, or an input with that axis as two, as 80,000 samples are 400 times "
                "200: a RESHAPE in the model makes one of them again, and costs nothing",
            )
        if tensor.dtype.name not in source.ENUMERATOR:
            raise UnsupportedModelError(
                f"tensor {tensor!r} cannot be compiled to C: its type is not one that microcontrollers are given",
                "convert the model with full integer quantisation",
            )
    program = schedule(graph, kept, maps, described.class_index)
    size = arena.plan(program.buffers)
    identifier = name_in_c(described.name)
    own = _Writer(described, program, identifier, size)
    files = {f"whylite_{identifier}.h": own.header(), f"whylite_{identifier}.c": own.source()}
    operations = tuple(
        Operation(call.code, call.kernel, part.name, call.macs) for part in program.parts for call in part.calls
    )
    constants = sum(constant.size for constant in program.constants)
    return Sources(identifier, files | kernels(program.families), size, constants, operations, program.explaining)


def name_in_c(name: str) -> str:
    """Return what C calls a model, behind ``whylite_``: another name than any of the project's own."""
    own = source.c_name(name)
    taken = re.findall(r"\bwhylite_(\w+)", "".join(_kernel_files().values()))
    return f"{own}_model" if own in taken or own in _FIRMWARE.split() else own


def graph_outputs(described: Described) -> list[Tensor]:
    """Return the graph's outputs that are no explanation's."""
    explained = {explanation.map for explanation in described.explanations}
    return [tensor for tensor in described.graph.outputs if tensor not in explained]


def kernels(families: Sequence[str]) -> dict[str, str]:
    """Return the sources of kernels by file name: those of the families asked for, and what these need.

    What a C file includes it may call, so that this is needed with its own C files; of what a header includes, the
    header is enough.
    """
    texts = _kernel_files()
    wanted = [name for name in texts if any(_belongs(name, f"whylite_{family}") for family in families)]
    wanted += [*_ALWAYS, *(f"whylite_{family}.h" for family in families)]
    found: dict[str, str] = {}
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        found[name] = texts[name]
        included = [other for other in texts if f'#include "{other}"' in texts[name]]
        wanted += included
        if name.endswith(".c"):
            stems = [other.removesuffix(".h") for other in included]
            wanted += [other for other in texts if any(_belongs(other, stem) for stem in stems)]
    return dict(sorted(found.items()))


@cache
def _kernel_files() -> dict[str, str]:
    folder = resources.files(__package__) / "kernels"
    return {entry.name: entry.read_text() for entry in folder.iterdir() if entry.name.endswith((".c", ".h"))}


def _belongs(source_name: str, stem: str) -> bool:
    """Whether a source defines what ``stem.h`` declares: it, or its variants for instruction sets (``stem_mve.c``)."""
    own = source_name == f"{stem}.c" or source_name.startswith(f"{stem}_")
    return own and stem != "whylite" and source_name.endswith(".c")


def _what(explained: Explained) -> str:
    if explained.steps is None:
        return f"{source.comment(explained.method)} of {source.comment(explained.layer)}"
    return (
        f"the gradient for {source.comment(explained.method)} of {source.comment(explained.layer)}\n"
        f" *         {len(explained.steps.nodes)} steps of it are summed by whylite_integrate.h of the firmware"
    )


def _reservation(explained: Explained) -> str:
    unfaithful = Flag.UNFAITHFUL in Flag(explained.flags)
    return f"\n *         {FLAGS[Flag.UNFAITHFUL]}" if unfaithful else ""


class _Writer:
    """Writes the two files of a model."""

    def __init__(self, described: Described, program: Program, identifier: str, size: int) -> None:
        self.described, self.program, self.identifier, self.size = described, program, identifier, size
        self.symbol = f"whylite_{identifier}"
        self.classes = int(np.prod(described.scores.shape))

    def header(self) -> str:
        """Return ``whylite_<identifier>.h``."""
        described, prefix = self.described, self.symbol.upper()
        made_by = f"{source.comment(described.name)}: compiled by WhyLite {metadata.version('whylite')}"
        ends = [
            *((f"INPUT_{i}", tensor, self._end(tensor)) for i, tensor in enumerate(described.graph.inputs)),
            *((f"OUTPUT_{i}", tensor, self._end(tensor)) for i, tensor in enumerate(graph_outputs(described))),
            *((f"MAP_{i}", own.map, self._map(i)) for i, own in enumerate(described.explanations)),
        ]
        offsets = "\n".join(f"#define {prefix}_{name}_OFFSET {buffer.offset}" for name, _, buffer in ends)
        return f"""/* {made_by}. Do not edit.
 *
{self._about(ends)}
 */
#ifndef {prefix}_H
#define {prefix}_H

#include "whylite.h"

#ifdef __cplusplus
extern "C" {{
#endif

{self._arena_size()}
#define {prefix}_INPUT_SIZE {self._end(described.graph.inputs[0]).size}
#define {prefix}_SCORES_SIZE {self._end(described.scores).size}
#define {prefix}_STEPS {max((len(e.steps.nodes) for e in described.explanations if e.steps), default=0)}

{offsets}

extern const whylite_model {self.symbol};

#ifdef __cplusplus
}}
#endif

#endif
"""

    def _arena_size(self) -> str:
        name = f"{self.symbol.upper()}_ARENA_SIZE"
        more = self.program.cmsis_nn
        larger = {CMSIS_NN: f"#define {name} {self.size + more}"} if more else {}
        return source.variants(f"#define {name} {self.size}", larger)

    def _about(self, ends: Sequence[tuple[str, Tensor, Buffer]]) -> str:
        rows = [("tensor", "type", "shape", "scale", "zero point", "arena")]
        for name, tensor, buffer in ends:
            grid = tensor.quantization if tensor.is_quantized else None
            scale, zero = (f"{grid.scale[0]:.8g}", f"{(grid.zero_point or (0,))[0]}") if grid else ("", "")
            shape = "x".join(map(str, source.sample_shape(tensor))) or "1"
            rows.append((name, tensor.dtype.name, shape, scale, zero, f"+{buffer.offset}"))
        methods = [f" *   MAP_{i} is {_what(e)}{_reservation(e)}" for i, e in enumerate(self.described.explanations)]
        if self.described.yes_no:
            methods.insert(0, " *   The one score is that of class 1; class 0 has what is left of 1")
        constants = sum(constant.size for constant in self.program.constants)
        steps = any(explained.steps is not None for explained in self.described.explanations)
        lines = [
            " * Takes, beside code:",
            f" *   RAM    {self.size} bytes of arena, aligned to {ALIGNMENT}",
            *([" *          and WHYLITE_SUMS_SIZE, 4 bytes of each input value, for integrated_gradients"] * steps),
            f" *   flash  {constants} bytes of constants, {self.program.explaining} of them to explain",
            f" * Multiply-accumulates: {self._costs()}",
            " *",
            " * Real values are scale * (stored - zero point):",
            source.table(rows),
            *methods,
        ]
        return "\n".join(lines)

    def _costs(self) -> str:
        first, *others = ((part.name, sum(call.macs for call in part.calls)) for part in self.program.parts)
        steps = {own.method: len(own.steps.nodes) for own in self.described.explanations if own.steps is not None}
        rows = [f"{first[1]} {first[0]}"]
        for name, count in others:
            rows.append(f"{steps[name]} x ({first[1]} + {count}) {name}" if name in steps else f"{count} {name}")
        return ", ".join(rows)

    def source(self) -> str:
        """Return ``whylite_<identifier>.c``."""
        names = source.Names()
        functions, first = [], 0
        for part in self.program.parts:
            functions.append(source.function(part, names, first, self.classes))
            first += len(part.calls)
        includes = "\n".join(f'#include "whylite_{family}.h"' for family in self.program.families)
        parts = [
            f'#include "{self.symbol}.h"\n\n#include <stddef.h>\n\n#include "whylite_arithmetic.h"\n{includes}',
            source.scratch(self.size) if self.program.cmsis_nn else "",
            *map(source.constant, self.program.constants),
            names.text(),
            *functions,
            *self._tables(),
            self._model(first),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _tables(self) -> list[str]:
        """Return the arrays that the model's descriptor points to."""
        described = self.described
        parts = [f"static const uint8_t digest[32] = {{{', '.join(str(byte) for byte in described.digest)}}};"]
        for place, explained in enumerate(described.explanations):
            if (steps := explained.steps) is not None:
                for label, values in (("node", steps.nodes), ("weight", steps.weights)):
                    listed = ", ".join(map(str, values))
                    parts.append(f"static const uint16_t {label}_{place}[{len(values)}] = {{{listed}}};")
                listed = ", ".join(map(str, steps.baseline.ravel().tolist()))
                parts.append(f"static const int8_t baseline_{place}[{steps.baseline.size}] = {{{listed}}};")
                listed = ", ".join(map(source.number, steps.baseline_logits))
                parts.append(
                    f"static const float baseline_logits_{place}[{len(steps.baseline_logits)}] = {{{listed}}};"
                )
            if explained.units:
                listed = ", ".join(map(source.number, explained.units))
                parts.append(f"static const float units_{place}[{len(explained.units)}] = {{{listed}}};")
        if described.explanations:
            rows = ",\n".join(self._explanation(place) for place in range(len(described.explanations)))
            parts.append(f"static const whylite_explanation explanations[] = {{\n{rows},\n}};")
        if described.labels:
            listed = ",\n".join(f"  {source.text(label)}" for label in described.labels)
            parts.append(f"static const char *const labels[] = {{\n{listed},\n}};")
        return parts

    def _explanation(self, place: int) -> str:
        explained = self.described.explanations[place]
        steps = explained.steps
        fields = {
            "method": source.text(explained.method),
            "layer": source.text(explained.layer),
            "map": source.tensor(explained.map, self._map(place), explained.shape),
            "run": source.c_name(explained.method),
            "flags": f"{explained.flags:d}",
            "steps": "0" if steps is None else str(len(steps.nodes)),
            "node": "NULL" if steps is None else f"node_{place}",
            "weight": "NULL" if steps is None else f"weight_{place}",
            "baseline": "NULL" if steps is None else f"baseline_{place}",
            "baseline_logits": "NULL" if steps is None else f"baseline_logits_{place}",
            "units": f"units_{place}" if explained.units else "NULL",
        }
        return "  {\n" + "".join(f"    .{name} = {value},\n" for name, value in fields.items()) + "  }"

    def _model(self, operations: int) -> str:
        described = self.described
        fields = {
            "name": source.text(described.name),
            "digest": "digest",
            "arena_size": f"{self.symbol.upper()}_ARENA_SIZE",
            "input": source.tensor(described.graph.inputs[0], self._end(described.graph.inputs[0])),
            "scores": source.tensor(described.scores, self._end(described.scores)),
            "logits": source.tensor(described.logits, self._end(described.logits)),
            "predict": PREDICT,
            "explanations": "explanations" if described.explanations else "NULL",
            "labels": "labels" if described.labels else "NULL",
            "label_count": str(len(described.labels)),
            "operations": str(operations),
            "explanation_count": str(len(described.explanations)),
            "yes_no": f"{described.yes_no:d}",
        }
        body = "".join(f"  .{name} = {value},\n" for name, value in fields.items())
        return f"const whylite_model {self.symbol} = {{\n{body}}};"

    def _end(self, tensor: Tensor) -> Buffer:
        return self.program.ends[tensor]

    def _map(self, place: int) -> Buffer:
        """Return where an explanation's map is: several may be of one tensor, which each has elsewhere."""
        found = self.program.parts[1 + place].map
        assert found is not None
        return found
