"""`allaprima run` on video: previews, rehearsals, codecs and HDR, as words on a command line."""

import json
from pathlib import Path

import av
import bundles
import pytest
from media import write_video

from allaprima.cli import main
from allaprima.cli.encoding import seconds_of
from allaprima.errors import UsageError


@pytest.fixture
def style(tmp_path: Path) -> Path:
    return bundles.make_bundle(tmp_path / "negative.prima", promise=bundles.with_planes())


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict]:
    status = main(["run", *map(str, words), "--backend", "ort", "--precision", "fp32", "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_film_is_painted_on_planes_and_the_summary_says_so(tmp_path, style, capsys) -> None:
    film = write_video(tmp_path / "a.mp4", audio=("aac",))
    status, said = run(capsys, film, "--style", style, "--out", tmp_path / "b.mp4")
    assert status == 0
    assert (said["edges"], said["variant"], said["frames"]) == ("planes", "fp32-planes", 12)
    assert said["notes"] == []


def test_a_preview_has_a_name_of_its_own(tmp_path, style, capsys, monkeypatch) -> None:
    film = write_video(tmp_path / "a.mp4", times=50)
    monkeypatch.chdir(tmp_path)
    status, said = run(capsys, film, "--style", style, "--preview", "1s")
    assert status == 0
    assert (said["output"], said["frames"]) == ("a-negative.preview.mp4", 25)


def test_a_rehearsal_says_what_to_expect_and_writes_nothing(tmp_path, style, capsys) -> None:
    film = write_video(tmp_path / "a.mp4", times=100)
    before = sorted(path.name for path in tmp_path.iterdir())
    status, said = run(capsys, film, "--style", style, "--out", tmp_path / "b.mp4", "--dry-run")
    assert status == 0
    assert said["dry_run"]
    assert said["frames"] == 50
    assert said["expected_seconds"] == pytest.approx(2 * said["seconds"], rel=0.3, abs=0.2)
    assert said["expected_megabytes"] is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_of_a_film_shorter_than_a_rehearsal_what_was_measured_is_expected(
    tmp_path, style, capsys, monkeypatch
) -> None:
    from allaprima.cli import job

    film, paint = write_video(tmp_path / "a.mp4", times=12), job.paint
    monkeypatch.setattr(job, "paint", lambda *given, **how: {**paint(*given, **how), "seconds": 10.0})
    status, said = run(capsys, film, "--style", style, "--out", tmp_path / "b.mp4", "--dry-run")
    assert (status, said["frames"]) == (0, 12)
    assert said["expected_seconds"] == pytest.approx(10, abs=0.5)


def test_seconds_of_a_preview_count_from_the_first_picture(tmp_path, style, capsys) -> None:
    """A film whose sound begins six seconds before its pictures."""
    film = write_video(tmp_path / "a.mkv", times=list(range(150, 200)), audio=("aac",))
    status, said = run(capsys, film, "--style", style, "--out", tmp_path / "b.mkv", "--preview", "1s")
    assert (status, said["frames"]) == (0, 25)
    status, said = run(capsys, film, "--style", style, "--out", tmp_path / "c.mkv", "--dry-run")
    assert (status, said["frames"]) == (0, 50)


def test_a_rehearsal_finds_what_forbids_the_run(tmp_path, style, capsys) -> None:
    film = write_video(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_text("taken")
    status, said = run(capsys, film, "--style", style, "--out", tmp_path / "b.mp4", "--dry-run")
    assert (status, said["error"]["code"]) == (4, "E_OUTPUT_EXISTS")


def test_codec_and_quality_reach_the_file(tmp_path, style, capsys, monkeypatch) -> None:
    film = write_video(tmp_path / "a.mp4")
    monkeypatch.chdir(tmp_path)
    assert run(capsys, film, "--style", style, "--codec", "prores", "--quality", "small")[0] == 0
    with av.open("a-negative.mov") as made:
        assert made.streams.video[0].codec_context.name == "prores"
        assert made.streams.video[0].codec_context.profile == "Proxy"
    status, said = run(capsys, film, "--style", style, "--codec", "prores", "--out", "c.webm")
    assert (status, said["error"]["code"]) == (4, "E_OUTPUT_FORMAT")


def test_pictures_have_neither_preview_nor_rehearsal(tmp_path, style, capsys) -> None:
    from PIL import Image

    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    status, said = run(capsys, tmp_path / "a.png", "--style", style, "--dry-run")
    assert (status, said["error"]["code"]) == (2, "E_USAGE")
    for words in (
        ("--dry-run",),
        ("--preview", "5s"),
        ("--resume",),
        ("--restart",),
    ):  # nor have folders of them
        status, said = run(capsys, tmp_path, "--style", style, "--out", tmp_path / "painted", *words)
        assert (status, said["error"]["code"]) == (2, "E_USAGE")
    assert not (tmp_path / "painted").exists()


def test_high_dynamic_range_can_be_refused(shared_data, tmp_path, style, capsys) -> None:
    film = shared_data / "video" / "edge" / "hdr10_av1_720x1280_aac.mp4"
    status, said = run(capsys, film, "--style", style, "--out", tmp_path / "b.mp4", "--hdr", "fail")
    assert (status, said["error"]["code"]) == (3, "E_INPUT_HDR")


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("5", 5), ("0.5", 0.5), ("1:30", 90), ("2:03.5", 123.5)]
)
def test_times_are_read_as_people_write_them(text, seconds) -> None:
    assert seconds_of(text, "--preview") == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "five", "1:", "5 m"])
def test_what_is_no_time_is_refused(text) -> None:
    with pytest.raises(UsageError, match="write --preview 5s"):
        seconds_of(text, "--preview")
