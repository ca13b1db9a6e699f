"""Answers that end while they are sent."""

import asyncio

import pytest
from django.db import OperationalError

from config.bodies import BoundedBodies, Message, Receive, Scope, Send


def test_an_answer_that_had_begun_when_the_database_went_is_not_begun_again() -> None:
    """As a download's: who serves it cuts it off."""
    sent: list[Message] = []
    start = {"type": "http.response.start", "status": 200, "headers": []}

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        raise OperationalError

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/datasets/", "headers": []}
    with pytest.raises(OperationalError):
        asyncio.run(BoundedBodies(application)(scope, receive, send))
    assert sent == [start]
