"""HTTP/2 is loaded only for a transport that needs it, and says what is missing."""

import importlib
import sys

import pytest

from tests.architecture import imports_of, modules_of, present_sources


def test_nothing_loads_it_by_the_way() -> None:
    sources = present_sources()
    carriers = {
        module
        for module, path in modules_of(sources).items()
        for _, imported in imports_of(path, sources)
        if imported.startswith(("trio_vmess.core.carriage.http2", "trio_vmess.transport.http2"))
    }
    inside = {each for each in carriers if ".http2" in each}
    # What builds the transport is imported when one is configured.
    assert carriers - inside == set()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if ".http2" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hpack", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'trio-vmess\[http2\]'"):
        importlib.import_module("trio_vmess.transport.http2")
