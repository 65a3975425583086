import io
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from edge.capture import open_source
from examples.watch import augment, data
from tests.edge.windows import Model, taken


def test_reads_every_recording_as_numpy_does(recordings):
    reference = np.load(data.dataset_path(), allow_pickle=True).item()  # its digest was checked by the fixture
    assert len(recordings) == 140
    assert tuple(reference["y_labels"]) == data.LABELS
    assert tuple(reference["X_labels"]) == data.CHANNELS
    for recording, signal, label, subject in zip(
        recordings, reference["X"], reference["y"], reference["subject"], strict=True
    ):
        assert np.array_equal(recording.signal, signal.astype(np.float32))
        assert (recording.label, recording.subject) == (label, subject)


def test_raw_recordings_become_windows_on_the_device_as_for_training(recordings, tmp_path):
    recording = recordings[40]
    header = "time," + ",".join(data.CHANNELS[::-1]) + ",exercise\n"
    rows = [",".join(["0", *map(repr, row[::-1].tolist()), data.LABELS[recording.label]]) for row in recording.signal]
    (tmp_path / "raw.csv").write_text(header + "\n".join(rows))
    model = Model((data.WINDOW, 6), data.LABELS, data.PREPROCESSING)
    found = taken(open_source(f"csv:{tmp_path / 'raw.csv'}?label=exercise", model))
    expected = data.cut([recording])
    np.testing.assert_array_equal([window.x for window in found], expected.x)
    assert [window.truth for window in found] == expected.y.tolist()


def test_does_not_import_the_package_that_carries_them():
    script = (
        "import sys; from examples.watch import data; data.load();"
        "print(sorted({'seglearn', 'pandas', 'sklearn', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_refuses_a_file_with_one_byte_changed(tmp_path):
    content = bytearray(data.dataset_path().read_bytes())
    content[len(content) // 2] ^= 1
    tampered = tmp_path / "watch_dataset.npy"
    tampered.write_bytes(content)
    with pytest.raises(data.WatchDataError, match="SHA-256") as caught:
        data.load(tampered)
    assert str(tampered) in caught.value.cause
    assert "pip install" in caught.value.hint


def test_refuses_a_missing_file(tmp_path):
    with pytest.raises(data.WatchDataError, match="cannot read"):
        data.load(tmp_path / "nothing.npy")


def test_says_what_to_install_where_the_package_is_missing(monkeypatch):
    monkeypatch.setattr(data, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(data.WatchDataError) as caught:
        data.load()
    assert "pip install" in caught.value.hint


@pytest.mark.parametrize("name", ["posix.system", "builtins.eval", "numpy.load", "os.system"])
def test_unpickles_arrays_and_nothing_else(name):
    module, function = name.rsplit(".", 1)
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    attack = f"c{module}\n{function}\n(S'touch hacked'\ntR.".encode()
    with pytest.raises(pickle.UnpicklingError, match="not part of an array"):
        data._unpickle(file.getvalue() + attack)
    assert not os.path.exists("hacked")  # noqa: PTH110


def test_no_subject_is_on_both_sides():
    assert not set(data.TRAIN_SUBJECTS) & set(data.TEST_SUBJECTS)
    assert set(data.TRAIN_SUBJECTS) | set(data.TEST_SUBJECTS) == set(range(1, 11))
    assert len(data.TEST_SUBJECTS) >= 3


def test_windows_are_of_the_chosen_subjects_only(recordings, unseen):
    assert set(unseen.subject) == set(data.TEST_SUBJECTS)
    assert set(data.calibration(recordings).subject) == set(data.TRAIN_SUBJECTS)


def test_windows_have_the_models_shape_and_do_not_overlap(recordings, unseen):
    assert unseen.x.shape == (len(unseen), data.WINDOW, 6)
    assert unseen.x.dtype == np.float32
    assert len(unseen) >= 200
    expected = sum(len(r.signal) // data.WINDOW for r in data.of_subjects(recordings, data.TEST_SUBJECTS))
    assert len(unseen) == expected
    first = data.of_subjects(recordings, data.TEST_SUBJECTS)[0]
    assert np.allclose(data.to_signal(unseen.x[1]), first.signal[data.WINDOW : 2 * data.WINDOW], atol=1e-6)
    assert unseen.start_s[1] == data.WINDOW / data.RATE_HZ


def test_scale_is_the_training_subjects_rms_and_the_same_for_every_axis(recordings):
    signal = np.concatenate([r.signal for r in data.of_subjects(recordings, data.TRAIN_SUBJECTS)])
    for sensor, unit in ((slice(0, 3), data.ACCELERATION_UNIT_G), (slice(3, 6), data.ROTATION_UNIT_RAD_S)):
        assert np.sqrt(np.mean(signal[:, sensor] ** 2)) == pytest.approx(unit, abs=0.05)
        assert len(set(data.SCALE[sensor])) == 1


def test_the_other_wrist_is_the_mirror_image(recordings):
    """Hanging down, the forearm points the watch's x axis up on one wrist and down on the other; y and z stay."""
    means = {
        side: np.mean([r.signal.mean(axis=0) for r in recordings if r.side == side and r.label == 0], axis=0)
        for side in ("left", "right")
    }
    assert np.allclose(means["left"] * augment.OTHER_WRIST, means["right"], atol=0.15)


def test_the_same_seed_draws_the_same_windows(recordings):
    training = data.of_subjects(recordings, data.TRAIN_SUBJECTS)
    (x1, y1), (x2, y2), (x3, _) = (augment.Augmenter(training, seed).draw(64) for seed in (3, 3, 4))
    assert np.array_equal(x1, x2)
    assert np.array_equal(y1, y2)
    assert not np.array_equal(x1, x3)
    assert x1.shape == (64, data.WINDOW, 6)
    assert x1.dtype == np.float32


def test_without_bending_only_the_mirror_is_left(recordings):
    recording = recordings[0]
    nothing = augment.Augmentation(turn_deg=0, tempo=0, vigour=0, noise=0)
    x, _ = augment.Augmenter([recording], 0, nothing).draw(32)
    plain = data.to_input(recording.signal)
    low, high = plain.min(axis=0) - 1e-4, plain.max(axis=0) + 1e-4
    inside = ((x >= low) & (x <= high)).all(axis=(1, 2))
    mirrored = x * augment.OTHER_WRIST
    assert (inside | ((mirrored >= low) & (mirrored <= high)).all(axis=(1, 2))).all()
    assert inside.any()
    assert not inside.all()


def test_rotations_are_rotations():
    matrices = augment.rotations(np.random.default_rng(0), 100, 20)
    assert np.allclose(matrices @ matrices.transpose(0, 2, 1), np.eye(3), atol=1e-5)
    assert np.allclose(np.linalg.det(matrices), 1, atol=1e-5)
    angles = np.rad2deg(np.arccos(np.clip((np.trace(matrices, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert angles.max() <= 40 + 1e-3
    assert angles.mean() > 5
