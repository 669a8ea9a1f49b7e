"""Consolidated metadata of Zarr groups: one copy of all descriptions, which zarr-python trusts instead of looking.

Format 2 keeps them in `.zmetadata`, format 3 in the group's own `zarr.json` (as zarr-python writes it; no standard
yet). What is not in the copy does not exist for such a reader.
"""

import json
from collections.abc import Iterable
from typing import Any

from dinocell_io.formats.zarr.array import joined_key
from dinocell_io.formats.zarr.description import read_json
from dinocell_io.stores.store import Store


def add_to_consolidated(store: Store, group: str, nodes: Iterable[str], *, zarr_format: int, uri: str) -> None:
    """Put the descriptions of the `nodes` (keys) into the copy of the group at `group` and of every group above it.

    A group without a copy stays without one. Each copy is replaced in one step.
    """
    descriptions = {
        joined_key(node, name): described
        for node in nodes
        for name in ((".zgroup", ".zarray", ".zattrs") if zarr_format == 2 else ("zarr.json",))
        if (described := read_json(store, joined_key(node, name), uri)) is not None
    }
    while group and _is_group(store, group, zarr_format, uri):
        key = joined_key(group, ".zmetadata" if zarr_format == 2 else "zarr.json")
        content = read_json(store, key, uri)
        copies = _copies(content, zarr_format)
        if copies is not None:
            for name, described in descriptions.items():
                inside = name.removeprefix(f"{group}/")
                if zarr_format == 2 and inside != name:
                    copies[inside] = described
                elif inside not in (name, "zarr.json"):  # not the group itself, whose file holds the copy
                    copies[inside.removesuffix("/zarr.json")] = _without_own_copy(described)
            store.put(key, json.dumps(content, indent=2, ensure_ascii=False).encode())
        group = group.rpartition("/")[0]


def _is_group(store: Store, key: str, zarr_format: int, uri: str) -> bool:
    if zarr_format == 2:
        return read_json(store, joined_key(key, ".zgroup"), uri) is not None
    return (read_json(store, joined_key(key, "zarr.json"), uri) or {}).get("node_type") == "group"


def _copies(content: dict[str, Any] | None, zarr_format: int) -> dict[str, Any] | None:
    """The descriptions by name in what a group's file holds, None if it holds no copy."""
    holder = content if zarr_format == 2 else (content or {}).get("consolidated_metadata")
    copies = holder.get("metadata") if isinstance(holder, dict) else None
    return copies if isinstance(copies, dict) else None


def _without_own_copy(described: dict[str, Any]) -> dict[str, Any]:
    """As zarr-python writes a group into the copy of a group above: what is below it, it finds there."""
    if described.get("node_type") != "group":
        return described
    return {**described, "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": {}}}
