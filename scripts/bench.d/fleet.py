"""Provisions a fleet of the stand-in's machines over ssh, with more and more jobs at once."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from contest import Host, run

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = ROOT / "target/release/stand-in"
JOBS = (1, 2, 4, 8, 16, 32)


def provision_fleet(host: Host, count: int) -> Iterable[tuple[int, float]]:
    """The wall time of `count` bottles for each number of jobs. Their machines are on this host, and ssh leads to it by
    an sshd of its own for the connection. All have been provisioned once before, and are provisioned again."""
    subprocess.run(["cargo", "build", "--release", "--locked", "--package", "stand-in"], cwd=ROOT, check=True)
    work = host.work / "fleet"
    work.mkdir(mode=0o700)
    environment = {**os.environ, "STAND_IN_DIR": str(work / "machines"), "STAND_IN_CAS": "5"}
    plan = json.loads(host.plan("M").read_text())
    plan["supervise_plan"] = None
    plans = []
    for number in range(count):
        name = f"fleet-{number}"
        for verb in ("create", "start"):
            subprocess.run([STAND_IN, "machine", verb, "--name", name], env=environment, check=True, capture_output=True)
        plans.append(work / f"{name}.json")
        plans[-1].write_text(json.dumps({**plan, "machine_name": name}))
    try:
        serve(work, environment["STAND_IN_DIR"])
        environment |= {
            "PATH": f"{work}:{os.environ['PATH']}",
            "XDG_RUNTIME_DIR": str(work),
            "BOTTLE_SSH_HOST": "there",
            "BOTTLE_SSH_SMOLVM": str(STAND_IN),
            "CLAUDE_BOTTLE_HOST_SKILLS_DIR": str(host.work / "skills"),
        }
        provision(plans, 4, environment)
        for jobs in JOBS:
            started = time.perf_counter()
            provision(plans, jobs, environment)
            yield jobs, time.perf_counter() - started
    finally:
        subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={work}/bottle-%C", "there"], env=environment, check=False, capture_output=True)
        for number in range(count):
            delete = [STAND_IN, "machine", "delete", "--force", "--name", f"fleet-{number}"]
            subprocess.run(delete, env=environment, check=False, capture_output=True)


def provision(plans: list[Path], jobs: int, environment: dict[str, str]) -> None:
    adapter, log = ROOT / "scripts/adapters/ssh", environment["XDG_RUNTIME_DIR"] + "/said"
    command = [ROOT / "scripts/provision", "--quiet", "--smolvm", adapter, "--file", "{}"]
    with open(log, "w") as sink, open(os.devnull, "w") as null:
        argv = ["xargs", "-P", str(jobs), "-I", "{}", *command]
        lines = "".join(f"{plan}\n" for plan in plans)
        result = subprocess.run(argv, input=lines, text=True, env=environment, stdout=null, stderr=sink, check=False)
    if result.returncode != 0:
        raise SystemExit(f"bench: the fleet: {Path(log).read_text().strip()}")


def serve(work: Path, machines: str) -> None:
    """Makes `ssh there` lead to this host."""
    for key in ("host", "key"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(work / key)])
    (work / "sshd.conf").write_text(
        f"HostKey {work}/host\nAuthorizedKeysFile {work}/key.pub\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
        f"MaxSessions 100\nSetEnv STAND_IN_DIR={machines} STAND_IN_CAS=5\n"
    )
    (work / "ssh.conf").write_text(
        f"IdentityFile {work}/key\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n"
        f"Host there\n  ProxyCommand /usr/sbin/sshd -i -f {work}/sshd.conf\n"
    )
    ssh = work / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {work}/ssh.conf "$@"\n')
    ssh.chmod(0o755)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
