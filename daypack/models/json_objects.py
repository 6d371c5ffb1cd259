"""JSON objects of which each key stands once; the library takes the last of several."""

from __future__ import annotations

from typing import Any


class RepeatedKey(ValueError):
    """`key` stands twice in one object."""

    def __init__(self, key: str) -> None:
        super().__init__("a key that is there twice")
        self.key = key


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys, for `json.loads(…, object_pairs_hook=once)`; RepeatedKey for the first that
    stands twice.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RepeatedKey(key)
        found[key] = value
    return found
