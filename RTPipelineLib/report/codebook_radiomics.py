"""The columns of the cohort tables of image features."""

from __future__ import annotations

from .entry import Entry

SHROUT_FLEISS = "Shrout and Fleiss, Psychol Bull 86 (1979) 420"
MCGRAW_WONG = "McGraw and Wong, Psychol Methods 1 (1996) 30"
KOO_LI = "Koo and Li, J Chiropr Med 15 (2016) 155"
ZWANENBURG = "Zwanenburg et al., Sci Rep 9 (2019) 614"
BONETT = "Bonett, Comput Stat Data Anal 50 (2006) 2953"

_ROI = (
    Entry(
        "roi",
        "",
        "Standard name of the ROI, or its own name where it has none; where several ROIs of a "
        "course have it, the first is meant",
    ),
    Entry("source", "", "Who made the ROI: clinical, or the program"),
    Entry("modality", "", "Modality of the image"),
)
_FEATURE = Entry("feature", "", "Image type, class and feature as pyradiomics names them")

_IBSI = "IBSI 1: Zwanenburg et al., Radiology 295 (2020) 328; pyradiomics: van Griethuysen et al., "
_IBSI += "Cancer Res 77 (2017) e104"

_ID = Entry("patient_id", "", "Patient ID of the course's objects", "PS3.3 C.7.1.1 (0010,0020)")
FEATURES = (
    _ID,
    Entry("course_id", "", "Course within the patient: plan date and label; never renamed"),
    Entry("source", "", "Who made the ROI: clinical, or the program"),
    Entry("roi_number", "", "ROI Number in its structure set", "PS3.3 C.8.8.5 (3006,0022)"),
    Entry("roi_name", "", "ROI Name as the structure set has it", "PS3.3 C.8.8.5 (3006,0026)"),
    Entry("roi_standard_name", "", "Standard name; empty: none"),
    Entry("structure_set_uid", "", "SOP Instance UID of the structure set; empty: none"),
    Entry(
        "image", "", "Volume that the features are of: its name in image/, or dose:<dose source>"
    ),
    Entry("modality", "", "Modality of the image; RTDOSE for a dose"),
    Entry("image_unit", "", "Unit of the values: HU, SUV (by body weight), Gy, 1 (MR)"),
    Entry("image_series_uid", "", "Series Instance UID of the image", "PS3.3 C.7.3.1"),
    Entry("engine", "", "What computed the features"),
    Entry("engine_version", "", "Package that provides the engine, with its version"),
    Entry("versions", "", "Versions of the packages that the values depend on"),
    Entry("parameters", "", "Parameter file, or preset, that the features were computed by"),
    Entry("parameters_sha256", "", "SHA-256 of that file"),
    Entry("voxels", "", "Voxels of the image in the ROI"),
    Entry("analysed_voxels", "", "Voxels in the ROI after resampling and resegmentation"),
    Entry("reason", "", "Why there are no features; empty: there are"),
    Entry("notes", "", "What could not be computed"),
    Entry("flags", "", "What to know about this row, ids separated by semicolons; empty: nothing"),
    Entry(
        "<filter>_<class>_<feature>",
        "as the feature",
        "Feature <feature> of the class <class> on the image type <filter>",
        _IBSI,
    ),
)

ROBUSTNESS = (
    Entry(
        "variation",
        "",
        "perturbation: of image and ROI (radiomics.robustness); scan-rescan: two images or courses "
        "(radiomics.robustness.rescans); manual-automatic: the clinical ROI beside the source's",
        ZWANENBURG,
    ),
    *_ROI,
    _FEATURE,
    Entry("subjects", "", "Courses with all measurements, which the statistics are about"),
    Entry("left_out", "", "Courses that lack a measurement of this feature"),
    Entry("measurements", "", "Measurements of each course: perturbations, images or drawings"),
    Entry(
        "icc",
        "1",
        "ICC(3,1), the same as ICC(C,1): two-way model, consistency, single measurement",
        SHROUT_FLEISS,
    ),
    Entry("icc_low", "1", "Lower 95 % bound of the ICC", MCGRAW_WONG),
    Entry("icc_high", "1", "Upper 95 % bound of the ICC", MCGRAW_WONG),
    Entry(
        "cov_percent",
        "%",
        "Median over the courses of the standard deviation over the size of the mean",
    ),
    Entry(
        "qcd_percent",
        "%",
        "Median over the courses of (Q3 - Q1) / |Q3 + Q1|: quartile coefficient of dispersion",
        BONETT,
    ),
    Entry(
        "reliability",
        "",
        "robust: icc_low from 0.90 and cov_percent to 10; acceptable: from 0.75 and to 20; poor; "
        "not evaluable",
        KOO_LI,
    ),
    Entry("reason", "", "Why it is not evaluable"),
)

CLUSTERS = (
    *_ROI,
    Entry("subjects", "", "Courses that the correlations are about"),
    Entry(
        "cluster",
        "",
        "Number of the cluster, by complete linkage of Spearman's |rho|: any two of its features "
        "correlate by 0.9 or more; 0: in none",
    ),
    _FEATURE,
    Entry(
        "representative",
        "",
        "True for one feature of each cluster: that of the greatest icc_low, or where none is "
        "known that which correlates best with the others",
    ),
    Entry("least_correlation", "1", "Smallest |rho| with another feature of the cluster"),
    Entry("icc_low", "1", "Lower 95 % bound of the ICC under perturbation", MCGRAW_WONG),
    Entry("reason", "", "Why the feature is in no cluster"),
)

LONG = (
    Entry("patient_id", "", "Patient ID of the course's objects", "PS3.3 C.7.1.1 (0010,0020)"),
    Entry("course_id", "", "Course within the patient: plan date and label; never renamed"),
    Entry("source", "", "Who made the ROI: clinical, or the program"),
    Entry("roi_number", "", "ROI Number in its structure set", "PS3.3 C.8.8.5 (3006,0022)"),
    Entry("roi_name", "", "ROI Name as the structure set has it", "PS3.3 C.8.8.5 (3006,0026)"),
    Entry("roi_standard_name", "", "Standard name; empty: none"),
    Entry("image", "", "Image that the features are of"),
    Entry("modality", "", "Modality of the image"),
    Entry("engine", "", "What computed the features"),
    _FEATURE,
    Entry("value", "", "Its value, in the unit of the feature"),
)
