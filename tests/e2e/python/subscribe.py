"""Subscribes with `websockets` and prints COUNT messages as a JSON list: subscribe.py URL COUNT"""

import asyncio
import json
import sys

from websockets.asyncio.client import connect


async def main(url: str, count: int) -> None:
    async with connect(url, max_size=None, proxy=None) as socket:
        messages = [await socket.recv() for _ in range(count)]
    print(json.dumps(messages))


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
