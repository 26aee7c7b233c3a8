"""Is anybody there? Asked before a client that would retry for minutes gets to work."""

from __future__ import annotations

import socket
import threading

SECONDS = 5.0


def why_unreachable(host: str, port: int, seconds: float = SECONDS) -> str | None:
    """None if a TCP connection opens within `seconds`, else the reason in a few words.

    In a thread: the resolver of host names keeps no time limit of its own.
    """
    found: list[str | None] = [f"no answer within {seconds:g} s"]

    def connect():
        try:
            socket.create_connection((host, port), timeout=seconds).close()
            found[0] = None
        except (OSError, UnicodeError) as error:
            found[0] = getattr(error, "strerror", None) or str(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0]
