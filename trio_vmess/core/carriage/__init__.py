"""What carries a stream of VMess other than plain TCP; each package is one way.

Nothing is imported from here but the packages themselves: a node loads what its settings ask for.

websocket       frames, and a stream of bytes in them
upgrade         the HTTP heads in front of WebSocket and HTTPUpgrade, and nginx's error pages
"""

__all__: list[str] = []
