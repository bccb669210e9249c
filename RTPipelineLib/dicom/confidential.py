"""A DICOM object without what identifies its patient, still of use to research.

PS3.15 Annex E, Basic Application Level Confidentiality Profile, by the table of attributes that the
package dicom-anonymizer takes from the standard, with the options Retain Longitudinal Temporal
Information with Modified Dates, Retain Patient Characteristics, Retain Safe Private and Clean
Descriptors. Beyond the table every UID but those of the standard is replaced, every text is cleaned
and what no dictionary knows is removed. Pixels are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import cache

from pydicom.datadict import dictionary_keyword, dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ..errors import UsageError
from .pseudonyms import PseudonymKey

# PS3.16 CID 7050 and CP-2173: profile and options, as DeidentificationMethodCodeSequence has them.
METHODS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113105", "Clean Descriptors Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
    ("113111", "Retain Safe Private Option"),
)
CHARACTERISTICS = {"PatientSex", "PatientAge", "PatientSize", "PatientWeight"}
# What courses, prescriptions and structures are known by; cleaned of the patient's identifiers.
DESCRIPTORS = {
    "DoseReferenceDescription",
    "PrescriptionDescription",
    "ROIName",
    "ROIObservationLabel",
    "RTPlanLabel",
    "RTPlanName",
    "SeriesDescription",
    "StructureSetLabel",
    "StructureSetName",
}
# Private elements that SUV needs (PS3.15 Table E.3.10-1 has Philips' as safe; GE's is a date).
SAFE_PRIVATE = (
    (0x7053, "Philips PET Private Group", 0x00),
    (0x7053, "Philips PET Private Group", 0x09),
    (0x0009, "GEMS_PETD_01", 0x0D),
)
# What stands in labels for what identified somebody: the same for all, so that names stay alike.
TAKEN_OUT = "XXX"
_TEXTS = {"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"}
_CLASSES = {
    "ImplementationClassUID",
    "MediaStorageSOPClassUID",
    "ReferencedSOPClassUID",
    "SOPClassUID",
    "TransferSyntaxUID",
}
_STANDARD_UID = "1.2.840.10008."
_REMOVE, _EMPTY, _REPLACE, _ENTER = "remove", "empty", "replace", "enter"
_PATIENT_GROUP = 0x0010
_OLDEST = 89  # years; older people are few (45 CFR 164.514(b)(2)(i)(C))
_DATE = re.compile(r"(\d{4})[-.]?(\d{2})[-.]?(\d{2})(.*)", re.DOTALL)


def check_profile() -> None:
    """Raise `UsageError` when the table of the standard is not installed."""
    try:
        _actions()
    except ImportError:
        raise UsageError(
            "output.pseudonymise needs the package dicom-anonymizer: "
            "pip install 'slicer-rtpipeline[pseudonymise]'"
        ) from None


def make_confidential(ds: Dataset, key: PseudonymKey) -> None:
    """Replace, clean and remove in place. Values that are not concerned keep their bytes."""
    _Cleaner(ds, key).clean(ds)
    ds.preamble, ds.file_meta = bytes(128), _file_meta(ds, key)
    codes = []
    for value, meaning in METHODS:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        codes.append(code)
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "PS3.15 Basic Profile with options, by RT Pipeline"
    ds.DeidentificationMethodCodeSequence = Sequence(codes)
    ds.LongitudinalTemporalInformationModified = "MODIFIED"


def _file_meta(ds: Dataset, key: PseudonymKey) -> FileMetaDataset:
    """How the file is encoded and what it is, and nothing of who made or sent it."""
    meta, before = FileMetaDataset(), getattr(ds, "file_meta", {})
    meta.TransferSyntaxUID = before.get("TransferSyntaxUID") or (
        ImplicitVRLittleEndian if ds.original_encoding[0] else ExplicitVRLittleEndian
    )
    if sop_class := ds.get("SOPClassUID") or before.get("MediaStorageSOPClassUID"):
        meta.MediaStorageSOPClassUID = sop_class
    if own := ds.get("SOPInstanceUID"):
        meta.MediaStorageSOPInstanceUID = own
    elif stated := before.get("MediaStorageSOPInstanceUID"):
        meta.MediaStorageSOPInstanceUID = key.uid(stated)
    return meta


class _Cleaner:
    """What replaces what in one object."""

    def __init__(self, ds: Dataset, key: PseudonymKey) -> None:
        self._key = key
        patient = str(ds.get("PatientID", "") or "")
        self._pseudonym = key.pseudonym(patient)
        self._shift = key.shift(patient)
        self._identifiers = _pattern(_identifiers(ds))
        self._dates = {old: new for old, new in self._written_dates(ds)}

    def clean(self, ds: Dataset) -> None:
        """One level of an object, then those below."""
        kept = list(self._safe_private(ds))
        for tag in list(ds.keys()):
            self._element(ds, tag)
        for group, creator, offset, vr, value in kept:
            ds.private_block(group, creator, create=True).add_new(offset, vr, value)

    def _element(self, ds: Dataset, tag: BaseTag) -> None:
        vr = _vr_of(ds, tag)
        if tag.is_private or not vr:
            del ds[tag]
            return
        keyword = dictionary_keyword(tag) if vr != "GL" else ""
        action = _action_on(tag)
        if keyword in ("PatientID", "PatientName"):
            ds[tag].value = self._pseudonym
        elif keyword == "PatientAge":
            ds[tag].value = _age(str(ds[tag].value or ""))
        elif keyword in CHARACTERISTICS:
            return
        elif vr == "UI":
            if keyword not in _CLASSES:
                self._each(ds, tag, self._uid)
        elif vr in ("DA", "DT") and tag.group != _PATIENT_GROUP:
            self._each(ds, tag, self._moved)
        elif vr == "TM" and tag.group != _PATIENT_GROUP:
            return
        elif action is not None and keyword not in DESCRIPTORS:
            self._act(ds, tag, vr, action)
        elif vr == "PN":
            ds[tag].value = ""
        elif vr in _TEXTS:
            self._each(ds, tag, self._text)
        elif vr == "SQ":
            self._below(ds, tag)

    def _act(self, ds: Dataset, tag: BaseTag, vr: str, action: str) -> None:
        if action == _REMOVE:
            del ds[tag]
        elif action == _ENTER and vr == "SQ":
            self._below(ds, tag)
        elif vr == "SQ":
            ds[tag].value = Sequence()
        elif action == _REPLACE and vr in _TEXTS:
            ds[tag].value = "REMOVED"
        elif vr in ("OB", "OW", "UN"):
            ds[tag].value = b""
        else:
            ds[tag].value = ""

    def _below(self, ds: Dataset, tag: BaseTag) -> None:
        for item in ds[tag].value:
            self.clean(item)

    def _each(self, ds: Dataset, tag: BaseTag, change: Callable[[str], str]) -> None:
        """Change one or several values; an element whose values stay keeps its bytes."""
        value = ds[tag].value
        several = not isinstance(value, str) and isinstance(value, Iterable)
        before = [str(part) for part in value] if several else [str(value or "")]
        after = [change(part) for part in before]
        if after != before:
            ds[tag].value = after if several else after[0]

    def _uid(self, uid: str) -> str:
        return uid if not uid or uid.startswith(_STANDARD_UID) else self._key.uid(uid)

    def _moved(self, value: str) -> str:
        """A date, or date and time, of another day; nothing when it is no date."""
        match = _DATE.fullmatch(value.strip())
        try:
            day = date(*(int(match[n]) for n in (1, 2, 3))) + self._shift if match else None
        except (ValueError, OverflowError):
            return ""
        return f"{day:%Y%m%d}{match[4]}" if match and day else ""

    def _text(self, text: str) -> str:
        for old, new in self._dates.items():
            text = text.replace(old, new)
        return self._identifiers.sub(TAKEN_OUT, text)

    def _written_dates(self, ds: Dataset) -> Iterator[tuple[str, str]]:
        """The object's days as people write them into labels, and the days that replace them."""
        for tag in list(ds.keys()):
            if not tag.is_private and _vr_of(ds, tag) in ("DA", "DT"):
                match = _DATE.match(str(ds[tag].value or ""))
                new = self._moved("".join(match[n] for n in (1, 2, 3))) if match else ""
                if match and new:
                    yield match[1] + match[2] + match[3], new
                    yield f"{match[1]}-{match[2]}-{match[3]}", f"{new[:4]}-{new[4:6]}-{new[6:]}"

    def _safe_private(self, ds: Dataset) -> Iterator[tuple[int, str, int, str, object]]:
        for group, creator, offset in SAFE_PRIVATE:
            try:
                element = ds.private_block(group, creator)[offset]
            except KeyError:
                continue
            value, vr = element.value, element.VR
            if group == 0x0009:
                text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
                value, vr = self._moved(text.strip("\0 ")), "DT"
            yield group, creator, offset, vr, value


def _identifiers(ds: Dataset) -> set[str]:
    """What people write into labels: IDs, and the parts of names."""
    found = {str(ds.get(name, "") or "") for name in ("PatientID", "AccessionNumber")}
    others = ds.get("OtherPatientIDs") or ()
    found |= {others} if isinstance(others, str) else {str(one) for one in others}
    found |= {str(item.get("PatientID", "")) for item in ds.get("OtherPatientIDsSequence") or ()}
    found.add(str(ds.get("InstitutionName", "") or ""))
    for tag in list(ds.keys()):
        if not tag.is_private and _vr_of(ds, tag) == "PN":
            found |= set(re.split(r"[\^=\\\s,]+", str(ds[tag].value or "")))
    return {one.strip() for one in found if len(one.strip()) >= 3}


def _pattern(identifiers: set[str]) -> re.Pattern[str]:
    """Whole words only: Heart stays when somebody is called Hart."""
    words = "|".join(re.escape(word) for word in sorted(identifiers, key=len, reverse=True))
    return re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])" if words else r"(?!)", re.IGNORECASE)


def _age(age: str) -> str:
    years = re.fullmatch(r"(\d{3})Y", age)
    return f"{_OLDEST + 1:03d}Y" if years and int(years[1]) > _OLDEST else age


def _vr_of(ds: Dataset, tag: BaseTag) -> str:
    """The value representation, by the dictionary where the file does not say it; GL for group
    lengths, nothing for what nobody knows."""
    if tag.element == 0:
        return "GL"
    vr = ds.get_item(tag).VR
    if vr and vr != "UN":
        return str(vr)
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _action_on(tag: BaseTag) -> str | None:
    group = tag.group & 0xFF00
    if group == 0x5000 or (group == 0x6000 and tag.element in (0x3000, 0x4000)):
        return _REMOVE  # curves, and overlays with their comments
    return _actions().get(tag)


@cache
def _actions() -> dict[BaseTag, str]:
    """PS3.15 Table E.1-1: what becomes of each attribute in the basic profile. Where it offers a
    choice by the attribute's type, the one that every type allows."""
    from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table

    kinds = (
        (table.X_TAGS, _REMOVE),
        (table.Z_TAGS, _EMPTY),
        (table.X_Z_TAGS, _EMPTY),
        (table.D_TAGS, _REPLACE),
        (table.Z_D_TAGS, _REPLACE),
        (table.X_D_TAGS, _REPLACE),
        (table.X_Z_D_TAGS, _REPLACE),
        (table.X_Z_U_STAR_TAGS, _ENTER),
    )
    return {Tag(tag): action for tags, action in kinds for tag in tags if len(tag) == 2}
