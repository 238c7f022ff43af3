"""Tune again and again in a forked child that is killed after a random time; print how often it was killed.

usage: python tune_once.py KILLS LONGEST CHECKPOINT DATA OUT WAY SETTINGS
"""

import json
import os
import random
import signal
import sys
import time

import patchwords as pw
from patchwords.training import run  # noqa: F401 - imported before the fork, as everything heavy is
from patchwords.transfer import ladder  # noqa: F401

kills, longest, (source, data, out, way, settings) = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
delays, done = random.Random(0), 0
while True:
    child = os.fork()
    if child == 0:
        with open(os.devnull, "w") as null:
            os.dup2(null.fileno(), 2)
            pw.tune(source, data, out, tune=way, **json.loads(settings))
        os._exit(0)
    if done < kills:
        time.sleep(delays.uniform(0.0, longest))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        done += 1
    elif status == 0:
        break
    else:
        sys.exit(f"the run failed with status {status}")
print(done)
