"""What the screen asks a person: a line of text, or one of a few choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

_KEYS = "123456789abcdefghijklmnopqrstuvwxyz"


class Prompt(ModalScreen[str | None]):
    """Asks for a line of text at the foot of the screen; None if it was cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(None)", "cancel")]

    def __init__(self, question: str, default: str = "") -> None:
        super().__init__()
        self._question, self._default = question, default

    def compose(self) -> ComposeResult:
        """Lay out the question and the line."""
        yield Label(f"{self._question} (enter, or escape)", markup=False)
        yield Input(self._default)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Answer with the line."""
        self.dismiss(event.value.strip() or None)


class Choice(ModalScreen[int | None]):
    """Asks for one of a few answers, each with a key of its own; None if it was cancelled."""

    def __init__(self, question: str, answers: Sequence[str]) -> None:
        super().__init__()
        self._question, self._answers = question, tuple(answers[: len(_KEYS)])

    def compose(self) -> ComposeResult:
        """Lay out the question and the answers."""
        yield Label(f"{self._question} (a key, or escape)", markup=False)
        rows = [f" {key}  {answer}" for key, answer in zip(_KEYS, self._answers, strict=False)]
        with VerticalScroll():
            yield Static("\n".join(rows), markup=False)

    def on_key(self, event: Key) -> None:
        """Answer with the place of the key's answer, or go back."""
        event.stop()
        if event.key == "escape":
            self.dismiss(None)
        elif event.character and event.character in _KEYS[: len(self._answers)]:
            self.dismiss(_KEYS.index(event.character))


class Page(ModalScreen[None]):
    """Shows a text until a key is pressed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Lay out the text."""
        yield Label("any key goes back")
        with VerticalScroll():
            yield Static(self._text, markup=False)

    def on_key(self, event: Key) -> None:
        """Go back."""
        event.stop()
        self.dismiss(None)
