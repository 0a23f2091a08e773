"""`simulate`: a fit by virtual workers, in virtual time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asysvrg import kinds
from asysvrg.core.directions import DIRECTIONS
from asysvrg.core.objective import Objective
from asysvrg.plan import Plan
from asysvrg.settings import Settings
from asysvrg.simulation.costs import ARCHITECTURES, POLICIES, Crew, costs, crew
from asysvrg.simulation.engine import Policy
from asysvrg.simulation.events import Recorded, Recorder, load
from asysvrg.simulation.execution import SimulatedExecution

MOST_SEED = 2**64 - 1


@dataclass(frozen=True)
class Simulation:
    """What `simulate` was told, for `training.train`. `given` and `calibrated` are for `costs`."""

    architecture: str
    crew: Crew
    given: Mapping[str, Any]
    calibrated: Any
    policy: str
    max_delay: int | None
    late_at_server: str
    seed: int
    recorder: Recorder | None
    schedule: Recorded | None

    def settings(self, settings: Settings) -> Settings:
        """The settings of one thread; the method is that of the estimator's backend."""
        if settings.execution == "lockstep":
            raise ValueError("execution='lockstep' has no delays to simulate: take 'auto' or 'shared'")
        replaced: dict[str, Any] = {"threads": 1, "threads_chosen": True, "backend": "threads"}
        if self._are_ranks(settings):
            sampling = "replacement" if settings.sampling is None else settings.sampling
            replaced |= {"deflation": 0, "sampling": sampling}
        return replace(settings, **replaced)

    def _are_ranks(self, settings: Settings) -> bool:
        """Whether the virtual workers stand for ranks; `settings` are those of the estimator."""
        return settings.backend != "threads" or (self.schedule is not None and self.schedule.about["source"] == "mpi")

    def plan(self, plan: Plan, settings: Settings) -> Plan:
        """The plan, without what goes against several workers; `settings` are those of the estimator."""
        workers = len(self.crew.speeds)
        if DIRECTIONS[plan.solver].recursive and workers > 1:
            raise ValueError(f"solver={plan.solver!r} takes workers=1; got {workers}: its updates need the one before")
        reasons = {"execution": f"{workers} virtual worker(s), {self.architecture}"}
        keeps_rows = self.schedule is None and self.policy != "adaptive"
        if plan.lazy_rows and not (keeps_rows and (workers == 1 or self.architecture == "shared")):
            plan = replace(plan, lazy_rows=False)
            reasons["lazy_rows"] = "simulated workers compute whole updates"
        if self._are_ranks(settings):
            plan, reasons["evaluated"] = replace(plan, evaluated=0), "as with ranks"
        return replace(plan, execution="simulated", reasons=plan.reasons | reasons)

    def described(self) -> dict[str, Any]:
        """The simulation as the trace and checkpoints keep it."""
        given = {name: each if each is None else str(each) for name, each in self.given.items()}
        slow = {str(k): speed for k, speed in enumerate(self.crew.speeds) if speed != 1}
        about: dict[str, Any] = {"architecture": self.architecture, "workers": len(self.crew.speeds), **given}
        about |= {"policy": self.policy, "max_delay": self.max_delay, "seed": self.seed, "speeds": slow}
        about |= {name: {str(k): each for k, each in getattr(self.crew, name).items()} for name in ("late", "lost")}
        return about | {"costs": _plain(self.calibrated), "replayed": self.schedule is not None}

    def execution(
        self, objective: Objective, *, batch_size: int, seed: int, max_delay: int | None, adaptive: bool, **options: Any
    ) -> SimulatedExecution:
        """Makes the execution; `training.train` calls this in the place of `ThreadedExecution`."""
        bound, policy = max_delay if self.max_delay is None else self.max_delay, self.policy
        if policy == "none" and bound is not None:  # as threads and ranks do
            policy = "drop" if self.architecture == "shared" else self.late_at_server
        if policy == "none" and adaptive:
            policy = "adaptive"
        if policy in ("wait", "drop") and bound is None:
            raise ValueError(f"policy={policy!r} needs max_delay, the largest delay of an update")
        run = {"architecture": self.architecture, "samples": objective.n, "parameters": objective.d}
        run |= {"batch_size": batch_size, "seed": seed}
        if self.schedule is not None:
            _same_run(self.schedule.about, run)
        if self.recorder is not None:
            self.recorder.describe(source="simulated", workers=len(self.crew.speeds), **run)
        return SimulatedExecution(
            objective,
            batch_size=batch_size,
            seed=seed,
            architecture=self.architecture,
            costs=costs(self.given, self.calibrated, self.architecture, objective.n / batch_size),
            crew=self.crew,
            policy=Policy(policy, bound),
            times_seed=self.seed,
            recorder=self.recorder,
            schedule=self.schedule,
            **options | {"execution": "serial"},
        )


def _plain(given: Any) -> Any:
    return json.loads(json.dumps(given)) if isinstance(given, Mapping) else None if given is None else str(given)


def _same_run(recorded: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Refuses a schedule of another problem, or with other draws."""
    if recorded.get("shards", 1) > 1:
        raise ValueError(f"the ranks of the schedule had {recorded['shards']} sets of samples; a replay has one")
    for name, value in run.items():
        if name in recorded and recorded[name] != value:
            hint = ": give the same random_state" if name == "seed" else ""
            raise ValueError(f"the schedule is of a run with {name} {recorded[name]}, this one has {value}{hint}")


def simulate(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    workers: int | None = None,
    architecture: str = "shared",
    compute: float | str | Sequence[float] | None = None,
    message: float | str | Sequence[float] | None = None,
    server: float | str | Sequence[float] | None = None,
    sweep: float | None = None,
    contention: float | None = None,
    costs: str | Path | Mapping[str, Any] | None = None,
    speeds: Sequence[float] | Mapping[int, float] | None = None,
    late: Mapping[int, float] | None = None,
    lost: Mapping[int, float] | None = None,
    policy: str = "none",
    max_delay: int | None = None,
    seed: int = 0,
    record: str | Path | None = None,
    schedule: str | Path | None = None,
    **fit: Any,
) -> Any:
    """Fits an estimator by virtual workers: what K threads or ranks would do, in one thread and in virtual time.

    The usual kernels compute each update at the older x that its worker has read. The same arguments give the same
    bits. One worker without a policy gives the bits of a fit by one thread.

    Parameters
    ----------
    estimator : AsySVRGClassifier or AsySVRGRegressor
        It is fitted. `n_jobs` and `backend` do not matter.
    X, y : as for `fit`
        The samples. Every worker draws from all of them.
    workers : int
        K. A `schedule` has it already.
    architecture : {"shared", "distributed"}, default="shared"
        Algorithm 1, or Algorithms 2 and 3.
    compute : float, str or sequence of float, default=1.0
        Seconds of an iteration on a worker: a number; "NAME:MEAN" or "NAME:MEAN:SHAPE" with NAME one of constant,
        halfnormal, exponential, lognormal and pareto; or measured seconds, which each epoch takes in order, from the
        first one on.
    message : likewise, default: 0; shared: a tenth of an iteration
        Seconds of a message between server and worker, each way. Shared: of reading x.
    server : likewise, default: 0; shared: a tenth of an iteration
        Seconds that the server takes for an update, one after the other. Shared: of writing one.
    sweep : float, optional
        Seconds of a full gradient by one worker; all workers share it. Default: as many iterations as it has
        mini-batches.
    contention : float, default=0
        With k workers everything takes 1 + contention (k - 1) times as long.
    costs : path or dict, optional
        What ``asysvrg calibrate`` measured, for those of the above that are not given.
    speeds : sequence of float, or dict from worker to float, optional
        0.1 is a worker that takes ten times as long. Default: 1.
    late, lost : dict from worker to float, optional
        The virtual second at which a worker joins, or is lost. Workers are numbered from 0.
    policy : {"none", "wait", "drop", "adaptive"}, default="none"
        "wait": no delay exceeds `max_delay` (Assumption 4), for which newer updates wait for older ones. "drop":
        updates with a larger delay are discarded (Ringmaster ASGD, 2025). "adaptive": a step whose delay is tau is
        multiplied by min(1, K / (tau + 1)) (Wu et al., ICML 2022).
    max_delay : int, optional
        Of the policies "wait" and "drop". Default: the estimator's. With "none" it is kept as real runs do: threads
        drop, ranks wait or drop (`MPI(late=...)`).
    seed : int, default=0
        It draws all virtual times.
    record : path, optional
        A file for who read what and wrote when, a line of JSON for each update.
    schedule : path, optional
        Such a file, of a simulated or a real run: who reads and writes when is taken from there.
    **fit
        Further arguments of `fit`.

    Returns
    -------
    estimator
        Fitted. In `history_`, seconds are virtual, and ``history_["config"]["simulation"]`` says what was simulated.

    Raises
    ------
    ValueError, TypeError
        For arguments that make no sense, and for what has no virtual workers: lockstep, several networks, and with
        several workers the solver "page".
    """
    for name, value, choices in (("architecture", architecture, ARCHITECTURES), ("policy", policy, POLICIES)):
        if value not in choices:
            raise ValueError(f"{name} is one of {', '.join(choices)}; got {value!r}")
    seed = kinds.integer(0, MOST_SEED).check(seed, "seed")
    max_delay = None if max_delay is None else kinds.integer(0).check(max_delay, "max_delay")
    if not hasattr(estimator, "_fit"):
        raise TypeError(f"simulate fits an AsySVRGClassifier or AsySVRGRegressor; got {type(estimator).__name__}")
    if estimator.n_models != 1:
        raise ValueError(f"simulate trains one network; got n_models={estimator.n_models!r}")
    recorded = None if schedule is None else load(schedule)
    if recorded is not None:
        architecture, workers = recorded.about["architecture"], recorded.about["workers"]
    given = {"compute": compute, "message": message, "server": server, "sweep": sweep, "contention": contention}
    recorder = None if record is None else Recorder(record)
    simulation = Simulation(
        architecture=architecture,
        crew=crew(workers, speeds, late, lost),
        given=given,
        calibrated=costs,
        policy=policy,
        max_delay=max_delay,
        late_at_server=getattr(estimator.backend, "late", "wait"),
        seed=seed,
        recorder=recorder,
        schedule=recorded,
    )
    before = getattr(estimator, "history_", None)
    try:
        estimator._fit(X, y, simulation=simulation, **fit)
    finally:
        if recorder is not None and getattr(estimator, "history_", None) is not before:
            recorder.close()
    return estimator
