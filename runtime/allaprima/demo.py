"""The demo's scene: a slow pan over a photograph that ships with the package, and a soundtrack of arithmetic.

The photograph is NASA's portrait of astronaut Eileen Collins (public domain, as works of the US government
are; S93-31347), which scikit-image distributes as `astronaut.png`.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["HEIGHT", "RATE", "SECONDS", "WIDTH", "render"]

WIDTH, HEIGHT, RATE, SECONDS = 768, 432, 25, 6
SAMPLE_RATE = 44_100
PHOTOGRAPH = Path(__file__).parent / "assets" / "astronaut.jpg"


def render(path: Path) -> None:
    """Write the scene as a video file: H.264 and AAC, some 6 seconds."""
    import av
    from PIL import Image as Pictures

    with Pictures.open(PHOTOGRAPH) as opened:
        photograph = opened.convert("RGB")
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "14"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        for number in range(SECONDS * RATE):
            view = photograph.resize(
                (WIDTH, HEIGHT), Pictures.Resampling.LANCZOS, box=window(number / (SECONDS * RATE - 1))
            )
            frame = av.VideoFrame.from_image(view)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        samples = av.AudioFrame.from_ndarray(melody(), format="fltp", layout="stereo")
        samples.sample_rate, samples.pts, samples.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))


def window(progress: float) -> tuple[float, float, float, float]:
    """What the camera sees at 0..1 of the way, in pixels of the 512x512 photograph: it rises, and comes nearer."""
    eased = (1 - np.cos(np.pi * progress)) / 2
    width = 512 - 152 * eased
    height = width * HEIGHT / WIDTH
    left = (512 - width) * 0.36  # the face is left of the middle
    top = (512 - 512 * HEIGHT / WIDTH) * (1 - eased) + 22 * eased
    return left, top, left + width, top + height


def melody() -> NDArray[np.float32]:
    """(2, samples) float32 in [-1, 1]: plucked notes of a pentatonic scale, one after the other, left and right."""
    notes = [220.0 * 2 ** (step / 12) for step in (0, 3, 7, 10, 12, 15, 12, 10, 7, 3, 5, 0)]
    sound = np.zeros((2, SECONDS * SAMPLE_RATE), np.float32)
    for number, hertz in enumerate(notes):
        start = number * SECONDS * SAMPLE_RATE // len(notes)
        t = np.arange(sound.shape[1] - start, dtype=np.float32) / SAMPLE_RATE
        pluck = np.exp(-3 * t) * (np.sin(2 * np.pi * hertz * t) + 0.4 * np.sin(4 * np.pi * hertz * t))
        sound[:, start:] += 0.18 * pluck * np.array([[1.0], [0.5]] if number % 2 else [[0.5], [1.0]])
    return np.clip(sound, -1, 1)
