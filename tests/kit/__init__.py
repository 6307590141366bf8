"""What tests stand on: real peers, loopback origins, a SOCKS client, seeded entropy."""
