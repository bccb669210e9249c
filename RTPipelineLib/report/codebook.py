"""Every column of every results table: its order, unit, definition and source.

This is the one place that lists columns (those of image features in `codebook_radiomics.py`):
`tables.py` takes their order from here, and `results/codebook.csv` is made from here. In a column
name `<x>` stands for a number and any other `<word>` for a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .codebook_radiomics import CLUSTERS, FEATURES, LONG, ROBUSTNESS
from .entry import NUMBER, Entry

if TYPE_CHECKING:
    import pandas

CODEBOOK_COLUMNS = ("table", "column", "unit", "definition", "source")

ICRU83 = "ICRU Report 83 (2010)"
ICRU62 = "ICRU Report 62 (1999)"
TG263 = "AAPM TG-263 (2018)"
RTOG = "Shaw et al., Int J Radiat Oncol Biol Phys 27 (1993) 1231"
PADDICK = "Paddick, J Neurosurg 93 Suppl 3 (2000) 219"
PADDICK_GI = "Paddick and Lippitz, J Neurosurg 105 Suppl (2006) 194"
NIEMIERKO = "Niemierko, Med Phys 26 (1999) 1100"
VAN_HERK = "van Herk et al., Int J Radiat Oncol Biol Phys 47 (2000) 1121"
EQD2_SOURCE = (
    "Fowler, Br J Radiol 62 (1989) 679; Joiner and van der Kogel, Basic Clinical Radiobiology"
)

_WHO = (
    Entry("patient_id", "", "Patient ID of the course's objects", "PS3.3 C.7.1.1 (0010,0020)"),
    Entry("course_id", "", "Course within the patient: plan date and label; never renamed"),
)
_ROI = (
    *_WHO,
    Entry(
        "source",
        "",
        "Who made the structure: clinical (came with the plan), totalsegmentator, another model, "
        "seg (a DICOM SEG of the course), derived or edited",
    ),
    Entry("roi_number", "", "ROI Number in its structure set", "PS3.3 C.8.8.5 (3006,0022)"),
    Entry("roi_name", "", "ROI Name as the structure set has it", "PS3.3 C.8.8.5 (3006,0026)"),
)
_DOSE_SOURCE = Entry(
    "dose_source",
    "",
    "Which dose the row is about: the course's dose (one plan, or the sum of several), or one plan "
    "alone",
)


def _dose_at(volume: str, unit: str, text: str, source: str = ICRU83) -> Entry:
    return Entry(f"D{volume}{unit}_Gy", "Gy", text, source)


_HOTTEST = "Lowest dose in the hottest {} of the structure"
_BAND = (
    "under set-up errors and by contour spacing (dvh.uncertainty): extremes, of Monte Carlo's "
    "draws the 5th and 95th percentile; empty where a variant has no such value"
)
_METRICS = (
    *_ROI,
    Entry("roi_standard_name", "", "Standard name: decided, by rule or TG-263; empty: none", TG263),
    Entry("volume_cc", "cc", "Volume of the structure, from its contours or mask alone"),
    Entry(
        "dose_coverage_percent",
        "%",
        "Share of the volume inside the dose grid (half a voxel beyond its outer voxel centres)",
    ),
    Entry(
        "rx_gy", "Gy", "Prescribed dose that relative metrics of this row refer to; empty: unknown"
    ),
    Entry("rx_level", "", "Name of the prescription level"),
    Entry(
        "rx_source",
        "",
        "Who says so: user, dose-reference, beam-dose, inferred-from-name, rx-needs-decision, "
        "or none",
        "PS3.3 C.8.8.10 and C.8.8.13 for the plan's",
    ),
    _DOSE_SOURCE,
    Entry("Dmean_Gy", "Gy", "Mean dose, weighted by volume", ICRU83),
    Entry("Dmin_Gy", "Gy", "Lowest dose sampled in the structure", ICRU62),
    Entry("Dmax_Gy", "Gy", "Highest dose sampled in the structure", ICRU62),
    _dose_at("99", "%", _HOTTEST.format("99 %"), TG263),
    _dose_at("98", "%", _HOTTEST.format("98 %") + "; near-minimum dose"),
    _dose_at("95", "%", _HOTTEST.format("95 %")),
    _dose_at("50", "%", _HOTTEST.format("50 %") + "; median dose"),
    _dose_at("5", "%", _HOTTEST.format("5 %"), TG263),
    _dose_at("2", "%", _HOTTEST.format("2 %") + "; near-maximum dose"),
    _dose_at("1", "%", _HOTTEST.format("1 %"), TG263),
    *(
        _dose_at(v, "cc", _HOTTEST.format(f"{v} cc") + "; empty when it is smaller", TG263)
        for v in ("0.03", "0.1", "1", "2")
    ),
    Entry("V<x>Gy_%", "%", "Share of the structure that receives at least <x> Gy", ICRU83),
    Entry("V<x>Gy_cc", "cc", "Volume of the structure that receives at least <x> Gy", ICRU83),
    Entry("V<x>%_%", "%", "Share of the structure that receives at least <x> % of rx_gy", ICRU83),
    Entry(
        "V<x>%_cc", "cc", "Volume of the structure that receives at least <x> % of rx_gy", ICRU83
    ),
    Entry("HI", "1", "Homogeneity index (D2% - D98%) / D50%; 0 is ideal", ICRU83),
    Entry(
        "CI_RTOG",
        "1",
        "Conformity index of a target: PIV100 / TV, PIV100 the volume of the dose grid (inside the "
        "external contour, if any) that receives at least rx_gy, TV the target's volume; "
        "empty when the isodose touches the grid's edge",
        RTOG,
    ),
    Entry(
        "CI_Paddick",
        "1",
        "Conformity index of a target: TVPIV^2 / (TV PIV100), TVPIV the part of the target "
        "inside PIV100",
        PADDICK,
    ),
    Entry(
        "GI", "1", "Gradient index of a target: PIV50 / PIV100, PIV50 at half of rx_gy", PADDICK_GI
    ),
    Entry(
        "gEUD_Gy",
        "Gy",
        "Generalised equivalent uniform dose (mean of D^a)^(1/a); a from dvh.geud_a, "
        "empty without one",
        NIEMIERKO,
    ),
    Entry("integral_dose_Gycc", "Gy cc", "Mean dose times volume"),
    Entry("R50", "1", "PIV50 / TV of a target", "RTOG 0813 and 0915", optional=True),
    Entry("D<x>%_Gy", "Gy", _HOTTEST.format("<x> %"), TG263),
    Entry("D<x>%_%", "% of rx_gy", _HOTTEST.format("<x> %"), TG263),
    Entry("D<x>cc_Gy", "Gy", _HOTTEST.format("<x> cc"), TG263),
    Entry("D<x>cc_%", "% of rx_gy", _HOTTEST.format("<x> cc"), TG263),
    Entry("DC<x>%_Gy", "Gy", "Highest dose in the coldest <x> % of the structure", TG263),
    Entry("DC<x>%_%", "% of rx_gy", "Highest dose in the coldest <x> % of the structure", TG263),
    Entry("DC<x>cc_Gy", "Gy", "Highest dose in the coldest <x> cc of the structure", TG263),
    Entry("DC<x>cc_%", "% of rx_gy", "Highest dose in the coldest <x> cc of the structure", TG263),
    Entry("CV<x>Gy_%", "%", "Share of the structure that receives less than <x> Gy", TG263),
    Entry("CV<x>Gy_cc", "cc", "Volume of the structure that receives less than <x> Gy", TG263),
    Entry("CV<x>%_%", "%", "Share of the structure that receives less than <x> % of rx_gy", TG263),
    Entry(
        "CV<x>%_cc", "cc", "Volume of the structure that receives less than <x> % of rx_gy", TG263
    ),
    Entry(
        "V<x>%@<level>_%", "%", "Share that receives at least <x> % of the level <level>", ICRU83
    ),
    Entry(
        "V<x>%@<level>_cc", "cc", "Volume that receives at least <x> % of the level <level>", ICRU83
    ),
    Entry(
        "EQD2_alpha_beta_Gy",
        "Gy",
        "a/b ratio by which the EQD2 columns of this row were calculated; empty: there are none",
        optional=True,
    ),
    Entry(
        "EQD2_<metric>_Gy",
        "Gy",
        "<metric> of the dose in 2 Gy fractions, EQD2 = D (d + a/b) / (2 + a/b), "
        "d = D / n of each voxel",
        EQD2_SOURCE,
    ),
    Entry("<metric>_low", "as <metric>", f"Lower end of the band of <metric> {_BAND}", VAN_HERK),
    Entry("<metric>_high", "as <metric>", f"Upper end of the band of <metric> {_BAND}", VAN_HERK),
    Entry("flags", "", "What to know about this row, ids separated by semicolons; empty: nothing"),
    Entry("dose_uids", "", "SOP Instance UIDs of the doses, separated by semicolons"),
    Entry("structure_set_uid", "", "SOP Instance UID of the structure set"),
    Entry("plan_uids", "", "SOP Instance UIDs of the plans, separated by semicolons"),
)

_CURVES = (
    *_ROI,
    _DOSE_SOURCE,
    Entry("structure_set_uid", "", "SOP Instance UID of the structure set"),
    Entry("dose_gy", "Gy", "Dose of this point of the curve, in steps of 0.01 Gy"),
    Entry("volume_cc", "cc", "Volume that receives at least this dose", ICRU83),
    Entry("volume_percent", "%", "The same as a share of the structure's volume", ICRU83),
    Entry("volume_percent_low", "%", f"Lower end of its band {_BAND}", VAN_HERK, optional=True),
    Entry("volume_percent_high", "%", f"Upper end of its band {_BAND}", VAN_HERK, optional=True),
)

_STRUCTURE_SET = Entry("structure_set_uid", "", "SOP Instance UID of the structure set")

_GOALS = (
    *_ROI,
    Entry("roi_standard_name", "", "Standard name: decided, by rule or TG-263; empty: none", TG263),
    _DOSE_SOURCE,
    Entry("structure", "", "Name that the goal asks for: a standard name or an ROI name"),
    Entry("metric", "", "DVH metric that the goal limits", TG263),
    Entry("operator", "", "How the metric has to compare to the limit"),
    Entry("limit", "as unit", "Limit of the goal"),
    Entry("tolerance", "as unit", "Outermost value that is still tolerable; empty: none"),
    Entry("unit", "", "Unit of limit, tolerance and value; 1: a ratio"),
    Entry("priority", "", "Priority of the goal, 1 the most important; empty: none given"),
    Entry("value", "as unit", "The metric; a lower bound where reason says so"),
    Entry("result", "", "pass, tolerable, fail or not evaluable"),
    Entry("reason", "", "Why the goal is not evaluable, or what else to know about the result"),
    Entry("goal_source", "", "Where the goal comes from, as its file says"),
    _STRUCTURE_SET,
)

_COMPARISON = (
    *_ROI,
    _DOSE_SOURCE,
    Entry("program", "", "The other side: the planning system, or a program and its version"),
    Entry("metric", "", "What is compared: volume, Dmean, D95%, D50% or D2%", ICRU83),
    Entry("unit", "", "Unit of both values, the difference and the tolerance"),
    Entry("value", "as unit", "Our value"),
    Entry("other_value", "as unit", "The other side's value"),
    Entry("difference", "as unit", "other_value - value"),
    Entry(
        "tolerance",
        "as unit",
        "Largest difference that the methods explain: 3 % of the volume and one mean slice; 1 % of "
        "the structure's maximum dose and one bin (for D<x>% as well 1 % of the volume and that "
        "slice at the other side's dose; for Dmean that slice half the range of doses away)",
        "Ebert et al., Phys Med Biol 55 (2010) N337",
    ),
    Entry("agrees", "", "Whether it stays within the tolerance; empty: could not be judged"),
    Entry("reason", "", "Why there is no comparison; empty: there is one"),
    Entry("flags", "", "What was odd about the other side's DVH, ids separated by semicolons"),
    _STRUCTURE_SET,
)

NIKOLOV = "Nikolov et al., J Med Internet Res 23 (2021) e26151"


def _side(side: str, who: str) -> tuple[Entry, ...]:
    return (
        Entry(f"source_{side}", "", f"Who made {who}; see source of dvh_metrics"),
        Entry(f"roi_number_{side}", "", f"ROI Number of {who}", "PS3.3 C.8.8.5 (3006,0022)"),
        Entry(f"roi_name_{side}", "", f"ROI Name of {who}", "PS3.3 C.8.8.5 (3006,0026)"),
    )


_SIDES = (
    *_WHO,
    Entry("roi_standard_name", "", "Standard name by which they were paired; empty: by own name"),
    *_side("a", "the reference A"),
    *_side("b", "B, which is judged by it"),
)
_SETS = (
    Entry("structure_set_uid_a", "", "SOP Instance UID of A's structure set"),
    Entry("structure_set_uid_b", "", "SOP Instance UID of B's structure set"),
)
_DIFFERENCE = Entry(
    "<metric>_difference", "as <metric>", "<metric> of A minus that of B, as dvh_metrics has them"
)

_AGREEMENT = (
    *_SIDES,
    Entry("volume_a_cc", "cc", "Volume of A as drawn"),
    Entry("volume_b_cc", "cc", "Volume of B as drawn"),
    Entry("dice", "1", "2 |A and B| / (|A| + |B|) of the labels", "Dice, Ecology 26 (1945) 297"),
    Entry("jaccard", "1", "|A and B| / |A or B| of the labels", "Jaccard, New Phytol 11 (1912) 37"),
    Entry("hausdorff_mm", "mm", "Largest distance from one surface to the other", NIKOLOV),
    Entry(
        "hausdorff95_mm",
        "mm",
        "Distance to the other surface that 95 % of a surface's area does not exceed; the larger "
        "of both directions",
        NIKOLOV,
    ),
    Entry(
        "mean_surface_distance_mm",
        "mm",
        "Mean distance to the other surface, weighted by area; mean of both directions",
        NIKOLOV,
    ),
    Entry(
        "surface_dice",
        "1",
        "Share of the area of both surfaces within tolerance_mm of the other",
        NIKOLOV,
    ),
    Entry("tolerance_mm", "mm", "Tolerance of surface_dice"),
    Entry(
        "added_path_length_mm",
        "mm",
        "Pixels of A's outlines, slice by slice, that are not on B's, times the pixel size",
        "Vaassen et al., Phys Imaging Radiat Oncol 13 (2020) 1",
    ),
    Entry("shift_x_mm", "mm", "Centre of B minus centre of A, along LPS x (to the left)"),
    Entry("shift_y_mm", "mm", "Centre of B minus centre of A, along LPS y (to the back)"),
    Entry("shift_z_mm", "mm", "Centre of B minus centre of A, along LPS z (to the head)"),
    Entry("shift_mm", "mm", "Distance between the centres"),
    Entry("grid_mm", "mm", "Voxels on which the labels were compared: i x j x k"),
    Entry("dose_source", "", "Dose of the differences of this row", optional=True),
    _DIFFERENCE,
    Entry("flags", "", "What to know about this row, ids separated by semicolons; empty: nothing"),
    *_SETS,
)

_AGREEMENT_DOSE = (
    *_SIDES,
    _DOSE_SOURCE,
    _DIFFERENCE,
    Entry("flags", "", "What to know about this row, ids separated by semicolons; empty: nothing"),
    *_SETS,
)

_COURSES = (
    *_WHO,
    Entry("folder", "", "Folder of the course inside the output"),
    Entry(
        "plan_labels", "", "RT Plan Labels, separated by semicolons", "PS3.3 C.8.8.9 (300A,0002)"
    ),
    Entry("plan_uids", "", "SOP Instance UIDs of the plans, separated by semicolons"),
    Entry("image_modality", "", "Modality of the planning image", "PS3.3 C.7.3.1 (0008,0060)"),
    Entry("image_files", "", "Files of the planning image"),
    Entry("image_series", "", "Image series of the course"),
    Entry("structure_sets", "", "Structure sets of the course"),
    Entry("plans", "", "Plans of the course"),
    Entry("doses", "", "Dose grids of the course"),
    Entry(
        "dose_decision", "", "How the course's dose was settled; needs-decision waits for a person"
    ),
    Entry("dose_reason", "", "Why"),
    Entry("dose_source", "", "Which doses make up the course's dose; empty: none"),
    Entry("rx_gy", "Gy", "Prescription of the course: its highest level; empty: unknown"),
    Entry("rx_source", "", "Who says so"),
    Entry("flags", "", "What to know about this course, ids separated by semicolons"),
    Entry("stage_<name>", "", "State of the stage <name> and, where it is not done, the reason"),
)

_ROSTER = (
    Entry("patient_id", "", "Patient ID of the roster or of the files"),
    Entry(
        "roster_state",
        "",
        "What became of the patient: missing, no dose, failed (or partial), needs decision, not "
        "finished, done; not expected: in the files but not on the roster",
    ),
    Entry("courses", "", "Courses that were found"),
    Entry("note", "", "A Patient ID of the files that differs in zeros, blanks or case alone"),
)

_QUALITY = (
    *_WHO,
    Entry("check", "", "Id of the check"),
    Entry("severity", "", "error: do not use it so; warning: look at it; info: good to know"),
    Entry("item", "", "What it concerns: an ROI, a file, a plan, a dose; empty: the course"),
    Entry("source", "", "Source of the structure; empty: none"),
    Entry("sentence", "", "What was found and what can be done"),
    Entry("read", "", "What the check read"),
)

_REVIEWS = (
    *_WHO,
    Entry("item", "", "Structure that the verdict is on; empty: the course"),
    Entry("source", "", "Who drew the structure; empty: none"),
    Entry("verdict", "", "accept, reject, flag or comment"),
    Entry("comment", "", "The reviewer's words"),
    Entry("reviewer", "", "Who"),
    Entry("time", "", "When, UTC"),
    Entry(
        "state",
        "",
        "current; out of date: the results are others than the reviewer saw; superseded: the same "
        "reviewer judged again",
    ),
    Entry("seen_hash", "", "SHA-256 of what the reviewer saw"),
)

_REVIEWER_AGREEMENT = (
    Entry("reviewer_a", "", "One of two reviewers"),
    Entry("reviewer_b", "", "The other"),
    Entry("items", "", "Courses and structures that both have judged, by their last verdicts"),
    Entry("agreement", "", "Share of them on which both say the same"),
    Entry(
        "kappa",
        "",
        "Agreement beyond chance; empty where both only ever say the same one thing",
        "Cohen, Educ Psychol Meas 20 (1960) 37",
    ),
)

_FAILURES = (
    *_WHO,
    Entry("stage", "", "Stage that met the failure; index for files, aggregate for tables"),
    Entry("item", "", "What it is about: a file, an ROI, a model, a table or a stage"),
    Entry("severity", "", "error: a result is missing or incomplete; warning: look at it"),
    Entry("error", "", "What happened and what can be done"),
    Entry("file", "", "File concerned; empty: none"),
)

_CODEBOOK = (
    Entry("table", "", "Results table"),
    Entry("column", "", "Column of that table"),
    Entry("unit", "", "Unit of its values; 1: a ratio; empty: text or a number of things"),
    Entry("definition", "", "What it means"),
    Entry("source", "", "Where the definition comes from"),
)

ENTRIES: Mapping[str, tuple[Entry, ...]] = {
    "courses": _COURSES,
    "roster": _ROSTER,
    "dvh_metrics": _METRICS,
    "dvh_curves": _CURVES,
    "goals": _GOALS,
    "agreement": _AGREEMENT,
    "agreement_dose": _AGREEMENT_DOSE,
    "dvh_tps": _COMPARISON,
    "dvh_crosscheck": _COMPARISON,
    "radiomics": FEATURES,
    "radiomics_long": LONG,
    "radiomics_clusters": CLUSTERS,
    "robustness": ROBUSTNESS,
    "quality": _QUALITY,
    "reviews": _REVIEWS,
    "reviewer_agreement": _REVIEWER_AGREEMENT,
    "failures": _FAILURES,
    "codebook": _CODEBOOK,
}


def find_entry(table: str, column: str) -> Entry | None:
    """The entry of a column, its name filled in for a family; None when there is none."""
    for family in (False, True):
        for entry in ENTRIES.get(table, ()):
            if entry.is_family is family and entry.match(column) is not None:
                return entry.filled(column)
    return None


def layout(table: str) -> list[str]:
    """The columns that a table always has, in order; empty for an unknown table."""
    return [e.column for e in ENTRIES.get(table, ()) if not (e.is_family or e.optional)]


def ordered(table: str, columns: Iterable[str]) -> list[str]:
    """The columns of a table as its layout has them.

    Members of a family are sorted by their number; columns without an entry stand, sorted, before
    the block that starts with `flags`, or at the end. An unknown table keeps its order.
    """
    entries = ENTRIES.get(table, ())
    if not entries:
        return list(dict.fromkeys(columns))
    last = next((n for n, e in enumerate(entries) if e.column == "flags"), len(entries))

    def key(column: str) -> tuple[float, list[tuple[int, float, str]]]:
        for family in (False, True):
            for rank, entry in enumerate(entries):
                if entry.is_family is family and entry.match(column) is not None:
                    return rank, _natural(column)
        return last - 0.5, _natural(column)

    return sorted(dict.fromkeys(columns), key=key)


def _natural(text: str) -> list[tuple[int, float, str]]:
    parts = re.split(f"({NUMBER})", text)
    return [(1, float(p), "") if n % 2 else (0, 0.0, p) for n, p in enumerate(parts)]


def undocumented(tables: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    """Columns (table, column) that have no entry; `tables` maps names to columns or to frames."""
    return [(t, c) for t, columns in tables.items() for c in columns if find_entry(t, c) is None]


def codebook() -> pandas.DataFrame:
    """All columns that any table can have; families stand with their placeholders."""
    return _frame((table, entry) for table, entries in ENTRIES.items() for entry in entries)


def codebook_for(
    tables: Mapping[str, Iterable[str]], others: Mapping[str, str] | None = None
) -> pandas.DataFrame:
    """The columns that these tables really have, families written out.

    `tables` maps names to columns or to frames, `others` columns that a user brought to what to say
    of them. Any other column without an entry is listed as undocumented.
    """
    missing, others = "(undocumented)", others or {}
    rows = (
        (table, find_entry(table, column) or Entry(column, "", others.get(column, missing)))
        for table, columns in tables.items()
        for column in columns
    )
    return _frame(rows)


def _frame(rows: Iterable[tuple[str, Entry]]) -> pandas.DataFrame:
    import pandas

    values = [(table, e.column, e.unit, e.definition, e.source) for table, e in rows]
    return pandas.DataFrame(values, columns=list(CODEBOOK_COLUMNS), dtype="str")
