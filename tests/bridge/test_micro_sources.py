"""What a bundle says its C takes is held against the C, by every command that goes by it."""

import dataclasses

import numpy as np
import pytest

import whylite
from edge.bundle import npz_bytes, seal
from edge.errors import BundleError
from edge.micro import GOLDEN, SOURCES
from edge.micro_sources import micro_sources
from tests.bridge import firmware

HEADER = f"{SOURCES}whylite_tiny.h"


def changed(members=None, **figures):
    """Return the model ``tiny`` as a bundle with other figures in its manifest, or other members."""
    plain = firmware.bundle()
    golden = npz_bytes(**dict.fromkeys(("x", "scores", "contrast"), np.eye(4, dtype=np.int8)))
    micro = dataclasses.replace(plain.manifest.micro, **figures)
    manifest = dataclasses.replace(plain.manifest, micro=micro)
    return seal(manifest, {**plain.members, GOLDEN: golden, **(members or {})})


@pytest.mark.parametrize(
    "arguments",
    [
        ["emit", "-o", "c"],
        ["profile", "--board", "unicorn-cortex-m4"],
        ["profile", "--board", "nrf52840-dk", "--port", "none"],
        ["flash", "--board", "qemu-mps2-an386"],
        ["flash", "--board", "qemu-mps2-an386", "--elf", "none"],
        ["run", "--board", "unicorn-cortex-m4", "--source", "synthetic:sine"],
    ],
    ids=" ".join,
)
def test_a_bundle_that_says_another_arena_than_its_c_is_refused(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    changed(arena=0).save("tiny.why")
    assert whylite.main([arguments[0], "tiny.why", *arguments[1:]]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert "the manifest of bundle 'tiny' says 0 bytes of arena, its whylite_tiny.h says 64\n  hint: export" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.why"]


@pytest.mark.parametrize("what", ["arena", "constants", "explaining"])
def test_each_figure_of_memory_is_the_headers(what):
    there = getattr(changed().manifest.micro, what)
    bundle = changed(**{what: there + 1})
    with pytest.raises(BundleError, match=f"says {there + 1:,} bytes of {what}, its whylite_tiny.h says {there:,}\n"):
        micro_sources(bundle, bundle.manifest.micro)


@pytest.mark.parametrize(("what", "line"), [("arena", b"#define WHYLITE_TINY_ARENA"), ("constants", b" *   flash")])
def test_a_header_that_tells_no_figure_is_refused(what, line):
    header = firmware.tiny()["whylite_tiny.h"]
    assert line in header
    bundle = changed({HEADER: header.replace(line, b"//")})
    with pytest.raises(BundleError, match=rf"bytes of {what}, its whylite_tiny.h does not say\n"):
        micro_sources(bundle, bundle.manifest.micro)


def test_the_arena_is_the_one_without_cmsis_nn():
    plain = b"#define WHYLITE_TINY_ARENA_SIZE 64\n"
    either = b"#if WHYLITE_CMSIS_NN\n%b#else\n%b#endif\n" % (plain.replace(b"64", b"96"), plain)
    header = firmware.tiny()["whylite_tiny.h"].replace(plain, either)
    assert either in header
    bundle = changed({HEADER: header})
    assert micro_sources(bundle, bundle.manifest.micro)["whylite_tiny.h"] == header
