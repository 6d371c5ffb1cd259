"""Tokenizers as GPT-2, Qwen 2.5 and Gemma 3 publish them, trained here, and strings to try them on."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KINDS = ("gpt2", "qwen", "gemma")


def corpus() -> list[str]:
    """The English help topics of CPython, and lines of other scripts."""
    from pydoc_data import topics

    texts = [topics.topics[key] for key in sorted(topics.topics)]
    rng = random.Random(5)
    blocks = [(0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x620, 0x64A), (0x900, 0x97F)]
    blocks += [(0xAC00, 0xACFF), (0x4E00, 0x4FFF), (0x3040, 0x30FF), (0x1F600, 0x1F64F)]
    for low, high in blocks:
        words = ["".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6))) for _ in range(60)]
        texts += [" ".join(rng.choices(words, k=40)) for _ in range(20)]
    return texts


def train(kind: str, vocabulary: int, path: Path) -> Path:
    """A tokenizer.json of the kind's published structure, with about `vocabulary` tokens."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        trainers,
    )

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if kind == "gpt2":
        made: Any = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        made.decoder = decoders.ByteLevel()
        added = [AddedToken("<|endoftext|>", normalized=True, special=True)]
    elif kind == "qwen":
        made = Tokenizer(models.BPE())
        made.normalizer = normalizers.NFC()
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        made.decoder = decoders.ByteLevel()
        names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "<|im_|>", "é<"]
        added = [AddedToken(name, normalized=False, special=name[1] == "|") for name in names]
    else:
        made = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
        made.normalizer = normalizers.Replace(" ", "\u2581")
        made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        names = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<table>"]
        names += ["\n" * count for count in range(2, 9)] + ["\u2581" * count for count in range(2, 5)]
        added = [AddedToken(name, normalized=False, special="_" in name) for name in names]
        alphabet = []
    specials = [f"<0x{byte:02X}>" for byte in range(256)] if kind == "gemma" else []
    texts = corpus()
    if (
        kind == "gemma"
    ):  # words, or the trainer would learn whole texts; characters that are rare stay unknown
        texts = [word for text in texts for word in text.replace(" ", "\n\u2581").split("\n")]
        texts += ["   ", "==\n", "aaaa", "aaaaaaaa"] * 3
    texts += ["a" * 64, "\u0301" * 6, "\n\n\n"] * 4
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*specials] if specials else [],
        initial_alphabet=alphabet,
        limit_alphabet=400,
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    if kind == "gemma":
        fields = json.loads(made.to_str())
        ids = fields["model"]["vocab"]
        for name in ["<unk>"]:
            ids.setdefault(name, len(ids))
        fields["added_tokens"] = []  # byte tokens are plain entries of the vocabulary
        made = Tokenizer.from_str(json.dumps(fields))
    made.add_tokens(added)
    made.save(str(path))
    return path


LONGEST_GROWN = 16


def grow(path: Path, vocabulary: int, merges_a_token: int, out: Path, seed: int = 7) -> Path:
    """A tokenizer.json grown to `vocabulary` ids by seeded merges of tokens that it has, so that its tables
    are as large as published ones; each new token comes of up to `merges_a_token` pairs.
    """
    fields = json.loads(path.read_text("utf-8"))
    model = fields["model"]
    ids: dict[str, int] = model["vocab"]
    merges: list[Any] = model["merges"]
    added = {token["content"] for token in fields["added_tokens"]}
    parts = [token for token in ids if token not in added and not token.startswith("<")]
    known = {tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in merges}
    rng = random.Random(seed)
    free = max(ids.values(), default=0) + 1
    free = max([free, *(token["id"] + 1 for token in fields["added_tokens"])])
    while free < vocabulary:
        text = rng.choice(parts) + rng.choice(parts)
        if len(text) > LONGEST_GROWN or text in ids or text in added:
            continue
        pairs = [(text[:cut], text[cut:]) for cut in range(1, len(text))]
        pairs = [pair for pair in pairs if pair[0] in ids and pair[1] in ids and pair not in known]
        ids[text] = free
        parts.append(text)
        free += 1
        for pair in rng.sample(pairs, min(merges_a_token, len(pairs))):
            known.add(pair)
            merges.append(list(pair))
    model["merges"] = [list(m) if isinstance(m, list) else m.split(" ") for m in merges]
    out.write_text(json.dumps(fields), "utf-8")
    return out


def strings(count: int, seed: int = 1) -> list[bytes]:
    """Real and generated strings: pieces of text, all planes of Unicode, runs, malformed UTF-8."""
    rng = random.Random(seed)
    texts = corpus()
    makers: list[Callable[[], bytes]] = [
        lambda: _excerpt(rng, texts),
        lambda: "".join(_any(rng) for _ in range(rng.randint(0, 40))).encode(),
        lambda: "".join(rng.choice(_AWKWARD) for _ in range(rng.randint(1, 30))).encode(),
        lambda: _runs(rng).encode(),
        lambda: "".join(rng.choice(_COMBINING) for _ in range(rng.randint(1, 24))).encode(),
        lambda: rng.randbytes(rng.randint(0, 40)),
        lambda: _damaged(rng, _excerpt(rng, texts)),
        lambda: b"".join(rng.choice(_MALFORMED) for _ in range(rng.randint(1, 12))),
    ]
    return [makers[number % len(makers)]() for number in range(count)]


_AWKWARD = [
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "'s",
    "'S",
    "'ll",
    "'Re",
    "'\u017f",
    "'VE",
    "a",
    "Z",
    "\u00e9",
    "e\u0301",
]
_AWKWARD += [
    "1",
    "\u00b2",
    "\u0663",
    "\u2160",
    ".",
    "!?",
    "\u00a0",
    "\u2028",
    "\u3000",
    "\u0085",
    "\u200b",
    "\u1680",
]
_AWKWARD += [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_",
    "<|im_|>",
    "<eos>",
    "<start_of_turn>",
    "\u2581",
    "<0x41>",
    "\x00",
]
_AWKWARD += [
    "\U0001f600",
    "\U0001f468\u200d\U0001f469",
    "\ufffd",
    "\ufeff",
    "\uac00",
    "\u4e2d",
    "\u0e01",
    "\u1e9e",
    "'d",
]
_COMBINING = [
    "a",
    "e",
    "o",
    "\u0301",
    "\u0323",
    "\u0308",
    "\u0345",
    "\u0334",
    "\u1100",
    "\u1161",
    "\u11a8",
    "\uac00",
]
_COMBINING += [
    "\u00e4",
    "\u1ea5",
    "\u0344",
    "\u0958",
    "\u0915",
    "\u093c",
    "\u09c7",
    "\u09be",
    "\u2126",
    "\u212b",
]
_COMBINING += [
    "\u1e9b",
    "\u0327",
    "\uf900",
    "\U0001d15e",
    "\U000110ba",
    "\U00011099",
    "\U0002f800",
    "\u0cc6",
    "\u0cc2",
    "\u0cd5",
]
_COMBINING += [" ", "<|im_end|>"]
_MALFORMED = [
    b"a",
    b"\xff",
    b"\xc0\x80",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xf0\x9f",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82\xac",
]
_MALFORMED += [
    b"\xf0\x9f\x98\x80",
    b" ",
    b"\x80",
    b"\xc3",
    b"\xf8\x88\x80\x80\x80",
    b"\xe0\x80\xaf",
    b"\xf1\x80\x80",
]


def _excerpt(rng: random.Random, texts: list[str]) -> bytes:
    text = rng.choice(texts)
    start = rng.randrange(len(text) + 1)
    return text[start : start + rng.randint(0, 400)].encode()


def _any(rng: random.Random) -> str:
    plane = rng.choice((0, 0, 0, 0, 1, 1, 2, 3, rng.randint(4, 16)))
    while 0xD800 <= (point := (plane << 16 | rng.randrange(1 << 16))) < 0xE000:
        pass
    return chr(min(point, sys.maxunicode))


def _runs(rng: random.Random) -> str:
    return "".join(
        rng.choice((*_AWKWARD, "a", "=", "\n")) * rng.choice((1, 2, 7, 70)) for _ in range(rng.randint(1, 5))
    )


def _damaged(rng: random.Random, text: bytes) -> bytes:
    damaged = bytearray(text)
    for _ in range(rng.randint(1, 5)):
        if damaged:
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)
