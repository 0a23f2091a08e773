"""What `bench_server.py` runs on every rank: our server and the barest loop that does the same, in turns.

Workers answer at once, or burn so many microseconds of CPU for each direction; messages have 19,760 float32, or those
of a network with more hidden units. Of several servers, which the bare loop does not have, there is ours alone.
Rank 0 prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np

from asysvrg import MPI, AsySVRGClassifier
from asysvrg.core.network import Network
from asysvrg.distributed import mpi, worker
from asysvrg.distributed._message import HEADER
from asysvrg.distributed.endpoint import Backoff

INPUTS, OUTPUTS, N = 384, 10, 640
ASK, ANSWER = 1, 2


def burn(microseconds: float) -> None:
    end = time.thread_time() + microseconds * 1e-6
    while microseconds and time.thread_time() < end:
        pass


def buffer(d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bytes of a message, its header, its vector."""
    whole = np.zeros(HEADER + 4 * d, np.uint8)
    return whole, whole[:HEADER].view(np.int64), whole[HEADER:].view(np.float32)


def bare_server(comm, d: int, steps: int, wait: str) -> None:
    """x <- x - eta v and an answer for each message; no state, no checks, no care."""
    x, eta, left = np.zeros(d, np.float32), np.float32(1e-3), steps
    incoming, outgoing = ([buffer(d) for _ in range(comm.size)] for _ in range(2))
    asked = {k: comm.Irecv(incoming[k][0], k, ASK) for k in range(1, comm.size)}
    sent = dict.fromkeys(asked)
    backoff = Backoff(wait)
    while asked:
        came = False
        for k in list(asked):
            if not asked[k].Test():
                continue
            came = True
            x -= eta * incoming[k][2]
            if sent[k] is not None:
                sent[k].Wait()
            _, header, payload = outgoing[k]
            payload[:] = x
            header[0] = left > 0
            if left > 0:
                asked[k] = comm.Irecv(incoming[k][0], k, ASK)
            else:
                del asked[k]
            left -= 1
            sent[k] = comm.Isend(outgoing[k][0], k, ANSWER)
        if came:
            backoff.came()
        else:
            backoff.pause()
    for request in sent.values():
        request.Wait()


def bare_worker(comm, d: int, compute: float, wait: str) -> None:
    incoming, outgoing, backoff, go_on = buffer(d), buffer(d), Backoff(wait), True
    while go_on:
        burn(compute)
        answer = comm.Irecv(incoming[0], 0, ANSWER)
        sent = comm.Isend(outgoing[0], 0, ASK)
        backoff.reset()
        while not (answer.Test() and sent.Test()):
            backoff.pause()
        backoff.came()
        go_on = bool(incoming[1][0])


def bare(comm, d: int, steps: int, compute: float, wait: str) -> float:
    """Seconds of so many updates."""
    start = time.perf_counter()
    if comm.rank == 0:
        bare_server(comm, d, steps, wait)
    else:
        bare_worker(comm, d, compute, wait)
    return time.perf_counter() - start


def ours(X: np.ndarray, y: np.ndarray, hidden: int, steps: int, **options: Any) -> float:
    """The same in an epoch of a fit; the clock of its trace runs during updates only."""
    model = AsySVRGClassifier(
        (hidden,), solver="sgd", learning_rate_init=1e-12, inner_steps=steps, max_iter=1, tol=0, n_jobs=1,
        random_state=0, backend=MPI(**options),
    )  # fmt: skip
    return model.fit(X, y).history_["epochs"][-1]["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--compute", type=float, default=0, metavar="MICROSECONDS")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--wait", default="sleep")
    parser.add_argument("--hidden", type=int, default=50)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--compress", choices=["float16"], help="of ours")
    args = parser.parse_args()

    class Idle:
        """In the place of the kernels: v is 0."""

        def __init__(self, *_, **__):
            self.first = True

        def direction(self, x, v, *_, **__):
            if self.first:  # later v stays as it is; what it lies in has had other messages
                v[:], self.first = 0, False
            burn(args.compute)
            return 0

    worker.InnerLoop = Idle
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N, INPUTS)).astype(np.float32), np.arange(N) % OUTPUTS
    comm, d = mpi.world().comm, Network((INPUTS, args.hidden, OUTPUTS), "relu", "softmax", np.float32).size
    kinds = {
        "ours": lambda steps: ours(
            X, y, args.hidden, steps, wait=args.wait, compress=args.compress, servers=args.servers
        ),
        "bare": lambda steps: bare(comm, d, steps, args.compute, args.wait),
    }
    if args.servers > 1:
        del kinds["bare"]
    rows: dict[str, list] = {name: [] for name in kinds}
    for _ in range(args.rounds):
        for name, run in kinds.items():
            points = []
            for steps in (args.steps // 4, args.steps):  # what a fit costs besides its updates is in both
                cpu = time.process_time()
                seconds = run(steps)
                points.append((steps, seconds, time.process_time() - cpu))
            (few, _, before), (many, seconds, after) = points
            rows[name].append((many / seconds, 1e6 * (after - before) / (many - few)))
    found = comm.gather(rows)
    if comm.rank:
        return
    result: dict[str, Any] = {name: getattr(args, name) for name in ("servers", "compute", "wait")}
    result |= {"workers": comm.size - args.servers, "parameters": d}
    for name in kinds:
        rates = [rate for rate, _ in rows[name]]
        each = [[cpu for _, cpu in of_rank[name]] for of_rank in found]
        result[f"{name}: updates/s"] = statistics.median(rates)
        result[f"{name}: server us"] = [statistics.median(one) for one in each[: args.servers]]
        overhead = [sum(round_) - args.compute for round_ in zip(*each, strict=True)]
        result[f"{name}: overhead us"] = statistics.median(overhead)
    if "bare" in rows:
        pairs = zip(rows["ours"], rows["bare"], strict=True)
        result["rate / bare"] = statistics.median(a[0] / b[0] for a, b in pairs)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
