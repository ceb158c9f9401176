"""From high dynamic range to the ordinary: PQ and HLG tone-mapped to BT.709, by FFmpeg's libswscale.

Its `perceptual` intent: lightness goes through a spline after SMPTE ST 2094-10 (steep around the mean, flat towards
the peak), colours that BT.709 does not have are desaturated along their hue, both in the IPT space of PQ. Highlights
keep their form, which a clip would take from them, and greys stay where they were, which the plain bytes would not.
All of it is one table of colours, which takes seconds to make for a file and milliseconds to use for a frame.
"""

from __future__ import annotations

from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries

__all__ = ["ToneMap"]

_UNSPECIFIED = 2
_BT2020 = 9


class ToneMap:
    """Frames of one size and format. The answer is yuv420p, BT.709 of limited range, and says so in its tags."""

    def __init__(self, first: VideoFrame, width: int, height: int) -> None:
        """`width`, `height`: of the answer."""
        self.takes = (first.width, first.height, first.format.name)
        self._graph = Graph()
        into = self._graph.add_buffer(
            width=first.width, height=first.height, format=first.format, time_base=first.time_base
        )
        scale = self._graph.add(
            "scale",
            f"w={width}:h={height}:intent=perceptual:out_primaries=bt709:out_transfer=bt709"
            ":out_color_matrix=bt709:out_range=limited",
        )
        bytes_ = self._graph.add("format", "yuv420p")
        out = self._graph.add("buffersink")
        into.link_to(scale)
        scale.link_to(bytes_)
        bytes_.link_to(out)
        self._graph.configure()

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        # PQ and HLG are defined for BT.2020; files that leave one of the tags out mean it
        if int(frame.color_primaries) == _UNSPECIFIED:
            frame.color_primaries = ColorPrimaries.BT2020
        if int(frame.colorspace) == _UNSPECIFIED:
            frame.colorspace = _BT2020
        self._graph.vpush(frame)
        mapped = self._graph.vpull()
        mapped.pts, mapped.time_base = frame.pts, frame.time_base
        return mapped
