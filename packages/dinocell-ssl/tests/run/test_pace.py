import time
from pathlib import Path

import pytest
import torch

from dinocell_ssl.run.pace import Pace, peak_memory_bytes


def test_pace_tells_images_per_second_and_the_share_of_waiting():
    pace = Pace()
    started = time.perf_counter()
    with pace.waiting():
        time.sleep(0.02)
    pace.count(8)
    time.sleep(0.02)
    values = pace.read()
    elapsed = time.perf_counter() - started
    assert 0.02 / elapsed <= values["data_wait"] < 1
    assert 8 / elapsed <= values["images_per_second"] <= 8 / 0.04
    assert pace.read()["images_per_second"] == 0  # since the last reading


def test_what_comes_before_a_restart_is_not_in_the_pace(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("dinocell_ssl.run.pace.time.perf_counter", lambda: now[0])
    pace = Pace()
    now[0] = 60.0  # a probe
    pace.restart()
    pace.count(8)
    now[0] = 62.0
    assert pace.read()["images_per_second"] == pytest.approx(4.0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="another system")
def test_peak_memory_of_a_process_is_what_the_system_says():
    status = Path("/proc/self/status").read_text()
    kilobytes = int(status.split("VmHWM:")[1].split()[0])
    assert peak_memory_bytes(torch.device("cpu")) == pytest.approx(kilobytes * 1024, rel=0.02)
