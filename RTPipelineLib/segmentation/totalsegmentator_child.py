"""What the installed TotalSegmentator offers, as JSON on stdout.

Runs in the interpreter that has TotalSegmentator (2.18 or newer), which may be older than ours and
lacks this library: standard library and TotalSegmentator's tables only, no torch.
"""

import ast
import csv
import importlib.metadata
import json
import sys
from pathlib import Path

# The models that TotalSegmentator runs first to crop an image (its python_api.py).
ROUGH_CT, ROBUST_CT, ROUGH_MR, BODY = 298, 297, 852, 300


def main():
    """Print the catalogue."""
    from totalsegmentator.registry import (
        TASKS,
        get_task_classes,
        package_version,
        requires_license,
        task_modality,
    )

    tasks = {}
    for name in TASKS:
        if name == "test":
            continue
        tasks[name] = {
            "modality": task_modality(name),
            "licensed": requires_license(name),
            "classes": {str(n): label for n, label in get_task_classes(name).items()},
            "weights": {
                mode: sorted(_folders(name, mode == "fast", False))
                for mode in ("full", "fast")
                if mode == "full" or _knows_fast(name)
            },
            "crop_weights": sorted(_crop_folders(name, True)),
        }
    catalogue = {
        "totalsegmentator": package_version(),
        "versions": {name: _version(name) for name in ("torch", "nnunetv2")},
        "tasks": tasks,
        "terms": _terms(),
        "downloads": _downloads(),
    }
    json.dump(catalogue, sys.stdout)


def _config(name):
    from totalsegmentator.map_tasks_config import TASK_CONFIGS

    return TASK_CONFIGS[name]


def _knows_fast(name):
    return "fast" in _config(name).get("sub_modes", {})


def _folders(name, fast, subset):
    config = _config(name)
    mode = config["sub_modes"]["fast" if fast else "default"] if "sub_modes" in config else config
    ids = mode["task_id"]
    found = {_folder(n) for n in (ids if isinstance(ids, list) else [ids])}
    if name == "vertebrae_pp_refined":
        found.add(_folder(305))
    return found | _crop_folders(name, subset)


def _crop_folders(name, subset):
    """Folders of the models that find where to look; `subset` stands for --roi_subset."""
    config = _config(name)
    if not (config.get("crop") or config.get("cascade") or subset):
        return set()
    if config.get("crop_model"):
        return _folders(config["crop_model"], False, False)
    crop = config.get("crop") or []
    if "body_trunc" in crop or "body_extremities" in crop:
        return {_folder(BODY)}
    if name.endswith("_mr") or config.get("modality") == "mr":
        return {_folder(ROUGH_MR)}
    return {_folder(ROBUST_CT if config.get("robust_crop") else ROUGH_CT)}


def _folder(task_id):
    from totalsegmentator.map_tasks_config import TASK_ID_WEIGHTS_CONFIGS

    info = TASK_ID_WEIGHTS_CONFIGS[task_id]
    return "/".join(filter(None, [info.get("rel_path"), info["foldername"]]))


def _terms():
    """Codes and colours of the classes, from the table that comes with TotalSegmentator."""
    import totalsegmentator

    path = Path(totalsegmentator.__file__).parent / "resources/totalsegmentator_snomed_mapping.csv"
    if not path.exists():
        return {}
    parts = {
        "category": "SegmentedPropertyCategoryCodeSequence",
        "type": "SegmentedPropertyTypeCodeSequence",
        "modifier": "SegmentedPropertyTypeModifierCodeSequence",
    }
    keys = ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")
    terms = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            term = {p: [row.get(f"{n}.{k}") or "" for k in keys] for p, n in parts.items()}
            colour = row.get("DicomRGBColor") or row.get("recommendedDisplayRGBValue") or ""
            term["colour"] = [int(float(part)) for part in colour.split(",") if part.strip()]
            terms[row["Structure"]] = term
    return terms


def _downloads():
    """Ids by the names that `totseg_download_weights -t` takes; read, because its module imports
    torch."""
    import totalsegmentator

    path = Path(totalsegmentator.__file__).parent / "bin" / "totalseg_download_weights.py"
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "TASK_TO_ID":
            table = ast.literal_eval(node.value)
            return {
                name: sorted(_folder(n) for n in ids if not isinstance(n, str))
                for name, ids in table.items()
            }
    return {}


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
