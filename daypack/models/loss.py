# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

"""The causal language-model loss over labelled tokens only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from daypack.models.document import NO_LABEL
from daypack.models.dropout import example_keys
from daypack.models.frozen import Encoding, decoded
from daypack.models.structure import Structure
from daypack.operators.loss_head import (
    frozen_head_loss,
    frozen_head_losses,
    trained_head_loss,
    trained_head_losses,
)
from daypack.operators.softmax import logsumexp

Arrays = Mapping[str, Array]
StepLoss = Callable[[Arrays, Arrays, Arrays, Arrays, Arrays], tuple[Array, Array, Arrays]]
"""(trainable, frozen, mutable, batch, clock) to (loss_sum, weight, mutable)."""
Score = Callable[[Arrays, Arrays, Arrays], tuple[Array, Array]]
"""(trainable, frozen, batch) to what each row's labels are worth: (log-likelihood (B,), labels (B,))."""


def token_losses(logits: Array, labels: Array) -> tuple[Array, Array]:
    """(sum of -log p(label), number of labels), both float32[].

    logits (B, T, V); labels int32 (B, T), already shifted, NO_LABEL where there is none. The picked logit is
    a masked sum rather than a gather, so that its derivative is element-wise and joins that of logsumexp.
    """
    return jnp.sum(_losses(logits, labels)), _labelled(labels)


def _losses(logits: Array, labels: Array) -> Array:
    """-log p(label) by position, float32 (B, T), 0 where there is no label."""
    vocabulary = jax.lax.broadcasted_iota(labels.dtype, logits.shape, 2)
    picked = jnp.sum(jnp.where(vocabulary == labels[..., None], logits, 0.0), axis=-1)
    return jnp.where(labels != NO_LABEL, logsumexp(logits) - picked, 0.0)


def _labelled(labels: Array) -> Array:
    """The number of labels, float32[]."""
    return jnp.sum((labels != NO_LABEL).astype(jnp.float32))


def language_model_loss(structure: Structure, stored: Mapping[str, Encoding] | None = None) -> StepLoss:
    """The step loss of a language model; batch = {"ids", "labels"} and of packed rows "segments", all int32
    (B, T). Dropout is on.

    The loss takes the matrices named in `stored` as they are stored, and everything else as float32.

    A head that is one matrix takes the blocked forms of `operators.loss_head`, any other the plain form.
    """

    def loss(trainable: Arrays, frozen: Arrays, mutable: Arrays, batch: Arrays, clock: Arrays) -> Any:
        frozen = decoded(frozen, stored or {})
        model = structure.bind({**frozen, **trainable})
        ids, labels, segments = batch["ids"], batch["labels"], batch.get("segments")
        keys = example_keys(clock, ids.shape[0])
        for arrays, head_loss in ((frozen, frozen_head_loss), (trainable, trained_head_loss)):
            if model.head_name in arrays:
                loss_sum = head_loss(
                    model.hidden(ids, keys, segments), arrays[model.head_name], labels, NO_LABEL
                )
                return loss_sum, _labelled(labels), mutable
        loss_sum, weight = token_losses(model(ids, keys, segments), labels)
        return loss_sum, weight, mutable

    return loss


def language_model_score(structure: Structure, stored: Mapping[str, Encoding] | None = None) -> Score:
    """What the model that `language_model_loss` trains makes of each row; dropout is off.

    batch as of the loss. A row's log-likelihood is the sum of log p(label) over its
    labels, minus the row's share of the loss.
    """

    def score(trainable: Arrays, frozen: Arrays, batch: Arrays) -> tuple[Array, Array]:
        frozen = decoded(frozen, stored or {})
        model = structure.bind({**frozen, **trainable})
        ids, labels, segments = batch["ids"], batch["labels"], batch.get("segments")
        counts = jnp.sum((labels != NO_LABEL).astype(jnp.float32), axis=-1)
        for arrays, head_losses in ((frozen, frozen_head_losses), (trainable, trained_head_losses)):
            if model.head_name in arrays:
                hidden = model.hidden(ids, None, segments)
                losses = head_losses(hidden, arrays[model.head_name], labels, NO_LABEL)
                return -jnp.sum(losses, axis=-1), counts
        return -jnp.sum(_losses(model(ids, None, segments), labels), axis=-1), counts

    return score
