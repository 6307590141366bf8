"""Exchanges with other implementations, over real sockets on loopback."""
