"""What `allaprima compare` says of content."""

from pathlib import Path

import pytest
from drawings import picture

from allaprima_train import figures


def test_the_structure_distance_is_told_only_where_the_weights_are(
    features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = picture(3, 64, 80)
    monkeypatch.setenv("ALLAPRIMA_FEATURES", str(features))
    found = figures.content([photo, photo], [photo, photo])
    assert list(found.values()) == [pytest.approx(1), pytest.approx(1, abs=1e-5), 0]
    monkeypatch.setattr(figures, "find_features", lambda: None)
    assert not any("structure" in label for label in figures.content([255 - photo], [photo]))
