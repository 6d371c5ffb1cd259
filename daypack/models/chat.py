"""Conversations as text by a chat format: what stands before, between and after the turns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from daypack.errors import SpecError
from daypack.models.document import Piece
from daypack.models.tokenizer import Tokenizer

CHAT_FILE = "chat.json"
Turn = tuple[str, str]
"""(role, content)."""


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """A chat template compiled to the text around the contents of its turns.

    A conversation is one system turn or none, then turns of user and assistant in turn. `start` stands before
    the first user's content, or `system_prefix` and `system_join` around the system's, None where the
    template takes none. `trimmed` are the roles whose contents lose the white space at their ends.
    """

    start: str
    system_prefix: str | None
    system_join: str | None
    user_prefix: str
    user_suffix: str
    assistant_prefix: str
    assistant_suffix: str
    trimmed: tuple[str, ...]

    def pieces(self, turns: Sequence[Turn]) -> list[Piece]:
        """The text of a conversation. Learnt are the assistant's contents and what ends its turns."""
        pieces: list[Piece] = []
        before = self.start
        for role, content in turns:
            content = content.strip() if role in self.trimmed else content
            if role == "system":
                before = f"{self.system_prefix}{content}{self.system_join}"
            elif role == "user":
                before += content + self.user_suffix + self.assistant_prefix
            else:
                pieces += [(before, False), (content + self.assistant_suffix, True)]
                before = self.user_prefix
        return pieces

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def load_chat(tokenizer: Tokenizer | None, where: str) -> ChatFormat:
    """The chat format beside a tokenizer.json: compiled already, or from its template.

    Raises:
        SpecError: no tokenizer.json, no template beside it, or one that cannot be compiled.
    """
    if tokenizer is None or tokenizer.path is None:
        raise SpecError(
            f"{where}: `messages` need a tokenizer.json with a chat template beside it; set data.tokenizer"
        )
    compiled = tokenizer.path.parent / CHAT_FILE
    if compiled.is_file():
        return _from_json(compiled)
    from daypack.models.chat_template import compile_template, find_template

    template = find_template(tokenizer.path.parent)
    if template is None:
        if reason := _refused_in(tokenizer.path.parent / "bundle.json"):
            raise SpecError(f"{where}: `messages` need a chat template, and this bundle has none: {reason}")
        raise SpecError(
            f"{where}: `messages` need a chat template, and {tokenizer.path.parent} has none in "
            "tokenizer_config.json or chat_template.jinja; use `prompt` and `completion`"
        )
    return compile_template(template)


def _refused_in(path: Path) -> str | None:
    """Why the bundle that the tokenizer is in has no chat format; None if it is in none."""
    try:
        description: object = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    told = cast("dict[str, Any]", description).get("chat_template") if isinstance(description, dict) else None
    return told if isinstance(told, str) else None


def _from_json(path: Path) -> ChatFormat:
    try:
        fields: dict[str, Any] = json.loads(path.read_text("utf-8"))
        fields["trimmed"] = tuple(fields["trimmed"])
        return ChatFormat(**fields)
    except (ValueError, TypeError, KeyError) as error:
        raise SpecError(f"{path}: not a compiled chat format ({error}); compile the bundle again") from error


def chat_for_bundle(tokenizer: Path) -> tuple[ChatFormat | None, str | None]:
    """The chat format beside a tokenizer.json, or why its template cannot be; neither if it has none."""
    from daypack.models.chat_template import compile_template, find_template

    try:
        template = find_template(tokenizer.parent)
        return (None if template is None else compile_template(template)), None
    except SpecError as error:
        return None, error.message


def pieces_of_chat(messages: object, chat: ChatFormat, where: str) -> list[Piece]:
    """The pieces of the value of `messages`.

    Raises:
        SpecError: not a list of roles and contents, or roles in an order that the format has no text for.
    """
    turns = _turns(messages, where)
    roles = [role for role, _ in turns]
    if "system" in roles[:1]:
        if chat.system_prefix is None:
            raise SpecError(f"{where}: the chat template takes no system turn; put its text into the user's")
        roles = roles[1:]
    expected = ["user", "assistant"] * max(1, (len(roles) + 1) // 2)
    if roles != expected:
        raise SpecError(
            f"{where}: the roles are {', '.join(role for role, _ in turns) or 'none'}; expected one system "
            "turn or none, then user and assistant in turn, an assistant last"
        )
    return chat.pieces(turns)


def _turns(messages: object, where: str) -> list[Turn]:
    if not isinstance(messages, list):
        raise SpecError(f"{where}: `messages` is {json.dumps(messages)[:80]}; expected a list of turns")
    turns: list[Turn] = []
    for number, message in enumerate(cast("list[object]", messages), start=1):
        fields = cast("dict[str, Any]", message) if isinstance(message, dict) else {}
        role, content = fields.get("role"), fields.get("content")
        if set(fields) != {"role", "content"} or not isinstance(role, str) or not isinstance(content, str):
            raise SpecError(
                f'{where}: turn {number} is {json.dumps(message)[:80]}; expected {{"role": string, '
                '"content": string}'
            )
        turns.append((role, content))
    return turns
