"""A training step of a transformer as a problem, from shapes alone: for tests and benchmarks of planners.

The structure is that of a fused GPT-2-like step, without tracing one: eight kernels a layer forward, eight
backward, a tied embedding and loss head in blocks of rows, so that nothing is tokens × vocabulary, gradients
accumulated over the micro-steps of a window, one update a weight. Sizes are float32 bytes; costs are seconds
of arithmetic at ``flop_per_s``, with a floor for the bytes moved.
"""

from __future__ import annotations

from dataclasses import dataclass

from daypack.planners.problem import Node, NodeKind, Paging, Problem


@dataclass(frozen=True, slots=True)
class Shape:
    """A transformer and its batch; ``rank`` 0 means that all weights train, otherwise LoRA on qkv and
    proj.
    """

    layers: int = 12
    width: int = 768
    vocabulary: int = 50257
    tokens: int = 512
    context: int = 128
    heads: int = 12
    micro_steps: int = 1
    rank: int = 8
    head_blocks: int = 16
    activations_paged: bool = True
    flop_per_s: float = 5e10
    bytes_per_s: float = 1e10
    read_bytes_per_s: float = 2e9
    write_bytes_per_s: float = 1e9


def training_problem(shape: Shape) -> Problem:
    """The window of ``micro_steps`` and the update, listed in the usual order: forward, backward, update."""
    return _Window(shape).problem()


class _Window:
    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._nodes: list[Node] = []
        self._keep: set[int] = set()
        self._pageable: set[int] = set()
        self._dirty: set[int] = set()

    def problem(self) -> Problem:
        """Build the window."""
        weights = self._weights()
        gradients: dict[str, int] = {}
        for micro in range(self._shape.micro_steps):
            self._micro_step(micro, weights, gradients)
        self._update(weights, gradients)
        shape = self._shape
        if shape.activations_paged:
            computed = (node for node in self._nodes if node.kind is NodeKind.COMPUTE)
            self._pageable.update(node.id for node in computed if node.size_bytes >= 512_000)
        paging = Paging(
            shape.read_bytes_per_s,
            shape.write_bytes_per_s,
            512_000,
            frozenset(self._pageable),
            frozenset(self._dirty),
        )
        return Problem(tuple(self._nodes), frozenset(self._keep), 8_000_000, paging)

    def _add(
        self,
        name: str,
        elements: int,
        flop: float,
        inputs: list[int],
        workspace: int = 0,
        over: int | None = None,
    ) -> int:
        size_bytes = 4 * elements
        moved = size_bytes + sum(self._nodes[value].size_bytes for value in inputs)
        cost = max(flop / self._shape.flop_per_s, moved / self._shape.bytes_per_s)
        node = Node(
            len(self._nodes), name, cost, size_bytes, 4 * workspace, tuple(inputs), NodeKind.COMPUTE, over
        )
        self._nodes.append(node)
        return node.id

    def _source(self, name: str, elements: int, *, kept: bool = True, dirty: bool = False) -> int:
        node = Node(len(self._nodes), name, 0.0, 4 * elements, kind=NodeKind.SOURCE)
        self._nodes.append(node)
        if kept:
            self._keep.add(node.id)
            self._pageable.add(node.id)
            if dirty:
                self._dirty.add(node.id)
        return node.id

    def _weights(self) -> dict[str, int]:
        d, rank = self._shape.width, self._shape.rank
        made: dict[str, int] = {}
        for layer in range(self._shape.layers):
            for name, elements in (
                ("qkv", 3 * d * d),
                ("proj", d * d),
                ("fc", 4 * d * d),
                ("out", 4 * d * d),
            ):
                made[f"{layer}.{name}"] = self._source(f"{layer}.{name}.w", elements)
            if rank:
                for name, elements in (("qkv", 4 * d * rank), ("proj", 2 * d * rank)):
                    made[f"{layer}.{name}.lora"] = self._source(f"{layer}.{name}.lora", elements)
        for block in range(self._shape.head_blocks):
            made[f"head.{block}"] = self._source(f"wte.{block}", self._block_rows(block) * d)
        return made

    def _block_rows(self, block: int) -> int:
        rows, blocks = self._shape.vocabulary, self._shape.head_blocks
        return rows * (block + 1) // blocks - rows * block // blocks

    def _micro_step(self, micro: int, weights: dict[str, int], gradients: dict[str, int]) -> None:
        batch = self._source(f"m{micro}.batch", 2 * self._shape.tokens, kept=False)
        stream = self._embed(micro, batch, weights)
        saved: list[dict[str, int]] = []
        for layer in range(self._shape.layers):
            saved.append(self._forward(f"m{micro}.{layer}", layer, stream, weights))
            stream = saved[-1]["out"]
        above = self._loss(micro, stream, batch, weights, gradients)
        for layer in reversed(range(self._shape.layers)):
            above = self._backward(micro, layer, above, saved[layer], weights, gradients)

    def _embed(self, micro: int, batch: int, weights: dict[str, int]) -> int:
        n, d = self._shape.tokens, self._shape.width
        stream: int | None = None
        for block in range(self._shape.head_blocks):
            operands = [batch, weights[f"head.{block}"]] + ([] if stream is None else [stream])
            stream = self._add(f"m{micro}.embed.{block}", n * d, n * d, operands, over=stream)
        return batch if stream is None else stream

    def _loss(
        self, micro: int, stream: int, batch: int, weights: dict[str, int], gradients: dict[str, int]
    ) -> int:
        """Two passes over the vocabulary's blocks: the rows' normalizers, then their gradients."""
        n, d = self._shape.tokens, self._shape.width
        sums: int | None = None
        for block in range(self._shape.head_blocks):
            operands = [stream, weights[f"head.{block}"], batch] + ([] if sums is None else [sums])
            flop = 2.0 * n * d * self._block_rows(block)
            sums = self._add(f"m{micro}.sums.{block}", 2 * n, flop, operands, 64 * 8192, over=sums)
        above: int | None = None
        for block in range(self._shape.head_blocks):
            rest = [value for value in (sums, above) if value is not None]
            rows, key = self._block_rows(block), f"head.{block}"
            operands = [stream, weights[key], batch, *rest]
            above = self._add(
                f"m{micro}.loss.{block}", n * d, 4.0 * n * d * rows, operands, 64 * 8192, over=above
            )
            if not self._shape.rank:
                self._accumulate(micro, key, rows * d, [stream, weights[key], batch, *rest[:1]], gradients)
        if above is None or sums is None:
            raise ValueError("a loss head has at least one block")
        self._keep.add(sums)
        return above

    def _forward(self, name: str, layer: int, stream: int, weights: dict[str, int]) -> dict[str, int]:
        n, d, context, heads = self._shape.tokens, self._shape.width, self._shape.context, self._shape.heads

        def matmul(label: str, source: int, outputs: int, inputs: int, extra: list[int]) -> int:
            operands = [source, weights[f"{layer}.{label}"], *extra]
            lora = weights.get(f"{layer}.{label}.lora")
            return self._add(
                f"{name}.{label}",
                n * outputs,
                2.0 * n * outputs * inputs,
                operands + ([] if lora is None else [lora]),
            )

        made = {"in": stream}
        made["ln1"] = self._add(f"{name}.ln1", n * d, 8.0 * n * d, [stream])
        made["qkv"] = matmul("qkv", made["ln1"], 3 * d, d, [])
        made["attn"] = self._add(f"{name}.attn", n * d + n * heads, 4.0 * n * context * d, [made["qkv"]])
        made["mid"] = matmul("proj", made["attn"], d, d, [stream])
        made["ln2"] = self._add(f"{name}.ln2", n * d, 8.0 * n * d, [made["mid"]])
        made["fc"] = matmul("fc", made["ln2"], 4 * d, d, [])
        made["gelu"] = self._add(f"{name}.gelu", 4 * n * d, 40.0 * n * d, [made["fc"]])
        made["out"] = matmul("out", made["gelu"], d, 4 * d, [made["mid"]])
        return made

    def _backward(
        self,
        micro: int,
        layer: int,
        above: int,
        saved: dict[str, int],
        weights: dict[str, int],
        gradients: dict[str, int],
    ) -> int:
        n, d, context = self._shape.tokens, self._shape.width, self._shape.context
        name = f"m{micro}.{layer}.d"

        def back(label: str, gradient: int, source: int, outputs: int, inputs: int) -> int:
            lora = weights.get(f"{layer}.{label}.lora")
            weight = weights[f"{layer}.{label}"]
            operands = [gradient, weight] + ([] if lora is None else [lora])
            made = self._add(f"{name}{label}", n * inputs, 2.0 * n * outputs * inputs, operands)
            if lora is not None:
                self._accumulate(
                    micro,
                    f"{layer}.{label}.lora",
                    (outputs + inputs) * self._shape.rank,
                    [gradient, source, lora],
                    gradients,
                )
            elif not self._shape.rank:
                self._accumulate(micro, f"{layer}.{label}", outputs * inputs, [gradient, source], gradients)
            return made

        d_gelu = back("out", above, saved["gelu"], d, 4 * d)
        d_fc = self._add(f"{name}gelu", 4 * n * d, 60.0 * n * d, [d_gelu, saved["fc"]])
        d_ln2 = back("fc", d_fc, saved["ln2"], 4 * d, d)
        d_mid = self._add(f"{name}ln2", n * d, 12.0 * n * d, [d_ln2, saved["mid"], above])
        d_attn = back("proj", d_mid, saved["attn"], d, d)
        d_qkv = self._add(
            f"{name}attn", 3 * n * d, 8.0 * n * context * d, [d_attn, saved["qkv"], saved["attn"]]
        )
        d_ln1 = back("qkv", d_qkv, saved["ln1"], 3 * d, d)
        return self._add(f"{name}ln1", n * d, 12.0 * n * d, [d_ln1, saved["in"], d_mid])

    def _accumulate(
        self, micro: int, key: str, elements: int, inputs: list[int], gradients: dict[str, int]
    ) -> None:
        flop = 2.0 * self._shape.tokens * elements
        before = gradients.get(key)
        operands = inputs if before is None else [*inputs, before]
        gradients[key] = self._add(f"m{micro}.g.{key}", elements, flop, operands, over=before)

    def _update(self, weights: dict[str, int], gradients: dict[str, int]) -> None:
        for key, gradient in gradients.items():
            weight = weights[key]
            elements = self._nodes[weight].size_bytes // 4
            moments = self._source(f"{key}.moments", 2 * elements, dirty=True)
            updated = self._add(
                f"{key}.update", elements, 12.0 * elements, [gradient, weight, moments], over=weight
            )
            self._keep.discard(weight)
            self._keep.add(updated)
            self._pageable.add(updated)
