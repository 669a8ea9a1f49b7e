import pickle
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinocell_io.stores.overdue import OverdueBodies
from dinocell_io.stores.retry import Deadline, RetryPolicy, Transient, with_retries
from dinocell_io.stores.retry_budget import RetryBudget, process_budget
from dinocell_io.stores.s3_store import S3Store
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


def test_the_default_budget_is_one_for_all_stores_of_a_process_and_another_processs_is_full() -> None:
    budget = S3Store("one").budget
    assert S3Store("two").budget is budget
    assert pickle.loads(pickle.dumps(S3Store("one"))).budget is budget
    spent = RetryBudget(share=0.5, reserve=2, refill_seconds=1e9)
    assert [spent.retry() for _ in range(3)] == [True, True, False]
    passed = pickle.loads(pickle.dumps(spent))
    assert (passed.share, passed.reserve, passed.refill_seconds) == (0.5, 2, 1e9)
    assert passed.retry()


def test_many_threads_spend_a_budget_once() -> None:
    budget = RetryBudget(share=0.0, reserve=1000, refill_seconds=1e9)
    with ThreadPoolExecutor(16) as threads:
        allowed = sum(threads.map(lambda _: budget.retry(), range(3000)))
    assert allowed == 1000


def test_no_file_is_made_for_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    process_budget.cache_clear()
    assert S3Store("bucket").budget.retry()
    assert list(tmp_path.iterdir()) == []


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
