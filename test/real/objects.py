"""Live objects that four threads keep changing and hashing; asked to check itself by STATUS-FILE.check.

objects.py STATUS-FILE MEGABYTES
"""
import hashlib
import os
import random
import sys
import threading
import time

status = open(sys.argv[1], "a", buffering=1)
megabytes = int(sys.argv[2])
workers = 4
chunk = 64 * 1024
stop = threading.Event()
errors = []
rounds = [0] * workers


def content(seed):
    return random.Random(seed).randbytes(chunk)


class Shelf:
    """One thread's objects: each with the hash that it must have."""

    def __init__(self, number):
        self.number = number
        self.random = random.Random(number)
        count = megabytes * (1 << 20) // chunk // workers
        self.objects = {}
        for i in range(count):
            data = bytearray(content(number * 1000003 + i))
            self.objects[i] = (data, hashlib.sha256(data).digest())

    def work(self):
        while not stop.is_set():
            for _ in range(8):
                i = self.random.randrange(len(self.objects))
                data, digest = self.objects[i]
                if hashlib.sha256(data).digest() != digest:
                    errors.append(f"object {i} of thread {self.number} changed by itself")
                    return
                at = self.random.randrange(chunk - 4096)
                data[at : at + 4096] = self.random.randbytes(4096)
                if self.random.randrange(4) == 0:
                    data = bytearray(data)  # a new object, the old one is freed
                self.objects[i] = (data, hashlib.sha256(data).digest())
            rounds[self.number] += 1
            time.sleep(0.002)

    def check(self):
        for i, (data, digest) in self.objects.items():
            if hashlib.sha256(data).digest() != digest:
                errors.append(f"object {i} of thread {self.number} is not what it was")


shelves = [Shelf(number) for number in range(workers)]
threads = [threading.Thread(target=shelf.work) for shelf in shelves]
for thread in threads:
    thread.start()
pid = os.getpid()
print("READY", file=status)
while not os.path.exists(sys.argv[1] + ".check"):
    if os.path.exists(sys.argv[1] + ".ask"):
        os.unlink(sys.argv[1] + ".ask")
        print("ROUNDS", *rounds, file=status)
        print("DONE", file=status)
    time.sleep(0.02)
stop.set()
for thread in threads:
    thread.join()
for shelf in shelves:
    shelf.check()
if os.getpid() != pid:
    errors.append("another pid")
for error in errors:
    print("FAIL:", error, file=status)
if not errors:
    print("PASS", file=status)
