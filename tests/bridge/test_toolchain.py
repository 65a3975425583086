import shutil
import sys
from dataclasses import replace

import pytest

from edge.errors import BundleError
from edge.micro import INTERFACE
from firmware_bridge import toolchain
from firmware_bridge.boards import Memory, named
from firmware_bridge.build import BuildOptions, build, build_sources, fits, micro_of, needs
from firmware_bridge.cores import CORES
from firmware_bridge.errors import BoardError, BuildError, FitError
from firmware_bridge.flash.way import Image
from firmware_bridge.footprint import KERNELS, LIBRARY, LINK, MODEL, RUNTIME
from firmware_bridge.toolchain import GCC, ZIG, Toolchain, complaint, find
from tests.bridge.firmware import bundle, tiny

# Calls what no core has an instruction for, or only some have; and copies a struct, for which compilers call memcpy.
HELPERS = b"""#include "whylite_tiny.h"
struct block { uint8_t bytes[200]; };
struct block from, to;
volatile uint64_t wide = 10;
volatile int32_t number = 7;
volatile float real = 1.5f;
volatile double twice = 2.5;
void everything(void);
void everything(void) {
  to = from;
  wide = wide / 3u + wide % 7u;
  number = number / 3 + (int32_t)real + number % 5;
  real = real / (float)number;
  twice = twice * 1.5 + (double)real;
}
"""


def with_helpers():
    sources = tiny()
    sources["whylite_helpers.c"] = HELPERS
    call = b"static void predict(int8_t *arena) {\n"
    sources["whylite_tiny.c"] = sources["whylite_tiny.c"].replace(
        call, b"void everything(void);\n" + call + b"  everything();\n"
    )
    return sources


@pytest.mark.parametrize(("kind", "name"), [(GCC, "qemu-microbit"), (ZIG, "qemu-microbit")])
def test_what_compilers_call_is_there_without_a_libc(tmp_path, kind, name):
    firmware = build_sources(with_helpers(), "tiny", named(name), tmp_path / "firmware", BuildOptions(kind))
    assert firmware.toolchain.startswith({GCC: "arm-none-eabi-gcc ", ZIG: "zig "}[kind])
    assert firmware.footprint.group(LIBRARY).code > 500


def test_gcc_comes_before_zig_unless_one_is_asked_for():
    assert find().kind == GCC
    assert find(ZIG).kind == ZIG
    assert find(GCC).version.split()[0] == "arm-none-eabi-gcc"


def test_where_there_is_no_gcc_zig_is_taken(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert find().kind == ZIG
    with pytest.raises(BuildError, match="no arm-none-eabi-gcc") as raised:
        find(GCC)
    assert "pip install" in raised.value.hint
    assert "apt-get install" in raised.value.hint


def test_where_there_is_neither_both_ways_to_get_one_are_said(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "ziglang", None)
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BuildError, match="neither") as raised:
        find()
    assert "pip install" in raised.value.hint
    assert "apt-get install" in raised.value.hint


def test_another_toolchain_is_refused():
    with pytest.raises(BuildError, match="'iar'"):
        find("iar")


@pytest.mark.parametrize("kind", [GCC, ZIG])
def test_errors_show_what_the_compiler_says_and_how_to_repeat_it(tmp_path, kind):
    sources = tiny() | {"whylite_bad.c": b"int number = nowhere;\n"}
    with pytest.raises(BuildError) as raised:
        build_sources(sources, "tiny", named("qemu-mps2-an385"), tmp_path / "firmware", BuildOptions(kind))
    assert "whylite_bad.c:1:14: error:" in raised.value.cause
    assert "nowhere" in raised.value.cause
    assert "-c whylite_bad.c" in raised.value.hint


@pytest.mark.parametrize("kind", [GCC, ZIG])
def test_what_is_declared_and_not_there_is_named(tmp_path, kind):
    sources = tiny()
    sources["whylite_tiny.c"] = sources["whylite_tiny.c"].replace(
        b"static void predict(int8_t *arena) {",
        b"void absent(void);\nstatic void predict(int8_t *arena) {\n  absent();",
    )
    with pytest.raises(BuildError, match="absent"):
        build_sources(sources, "tiny", named("qemu-mps2-an385"), tmp_path / "firmware", BuildOptions(kind))


def test_a_long_complaint_is_cut_and_a_strange_one_kept():
    assert complaint("\n".join(f"a.c:{i}: error: no" for i in range(100))).count("\n") == 11
    assert complaint("ICE\nplease report") == "ICE\nplease report"
    assert complaint("")


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path):
    for name in ("../evil.c", "a/b.c", "evil.sh", "-o.c"):
        with pytest.raises(BuildError, match="no name of a C file"):
            build_sources(tiny() | {name: b""}, "tiny", named("qemu-mps2-an385"), tmp_path / "firmware")
    assert list(tmp_path.iterdir()) == []


def test_an_optimization_that_is_none_is_refused(tmp_path):
    with pytest.raises(BuildError, match="-O9"):
        build_sources(tiny(), "tiny", named("qemu-mps2-an385"), tmp_path / "firmware", BuildOptions(optimize="-O9"))


@pytest.mark.parametrize("kind", [GCC, ZIG])
def test_equal_sources_give_equal_images_wherever_they_are_built(tmp_path, kind):
    board = named("qemu-mps2-an386")
    images = [
        build_sources(tiny(), "tiny", board, tmp_path / place, BuildOptions(kind)).image for place in ("a", "b/c")
    ]
    assert images[0] == images[1]


@pytest.mark.parametrize("kind", [GCC, ZIG])
def test_the_footprint_is_that_of_the_sections_and_of_each_file(tmp_path, kind):
    sources = tiny() | {
        "whylite_kernel.c": b"#include <stdint.h>\nconst uint8_t table[1000] = {1};\nuint8_t work[500];\n"
    }
    sources["whylite_tiny.c"] = (
        sources["whylite_tiny.c"]
        .replace(b"WHYLITE_OPERATION(0);", b"work[arena[0] & 15] = table[arena[1] & 7];\n  WHYLITE_OPERATION(0);")
        .replace(b"\n\n", b"\nextern const uint8_t table[1000];\nextern uint8_t work[500];\n", 1)
    )
    firmware = build_sources(sources, "tiny", named("qemu-mps2-an386"), tmp_path / "firmware", BuildOptions(kind))
    footprint = firmware.footprint
    parts = {part.source: part for part in footprint.parts}
    assert (parts["whylite_kernel.c"].constants, parts["whylite_kernel.c"].zeroed) == (1000, 500)
    assert parts["whylite_kernel.c"].group == KERNELS
    assert parts["whylite_tiny.c"].group == MODEL
    assert {LINK, RUNTIME} <= {part.group for part in footprint.parts}
    assert footprint.flash == len(firmware.image) == footprint.sections[".text"] + footprint.sections.get(".data", 0)
    assert footprint.ram == sum(footprint.sections.get(name, 0) for name in (".data", ".bss", ".noinit")) + 2048
    named_bytes = sum(part.code + part.constants + part.data for part in footprint.parts)
    assert 0.9 * footprint.flash <= named_bytes <= footprint.flash
    assert footprint.group(KERNELS).zeroed == 500


def small(flash: int, ram: int):
    import dataclasses

    board = named("qemu-mps2-an386")
    return dataclasses.replace(board, name="small", flash=Memory(0, flash), ram=Memory(0x2000_0000, ram))


@pytest.mark.parametrize(
    ("kind", "flash", "ram", "says"),
    [
        (GCC, 4096, 1 << 20, "flash"),
        (GCC, 1 << 20, 3072, "RAM"),
        (ZIG, 1 << 20, 1024, "RAM"),
    ],
)
def test_what_turns_out_too_large_is_said_with_both_sizes(tmp_path, kind, flash, ram, says):
    with pytest.raises(FitError) as raised:
        build_sources(tiny(), "tiny", small(flash, ram), tmp_path / "firmware", BuildOptions(kind))
    assert says in raised.value.cause
    assert "small" in raised.value.cause
    assert f"{flash if says == 'flash' else ram:,}" in raised.value.cause


def test_what_is_too_large_is_refused_before_it_is_compiled():
    firmware = bundle()
    fits(firmware, small(300, 72))  # constants; arena, window and scores
    for board, says in ((small(299, 72), "300 bytes of flash, and small has 299"), (small(300, 71), "72 bytes of RAM")):
        with pytest.raises(FitError, match=f"needs at least {says}"):
            fits(firmware, board)


def test_what_fits_exactly_is_built_whatever_the_estimate_says(tmp_path):
    firmware, folder = bundle(), tmp_path / "firmware"
    takes = build(firmware, small(1 << 20, 1 << 20), folder, BuildOptions(ZIG)).footprint
    assert takes.ram < needs(micro_of(firmware))[1]
    assert build(firmware, small(takes.flash, takes.ram), folder, BuildOptions(ZIG)).footprint.ram == takes.ram
    with pytest.raises(FitError, match=f"{takes.ram - 8:,} bytes of RAM of small"):
        build(firmware, small(takes.flash, takes.ram - 8), folder, BuildOptions(ZIG))


def renumbered(interface):
    """Return the C of ``tiny`` with another number of its interface; without any for 0."""
    header = tiny()["whylite.h"]
    there, instead = (f"#define WHYLITE_INTERFACE {number}\n".encode() for number in (INTERFACE, interface))
    assert there in header
    return tiny() | {"whylite.h": header.replace(there, instead if interface else b"")}


@pytest.mark.parametrize("interface", [0, INTERFACE + 1])
def test_a_bundle_of_another_interface_is_to_be_exported_again(tmp_path, monkeypatch, interface):
    made = bundle()
    members = made.members | {f"c/{name}": data for name, data in renumbered(interface).items()}
    monkeypatch.setattr(Toolchain, "compile", None)  # it is said before anything is compiled
    with pytest.raises(BundleError, match=f"'tiny' has C of interface {interface}, .* for {INTERFACE}") as raised:
        build(replace(made, members=members), named("qemu-mps2-an386"), tmp_path / "firmware")
    assert "export it again" in raised.value.hint
    assert not (tmp_path / "firmware").exists()


@pytest.mark.parametrize("interface", [0, INTERFACE + 1])
def test_firmware_does_not_compile_with_c_of_another_interface(tmp_path, interface):
    with pytest.raises(BuildError, match="export the model, or emit its C, again"):
        build_sources(renumbered(interface), "tiny", named("qemu-mps2-an386"), tmp_path / "firmware")


def test_firmware_is_described_without_its_bytes(tmp_path):
    firmware = build(bundle(), named("qemu-mps2-an386"), tmp_path / "firmware")
    assert len(repr(firmware)) < 5000 < len(firmware.image)
    assert len(repr(Image(firmware.elf, firmware.image, 0))) < 500


def test_boards_that_firmware_is_not_built_for_say_what_is():
    with pytest.raises(BoardError, match="runs Linux"):
        fits(bundle(), named("raspberry-pi-4"))
    with pytest.raises(BoardError, match="SDK") as raised:
        build_sources(tiny(), "tiny", named("esp32-s3"), None)
    assert "emit" in raised.value.hint


def test_a_bundle_for_another_target_has_no_firmware():
    import dataclasses

    made = bundle()
    other = dataclasses.replace(made, manifest=dataclasses.replace(made.manifest, micro=None, target="pi"))
    with pytest.raises(BoardError, match="exported for pi") as raised:
        fits(other, named("qemu-mps2-an386"))
    assert "--target micro" in raised.value.hint


def test_every_core_has_what_compilers_call_it():
    for core in CORES.values():
        assert core.gcc[0].startswith("-mcpu=cortex-m")
        assert core.zig[0].endswith("hf") == ("-mfloat-abi=hard" in core.gcc)
