"""A video file, sound kept, with a line every second. Usage: python 02_paint_a_video.py clip.mp4 painted.mp4"""

import sys

import allaprima


def tell(frame, meter):
    if meter.frames % 25 == 0:
        print(f"{frame.time:6.2f} s of video, {meter.fps:.0f} frames per second")


with (
    allaprima.open_source(sys.argv[1]) as source,
    allaprima.Stylizer.open("starry", size=(source.width, source.height)) as stylizer,
    allaprima.open_sink(sys.argv[2], like=source, overwrite=True) as sink,
):
    played = allaprima.play(source, stylizer, sink, on_frame=tell)
print(f"{played.frames} frames, {played.fps:.1f} per second")
