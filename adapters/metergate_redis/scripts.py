"""The Lua scripts: one file each, with the helpers that it needs put before it.

A script is called by the digest of its text, so two versions of metergate work side by side on one server.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).with_name("scripts")
HELPERS: Mapping[str, Sequence[str]] = {
    "turn": ("integers", "budgets", "records"),
    "renew": ("integers", "budgets", "records"),
    "expire": ("integers", "budgets", "records"),
    "lapse": ("integers", "budgets", "records"),
    "drain": (),
    "oldest": (),
    "newest": (),
    "acknowledge": (),
    "sync": ("integers", "budgets", "records"),
    "state": (),
    "attach": (),
    "begin": (),
    "swap": (),
}


class Script(NamedTuple):
    name: str
    source: bytes
    sha: bytes


def _load(name: str) -> Script:
    parts = [(FOLDER / f"{part}.lua").read_bytes() for part in (*HELPERS[name], name)]
    source = b"\n".join(parts)
    return Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


SCRIPTS: Mapping[str, Script] = {name: _load(name) for name in HELPERS}
