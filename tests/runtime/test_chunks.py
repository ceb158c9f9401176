"""Chunks of an unfinished video: what is on the disk counts, what is not whole does not."""

import json

import pytest

from allaprima.errors import OutputError, UsageError
from allaprima.sinks.chunks import Chunks, Piece, parts_folder

SETTINGS = {"style": "starry", "crf": 18}


def piece(number: int) -> Piece:
    return Piece(number * 10, number * 10 - 20, 10, number % 5 == 0, bytes([number]) * (number + 1))


def three_chunks(output) -> Chunks:
    chunks = Chunks.begin(output, SETTINGS)
    for number in range(15):
        chunks.add(piece(number))
        if number % 5 == 4:
            chunks.seal(5, {"ticks": number})
    return chunks


def test_what_was_sealed_is_there_again(tmp_path):
    output = tmp_path / "out.mp4"
    three_chunks(output).add(piece(15))  # not sealed: lost, as with a killed process
    chunks = Chunks.resume(output, SETTINGS)
    assert chunks.frames == 15
    assert chunks.state == {"ticks": 14}
    assert list(chunks) == [piece(number) for number in range(15)]


def test_nothing_is_written_before_the_first_chunk_is_full(tmp_path):
    chunks = Chunks.begin(tmp_path / "out.mp4", SETTINGS)
    chunks.add(piece(0))
    assert not any(tmp_path.iterdir())
    assert chunks.state is None
    chunks.remove()


def test_it_goes_on_after_a_resume_and_leaves_nothing_when_complete(tmp_path):
    output = tmp_path / "out.mp4"
    three_chunks(output)
    chunks = Chunks.resume(output, SETTINGS)
    chunks.add(piece(15))
    chunks.seal(1, {"ticks": 15})
    assert list(Chunks.resume(output, SETTINGS)) == [piece(number) for number in range(16)]
    chunks.remove()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("harm", ["cut", "changed", "missing"])
def test_only_chunks_before_a_damaged_one_count(tmp_path, harm):
    output = tmp_path / "out.mp4"
    three_chunks(output)
    middle = parts_folder(output) / "00001.packets"
    data = middle.read_bytes()
    if harm == "missing":
        middle.unlink()
    else:
        middle.write_bytes(data[:-1] if harm == "cut" else bytes([data[0] ^ 1]) + data[1:])
    chunks = Chunks.resume(output, SETTINGS)
    assert list(chunks) == [piece(number) for number in range(5)]
    chunks.add(piece(5))
    chunks.seal(1, {"ticks": 5})
    assert list(Chunks.resume(output, SETTINGS)) == [piece(number) for number in range(6)]


@pytest.mark.parametrize("left", range(1, 60, 7))
def test_a_journal_that_was_being_written_counts_up_to_its_last_whole_line(tmp_path, left):
    output = tmp_path / "out.mp4"
    three_chunks(output)
    journal = parts_folder(output) / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-left])
    chunks = Chunks.resume(output, SETTINGS)
    assert chunks.frames in (10, 15)
    assert list(chunks) == [piece(number) for number in range(chunks.frames)]


def test_other_settings_are_refused_by_name(tmp_path):
    output = tmp_path / "out.mp4"
    three_chunks(output)
    with pytest.raises(UsageError, match="crf was 18 and is 20") as refused:
        Chunks.resume(output, {**SETTINGS, "crf": 20})
    assert "--restart" in str(refused.value)


def test_a_new_run_does_not_throw_unfinished_work_away(tmp_path):
    output = tmp_path / "out.mp4"
    three_chunks(output)
    with pytest.raises(OutputError, match="15 frames") as refused:
        Chunks.begin(output, SETTINGS)
    assert "--resume" in str(refused.value)
    assert Chunks.begin(output, SETTINGS, restart=True).frames == 0
    assert not any(tmp_path.iterdir())


def test_a_journal_cannot_name_files_elsewhere(tmp_path):
    output = tmp_path / "out.mp4"
    three_chunks(output)
    journal = parts_folder(output) / "journal.jsonl"
    lines = journal.read_text().splitlines()
    table = json.loads(lines[1])
    table["file"] = "../secret"
    journal.write_text("\n".join([lines[0], json.dumps(table), *lines[2:]]))
    assert Chunks.resume(output, SETTINGS).frames == 0
