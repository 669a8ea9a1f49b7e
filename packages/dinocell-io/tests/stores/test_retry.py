import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinocell_io.stores.overdue import OverdueBodies
from dinocell_io.stores.retry import Deadline, RetryPolicy, Transient, with_retries
from dinocell_io.stores.retry_budget import RetryBudget
from dinocell_io.stores.store import Exhausted, NotFound

NO_WAIT = RetryPolicy(first_wait_seconds=0.0)


def attempt_after(failures: list[Exception], calls: list[float]) -> object:
    def attempt(deadline: Deadline) -> str:
        calls.append(deadline.left())
        if failures:
            raise failures.pop(0)
        return "bytes"

    return attempt


def tried(failures: list[Exception], *, policy: RetryPolicy = NO_WAIT, budget: RetryBudget | None = None) -> object:
    calls: list[float] = []
    attempt = attempt_after(failures, calls)
    return with_retries(attempt, key="k", policy=policy, budget=budget or RetryBudget())  # type: ignore[arg-type]


def test_the_first_result_and_the_number_of_attempts_are_returned() -> None:
    assert tried([]) == ("bytes", 1)
    assert tried([Transient("503"), Transient("reset")]) == ("bytes", 3)


def test_after_the_last_attempt_the_last_cause_is_told() -> None:
    with pytest.raises(Exhausted, match=r"^k after 4 attempts: fourth$"):
        tried([Transient(word) for word in ("first", "second", "third", "fourth")])


def test_what_is_not_transient_passes_at_once() -> None:
    failures: list[Exception] = [NotFound("k", "404"), Transient("never reached")]
    with pytest.raises(NotFound):
        tried(failures)
    assert len(failures) == 1


def test_one_attempt_means_no_retry() -> None:
    with pytest.raises(Exhausted, match=r"^k: 503$"):
        tried([Transient("503")], policy=RetryPolicy(attempts=1))


def test_no_attempt_starts_after_the_deadline() -> None:
    policy = RetryPolicy(attempts=1000, first_wait_seconds=0.05, longest_wait_seconds=0.05, deadline_seconds=0.2)
    with pytest.raises(Exhausted, match=r"503; its 0\.2 seconds are over"):
        tried([Transient("503")] * 1000, policy=policy, budget=RetryBudget(reserve=2000))


def test_a_large_object_has_more_time() -> None:
    deadline = Deadline(RetryPolicy(deadline_seconds=30.0, slowest_bytes_per_second=1000))
    before = deadline.left()
    deadline.allow_bytes(5000)
    assert deadline.left() - before == pytest.approx(5, abs=0.5)


@given(failures=st.integers(1, 40))
def test_waits_are_random_and_never_longer_than_the_doubling_allows(failures: int) -> None:
    policy = RetryPolicy(first_wait_seconds=0.1, longest_wait_seconds=5.0)
    assert 0 <= policy.wait_seconds(failures) <= min(5.0, 0.1 * 2 ** (failures - 1))


def test_waits_use_the_whole_interval() -> None:
    waits = [RetryPolicy().wait_seconds(3) for _ in range(500)]
    assert min(waits) < 0.05
    assert max(waits) > 0.35


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"deadline_seconds": 0.0}, {"first_wait_seconds": -1.0}])
def test_impossible_policies_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        RetryPolicy(**wrong)  # type: ignore[arg-type]


def test_a_budget_allows_its_reserve_and_then_its_share_of_the_requests() -> None:
    budget = RetryBudget(share=0.1, reserve=5, refill_seconds=1e9)
    assert [budget.retry() for _ in range(7)] == [True] * 5 + [False] * 2
    for _ in range(21):
        budget.request()
    assert [budget.retry() for _ in range(4)] == [True, True, False, False]


def test_a_budget_never_saves_more_than_its_reserve() -> None:
    budget = RetryBudget(share=1.0, reserve=3, refill_seconds=1e9)
    for _ in range(100):
        budget.request()
    assert sum(budget.retry() for _ in range(10)) == 3


def test_a_spent_budget_fills_up_with_time() -> None:
    budget = RetryBudget(share=0.0, reserve=2, refill_seconds=0.2)
    assert [budget.retry() for _ in range(3)] == [True, True, False]
    time.sleep(0.25)
    assert budget.retry()


def test_budgets_of_one_file_are_one_budget(tmp_path: Path) -> None:
    first = RetryBudget(share=0.0, reserve=4, refill_seconds=1e9, path=tmp_path / "retries")
    second = pickle.loads(pickle.dumps(first))
    other = RetryBudget(share=0.0, reserve=4, refill_seconds=1e9)
    assert [first.retry(), second.retry(), first.retry(), second.retry()] == [True] * 4
    assert not first.retry()
    assert not second.retry()
    assert other.retry()


def test_processes_together_spend_one_budget_once(tmp_path: Path) -> None:
    code = """
import sys
from dinocell_io.stores.retry_budget import RetryBudget
budget = RetryBudget(share=0.0, reserve=100, refill_seconds=1e9, path=sys.argv[1])
print(sum(budget.retry() for _ in range(60)))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "retries")]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sum(int(child.communicate()[0]) for child in children) == 100


def test_a_process_killed_while_it_holds_the_budget_blocks_nobody(tmp_path: Path) -> None:
    budget = RetryBudget(share=0.0, reserve=4, refill_seconds=1e9, path=tmp_path / "retries")
    assert budget.retry()
    code = """
import sys, time
from dinocell_io.system.file_lock import acquire
file = open(sys.argv[1], "r+")
acquire(file.fileno())
print("held", flush=True)
time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "retries")], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert budget.retry()


def test_the_default_budget_is_the_machines_or_where_no_file_can_be_made_the_processs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    shared = RetryBudget.of_node()
    assert shared.path is not None
    assert shared.path.parent == tmp_path
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    assert RetryBudget.of_node().path is None


def test_a_link_in_place_of_the_budgets_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_bytes(b"do not touch")
    (tmp_path / "retries").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        RetryBudget(path=tmp_path / "retries").retry()
    assert target.read_bytes() == b"do not touch"


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"reserve": 0}, {"refill_seconds": 0.0}])
def test_impossible_budgets_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected a share of 0 to 1"):
        RetryBudget(**wrong)  # type: ignore[arg-type]


class Drip:
    """A body whose read ends only when it is shut."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def shutdown(self) -> None:
        self.ended.set()


def test_an_overdue_body_is_shut_and_one_in_time_is_not() -> None:
    bodies, slow, quick = OverdueBodies(), Drip(), Drip()
    with bodies.watch(quick, Deadline(RetryPolicy(deadline_seconds=60.0))):
        with bodies.watch(slow, Deadline(RetryPolicy(deadline_seconds=0.1))):
            assert slow.ended.wait(10)
        assert not quick.ended.is_set()


def test_a_body_that_has_ended_is_not_shut_later() -> None:
    bodies, body, later = OverdueBodies(), Drip(), Drip()
    with bodies.watch(body, Deadline(RetryPolicy(deadline_seconds=0.05))):
        pass
    with bodies.watch(later, Deadline(RetryPolicy(deadline_seconds=0.1))):
        assert later.ended.wait(10)
    assert not body.ended.is_set()
