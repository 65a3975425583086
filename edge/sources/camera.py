"""Images of a camera: ``camera:0?fps=5``, ``camera:/dev/video2``, or of a video: ``camera:FILE``.

Through OpenCV (``pip install 'whylite[camera]'``), or through picamera2 where that is installed, as on a Raspberry Pi
with a ribbon cable, whose cameras OpenCV does not see.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.samples.preprocessing import Preprocessing
from edge.sources import Feed, Item, Model, Ready, Skipped, channel_names

_COLOURS = ("red", "green", "blue")
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as JPEG and OpenCV have it
_INSTALL = {
    "cv2": "pip install 'whylite[camera]', or apt install python3-opencv",
    "picamera2": "apt install python3-picamera2, into a venv made with --system-site-packages",
}


@dataclass(frozen=True)
class Options:
    """``fps`` is how many images a second are wanted at most.

    A camera that is lost, or gives no image for ``stall`` seconds, is opened again if it is to ``retry``.
    """

    fps: float | None = None
    through: Literal["opencv", "picamera2"] | None = None
    stall: float = 5.0
    retry: bool = True


@dataclass(frozen=True)
class Frame:
    """What the model takes: images of ``height`` by ``width`` with these channels, in its shape and scale."""

    height: int
    width: int
    channels: tuple[str, ...]
    shape: tuple[int, ...]
    stated: Preprocessing

    def window(self, rgb: NDArray[np.uint8]) -> Ready:
        """Return an image ``[height, width, 3]`` as the model's input."""
        x = rgb.astype(np.float32)
        x = (x @ _GREY)[..., None] if len(self.channels) == 1 else x[..., [_COLOURS.index(c) for c in self.channels]]
        return Ready(np.ascontiguousarray(self.stated.normalized(self.stated.scaled(x))).reshape(self.shape))


def open(location: str, options: Options, model: Model) -> Feed:
    """Open camera ``location``, by number or device, or the file of that name."""
    frame = _frame(model)
    if not location.isdigit() and not location.startswith("/dev/"):
        if not Path(location).is_file():
            raise InputError(f"there is no camera and no file {location!r}", "as in camera:0, camera:/dev/video0")
        if options.fps is not None or options.through == "picamera2":
            raise InputError(f"{location} is a file: it has no fps and no picamera2", "whylite run --rate paces it")
        return Feed(partial(_opencv, _module("cv2"), location, None, frame, live=False))
    through = options.through
    if through is None:
        through = "picamera2" if location.isdigit() and find_spec("picamera2") is not None else "opencv"
    if through == "picamera2":
        if not location.isdigit():
            raise InputError(f"picamera2 does not open {location}", "it goes by numbers: camera:0")
        connect = partial(_picamera2, _module("picamera2"), int(location[:9]), options.fps, frame)
    else:
        where = int(location[:9]) if location.isdigit() else location
        connect = partial(_opencv, _module("cv2"), where, options.fps, frame, live=True)
    return Feed(connect, live=True, retry=options.retry, stall=options.stall)


def _frame(model: Model) -> Frame:
    shape, names = model.input_shape, channel_names(model)
    sizes = shape[next((place for place, size in enumerate(shape) if size > 1), 0) :]
    height, width, channels = (*sizes, 1) if len(sizes) == 2 else sizes if len(sizes) == 3 else (0, 0, 0)
    if channels not in {1, 3}:
        raise InputError(
            f"a camera gives images, and the model takes {list(shape)}", "height, width, and 1 or 3 colours"
        )
    names = names or (_COLOURS if channels == 3 else ("grey",))
    if len(names) != channels or (set(names) != set(_COLOURS) if channels == 3 else names != ("grey",)):
        raise InputError(
            f"the channels that the manifest states are {', '.join(names)}", "a camera has red, green and blue, or grey"
        )
    return Frame(height, width, names, shape, model.preprocessing or Preprocessing())


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"a camera needs {name}: {error}", _INSTALL[name]) from error


def _opencv(cv2: Any, where: int | str, fps: float | None, frame: Frame, *, live: bool) -> Generator[Item]:
    camera = cv2.VideoCapture(where)
    try:
        if not camera.isOpened():
            raise InputError(f"cannot open camera {where}", "is it there, yours to read, and not in use?")
        yield None
        due, period = time.monotonic(), 1 / fps if fps else 0.0
        while camera.grab():
            if period and time.monotonic() < due:
                yield Skipped()
                continue
            due = max(due + period, time.monotonic())  # a late image does not hurry those after it
            good, image = camera.retrieve()
            if good:
                yield frame.window(_fitted(cv2, image, frame))
        if live:
            raise InputError(f"lost camera {where}: it gives no images", "check its cable")
    except cv2.error as error:
        raise InputError(f"camera {where}: {error}", "is it a camera, or a video that OpenCV can read?") from error
    finally:
        camera.release()


def _fitted(cv2: Any, image: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
    """Return the middle of an image of OpenCV's, of the frame's proportions and size, in red, green, blue."""
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    height, width = image.shape[:2]
    tall = min(height, max(1, round(width * frame.height / frame.width)))
    wide = min(width, max(1, round(height * frame.width / frame.height)))
    top, left = (height - tall) // 2, (width - wide) // 2
    middle = image[top : top + tall, left : left + wide]
    shrinks = tall >= frame.height and wide >= frame.width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    fitted: NDArray[np.uint8] = cv2.resize(middle, (frame.width, frame.height), interpolation=how)[..., ::-1]
    return fitted


def _picamera2(picamera2: Any, number: int, fps: float | None, frame: Frame) -> Generator[Item]:
    """Yield images that the camera's own processor has cut to the frame's proportions and size."""
    size = (frame.width, frame.height)
    try:
        camera = picamera2.Picamera2(number)
    except (IndexError, RuntimeError, OSError) as error:
        raise InputError(f"cannot open camera {number}: {error}", "`rpicam-hello --list-cameras` lists them") from error
    try:
        controls = {"FrameRate": fps} if fps else {}
        # libcamera names formats from the highest byte down: BGR888 is red, green, blue in memory
        camera.configure(camera.create_video_configuration(main={"size": size, "format": "BGR888"}, controls=controls))
        given = tuple(camera.camera_configuration()["main"]["size"])
        if given != size:
            raise InputError(f"camera {number} gives {given} and not {size}", "try camera:N?through=opencv")
        camera.start()
        yield None
        while True:
            image = camera.capture_array("main")
            yield frame.window(image[: frame.height, : frame.width])
    except (RuntimeError, OSError) as error:
        raise InputError(f"lost camera {number}: {error}", "check its cable") from error
    finally:
        camera.close()
