"""A chat template, as Hugging Face folders carry them, compiled to a chat format by rendering it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from daypack.errors import SpecError
from daypack.models.chat import ChatFormat, Turn

_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
_ROLES = ("system", "user", "assistant")
#: What contents are rendered for proof: the text around them may not depend on what they say.
_CONTENTS = ("one word", " \n spaced \n\n", "a\nb <i>&'\"{{ x }} {% y %}", "<think>t</think>é\U0001f600", "0")


@dataclass(frozen=True)
class Template:
    """The template's source, the special tokens it may name, and where it is from."""

    source: str
    tokens: dict[str, str]
    where: str


def find_template(folder: Path) -> Template | None:
    """The template of chat_template.jinja or else of tokenizer_config.json; None if there is none.

    Raises:
        SpecError: one of the two cannot be read, is not UTF-8, or the latter no JSON object.
    """
    path = folder / "tokenizer_config.json"
    fields: dict[str, Any] = {}
    if path.is_file():
        try:
            fields = dict(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise SpecError(f"{path}: not a JSON object ({error})") from error
    tokens = {name: _token(fields.get(name)) for name in _TOKENS}
    alone = folder / "chat_template.jinja"
    if alone.is_file():
        try:
            return Template(alone.read_text("utf-8"), tokens, str(alone))
        except (OSError, ValueError) as error:
            raise SpecError(f"{alone}: not a template in UTF-8 ({error})") from error
    source = fields.get("chat_template")
    if isinstance(source, list):  # several by name
        named = [
            cast("dict[str, Any]", entry) for entry in cast("list[object]", source) if isinstance(entry, dict)
        ]
        source = next((entry.get("template") for entry in named if entry.get("name") == "default"), None)
    return Template(source, tokens, f"{path}: chat_template") if isinstance(source, str) else None


def _token(value: object) -> str:
    """A special token: its text, or an object with it."""
    content = cast("dict[str, Any]", value).get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else ""


def compile_template(template: Template) -> ChatFormat:
    """The text around turns, proved by rendering conversations of several lengths and contents.

    Raises:
        SpecError: the template does not parse, raises, or gives text that depends on more than the roles.
    """
    render = _Renderer(template)
    (before, suffix) = render.gaps("user")
    (_, between, assistant_suffix) = render.gaps("user", "assistant")
    (_, _, again, _, _) = render.gaps("user", "assistant", "user", "assistant")
    user_suffix = suffix if between.startswith(suffix) else ""
    if not again.startswith(assistant_suffix):
        raise render.refusal("an assistant's turn that is the last ends otherwise than one before others")
    system = render.gaps_or_none("system", "user", "assistant")
    chat = ChatFormat(
        start=before,
        system_prefix=None if system is None else system[0],
        system_join=None if system is None else system[1],
        user_prefix=again.removeprefix(assistant_suffix),
        user_suffix=user_suffix,
        assistant_prefix=between.removeprefix(user_suffix),
        assistant_suffix=assistant_suffix,
        trimmed=tuple(role for role in _ROLES if (role != "system" or system) and render.trims(role)),
    )
    _prove(chat, render)
    return chat


def _prove(chat: ChatFormat, render: _Renderer) -> None:
    for first in [[], ["system"]] if chat.system_prefix is not None else [[]]:
        for length in (1, 2, 3):
            roles = first + ["user", "assistant"] * length
            for shift in range(len(_CONTENTS)):
                turns = [
                    (role, _CONTENTS[(shift + number) % len(_CONTENTS)]) for number, role in enumerate(roles)
                ]
                text = "".join(piece for piece, _ in chat.pieces(turns))
                if text != (found := render(turns)):
                    raise render.refusal(
                        f"for {json.dumps(turns[-2:])[:120]} it gives {found[-80:]!r} where its other turns "
                        f"tell {text[-80:]!r}"
                    )


class _Renderer:
    """Renders with the names that `transformers` gives a template, in a sandbox."""

    def __init__(self, template: Template) -> None:
        self._template = template
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        names: dict[str, Any] = environment.globals
        names["raise_exception"] = _raise
        environment.filters["tojson"] = _as_json
        try:
            self._compiled = environment.from_string(template.source)
        except TemplateError as error:
            raise SpecError(f"{template.where}: not a template ({error})") from error

    def __call__(self, turns: Sequence[Turn]) -> str:
        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            return self._compiled.render(
                messages=messages, add_generation_prompt=False, tools=None, **self._template.tokens
            )
        except Exception as error:  # a template is a program: it may raise anything
            roles = ", ".join(role for role, _ in turns)
            raise SpecError(
                f"{self._template.where}: the chat template raised {type(error).__name__} for the roles "
                f"{roles}: {error}"
            ) from error

    def refusal(self, reason: str) -> SpecError:
        return SpecError(
            f"{self._template.where}: the chat template cannot be compiled to the text around its turns: "
            f"{reason}; use `prompt` and `completion`"
        )

    def gaps(self, *roles: str) -> list[str]:
        """The text before, between and after the contents."""
        marks = [f"content-{number}-of-a-turn" for number in range(len(roles))]
        text = self(list(zip(roles, marks, strict=True)))
        gaps: list[str] = []
        for mark in marks:
            before, found, text = text.partition(mark)
            if not found or mark in text:
                raise self.refusal(f"of the roles {', '.join(roles)} a content stands not once, in order")
            gaps.append(before)
        return [*gaps, text]

    def gaps_or_none(self, *roles: str) -> list[str] | None:
        try:
            return self.gaps(*roles)
        except SpecError:
            return None

    def trims(self, role: str) -> bool:
        """Whether the white space at the ends of a role's contents is left out."""
        turns = [("user", "question"), ("assistant", "answer")]
        turns = [("system", "rule"), *turns] if role == "system" else turns
        return " \n spaced \n " not in self([(r, " \n spaced \n " if r == role else c) for r, c in turns])


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _as_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
