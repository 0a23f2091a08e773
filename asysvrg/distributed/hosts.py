"""An emulated cluster: each machine is a network namespace with a CPU quota on this machine; as root, on Linux.

`Cluster(n)` makes the hosts asv0 ... asv(n-1) with the addresses 10.99.0.1 ... on a bridge, which is in a namespace of
its own, so that nothing outside changes. `python -I -S hosts.py HOST COMMAND...` runs a command on a host. mpiexec
takes the program that `Cluster.agent` writes for ssh.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PREFIX, SWITCH = "asv", "asvsw"
PERIOD = 20_000  # microseconds of a CPU quota; its least share is a millisecond
QUOTA = Path("/sys/fs/cgroup/cpu")  # version 1
UNIFIED = Path("/sys/fs/cgroup")  # version 2
NAMESPACES = Path("/proc/self/ns/net")  # of Linux alone
LOCK = Path(tempfile.gettempdir(), "asysvrg-cluster.lock")  # the names of hosts are the same for every cluster
TOOLS = ("ip", "tc", "nsenter", "unshare")


class Way(NamedTuple):
    """How mpiexec gets to the hosts: their names, arguments of mpiexec, and variables of its environment."""

    hosts: str
    extra: list[str]
    variables: dict[str, str]


def address(host: int) -> str:
    return f"10.99.0.{host + 1}"


def sh(command: str) -> str:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{command}: {done.stderr.strip()}")
    return done.stdout


def quota_group() -> tuple[Path, str] | None:
    """The folder of CPU quotas and the version of cgroups; None without."""
    controllers = UNIFIED / "cgroup.controllers"
    if controllers.exists() and "cpu" in controllers.read_text().split():
        return UNIFIED / PREFIX, "v2"
    return (QUOTA / PREFIX, "v1") if QUOTA.is_dir() else None


def why_not() -> str:
    """What this machine lacks for a cluster; empty if nothing. It makes one host and removes it."""
    if not NAMESPACES.exists():
        return "only Linux has network namespaces"
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        return f"{', '.join(missing)} not found (packages iproute2, util-linux)"
    if quota_group() is None:
        return "there are no CPU quotas (cgroups)"
    try:
        with Cluster(1) as cluster:
            cluster.limit(1.0)
    except OSError as error:
        return str(error)
    return ""


class Cluster:
    """So many hosts; as a context, gone at its end, with all that runs on them.

    Parameters
    ----------
    n : int
    rate : str, optional
        Of each link, each way, as "700mbit"; no limit without.
    share : float
        Of a core, that each host has under `run`.

    Raises
    ------
    OSError
        If hosts cannot be made, or another process has some.
    """

    def __init__(self, n: int, rate: str | None = None, share: float = 1.0):
        self.n, self.rate, self.share = n, rate, share

    def __enter__(self) -> Cluster:
        self._lock()
        self.remove()
        try:
            sh(f"ip netns add {SWITCH}")
            sh(f"ip -n {SWITCH} link add br0 type bridge")
            sh(f"ip -n {SWITCH} link set br0 up")
            for host in range(self.n):
                self._add(host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()
        self.lock.close()

    def _lock(self) -> None:
        import fcntl  # not on Windows

        self.lock = LOCK.open("w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.lock.close()
            raise OSError("another process has an emulated cluster") from None

    def _add(self, host: int) -> None:
        name = f"{PREFIX}{host}"
        sh(f"ip netns add {name}")
        sh(f"ip link add eth0 netns {name} type veth peer name p{host} netns {SWITCH}")
        sh(f"ip -n {SWITCH} link set p{host} master br0 up")
        sh(f"ip -n {name} addr add {address(host)}/24 dev eth0")
        sh(f"ip -n {name} link set eth0 up")
        sh(f"ip -n {name} link set lo up")
        if self.rate:
            for end in (f"-n {name} qdisc add dev eth0", f"-n {SWITCH} qdisc add dev p{host}"):
                sh(f"tc {end} root tbf rate {self.rate} burst 64kb latency 100ms")
        group, _ = quota_group() or (None, "")
        if group is not None:
            (group / name).mkdir(parents=True, exist_ok=True)

    def limit(self, share: float) -> None:
        """From now on, each host may use so much of a core."""
        group, kind = quota_group() or (None, "")
        quota = max(int(PERIOD * share), 1000)
        if group is None:
            return
        # The hosts get it where other programs are busy, too.
        if kind == "v2":
            for folder in (group.parent, group):
                (folder / "cgroup.subtree_control").write_text("+cpu")
            (group / "cpu.weight").write_text("10000")
        else:
            (group / "cpu.shares").write_text("100000")
        for folder in group.glob(f"{PREFIX}*"):
            if kind == "v2":
                (folder / "cpu.max").write_text(f"{quota} {PERIOD}")
            else:
                (folder / "cpu.cfs_period_us").write_text(str(PERIOD))
                (folder / "cpu.cfs_quota_us").write_text(str(quota))

    def kill(self, host: int) -> None:
        """Everything that runs on a host."""
        kill(f"{PREFIX}{host}")

    def remove(self) -> None:
        names = [line.split()[0] for line in sh("ip netns list").splitlines() if line.startswith(PREFIX)]
        for name in names:
            kill(name)
        time.sleep(0.2 if names else 0)
        for name in names:
            sh(f"ip netns del {name}")
        group, _ = quota_group() or (None, "")
        if group is not None and group.is_dir():
            for folder in (*sorted(group.glob(f"{PREFIX}*")), group):
                folder.rmdir()

    def command(self, host: int, *command: str) -> list[str]:
        """What runs a command on a host."""
        return [sys.executable, "-I", "-S", __file__, f"{PREFIX}{host}", *command]

    def run(
        self, command: Sequence[str], began: Callable[[], bool], environment: Mapping[str, str], seconds: float | None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on the first host. Each host has a whole core until `began` returns true, then its share.

        Raises
        ------
        subprocess.TimeoutExpired
            After so many seconds. At the end, nothing runs on the hosts any more.
        """
        self.limit(1.0)  # while programs start
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(
                self.command(0, *command), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=said,
            )  # fmt: skip
            try:
                while process.poll() is None and not began():
                    time.sleep(0.05)
                self.limit(self.share)
                code = process.wait(seconds)
            finally:
                for host in range(self.n):
                    self.kill(host)
                process.wait()
            said.seek(0)
            return subprocess.CompletedProcess(command, code, "", said.read())

    def way(self, kind: str, folder: Path, ranks: int) -> Way:
        """To the first so many hosts, by the kind of MPI; `folder` is for a file."""
        agent = self.agent(folder)
        if kind == "MPICH":
            where = ",".join(address(host) for host in range(ranks))
            extra = f"-launcher ssh -launcher-exec {agent} -localhost {address(0)} -ppn 1"
            return Way(where, extra.split(), {"FI_PROVIDER": "tcp", "MPIR_CVAR_CH4_NETMOD": "ofi"})
        network = f"{address(0).rpartition('.')[0]}.0/24"
        extra = f"--prtemca plm_ssh_agent {agent} --prtemca oob_tcp_if_include {network}"
        extra += f" --mca btl_tcp_if_include {network} --mca mpi_yield_when_idle 1"
        return Way(",".join(f"{PREFIX}{host}:1" for host in range(ranks)), extra.split(), {})

    def agent(self, folder: Path) -> Path:
        """A program that takes the place of ssh: it gives all words behind the host's name to a shell there."""
        path = folder / "agent"
        enter = f"exec {sys.executable} -I -S {Path(__file__).resolve()}"
        path.write_text(
            f"""#!/bin/sh\nwhile [ "${{1#-}}" != "$1" ]; do shift; done\nhost=$1; shift\n{enter} "$host" sh -c "$*"\n"""
        )
        path.chmod(0o755)
        return path


def kill(name: str) -> None:
    for process in sh(f"ip netns pids {name}").split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)


def enter(host: str, command: list[str]) -> None:
    """Becomes a command on a host."""
    if host.startswith("10.99.0."):
        host = f"{PREFIX}{int(host.rpartition('.')[2]) - 1}"
    group, _ = quota_group() or (None, "")
    if group is not None:
        (group / host / "cgroup.procs").write_text(str(os.getpid()))
    # Not "ip netns exec": that mounts another /sys, without cgroups.
    shell = f'hostname {host}; exec "$@"'
    os.execvp("nsenter", ["nsenter", f"--net=/run/netns/{host}", "unshare", "--uts", "sh", "-c", shell, "sh", *command])


if __name__ == "__main__":
    enter(sys.argv[1], sys.argv[2:])
