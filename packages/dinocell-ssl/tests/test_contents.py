import subprocess
import sys

import dinocell_ssl


def test_every_public_name_is_there_and_is_no_module():
    for name in dinocell_ssl.__all__:
        assert type(getattr(dinocell_ssl, name)).__name__ != "module", name


def test_a_function_with_the_name_of_its_module_wins_in_any_order_of_imports():
    code = """
import dinocell_ssl.run.objective, dinocell_ssl.run.pretrain
from dinocell_ssl import sinkhorn, koleo_loss, pretrain
assert callable(sinkhorn) and callable(koleo_loss) and callable(pretrain)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_command_is_imported_without_torch():
    code = "import sys, dinocell_ssl.commands.pretrain; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
