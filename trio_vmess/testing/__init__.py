"""For the tests of programs that use this package: servers and streams that reach nothing.

`trio_vmess.testing.fixtures` has the same as fixtures of pytest.
"""

from trio_vmess.testing.clock import FakeClock
from trio_vmess.testing.pair import vmess_stream_pair
from trio_vmess.testing.server import FakeVMessServer, serve_fake_vmess
from trio_vmess.testing.thread import fake_vmess_in_thread

__all__ = [
    "FakeClock",
    "FakeVMessServer",
    "fake_vmess_in_thread",
    "serve_fake_vmess",
    "vmess_stream_pair",
]
