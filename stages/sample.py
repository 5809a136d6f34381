"""Draw the sample: a small labelled data set of grey 48x48 faces, in the challenge's own CSV form.

Nobody's photograph is in it. Each face is a head with random traits (shape, skin, hair, glasses, pose, light) on
which facial action units (FACS) move brows, lids, nose and lips; an emotion is no more than a set of units.

Reads   params.yaml (seed, sample; dataset and prepare.votes, to say in a sentence if there is no such file)
Writes  a CSV `emotion,pixels,Usage` like fer2013.csv, ten annotators' votes for its rows like FER+'s fer2013new.csv,
        and a contact sheet of ten faces per emotion
Alone   python stages/sample.py --out data/raw/sample.csv --votes data/raw/sample_votes.csv --sheet plots/sample.png

The same seed gives the same bytes: a row's randomness depends on seed, split and position alone, and pixels come from
float64 +, -, *, / and sqrt, which IEEE 754 rounds alike on every CPU: no exp, no sine, no matrix product.
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import write_files
from fer_pipeline.faces.fer2013 import CLASSES, SIZE, VOTE_CLASSES
from fer_pipeline.params.read import read_params
from fer_pipeline.raw.rows import ANNOTATORS, FERPLUS_COLUMNS, USAGES
from fer_pipeline.running.paths import check_distinct
from fer_pipeline.running.stage import run
from fer_pipeline.sample.paths import SAMPLE_VOTES, is_sample

Floats = npt.NDArray[np.float64]  # pixels (48, 48) of tones 0..1, coordinates (48, 48) in -1..1, or random numbers
Head = SimpleNamespace  # of one face: an attribute per key of `TRAITS` (float) and of `ODDS` (bool)
Activations = Mapping[int, float]  # {action unit: activation} for all of `UNITS`; 0 is at rest

PIXEL = 2 / SIZE  # the picture spans -1..1 both ways; x points right, y down
CLASS_SHARES = dict(zip(CLASSES, (3995, 436, 4097, 7215, 4830, 3171, 4965), strict=True))  # FER-2013, Training
UNITS = (1, 2, 4, 5, 6, 7, 9, 12, 15, 16, 20, 23, 26)

# The prototypes of EMFACS: {emotion: {action unit: weight at full intensity}}.
EMOTIONS = {
    "angry": {4: 1.0, 5: 0.5, 7: 0.8, 23: 1.0},
    "disgust": {9: 1.0, 15: 0.7, 16: 0.8},
    "fear": {1: 0.9, 2: 0.5, 4: 0.6, 5: 0.9, 20: 1.0, 26: 0.4},
    "happy": {6: 1.0, 12: 1.0},
    "sad": {1: 1.0, 4: 0.5, 15: 1.0},
    "surprise": {1: 1.0, 2: 1.0, 5: 1.0, 26: 1.0},
    "neutral": {},
}

# What annotators say who do not see the emotion: {emotion: {vote: share of these annotators}}.
MISTAKEN = {
    "angry": {"disgust": 0.2, "neutral": 0.5, "sad": 0.15, "contempt": 0.1, "unknown": 0.05},
    "disgust": {"angry": 0.4, "neutral": 0.3, "sad": 0.1, "contempt": 0.15, "unknown": 0.05},
    "fear": {"surprise": 0.45, "neutral": 0.25, "sad": 0.25, "unknown": 0.05},
    "happy": {"neutral": 0.85, "surprise": 0.05, "contempt": 0.05, "unknown": 0.05},
    "sad": {"neutral": 0.7, "fear": 0.15, "angry": 0.1, "unknown": 0.05},
    "surprise": {"fear": 0.35, "neutral": 0.45, "happy": 0.15, "unknown": 0.05},
    "neutral": {"sad": 0.4, "happy": 0.15, "angry": 0.15, "contempt": 0.2, "unknown": 0.1},
}
SEEN = (0.3, 0.95)  # share of annotators who see an emotion at no and at full intensity
SEEN_NEUTRAL = 0.85

# Traits of a head and of its photograph, each uniform between two bounds; lengths in halves of the picture.
TRAITS = {
    "width": (0.68, 0.80),  # of the head, from its middle to an ear
    "chin": (0.86, 0.98),  # height of the chin below the middle
    "jaw": (0.0, 0.5),  # 0 oval, 0.5 square
    "skin": (0.40, 0.82),  # grey tone
    "hair": (0.04, 0.50),  # grey tone
    "hairline": (-0.88, -0.66),
    "age": (0.0, 1.0),  # depth of the creases at rest
    "eye_distance": (0.31, 0.37),
    "eye_width": (0.15, 0.19),
    "eye_height": (0.85, 1.15),  # opening, relative to the average
    "iris": (0.05, 0.30),  # grey tone
    "gaze": (-0.035, 0.035),
    "brow_height": (-0.41, -0.36),
    "brow_arch": (0.01, 0.06),
    "brow_slope": (-0.02, 0.02),
    "brow_width": (0.035, 0.060),  # half the thickness
    "nose_width": (0.11, 0.16),
    "nose_tip": (0.16, 0.22),
    "mouth_height": (0.50, 0.56),
    "mouth_width": (0.25, 0.31),
    "mouth_curve": (-0.025, 0.025),  # of the corners at rest, a face's own bias
    "lips": (0.045, 0.085),  # thickness of one lip
    "teeth": (0.3, 1.0),  # how far a smile parts the lips
    "scale": (1.02, 1.20),
    "shift_x": (-0.06, 0.06),
    "shift_y": (-0.06, 0.06),
    "roll": (-0.14, 0.14),  # sine of the angle
    "yaw": (-0.13, 0.13),  # shift of the features against the outline
    "background": (0.05, 0.95),
    "light_x": (-0.30, 0.30),  # brightness gained from the middle to the right
    "light_y": (-0.10, 0.25),  # brightness gained from the middle to the top
    "gain": (0.82, 1.12),
    "blur": (0.0, 0.22),  # weight of a neighbouring pixel
    "noise": (0.006, 0.030),  # standard deviation in white; a third of it in black
}

# Traits that a head has or lacks, with their probabilities.
ODDS = {"long_hair": 0.35, "fringe": 0.25, "bald": 0.10, "glasses": 0.12, "beard": 0.10}


def action_units(emotion: str, intensity: float, jitter: Sequence[float]) -> Activations:
    """What shows one of `CLASSES` at an intensity from 0 (neutral) to 1 (prototype); `jitter` is a factor per unit."""
    weights = EMOTIONS[emotion]
    return {unit: weights.get(unit, 0.0) * intensity * factor for unit, factor in zip(UNITS, jitter, strict=True)}


def blob(u: Floats, v: Floats | float) -> Floats:
    """A soft spot of radius 1 around the origin: 1 in the middle, 0 outside."""
    return np.maximum(1 - u * u - v * v, 0) ** 2


def below(y: Floats, curve: Floats | float) -> Floats:
    """Coverage (0..1) of the area below `curve`, its edge softened over one pixel."""
    return np.clip(0.5 + (y - curve) / PIXEL, 0, 1)


def between(y: Floats, top: Floats | float, bottom: Floats | float) -> Floats:
    """Coverage (0..1) of the area between two curves; fainter where it is thinner than a pixel."""
    edge = np.clip(np.minimum(y - top, bottom - y) / PIXEL + 0.5, 0, 1)
    return edge * np.clip((bottom - top) / PIXEL, 0, 1)


def disc(u: Floats, v: Floats, radius: float) -> Floats:
    """Coverage (0..1) of the unit disc, where one unit is about `radius` long in the picture."""
    return np.clip(0.5 + (1 - np.sqrt(u * u + v * v)) * radius / PIXEL, 0, 1)


def paint(image: Floats, coverage: Floats, tone: Floats | float) -> Floats:
    """`image` under a layer of grey `tone`."""
    return image + coverage * (tone - image)


def shade(image: Floats, u: Floats, v: Floats | float, amount: float) -> Floats:
    """`image` darkened by a soft spot, or lightened if `amount` is negative."""
    return image * (1 - amount * blob(u, v)) if amount else image  # most units are at rest


def draw_skull(image: Floats, x: Floats, y: Floats, side: Floats, head: Head, au: Activations) -> Floats:
    """Hair, ears, neck and the shaded skin of the face; a dropping jaw (26) takes the chin along."""
    hair = head.hair * (1 + 0.6 * blob((x + 0.5 * head.light_x) / 0.6, (y + 0.85) / 0.25))
    if not head.bald:
        image = paint(image, disc(x / (head.width + 0.10), (y + 0.25) / 0.85, 0.8), hair)
        if head.long_hair:
            image = paint(image, between(side, 0.3, head.width + 0.14 - 0.05 * y * y) * below(y, -0.3), 0.8 * hair)
    image = paint(image, (1 - below(side, 0.45)) * below(y, 0.5), 0.50 * head.skin)
    if not head.long_hair:
        image = paint(image, disc((side - head.width) / 0.09, (y + 0.02) / 0.2, 0.1), 0.75 * head.skin)

    chin = head.chin + 0.10 * au[26]
    height = np.where(y < 0, y / 0.98, y / chin)
    squared = x * x / (head.width * head.width) * (1 - 0.6 * head.jaw * np.maximum(height, 0))
    radius = squared + height * height * np.where(y < 0, 1, 1 - 0.3 * head.jaw * squared)
    skin = head.skin * (1.02 - 0.40 * np.minimum(radius, 1.2) ** 2)
    skin = shade(skin, x / 0.5, (y + 0.55) / 0.3, -0.14)
    skin = shade(skin, (side - 0.38) / 0.26, (y - 0.14) / 0.22, -0.14)
    skin = shade(skin, (side - 0.50) / 0.25, (y - 0.50) / 0.30, 0.16)
    skin = shade(skin, x / 0.2, (y - chin + 0.16) / 0.14, -0.14)
    if head.beard:
        skin = skin * (1 - 0.5 * np.clip(2 * (y - 0.10) + 1.2 * (side - 0.45), 0, 1))
    face = np.clip(0.5 + (1 - np.sqrt(radius)) * 0.8 / PIXEL, 0, 1)
    image = paint(image, face, skin)
    if not head.bald:
        parting = 0.30 * (x + 0.3) + 0.06 if head.fringe else 0.35 * x * x
        image = paint(image, face * (1 - below(y, head.hairline + parting)), hair)
    return image


def draw_brows(image: Floats, x: Floats, y: Floats, side: Floats, head: Head, au: Activations) -> Floats:
    """Tapered brows: 1 raises the inner end, 2 the outer one, 4 lowers both and draws them together."""
    inner, outer = 0.13 - 0.05 * au[4], head.eye_distance + 0.22
    t = np.clip((side - inner) / (outer - inner), 0, 1)
    rise = 0.17 * au[1] * (1 - t) ** 2 + 0.14 * au[2] * t * (2 - t)
    rise = rise - au[4] * (0.17 - 0.13 * t) - 0.08 * au[9] * (1 - t)
    curve = head.brow_height + head.brow_slope * (2 * t - 1) - head.brow_arch * 4 * t * (1 - t) - rise
    half = head.brow_width * (1.1 - 0.7 * t)
    image = shade(image, (side - 0.3) / 0.3, (y - curve - 0.12) / 0.14, 0.15)
    coverage = between(y, curve - half, curve + half) * between(side, inner, outer)
    return paint(image, 0.9 * coverage, min(head.hair, 0.35 * head.skin))


def draw_eyes(image: Floats, x: Floats, y: Floats, side: Floats, head: Head, au: Activations) -> Floats:
    """Eyes in their sockets: 5 raises the upper lid, 7 narrows both, 6 pushes the lower lid up."""
    u = (side - head.eye_distance) / head.eye_width
    v = y + 0.15 - 0.015 * u
    profile = 1 - u * u
    upper = -0.068 * head.eye_height * (1 + 1.05 * au[5] - 0.50 * au[7] - 0.25 * au[6] - 0.3 * au[9]) * profile
    lower = 0.060 * head.eye_height * (1 + 0.25 * au[5] - 0.55 * au[7] - 0.95 * au[6] - 0.35 * au[9]) * profile
    open_eye = between(v, upper, lower)

    image = shade(image, u / 1.7, (v + 0.02) / 0.24, 0.28)
    image = shade(image, u / 1.2, (v - lower - 0.07) / 0.05, 0.12 + 0.15 * head.age + 0.30 * au[6] + 0.2 * au[7])
    image = shade(image, u / 1.15, (v - upper + 0.07) / 0.035, 0.30)
    image = paint(image, open_eye, 0.55 + 0.4 * head.skin)
    gaze = u * head.eye_width - head.gaze * np.sign(x)
    image = paint(image, open_eye * disc(gaze / 0.075, (v + 0.01) / 0.075, 0.075), head.iris)
    image = paint(image, open_eye * disc(gaze / 0.035, (v + 0.01) / 0.035, 0.035), 0.02)
    image = paint(image, open_eye * blob((gaze + 0.03 * np.sign(x)) / 0.03, (v + 0.04) / 0.03), 0.95)
    return paint(image, 0.8 * between(v, upper - 0.03, upper + 0.005) * (np.abs(u) < 1.1), 0.25 * head.skin)


def draw_nose(image: Floats, x: Floats, y: Floats, side: Floats, head: Head, au: Activations) -> Floats:
    """Ridge, wings and nostrils; 9 pulls the wings up and out and wrinkles the bridge."""
    tip, wing = head.nose_tip - 0.05 * au[9], head.nose_width * (1 + 0.25 * au[9])
    image = shade(image, x / 0.09, (y - tip + 0.22) / 0.32, -0.16)
    image = shade(image, (x + 0.13 * np.sign(head.light_x)) / 0.08, (y - tip + 0.16) / 0.26, 0.20)
    image = shade(image, (side - wing) / 0.045, (y - tip) / 0.09, 0.35 + 0.25 * au[9])
    image = shade(image, x / (wing + 0.05), (y - tip - 0.09) / 0.06, 0.28)
    image = shade(image, (side - 0.5 * wing) / 0.05, (y - tip - 0.045) / 0.035, 0.75)
    for height in (-0.19, -0.09, 0.01):
        image = shade(image, side / 0.19, (y - height - 0.45 * side) / 0.045, 0.55 * au[9])
    return image


def draw_mouth(image: Floats, x: Floats, y: Floats, side: Floats, head: Head, au: Activations) -> Floats:
    """Lips, teeth and the dark between: corners go up (12), down (15) or apart (20); 26 and 16 open, 23 presses."""
    width = head.mouth_width + 0.13 * au[12] + 0.12 * au[20] - 0.07 * au[23] - 0.05 * au[26]
    u = np.clip(x / width, -1.2, 1.2)
    corner = head.mouth_curve - 0.20 * au[12] + 0.17 * au[15]
    line = head.mouth_height + corner * (u * u - 0.4) - 0.04 * au[9]
    arc = 1 - u * u
    # A stretched mouth opens as a slot, a dropped jaw as an oval.
    profile = arc + au[20] * u * u * arc + 0.7 * au[26] * (np.sqrt(np.maximum(arc, 0)) - arc)

    smile = head.teeth * au[12]
    top = line - (0.06 * au[26] + 0.05 * au[9] + 0.02 * smile) * profile
    bottom = line + (0.30 * au[26] + 0.13 * au[16] + 0.05 * au[20] + 0.19 * smile) * profile
    lip = head.lips * (1 - 0.65 * au[23]) * (1 - 0.25 * au[12]) * (1 - 0.3 * au[20]) * profile
    bow = 1 - 0.3 * blob(x / 0.1, 0)

    image = shade(image, u, (y - bottom - lip - 0.07) / 0.07, 0.30 + 0.2 * au[16])
    image = paint(image, between(y, top - lip * bow, line), 0.52 * head.skin)
    image = paint(image, between(y, line, bottom + 1.15 * lip), 0.70 * head.skin)
    gap = between(y, top, bottom)
    image = paint(image, gap, 0.06)
    image = paint(image, gap * between(y, top, top + 0.03 + 0.16 * smile + 0.03 * au[20]), 0.90)
    image = paint(image, gap * between(y, bottom - 0.05, bottom) * min(au[16] + 0.6 * au[20], 1), 0.75)
    image = paint(image, gap * blob(u / 0.6, (y - bottom) / 0.12) * min(au[26], 1), 0.35)
    seam = (1 - gap) * blob(u / 1.1, (y - line) / 0.035)
    image = image * (1 - (0.50 + 0.35 * au[23]) * seam)
    return shade(image, (np.abs(u) - 1) / 0.14, (y - line) / 0.06, 0.30 + 0.35 * au[15] + 0.2 * au[12])


def draw_creases(image: Floats, x: Floats, y: Floats, side: Floats, head: Head, au: Activations) -> Floats:
    """Folds of the skin, a little of them with age, more of them where a unit bunches it."""
    rest = 0.12 * head.age
    fold = 0.19 + 0.05 * au[12] + 0.55 * (y - head.nose_tip) - 0.35 * (y - head.nose_tip) ** 2
    depth = 0.04 + rest + 0.50 * au[12] + 0.45 * au[9] + 0.15 * au[20] + 0.1 * au[15]
    image = shade(image, (side - fold) / 0.07, (y - head.nose_tip - 0.17) / 0.22, depth)
    image = shade(image, (side - 0.05) / 0.03, (y - head.brow_height) / 0.14, rest + 0.60 * au[4])
    for height in (-0.66, -0.56):
        ridge = (y - height + 0.05 * au[1]) / 0.035
        image = shade(image, side / 0.22, ridge, rest + 0.35 * au[1])
        image = shade(image, (side - 0.35) / 0.22, ridge, rest + 0.35 * au[2])
    image = shade(image, (side - 0.43) / 0.22, (y - 0.12) / 0.13, -0.24 * au[6])
    outer = side - head.eye_distance - head.eye_width
    for slope in (-0.5, 0.1, 0.7):
        image = shade(image, (outer - 0.09) / 0.09, (y + 0.14 - slope * outer) / 0.03, 0.5 * au[6])
    return shade(image, (side - 0.30) / 0.05, (y - 0.66) / 0.12, 0.30 * au[15])


def draw_glasses(image: Floats, x: Floats, y: Floats, side: Floats, head: Head, au: Activations) -> Floats:
    """Dark round frames with a bridge, if the head has glasses."""
    if not head.glasses:
        return image
    u, v = (side - head.eye_distance) / 0.24, (y + 0.13) / 0.19
    rim = disc(u, v, 0.21) - disc(u * 1.2, v * 1.2, 0.17)
    bridge = (1 - below(side, head.eye_distance - 0.22)) * between(y, -0.2, -0.16)
    return paint(image, np.maximum(rim, bridge), 0.1)


def render_face(head: Head, au: Activations, clutter: Sequence[Sequence[float]]) -> Floats:
    """The face in front of the lens, before blur and noise: (48, 48) float64, about 0..1.

    `clutter` has rows of (x, y, radius, tone), each 0..1: soft spots on the background.
    """
    middles = np.arange(SIZE) + 0.5  # of the pixels
    column, row = middles[None, :] / SIZE, middles[:, None] / SIZE
    image = np.full((SIZE, SIZE), head.background)
    for left, top, radius, tone in clutter:
        spot = blob((column - left) / (0.15 + radius / 2), (row - top) / 0.3)
        image = paint(image, 0.6 * spot, tone)
    axis = middles * PIXEL - 1  # of the picture
    right, down = (axis[None, :] - head.shift_x) / head.scale, (axis[:, None] - head.shift_y) / head.scale
    cosine = math.sqrt(1 - head.roll * head.roll)
    x, y = cosine * right + head.roll * down, cosine * down - head.roll * right
    x = x - head.yaw * np.maximum(1 - x * x, 0)
    for draw in (draw_skull, draw_creases, draw_eyes, draw_brows, draw_nose, draw_mouth, draw_glasses):
        image = draw(image, x, y, np.abs(x), head, au)
    return image * head.gain * (1 + head.light_x * x - head.light_y * y)


def draw_face(emotion: str, intensity: float, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A blurred and noisy photograph of a new head that shows one emotion: uint8 (48, 48)."""
    traits = {name: low + (high - low) * rng.random() for name, (low, high) in TRAITS.items()}
    head = SimpleNamespace(**traits, **{name: rng.random() < odds for name, odds in ODDS.items()})
    au = action_units(emotion, intensity, [0.6 + 0.55 * rng.random() for _ in UNITS])
    face = render_face(head, au, rng.random((3, 4)).tolist())
    for _ in range(2):
        padded = np.pad(face, ((1, 1), (0, 0)), mode="edge")
        face = ((1 - 2 * head.blur) * face + head.blur * (padded[:-2] + padded[2:])).T
    grain = math.sqrt(6) * (rng.random(face.shape) + rng.random(face.shape) - 1)  # standard deviation 1
    face = face + head.noise * (1 + 2 * face) / 3 * grain
    return np.floor(255 * np.clip(face, 0, 1) + 0.5).astype(np.uint8)


def draw_votes(emotion: str, intensity: float, rng: np.random.Generator) -> dict[str, int]:
    """How many of ten annotators choose each class for a face: {vote: number} for all of `VOTE_CLASSES`."""
    seen = SEEN_NEUTRAL if emotion == "neutral" else SEEN[0] + (SEEN[1] - SEEN[0]) * intensity
    shares = {emotion: seen} | {vote: (1 - seen) * share for vote, share in MISTAKEN[emotion].items()}
    bounds = np.cumsum(list(shares.values()))
    said = np.searchsorted(bounds[:-1], rng.random(ANNOTATORS), side="right")
    votes = dict(zip(shares, np.bincount(said, minlength=len(shares)).tolist(), strict=True))
    return {name: votes.get(name, 0) for name in VOTE_CLASSES}


def draw_intensity(weak_share: float, rng: np.random.Generator) -> float:
    """An intensity: weak (0.1 to 0.4) with probability `weak_share`, clear (0.55 to 1) otherwise."""
    low, high = (0.1, 0.4) if rng.random() < weak_share else (0.55, 1.0)
    return low + (high - low) * rng.random()


def count_classes(rows: int) -> dict[str, int]:
    """{class: its number of rows}, at least one: `rows` divided by FER-2013's shares with the Sainte-Laguë method."""
    counts = dict.fromkeys(CLASSES, 1)
    while sum(counts.values()) < rows:
        counts[max(CLASSES, key=lambda name: CLASS_SHARES[name] / (2 * counts[name] + 1))] += 1
    return counts


def draw_split(
    usage: str, rows: int, seed: int, weak_share: float
) -> Iterator[tuple[int, npt.NDArray[np.uint8], dict[str, int]]]:
    """Yield label 0..6, face uint8 (48, 48) and votes (see `draw_votes`) of `rows` rows, the classes shuffled."""
    split = USAGES.index(usage)
    labels = np.repeat(np.arange(len(CLASSES)), list(count_classes(rows).values()))
    np.random.default_rng([seed, split]).shuffle(labels)
    for row, label in enumerate(labels.tolist()):
        rng = np.random.default_rng([seed, split, row])
        intensity = draw_intensity(weak_share, rng)
        votes = draw_votes(CLASSES[label], intensity, np.random.default_rng([seed, split, row, ANNOTATORS]))
        yield label, draw_face(CLASSES[label], intensity, rng), votes


def make_csv(rows_per_usage: Mapping[str, int], seed: int, weak_share: float) -> tuple[bytes, bytes]:
    """The CSV of the faces and the CSV of their votes; `rows_per_usage` is {Usage: count}, in the order of both."""
    lines = ["emotion,pixels,Usage"]
    votes_lines = [f"Usage,Image name,{','.join(FERPLUS_COLUMNS)}"]
    for usage, rows in rows_per_usage.items():
        for label, face, votes in draw_split(usage, rows, seed, weak_share):
            counts = ",".join(str(votes[name]) for name in FERPLUS_COLUMNS.values())
            votes_lines.append(f"{usage},fer{len(lines) - 1:07}.png,{counts}")
            lines.append(f"{label},{' '.join(map(str, face.ravel().tolist()))},{usage}")
    return "\n".join([*lines, ""]).encode(), "\n".join([*votes_lines, ""]).encode()


def draw_sheet(seed: int) -> bytes:
    """The contact sheet, a grey PNG: one row per emotion, from full intensity on the left to a tenth of it."""
    columns, side, margin, heading = 10, 2 * SIZE, 92, 26
    cell = side + 4
    sheet = Image.new("L", (margin + columns * cell, heading + len(CLASSES) * cell), 255)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    draw.text((margin, heading // 2), "strong", 0, font, anchor="lm")
    draw.text((sheet.width - 4, heading // 2), "weak", 0, font, anchor="rm")
    for row, emotion in enumerate(CLASSES):
        top = heading + row * cell
        draw.text((margin - 8, top + cell // 2), emotion, 0, font, anchor="rm")
        for column in range(columns):
            rng = np.random.default_rng([seed, len(USAGES), row * columns + column])
            face = Image.fromarray(draw_face(emotion, 1 - 0.9 * column / (columns - 1), rng))
            sheet.paste(face.resize((side, side), Image.Resampling.BICUBIC), (margin + column * cell, top))
    content = BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, content in (("--out", "CSV"), ("--votes", "CSV of votes"), ("--sheet", "contact sheet (PNG)")):
        parser.add_argument(option, required=True, help=f"the {content} to write")
    args = parser.parse_args()
    check_distinct({f"--{name}": path for name, path in vars(args).items()})
    params = read_params()
    for key, path in {"dataset": params.dataset, "prepare.votes": params.prepare.votes}.items():
        if not (Path(path).exists() or is_sample(path) or is_sample(path, SAMPLE_VOTES)):  # DVC would say [Errno 2]
            raise InputError(f"params.yaml: {key}: '{path}' not found; put the data there, or name where they are")
    sample = params.sample
    counts = dict(zip(USAGES, (sample.train_rows, sample.val_rows, sample.test_rows), strict=True))
    faces, votes = make_csv(counts, params.seed, sample.weak_share)
    write_files({args.out: faces, args.votes: votes, args.sheet: draw_sheet(params.seed)})


if __name__ == "__main__":
    run(main)
