"""What was done to get the features, as a paragraph for a paper, with its references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .parameters import Parameters
from .perturbation import Chain
from .reliability import LIMITS, MIN_SUBJECTS, Reliability

REFERENCES = {
    "pyradiomics": "van Griethuysen JJM et al. Computational radiomics system to decode the "
    "radiographic phenotype. Cancer Res 2017; 77: e104-e107.",
    "ibsi": "Zwanenburg A et al. The Image Biomarker Standardization Initiative. Radiology 2020; "
    "295: 328-338.",
    "perturbation": "Zwanenburg A et al. Assessing robustness of radiomic features by image "
    "perturbation. Sci Rep 2019; 9: 614.",
    "icc": "McGraw KO, Wong SP. Forming inferences about some intraclass correlation coefficients. "
    "Psychol Methods 1996; 1: 30-46.",
    "limits": "Koo TK, Li MY. A guideline of selecting and reporting intraclass correlation "
    "coefficients for reliability research. J Chiropr Med 2016; 15: 155-163.",
}


@dataclass(frozen=True)
class Extracted:
    """How the features of one kind of image came about: its `modality`, the number of ROIs that
    have features, and the parameter file; None when the file of this name and hash is gone."""

    modality: str
    rois: int
    name: str
    sha256: str
    parameters: Parameters | None


def methods_paragraph(
    version: str,
    engine: str,
    extracted: Sequence[Extracted],
    chain: Chain | None = None,
    clusters: float | None = None,
) -> str:
    """Plain text: what was extracted and how, with every setting that differs between studies, and
    numbered references.

    `version` is that of RT Pipeline, `engine` that of what computed the features; `chain` says how
    images and ROIs were perturbed, `clusters` from which correlation on features were clustered.
    Empty when nothing was extracted.
    """
    if not extracted:
        return ""
    cited: dict[str, int] = {}

    def cite(*names: str) -> str:
        return ",".join(str(cited.setdefault(name, len(cited) + 1)) for name in names)

    text = [
        f"Features were extracted with RT Pipeline {version} and {engine} [{cite('pyradiomics')}], "
        f"whose definitions are those of the IBSI but for known exceptions [{cite('ibsi')}]."
    ]
    text += [_of_images(each) for each in extracted]
    if chain is not None:
        text += [
            _of_chain(chain, cite("perturbation")),
            _of_reliability(cite("icc"), cite("limits")),
        ]
    if clusters is not None:
        text.append(
            "Features were clustered by complete linkage of Spearman's rank correlation, so that "
            f"any two of a cluster have |rho| of at least {clusters:g}."
        )
    references = [f"[{number}] {REFERENCES[name]}" for name, number in cited.items()]
    return "\n".join([" ".join(text), *references])


def _of_images(each: Extracted) -> str:
    file, parts = each.parameters, []
    rois = f"{each.rois} ROI{'' if each.rois == 1 else 's'}"
    head = f"{each.modality} images ({rois}; {each.name}, SHA-256 {each.sha256[:12]})"
    if file is None:
        return f"{head} were analysed by settings that are not at hand any more."
    if file.setting("normalize", False):
        scale, outliers = file.setting("normalizeScale", 1), file.setting("removeOutliers")
        cut = "" if outliers is None else f" and cut off {outliers:g} of them from the mean"
        parts.append(f"normalised to a standard deviation of {scale:g}{cut}")
    spacing = file.resampled_mm
    if spacing is None:
        parts.append("kept on their own voxels")
    else:
        size = " x ".join(f"{value:g}" if value else "own" for value in spacing)
        parts.append(f"resampled to {size} mm ({file.interpolator})")
    limits = file.setting("resegmentRange")
    if limits is not None:
        mode = file.setting("resegmentMode", "absolute")
        parts.append(f"ROIs were resegmented to {_listed(limits)} ({mode})")
    if file.setting("binCount") is not None:
        parts.append(f"grey levels were cut into {file.setting('binCount')} bins")
    else:
        parts.append(f"grey levels were cut into bins of {file.setting('binWidth', 25):g}")
    filters = ", ".join(_filter(name, settings) for name, settings in file.image_types.items())
    classes = ", ".join(
        name if not chosen else f"{name} ({', '.join(chosen)})"
        for name, chosen in file.feature_classes.items()
    )
    return f"{head} were {', '.join(parts)}; image types: {filters}; feature classes: {classes}."


def _filter(name: str, settings: Mapping[str, object]) -> str:
    values = [f"{key} {_listed(value)}" for key, value in settings.items()]
    return f"{name} ({', '.join(values)})" if values else name


def _of_chain(chain: Chain, reference: str) -> str:
    drawn = {
        "supervoxels": "put together from SLIC supervoxels",
        "margin": f"with smooth random bumps of {chain.contour_mm:g} mm standard deviation",
    }
    factors = [
        f"noise of {_listed(chain.noise)} times its own standard deviation",
        f"translations by {_listed(chain.translation)} voxels",
        f"rotations by {_listed(chain.rotation_deg)} degrees",
        f"{chain.contours} contours ({drawn[chain.contour_method]}, the first as drawn)",
        f"volumes changed by {_listed(chain.volume_percent)} %",
    ]
    return (
        f"Robustness was assessed with {len(chain.grid())} perturbations of each image and ROI "
        f"[{reference}]: {', '.join(factors)}, all with all, seed {chain.seed}."
    )


def _of_reliability(icc: str, limits: str) -> str:
    low, cov = LIMITS[Reliability.ROBUST]
    fair_low, fair_cov = LIMITS[Reliability.ACCEPTABLE]
    return (
        f"Reliability is the ICC(3,1) with 95 % bounds [{icc}] and the median coefficient of "
        f"variation (CoV) of the courses: robust with a lower bound of at least {low:g} and a CoV "
        f"of at most {cov:g} %, acceptable with {fair_low:g} and {fair_cov:g} %, else poor "
        f"[{limits}]; features of fewer than {MIN_SUBJECTS} courses were not evaluated."
    )


def _listed(values: object) -> str:
    if isinstance(values, list | tuple):
        return ", ".join(f"{v:g}" if isinstance(v, int | float) else str(v) for v in values)
    return str(values)
