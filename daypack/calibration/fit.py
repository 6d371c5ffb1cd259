"""What kernels took → the rates of the cost model (`compiler.cost`), in the form that it uses them.

A call takes `call_s`; a matrix product computes and moves its bytes one after the other, other kernels do
both at once. So the rates of memory and calls come from kernels that do nothing else, that of products from
what is left of their time, that of norms and softmax from those that compute more than they move, and that
of other operations is the best that was seen: what is slower waits for memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from daypack.calibration.readings import KernelReading
from daypack.compiler.cost import PRODUCT, ROWS
from daypack.errors import SpecError

TINY_BYTES = 8192
"""A kernel that moves less takes what its call takes."""
INTENSE = 2.0
"""Operations a byte from which a kernel of rows is taken to compute rather than to move."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Of all threads of a run together; an emulator's if the run was emulated."""

    products_flops_per_s: float
    rows_flops_per_s: float | None
    elements_flops_per_s: float
    memory_bytes_per_s: float
    call_s: float


def rates_of(kernels: Sequence[KernelReading]) -> Rates:
    """The rates that explain the kernels of the transformer block.

    Raises SpecError where the clock is too coarse to tell a kernel's time.
    """
    others = [kernel for kernel in kernels if kernel.kind != PRODUCT]
    products = [kernel for kernel in kernels if kernel.kind == PRODUCT]
    call_s = median([kernel.seconds for kernel in others if kernel.moved_bytes <= TINY_BYTES])
    longest = max(others, key=lambda kernel: kernel.moved_bytes)
    memory = _rate("memory", longest.moved_bytes, longest.seconds - call_s)
    computed = sum(
        kernel.calls * (kernel.seconds - call_s - kernel.moved_bytes / memory) for kernel in products
    )
    return Rates(
        _rate("matrix products", sum(kernel.calls * kernel.flops for kernel in products), computed),
        _rows(others, call_s),
        _elements(others, call_s),
        memory,
        call_s,
    )


def half_rate(kernels: Sequence[KernelReading], rates: Rates) -> float:
    """Operations a second of another program's products, whose calls and bytes take what `rates` says."""
    products = [kernel for kernel in kernels if kernel.kind == PRODUCT]
    beside = (kernel.moved_bytes / rates.memory_bytes_per_s + rates.call_s for kernel in products)
    seconds = sum(
        kernel.calls * (kernel.seconds - other) for kernel, other in zip(products, beside, strict=True)
    )
    return _rate("float16 products", sum(kernel.calls * kernel.flops for kernel in products), seconds)


def product_rates(kernels: Sequence[KernelReading], rates: Rates) -> dict[str, float]:
    """Operations a second of each product by its schedule, packing and moving included."""
    return {
        kernel.schedule: kernel.flops / (kernel.seconds - rates.call_s)
        for kernel in sorted(kernels, key=lambda kernel: -kernel.flops)
        if kernel.kind == PRODUCT and kernel.seconds > rates.call_s
    }


def _rows(others: Sequence[KernelReading], call_s: float) -> float | None:
    intense = [
        k for k in others if k.kind == ROWS and k.flops > INTENSE * k.moved_bytes > INTENSE * TINY_BYTES
    ]
    seconds = sum(k.calls * (k.seconds - call_s) for k in intense)
    return sum(k.calls * k.flops for k in intense) / seconds if seconds > 0 else None


def _elements(others: Sequence[KernelReading], call_s: float) -> float:
    rates = (
        kernel.flops / (kernel.seconds - call_s)
        for kernel in others
        if kernel.kind != ROWS and kernel.moved_bytes > TINY_BYTES and kernel.seconds > call_s
    )
    return max(rates)


def _rate(what: str, amount: float, seconds: float) -> float:
    if seconds <= 0:
        raise SpecError(
            f"calibrate: {what}: found {seconds:.3g} s beside other work, expected more; the device was "
            "busy: run it again when nothing else runs"
        )
    return amount / seconds
