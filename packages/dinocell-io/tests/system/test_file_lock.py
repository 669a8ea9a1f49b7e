import os
import signal
import subprocess
import sys
from pathlib import Path

from dinocell_io.system.file_lock import acquire, file_lock, held_alone

HOLDER = """
import sys, time
from dinocell_io.system.file_lock import acquire
file = open(sys.argv[1], "r+")
acquire(file.fileno())
print("held", flush=True)
time.sleep(60)
"""


def test_a_lock_is_one_processs_and_a_killed_process_gives_it_up(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with path.open("r+") as file:
        assert not acquire(file.fileno(), wait=False)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        assert acquire(file.fileno(), wait=False)


def test_a_lock_is_free_after_its_block(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as one, (tmp_path / "lock").open("w") as other:
        with file_lock(one.fileno()):
            assert not acquire(other.fileno(), wait=False)
        assert acquire(other.fileno(), wait=False)


def test_the_lock_of_a_killed_process_is_free_although_a_child_that_it_forked_lives_on(tmp_path: Path) -> None:
    program = """
import os, signal, sys, time
from pathlib import Path
from dinocell_io.system.file_lock import held_alone

with held_alone(Path(sys.argv[1]), busy="busy"):
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", program, str(tmp_path / ".lock")]
    killed = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    child = int(killed.stdout.readline())
    try:
        killed.wait()
        os.kill(child, 0)  # it lives
        with held_alone(tmp_path / ".lock", busy="test failed"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        killed.stdout.close()
