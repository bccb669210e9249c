"""What the sections View, Edit and Review ask for, without widgets; raises what the library raises."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _

# What a verdict is bound to is read with it.
NEEDED = "pyarrow"


class SceneLogic:
    """Works on the course that the module's logic (`module`) shows."""

    def __init__(self, module):
        self.module = module
        self.live = None

    @property
    def shown(self):
        """The course in the scene, or None."""
        return self.module.shown

    @property
    def chart(self):
        """The chart of the DVHs that were computed last, or None."""
        return self.module.chart

    # -- view --------------------------------------------------------------------------------------

    def layOut(self):
        """Three slices, 3D, chart and metrics."""
        from RTPipelineLib.scene.layout import show_layout

        show_layout(self.module.chart, self.module.metrics, self.shown)

    def layBeside(self, opacity):
        """Every source of structures in a view of its own."""
        from RTPipelineLib.scene.layout import show_beside

        show_beside(self.shown, opacity)

    def showLegend(self, on, unit, whole_gy):
        """The colours of the first dose in Gy, cGy or % of a dose."""
        from RTPipelineLib.scene.legend import hide_legend, show_legend

        if on:
            show_legend(self.shown, unit, whole_gy)
        else:
            hide_legend(self.shown)

    def wholeGy(self):
        """What 100 % is until somebody says otherwise: the prescription, else the highest dose."""
        from RTPipelineLib.scene.levels import usual_whole_gy

        return usual_whole_gy(self.shown)

    def drawIsodoses(self, text, unit, whole_gy):
        """Draw the isodoses of a text; names of those that the dose does not reach."""
        from RTPipelineLib.scene.levels import levels_of, show_isodoses

        missed = show_isodoses(self.shown, levels_of(text, unit, whole_gy))
        return [level.name for level in missed]

    def goTo(self, table, row, turn):
        """Move the views to the structure of a row of the metrics; a sentence of where they are."""
        from RTPipelineLib.scene.places import PLACES, jump, place_of

        place = PLACES[turn % len(PLACES)]
        name = table.GetCellText(row, table.GetColumnIndex("roi_name"))
        structure = self._structure(name, table.GetCellText(row, table.GetColumnIndex("structure_set")))
        dose = self.shown.doses_gy[0] if self.shown.doses_gy else None
        jump(place_of(structure, dose, place))
        where = {"centre": _("centre"), "hot": _("hot spot"), "cold": _("cold spot")}[place]
        return f"{name}: {where}"

    def _structure(self, name, structureSet):
        """The structure as it was edited, else as it was loaded."""
        from RTPipelineLib.scene.segmentations import mask_of

        node = self.shown.segmentations[structureSet]
        if self.live is not None and self.live.node is node:
            key = node.GetSegmentation().GetSegmentIdBySegmentName(name)
            mask = mask_of(node, key) if key else None
            if mask is not None:
                return mask
        found = (s for s in self.shown.structures[structureSet] if s.name == name)
        structure = next(found, None)
        if structure is None:
            raise ValueError(_("{name} is no longer among the segments.").format(name=name))
        return structure

    # -- curves and goals --------------------------------------------------------------------------

    def missingTables(self):
        """What the pipeline's own tables need here, in words; empty when they can be read."""
        from importlib.util import find_spec

        if find_spec(NEEDED) is None:
            return _("Install the packages first.")
        made = self.shown is not None and (self.shown.course.folder / "dvh").is_dir()
        return "" if made else _("Run the pipeline first.")

    def curves(self, chart):
        """The series that the chart shows, by name."""
        found = (chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes()))
        return {series.GetName(): series for series in found if series is not None}

    def showCurve(self, chart, series, on):
        """Draw a curve, or leave it out; the node stays."""
        drawn = chart.HasPlotSeriesNodeID(series.GetID())
        if on and not drawn:
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
        elif drawn and not on:
            chart.RemovePlotSeriesNodeID(series.GetID())

    def removeCurve(self, chart, series):
        """Take a curve and its points out of the scene."""
        self.showCurve(chart, series, False)
        slicer.mrmlScene.RemoveNode(series.GetTableNode())
        slicer.mrmlScene.RemoveNode(series)

    def addPlanningCurves(self, chart):
        from RTPipelineLib.scene.beside import add_planning_curves

        return add_planning_curves(chart, self.shown.course.folder)

    def addBands(self, chart):
        from RTPipelineLib.scene.beside import add_bands

        return add_bands(chart, self.shown.course.folder)

    def goals(self):
        """The clinical goals of the shown course."""
        from RTPipelineLib.scene.beside import goal_lines

        return goal_lines(self.shown.course.folder)

    def watchCurves(self, chosen):
        """Clicks in plot views, from now on and, when it is told to `watch`, in later ones."""
        from RTPipelineLib.scene.plot_views import PlotClicks

        return PlotClicks(chosen)

    def rowOf(self, table, seriesId):
        """The row of the metrics that the structure of a curve has; None when there is none."""
        from RTPipelineLib.scene.dvhs import row_of_curve

        series = slicer.mrmlScene.GetNodeByID(seriesId)
        return None if table is None or series is None else row_of_curve(table, series)

    # -- edit --------------------------------------------------------------------------------------

    def segmentNames(self, node):
        """Names of the segments, in their order."""
        segmentation = node.GetSegmentation()
        return [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]

    def chooseForEditor(self, node):
        """What the Segment Editor works on, where its own module looks for it."""
        kind, tag = "vtkMRMLSegmentEditorNode", "SegmentEditor"
        editor = slicer.mrmlScene.GetSingletonNode(tag, kind)
        if editor is None:
            editor = slicer.mrmlScene.CreateNodeByClass(kind)
            editor.UnRegister(None)
            editor.SetSingletonTag(tag)
            editor = slicer.mrmlScene.AddNode(editor)
        editor.SetAndObserveSegmentationNode(node)
        if self.shown.images:
            editor.SetAndObserveSourceVolumeNode(self.shown.images[0])

    def follow(self, node):
        """From now on `editedLines` computes what is edited in this segmentation."""
        from RTPipelineLib.scene.live import LiveDvhs

        self.stopFollowing()
        self.live = LiveDvhs(node, self.shown.doses_gy[0])

    def stopFollowing(self):
        """Compute nothing more."""
        if self.live is not None:
            self.live.stop()
        self.live = None

    def editedLines(self):
        """Compute and show what was edited since the last time; a line for each structure."""
        from RTPipelineLib.scene.dvhs import show_edited

        if self.live is None or not self.live.is_behind:
            return []
        lines = []
        for dvh, row in self.live.refresh():
            colour = self._colour(self.live.node, dvh.name)
            show_edited(self.module.chart, self.module.metrics, dvh, row, colour)
            self.module.keepRow(row)
            lines.append(f"{dvh.name}: {dvh.volume_cc:.2f} cc, Dmean {dvh.mean_gy:.2f} Gy")
        return lines

    def _colour(self, node, name):
        segmentation = node.GetSegmentation()
        segment = segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName(name))
        return tuple(round(255 * part) for part in segment.GetColor())

    def derive(self, node, name, sources, operation, margin_mm):
        """Add a structure made of these segments, then a margin."""
        from RTPipelineLib.scene.deriving import add_derived
        from RTPipelineLib.structures.derived import Definition, Expression
        from RTPipelineLib.structures.margins import Margins

        recipe = Expression(tuple(sources), operation or "union", Margins.even(margin_mm))
        return add_derived(node, Definition(name, recipe))

    def keep(self, node):
        """Write the segments into the course's folder as source `edited`; the path."""
        from RTPipelineLib.scene.edited import export_edited
        from RTPipelineLib.scene.segmentations import labels_state

        path = export_edited(node, self.shown.course)
        self.shown.states[node.GetName()] = labels_state(node)
        return path

    # -- review and export ---------------------------------------------------------------------------

    def whyNoReview(self):
        """Why no verdict can be given, or nothing."""
        from importlib.util import find_spec

        if self.shown is None:
            return _("Show a course first.")
        if not self.shown.course.folder.is_dir():
            return _("Only a course of an output folder has results to judge: run it first.")
        if find_spec(NEEDED) is None:
            return _("Install the packages first (section 'What works here').")
        return ""

    def verdictLines(self):
        """The verdicts on the shown course, oldest first, each with its state."""
        if self.whyNoReview():
            return []
        from RTPipelineLib.review import review_rows

        rows, errors = review_rows(self.shown.course.folder)
        lines = [
            "{time}  {by}: {verdict} {item} ({state}) {comment}".format(
                time=row["time"][:16].replace("T", " "),
                by=row["reviewer"],
                verdict=row["verdict"],
                item=row["item"] or _("the course"),
                state=row["state"],
                comment=row["comment"],
            ).rstrip()
            for row in rows
        ]
        return lines + [str(error) for error in errors]

    def judged(self):
        """(name, source) of the structures that can be judged."""
        if self.whyNoReview():
            return []
        from RTPipelineLib.review import structures_of

        return structures_of(self.shown.course.folder)

    def review(self, verdict, by, comment, item="", source=""):
        """Write a verdict on the shown course or one of its structures."""
        from RTPipelineLib.review import add_verdict

        folder = self.shown.course.folder
        add_verdict(folder, verdict, by, roi=item, source=source, comment=comment)

    def export(self, folder):
        """Write the course's files into a folder; paths, and sentences on what is missing."""
        from RTPipelineLib.scene.exporting import export_course

        chart = self.chart if self.chart is not None and slicer.mrmlScene.IsNodePresent(self.chart) else None
        return export_course(self.shown, self.module.rows, Path(folder), chart)
