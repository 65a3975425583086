"""What a board says of itself, read out of trees such as its kernel makes them."""

from __future__ import annotations

import pytest

from edge import vitals

PLATFORM = "sys/devices/platform"


@pytest.fixture
def write(tmp_path):
    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write


@pytest.mark.parametrize(
    ("zones", "degrees"),
    [
        ({"cpu-thermal": 48312}, 48.312),  # Raspberry Pi
        ({"battery": 31000, "x86_pkg_temp": 61000, "iwlwifi_1": 70000}, 61.0),
        ({"gpu-thermal": 80000, "cpu0-thermal": 51000, "cpu1-thermal": 53500}, 53.5),
        ({"acpitz": 27800, "soc_thermal": 44000}, 44.0),
        ({"acpitz": 27800, "iwlwifi_1": 70000}, 27.8),
        ({"battery": 31000}, None),
        ({}, None),
        ({"cpu-thermal": "broken"}, None),
    ],
)
def test_the_temperature_is_that_of_the_processor_whichever_zone_it_has(write, tmp_path, zones, degrees):
    for number, (kind, millidegrees) in enumerate(zones.items()):
        write(f"sys/class/thermal/thermal_zone{number}/type", f"{kind}\n")
        write(f"sys/class/thermal/thermal_zone{number}/temp", f"{millidegrees}\n")
    assert vitals.temperature(tmp_path) == degrees


@pytest.mark.parametrize("place", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
def test_the_throttling_bits_are_hexadecimal(write, tmp_path, place):
    write(f"{PLATFORM}/{place}/get_throttled", "50005\n")
    assert vitals.throttled(tmp_path) == 0x50005


def test_where_only_the_kernel_tells_under_voltage_is_known(write, tmp_path):
    assert vitals.throttled(tmp_path) is None
    write("sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    write("sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    assert vitals.throttled(tmp_path) == 1


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0, []),
        (0x50005, ["under-voltage now", "throttled now"]),
        (0x50000, ["under-voltage earlier", "throttled earlier"]),
        (0xE0008, ["soft temperature limit now", "frequency capped earlier", "throttled earlier"]),
        (0x2, ["frequency capped now"]),
        (0xFFF0FFF0, []),
    ],
)
def test_throttling_bits_in_words(bits, words):
    assert vitals.throttling(bits) == words


def test_governors_and_the_pace_of_the_fastest_core(write, tmp_path):
    assert vitals.governor(tmp_path) == ""
    assert vitals.pace(tmp_path) is None
    for core, governor, (now, allowed, possible) in (
        (0, "powersave", (600000, 1200000, 1200000)),
        (4, "schedutil", (900000, 1500000, 2400000)),
    ):
        folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
        write(f"{folder}/scaling_governor", f"{governor}\n")
        write(f"{folder}/scaling_cur_freq", f"{now}\n")
        write(f"{folder}/scaling_max_freq", f"{allowed}\n")
        write(f"{folder}/cpuinfo_max_freq", f"{possible}\n")
    assert vitals.governor(tmp_path) == "powersave, schedutil"
    assert vitals.pace(tmp_path) == vitals.Pace(900000, 1500000, 2400000)


def test_the_board_has_the_name_of_its_device_tree(write, tmp_path):
    assert " " in vitals.board(tmp_path)
    write("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    assert vitals.board(tmp_path) == "Raspberry Pi 4 Model B Rev 1.4"


def test_this_process_takes_memory():
    assert 1e6 < vitals.memory() < 1e12
