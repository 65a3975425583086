"""Bundles that an attacker has made or sealed anew: what the device opens must be sound or be refused."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import random
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

import export
from edge.bundle import BASELINE, GOLDEN, MANIFEST, MODEL, Bundle, npz_bytes
from edge.errors import EdgeError
from edge.explainer import Explainer
from tests.references.mutate import mutant

from . import seeds
from .isolation import Broken, Verdict, isolated

_ALL = ["gradcam", "integrated_gradients", "saliency"]
_VALUES = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 255, 2**31, 2**63, 10**30, -(10**30), 0.0, -1.5, 1e-45, 1e39, 1e308),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "nul\0", "\ud800", "serving_default", "gradcam", "float32"),
    *(
        "int8",
        "uint8",
        "int64",
        "complex64",
        "object",
        "V8",
        "<U3",
        "no type",
        [],
        [1],
        [0],
        [-1],
        [2**40] * 3,
        [1] * 70,
        {},
        {"a": 1},
    ),
)


@functools.cache
def bundles() -> tuple[bytes, ...]:
    """Return honest bundles, made in processes of their own: an interpreter here would be inherited by every run."""
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in ("small float", "int8", "labelled", "words", "streaming"):
            path = Path(folder) / "bundle.why"

            def make(_: Path, seed: str = seed, path: Path = path) -> Verdict:
                baseline = "zero" if seed == "int8" else "mean"
                methods = _ALL[1:] if seed == "words" else _ALL
                export.explain(seeds.models()[seed], methods=methods, name=seed, baseline=baseline).save(path)
                return "made", ""

            outcome = isolated(make, 120, 8 << 30)
            assert not outcome.finding, outcome
            made.append(path.read_bytes())
    return tuple(made)


def reseal(data: bytes) -> bytes:
    """Give a tampered file the seal of an honest one, as an attacker would."""
    return data[:-64] + hashlib.sha256(data[:-64]).hexdigest().encode()


def members_of(data: bytes) -> dict[str, bytes]:
    """Return what is in a bundle, unread."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sealed(members: dict[str, bytes], manifest: Any) -> bytes:
    """Return a bundle of these, every digest right, whatever the manifest is."""
    if isinstance(manifest, dict) and isinstance(manifest.get("members"), dict):
        manifest["members"] |= {
            name: hashlib.sha256(members[name]).hexdigest() for name in manifest["members"] if name in members
        }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(MANIFEST, json.dumps(manifest))
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = b"whylite sha256 " + b"0" * 64
    return reseal(file.getvalue())


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(place for key in keys for place in _places(value[key], (*path, key)))]


def lie(manifest: Any, rng: random.Random) -> str:
    """Change one place of a manifest and say which."""
    places = _places(manifest)[1:]
    # As often one of the few that rule what is computed as one of the many numbers of schedules and checks.
    short = [place for place in places if place[0] not in ("checks", "candidates") and "schedules" not in place]
    path = rng.choice(short if rng.random() < 0.8 else places)
    holder = manifest
    for key in path[:-1]:
        holder = holder[key]
    old = holder[path[-1]]
    kind = rng.randrange(10)
    if kind == 0:
        del holder[path[-1]]
    elif kind == 1 and isinstance(old, list) and old:
        holder[path[-1]] = rng.choice((old[:-1], [*old, old[0]], old[::-1], old * 3))
    elif kind == 2 and isinstance(old, (int, float)):
        holder[path[-1]] = rng.choice((old + 1, old - 1, old * 2, -old, old * 1e6))
    elif kind == 3:
        other = manifest
        for key in rng.choice(short):
            other = other[key]
        holder[path[-1]] = json.loads(json.dumps(other))
    else:
        holder[path[-1]] = rng.choice(_VALUES)
    return ".".join(map(str, path))


def _arrays(rng: random.Random) -> bytes:
    """Return an .npz whose arrays are not those that are looked for, or not of their kind."""
    shape = rng.choice(((), (0,), (4,), (1, 12, 12, 3), (12, 12, 3), (4, 12, 12, 3), (6, 6, 3), (2, 6, 6, 3)))
    kind = rng.choice(("f4", "f8", "i1", "U3", "?", "c8", "f2"))
    value = np.zeros(shape, kind)
    if kind[0] == "f" and value.size:
        value.flat[0] = rng.choice((0, np.nan, np.inf))
    arrays = {name: value for name in ("x", "scores", "stored", "baseline") if rng.random() < 0.8}
    data = npz_bytes(**arrays)
    return data if rng.random() < 0.7 else mutant([data], rng)[1]


def bundle_file(rng: random.Random) -> tuple[str, bytes]:
    """Return a bundle that is damaged, or that lies under a right seal, and how it was made."""
    honest = rng.choice(bundles())
    kind = rng.random()
    if kind < 0.1:
        return mutant([honest], rng)
    if kind < 0.25:
        recipe, data = mutant([honest], rng)
        return f"{recipe}, sealed anew", reseal(data) if len(data) > 64 else data
    members = members_of(honest)
    manifest = json.loads(members.pop(MANIFEST))
    if kind < 0.8:
        done = [lie(manifest, rng) for _ in range(rng.choice((1, 1, 2)))]
        return f"manifest: {', '.join(done)}", sealed(members, manifest)
    name = rng.choice((GOLDEN, GOLDEN, BASELINE, MODEL))
    if name == MODEL:  # of another bundle: what is in the manifest is not in the model
        members[MODEL] = members_of(rng.choice(bundles()))[MODEL]
        return "another bundle's model", sealed(members, manifest)
    what = rng.choice(("arrays", "other", "gone"))
    if what == "gone":
        members.pop(name, None)
        manifest["members"].pop(name, None)
    else:
        members[name] = _arrays(rng) if what == "arrays" else rng.choice(list(members.values()))
        manifest["members"][name] = ""
    return f"{name}: {what}", sealed(members, manifest)


def hold_device(data: bytes, folder: Path) -> Verdict:
    """Open, load and run a bundle as a device does; every refusal must be one of the device's errors."""
    path = folder / "victim.why"
    path.write_bytes(data)
    stage = "opened"
    try:
        bundle = Bundle.open(path)
        stage = "loaded"
        explainer = Explainer(bundle)
        stage = "ran"
        explainer.check_golden()
        shape = bundle.manifest.input_shape
        x = np.random.default_rng(0).normal(size=shape if np.prod(shape, dtype=object) < 1e6 else (1,))
        if bundle.manifest.input.dtype == "int32":
            x = np.zeros_like(x)  # ids
        prediction = explainer.predict(x)
        if prediction.scores.shape != (len(bundle.manifest.labels),):
            raise Broken(f"{prediction.scores.shape} scores for {len(bundle.manifest.labels)} labels")
        for head in bundle.manifest.heads:
            for explanation in (explainer.explain(x, head.method), explainer.explain(x, head.method, class_index=0)):
                if explanation.map.shape != head.map_shape:
                    raise Broken(f"a map of {explanation.map.shape}, and the manifest says {head.map_shape}")
    except EdgeError as error:
        if not error.cause.strip() or not error.hint.strip():
            raise Broken(f"{type(error).__name__} without cause or hint: {error}") from error
        if stage == "opened" and "victim.why" not in error.cause:
            raise Broken(f"{type(error).__name__} does not name the file: {error}") from error
        return f"{type(error).__name__}, not {stage}", error.cause
    return "ran", ""
