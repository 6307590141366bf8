"""VMess without a network: a client and a server that talk through function calls."""

import secrets

from trio_vmess.core import NEED_DATA, Destination, vmess

ann = vmess.Account("b831381d-6324-4d53-ad4f-8cda48b30811")
users = vmess.UserRegistry([ann])
replay = vmess.ReplayCache(window=users.window)
now = 1_700_000_000  # UTC seconds; a real program uses int(time.time())

client = vmess.ClientConnection(entropy=secrets)
request = vmess.Request(
    account=ann,
    destination=Destination(host="example.com", port=443),
    security=vmess.Security.AES_128_GCM,
    options=vmess.Option.CHUNK_STREAM | vmess.Option.MASK | vmess.Option.PADDING,
    timestamp=now,
)
to_server = client.send(request) + client.send(vmess.Data(payload=b"hello"))

server = vmess.ServerConnection(users, replay, entropy=secrets)
server.receive_data(to_server, now=now)
while (event := server.next_event()) is not NEED_DATA:
    print("server:", event)

client.receive_data(server.send(vmess.Response()) + server.send(vmess.Data(payload=b"hello, Ann")))
while (event := client.next_event()) is not NEED_DATA:
    print("client:", event)
