"""Attention against float64 with every key and value head copied out, at the tails of vectors and tiles."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daypack.operators.attention import attention

QUICK = {"xla_backend_optimization_level": 0}


def plain(q: Any, k: Any, v: Any, scale: float, window: int | None, segments: Any) -> Any:
    """One product a head, its key-value head repeated, in the precision of its operands."""
    time, shared = q.shape[1], q.shape[2] // k.shape[2]
    k, v = jnp.repeat(k, shared, axis=2), jnp.repeat(v, shared, axis=2)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * scale
    gap = jnp.arange(time)[:, None] - jnp.arange(time)[None, :]
    seen = (gap >= 0) & (gap < (window or time))
    if segments is not None:
        seen = seen & (segments[:, None, :, None] == segments[:, None, None, :])
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1), v)


@pytest.mark.parametrize(
    ("time", "heads", "groups", "window", "documents"),
    [
        (1, 1, 1, None, 0),
        (7, 3, 3, 2, 0),
        (9, 3, 1, None, 3),
        (33, 4, 2, 8, 0),
        (32, 5, 5, 40, 2),
        (17, 6, 2, 1, 0),
        (128, 2, 1, 40, 2),
        (129, 2, 2, None, 0),
        (300, 2, 1, 130, 3),
    ],
)
def test_values_and_derivatives(
    time: int, heads: int, groups: int, window: int | None, documents: int
) -> None:
    generator = np.random.default_rng(time)
    q = generator.normal(size=(2, time, heads, 6))
    k, v = generator.normal(size=(2, 2, time, groups, 6))
    segments = np.sort(generator.integers(0, documents, (2, time)), axis=1) if documents else None

    def run(function: Any, dtype: str) -> list[Any]:
        def both(*operands: Any) -> list[Any]:
            value, pull = jax.vjp(function, *operands)
            return [value, *pull(jnp.cos(jnp.arange(value.size, dtype=dtype)).reshape(value.shape))]

        return jax.jit(both, compiler_options=QUICK)(*(jnp.asarray(a, dtype) for a in (q, k, v)))

    with jax.enable_x64(True):
        expected = run(lambda q, k, v: plain(q, k, v, 0.4, window, segments), "float64")
    ours = run(lambda q, k, v: attention(q, k, v, scale=0.4, window=window, segments=segments), "float32")
    for found, exact in zip(ours, expected, strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=2e-6)


def test_large_scores_do_not_overflow() -> None:
    q = jnp.full((1, 4, 1, 2), 100.0)
    result = attention(q, q, q, scale=1.0)
    np.testing.assert_allclose(result, q)


def test_heads_have_to_share_evenly() -> None:
    q, k = jnp.zeros((1, 2, 3, 4)), jnp.zeros((1, 2, 2, 4))
    with pytest.raises(ValueError, match="3 query heads do not share 2 key-value heads evenly"):
        attention(q, k, k, scale=1.0)


def test_what_is_kept_grows_with_tokens_and_not_with_their_square() -> None:
    def kept_bytes(time: int) -> int:
        shape = jax.ShapeDtypeStruct((1, time, 2, 8), jnp.float32)

        def residuals(q: Any, k: Any, v: Any) -> Any:
            return jax.vjp(lambda *qkv: attention(*qkv, scale=1.0), q, k, v)[1]

        leaves = jax.tree.leaves(jax.eval_shape(residuals, shape, shape, shape))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    assert kept_bytes(1024) == 8 * kept_bytes(128)
