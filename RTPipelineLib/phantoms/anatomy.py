"""Three simple bodies made of solids: pelvis, head and neck, thorax.

Millimetres, LPS: +x is the patient's left, +y the back, +z the head. The origin lies in the middle
of the body part. Organs are listed in the order in which they are painted into the image, so that
later ones lie inside or over earlier ones. Each kind of tissue has HU of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .solids import Arch, Compound, Loft, Pile, Profile, Solid

FAT_HU, MUSCLE_HU, FLUID_HU, CORD_HU = -95.0, 45.0, 5.0, 28.0
GLAND_HU, LIVER_HU, HEART_HU, BRAIN_HU, TUMOUR_HU = -20.0, 110.0, 75.0, 36.0, 60.0
LUNG_HU, GAS_HU, SPONGY_HU, BONE_HU, TOOTH_HU = -790.0, -980.0, 240.0, 480.0, 850.0

Colour = tuple[int, int, int]
RED, GREEN, BLUE, YELLOW = (230, 40, 40), (40, 180, 70), (50, 90, 220), (240, 220, 60)
BROWN, CYAN, PINK, ORANGE = (150, 100, 50), (60, 200, 210), (240, 140, 190), (245, 150, 40)
VIOLET, WHITE, OLIVE = (150, 80, 200), (230, 230, 230), (150, 160, 60)


@dataclass(frozen=True)
class Organ:
    """A solid with a name: painted when it has HU, contoured when it is `drawn`."""

    name: str
    solid: Solid
    hu: float | None
    colour: Colour = WHITE
    interpreted_type: str = "ORGAN"
    drawn: bool = True


@dataclass(frozen=True)
class Anatomy:
    """A body part: its organs, the body's outline (EXTERNAL) among them, and its DICOM name (PS3.16
    Annex L)."""

    organs: tuple[Organ, ...]
    body_part: str

    @property
    def drawn(self) -> tuple[Organ, ...]:
        """The organs that a structure set holds, in its order."""
        return tuple(organ for organ in self.organs if organ.drawn)

    @property
    def body(self) -> Organ:
        """The outline of the patient."""
        return next(organ for organ in self.organs if organ.interpreted_type == "EXTERNAL")

    def __getitem__(self, name: str) -> Organ:
        return next(organ for organ in self.organs if organ.name == name)

    def adding(self, *targets: Organ) -> Anatomy:
        """The same body part with more organs or targets."""
        return replace(self, organs=(*self.organs, *targets))


def target(name: str, solid: Solid, colour: Colour, hu: float | None = None) -> Organ:
    """A target volume; its interpreted type is the start of its name (GTV, CTV, PTV)."""
    return Organ(name, solid, hu, colour, name[:3] if name[:3] != "ITV" else "CTV")


def _hidden(hu: float, *solids: Solid) -> list[Organ]:
    """Tissue that is painted but not contoured."""
    return [Organ("", solid, hu, drawn=False) for solid in solids]


def _body(solid: Solid) -> Organ:
    return Organ("BODY", solid, FAT_HU, GREEN, "EXTERNAL")


def _pair(name: str, left: Solid, right: Solid, hu: float, colour: Colour) -> list[Organ]:
    return [Organ(f"{name}_L", left, hu, colour), Organ(f"{name}_R", right, hu, colour)]


# -- pelvis ----------------------------------------------------------------------------------------

PROSTATE = Pile((0, 6, -14), (25, 20, 22))
SEMINAL_VESICLES = Pile((0, 20, 12), (27, 9, 11))


def pelvis() -> Anatomy:
    """A male pelvis, z -100 to 100, around the prostate."""
    outline = Loft(
        ((-150, 0, 0, 168, 108), (0, 0, 0, 185, 114), (60, 0, 0, 182, 112), (150, 0, 0, 165, 106)),
        power=2.5,
    )
    muscle = Loft(
        ((-150, 0, 6, 150, 88), (0, 0, 4, 166, 94), (60, 0, 2, 160, 90), (150, 0, 2, 140, 82)),
        power=2.5,
    )
    bones = [
        Pile((sx * 92, 8, 45), (19, 50, 62), Profile.ROUNDED, turn_deg=-sx * 18, cap_mm=40)
        for sx in (1, -1)
    ]
    sockets = [Pile((sx * 88, 6, 0), (34, 34, 34)) for sx in (1, -1)]
    ramus = [Pile((sx * 32, -38, -30), (26, 9, 16), turn_deg=sx * 28, power=2.4) for sx in (1, -1)]
    sacrum = Pile((0, 74, 62), (46, 17, 56), power=2.3, lean_mm=(0, -8), bend_mm=(0, -8))
    necks = [
        Pile((sx * 116, 14, -45), (18, 19, 55), Profile.ROUNDED, lean_mm=(-sx * 8, 0), cap_mm=18)
        for sx in (1, -1)
    ]
    shafts = [Pile((sx * 125, 14, -110), (16, 16, 60), Profile.CYLINDER) for sx in (1, -1)]
    marrow = [Pile((sx * 125, 14, -110), (8, 8, 60), Profile.CYLINDER) for sx in (1, -1)]
    rectum = Pile(
        (0, 46, 8), (17, 16, 78), Profile.ROUNDED, lean_mm=(0, -6), bend_mm=(3, 14), cap_mm=20
    )
    return Anatomy(
        (
            _body(outline),
            *_hidden(MUSCLE_HU, muscle),
            *_hidden(FAT_HU + 20, Pile((0, 0, 25), (72, 66, 90), power=2.4)),
            *_hidden(BONE_HU - 100, *bones, *sockets, *ramus),
            *_hidden(SPONGY_HU, sacrum),
            *_hidden(BONE_HU, *necks, *shafts),
            *_hidden(40.0, *marrow),
            *_pair(
                "Femoral_Head",
                Pile((88, 6, 0), (24, 24, 24)),
                Pile((-88, 6, 0), (24, 24, 24)),
                BONE_HU,
                BROWN,
            ),
            Organ("Bladder", Pile((0, -26, 38), (44, 34, 32), power=2.2), FLUID_HU, YELLOW),
            Organ("Rectum", rectum, 25.0, BROWN),
            *_hidden(GAS_HU + 100, Pile((3, 46, 35), (8, 7, 14))),
            Organ("Bowel", Pile((0, -30, 102), (84, 44, 26), power=2.5), 20.0, PINK),
            *_hidden(38.0, PROSTATE, SEMINAL_VESICLES),
        ),
        "PELVIS",
    )


# -- head and neck ---------------------------------------------------------------------------------


def head_and_neck() -> Anatomy:
    """Shoulders to above the eyes, z -90 to 120, around the oropharynx."""
    outline = Loft(
        (
            (-130, 0, 22, 200, 100),
            (-95, 0, 20, 178, 92),
            (-66, 0, 14, 82, 68),
            (-40, 0, 8, 62, 62),
            (0, 0, 2, 69, 77),
            (40, 0, 0, 74, 95),
            (85, 0, 0, 78, 100),
            (130, 0, 4, 68, 86),
            (165, 0, 6, 0, 0),
        ),
        power=2.2,
    )
    muscle = Loft(
        (
            (-130, 0, 24, 188, 86),
            (-95, 0, 22, 166, 78),
            (-66, 0, 16, 75, 58),
            (-40, 0, 10, 56, 54),
            (0, 0, 4, 62, 69),
            (40, 0, 2, 69, 89),
            (165, 0, 2, 68, 88),
        ),
        power=2.2,
    )
    brain = Pile((0, 6, 88), (62, 80, 60))
    column = Pile((0, 27, -45), (15, 12, 95), Profile.CYLINDER, power=2.4, bend_mm=(0, 10))
    rim = Pile((0, 45, -45), (14, 13, 95), Profile.CYLINDER, bend_mm=(0, 10))
    canal = Pile((0, 45, -45), (9, 8.5, 95), Profile.CYLINDER, bend_mm=(0, 10))
    cord = Pile((0, 45, -56), (6, 5, 74), Profile.ROUNDED, bend_mm=(0, 8), cap_mm=8)
    jaw = Arch((0, 10, -6), (52, 72, 12), 0.84, 188, 352)
    teeth = Arch((0, 2, 12), (38, 54, 5), 0.82, 200, 340)
    airway = Pile((0, 2, -48), (10, 9, 74), Profile.ROUNDED, bend_mm=(0, 6), cap_mm=12)
    eyes = [Pile((sx * 32, -72, 50), (12, 12, 12)) for sx in (1, -1)]
    sinus = Pile((0, -58, 32), (26, 20, 15), power=2.5)
    return Anatomy(
        (
            _body(outline),
            *_hidden(MUSCLE_HU, muscle),
            *_hidden(TOOTH_HU - 150, Pile((0, 5, 86), (70, 89, 70))),
            Organ("Brain", brain, BRAIN_HU, PINK),
            *_hidden(BONE_HU - 100, column, rim),
            *_hidden(FLUID_HU, canal),
            Organ("SpinalCord", cord, CORD_HU, CYAN),
            Organ("Brainstem", Pile((0, 34, 38), (14, 13, 26)), CORD_HU, GREEN),
            Organ("OralCavity", Pile((0, -30, 8), (30, 32, 18)), 50.0, ORANGE),
            *_hidden(GAS_HU, airway, sinus),
            Organ("Mandible", jaw, TOOTH_HU, YELLOW),
            *_hidden(TOOTH_HU + 300, teeth),
            *_hidden(FLUID_HU + 5, *eyes),
            *_pair(
                "Parotid",
                Pile((51, 19, 18), (11, 18, 23), turn_deg=-12),
                Pile((-51, 19, 18), (11, 18, 23), turn_deg=12),
                GLAND_HU,
                VIOLET,
            ),
        ),
        "HEADNECK",
    )


# -- thorax ----------------------------------------------------------------------------------------

LEFT_LUNG = (
    (-78, 112, 28, 0, 0),
    (-62, 112, 28, 26, 46),
    (-25, 114, 20, 30, 70),
    (10, 102, 10, 42, 78),
    (45, 88, 8, 48, 74),
    (92, 72, 8, 34, 52),
    (118, 62, 10, 0, 0),
)
RIGHT_LUNG = (
    (-72, -88, 22, 0, 0),
    (-56, -88, 22, 42, 56),
    (-15, -88, 8, 54, 78),
    (45, -85, 6, 52, 76),
    (92, -70, 8, 36, 54),
    (120, -60, 10, 0, 0),
)


def thorax(breath_mm: float = 0.0) -> Anatomy:
    """Chest and upper abdomen, z -130 to 130; breathing in moves diaphragm and liver down by
    `breath_mm`."""
    outline = Loft(
        ((-160, 0, 0, 160, 108), (-40, 0, 0, 176, 118), (70, 0, 2, 186, 108), (150, 0, 6, 176, 92)),
        power=2.5,
    )
    muscle = Loft(
        ((-160, 0, 2, 148, 94), (-40, 0, 2, 162, 104), (70, 0, 4, 174, 97), (150, 0, 8, 160, 80)),
        power=2.5,
    )
    left_lung, right_lung = (Loft(_lowered(knots, breath_mm)) for knots in (LEFT_LUNG, RIGHT_LUNG))
    ribs = [
        Arch((0, 4, z), (160, 104, 4.5), 0.945, start, start + 128)
        for z in range(-75, 116, 24)
        for start in (-52, 104)
    ]
    column = Pile((0, 62, 0), (21, 17, 170), Profile.CYLINDER, power=2.3)
    rim = Pile((0, 87, 0), (17, 16, 170), Profile.CYLINDER)
    canal = Pile((0, 86, 0), (11, 10, 170), Profile.CYLINDER)
    sternum = Pile((0, -92, 30), (17, 6, 70), Profile.ROUNDED, cap_mm=10)
    airway = Pile((0, 22, 85), (9, 8, 62), Profile.ROUNDED, cap_mm=8)
    bronchi = [
        Pile((sx * 14, 22, 18), (7, 7, 20), lean_mm=(-sx * 12, 0), profile=Profile.CYLINDER)
        for sx in (1, -1)
    ]
    return Anatomy(
        (
            _body(outline),
            *_hidden(MUSCLE_HU, muscle),
            *_hidden(BONE_HU - 80, *ribs, sternum),
            Organ(
                "Liver",
                Pile((-62, -8, -124 - breath_mm), (78, 78, 48), power=2.2),
                LIVER_HU,
                BROWN,
            ),
            *_hidden(55.0, Pile((88, 38, -118 - breath_mm), (34, 28, 34))),
            *_hidden(SPONGY_HU, column, rim),
            *_hidden(FLUID_HU, canal),
            Organ("SpinalCord", Pile((0, 86, 0), (7, 6, 168), Profile.CYLINDER), CORD_HU, CYAN),
            *_hidden(HEART_HU - 15, Pile((26, 50, 0), (12, 12, 170), Profile.CYLINDER)),
            Organ(
                "Esophagus",
                Pile((6, 40, 10), (8, 6, 110), Profile.ROUNDED, cap_mm=8),
                38.0,
                OLIVE,
            ),
            Organ("Lung_L", left_lung, LUNG_HU, BLUE),
            Organ("Lung_R", right_lung, LUNG_HU, CYAN),
            Organ(
                "Heart",
                Pile((24, -34, -30), (50, 48, 50), turn_deg=-20),
                HEART_HU,
                RED,
            ),
            *_hidden(HEART_HU - 15, Pile((8, -14, 40), (26, 20, 32))),
            *_hidden(GAS_HU, airway, *bronchi),
        ),
        "CHEST",
    )


def lungs_minus(anatomy: Anatomy, gtv: Solid) -> Organ:
    """Both lungs as one ROI with the tumour as a hole: nested contours."""
    parts = (anatomy["Lung_L"].solid, anatomy["Lung_R"].solid)
    return Organ("Lungs-GTV", Compound(parts, (gtv,)), None, OLIVE)


def _lowered(
    knots: tuple[tuple[float, float, float, float, float], ...], breath_mm: float
) -> tuple[tuple[float, float, float, float, float], ...]:
    """A lung whose base lies lower by `breath_mm` and whose tip stays."""
    base, tip = knots[0][0], knots[-1][0]
    return tuple(
        (knot[0] - breath_mm * (tip - knot[0]) / (tip - base), *knot[1:]) for knot in knots
    )
