"""The firmware compiles without a warning, for every core it is meant for, and does not need more than it says."""

from __future__ import annotations

import re
import tomllib

import pytest

from export.c.emit import name_in_c
from tests.firmware.build import CORES, FIRMWARE, INCLUDES, ROOT, SOURCES, STRICT, run
from tests.tools import GCC

VIRTUAL = [
    "-DWHYLITE_BOARD_NAME=\"x\"", "-DWHYLITE_CLOCK_HZ=25000000u", "-DWHYLITE_MODEL=whylite_toy",
    "-DWHYLITE_MODEL_HEADER=\"whylite_toy.h\"", "-DWHYLITE_MODEL_PREFIX=WHYLITE_TOY",
]  # fmt: skip
BARE = ("-mthumb", "-ffreestanding")
PORTS = FIRMWARE / "ports"
UARTS = ("CMSDK", "STM32", "NRF51", "PL011")
FLAGS = ("-std=c11", *STRICT, "-Wmissing-prototypes", "-Wcast-align", "-O2", *INCLUDES)


def check(folder, sources, compiler, *flags):
    for source in sources:
        run(compiler, *FLAGS, *flags, "-c", str(source), "-o", str(folder / "out.o"))


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_for_this_machine(tmp_path, compiler):
    check(tmp_path, SOURCES, compiler)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("compiler", [GCC, "clang"])
def test_for_the_cores_of_microcontrollers(tmp_path, compiler, core):
    target = ("--target=arm-none-eabi",) if compiler == "clang" else ()
    check(tmp_path, [*SOURCES, FIRMWARE / "virtual" / "startup.c"], compiler, *BARE, *target, *CORES[core])


@pytest.mark.parametrize("uart", UARTS)
def test_for_every_serial_port_of_the_virtual_boards(tmp_path, uart):
    run(GCC, *FLAGS, "-mthumb", "-ffreestanding", *CORES["m4"], *VIRTUAL, f"-DWHYLITE_UART_{uart}=0x40000000u", "-c",
        str(FIRMWARE / "virtual" / "main.c"), "-o", str(tmp_path / "main.o"))  # fmt: skip


def test_the_example_for_a_bare_stm32(tmp_path):
    run(GCC, *FLAGS, *BARE, *CORES["m4"], *VIRTUAL, "-c", str(PORTS / "stm32_bare.c"), "-o", str(tmp_path / "main.o"))


def test_the_program_of_the_page_on_firmware(tmp_path):
    code = (ROOT / "docs" / "firmware.md").read_text().split("```c\n")[1].split("```")[0]
    (tmp_path / "main.c").write_text(code.replace("beats", "toy").replace("BEATS", "TOY"))
    check(tmp_path, [tmp_path / "main.c"], GCC, *BARE, *CORES["m4"])


@pytest.mark.parametrize("name", ["arduino.ino", "esp_idf.c", "zephyr.c"])
def test_an_example_that_is_not_compiled_here_says_so_first(name):
    assert (PORTS / name).read_text().startswith("/* NOT COMPILED in this project")


def test_the_headers_are_cpp_too(tmp_path):
    source = tmp_path / "all.cpp"
    source.write_text("".join(f'#include "{path.name}"\n' for path in sorted(FIRMWARE.glob("*.h"))))
    flags = ("-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-ffreestanding")
    run("clang++", *flags, *INCLUDES, "-fsyntax-only", str(source))


def test_a_device_takes_little_ram_and_keeps_nothing_outside_of_it(tmp_path):
    probe = tmp_path / "probe.c"
    probe.write_text('#include "whylite_device.h"\nwhylite_device device;\n')
    objects = []
    for source in (probe, *SOURCES):
        objects.append(tmp_path / f"{source.stem}.o")
        run(GCC, "-std=c11", "-Os", "-mthumb", "-ffreestanding", *CORES["m4"], *INCLUDES, "-c", str(source), "-o",
            str(objects[-1]))  # fmt: skip
    sizes = {}
    for found in objects:
        _, data, bss = map(int, run("arm-none-eabi-size", str(found)).splitlines()[1].split()[:3])
        sizes[found.stem] = data + bss
    assert 0 < sizes.pop("probe") < 2048
    sizes.pop("whylite_profile")  # measures, in firmware built for that alone
    assert not any(sizes.values())


def test_no_model_is_called_as_something_of_the_projects_own():
    texts = "".join(path.read_text() for path in (*FIRMWARE.glob("*.[ch]"), *(FIRMWARE / "virtual").glob("*")))
    taken = set(re.findall(r"\bwhylite_([a-z0-9_]+)", texts)) - {"beats"}  # the model of the examples
    assert {"model", "device", "port"} < taken
    for name in taken:
        assert name_in_c(name) == f"{name}_model"
    assert name_in_c("Beats 1") == "beats_1"


def test_the_version_is_that_of_the_package():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    header = (FIRMWARE / "whylite_records.h").read_text()
    assert re.search(r'WHYLITE_VERSION "(.*)"', header)[1] == version


def test_a_port_has_at_most_eight_functions():
    header = (FIRMWARE / "whylite_port.h").read_text()
    assert len(re.findall(r"\(\*\w+\)\(void \*context", header)) <= 8
