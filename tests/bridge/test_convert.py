"""A converted recording holds what the recording held, in the other format and as tables, or is not there at all."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest

from edge.explanation import Flag
from edge.wire.records import Health
from firmware_bridge.convert_cli import Bar, main
from firmware_bridge.errors import RecordingError
from firmware_bridge.maps import Attribution, InputWindow
from firmware_bridge.recording import Reader, load, open_recorder, tables
from firmware_bridge.recording.convert import convert
from firmware_bridge.recording.documents import NAME_OF, NAMES, line
from firmware_bridge.session import Mark, Timing
from tests.bridge.test_recording import EVENTS, MAP
from tests.bridge.test_session import HEALTH, OTHER, SESSION, result
from tests.link import wait_for

WHYLITE = [sys.executable, "-m", "whylite"]
AT = 1_700_000_000.25


def record(path, events, when=AT):
    with open_recorder(path) as recorder:
        for i, event in enumerate(events):
            recorder.write(event, when + i)
    return path


@pytest.fixture
def source(tmp_path):
    return record(tmp_path / "session.jsonl", EVENTS)


def rows(path):
    return pq.read_table(path).to_pylist()


def run(*arguments, before="pass", **options):
    code = f"import sys; {before}; from whylite import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "convert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_there_and_back_again_is_the_same_to_the_byte(source, tmp_path):
    assert convert(source, tmp_path / "b.mcap").written == len(EVENTS)
    convert(tmp_path / "b.mcap", tmp_path / "c.jsonl")
    assert (tmp_path / "c.jsonl").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("suffix", [".jsonl", ".mcap"])
def test_a_folder_has_a_table_of_each_kind_with_every_event(tmp_path, suffix):
    source = record(tmp_path / f"session{suffix}", EVENTS)
    done = convert(source, tmp_path / "tables")
    assert done.written == len(EVENTS)
    found = {path.stem: pq.read_table(path).num_rows for path in (tmp_path / "tables").iterdir()}
    assert found == {name: sum(isinstance(event, kind) for event in EVENTS) for name, kind in NAMES.items()}


@pytest.mark.parametrize("kind", NAMES)
def test_every_field_of_every_event_is_in_its_row(tmp_path, kind):
    """By the names that the fields have in JSON lines, whatever they hold."""
    events = [event for event in EVENTS if NAME_OF[type(event)] == kind]
    convert(record(tmp_path / "a.jsonl", events), tmp_path / "t.parquet", table=kind)
    for event, row in zip(events, rows(tmp_path / "t.parquet"), strict=True):
        held = json.loads(line(event, 0.0))
        for name in ("record", "at"):
            del held[name]
        for name, value in held.items():
            if isinstance(value, dict):
                given = {column: v for column, v in row.items() if column.startswith(f"{name}_") and v is not None}
                assert sorted(map(str, given.values())) == sorted(map(str, value.values()))
            elif name == "values":
                assert row["shape"] == list(np.shape(value))
                np.testing.assert_array_equal(np.float32(row[name]), np.float32(value).ravel())
            elif isinstance(value, list) and value and isinstance(value[0], float):
                np.testing.assert_array_equal(np.float32(row[name]), np.float32(value))
            else:
                assert row[name] == value, name


def test_rows_of_several_tables_go_together_by_session_and_sequence(tmp_path):
    again = [OTHER, result(0, 2), replace(MAP, sequence=0)]
    convert(record(tmp_path / "a.jsonl", [SESSION, result(0, 1), result(1, 0), *again]), tmp_path / "t")
    assert [
        (row["session"], row["sequence"], row["class_index"]) for row in rows(tmp_path / "t" / "result.parquet")
    ] == [
        (SESSION.session.hex(), 0, 1),
        (SESSION.session.hex(), 1, 0),
        (OTHER.session.hex(), 0, 2),
    ]
    (attribution,) = rows(tmp_path / "t" / "map.parquet")
    assert (attribution["session"], attribution["sequence"]) == (OTHER.session.hex(), 0)
    assert [row["session"] for row in rows(tmp_path / "t" / "session.parquet")] == [
        SESSION.session.hex(),
        OTHER.session.hex(),
    ]


def test_times_are_times_and_durations_have_a_column_for_each_name(tmp_path):
    events = [Timing(1, {"predict": 5}, {}), Timing(2, {"predict": 6, "send": 7}, {"ig": 8}, valid=False)]
    convert(record(tmp_path / "a.jsonl", events), tmp_path / "t.parquet", table="latency")
    assert [
        (row["at"], row["phases_predict"], row["phases_send"], row["methods_ig"], row["valid"])
        for row in rows(tmp_path / "t.parquet")
    ] == [
        (datetime.fromtimestamp(AT, UTC), 5, None, None, True),
        (datetime.fromtimestamp(AT + 1, UTC), 6, 7, 8, False),
    ]


def test_counters_go_by_the_names_of_what_they_count(tmp_path):
    counts = replace(
        HEALTH, sent={2: 10, 200: 1}, dropped={3: 4}, degraded={0: 5}, thinned={2: 6, 99: 7}, source={4: 8}
    )
    convert(record(tmp_path / "a.jsonl", [counts]), tmp_path / "t.parquet", table="health")
    (row,) = rows(tmp_path / "t.parquet")
    assert isinstance(counts, Health)
    named = {name: row[name] for name in row if "_" in name}
    assert named.items() >= {
        ("sent_result", 10),
        ("sent_record 200", 1),
        ("dropped_map", 4),
        ("degraded_fewer-steps", 5),
        ("thinned_coarser", 6),
        ("thinned_99", 7),
        ("source_ended", 8),
    }


def test_csv_has_the_same_with_several_values_as_json(source, tmp_path):
    convert(source, tmp_path / "t", form=".csv")
    with (tmp_path / "t" / "map.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    where = EVENTS.index(MAP)
    assert datetime.fromisoformat(row["at"]) == datetime.fromtimestamp(AT + where, UTC)
    assert (row["method"], row["class_index"], row["residual"], row["full_shape"]) == ("gradcam", "2", "", "[]")
    assert Flag[json.loads(row["flags"])[0]] in MAP.flags
    np.testing.assert_array_equal(np.float32(json.loads(row["values"])), MAP.values.ravel())
    with (tmp_path / "t" / "health.csv").open(encoding="utf-8", newline="") as file:
        assert {row["final"] for row in csv.DictReader(file)} <= {"true", "false"}


def test_a_single_table_that_nothing_is_of_has_its_columns(tmp_path):
    convert(record(tmp_path / "a.jsonl", [Mark("x")]), tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 0
    assert {"at", "session", "sequence", "scores"} <= set(pq.read_schema(tmp_path / "t.parquet").names)
    convert(tmp_path / "a.jsonl", tmp_path / "t.csv", table="map")
    assert (tmp_path / "t.csv").read_text().startswith("at,session,sequence,method,")


def test_long_tables_are_written_in_groups_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_VALUES", 1000)
    events = [InputWindow(i, np.full((10, 10), i, np.float32), 0.1) for i in range(55)]
    convert(record(tmp_path / "a.jsonl", events), tmp_path / "t.parquet", table="input")
    file = pq.ParquetFile(tmp_path / "t.parquet")
    assert file.num_row_groups == 6
    assert [row["values"][-1] for row in file.read().to_pylist()] == list(range(55))


def test_numbers_that_no_clock_gives_are_null(tmp_path):
    events = [Timing(1, {"predict": 1 << 64}, {}), replace(result(3), time=(1 << 64) - 1)]
    convert(record(tmp_path / "a.jsonl", events), tmp_path / "t")
    assert rows(tmp_path / "t" / "latency.parquet")[0]["phases_predict"] is None
    assert rows(tmp_path / "t" / "result.parquet")[0]["time"] is None


def test_a_recording_of_endless_names_is_refused(tmp_path):
    events = [Timing(i, {f"p{i}.{k}": 1 for k in range(100)}, {}) for i in range(11)]
    with pytest.raises(RecordingError, match="more than 1000 names"):
        convert(record(tmp_path / "a.jsonl", events), tmp_path / "t")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_what_cannot_be_read_is_left_out_and_said(source, tmp_path):
    source.write_bytes(source.read_bytes()[:-9])
    done = run(source, tmp_path / "b.mcap")
    assert done.returncode == 0
    assert done.stdout == f"{tmp_path / 'b.mcap'}: {len(EVENTS) - 1} events\n"
    assert done.stderr.startswith(f"warning: a part of {source} could not be read and is left out, the first at line")
    assert len(load(tmp_path / "b.mcap").events) == len(EVENTS) - 1


@pytest.mark.parametrize("target", ["b.mcap", "b.jsonl", "t", "t.parquet", "t.csv"])
def test_bad_input_leaves_nothing(tmp_path, target):
    (tmp_path / "a.jsonl").write_bytes(b"no recording\n")
    for source in ("a.jsonl", "missing.jsonl"):
        with pytest.raises(RecordingError, match=source):
            convert(tmp_path / source, tmp_path / target)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize("target", ["b.mcap", "t", "t.csv"])
def test_what_is_there_is_not_overwritten(source, tmp_path, target):
    (tmp_path / target).write_text("mine")
    with pytest.raises(RecordingError, match="is there already"):
        convert(source, tmp_path / target)
    assert (tmp_path / target).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("target", ["b.mcap", "t", "t.csv"])
def test_a_full_disk_leaves_nothing(tmp_path, target):
    random = np.random.default_rng(0)
    events = [InputWindow(i, random.normal(size=2000).astype(np.float32), 0.1) for i in range(40)]
    source = record(tmp_path / "a.jsonl", events)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))"
    more = ["--table", "input"] if target.startswith("t.") else []
    done = run(source, tmp_path / target, *more, before=limit)
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert "\n  hint: " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_an_interrupted_conversion_leaves_nothing(tmp_path):
    source = record(tmp_path / "a.jsonl", [InputWindow(i, np.ones(3000, np.float32), 0.1) for i in range(3)])
    code = "import sys, time; from firmware_bridge.recording import tables; from whylite import main; "
    code += "tables.ParquetTable.write = lambda *_: time.sleep(600); sys.exit(main())"
    command = [sys.executable, "-c", code, "convert", source, tmp_path / "t"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any(tmp_path.glob(".t.*/t/*.parquet")) or process.poll() is not None)
    assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "error: interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_the_command_converts(source, tmp_path):
    done = run(source, tmp_path / "t")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 't'}: {len(EVENTS)} rows\n"
    for *arguments, made in ((tmp_path / "c", "--csv", "c/mark.csv"), (tmp_path / "m.csv", "--table", "map", "m.csv")):
        assert main(["convert", str(source), *map(str, arguments)]) == 0
        assert (tmp_path / made).exists()


def test_wrong_usage_is_refused(source, tmp_path):
    assert run(source, tmp_path / "t.xlsx").returncode == 2
    for out, *more in (["b.mcap", "--table", "map"], ["t.csv", "--csv"], ["t.csv", "--table", "none"], ["--csv"]):
        with pytest.raises(SystemExit) as refused:
            main(["convert", str(source), str(tmp_path / out) if more else out, *more])
        assert refused.value.code == 2, out
    assert [path.name for path in tmp_path.iterdir()] == ["session.jsonl"]


def test_without_pyarrow_parquet_says_what_to_install_and_csv_does_without(source, tmp_path):
    without = "sys.modules['pyarrow'] = None"
    done = run(source, tmp_path / "t", before=without)
    assert done.returncode == 2
    assert "pip install 'whylite[tables]'" in done.stderr
    assert run(source, tmp_path / "t", "--csv", before=without).returncode == 0


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_long_work_shows_how_far_it_is(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("firmware_bridge.convert_cli.time.monotonic", lambda: now[0])
    shown = {}
    for stream in (Terminal(), io.StringIO()):
        now[0] = 0.0
        with Bar(stream) as bar:
            for second in range(41):
                now[0] = float(second)
                bar.show("converting", second / 40)
        shown[type(stream)] = stream.getvalue()
    assert shown[io.StringIO] == "".join(f"converting: {share}%\n" for share in (25, 50, 75, 100))
    assert f"converting [{'#' * 20}{'.' * 20}]  50%" in shown[Terminal]
    assert shown[Terminal].endswith("\r\x1b[2K")
    with Bar(stream := io.StringIO()) as bar:
        bar.show("converting", 0.5)
    assert stream.getvalue() == ""


def test_a_few_kinds_are_read_without_the_others(source, tmp_path):
    convert(source, tmp_path / "b.mcap")
    for path in (source, tmp_path / "b.mcap"):
        with Reader(path, {"mark", "map"}) as reader:
            assert [type(event) for _, event in reader] == [Attribution, Mark]
        with Reader(path, set()) as reader:
            assert not list(reader)
