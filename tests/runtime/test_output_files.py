"""Outputs are complete under their name, or not there at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from allaprima.errors import OutputError
from allaprima.files import Draft, write_whole


def code_of(path: Path, **how: object) -> str:
    with pytest.raises(OutputError) as caught:
        Draft(path, **how)  # type: ignore[arg-type]
    assert path.name in caught.value.what
    assert caught.value.next
    return caught.value.code


def test_a_file_appears_complete_and_nothing_else_stays(out: Path) -> None:
    draft = Draft(out / "a.bin")
    assert not (out / "a.bin").exists()
    assert draft.temp.parent == out
    assert draft.temp.suffix == ".bin"
    draft.temp.write_bytes(b"whole")
    draft.commit()
    assert (out / "a.bin").read_bytes() == b"whole"
    assert [item.name for item in out.iterdir()] == ["a.bin"]


def test_a_discarded_draft_leaves_the_old_file_as_it_was(out: Path) -> None:
    (out / "a.bin").write_bytes(b"old")
    draft = Draft(out / "a.bin", overwrite=True)
    draft.temp.write_bytes(b"half")
    draft.discard()
    draft.discard()
    assert (out / "a.bin").read_bytes() == b"old"
    assert [item.name for item in out.iterdir()] == ["a.bin"]


def test_windows_which_opens_no_folders_is_not_asked_to(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    draft = Draft(out / "a.bin")
    draft.temp.write_bytes(b"whole")
    monkeypatch.setattr("allaprima.files.flush", flushed.append)
    with monkeypatch.context() as windows:
        windows.setattr("allaprima.files.os.name", "nt")
        draft.commit()
    assert (out / "a.bin").read_bytes() == b"whole"
    assert flushed == [draft.temp]


def test_bytes_are_written_whole_or_not_at_all(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(out / "a.bin", b"old")
    write_whole(out / "a.bin", b"new")
    assert (out / "a.bin").read_bytes() == b"new"
    monkeypatch.setattr(
        Path, "write_bytes", lambda self, data: (_ for _ in ()).throw(OSError(28, "no space"))
    )
    with pytest.raises(OutputError, match="disk is full"):
        write_whole(out / "a.bin", b"third")
    assert (out / "a.bin").read_bytes() == b"new"
    assert [item.name for item in out.iterdir()] == ["a.bin"]


def test_what_forbids_an_output_is_told_first(out: Path, tmp_path: Path) -> None:
    (out / "there.bin").write_bytes(b"old")
    (out / "folder").mkdir()
    assert code_of(out / "there.bin") == "E_OUTPUT_EXISTS"
    assert code_of(out / "folder", overwrite=True) == "E_OUTPUT_FOLDER"
    assert code_of(out / "no" / "a.bin") == "E_OUTPUT_NO_FOLDER"
    assert code_of(Path("/dev/null"), overwrite=True) == "E_OUTPUT_KIND"
    assert (out / "there.bin").read_bytes() == b"old"


def test_a_name_that_no_disk_takes_is_told(out: Path) -> None:
    assert code_of(out / ("n" * 300 + ".mp4")) == "E_OUTPUT_FAILED"
    (out / "round.mp4").symlink_to(out / "round.mp4")
    assert code_of(out / "round.mp4") == "E_OUTPUT_FAILED"


def test_the_output_may_not_be_the_input_by_any_name(out: Path) -> None:
    source = out / "in.bin"
    source.write_bytes(b"precious")
    link = out / "link.bin"
    link.symlink_to(source)
    hard = out / "hard.bin"
    os.link(source, hard)
    for name in (source, link, hard, out / "." / "in.bin"):
        assert code_of(name, inputs=[source], overwrite=True) == "E_OUTPUT_IS_INPUT"
    assert source.read_bytes() == b"precious"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(out: Path) -> None:
    out.chmod(0o500)
    try:
        assert code_of(out / "a.bin") == "E_OUTPUT_PERMISSION"
    finally:
        out.chmod(0o700)


def test_two_jobs_on_one_output_do_not_meet(out: Path) -> None:
    first = Draft(out / "a.bin")
    assert code_of(out / "a.bin") == "E_OUTPUT_BUSY"
    other = Draft(out / "b.bin")
    other.discard()
    first.discard()
    Draft(out / "a.bin").discard()
    assert list(out.iterdir()) == []


def test_the_lock_of_a_killed_job_is_taken_over_with_what_it_left_and_a_living_one_respected(
    out: Path,
) -> None:
    script = (
        "import sys; from allaprima.files import Draft; Draft(sys.argv[1]); print('held', flush=True);"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(out / "a.bin")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert code_of(out / "a.bin") == "E_OUTPUT_BUSY"
        other.kill()
    [left] = out.glob(".*.part.bin")
    near = Draft(out / "a.a.bin")  # in the making, and its name contains ours
    draft = Draft(out / "a.bin")
    assert not left.exists()
    assert draft.temp.exists()
    assert near.temp.exists()
    draft.discard()
    near.discard()
    assert list(out.iterdir()) == []


def test_many_jobs_that_find_the_lock_of_a_killed_one_do_not_all_take_it(out: Path) -> None:
    """Each takes it, makes sure that it is alone, and gives it back, as fast as it can."""
    path = out / "a.bin"
    alone, together, taken = threading.Lock(), [], []

    def job() -> None:
        for _ in range(60):
            try:
                draft = Draft(path)
            except OutputError:
                continue
            if not alone.acquire(blocking=False):
                together.append(1)
            else:
                taken.append(1)
                time.sleep(0.0005)
                alone.release()
            draft.discard()

    jobs = [threading.Thread(target=job) for _ in range(4)]
    for thread in jobs:
        thread.start()
    for thread in jobs:
        thread.join()
    assert taken
    assert not together
    assert list(out.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows removes it itself")
def test_a_stale_lock_is_held_by_one_job_even_where_another_was_just_about_to_take_it(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one opened the lock's file, then lost its turn; meanwhile the file was removed, and made anew."""
    import fcntl

    first, flock = Draft(out / "a.bin"), fcntl.flock
    third: list[Draft] = []

    def late(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        first.discard()
        third.append(Draft(out / "a.bin"))
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert code_of(out / "a.bin") == "E_OUTPUT_BUSY"
    third[0].discard()
    assert list(out.iterdir()) == []


def test_a_file_that_appears_meanwhile_is_not_replaced_and_the_finished_one_is_kept(out: Path) -> None:
    draft = Draft(out / "a.bin")
    draft.temp.write_bytes(b"mine")
    (out / "a.bin").write_bytes(b"theirs")
    with pytest.raises(OutputError, match=r"appeared meanwhile.*a\.partial\.bin"):
        draft.commit()
    assert (out / "a.bin").read_bytes() == b"theirs"
    assert (out / "a.partial.bin").read_bytes() == b"mine"
    assert {item.name for item in out.iterdir()} == {"a.bin", "a.partial.bin"}


def test_a_part_is_kept_under_a_name_that_says_so(out: Path) -> None:
    draft = Draft(out / "film.mp4")
    draft.temp.write_bytes(b"half")
    assert draft.keep_part() == (out / "film.partial.mp4").resolve()
    assert [item.name for item in out.iterdir()] == ["film.partial.mp4"]
    again = Draft(out / "film.mp4", inputs=[out / "film.partial.mp4"])  # painted on, and interrupted again
    again.temp.write_bytes(b"more")
    assert again.keep_part() == (out / "film.partial-2.mp4").resolve()
    assert (out / "film.partial.mp4").read_bytes() == b"half"


@pytest.mark.parametrize(
    "name", ["a b.mp4", "-x.mp4", "100%d.mp4", "it's.mp4", "ночь 夜.mp4", "a:b.mp4", "x" * 250 + ".mp4"]
)
def test_awkward_names_work(out: Path, name: str, make_video: object) -> None:
    from allaprima.sinks import open_sink
    from allaprima.sources import open_source
    from allaprima.stream import play

    path = make_video(name, times=3)  # type: ignore[operator]
    with open_source(path) as source, open_sink(out / name, like=source) as sink:
        play(source, lambda frame: frame, sink)
    assert [item.name for item in out.iterdir()] == [name]
