"""How the gateway listens."""

import socket

from local_model_gateway import config, serve


def test_answers_on_a_kept_connection_do_not_wait_for_acknowledgements() -> None:
    with serve.bind(config.Server(port=0)) as listening:
        # asyncio sets TCP_NODELAY on what is accepted only if the protocol is named.
        assert listening.proto == socket.IPPROTO_TCP
