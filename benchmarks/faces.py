"""Does one know who it is, when a face is painted at strength 1?

    pip install --no-deps dlib-bin face_recognition_models   # 100 MB; Boost's licence and CC0
    python benchmarks/faces.py                               # every style that ships
    python benchmarks/faces.py runs/wave ../shared/data/peers/wave.onnx --sheet faces.png

Four people and a statue: the demo's astronaut, two Kodak photographs, frames of the clips `carphone` (a driver who
moves) and `chaplin`, in each the largest face that dlib's frontal detector (Dalal 2005) finds. The judge is dlib's
recogniser, 128 numbers to a face (King 2017): by its own documentation two pictures nearer than 0.6 are of one person.
It learned from photographs, and has never seen a painting.

    found      share of the faces that the detector finds in the painting, too (intersection over union 0.5)
    known      share whose painting is nearer to that person's photographs than to anybody else's
    same       share nearer than 0.6 to the photograph that was painted
    distance   to that photograph, the mean; beside it that of different people's photographs (`strangers`) and that of
               one person's in different frames (`frames`)

`known`, `same` and `distance` take the face where the photograph has it: they say whether the face is kept, not whether
a detector finds its way to it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from itertools import combinations, islice
from typing import Any

import flicker
import lines
import numpy as np
from looks import add_styles, every_look
from painters import Painter

from allaprima import open_source
from allaprima.demo import PHOTOGRAPH
from allaprima.errors import AllaPrimaError
from allaprima.frame import Image
from allaprima.sheet import in_columns
from allaprima_train.data import read_picture

NEAR = 0.6  # dlib's own threshold for one person
EVERY, MOST = 25, 12  # frames of a clip between those that are looked at, and how many of them
CLIPS = {"driver": "carphone_qcif_30", "tramp": "chaplin_360p25_mp3"}
PHOTOS = {"girl": "kodim15.png", "statue": "kodim17.png"}


@dataclass(frozen=True)
class Face:
    person: str
    image: Image
    window: Any
    """dlib.rectangle of the face in it."""
    look: np.ndarray
    """(128,) as dlib's recogniser has it."""


class Recogniser:
    def __init__(self) -> None:
        try:
            import dlib

            models = distribution("face_recognition_models").locate_file("face_recognition_models/models")
        except (ImportError, PackageNotFoundError) as error:
            sys.exit(f"cannot tell faces: {error}: pip install --no-deps dlib-bin face_recognition_models")
        self.detect = dlib.get_frontal_face_detector()
        self._marks = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        self._network = dlib.face_recognition_model_v1(
            str(models / "dlib_face_recognition_resnet_model_v1.dat")
        )

    def find(self, image: Image) -> list[Any]:
        """Windows, the largest first; a picture enlarged once, so that faces of 40 pixels are found."""
        return sorted(self.detect(image, 1), key=lambda window: -window.area())

    def look(self, image: Image, window: Any) -> np.ndarray:
        return np.array(self._network.compute_face_descriptor(image, self._marks(image, window)))


def main() -> None:
    args = _arguments()
    recogniser = Recogniser()
    faces = [face for person, image in pictures() for face in seen(recogniser, person, image)]
    if {face.person for face in faces} != {"astronaut", *PHOTOS, *CLIPS}:
        sys.exit(f"cannot measure: not everybody is in {lines.SHARED}")
    columns: dict[str, Sequence[Image]] = {"photograph": [portrait(face, face.image) for face in faces]}
    for name, painter, _ in every_look(args.styles, args.precision):
        figures, paintings = measure(painter, faces, recogniser)
        lines.report("faces", {"name": name, "precision": args.precision, **figures}, keep=args.keep)
        columns[name] = [portrait(*pair) for pair in zip(faces, paintings, strict=True)]
    if args.sheet:
        in_columns(columns).save(args.sheet)


def _arguments() -> argparse.Namespace:
    parser = lines.arguments(__doc__)
    add_styles(parser)
    return parser.parse_args()


def pictures() -> list[tuple[str, Image]]:
    """Each with the one who is in it."""
    found: list[tuple[str, Image]] = [("astronaut", np.array(read_picture(PHOTOGRAPH)))]
    for person, name in PHOTOS.items():
        if (file := lines.SHARED / "content" / "eval" / name).exists():
            found.append((person, np.array(read_picture(file))))
    for person, name in CLIPS.items():
        for file in flicker.CLIPS.glob(f"{name}.*"):
            with open_source(file) as source:
                found += [(person, frame.image) for frame in islice(source, 0, EVERY * MOST, EVERY)]
    return found


def seen(recogniser: Recogniser, person: str, image: Image) -> list[Face]:
    """The largest face; none where it is turned away."""
    height, width = (side // 8 * 8 for side in image.shape[:2])  # what peers ask for; all get the same pixels
    image = np.ascontiguousarray(image[:height, :width])
    return [
        Face(person, image, window, recogniser.look(image, window)) for window in recogniser.find(image)[:1]
    ]


def measure(
    painter: Painter, faces: Sequence[Face], recogniser: Recogniser
) -> tuple[dict[str, Any], list[Image]]:
    paintings = [painter.paint(face.image) for face in faces]
    looked = [recogniser.look(painted, face.window) for face, painted in zip(faces, paintings, strict=True)]
    distances = [apart(face.look, look) for face, look in zip(faces, looked, strict=True)]
    taken_for = [whose(look, faces) for look in looked]
    found = [
        any(overlap(face.window, window) >= 0.5 for window in recogniser.find(painted))
        for face, painted in zip(faces, paintings, strict=True)
    ]
    pairs = list(combinations(faces, 2))
    return {
        "network": painter.network,
        "faces": len(faces),
        "people": len({face.person for face in faces}),
        "found": share(found),
        "known": share(face.person == person for face, person in zip(faces, taken_for, strict=True)),
        "same": share(distance < NEAR for distance in distances),
        "distance": mean(distances),
        "strangers": mean(apart(a.look, b.look) for a, b in pairs if a.person != b.person),
        "frames": mean(apart(a.look, b.look) for a, b in pairs if a.person == b.person),
    }, paintings


def whose(look: np.ndarray, faces: Sequence[Face]) -> str:
    return min(faces, key=lambda face: apart(face.look, look)).person


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other))


def overlap(one: Any, other: Any) -> float:
    """Intersection over union."""
    common = one.intersect(other).area()
    return float(common / (one.area() + other.area() - common))


def portrait(face: Face, image: Image) -> Image:
    """(256, 256, 3): the face and what is around it, half of its width on each side, from `image`."""
    import cv2

    window, half = face.window, face.window.width() // 2
    top, left = max(window.top() - half, 0), max(window.left() - half, 0)
    cut = image[top : window.bottom() + half, left : window.right() + half]
    return np.asarray(cv2.resize(cut, (256, 256), interpolation=cv2.INTER_CUBIC))


def share(answers: Any) -> float:
    return round(float(np.mean([bool(answer) for answer in answers])), 3)


def mean(values: Any) -> float:
    return round(float(np.mean(list(values))), 3)


if __name__ == "__main__":
    try:
        main()
    except AllaPrimaError as error:
        sys.exit(f"cannot measure: {error}")
