"""Why a segmentation program failed, in plain words."""

from __future__ import annotations

import re

from .watch import Ending, Limits

MEMORY = "memory"
GPU_MEMORY = "gpu-memory"
OTHER = "other"

# What a program prints, what kind of failure that is, what it means, what helps. The first that
# fits counts.
_SIGNS = (
    (
        r"CUDA out of memory|CUDA error: out of memory|torch\.(cuda\.)?OutOfMemoryError"
        r"|CUBLAS_STATUS_ALLOC_FAILED|MPS backend out of memory",
        GPU_MEMORY,
        "the memory of the GPU did not suffice",
        "use fast: true, a roi_subset, device: cpu, or set segmentation.retry_on_cpu",
    ),
    (
        r"DefaultCPUAllocator: can't allocate memory|MemoryError|Cannot allocate memory"
        r"|std::bad_alloc|Unable to allocate [\d.]+ [KMGT]iB",
        MEMORY,
        "the memory of this computer did not suffice",
        "use fast: true or a roi_subset, run fewer jobs (--jobs 1), or use a larger machine",
    ),
    (
        r"No space left on device|\[Errno 28\]|There is not enough space on the disk",
        OTHER,
        "the disk is full",
        "free space in the output folder and run again",
    ),
    (
        r"PytorchStreamReader failed|invalid load key|UnpicklingError|Ran out of input"
        r"|unexpected EOF|not a ZIP archive|failed finding central directory",
        OTHER,
        "the weights are damaged",
        "delete the model's folder of weights and fetch it again",
    ),
    (
        r"Error\(s\) in loading state_dict|size mismatch for",
        OTHER,
        "the weights do not belong to this model",
        "delete the model's folder of weights and fetch it again",
    ),
    (
        r"Torch not compiled with CUDA|CUDA is not available|no CUDA-capable device",
        OTHER,
        "there is no GPU that it can use",
        "set device: cpu",
    ),
    (
        r"It requires a license|Invalid license number|license number has not been set",
        OTHER,
        "the task needs a valid licence number",
        "get one at https://backend.totalsegmentator.com/license-academic/ and name its file in "
        "segmentation.license_file",
    ),
    (
        r"Downloading model for Task|ConnectionError|Max retries exceeded|NameResolutionError",
        OTHER,
        "weights are missing and could not be fetched",
        "fetch them on a computer with internet and name their folder in segmentation.weights",
    ),
    (r"No module named '?([\w.]+)", OTHER, "a package is missing: {0}", "install it"),
)


def failure_kind(ending: Ending) -> str:
    """`memory`, `gpu-memory` or `other`."""
    if ending.how == "ended" and ending.status == 137:
        return MEMORY
    return _sign(ending)[0]


def explain(ending: Ending, limits: Limits) -> str:
    """One sentence: what ended the program and what helps."""
    if ending.how == "timeout":
        return (
            f"it was ended after {limits.timeout_s:g} s (segmentation.timeout_s); use fast: true "
            "or a GPU, or allow more"
        )
    if ending.how == "stalled":
        return (
            f"it was ended because it printed nothing for {limits.stall_s:g} s "
            "(segmentation.stall_s); its last words were: " + _last(ending)
        )
    _, meaning, remedy = _sign(ending)
    if meaning:
        return f"{meaning}: {remedy}"
    if ending.status == 137:
        return (
            "it was killed, most likely because the memory did not suffice: use fast: true, "
            "a roi_subset or fewer jobs"
        )
    if ending.status > 128:
        return f"it was killed by signal {ending.status - 128}; its last words: {_last(ending)}"
    return f"it ended with status {ending.status}; its last words: {_last(ending)}"


def _sign(ending: Ending) -> tuple[str, str, str]:
    text = "\n".join(ending.tail)
    for pattern, kind, meaning, remedy in _SIGNS:
        match = re.search(pattern, text)
        if match:
            return kind, meaning.format(*match.groups()), remedy
    return OTHER, "", ""


def _last(ending: Ending) -> str:
    return ending.tail[-1][:300] if ending.tail else "(none)"
