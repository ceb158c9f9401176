"""The process that builds one engine: `python -m allaprima.engines.worker`, spoken to by `job.build_apart`.

In: one line of JSON, then the model's bytes. Out: lines of JSON, progress and at last the entry or the error.
"""

from __future__ import annotations

import os
import sys

from .job import work

if __name__ == "__main__":
    # TensorRT may print; what is meant for the other end goes where only we write.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with answers:
        work(sys.stdin.buffer, answers)
