"""Damaged cache folders: ledger, entries and what other programs leave there (see fuzz.py).

Right is: the bytes of an object or None, counts that are those of the folder after a recount, or an error that names
the ledger where no quota is given. Never other bytes, and never an entry lost to a quota that nobody set.
"""

import random
import shutil
from pathlib import Path

from fuzz_damage import harmed

from dinocell_io import DiskCache

QUOTA = 100_000


def verdict(folder: Path, number: int, seed: int) -> tuple[str, str]:
    chance = random.Random(f"{seed} {number}")
    place = folder / "cache"
    shutil.rmtree(place, ignore_errors=True)
    objects = {f"p/{n}": chance.randbytes(chance.randrange(1, 400)) for n in range(4)}
    policy = chance.choice(("pin", "lru"))
    cache = DiskCache(place, quota_bytes=QUOTA, policy=policy, form=chance.choice(("raw", "compact")))
    for key, data in objects.items():
        cache.put(key, data)
    cache.close()
    files = sorted(path for path in place.rglob("*") if path.is_file())
    file = place / "ledger" if chance.random() < 0.5 else chance.choice(files)
    content = harmed(file.read_bytes(), chance)
    if chance.random() < 0.1:
        file.unlink()
    else:
        file.write_bytes(content)
    quota = QUOTA if chance.random() < 0.7 else None
    try:
        again = DiskCache(place, quota_bytes=quota)
        got = {key: again.get(key) for key in objects}
        put = again.put("p/new", b"new")
        totals = again.totals()
    except (ValueError, OSError) as error:
        return ("refused", "") if str(place) in str(error) else ("unnamed", f"{error!r:.300}")
    except Exception as error:  # noqa: BLE001  the verdict of this program
        return "foreign", f"{file.name}: {error!r:.300}"
    wrong = [key for key, data in got.items() if data not in (None, objects[key])]
    lost = [key for key, data in got.items() if data is None]
    if wrong or not put or again.get("p/new") != b"new":
        return "silent", f"{file.name}: {wrong} are other bytes, new one kept: {put}"
    if len(lost) > (file.name != "ledger"):
        return "silent", f"{file.name}: {lost} are lost"
    return ("right", "") if 0 <= totals.used <= totals.quota else ("silent", f"{file.name}: {totals}")
