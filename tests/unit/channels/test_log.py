"""A bounded log: what stays, what falls off, and where a cursor goes on."""

from __future__ import annotations

from asgineer.channels._log import Log


def item(offset: int, size: int = 1, expires: float = 0) -> tuple[int, str, bytes, float]:
    return offset, "t", b"x" * size, expires or 100 + offset


def make_log(*offsets: int, max_bytes: int = 1000, size: int = 1, count: int = 10) -> Log:
    log = Log("room", "e", offsets[0] - 1, max_bytes, count)
    for offset in offsets:
        log.append(item(offset, size), 0)
    return log


def offsets(log: Log) -> list[int]:
    return [log.item(index)[0] for index in range(log.start, log.end)]


def test_it_covers_what_is_in_it_and_the_place_before() -> None:
    log = make_log(5, 6, 7)
    assert [offset for offset in range(10) if log.covers(offset)] == [4, 5, 6, 7]


def test_an_empty_log_covers_its_end() -> None:
    log = Log("room", "e", 9, 1000, 10)
    assert (log.covers(9), log.covers(8), log.covers(10)) == (True, False, False)
    assert log.index_after(9) == log.end == 0


def test_what_is_too_many_falls_off() -> None:
    log = make_log(1, 2, 3, 4, count=2)
    assert (offsets(log), log.floor, log.last, log.start, log.end) == ([3, 4], 2, 4, 2, 4)


def test_what_is_too_old_falls_off_with_its_time() -> None:
    log = make_log(1, 2, 3)
    log.trim(101.9)
    assert offsets(log) == [2, 3]
    log.trim(103)
    assert (offsets(log), log.floor, log.last) == ([], 3, 3)


def test_what_is_too_old_falls_off_with_the_next_item() -> None:
    log = make_log(1, 2, 3)
    log.append(item(4), 102)
    assert offsets(log) == [3, 4]
    log.prepend([item(2, expires=103)], 1)  # of another time than what came live
    log.append(item(5), 103)
    assert (offsets(log), log.floor) == ([4, 5], 3)


def test_one_that_comes_into_an_empty_log_is_the_oldest() -> None:
    log = make_log(1)
    log.trim(200)
    log.append(item(2, expires=300), 200)
    log.append(item(3, expires=400), 299)
    assert offsets(log) == [2, 3]
    log.append(item(4, expires=400), 300)
    assert offsets(log) == [3, 4]


def test_what_is_too_big_falls_off_but_the_newest_stays() -> None:
    log = make_log(1, 2, max_bytes=20, size=10)
    log.origin_until = 50
    log.append(item(3, 10), 0)
    assert offsets(log) == [2, 3]
    assert log.origin_until == 0
    log.append(item(4, 100), 0)
    assert offsets(log) == [4]


def test_older_messages_come_before_it() -> None:
    log = make_log(5, 6)
    log.prepend([item(3), item(4)], 2)
    assert (offsets(log), log.floor, log.start, log.end) == ([3, 4, 5, 6], 2, -2, 2)
    assert log.index_after(2) == -2
    assert log.item(log.index_after(5))[0] == 6


def test_an_index_stays_good_when_it_shrinks_and_has_holes() -> None:
    log = make_log(10, 20, 30, 40)
    index = log.index_after(25)
    log.count = 2
    log.trim(0)
    assert log.item(index)[0] == 30
    assert log.index_after(40) == log.end
    log.skip(50)
    assert (log.last, log.index_after(45)) == (50, log.end)


def test_a_message_that_is_shared_is_made_once() -> None:
    log = make_log(5, 6, 7)
    first, second = (log.message(1, is_shared=True) for _ in range(2))
    assert first is second
    assert (first.channel, first.id, first.data, first.reset) == ("room", f"{log.prefix}6", "x", False)
    assert log.message(2, is_shared=False) is not log.message(2, is_shared=False)
    log.trim(107)
    assert log._made == {}
