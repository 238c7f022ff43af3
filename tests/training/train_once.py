"""Train again and again in a forked child that is killed after a random time; print how often it was killed.

usage: python train_once.py OUT KILLS SEED LONGEST REQUEST.json
"""

import json
import os
import random
import signal
import sys
import time

from patchwords.training import Request, train
from patchwords.training.folder import locked  # noqa: F401 - imported before the fork, as everything heavy is

out, kills, seed, longest = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
with open(sys.argv[5]) as file:
    request = Request(**json.load(file))
delays = random.Random(seed)
done = 0
while True:
    child = os.fork()
    if child == 0:
        with open(os.devnull, "w") as null:
            os.dup2(null.fileno(), 2)
            train(request, out)
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
