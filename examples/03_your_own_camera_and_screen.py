"""Anything that gives frames is a source, anything that takes them a sink: here numpy and a histogram.

The newest frame wins: a live source that is faster than the painter loses frames, never time.
"""

import time

import numpy as np

import allaprima


class Clouds:
    """A live source: moving sine waves, 30 a second, for two seconds."""

    name, width, height, rate, duration, frames, live = "clouds", 320, 240, 30, None, None, True

    def __init__(self):
        self.notes = []

    def __iter__(self):
        y, x = np.mgrid[0 : self.height, 0 : self.width] / 40
        for index in range(60):
            waves = [np.sin(x + index / 9) + np.cos(y * 1.5 + c) for c in range(3)]
            image = ((np.stack(waves, axis=2) + 2) * 63).astype(np.uint8)
            yield allaprima.Frame(image, index, time.monotonic())
            time.sleep(1 / self.rate)


class Brightness:
    """A sink that looks at the frames and keeps none."""

    name, live = "brightness", True

    def __init__(self):
        self.notes, self.means = [], []

    def put(self, frame):
        self.means.append(frame.image.mean())
        return True  # False would end the run


sink = Brightness()
with allaprima.Stylizer.open("starry", size=(320, 240)) as stylizer:
    played = allaprima.play(Clouds(), stylizer, sink)
print(f"painted {played.frames}, dropped {played.dropped}, p95 {played.latency_ms.p95:.0f} ms after capture")
print(f"mean brightness {np.mean(sink.means):.0f}")
