"""Every key of the configuration: its type, its default and what it means.

The descriptions below are the comments of `rtpipeline config --defaults`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ..errors import ConfigError
from .robustness import RobustnessKeys
from .section import (
    Device,
    ExistingFile,
    ExistingPath,
    GoalsFile,
    Levels,
    Metric,
    Names,
    NonZero,
    ParameterFile,
    PositiveFloat,
    PositiveInt,
    Section,
    Text,
    goal_templates,
    parameter_presets,
    unique,
)
from .structures import StructureKeys


class Accumulation(Section):
    """Courses of one patient whose doses are added."""

    patient: Text = Field(description="PatientID")
    courses: Annotated[Names, Field(min_length=2)] = Field(description="course IDs, two or more")


class AlphaBeta(Section):
    """a/b ratios in Gy."""

    target: PositiveFloat = Field(10.0, description="Gy, for targets (PTV, CTV, GTV)")
    other: PositiveFloat = Field(3.0, description="Gy, for everything else")
    structures: Mapping[Text, PositiveFloat] = Field(
        {},
        description="Gy, for single structures by name",
        examples=["{SpinalCord: 2, Parotid_L: 3}"],
    )


class Eqd2(Section):
    """Dose in 2 Gy fractions."""

    enabled: bool = Field(
        False,
        description="also report EQD2 = D (d + a/b) / (2 + a/b), d the voxel's dose per fraction",
    )
    alpha_beta: AlphaBeta = Field(AlphaBeta(), description="a/b ratios")


class DoseKeys(Section):
    """Which doses make up the course."""

    policy: Literal["evidence", "each-plan"] = Field(
        "evidence",
        description="evidence: plans are summed when records, relations or prescriptions show that "
        "they are phases of one treatment, else the course waits for a decision; "
        "each-plan: never summed, each plan's dose is reported alone",
    )
    outside_dose: Literal["unknown", "zero", "exclude"] = Field(
        "unknown",
        description="the part of a structure outside the dose grid. unknown: metrics that depend "
        "on it are empty or lower bounds, and flagged; zero: it counts as 0 Gy; exclude: it is "
        "left out. The last two are noted in the flags of every row that they change",
    )
    max_grid_voxels: PositiveInt = Field(
        100_000_000,
        description="largest grid of a dose sum (4 bytes a voxel); beyond it the spacing is "
        "coarsened and said so",
    )
    eqd2: Eqd2 = Field(Eqd2(), description="equivalent dose in 2 Gy fractions")
    registration: Literal["dicom", "offer", "none"] = Field(
        "dicom",
        description="doses in different frames of reference. dicom: added through a registration "
        "object of the course; offer: where there is none, a rigid registration of the planning "
        "CTs is made and waits until you accept it (dose, registrations in overrides.yaml); none: "
        "never added",
    )


class PrescriptionKeys(Section):
    """Where prescribed doses come from."""

    file: ExistingFile | None = Field(
        None,
        description="CSV or YAML with the columns patient_id, course_id, level, roi, dose_gy, "
        "fractions; wins over the plans",
    )
    from_name: bool = Field(
        True,
        description="where the plans are silent, take the dose from the name of a target "
        "(PTV_7000, PTV60), flagged inferred-from-name",
    )


class SegmentationModel(Section):
    """One model to run."""

    task: Text | None = Field(None, description="a TotalSegmentator task, such as total")
    folder: ExistingPath | None = Field(
        None, description="or an nnU-Net v2 model: its folder, or the YAML file that describes it"
    )
    fast: bool = Field(False, description="TotalSegmentator's 3 mm model")
    roi_subset: Names = Field((), description="only these classes")
    device: Device = Field("cpu", description="cpu, gpu, gpu:N or mps")
    requires_region: Names = Field((), description="body regions that the image must show")

    @model_validator(mode="after")
    def _one_source(self) -> SegmentationModel:
        if (self.task is None) == (self.folder is None):
            raise ValueError("a model needs either task or folder")
        return self


class SegmentationKeys(Section):
    """Automatic contours."""

    python: ExistingFile | None = Field(
        None,
        description="interpreter that has TotalSegmentator; null: the one that runs RT Pipeline",
    )
    models: tuple[SegmentationModel, ...] = Field(
        (),
        description="models to run, each with task or folder, and on request fast, roi_subset, "
        "device (cpu, gpu, gpu:N, mps), requires_region",
        examples=["- {task: total, device: gpu}"],
    )
    weights: ExistingPath | None = Field(
        None,
        description="folder of TotalSegmentator's weights; null: TOTALSEG_WEIGHTS_PATH, or where "
        "TotalSegmentator itself keeps them",
    )
    license_file: ExistingFile | None = Field(
        None,
        description="file with the licence number that some tasks need; null: the environment's "
        "TOTALSEG_LICENSE_NUMBER, or the one that TotalSegmentator was given",
    )
    threads: PositiveInt | None = Field(None, description="threads of a model; null: all cores")
    timeout_s: PositiveFloat = Field(7200.0, description="seconds for one model on one image")
    stall_s: PositiveFloat = Field(
        1800.0, description="seconds without a word after which a model counts as hanging"
    )
    retry_on_cpu: bool = Field(
        False, description="run a model on the CPU when the memory of the GPU did not suffice"
    )


class Uncertainty(Section):
    """Bands around DVH metrics."""

    enabled: bool = Field(
        False, description="add columns <metric>_low and <metric>_high, and bands to the curves"
    )
    systematic_mm: Annotated[float, Field(ge=0)] = Field(
        3.0,
        description="mm, length of the set-up shifts (for monte-carlo the standard deviation along "
        "each axis)",
    )
    random_mm: Annotated[float, Field(ge=0)] = Field(
        0.0, description="mm, standard deviation of the daily shifts; blurs the dose"
    )
    method: Literal["6-shifts", "14-shifts", "monte-carlo"] = Field(
        "6-shifts",
        description="shifts along the patient's axes, also along the diagonals, or random ones, of "
        "which the 5th to 95th percentile count",
    )
    draws: Annotated[int, Field(ge=20)] = Field(
        100, description="number of random shifts; each costs as much as the DVH itself"
    )
    seed: Annotated[int, Field(ge=0)] = Field(1, description="of the random shifts")
    contour_spacing: bool = Field(
        True,
        description="also every other choice of end_caps and between_planes: what nobody drew "
        "between and beyond the contours",
    )


class DvhKeys(Section):
    """Dose-volume histograms and their metrics."""

    dose_levels_gy: Levels = Field(
        tuple(float(level) for level in range(5, 75, 5)),
        description="Gy; columns V<x>Gy_% and V<x>Gy_cc",
    )
    dose_levels_percent: Levels = Field(
        (90.0, 95.0, 98.0, 100.0, 105.0, 107.0, 110.0),
        description="% of the prescription; columns V<x>%_% and V<x>%_cc",
    )
    metrics: Annotated[tuple[Metric, ...], AfterValidator(unique)] = Field(
        (),
        description="further metrics by AAPM TG-263 with the unit of the result in brackets: "
        "D<n>%[Gy], D<n>cc[Gy], V<n>Gy[% or cc], V<n>%[% or cc]; DC and CV for the cold side",
        examples=['["D0.5cc[Gy]", "V35Gy[%]", "CV12Gy[cc]"]'],
    )
    geud_a: Mapping[Text, NonZero] = Field(
        {},
        description="exponent a of the generalised equivalent uniform dose by structure; "
        "gEUD_Gy is empty for every structure that is not named here",
        examples=["{Rectum: 8, PTV: -10}"],
    )
    goals: GoalsFile | None = Field(
        None,
        description="YAML with clinical goals (structure, metric, operator, limit, tolerance, "
        "priority, source), or the name of a template, an example to be reviewed: "
        f"{', '.join(goal_templates())}",
    )
    uncertainty: Uncertainty = Field(
        Uncertainty(), description="spread of the metrics by set-up errors"
    )
    crosscheck: Annotated[
        tuple[Literal["dicompyler", "plastimatch"], ...],
        AfterValidator(unique),
    ] = Field((), description="recompute with these programs and show the differences")
    units: Literal["Gy", "cGy"] = Field("Gy", description="unit of dose in reports; tables hold Gy")


class RadiomicsKeys(Section):
    """Image features."""

    enabled: bool = Field(
        False, description="extract features of every structure on the planning image, MR and PET"
    )
    params: ParameterFile | None = Field(
        None,
        description="pyradiomics parameter file, or the name of a preset; null: the preset of the "
        f"image's modality ({', '.join(parameter_presets())})",
    )
    rois: Names = Field(
        (), description="only these structures, by name or standard name; empty: all"
    )
    skip: Names = Field((), description="but not these")
    dose: bool = Field(
        False, description="features of the doses too (dosiomics), by the preset dose"
    )
    large_cc: PositiveFloat = Field(
        3000.0,
        description="cc; larger structures on CT get the coarser preset ct_large, unless params "
        "names a file",
    )
    min_voxels: PositiveInt = Field(
        64, description="voxels; a smaller structure is a row with the reason and no features"
    )
    timeout_s: PositiveFloat = Field(
        600.0, description="seconds for one structure; a slower one is a row with the reason"
    )
    robustness: RobustnessKeys = Field(RobustnessKeys(), description="robustness of the features")


class QualityKeys(Section):
    """Quality control."""

    skip: Names = Field(
        (), description="ids of checks that are not run; reports list them as skipped"
    )
    max_rx_gy: PositiveFloat = Field(100.0, description="Gy; a larger prescription is a warning")
    max_fraction_gy: PositiveFloat = Field(34.0, description="Gy; a larger fraction is a warning")
    beam_dose_percent: PositiveFloat = Field(
        10.0, description="how far beam doses may add up to another dose than the prescription's"
    )
    target_d98_percent: PositiveFloat = Field(
        85.0, description="% of its level below which D98% of a target is a warning"
    )
    target_d50_percent: PositiveFloat = Field(95.0, description="the same for D50%")
    min_dice: PositiveFloat = Field(
        0.6, description="Dice below which a person's and a program's contours are a warning"
    )
    max_hd95_mm: PositiveFloat = Field(
        15.0, description="the same for a 95 % Hausdorff distance above this, in mm"
    )
    volume_z: PositiveFloat = Field(
        3.5, description="modified z-score of log volume beyond which an organ is an outlier"
    )
    min_courses: PositiveInt = Field(
        8, description="courses that must have an organ before its volumes are compared"
    )


class RunKeys(Section):
    """How work is carried out; changes no result."""

    jobs: PositiveInt | None = Field(None, description="stages at a time; null: one per core")
    memory_gb: PositiveFloat | None = Field(
        None, description="GB for all stages together; null: nine tenths of the machine"
    )
    timeout_s: PositiveFloat = Field(3600.0, description="seconds for one stage of one course")


class OutputKeys(Section):
    """What is written besides the Parquet tables."""

    xlsx: bool = Field(True, description="results/results.xlsx")
    csv: bool = Field(
        False, description="every table as CSV too (failures and codebook always have one)"
    )
    rtstruct: bool = Field(True, description="derived and automatic structures as RTSTRUCT")
    seg: bool = Field(False, description="also as DICOM SEG")
    pseudonymise: Path | None = Field(
        None,
        description="key file outside the output, made when missing: it replaces IDs, UIDs and "
        "dates in tables and DICOM",
    )


class Config(Section):
    """The whole configuration; frozen, with a default for every key."""

    merge: Literal["frame-of-reference-or-ct-study", "frame-of-reference", "ct-study", "plan"] = (
        Field(
            "frame-of-reference-or-ct-study",
            description="which plans of a patient form one course: those that share a frame of "
            "reference or a CT study, only the one, only the other, or each plan for itself",
        )
    )
    max_days_between_plans: PositiveInt | None = Field(
        None, description="days; plans that lie further apart are different courses; null: no limit"
    )
    accumulate: tuple[Accumulation, ...] = Field(
        (),
        description="courses of one patient whose doses are added (re-irradiation), in order of "
        "treatment and without recovery between them, into OUT/<patient>/accumulated_<courses>; "
        "with dose.eqd2 as EQD2 too. Different frames of reference need a registration",
        examples=["- {patient: P1, courses: [2021-05_Lung, 2024-02_Lung]}"],
    )
    dose: DoseKeys = Field(DoseKeys(), description="the dose of a course")
    prescription: PrescriptionKeys = Field(PrescriptionKeys(), description="prescribed doses")
    structures: StructureKeys = Field(StructureKeys(), description="structures")
    segmentation: SegmentationKeys = Field(SegmentationKeys(), description="automatic contours")
    dvh: DvhKeys = Field(DvhKeys(), description="dose-volume histograms")
    radiomics: RadiomicsKeys = Field(RadiomicsKeys(), description="image features")
    quality: QualityKeys = Field(QualityKeys(), description="quality control")
    run: RunKeys = Field(RunKeys(), description="how the work is done; changes no result")
    output: OutputKeys = Field(OutputKeys(), description="files besides the Parquet tables")

    def section_hash(self, *sections: str) -> str:
        """SHA-256 (hex) of the named parts, `dvh` or a single key as `structures.end_caps`.

        A file that a key names counts by its content, not by its path. Raises `KeyError` for a name
        that is no part of the configuration, `ConfigError` for a file that cannot be read.
        """
        parts = {name: _hashable(self._part(name)) for name in sorted(set(sections))}
        text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_yaml(self) -> str:
        """This configuration as a commented file that reads back as the same."""
        from .writing import to_yaml

        return to_yaml(self)

    def _part(self, name: str) -> object:
        part: object = self
        for key in name.split("."):
            if not isinstance(part, Section) or key not in type(part).model_fields:
                raise KeyError(name)
            part = getattr(part, key)
        return part


def _hashable(value: object) -> object:
    if isinstance(value, Section):
        return {key: _hashable(getattr(value, key)) for key in type(value).model_fields}
    if isinstance(value, Mapping):
        return {key: _hashable(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_hashable(item) for item in value]
    if isinstance(value, Path) and not value.is_dir():
        try:
            return hashlib.sha256(value.read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigError(f"{value} cannot be read: {error.strerror or error}") from error
    return str(value) if isinstance(value, Path) else value
