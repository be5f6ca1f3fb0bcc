"""The bytes that the sockets of some ports have sent, as Linux counts them (sock_diag, TCP_INFO)."""

import socket
import struct
from collections.abc import Collection, Iterator

_SOCK_DIAG, _DUMP, _DONE, _ERROR = 20, 0x301, 3, 2
_BY_FAMILY, _INFO = 20, 2
_HEADER = struct.Struct("=IHHII")
_BYTES_ACKED = 120  # where it stands in struct tcp_info


class Sent:
    """Bytes that were sent, and acknowledged, over TCP connections from or to some ports of this machine.

    A connection that ends between two looks loses what it has sent since the first of them.

    Args:
      ports: of the processes that listen.
    """

    def __init__(self, ports: Collection[int]):
        self._ports, self._sent = frozenset(ports), {}

    def look(self) -> int:
        """The bytes so far, of both directions of all such connections."""
        for family in (socket.AF_INET, socket.AF_INET6):
            for own, peer, sent in _connections(family):
                if own in self._ports or peer in self._ports:
                    self._sent[family, own, peer] = sent
        return sum(self._sent.values())


def _connections(family: int) -> Iterator[tuple[int, int, int]]:
    """Own port, the peer's, and the bytes that were sent."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as netlink:
        netlink.settimeout(5)
        asked = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 1 << (_INFO - 1), 0, 0xFFFFFFFF) + bytes(48)
        netlink.send(_HEADER.pack(_HEADER.size + len(asked), _BY_FAMILY, _DUMP, 1, 0) + asked)
        while True:
            answer = netlink.recv(1 << 20)
            while answer:
                length, kind, *_ = _HEADER.unpack_from(answer)
                if kind in (_DONE, _ERROR):
                    return
                yield from _connection(answer[_HEADER.size : length])
                answer = answer[(length + 3) & ~3 :]


def _connection(body: bytes) -> Iterator[tuple[int, int, int]]:
    own, peer = struct.unpack_from(">HH", body, 4)
    at = 72  # behind struct inet_diag_msg stand attributes
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if kind == _INFO and length >= 4 + _BYTES_ACKED + 8:
            yield own, peer, struct.unpack_from("=Q", body, at + 4 + _BYTES_ACKED)[0]
        at += (length + 3) & ~3
