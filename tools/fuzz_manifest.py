"""Damaged records: quarantine files of streams and NAME_run.json of `dinocell segment` (see fuzz.py).

Right is: the values that are in the damaged JSON, each of its type, or a ValueError that names the file. Lines of a
quarantine file that are cut may be missing; others may not.
"""

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fuzz_damage import edited, harmed

from dinocell_io.stream.prefetch import FailedField
from dinocell_io.stream.quarantine import append_quarantine, lasting_keys, read_quarantine
from dinocell_seg.provenance import FORMAT, FORMAT_VERSION
from dinocell_seg.repeat import read_record

RUN = {
    "format": FORMAT,
    "format_version": FORMAT_VERSION,
    "input": {"uri": "a.tif", "channel_asked": "DNA", "scene": None, "z": 3, "t": None},
    "settings": {"tile": 512, "thresholds": {"peak": 0.4, "fill": 0.1}},
    "precision": "fp32",
    "model": {"name": "default", "sha256": "00ff"},
}


def verdict(folder: Path, number: int, seed: int) -> tuple[str, str]:
    chance = random.Random(f"{seed} {number}")
    return _run(folder, chance) if chance.random() < 0.5 else _quarantine(folder, chance)


def _run(folder: Path, chance: random.Random) -> tuple[str, str]:
    text = json.dumps(edited(RUN, chance) if chance.random() < 0.7 else RUN, indent=1).encode()
    content = harmed(text, chance) if chance.random() < 0.6 else text
    path = folder / "a_run.json"
    path.write_bytes(content)
    try:
        record = read_record(path)
    except (ValueError, OSError) as error:
        return ("refused", "") if path.name in str(error) else ("unnamed", f"{content!r:.300}: {error!r:.300}")
    except Exception as error:  # noqa: BLE001  the verdict of this program
        return "foreign", f"{content!r:.400}: {error!r:.300}"
    stated = json.loads(content)
    source, choice = stated["input"], record.choice
    same = record.settings == {**stated["settings"], "precision": stated["precision"]}
    same &= record.model_sha256 == stated["model"]["sha256"]
    same &= [choice.channel, choice.scene, choice.z, choice.t] == [
        source["channel_asked"], source.get("scene"), source.get("z"), source.get("t")
    ]  # fmt: skip
    typed = isinstance(choice.channel, str | int | None) and isinstance(choice.scene, str | int | None)
    typed &= isinstance(choice.z, int | None) and isinstance(choice.t, int | None)
    return ("right", "") if same and typed else ("silent", f"{content!r:.400}: {record}")


def _quarantine(folder: Path, chance: random.Random) -> tuple[str, str]:
    path = folder / "bad.jsonl"
    path.unlink(missing_ok=True)
    kinds = ("damaged", "network")
    failures = [FailedField(f"k{n}", "DNA", f"o{n}", chance.choice(kinds), 2, "why \u00b5") for n in range(3)]
    for failure in failures:
        append_quarantine(path, failure)
    content = path.read_bytes()
    if chance.random() < 0.5:
        lines = [json.loads(line) for line in content.splitlines()]
        lines[chance.randrange(3)] = edited(lines[0], chance)
        content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    else:
        content = harmed(content, chance)
    path.write_bytes(content)
    try:
        read = read_quarantine(path)
        lasting_keys(read)
    except (ValueError, OSError) as error:
        return ("refused", "") if path.name in str(error) else ("unnamed", f"{content!r:.300}: {error!r:.300}")
    except Exception as error:  # noqa: BLE001  the verdict of this program
        return "foreign", f"{content!r:.400}: {error!r:.300}"
    stated = [parsed for line in content.split(b"\n") if (parsed := _parsed(line)) is not None]
    return ("right", "") if [*map(asdict, read)] == stated else ("silent", f"{content!r:.400}: {read}")


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
