"""Files that TFLite's metadata tools attach to a model, as a zip archive behind the flatbuffer."""

from __future__ import annotations

import io
import lzma
import zipfile

from edge.bundle import ZIP_ERRORS

from ..errors import ModelFileError

_MAX_BYTES = 64 << 20
_UNREADABLE = (*ZIP_ERRORS, lzma.LZMAError)
_EPOCH = (1980, 1, 1, 0, 0, 0)


def read_attachments(data: bytes) -> dict[str, bytes]:
    """Return the attached files by name, none where nothing readable is attached."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _UNREADABLE:
        return {}  # weights may hold an archive's four-byte mark by chance
    files: dict[str, bytes] = {}
    room = _MAX_BYTES
    try:
        with archive:
            for entry in archive.infolist():
                with archive.open(entry) as member:
                    files[entry.filename] = member.read(room + 1)
                room -= len(files[entry.filename])
                if room < 0:
                    raise ModelFileError("its attached files unpack to more than 64 MiB", "attach smaller files")
    except _UNREADABLE as error:
        raise ModelFileError(f"its attached files cannot be read: {error}", "attach them again") from error
    return files


def append_attachments(model: bytes, files: dict[str, bytes]) -> bytes:
    """Return the model's bytes with the files attached."""
    if not files:
        return model
    buffer = io.BytesIO()
    buffer.write(model)
    # Not mode "a", which looks for an archive to extend and may find one inside the model.
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return buffer.getvalue()
