import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.boards import boards, load, named
from firmware_bridge.cores import CORES
from firmware_bridge.errors import BoardError

SOUND = {
    "title": "A board",
    "core": "cortex-m4f",
    "clock_hz": 64_000_000,
    "flash": {"origin": 0, "size": 1 << 20},
    "ram": {"origin": 0x2000_0000, "size": 1 << 18},
    "uart": {"kind": "cmsdk", "base": 0x4000_4000},
    "emulator": {"program": "qemu", "machine": "mps2-an386"},
    "energy": {"supply_v": 3, "active_a": 0.01, "at_hz": 64_000_000, "source": "a data sheet"},
}


def spelled(value):
    return str(value).lower() if isinstance(value, bool) else repr(value)


def toml(document, prefix=""):
    plain = {key: value for key, value in document.items() if not isinstance(value, dict)}
    lines = [f"{key} = {spelled(value)}" for key, value in plain.items()]
    for key, value in document.items():
        if isinstance(value, dict):
            lines += [f"[{prefix}{key}]", toml(value, f"{prefix}{key}.")]
    return "\n".join(lines)


def written(tmp_path, document, name="mine.toml"):
    path = tmp_path / name
    path.write_text(document if isinstance(document, str) else toml(document))
    return path


def changed(key, value):
    """Return the sound description with one key of another value; without it for None."""
    document = {k: dict(v) if isinstance(v, dict) else v for k, v in SOUND.items()}
    table, _, leaf = key.rpartition(".")
    place = document[table] if table else document
    place[leaf] = value
    if value is None:
        del place[leaf]
    return document


def test_every_board_that_comes_with_whylite_is_sound():
    there = boards()
    assert len(there) >= 27
    assert sum(board.virtual for board in there.values()) >= 12
    for name, board in there.items():
        assert named(name) is board
        assert board.name == name
        assert board.virtual or board.source
        assert board.linux == (board.core not in CORES and board.core != "xtensa-lx7")
    assert [board.virtual for board in there.values()] == sorted(board.virtual for board in there.values())


def test_a_users_file_is_a_board(tmp_path):
    board = named(str(written(tmp_path, SOUND)))
    assert (board.name, board.core, board.clock_hz) == ("mine", "cortex-m4f", 64_000_000)
    assert board.ram.end == 0x2004_0000
    assert board.uart.base == 0x4000_4000
    assert board.energy.supply_v == 3.0
    assert board.cpu is CORES["cortex-m4f"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("qemu-an386", "qemu-mps2-an386"), ("nrf52840", "nrf52840-dk"), ("pico", "rp2040-pico")],
)
def test_a_name_that_is_none_lists_near_ones(typed, meant):
    with pytest.raises(BoardError) as raised:
        named(typed)
    assert typed in raised.value.cause
    assert meant in raised.value.hint


@pytest.mark.parametrize("typed", ["", "zzzzzz", "\0", "a" * 5000])
def test_a_name_that_is_like_none_points_to_the_list(typed):
    with pytest.raises(BoardError, match="no board") as raised:
        named(typed)
    assert "whylite boards" in raised.value.hint


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("clok_hz", 1, "unknown key 'clok_hz'; did you mean 'clock_hz'"),
        ("flash.sise", 1, "unknown key 'flash.sise'; did you mean 'size'"),
        ("title", None, "'title' is missing"),
        ("title", " ", "'title'"),
        ("title", 3, "'title' is no text"),
        ("uart.base", None, "'uart.base' is missing"),
        ("clock_hz", 0, "'clock_hz'"),
        ("clock_hz", True, "'clock_hz' is no whole number"),
        ("clock_hz", 6.4e7, "'clock_hz' is no whole number"),
        ("clock_hz", 1 << 70, "'clock_hz'"),
        ("flash_with", "gdb", "'flash_with' is no list"),
        ("flash_with", [1], "'flash_with' is no list"),
        ("flash", 1, "flash is no table"),
        ("ram", None, "'flash' and 'ram'"),
        ("ram.origin", 0xFFF00, "'ram' at 0xfff00 overlaps 'flash'"),
        ("ram.origin", -8, "'ram'"),
        ("ram.size", 0, "'ram'"),
        ("ram.size", (1 << 32) - 8, "'ram'"),
        ("ram.size", 1001, "'ram' is not aligned"),
        ("uart.kind", "usb", "'uart.kind' is 'usb', none of cmsdk"),
        ("uart.base", 1 << 32, "'uart.base'"),
        ("emulator.program", "bochs", "'emulator.program' is 'bochs'"),
        ("emulator.machine", None, "'emulator.machine'"),
        ("core", "xtensa-lx7", "'core' is 'xtensa-lx7', none of cortex-m0,"),
        ("core", "cortex-m4", "cortex-m55; did you mean 'cortex-m4f'?"),
        ("uart", None, "an emulated board has no 'uart'"),
        ("energy.source", " ", "'energy.source'"),
        ("energy.active_a", float("nan"), "'energy.active_a'"),
        ("energy.supply_v", "3 V", "'energy.supply_v' is no number"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(tmp_path, key, value, says):
    with pytest.raises(BoardError) as raised:
        load(written(tmp_path, changed(key, value)))
    assert "mine.toml" in raised.value.cause
    assert says in raised.value.cause
    assert raised.value.hint


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("core", "cortex-m55", "Unicorn does not emulate"),
        ("uart.kind", "pl011", "cmsdk"),
        ("ram.origin", 0x2000_0008, "'ram' is not aligned to 4096 bytes"),
        ("flash.size", 0xF_F008, "'flash' is not aligned to 4096 bytes"),
        ("uart.base", 0x4000_4004, "'uart.base' is not aligned to 4096 bytes"),
        ("uart.base", 0x2000_1000, "'ram' at 0x20000000 overlaps uart.base"),
        ("uart.base", 0xE000_E000, "'uart.base' at 0xe000e000 overlaps the processor's own page"),
        ("ram.origin", 0x9FFF_0000, "'ram' at 0x9fff0000 overlaps the processor's own page, from 0x9ffff000 on"),
        ("ram.origin", 0xE000_0000, "'ram' at 0xe0000000 overlaps the processor's own page, from 0xe000"),
    ],
)
def test_what_unicorn_cannot_do_is_refused(tmp_path, key, value, says):
    document = changed(key, value)
    document["emulator"] = {"program": "unicorn"}
    with pytest.raises(BoardError, match=says):
        load(written(tmp_path, document))


@pytest.mark.parametrize("text", ["title = ", "[" * 5000, "a.b=1\na=2", "\udcff", "x" * (1 << 17), ""])
def test_no_toml_is_refused(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BoardError, match=r"mine\.toml"):
        load(path)


def test_no_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(BoardError, match="cannot read"):
            load(path)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@given(st.sampled_from([*SOUND, "flash.origin", "ram.size", "uart.kind", "emulator.machine", "energy.at_hz"]), values)
def test_any_value_anywhere_is_taken_or_refused(tmp_path_factory, key, value):
    document = changed(key, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tomllib, "loads", lambda _: document)
        try:
            board = load(written(tmp_path_factory.getbasetemp(), ""))
        except BoardError as error:
            assert "mine.toml" in error.cause
        else:
            assert board.ram is None or 0 <= board.ram.origin < board.ram.end <= 1 << 32
