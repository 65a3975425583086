import hashlib
import io
import json
import random
import struct
import zipfile

import numpy as np
import pytest

from edge.bundle import Bundle, npz_bytes, read_npz, seal
from edge.errors import BundleError, EdgeError
from edge.explainer import Explainer


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


def with_manifest(bundle, change):
    """A bundle sealed anew, every digest right, in whose manifest something was changed."""
    with zipfile.ZipFile(io.BytesIO(bundle.to_bytes())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        comment = archive.comment
    manifest = json.loads(members["manifest.json"])
    change(manifest)
    members["manifest.json"] = json.dumps(manifest).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = comment
    return reseal(file.getvalue())


def put(*path):
    def change(manifest):
        *way, last, value = path
        for key in way:
            manifest = manifest[key]
        manifest[last] = value

    return change


NONSENSE = {
    "a preprocessing by nothing": (put("preprocessing", {"scale": [0.0]}), "preprocessing.scale holds 0"),
    "a type of no number": (put("input", "dtype", "f984808f"), "input.dtype is 'f984808f'"),
    "objects": (put("output", "dtype", "object"), "output.dtype is 'object'"),
    "a shape without end": (put("input", "shape", [1 << 40, 1 << 40]), "input.shape is"),
    "a negative shape": (put("input", "shape", [12, -1, 3]), "input.shape is"),
    "an empty shape": (put("input", "shape", [0]), "input.shape is"),
    "a scale of a float": (put("input", "scale", 0.5), "input.scale is given for float32"),
    "a range that is no number": (put("input", "minimum", float("nan")), "input.minimum is nan"),
    "fewer labels than scores": (put("labels", ["a"]), "labels are 1, and output.shape is [4]"),
    "yes and no of many scores": (put("yes_no", True), "yes_no is of one score, and output.shape is [4]"),
    "no method": (put("heads", []), "heads are none"),
    "one method twice": (lambda m: m["heads"].append(m["heads"][0]), "by the same method twice"),
    "a method without a name": (put("heads", 2, "method", ""), "heads[2].method is empty"),
    "a negative map": (put("heads", 0, "map_shape", [-1, 6]), "heads[0].map_shape is [-1, 6]"),
    "no unit": (put("heads", 0, "unit", 0.0), "heads[0].unit is 0.0"),
    "an endless unit": (put("heads", 0, "unit", 1e300), "heads[0].unit is 1e+300"),
    "calls of too many steps": (
        put("heads", 1, "steps_per_call", 1 << 60),
        "heads[1].steps_per_call is 1152921504606846976",
    ),
    "calls of no steps": (put("heads", 1, "steps_per_call", 0), "heads[1].steps_per_call is 0"),
    "steps without weights": (put("heads", 1, "schedules", 0, "weights", []), "heads[1].schedules[0] is of"),
    "weights without end": (
        lambda m: m["heads"][1]["schedules"][0]["weights"].__setitem__(0, float("inf")),
        "heads[1].schedules[0] has nodes or weights that are not finite",
    ),
    "integration without logits": (put("logits", None), "logits is missing, and heads[1] integrates"),
    "no text": (put("name", "\ud800"), "surrogates not allowed"),
}


@pytest.mark.parametrize(("change", "message"), NONSENSE.values(), ids=NONSENSE)
def test_a_manifest_that_nothing_can_be_computed_with_is_refused_by_field(bundle, change, message):
    with pytest.raises(BundleError) as caught:
        Bundle.from_bytes(with_manifest(bundle, change), "x.why")
    assert caught.value.cause.startswith("x.why: manifest.json is not valid: ")
    assert message in caught.value.cause
    assert caught.value.hint


OTHER_MODEL = {
    "a score by another name": (put("output", "name", "other"), "gives scores where it should give 'other'"),
    "scores for more labels": (
        lambda m: (put("labels", list("abcde"))(m), put("output", "shape", [5])(m)),
        "gives 4 scores",
    ),
    "another map": (put("heads", 0, "map_shape", [3, 3]), "a map [36, 1] for gradcam"),
    "a method without a signature": (put("heads", 0, "predicted", "absent"), "no signature 'absent'"),
    "a method of another signature": (put("heads", 0, "predicted", "saliency"), "failed in 'saliency'"),
    "a baseline of another shape": (put("input", "shape", [12, 6, 6]), "golden.npz"),
}


@pytest.mark.parametrize(("change", "message"), OTHER_MODEL.values(), ids=OTHER_MODEL)
def test_a_manifest_of_another_model_is_found_out_where_it_matters(bundle, change, message):
    opened = Bundle.from_bytes(with_manifest(bundle, change), "x.why")
    explainer = Explainer(opened)
    x = np.zeros(opened.manifest.input_shape)
    with pytest.raises(EdgeError) as caught:
        for step in (explainer.check_golden, lambda: explainer.predict(x), lambda: explainer.explain(x, "gradcam")):
            step()
    assert message in caught.value.cause
    assert caught.value.hint


def test_a_bundle_is_shown_by_what_is_in_it_and_how_large_that_is(bundle):
    shown = repr(bundle)
    assert len(shown) < 300
    assert "'shapes'" in shown
    for head in bundle.manifest.heads:
        assert head.method in shown
    for name, content in bundle.members.items():
        assert f"{name} {len(content):,} bytes" in shown
