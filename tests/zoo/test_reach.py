"""Whether a server answers, in bounded time."""

import socket
import threading
import time

from fqvit_hw.zoo.reach import why_unreachable


def test_listening_and_closed_ports():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert why_unreachable("127.0.0.1", port) is None
    assert "refused" in why_unreachable("127.0.0.1", port)


def test_names_that_do_not_exist():
    assert why_unreachable("no-such-host.invalid", 80)
    assert why_unreachable("a" * 70, 80)  # longer than a label of a host name may be


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch):
    over = threading.Event()

    def hang(*_, **__):
        over.wait(30)
        raise OSError("the test is over")

    monkeypatch.setattr(socket, "create_connection", hang)
    start = time.monotonic()
    assert why_unreachable("x", 1, seconds=0.2) == "no answer within 0.2 s"
    assert time.monotonic() - start < 5
    over.set()  # or the thread would outlive this test and disturb another
