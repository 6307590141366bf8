"""A whole node in a program's own nursery: started, looked at, and stopped in order."""

import trio

import trio_vmess

CONFIG = """
    [[inbounds]]
    tag = "for-friends"
    protocol = "vmess"
    listen = "127.0.0.1"
    port = 0                 # 0: the system picks a free one
    users = [{ id = "b831381d-6324-4d53-ad4f-8cda48b30811", email = "ann@example.com" }]

    [[inbounds]]
    tag = "for-me"
    protocol = "mixed"       # SOCKS and HTTP on one port
    listen = "127.0.0.1"
    port = 0

    [[outbounds]]
    tag = "direct"
    protocol = "freedom"
"""


async def main() -> None:
    config = trio_vmess.parse_config(CONFIG, file="node.toml")
    for warning in config.warnings:
        print("warning:", warning)
    async with trio.open_nursery() as nursery:
        # `start` returns when all inbounds listen, and gives the node.
        node = await nursery.start(trio_vmess.serve, config)
        for each in node.listening:
            print(f"{each.tag}: {each.protocol} on {each.address.rpartition(':')[0]}")
        print("connections:", len(node.connections))
        node.stop(grace=5)  # no new connections; 5 seconds for those that there are
    print("stopped")


trio.run(main)
