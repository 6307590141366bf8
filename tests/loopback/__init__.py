"""Whole nodes of this project with each other, over real sockets on loopback."""
