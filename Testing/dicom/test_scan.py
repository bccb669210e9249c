"""The raw header scan against pydicom, on generated files in every encoding and on real ones."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RTStructureSetStorage,
)

from RTPipelineLib.dicom import scan
from RTPipelineLib.dicom.scan import Refusal, content_digest, scan_header
from RTPipelineLib.dicom.scan_fields import Header
from RTPipelineLib.dicom.scan_layout import Layouts

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
]
KEYWORDS = {
    "sop_class_uid": "SOPClassUID",
    "sop_uid": "SOPInstanceUID",
    "modality": "Modality",
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
    "frame_uid": "FrameOfReferenceUID",
    "study_date": "StudyDate",
    "series_date": "SeriesDate",
    "series_time": "SeriesTime",
    "series_number": "SeriesNumber",
    "series_description": "SeriesDescription",
    "image_type": "ImageType",
    "instance_number": "InstanceNumber",
    "position": "ImagePositionPatient",
    "orientation": "ImageOrientationPatient",
    "pixel_spacing": "PixelSpacing",
    "frames": "NumberOfFrames",
    "rows": "Rows",
    "columns": "Columns",
}
META = {
    "meta_class_uid": "MediaStorageSOPClassUID",
    "meta_sop_uid": "MediaStorageSOPInstanceUID",
    "transfer_syntax": "TransferSyntaxUID",
}


def by_pydicom(path: Path) -> dict[str, object]:
    """The fields of a Header as pydicom decodes them; numbers as floats."""
    ds = pydicom.dcmread(path, force=True)

    def value(source: Dataset, keyword: str) -> object:
        found = source.get(keyword)
        if found is None or found == "":
            return 0 if keyword in ("Rows", "Columns") else ""
        if keyword in ("Rows", "Columns"):
            return int(found)
        if isinstance(found, pydicom.multival.MultiValue):
            return [comparable(part) for part in found]
        return comparable(found)

    fields = {name: value(ds, keyword) for name, keyword in KEYWORDS.items()}
    fields |= {name: value(ds.file_meta, keyword) for name, keyword in META.items()}
    return fields | {"has_pixels": "PixelData" in ds}


def comparable(value: object) -> object:
    """Leading blanks, which carry no meaning, apart; numbers by value."""
    if isinstance(value, int | float):
        return float(value)
    return str(value).strip(" \0")


def by_scan(header: Header) -> dict[str, object]:
    fields = header._asdict()
    del fields["contours"]
    for name, value in fields.items():
        if name in ("position", "orientation", "pixel_spacing") and value:
            fields[name] = [float(part) for part in value.split("\\")]
        elif name in ("series_number", "instance_number", "frames") and value:
            fields[name] = float(value)
        elif isinstance(value, str) and "\\" in value:
            fields[name] = value.split("\\")
    return fields


def ct(**changes: object) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, "1.2.3.4.5"
    ds.StudyDate, ds.SeriesDate, ds.SeriesTime = "20240301", "20240302", "101112.5"
    ds.Modality, ds.SeriesDescription = "CT", "Beckenübersicht"
    ds.PatientName, ds.PatientID = "Müller^Jörg", "P-1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.4", "1.2.5"
    ds.SeriesNumber, ds.InstanceNumber = 3, 17
    ds.ImagePositionPatient = [-250.5, -1e-5, 12.25]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [0.9765625, 0.9765625]
    ds.Rows = ds.Columns = 8
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = bytes(128)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def save(ds: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian, bare: bool = False) -> Path:
    """Write in a transfer syntax; `bare` leaves preamble and file meta information away."""
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    if syntax == JPEG2000Lossless:
        ds.PixelData = encapsulate([b"\xff\x4f" + bytes(60)] * 2)
        ds["PixelData"].is_undefined_length = True
    if bare:
        pydicom.dcmwrite(path, ds, implicit_vr=implicit, little_endian=little)
    else:
        ds.file_meta.TransferSyntaxUID = syntax
        ds.save_as(path, enforce_file_format=True)
    return path


def nested(depth: int, undefined: bool) -> Sequence:
    """A sequence whose items hold the very tags that the scan wants from the top level."""
    item = Dataset()
    item.SOPInstanceUID, item.PatientID, item.Rows = "9.9.9", "not this one", 4711
    item.private_block(0x0011, "MAKER", create=True).add_new(1, "OB", b"\xfe\xff\x0d\xe0" * 3)
    if depth:
        item.ReferencedImageSequence = nested(depth - 1, undefined)
        item["ReferencedImageSequence"].is_undefined_length = undefined
    item.is_undefined_length_sequence_item = undefined
    return Sequence([item, item])


# Without file meta information nobody can know that data are deflated or compressed.
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize(
    ("syntax", "bare"), [*((s, False) for s in SYNTAXES), *((s, True) for s in SYNTAXES[:3])]
)
def test_every_encoding_gives_pydicoms_values(tmp_path, syntax, undefined, bare):
    ds = ct(SourceImageSequence=nested(2, undefined), RequestAttributesSequence=Sequence())
    ds["SourceImageSequence"].is_undefined_length = undefined
    ds.private_block(0x0029, "MAKER", create=True).add_new(0x10, "SQ", nested(1, undefined))
    ds.private_block(0x0029, "MAKER").add_new(0x11, "OB", bytes(40_000))  # beyond the first window
    path = save(ds, tmp_path / "file", syntax, bare)
    header = scan_header(path)
    assert isinstance(header, Header)
    assert by_scan(header) == by_pydicom(path)
    assert header.rows == 8 and header.patient_id == "P-1"


texts = st.text(st.characters(codec="utf-8", exclude_characters="\\\0"), max_size=20)
uids = st.from_regex(r"[1-9](\.[1-9][0-9]{0,8}){0,5}", fullmatch=True)
numbers = st.floats(-1000, 1000).map(lambda number: float(f"{number:.8g}"))


@settings(deadline=None, max_examples=150)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "PatientID": texts,
            "SeriesDescription": texts,
            "SOPInstanceUID": st.none() | uids,
            "SeriesInstanceUID": st.none() | uids,
            "SeriesNumber": st.none() | st.integers(-(2**31), 2**31 - 1),
            "ImagePositionPatient": st.none() | st.lists(numbers, min_size=3, max_size=3),
            "NumberOfFrames": st.integers(1, 500),
            "Rows": st.integers(0, 65535),
            "StudyDate": st.sampled_from(["", "20240229"]),
        },
    ),
    st.sampled_from(SYNTAXES),
)
def test_any_values_equal_pydicoms(tmp_path_factory, changes, syntax):
    path = save(ct(**changes), tmp_path_factory.getbasetemp() / "any", syntax)
    assert by_scan(scan_header(path)) == by_pydicom(path)


@pytest.mark.parametrize(
    ("character_set", "text"),
    [
        ("ISO_IR 100", "Ångström"),
        ("ISO_IR 144", "Люкceмбypг"),  # noqa: RUF001
        ("ISO_IR 192", "山田太郎 ✓"),
        ("GB18030", "王小东"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ"),
        (["", "ISO 2022 IR 87"], "山田"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ"),
        (["", "ISO 2022 IR 149"], "김희중"),
    ],
)
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_text_follows_the_character_set(tmp_path, character_set, text, syntax):
    ds = ct(SpecificCharacterSet=character_set, PatientID=text, SeriesDescription=text)
    ds.PatientName = "A^B"
    header = scan_header(save(ds, tmp_path / "file", syntax))
    assert header.patient_id == text and header.series_description == text


def test_group_lengths_are_passed_over(tmp_path):
    plain = save(ct(), tmp_path / "plain")
    data = plain.read_bytes()
    at = data.index(b"\x10\x00\x10\x00PN")
    group = b"\x10\x00\x00\x00UL\x04\x00" + struct.pack("<I", 40)
    (tmp_path / "grouped").write_bytes(data[:at] + group + data[at:])
    assert scan_header(tmp_path / "grouped") == scan_header(plain)


def test_unknown_vr_goes_to_pydicom(tmp_path):
    path = save(ct(), tmp_path / "file")
    path.write_bytes(path.read_bytes().replace(b"\x20\x00\x13\x00IS", b"\x20\x00\x13\x00ZZ"))
    header = scan_header(path)
    assert header.instance_number == "17" and header.patient_id == "P-1"


def test_implicit_items_in_an_unknown_sequence_of_an_explicit_file(tmp_path):
    """PS3.5 6.2.2: UN of undefined length is a sequence in implicit VR."""
    path = save(ct(), tmp_path / "file")
    data = path.read_bytes()
    at = data.index(b"\x20\x00\x0d\x00UI")
    item = struct.pack("<HHI", 0x0010, 0x0020, 6) + b"NOT ME"
    sequence = b"\x19\x00\x10\x10UN\0\0\xff\xff\xff\xff" + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    sequence += item + struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    path.write_bytes(data[:at] + sequence + data[at:])
    header = scan_header(path)
    assert by_scan(header) == by_pydicom(path) and header.patient_id == "P-1"


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
def test_no_truncated_file_passes_for_whole(tmp_path, syntax):
    ds = ct(SourceImageSequence=nested(1, True))
    ds["SourceImageSequence"].is_undefined_length = True
    data = save(ds, tmp_path / "whole.dcm", syntax).read_bytes()
    path = tmp_path / "cut.dcm"
    padding = int(syntax == DeflatedExplicitVRLittleEndian)  # a byte after the stream's own end
    for length in range(len(data) - padding):
        path.write_bytes(data[:length])
        result = scan_header(path)
        if isinstance(result, Refusal):
            assert result.damaged, (length, result)
        else:  # cut exactly between two elements: the missing pixels tell
            assert not result.has_pixels, length
    path.write_bytes(data)
    assert isinstance(scan_header(path), Header)


def test_missing_pixels_are_named_with_their_sizes(tmp_path):
    path = save(ct(Rows=1000, Columns=1000, PixelData=bytes(2_000_000)), tmp_path / "dose")
    path.write_bytes(path.read_bytes()[:-1_500_000])
    expected = "the file ends after 500 kB of 2 MB pixel data; copy it again"
    assert scan_header(path) == Refusal(expected, True)


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=400), st.sampled_from([b"", b"DICM", b"\x08\x00\x05\x00CS", b"\2\0\0\0UL"])
)
def test_random_bytes_never_raise(tmp_path_factory, noise, start):
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes((bytes(128) if start == b"DICM" else b"") + start + noise)
    assert isinstance(scan_header(path), Header | Refusal)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
def test_mutated_files_never_raise(tmp_path, syntax):
    ds = ct(SourceImageSequence=nested(2, True))
    ds["SourceImageSequence"].is_undefined_length = True
    data = save(ds, tmp_path / "file", syntax).read_bytes()
    chance = random.Random(7)
    path = tmp_path / "mutant"
    for _ in range(300):
        mutant = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            mutant[chance.randrange(128, len(data))] = chance.choice(
                [0, 255, chance.randrange(256)]
            )
        path.write_bytes(mutant)
        assert isinstance(scan_header(path), Header | Refusal)


@pytest.mark.parametrize(
    ("name", "content", "damaged"),
    [
        ("notes.txt", b"PTV is fine\n" * 50, False),
        ("results.json", b'{"a": 1}', False),
        ("image.nrrd", b"NRRD0004\ntype: short\n" + bytes(500), False),
        ("export.zip", b"PK\x03\x04" + bytes(300), False),
        ("empty", b"", False),
        ("empty.DCM", b"", True),
        ("page.dcm", b"<html>404 not found</html>", True),
        ("magic", bytes(128) + b"DICM", True),
        ("begins", bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0\x90\0\0\0", True),
        ("bare", b"\x08\x00\x16\x00UI\x1a\x001.2.840", True),
    ],
)
def test_what_is_no_dicom_and_what_is_broken(tmp_path, name, content, damaged):
    (tmp_path / name).write_bytes(content)
    result = scan_header(tmp_path / name)
    assert isinstance(result, Refusal) and result.damaged is damaged and len(result.reason) > 10


def test_deep_nesting_is_refused_not_followed(tmp_path):
    path = save(ct(), tmp_path / "file")
    data = path.read_bytes()
    at = data.index(b"\x20\x00\x0d\x00UI")
    level = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
    path.write_bytes(data[:at] + level * 20_000)
    assert isinstance(scan_header(path), Refusal)


def test_contours_are_located_and_not_needed(tmp_path):
    ds = ct(SOPClassUID=RTStructureSetStorage, Modality="RTSTRUCT")
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(ds, keyword)
    contour = Dataset()
    contour.ContourData = [1.5] * 12_000
    roi = Dataset()
    roi.ContourSequence = Sequence([contour])
    ds.ROIContourSequence = Sequence([roi])
    for undefined in (False, True):
        ds["ROIContourSequence"].is_undefined_length = undefined
        roi["ContourSequence"].is_undefined_length = undefined
        roi.is_undefined_length_sequence_item = undefined
        path = save(ds, tmp_path / "rtstruct")
        begin, end = scan_header(path).contours
        data = path.read_bytes()
        assert data[begin : begin + 6] == b"\x06\x30\x39\x00SQ" and end == len(data)


def test_the_digest_leaves_file_meta_out(tmp_path):
    one, two = ct(), ct()
    two.file_meta.ImplementationVersionName = "ANOTHER"
    digest = content_digest(save(one, tmp_path / "one"))
    assert digest == content_digest(save(two, tmp_path / "two"))
    assert digest != content_digest(save(ct(PatientID="P-2"), tmp_path / "three"))


def slices() -> list[Dataset]:
    """Ten slices of which most have the layout of another, and some have not."""
    found = []
    for number in range(1, 11):
        sequence = nested(1, True)
        sequence[0].PatientID = "not this one" if number % 3 else "nor this"
        ds = ct(InstanceNumber=number, SourceImageSequence=sequence, SOPInstanceUID=f"1.2.{number}")
        ds["SourceImageSequence"].is_undefined_length = True
        ds.ImagePositionPatient = [-1, -1, number * 2.5]
        found.append(ds)
    return found


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
def test_a_known_layout_gives_the_same_header(tmp_path, syntax):
    layouts = Layouts()
    for turn in range(3):
        for ds in slices():
            path = save(ds, tmp_path / "slice", syntax)
            assert scan_header(path, layouts) == scan_header(path)
        known = [layout for layout in layouts._by_size.values() if layout]
        walked = syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
        assert turn == 0 or bool(known) == walked


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_file_that_only_looks_like_its_layout(tmp_path, syntax):
    """Files of one size with any byte changed: heads, delimiters, values, the syntax itself."""
    data = save(slices()[0], tmp_path / "slice", syntax).read_bytes()
    path = tmp_path / "mutant"
    path.write_bytes(data)
    layouts = Layouts()
    scan_header(path, layouts)
    scan_header(path, layouts)
    (layout,) = layouts._by_size.values()
    chance = random.Random(3)
    for at in range(128, layout.length):
        mutant = bytearray(data)
        mutant[at] ^= 1 << chance.randrange(8)
        path.write_bytes(mutant)
        assert scan_header(path, layouts) == scan_header(path), at
        layouts._by_size[len(data)] = layout


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_real_files_equal_pydicom():
    compared = 0
    for folder, _, names in os.walk(SHARED):
        for name in sorted(names)[:30]:
            path = Path(folder, name)
            header = scan_header(path)
            if isinstance(header, Header):
                assert by_scan(header) == by_pydicom(path), path
                compared += 1
            else:
                assert not header.damaged, path
    assert compared > 70


def test_the_first_window_is_all_that_a_plain_slice_costs(tmp_path, monkeypatch):
    """No pixel is read: a file of 100 MB costs what a small one does."""
    path = save(ct(), tmp_path / "file")
    data = path.read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00OW")
    with path.open("wb") as file:
        file.write(data[: at + 8] + struct.pack("<I", 100_000_000))
        file.truncate(at + 12 + 100_000_000)
    read = []
    whole = scan._walk

    def watched(walk, first, reader, size):
        read.append(len(first))
        whole(walk, first, lambda *a: read.append(a[1]) or reader(*a), size)

    monkeypatch.setattr(scan, "_walk", watched)
    assert scan_header(path).has_pixels
    assert sum(read) == scan.FIRST_BYTES
