import hashlib
import io
import json
import random
import struct
import zipfile

import numpy as np
import pytest

from edge.bundle import Bundle, npz_bytes, read_npz, seal
from edge.errors import BundleError


def reseal(data: bytes) -> bytes:
    """Give a tampered file the seal of an honest one, as an attacker would."""
    return data[:-64] + hashlib.sha256(data[:-64]).hexdigest().encode()


def test_what_is_saved_is_what_is_opened(bundle, bundle_path):
    opened = Bundle.open(bundle_path)
    assert opened.manifest == bundle.manifest
    assert dict(opened.members) == dict(bundle.members)


def test_equal_bundles_are_equal_files(bundle):
    assert bundle.to_bytes() == seal(bundle.manifest, bundle.members).to_bytes()


def test_any_zip_tool_reads_it_and_the_model_lies_aligned_and_uncompressed(bundle):
    data = bundle.to_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        entry = archive.getinfo("model.tflite")
        assert entry.compress_type == zipfile.ZIP_STORED
        name_length, extra_length = struct.unpack("<HH", data[entry.header_offset + 26 : entry.header_offset + 30])
        start = entry.header_offset + 30 + name_length + extra_length
        assert start % 64 == 0
        assert data[start : start + entry.file_size] == bundle.model
        digest = json.loads(archive.read("manifest.json"))["members"]["model.tflite"]
    assert digest == hashlib.sha256(bundle.model).hexdigest()


def test_a_single_flipped_bit_anywhere_is_noticed(bundle):
    data = bytearray(bundle.to_bytes())
    random_ = random.Random(0)
    for _ in range(500):
        position = random_.randrange(len(data))
        data[position] ^= 1 << random_.randrange(8)
        with pytest.raises(BundleError):
            Bundle.from_bytes(bytes(data), "x.why")
        data[position] = bundle.to_bytes()[position]


@pytest.mark.slow
def test_twenty_thousand_mutations_are_refused_or_harmless(bundle):
    """Flipped, cut, stuffed, moved bytes, half of them sealed anew so that what is behind the seal is reached too."""
    honest = bundle.to_bytes()
    directory = honest.rfind(b"PK\x01\x02", 0, honest.rfind(b"PK\x05\x06"))
    manifest = honest.find(b"manifest.json")
    random_ = random.Random(1)
    accepted = 0
    for number in range(20_000):
        data = bytearray(honest)
        for _ in range(random_.choice((1, 1, 2, 8))):
            # Aim at the places a parser looks at as often as at the bulk.
            base = random_.choice((0, manifest, directory, len(data) - 200, random_.randrange(len(data))))
            position = min(max(base + random_.randrange(600), 0), len(data) - 1)
            kind = random_.randrange(5)
            if kind == 0:
                data[position] ^= 1 << random_.randrange(8)
            elif kind == 1:
                del data[position : position + random_.randrange(1, 40)]
            elif kind == 2:
                data[position:position] = random_.randbytes(random_.randrange(1, 40))
            elif kind == 3:
                data[position : position + 4] = random_.choice((b"\xff" * 4, bytes(4), b"\x00\x00\x00\x80"))
            else:
                del data[position:]
                break
        mutated = reseal(bytes(data)) if number % 2 and len(data) > 100 else bytes(data)
        try:
            opened = Bundle.from_bytes(mutated, "mutated.why")
        except BundleError as error:
            assert "mutated.why" in str(error)
        else:
            # Only what an attacker sealed anew can get this far, and then the digests still bind every member.
            assert number % 2 or mutated == honest
            for name, digest in opened.manifest.members.items():
                assert hashlib.sha256(opened.members[name]).hexdigest() == digest
            accepted += 1
    assert accepted < 10_000


def test_a_changed_member_under_a_new_seal_is_refused_by_the_manifest(bundle):
    data = bundle.to_bytes()
    broken = bytearray(data)
    broken[data.index(bundle.model) + 100] ^= 1
    # The zip's own checksum has to be mended as well for the manifest to be asked at all.
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        comment = archive.comment
    members["model.tflite"] = bytes(broken[data.index(bundle.model) :][: len(bundle.model)])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = comment
    with pytest.raises(BundleError, match=r"model\.tflite does not match"):
        Bundle.from_bytes(reseal(file.getvalue()), "x.why")


@pytest.mark.parametrize("change", [{"format": 2}, {"heads": 3}, {"labels": [1]}, {"input": None}, {"members": {}}])
def test_a_manifest_that_does_not_fit_is_refused(bundle, change):
    with zipfile.ZipFile(io.BytesIO(bundle.to_bytes())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        comment = archive.comment
    members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | change).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = comment
    with pytest.raises(BundleError) as caught:
        Bundle.from_bytes(reseal(file.getvalue()), "x.why")
    assert caught.value.hint


def test_keys_of_a_newer_writer_are_skipped(bundle):
    with zipfile.ZipFile(io.BytesIO(bundle.to_bytes())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        comment = archive.comment
    members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | {"colour": "blue"}).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = comment
    assert Bundle.from_bytes(reseal(file.getvalue())).manifest == bundle.manifest


def test_a_missing_file_and_a_folder_that_cannot_be_written_are_named(bundle, tmp_path):
    with pytest.raises(BundleError, match=r"nothing\.why"):
        Bundle.open(tmp_path / "nothing.why")
    with pytest.raises(BundleError, match="cannot write"):
        bundle.save(tmp_path / "no" / "such" / "folder.why")
    assert not list(tmp_path.iterdir())


def test_an_unknown_method_is_answered_with_those_there_are(bundle):
    with pytest.raises(BundleError, match="no method 'lime'") as caught:
        bundle.manifest.head("lime")
    assert "gradcam" in caught.value.hint


def test_array_headers_cannot_promise_more_than_there_is():
    honest = npz_bytes(x=np.arange(6, dtype=np.float32).reshape(2, 3))
    np.testing.assert_array_equal(read_npz(honest, "a")["x"], [[0, 1, 2], [3, 4, 5]])
    # The same length, a billion elements: without a check this would allocate them.
    lying = honest.replace(b"(2, 3)", b"(9**9)")
    with pytest.raises(BundleError):
        read_npz(lying, "a")
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", pickled.getvalue())
    with pytest.raises(BundleError):
        read_npz(file.getvalue(), "a")
