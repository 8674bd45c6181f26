"""One training in a process of its own: ``python -m lifeloop.serve.trainer`` < job.json."""

import os
import sys
import threading

import msgspec

from lifeloop.errors import LifeloopError
from lifeloop.loop import Lifeloop
from lifeloop.serve import logs
from lifeloop.serve.jobs import LOCK, Told

_LOCK_S = 1.0


def run(told: dict[str, object]) -> None:
    """Train, under the lock of the deployment, and say in the job how it went."""
    with Lifeloop.open(str(told["where"]), scenario=_mapping(told["scenario"])) as loop:
        job = Told(loop, str(told["job"]), beat_s=float(str(told["beat_s"])))
        done = threading.Event()
        beats = threading.Thread(target=_beat, args=(job, done, float(str(told["beat_s"]))))
        beats.start()
        try:
            with loop.store.exclusive(LOCK, wait_s=_LOCK_S) as alone:
                if not alone:
                    job.end("refused", error="another training holds the lock")
                    return
                manifest = loop.train(progress=job.progress)
            job.end("done", bundle=str(manifest["bundle"]))
        except LifeloopError as error:
            job.end("failed", error=str(error))
        except Exception as error:
            logs.failure(error)
            job.end("failed", error=f"{type(error).__name__}; see the log of the server")
        finally:
            done.set()
            beats.join()


def _beat(job: Told, done: threading.Event, every_s: float) -> None:
    while not done.wait(every_s):
        job.beat()


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, dict) else {}


if __name__ == "__main__":
    os.nice(10)  # requests come first
    logs.start()
    run(msgspec.json.decode(sys.stdin.buffer.read()))
