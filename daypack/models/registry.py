"""The known families: one line each."""

from __future__ import annotations

from daypack.errors import SpecError
from daypack.models import gemma3, gpt2, llama, qwen2, qwen3
from daypack.models.family import Family

FAMILIES: tuple[Family, ...] = (
    gpt2.FAMILY,
    gemma3.FAMILY,
    llama.FAMILY,
    qwen2.FAMILY,
    qwen3.FAMILY,
)


def by_name(name: str, where: str) -> Family:
    """The family a spec calls `name`."""
    return _find(name, {family.name: family for family in FAMILIES}, where, "family")


def by_model_type(model_type: object, where: str) -> Family:
    """The family of a published config's `model_type`."""
    return _find(model_type, {family.model_type: family for family in FAMILIES}, where, "model_type")


def _find(wanted: object, known: dict[str, Family], where: str, field: str) -> Family:
    if not isinstance(wanted, str) or wanted not in known:
        names = ", ".join(sorted(known))
        raise SpecError(f"{where}: `{field}` is {wanted!r}, which Daypack does not know; known: {names}")
    return known[wanted]
