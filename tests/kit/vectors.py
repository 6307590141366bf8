"""The golden vectors and live captures of `tests/vectors`; its README tells what they hold."""

import base64
import functools
import json
import zlib
from pathlib import Path
from typing import Any, Final

VECTORS: Final = Path(__file__).parent.parent / "vectors"


def unpack(value: str | dict[str, Any]) -> bytes:
    """Return the bytes of a hex text or of a packed object."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    return zlib.decompress(base64.b64decode(value["zlib_b64"]))


@functools.cache
def load(name: str) -> list[dict[str, Any]]:
    """Return the vectors, or the captures, of one file."""
    document = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    vectors: list[dict[str, Any]] = document.get("captures") or document["vectors"]
    return vectors


def name_of(vector: dict[str, Any]) -> str:
    """Return a test id."""
    return str(vector.get("name") or vector.get("uuid"))
