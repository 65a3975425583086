"""``whylite emit``: C sources of a model, or of a bundle, to be compiled into a program of one's own."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.bundle import Bundle, ensure_writable, write_whole
from edge.codec import to_json
from edge.errors import BundleError, WhyLiteError
from edge.files import read_bytes
from edge.micro import Micro, Operation, macs_by_part
from edge.micro_sources import micro_sources

from .. import tables
from ..errors import ModelFileError
from ..tflite import MAX_BYTES
from . import standalone


@dataclass(frozen=True)
class Emitted:
    """C sources by file name and what they take: bytes of arena and of constants in flash, and every kernel call.

    ``scores`` says which of the model's tensors they are, and of which shape; ``micro`` what a bundle says of its C.
    """

    identifier: str
    files: Mapping[str, bytes]
    scores: str
    arena: int
    constants: int
    operations: tuple[Operation, ...]
    micro: Micro | None = None


def main(argv: Sequence[str]) -> int:
    """Run ``whylite emit``; ``argv[0]`` is the subcommand's name."""
    arguments = parser().parse_args(argv[1:])
    try:
        found = _emitted(Path(arguments.input), arguments.name)
        folder = Path(arguments.output)
        _write(found.files, folder)
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    shown = _document(found) if arguments.json else _summary(found, folder)
    print(shown.encode("utf-8", "backslashreplace").decode())
    return 0


def _emitted(path: Path, name: str | None) -> Emitted:
    try:
        data = read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise ModelFileError(
            f"cannot read {path}: {error.strerror}", "give the path of a .tflite file or of a .why bundle"
        ) from error
    if data.startswith(b"PK"):
        return _of_bundle(Bundle.from_bytes(data, path.name), path.name, name)
    described, sources = standalone.compiled(data, path.name, name or path.stem)
    return Emitted(
        sources.identifier,
        {file: text.encode() for file, text in sources.files.items()},
        repr(described.scores),
        sources.arena,
        sources.constants,
        sources.operations,
    )


def _of_bundle(bundle: Bundle, file_name: str, name: str | None) -> Emitted:
    micro = bundle.manifest.micro
    if micro is None:
        raise BundleError(f"{file_name} holds no C", "export the model with --target micro")
    if name is not None:
        raise BundleError(
            f"the C in {file_name} is called {micro.identifier!r} already",
            "leave out --name here, or give it to `whylite export`",
        )
    files = micro_sources(bundle, micro)
    scores = f"{list(micro.scores.shape)}"
    return Emitted(micro.identifier, files, scores, micro.arena, micro.constants, micro.operations, micro)


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write all files, each whole; none of them where one cannot be written, and no new one where it is interrupted."""
    with contextlib.ExitStack() as undo:
        try:
            if not folder.exists():
                folder.mkdir()
                undo.callback(folder.rmdir)
        except (OSError, ValueError) as error:
            raise BundleError(
                f"cannot write to {folder}: {error}", "choose a folder beside others that exist"
            ) from error
        for file in files:
            ensure_writable(folder / file)
        for file, content in files.items():
            if not (folder / file).exists():
                undo.callback((folder / file).unlink, missing_ok=True)
            write_whole(folder / file, content)
        undo.pop_all()


def _document(found: Emitted) -> str:
    fields = {
        "identifier": found.identifier,
        "files": sorted(found.files),
        "scores": found.scores,
        "arena": found.arena,
        "constants": found.constants,
        "macs": macs_by_part(found.operations),
        "operations": [to_json(operation) for operation in found.operations],
    }
    return json.dumps(fields, indent=1)


def _summary(found: Emitted, folder: Path) -> str:
    lines = [
        f"{folder}: {len(found.files)} files; include whylite_{found.identifier}.h",
        f"  scores     {found.scores}",
        f"  RAM        {found.arena:,} bytes of arena",
        f"  flash      {found.constants:,} bytes of constants, beside code",
    ]
    if found.micro is None:
        lines.append(f"  predict    {macs_by_part(found.operations)['predict']:,} multiply-accumulates")
    else:
        lines += ["", *tables.micro(found.micro)]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``whylite emit``."""
    result = argparse.ArgumentParser(
        prog="whylite emit",
        description="Write an int8 model as C11 sources for microcontrollers, with the kernels it needs: no heap, no "
        "libc, one arena that the caller owns. Of a bundle exported with --target micro, the C in it is written, which "
        "explains too; of a .tflite file, C that predicts. docs/c-code.md says how to use it.",
        epilog="exit codes: 0 success, 2 wrong usage or bad input. Nothing is written unless everything can be.",
    )
    result.add_argument("input", metavar="MODEL.tflite|BUNDLE", help="an int8 model, or what `whylite export` wrote")
    result.add_argument("-o", "--output", metavar="DIR", required=True, help="folder for the sources; made if need be")
    result.add_argument(
        "--name",
        metavar="NAME",
        help="of MODEL.tflite: what C calls it, whylite_NAME.h (default: its file's name); a bundle has its name from "
        "`whylite export --name`",
    )
    result.add_argument("--json", action="store_true", help="print one JSON document, with every kernel call")
    return result
