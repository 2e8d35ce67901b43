"""InHand: what is left of a process that died, and what follows from it."""

from __future__ import annotations

from dataclasses import replace

from streamcluster.engine.in_hand import ANYBODY, InHand, Note, after_death, after_marked_death, size_of, suspicion_of
from streamcluster.engine.in_hand import unit_number as number_of
from streamcluster.ids import TP

A, B = TP("a", 0), TP("b", 7)
TPS = (A, B)
DEATH = "killed by signal 11 (segmentation fault)"


def notes(buffer: bytearray | None = None) -> InHand:
    """Notes of two partitions."""
    return InHand(buffer if buffer is not None else bytearray(size_of(2)), TPS, "shape")


def died(buffer: bytearray, death: str | None = DEATH) -> InHand:
    """The notes as the next process finds them."""
    after = notes(bytearray(buffer))
    after.learn(death)
    return after


def test_one_death_makes_nobody_a_suspect() -> None:
    """It may have been anything."""
    note = after_death(Note(handed_next=20, committed=10))

    assert note == Note(committed=10, deaths=1, deaths_at=10, suspects_next=20)
    assert suspicion_of(note, 10, DEATH).suspects_next is None


def test_two_deaths_at_one_position_make_all_suspects_that_either_had_handed_out() -> None:
    """The second may have come less far."""
    note = after_death(Note(handed_next=15, committed=10, deaths=1, deaths_at=10, suspects_next=20))

    assert (note.deaths, note.suspects_next) == (2, 20)
    assert suspicion_of(note, 10, DEATH).suspects_next == 20
    assert suspicion_of(note, 12, DEATH).suspects_next == 20
    assert suspicion_of(note, 20, DEATH).suspects_next is None


def test_a_commit_between_two_deaths_makes_nobody_innocent_that_is_behind_it() -> None:
    """Each life may commit a little before it comes to the killer: on a busy machine, ten died at ten positions."""
    note = Note(handed_next=20, committed=10)
    for committed in (12, 15, 17):
        note = replace(after_death(note), committed=committed, handed_next=19)

    assert (note.deaths, note.suspects_next) == (3, 20)
    assert suspicion_of(note, 17, DEATH).suspects_next == 20


def test_a_position_behind_all_that_was_in_hand_begins_anew() -> None:
    """None of that has killed, then."""
    note = after_death(Note(handed_next=25, committed=22, deaths=1, deaths_at=10, suspects_next=22))

    assert note == Note(committed=22, deaths=1, deaths_at=22, suspects_next=25)


def test_a_position_that_was_set_back_begins_to_count_anew() -> None:
    """Other events are in hand then."""
    note = after_death(Note(handed_next=9, committed=5, deaths=1, deaths_at=10, suspects_next=22))

    assert note == Note(committed=5, deaths=1, deaths_at=5, suspects_next=9)


def test_a_partition_with_nothing_in_hand_is_left_as_it_is() -> None:
    """All that it had handed out was committed."""
    assert after_death(Note(handed_next=10, committed=10)) == Note(committed=10)


def test_what_a_codec_did_not_come_back_from_counts_as_handed_out() -> None:
    """It was given to user code too."""
    assert after_death(Note(decoding_next=12, committed=10)).suspects_next == 12


def test_an_event_that_is_marked_at_two_deaths_is_the_killer_and_the_others_stay_suspects() -> None:
    """Whether commits went on meanwhile does not matter."""
    once = after_marked_death(Note(14, 0, 12, 2, 10, 20), 13, 5)
    note = after_marked_death(once, 13, 5)

    assert suspicion_of(once, 12, DEATH).killer is None
    assert suspicion_of(once, 12, DEATH).suspects_next == 20
    assert suspicion_of(note, 12, DEATH).killer == 13
    assert suspicion_of(note, 12, DEATH).suspects_next == 20
    assert suspicion_of(note, 14, DEATH).killer is None


def test_an_event_that_kills_two_units_nobody_gets() -> None:
    """Otherwise they take turns: the note has room for one of them."""
    note = after_marked_death(Note(14, 0, 12, 2, 10, 20, 14, 5, 2), 13, 6)

    assert (note.killer_next, note.killer_unit) == (14, ANYBODY)


def test_another_event_that_is_marked_begins_to_count_anew() -> None:
    """Something else kills the process, whoever is in hand."""
    note = after_marked_death(Note(14, 0, 12, 2, 10, 20, 13, 5, 1), 13, 5)

    assert (note.killer_next, note.killer_deaths) == (14, 1)
    assert suspicion_of(note, 12, DEATH).killer is None


def test_a_position_that_was_set_back_makes_nobody_a_suspect() -> None:
    """Otherwise all events since then would be done one by one."""
    assert suspicion_of(Note(0, 0, 10, 2, 10, 20), 0, DEATH).suspects_next is None


def test_what_is_stored_is_there_for_the_next_process() -> None:
    """Two deaths, then two with a mark; the reason is that of the last."""
    buffer = bytearray(size_of(2))
    first = notes(buffer)
    for tp in TPS:
        first.opened(tp, 10)
    first.handed(A, 20)
    first.handed(A, 15)
    assert died(buffer, None).opened(A, 10).suspects_next is None
    second_buffer = bytearray(buffer)
    notes(second_buffer).learn(DEATH)
    second = notes(second_buffer)
    second.opened(A, 10)
    second.handed(A, 18)
    third_buffer = bytearray(second_buffer)
    notes(third_buffer).learn(DEATH)
    third = notes(third_buffer)
    assert third.opened(A, 10).suspects_next == 20
    assert third.opened(B, 10).suspects_next is None
    third.mark(A, 11, number_of("agent"))

    fourth_buffer = bytearray(third_buffer)
    notes(fourth_buffer).learn(DEATH)
    fourth = notes(fourth_buffer)
    assert fourth.opened(A, 10).killer is None
    fourth.mark(A, 11, number_of("agent"))

    found = died(fourth_buffer, "it exited with code 3").opened(A, 10)

    assert (found.killer, found.killer_unit, found.suspects_next) == (11, number_of("agent"), 20)
    assert found.why == "it exited with code 3"


def test_a_death_that_says_nothing_about_events_is_not_counted() -> None:
    """A host that was switched off, a worker that was ended on purpose: the mark and what was in hand are forgotten."""
    buffer = bytearray(size_of(2))
    first = notes(buffer)
    first.opened(A, 10)
    first.handed(A, 20)
    first.mark(A, 12, 1)

    after = died(buffer, None)

    assert after.note(A) == Note(committed=10)
    assert after.opened(A, 10).killer is None


def test_an_orderly_end_and_another_shape_forget_all() -> None:
    """Numbers of partitions mean something else in another shape."""
    buffer = bytearray(size_of(2))
    first = notes(buffer)
    first.opened(A, 10)
    other = bytearray(buffer)
    assert InHand(other, TPS, "another").note(A) == Note()

    first.end()

    assert notes(buffer).note(A) == Note()


def test_a_reason_that_is_long_is_cut() -> None:
    """There is room for a sentence."""
    buffer = bytearray(size_of(2))
    first = notes(buffer)
    first.learn("x" * 1000)
    second = notes(buffer)
    second.opened(A, 10)

    assert len(buffer) == size_of(2)
    assert second.note(A) == Note(committed=10)
