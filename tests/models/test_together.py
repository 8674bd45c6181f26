"""Two jobs at a time give what one after the other gives, and the first failure is told."""

import threading

import pytest

from lifeloop.models.together import together


@pytest.mark.parametrize("first", [(), (4, 2)])
def test_answers_come_in_the_order_of_the_jobs(first: tuple[int, ...]) -> None:
    jobs = [lambda n=n: n * n for n in range(7)]
    assert together(jobs, first=first) == [n * n for n in range(7)]
    assert together([]) == []


def test_two_are_at_work_at_once_and_never_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    meet = threading.Barrier(2, timeout=10)  # breaks where a job has nobody beside it
    inside, most, lock = 0, 0, threading.Lock()

    def job() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        meet.wait()
        with lock:
            inside -= 1

    together([job] * 6)
    assert most == 2


def test_on_one_core_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert set(together([threading.get_ident] * 3)) == {threading.get_ident()}


def test_nor_where_there_is_little_to_do() -> None:
    assert set(together([threading.get_ident] * 3, worth=False)) == {threading.get_ident()}


def test_the_first_failure_in_order_is_raised() -> None:
    def fails(word: str) -> None:
        raise ValueError(word)

    with pytest.raises(ValueError, match="early"):
        together([lambda: None, lambda: fails("early"), lambda: fails("late")])
