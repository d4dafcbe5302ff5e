"""A Slurm of one node with one stand-in GPU: the real daemons, and nothing of them stays behind.

They live in mount and process namespaces of their own, with an own /etc/slurm and /run. The first
process in there waits for the end of its input, which comes with the end of the tests however
these end; then the kernel ends all others and undoes the mounts.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "unshare", "nsenter")

# Each of the three returns when its daemon runs.
START = """
mount --bind "$1/etc" /etc/slurm
mount --bind "$1/run" /run
munged --key-file=/run/munge/key --seed-file=/run/munge/seed --log-file=/run/munge/log
slurmctld
slurmd
read -r end || true
"""

# /dev/null stands in for the GPU's device file. Job states need no accounting, as jobs that ended
# are listed for longer (MinJobAge, in seconds) than any test runs.
SLURM_CONF = """
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
SlurmctldPidFile=/run/slurmctld.pid
SlurmctldLogFile=/run/slurmctld.log
StateSaveLocation=/run/state
SlurmdPidFile=/run/slurmd.pid
SlurmdLogFile=/run/slurmd.log
SlurmdSpoolDir=/run/spool
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerParameters=bf_interval=2,sched_interval=10
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=36000
KillWait=5
GresTypes=gpu
NodeName={node} NodeAddr=127.0.0.1 CPUs=4 RealMemory=32000 Gres=gpu:1
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE
"""
FIELDS = "JobID:|,Comment:|,State:|,tres-per-job:|"
GRES_CONF = "NodeName={node} Name=gpu Count=1 File=/dev/null\n"


def problem() -> str | None:
    """Return why no Slurm can be started here, or nothing."""
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        return f"no Slurm to test with: {', '.join(missing)} not found"
    if os.geteuid() != 0:
        return "no Slurm to test with: its daemons need root"
    allowed = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, check=False)
    if allowed.returncode != 0:
        return f"no Slurm to test with: {allowed.stderr.strip()}"
    return None


@dataclass(frozen=True)
class Job:
    """What Slurm knows of a job: its number, the plugin's comment, its state and its GPUs."""

    number: str
    comment: str
    state: str
    gpus: str


class Slurm:
    """A running Slurm."""

    def __init__(self, pid: int):
        self._inside = [
            *("nsenter", f"--target={pid}", "--mount"),
            *(f"--pid=/proc/{pid}/ns/pid_for_children", "env"),
        ]

    def start(self, *command: str, folder: Path, log: Path) -> subprocess.Popen:
        """Start a command in ``folder`` from which Slurm is reached."""
        with log.open("w") as output:
            return subprocess.Popen(
                [*self._inside, f"--chdir={folder}", "OMP_NUM_THREADS=1", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def run(self, *command: str) -> str:
        """Return the output of one of Slurm's commands."""
        done = subprocess.run(
            [*self._inside, *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def jobs(self) -> list[Job]:
        """Return every job so far, in the order of submission."""
        lines = self.run("squeue", "--noheader", "--states=all", "--sort=i", "-O", FIELDS)
        return [Job(*line.split("|")[:4]) for line in lines.splitlines()]

    def cancel(self, job: Job) -> None:
        """Cancel a job, which is told to end before it is killed, as at its time limit."""
        self.run("scancel", job.number)

    def kill(self, job: Job) -> None:
        """Kill the processes of a job's step outright, as when memory runs out."""
        rows = [line.split() for line in self.run("scontrol", "listpids", job.number).splitlines()]
        processes = [row[0] for row in rows[1:] if row[2] != "batch"]
        self.run("sh", "-c", 'kill -9 "$@"', "sh", *processes)


@contextmanager
def running(folder: Path) -> Iterator[Slurm]:
    """Run a Slurm whose files lie in ``folder``."""
    for name in ("etc", "run/munge", "run/state", "run/spool"):
        (folder / name).mkdir(parents=True)
    key = folder / "run/munge/key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    node = socket.gethostname().split(".")[0]
    (folder / "etc/slurm.conf").write_text(SLURM_CONF.format(node=node, ports=_free_ports(2)))
    (folder / "etc/gres.conf").write_text(GRES_CONF.format(node=node))

    with (folder / "start.log").open("w") as log:
        first = subprocess.Popen(
            [*NAMESPACES, "sh", "-ec", START, "sh", str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    try:
        slurm = Slurm(first.pid)
        ready = folder / "run/slurmd.pid"
        wait_until(lambda: ready.exists() or first.poll() is not None, 30, "slurmd")
        assert first.poll() is None, (folder / "start.log").read_text()
        wait_until(lambda: slurm.run("sinfo", "-h", "-o", "%T").strip() == "idle", 30, "the node")
        yield slurm
    finally:
        first.stdin.close()
        try:
            first.wait(10)
        except subprocess.TimeoutExpired:
            first.kill()
            first.wait()


def wait_until(condition: Callable[[], Result], seconds: float, what: str) -> Result:
    """Return what a condition returns once it holds; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.1)
    return result


def _free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
