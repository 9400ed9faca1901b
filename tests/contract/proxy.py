"""A TCP proxy in front of the real Neo4j that breaks connections on demand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self


class Proxy:
    """Relays to one server; `port` is where to connect to instead."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._clients: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._cut_next = self._refusing = False
        self.port = 0

    @classmethod
    @asynccontextmanager
    async def to(cls, host: str, port: int) -> AsyncIterator[Self]:
        """A proxy that listens until the block ends."""
        proxy = cls(host, port)
        listener = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.port = listener.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            listener.close()
            for connection in proxy._connections:
                connection.cancel()
            await asyncio.gather(*proxy._connections, return_exceptions=True)

    async def cut(self) -> None:
        """Break all connections that are open; new ones work."""
        for client in self._clients:
            client.transport.abort()

    async def cut_on_next_request(self) -> None:
        """Break the connection that next asks for something: the server hears it, the client no answer."""
        self._cut_next = True

    async def refuse(self) -> None:
        """Break all connections, and each new one before it has said a word."""
        self._refusing = True
        await self.cut()

    async def freeze(self) -> None:
        """Hold back everything, both ways."""
        self._flowing.clear()

    async def thaw(self) -> None:
        """Let go what was held back, let in who was refused."""
        self._refusing = False
        self._flowing.set()

    def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self._refusing:
            client.transport.abort()
            return
        connection = asyncio.create_task(self._serve(reader, client))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        server_reader, server = await asyncio.open_connection(*self._target)
        self._clients.add(client)
        ways = [
            asyncio.create_task(self._requests(client_reader, server, client)),
            asyncio.create_task(self._answers(server_reader, client)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for writer in (client, server):
                writer.transport.abort()
            self._clients.discard(client)

    async def _requests(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            await self._flowing.wait()
            server.write(data)
            await server.drain()
            if self._cut_next:
                self._cut_next = False
                client.transport.abort()

    async def _answers(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._flowing.wait()
            client.write(data)
            await client.drain()
