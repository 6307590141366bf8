"""HTTP without TLS on a port with TLS, against recordings of nginx."""

import pytest

from tests.kit.strangers import told_by, undated
from tests.kit.vectors import load
from trio_vmess.fallback import PlainHttpFallback

FALLBACK = PlainHttpFallback(clock=lambda: 0)


@pytest.mark.parametrize("step", [0, 1])
async def test_the_answers_are_those_of_nginx(step: int) -> None:
    for vector in load("nginx_site"):
        if vector["server"] != "plain":
            continue
        answer = await told_by(FALLBACK, bytes.fromhex(vector["request"]), step=step)
        assert undated(answer) == undated(vector["response"]), vector["name"]


async def test_half_a_request_is_not_answered() -> None:
    assert await told_by(FALLBACK, b"GET / HT") == b""
