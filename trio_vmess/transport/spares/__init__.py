"""Spare connections: dialled before anybody asks for them."""

from trio_vmess.transport.spares.connections import SpareConnections

__all__ = ["SpareConnections"]
