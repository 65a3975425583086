"""Images out of a real video through OpenCV, and out of cameras that are played here."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge.capture import open_source
from edge.errors import InputError
from edge.samples.preprocessing import Preprocessing
from edge.sources import Fault, Window
from edge.wire.codes import SourceFault
from tests.edge.windows import LONG, Model, taken

RGB = Model((24, 32, 3))
# blue, green, red as OpenCV has it
COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]], np.uint8)


def image(number, height=48, width=64):
    return np.full((height, width, 3), COLOURS[number % 3], np.uint8)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for number in range(6):
        writer.write(image(number))
    writer.release()
    return f"camera:{path}"


class Camera:
    """What OpenCV gives for a device: images until it is unplugged."""

    there = True
    opened, images = 0, 0

    def __init__(self, where):
        type(self).where = where
        type(self).opened += 1

    def isOpened(self):
        return type(self).there

    def grab(self):
        type(self).images += 1
        return type(self).there

    def retrieve(self):
        return True, image(0)

    def release(self):
        type(self).released = True


@pytest.fixture
def camera(monkeypatch):
    played = type("Played", (Camera,), {})
    monkeypatch.setattr(cv2, "VideoCapture", played)
    return played


@pytest.fixture
def ribbon(monkeypatch):
    """A picamera2 that notes what is asked of it."""
    asked = SimpleNamespace(closed=0, size=None)

    class Picamera2:
        def __init__(self, number):
            if number:
                raise IndexError("list index out of range")

        def create_video_configuration(self, main, controls):
            asked.main, asked.controls = main, controls
            return {"main": main}

        def configure(self, configuration):
            self.configuration = configuration

        def camera_configuration(self):
            return {"main": {"size": asked.size or self.configuration["main"]["size"]}}

        def start(self):
            pass

        def capture_array(self, name):
            wide, tall = self.configuration[name]["size"]
            return np.full((tall, wide, 3), [10, 20, 30], np.uint8)

        def close(self):
            asked.closed += 1

    module = SimpleNamespace(Picamera2=Picamera2, __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "picamera2", module)
    return asked


def next_of(source, kind):
    while not isinstance(item := source.take(LONG), kind):
        assert not source.ended
    return item


def test_a_video_is_read_frame_by_frame_in_red_green_blue(video):
    source = open_source(video, RGB)
    assert not source.live
    found = taken(source)
    assert [w.sequence for w in found] == list(range(6))
    for window in found:
        assert window.x.shape == (24, 32, 3)
        expected = COLOURS[window.sequence % 3][::-1]
        np.testing.assert_allclose(window.x.mean(axis=(0, 1)), expected, atol=6)  # JPEG


def test_colours_order_and_scale_are_as_the_manifest_states(video):
    def first(shape, **stated):
        return taken(open_source(video, Model(shape, preprocessing=Preprocessing(**stated))))[0].x

    bgr = first((24, 32, 3), channels=("blue", "green", "red"), offset=(127.5,), scale=(127.5,))
    np.testing.assert_allclose(bgr.mean(axis=(0, 1)), (COLOURS[0] - 127.5) / 127.5, atol=0.05)
    for shape in ((24, 32, 1), (24, 32), (1, 24, 32, 1)):
        grey = first(shape, channels=("grey",))
        assert grey.shape == shape
        assert grey.mean() == pytest.approx(0.114 * 200 + 0.886 * 40, abs=4)


def test_the_middle_of_an_image_is_taken_in_the_models_proportions(camera):
    picture = np.zeros((40, 120, 3), np.uint8)
    picture[:, 40:80] = 255
    camera.retrieve = lambda self: (True, picture)
    for size in ((20, 20, 3), (80, 80, 3)):
        source = open_source("camera:0", Model(size))
        assert (next_of(source, Window).x == 255).all()
        source.close()


def test_a_camera_is_opened_by_number_or_device_and_is_live(camera):
    for where, expected in (("0", 0), ("/dev/video2", "/dev/video2")):
        source = open_source(f"camera:{where}?through=opencv", RGB)
        assert source.live
        assert next_of(source, Window).x.shape == (24, 32, 3)
        source.close()
        assert camera.where == expected
        assert camera.released


def test_a_camera_that_is_unplugged_is_opened_again(camera):
    source = open_source("camera:0", RGB)
    next_of(source, Window)
    camera.there = False
    while (fault := next_of(source, Fault)).kind is SourceFault.LOST_WINDOW:
        continue
    assert (fault.kind, "lost camera 0" in fault.cause) == (SourceFault.STALLED, True)
    camera.there = True
    assert next_of(source, Fault).kind is SourceFault.REOPENED
    source.close()


def test_no_more_images_come_than_are_wanted(camera):
    source = open_source("camera:0?fps=20", RGB)
    windows = [next_of(source, Window) for _ in range(5)]
    source.close()
    assert camera.images > 10 * (windows[-1].sequence + 1)  # those between are passed by


def test_through_picamera2_the_camera_itself_scales(ribbon):
    source = open_source("camera:0?fps=5", RGB)
    window = next_of(source, Window)
    assert window.x[0, 0].tolist() == [10, 20, 30]
    assert ribbon.main == {"size": (32, 24), "format": "BGR888"}
    assert ribbon.controls == {"FrameRate": 5.0}
    source.close()
    assert ribbon.closed == 1
    ribbon.size = (64, 64)
    with pytest.raises(InputError, match=r"gives \(64, 64\) and not \(32, 24\)"):
        open_source("camera:0", RGB)
    with pytest.raises(InputError, match="cannot open camera 1"):
        open_source("camera:1", RGB)


def test_what_is_no_camera_or_does_not_fit_is_refused(video, tmp_path):
    (tmp_path / "notes.txt").write_text("no video")
    for spec, model, said in (
        ("camera:97?through=opencv", RGB, "cannot open camera 97"),
        (f"camera:{tmp_path / 'no.avi'}", RGB, "no camera and no file"),
        (f"camera:{tmp_path / 'notes.txt'}", RGB, "cannot open camera"),
        (f"{video}?fps=3", RGB, "is a file"),
        ("camera:/dev/video0?through=picamera2", RGB, "does not open /dev/video0"),
        (video, Model((200, 6, 4)), "takes [200, 6, 4]"),
        (video, Model((24, 32, 3), preprocessing=Preprocessing(channels=("x", "y", "z"))), "x, y, z"),
    ):
        with pytest.raises(InputError) as caught:
            open_source(spec, model)
        assert said in caught.value.cause
        assert caught.value.hint


def test_without_opencv_and_picamera2_it_says_what_to_install(video, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "picamera2", None)
    for spec, said in ((video, "whylite[camera]"), ("camera:0?through=picamera2", "python3-picamera2")):
        with pytest.raises(InputError) as caught:
            open_source(spec, RGB)
        assert said in caught.value.hint
