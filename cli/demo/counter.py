"""What `migrate demo` moves: keeps some 200 MB of objects changing, checks each before it touches it again, and
prints a line every 300 ms with a counter, its pid and a running checksum over all changes."""

import os
import random
import sys
import time
import zlib

BLOCK_BYTES = 64 * 1024
BLOCKS = 200_000_000 // BLOCK_BYTES
BLOCKS_A_TICK = 4
TICK_SECONDS = 0.01
LINE_SECONDS = 0.3

# What was inherited from whoever started the demo does not belong to this program.
os.closerange(3, 1024)

chance = random.Random(os.getpid())
blocks = {index: bytearray(chance.randbytes(BLOCK_BYTES)) for index in range(BLOCKS)}
checksums = {index: zlib.crc32(block) for index, block in blocks.items()}

count = 0
running = 0
next_line = time.monotonic()
while True:
    for _ in range(BLOCKS_A_TICK):
        index = chance.randrange(BLOCKS)
        block = blocks[index]
        if zlib.crc32(block) != checksums[index]:
            print(f"DAMAGED: object {index} is not what it was", flush=True)
            sys.exit(1)
        block[:] = chance.randbytes(BLOCK_BYTES)
        checksums[index] = zlib.crc32(block)
        running = zlib.crc32(block, running)
    if time.monotonic() >= next_line:
        count += 1
        next_line += LINE_SECONDS
        print(f"count {count}  pid {os.getpid()}  checksum {running:08x}", flush=True)
    time.sleep(TICK_SECONDS)
