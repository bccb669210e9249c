"""Dose-volume histograms as files, for papers and printed records (matplotlib, extra `plots`)."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..platform import atomic_path
from .figures import PALETTE, PLANNING_SYSTEM, Curve, label_of, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf")
CUMULATIVE, DIFFERENTIAL = "dvh_cumulative", "dvh_differential"
_DASHES = ("-", "--", "-.", (0, (6, 2, 1, 2, 1, 2)))
_DOTTED = ":"
_BINS = 200  # of a differential histogram, over all doses
_POINTS = 2000  # of a drawn curve: finer than a pixel of the widest page
_LEGEND_ROWS = 24
# No dates or versions inside, so that equal results are equal files.
_METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}


def are_possible() -> bool:
    """True when matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def write_plots(
    curves: Sequence[Curve], folder: Path, title: str = "", units: str = "Gy"
) -> list[Path]:
    """The cumulative and the differential DVH of a course, as PNG and PDF each.

    `units` (Gy or cGy) is that of the dose axis. ROIs have the colours of their structure set,
    darkened where they would vanish on white; doses differ by their dashes; what the planning
    system stored is dotted. Returns what was written. Raises `OutputError` when the folder cannot
    be written.
    """
    written = []
    drawings = ((CUMULATIVE, _cumulative), (DIFFERENTIAL, _differential))
    for name, draw in drawings:
        figure = _figure(curves, title, units, draw)
        for kind in FORMATS:
            path = folder / f"{name}.{kind}"
            with atomic_path(path) as temporary, warnings.catch_warnings():
                # A name in a script that the font lacks is drawn as boxes.
                warnings.filterwarnings("ignore", "Glyph .* missing")
                figure.savefig(temporary, dpi=150, metadata=_METADATA[kind])
            written.append(path)
    return written


def _figure(curves: Sequence[Curve], title: str, units: str, draw: object) -> Figure:
    """One drawing with its legend beside it; no window and no state of matplotlib's is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scale = 100.0 if units == "cGy" else 1.0
    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = [curve for curve in curves if len(curve.dose_gy) > 1]
    names = list(dict.fromkeys(curve.roi_name for curve in shown))
    doses = list(dict.fromkeys(curve.dose_source for curve in shown))
    highest = max((_reach(curve) for curve in shown), default=1.0)
    for curve in shown:
        number = names.index(curve.roi_name)
        colour = readable(curve.colour_rgb or PALETTE[number % len(PALETTE)])
        dash = _DASHES[doses.index(curve.dose_source) % len(_DASHES)]
        stored = curve.source == PLANNING_SYSTEM
        look = {
            "color": colour,
            "linestyle": _DOTTED if stored else dash,
            "linewidth": 1.0 if stored else 1.6,
            "label": "_" if stored else _literal(label_of(curve, len(doses) > 1)),
        }
        draw(axes, curve, highest, scale, look)
    if any(curve.source == PLANNING_SYSTEM for curve in shown):  # one line for all of them
        axes.plot([], [], color="0.3", linestyle=_DOTTED, linewidth=1.0, label=PLANNING_SYSTEM)
    axes.set_ylim(bottom=0)  # once all is drawn, or the highest peak is cut
    axes.set_xlabel(f"Dose [{units}]")
    axes.set_xlim(0, highest * scale * 1.02)
    axes.set_title(_literal(title, 80), fontsize="medium", loc="left")
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if shown:
        columns = -(-len(shown) // _LEGEND_ROWS)
        figure.legend(loc="outside right upper", ncols=columns, fontsize="small", frameon=False)
    return figure


def _cumulative(
    axes: Axes, curve: Curve, highest: float, scale: float, look: dict[str, object]
) -> None:
    every = max(1, len(curve.dose_gy) // _POINTS)
    dose = curve.dose_gy[::every] * scale
    axes.plot(dose, curve.volume_percent[::every], **look)
    if curve.low_percent is not None and curve.high_percent is not None:
        low, high = curve.low_percent[::every], curve.high_percent[::every]
        axes.fill_between(dose, low, high, color=look["color"], alpha=0.16, linewidth=0)
    axes.set_ylabel("Volume [%]")


def _differential(
    axes: Axes, curve: Curve, highest: float, scale: float, look: dict[str, object]
) -> None:
    """Percent of the volume for each Gy (or cGy), in even bins over all doses; on a square-root
    scale, because a target's peak is a hundred times as high as an organ's histogram."""
    edges = np.linspace(0.0, highest, _BINS + 1)
    at_least = np.interp(edges, curve.dose_gy, curve.volume_percent)
    at_least[-1] = 0.0  # the last doses of the highest curve belong to the last bin
    density = -np.diff(at_least) / (np.diff(edges) * scale)
    axes.stairs(density, edges * scale, baseline=None, **look)
    axes.set_yscale("function", functions=(_root, np.square))
    axes.set_ylabel(f"Volume [% per {'cGy' if scale > 1 else 'Gy'}], square-root scale")


def _root(values: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(values, 0.0))


def _literal(text: str, longest: int = 40) -> str:
    """Text on one line that matplotlib neither takes for a formula nor leaves out of the legend."""
    text = " ".join(text.split())
    text = text if len(text) <= longest else f"{text[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"
    text = text.replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{text}" if text.startswith("_") else text


def _reach(curve: Curve) -> float:
    """The dose where the curve ends."""
    doses = np.asarray(curve.dose_gy, dtype=np.float64)
    filled = doses[np.asarray(curve.volume_percent) > 0]
    return float(filled.max(initial=0.01))
