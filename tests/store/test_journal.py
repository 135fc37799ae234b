"""The journal keeps every whole record, whatever happens to the process or to a part of the disk."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metergate.store.journal import (
    DISPATCHED,
    HEADER,
    MAGIC,
    RELEASED,
    SETTLED,
    Journal,
    Record,
    read,
    read_segment,
    segment_numbers,
    segment_of,
)
from tests.store.disk import full_disk

ROOM = 256


def journal(folder: Path) -> Journal:
    return Journal(folder, segment_bytes=ROOM)


def first_segment(folder: Path, *payloads: bytes) -> bytes:
    written = journal(folder)
    for payload in payloads:
        written.append(SETTLED, payload)
    written.close()
    return (folder / "0000000001.journal").read_bytes()


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    written = journal(tmp_path)
    records = [
        Record(DISPATCHED, b"a"),
        Record(DISPATCHED, b""),
        Record(SETTLED, b"\0\0"),
        Record(RELEASED, b"b"),
    ]
    for record in records:
        written.append(*record)
    assert list(read(tmp_path)) == records
    written.close()
    assert list(read(tmp_path)) == records


def test_an_empty_journal_holds_nothing(tmp_path: Path) -> None:
    assert list(read(tmp_path)) == []
    journal(tmp_path)
    assert list(read(tmp_path)) == []


def test_positions_grow_over_segments(tmp_path: Path) -> None:
    written = journal(tmp_path)
    positions = [written.append(SETTLED, b"x" * 60) for _ in range(10)]
    assert positions == sorted(set(positions))
    assert [segment_of(position) for position in positions] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    assert written.segment == 4
    assert written.position > positions[-1]
    assert len(list(read(tmp_path))) == 10


def test_a_record_may_fill_a_segment_and_not_more(tmp_path: Path) -> None:
    written = journal(tmp_path)
    most = ROOM - len(MAGIC) - HEADER.size
    written.append(SETTLED, b"x" * most)
    written.append(SETTLED, b"y" * most)
    with pytest.raises(ValueError, match="does not fit a segment of 256"):
        written.append(SETTLED, b"z" * (most + 1))
    written.append(SETTLED, b"after")
    assert [record.payload[:5] for record in read(tmp_path)] == [b"xxxxx", b"yyyyy", b"after"]


def test_a_process_killed_at_any_byte_of_a_record_loses_that_record_alone(tmp_path: Path) -> None:
    """The payload is written first and the header last; both byte by byte, as far as anybody knows."""
    data = first_segment(tmp_path, b"first", b"the last one")
    size = HEADER.size + len(b"the last one")
    start = data.index(b"the last one") - HEADER.size
    order = [*range(start + HEADER.size, start + size), *range(start, start + HEADER.size)]
    for written in range(size):
        torn = bytearray(data[:start]) + bytearray(len(data) - start)
        for at in order[:written]:
            torn[at] = data[at]
        payloads = [record.payload for record in read_segment(bytes(torn))]
        # The last three bytes of a header are zero anyway: without them the record is whole.
        assert payloads == ([b"first", b"the last one"] if written >= size - 3 else [b"first"])


def test_a_file_cut_at_any_byte_keeps_the_records_before(tmp_path: Path) -> None:
    data = first_segment(tmp_path, b"first", b"second", b"third")
    ends = [data.index(payload) + len(payload) for payload in (b"first", b"second", b"third")]
    for length in range(ends[-1] + 1):
        payloads = [record.payload for record in read_segment(data[:length])]
        assert payloads == [b"first", b"second", b"third"][: sum(end <= length for end in ends)]


def test_a_flipped_bit_never_makes_another_record(tmp_path: Path) -> None:
    data = first_segment(tmp_path, b"first", b"second", b"third")
    start = data.index(b"second") - HEADER.size
    unused = range(start + HEADER.size - 3, start + HEADER.size)
    for bit in range(8 * start, 8 * (start + HEADER.size + len(b"second"))):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        found = [(record.kind, record.payload) for record in read_segment(bytes(flipped))]
        assert found[0] == (SETTLED, b"first")
        assert set(found) <= {(SETTLED, payload) for payload in (b"first", b"second", b"third")}
        assert bit // 8 not in unused or len(found) == 3


def test_damage_to_the_content_of_one_record_costs_no_other(tmp_path: Path) -> None:
    data = bytearray(first_segment(tmp_path, b"first", b"second", b"third"))
    data[data.index(b"second")] ^= 1
    assert [record.payload for record in read_segment(bytes(data))] == [b"first", b"third"]


def test_a_file_of_somebody_else_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "0000000001.journal").write_bytes(b"something else")
    (tmp_path / "notes.journal").write_bytes(MAGIC)
    assert list(read(tmp_path)) == []
    assert segment_numbers(tmp_path) == [1]
    written = journal(tmp_path)
    assert written.segment == 2


def test_a_full_disk_is_an_error_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    written = journal(tmp_path)
    written.append(SETTLED, b"x" * 200)
    files = set(tmp_path.iterdir())
    with full_disk():
        for _ in range(2):
            with pytest.raises(OSError, match="File too large"):
                written.append(SETTLED, b"y" * 200)
        with pytest.raises(OSError, match="File too large"):
            written.prepare()
        written.append(SETTLED, b"small")
    assert set(tmp_path.iterdir()) == files
    written.append(SETTLED, b"z" * 200)
    assert [record.payload[:5] for record in read(tmp_path)] == [b"xxxxx", b"small", b"zzzzz"]


def test_a_journal_cannot_begin_on_a_full_disk(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(OSError, match="File too large"):
        journal(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_prepared_segment_needs_no_room_later(tmp_path: Path) -> None:
    written = journal(tmp_path)
    written.append(SETTLED, b"x" * 200)
    written.prepare()
    written.prepare()
    with full_disk():
        written.append(SETTLED, b"y" * 200)
    assert len(list(read(tmp_path))) == 2


def test_segments_are_deleted_up_to_the_one_that_is_needed(tmp_path: Path) -> None:
    written = journal(tmp_path)
    positions = [written.append(SETTLED, bytes([n]) * 200) for n in range(4)]
    written.keep_from(positions[0])
    assert segment_numbers(tmp_path) == [1, 2, 3, 4]
    written.keep_from(positions[2])
    assert segment_numbers(tmp_path) == [3, 4]
    assert [record.payload[0] for record in read(tmp_path)] == [2, 3]
    written.keep_from(written.position + (9 << 32))
    assert segment_numbers(tmp_path) == [4]


def test_what_a_dead_process_wrote_stays_until_it_is_taken_over(tmp_path: Path) -> None:
    dead = journal(tmp_path)
    dead.append(SETTLED, b"old")
    dead.prepare()
    alive = journal(tmp_path)
    alive.append(SETTLED, b"new")
    alive.keep_from(alive.position)
    assert [record.payload for record in read(tmp_path)] == [b"old", b"new"]
    alive.forget_old()
    assert [record.payload for record in read(tmp_path)] == [b"new"]
    assert len(segment_numbers(tmp_path)) == 1


def test_closing_leaves_no_empty_segment_behind(tmp_path: Path) -> None:
    written = journal(tmp_path)
    written.append(SETTLED, b"x")
    written.prepare()
    written.sync()
    written.close()
    assert segment_numbers(tmp_path) == [1]


def test_with_fsync_always_every_record_goes_to_the_disk(tmp_path: Path) -> None:
    written = Journal(tmp_path, segment_bytes=ROOM, fsync="always")
    written.append(SETTLED, b"x")
    assert [record.payload for record in read(tmp_path)] == [b"x"]


def test_only_the_owner_may_read_the_journal(tmp_path: Path) -> None:
    journal(tmp_path / "journal")
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "journal" / "0000000001.journal").stat().st_mode & 0o777 == 0o600


@settings(max_examples=50)
@given(st.lists(st.builds(Record, st.sampled_from((DISPATCHED, SETTLED, RELEASED)), st.binary(max_size=200))))
def test_any_sequence_of_records_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    written = journal(folder)
    for record in records:
        written.append(*record)
    written.close()
    assert list(read(folder)) == records
