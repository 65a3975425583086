"""What a terminal can show: colours, and characters beyond ASCII."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_BARE = ("", "dumb", "unknown")  # no cursor that could be moved: plain lines are what they can show
_FEW_GLYPHS = ("linux", "vt")  # fonts without braille patterns
_NO_LOCALE = ("", "C", "POSIX")
_PLAIN = str.maketrans(  # what stands for our own glyphs in ASCII
    dict(zip("▁▂▃▄▅▆▇█●○■─✓✗▸…µ−°", ".:-=+*#@*o#-+x>~u-'", strict=True)) | {"±": "+-"}
)


@dataclass(frozen=True)
class Terminal:
    """A terminal that can move its cursor; ``unicode`` means that it has braille patterns and block elements."""

    colour: bool
    unicode: bool

    def text(self, text: str) -> str:
        """Return text in characters that the terminal has, cell for cell where they are narrow."""
        return text if self.unicode else text.translate(_PLAIN).encode("ascii", "replace").decode()


def terminal(environ: Mapping[str, str], *, colour: bool) -> Terminal | None:
    """Return what the terminal of TERM can show under the environment's locale, None where it can show only lines.

    Colour is left away where it is not wanted (``colour``, or NO_COLOR, see no-color.org) and where there is none.
    """
    name = environ.get("TERM", "")
    if name in _BARE:
        return None
    unicode = _is_utf8(environ) and not name.startswith(_FEW_GLYPHS)
    monochrome = name.startswith("vt") or name.endswith(("-m", "-mono"))
    return Terminal(colour and not monochrome and not environ.get("NO_COLOR"), unicode)


def _is_utf8(environ: Mapping[str, str]) -> bool:
    """Whether the locale's characters are UTF-8; stdout's are with Python even where the terminal's are not."""
    whole, characters, rest = (environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    if characters.upper() in ("C.UTF-8", "C.UTF8") and rest in _NO_LOCALE:
        characters = ""  # set by Python itself (PEP 538), for want of a locale
    return (whole or characters or rest).lower().replace("-", "").endswith("utf8")
