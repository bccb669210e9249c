"""DVH plots as files: what is drawn, in which colours, and that equal data are equal files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from RTPipelineLib.report.figures import PLANNING_SYSTEM, Curve, readable
from RTPipelineLib.report.plots import FORMATS, are_possible, write_plots

pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra plots)")

DOSE = np.arange(0, 60.01, 0.05)
RED, BLUE = (214, 0, 0), (0, 60, 220)


def curve(name: str, middle_gy: float, colour: tuple[int, int, int] | None, **fields) -> Curve:
    percent = 100 / (1 + np.exp((DOSE - middle_gy) / 0.8))
    return Curve(name, DOSE, np.where(DOSE > 55, 0.0, percent), colour, "plan:A", **fields)


CURVES = (curve("PTV", 50, RED), curve("Cord", 20, BLUE))


def has_colour(path: Path, colour: tuple[int, int, int]) -> bool:
    """Whether a picture has pixels of this colour, read by a program that is not matplotlib."""
    image = pytest.importorskip("PIL.Image")
    with image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=int)
    return bool((np.abs(pixels - np.array(colour)).max(axis=2) <= 3).sum() > 50)


def test_files_and_colours(tmp_path) -> None:
    written = write_plots(CURVES, tmp_path, "P1 / 2024-03_A")
    names = {
        f"dvh_{kind}.{ending}" for kind in ("cumulative", "differential") for ending in FORMATS
    }
    assert {path.name for path in written} == names == {p.name for p in tmp_path.iterdir()}
    for path in written:
        head = path.read_bytes()[:8]
        assert head.startswith(b"\x89PNG" if path.suffix == ".png" else b"%PDF-")
        if path.suffix == ".png":
            assert has_colour(path, RED) and has_colour(path, BLUE)
            assert not has_colour(path, (0, 160, 0))


def test_pale_colours_are_made_readable(tmp_path) -> None:
    yellow = (255, 255, 0)
    write_plots([curve("PTV", 50, yellow)], tmp_path)
    dark = tuple(int(readable(yellow)[n : n + 2], 16) for n in (1, 3, 5))
    assert has_colour(tmp_path / "dvh_cumulative.png", dark)
    assert not has_colour(tmp_path / "dvh_cumulative.png", yellow)


def test_equal_data_make_equal_files(tmp_path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        write_plots(CURVES, folder, "P1")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def drawn(monkeypatch, curves, units: str = "Gy"):
    """The axes of both drawings, taken from the figures before they are saved."""
    from matplotlib.figure import Figure

    figures = []
    save = lambda self, *args, **kwargs: figures.append(self)  # noqa: E731
    monkeypatch.setattr(Figure, "savefig", save)
    monkeypatch.setattr("RTPipelineLib.report.plots.FORMATS", ("png",))
    monkeypatch.setattr("RTPipelineLib.report.plots.atomic_path", _nowhere)
    write_plots(curves, Path(), units=units)
    return [figure.axes[0] for figure in figures]


class _nowhere:  # noqa: N801 - stands for a function
    def __init__(self, target: Path) -> None:
        self.target = target

    def __enter__(self) -> Path:
        return self.target

    def __exit__(self, *error: object) -> None:
        return None


def test_the_curves_are_the_data(monkeypatch) -> None:
    cumulative, differential = drawn(monkeypatch, CURVES)
    line = next(x for x in cumulative.get_lines() if x.get_label() == "PTV")
    assert np.array_equal(line.get_xdata(), DOSE)
    assert np.array_equal(line.get_ydata(), CURVES[0].volume_percent)
    for stairs in differential.patches:
        values, edges, _ = stairs.get_data()
        assert values @ np.diff(edges) == pytest.approx(100, abs=0.01)  # all of the volume
        assert differential.get_ylim()[1] > values.max()
    top = differential.patches[0].get_data().values.max()
    assert top == pytest.approx(100 / (4 * 0.8), rel=0.02)  # a logistic's steepest slope


def test_centigray(monkeypatch) -> None:
    cumulative, differential = drawn(monkeypatch, CURVES, "cGy")
    assert cumulative.get_xlabel() == "Dose [cGy]"
    assert cumulative.get_lines()[0].get_xdata()[-1] == pytest.approx(6000)
    values, edges, _ = differential.patches[0].get_data()
    assert values @ np.diff(edges) == pytest.approx(100, abs=0.01)


def test_stored_curves_are_dotted_and_bands_are_filled(monkeypatch) -> None:
    stored = curve("PTV", 49, RED, source=PLANNING_SYSTEM)
    banded = curve("Cord", 20, BLUE, low_percent=CURVES[1].volume_percent - 1, high_percent=DOSE)
    cumulative, _ = drawn(monkeypatch, [CURVES[0], stored, banded])
    styles = [line.get_linestyle() for line in cumulative.get_lines()]
    assert styles == ["-", ":", "-", ":"]  # the last is the legend's
    assert len(cumulative.collections) == 1


def test_hostile_names_are_only_text(tmp_path) -> None:
    names = ["$\\frac{", "_hidden", "a" * 300, "", "\u5de6\u80ba", "x\ny"]
    assert write_plots([curve(name, 30, None) for name in names], tmp_path, "$P_1$ / $")


def test_nothing_to_draw_is_no_failure(tmp_path) -> None:
    empty = Curve("x", np.array([]), np.array([]))
    assert len(write_plots([empty], tmp_path)) == 2 * len(FORMATS)
    assert are_possible()
