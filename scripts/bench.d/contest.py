"""Runs contestants in turns and measures what each costs. Makes the files and the plans that they work on."""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PARTS = Path(__file__).resolve().parent
FREE = "calls that cost nothing"
MIB = 1 << 20
# The machine in plans whose calls are not carried out.
NO_MACHINE = "bench"
# Removes what a step leaves in the guest and what would make the next run a different one.
RESET = "rm -rf /home/node/.claude.json /home/node/workspace /home/node/.claude/skills"


@dataclass(frozen=True)
class Cost:
    """The cost of one run, in seconds."""

    wall: float
    cpu: float


Costs = list[Cost]


@dataclass
class Comparison:
    """The costs of contestants that took turns. The first one is compared with each of the others."""

    title: str
    smolvm: str
    costs: dict[str, Costs]
    calls: int | None = None
    peak_kib: int | None = None

    def wall(self, name: str) -> list[float]:
        return [cost.wall for cost in self.costs[name]]

    def cpu(self, name: str) -> float:
        return statistics.median(cost.cpu for cost in self.costs[name])

    def ratios(self, name: str, other: str) -> list[float]:
        """The ratio of each round. What slows the machine down in a round slows down both."""
        return [ours / theirs for ours, theirs in zip(self.wall(name), self.wall(other))]

    def ratio(self, name: str, other: str) -> float:
        return statistics.median(self.ratios(name, other))

    def cpu_ratio(self, name: str, other: str) -> float:
        costs = zip(self.costs[name], self.costs[other])
        return statistics.median(ours.cpu / theirs.cpu for ours, theirs in costs)


@dataclass(frozen=True)
class Smolvm:
    """A smolvm, with the name of its machine and the user that runs guest commands."""

    title: str
    program: str
    machine: str
    user: str

    @property
    def is_real(self) -> bool:
        return self.machine != NO_MACHINE

    def environment(self, skills: Path, **more: str) -> dict[str, str]:
        ours = {
            "CLAUDE_BOTTLE_SMOLVM": self.program,
            "CLAUDE_BOTTLE_EXEC_USER": self.user,
            "CLAUDE_BOTTLE_HOST_SKILLS_DIR": str(skills),
        }
        return {**os.environ, **ours, **more}

    def reset(self) -> None:
        if self.is_real:
            user = [] if self.user == "none" else ["--user", self.user]
            argv = [self.program, "machine", "exec", "--name", self.machine, *user, "--", "sh", "-c", RESET]
            subprocess.run(argv, check=True)


class Host:
    """The host files that the plans name, and the measurements with them."""

    def __init__(self, work: Path, seconds: float) -> None:
        self.work, self.seconds = work, seconds
        (work / "stage").mkdir()
        (work / "prompt.txt").write_text("You are a helpful assistant.\n" * 40)
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=Example CA",
             "-keyout", str(work / "ca.key"), "-out", str(work / "ca.pem")])  # fmt: skip

    def skills(self, count: int) -> list[str]:
        names = [f"skill-{number}" for number in range(count)]
        for name in names:
            directory = self.work / "skills" / name / "scripts"
            directory.mkdir(parents=True, exist_ok=True)
            (directory.parent / "SKILL.md").write_text(f"---\nname: {name}\ndescription: An example.\n---\n" + "Do this, then that.\n" * 200)
            (directory / "run.sh").write_text("#!/bin/sh\necho done\n")
        return names

    def project(self, mib: int) -> Path:
        """A repository whose .git has this size, in files that do not compress."""
        project = self.work / f"project-{mib}"
        if not project.exists():
            run(["git", "init", "-q", str(project)])
            pack = project / ".git/objects/pack"
            for number in range(mib):
                (pack / f"pack-{number:040x}.pack").write_bytes(os.urandom(MIB))
        return project

    def plan(self, machine: str, skills: int = 3, mib: int = 1) -> Path:
        names, project = self.skills(skills), self.project(mib)
        git = {
            "remotes": {"forge": {"Name": "example", "Upstream": "ssh://git@forge.example/team/example.git"}},
            "user": {"name": "Ada Lovelace", "email": "ada@example.com"},
        }
        manifest = {
            "bottles": {"dev": {"git": git}},
            "agents": {"demo": {"bottle": "dev", "skills": names, "prompt": "You are a helpful assistant."}},
        }
        plan = {
            "version": 1,
            "spec": {"manifest": manifest, "agent_name": "demo", "copy_cwd": True, "user_cwd": str(project)},
            "stage_dir": str(self.work / "stage"),
            "machine_name": machine,
            "prompt_file": str(self.work / "prompt.txt"),
            "proxy_plan": {"ca_cert_host_path": str(self.work / "ca.pem")},
            "egress_plan": {"routes": []},
            "supervise_plan": {},
            "agent_git_gate_host": "127.0.0.1:9418",
            "agent_supervise_url": "http://127.0.0.1:9100/",
        }
        file = self.work / f"plan-{machine}-{skills}-{mib}.json"
        file.write_text(json.dumps(plan))
        return file

    def cost(self, argv: list[str], environment: dict[str, str], stdin: Path) -> Cost:
        stderr = self.work / "stderr"
        with stdin.open() as source, stderr.open("w") as sink, open(os.devnull, "w") as null:
            actions = [(os.POSIX_SPAWN_DUP2, file.fileno(), number) for number, file in enumerate((source, null, sink))]
            started = time.perf_counter()
            child = os.posix_spawn(argv[0], argv, environment, file_actions=actions)
            _, status, usage = os.wait4(child, 0)
            wall = time.perf_counter() - started
        if status != 0:
            raise SystemExit(f"bench: {shlex.join(argv)}: {stderr.read_text().strip()}")
        return Cost(wall, usage.ru_utime + usage.ru_stime)

    def compare(
        self, title: str, smolvm: Smolvm, stdin: Path, contestants: dict[str, list[str]], rounds: int = 5
    ) -> Comparison:
        """Runs all contestants in each round, until the time is up, but at least `rounds` times. The order rotates."""
        print(f"{smolvm.title}: {title}", file=sys.stderr)
        environment = smolvm.environment(self.work / "skills")
        costs: dict[str, Costs] = {name: [] for name in contestants}
        names = list(contestants)
        end = time.monotonic() + self.seconds
        while len(costs[names[0]]) < rounds or time.monotonic() < end:
            for name in names:
                smolvm.reset()
                costs[name].append(self.cost(contestants[name], environment, stdin))
            names.append(names.pop(0))
        return Comparison(title, smolvm.title, costs)

    def peak(self, argv: list[str], smolvm: Smolvm, stdin: Path) -> int | None:
        """The peak resident memory in KiB, read from /proc, or None where there is no /proc. wait4(2) does not tell it:
        its value for a child starts with our own memory at the time of the fork."""
        if not Path("/proc/self/status").exists():
            return None
        smolvm.reset()
        full, sink = os.pipe()
        os.set_blocking(sink, False)
        try:
            while os.write(sink, bytes(4096)):
                pass
        except BlockingIOError:
            os.set_blocking(sink, True)
        environment = smolvm.environment(self.work / "skills")
        with stdin.open() as source, open(os.devnull, "w") as null:
            child = subprocess.Popen(argv, env=environment, stdin=source, stdout=sink, stderr=null)
        os.close(sink)
        # Its stdout is a full pipe, so its last write blocks until we drain the pipe. Until then /proc can be read.
        peak, looks = 0, 0
        while child.poll() is None:
            status = Path(f"/proc/{child.pid}/status").read_text()
            lines = (line.split() for line in status.splitlines() if line.startswith("VmHWM:"))
            peak = max([peak, *(int(words[1]) for words in lines)])
            time.sleep(0.005)
            looks += 1
            if looks == 40:
                os.set_blocking(full, False)
            if looks >= 40:
                drain(full)
        os.close(full)
        return peak

    def record(self, argv: list[str], stdin: Path) -> Path:
        """A directory with the calls that a program makes, as recording-smolvm writes them."""
        record = Path(tempfile.mkdtemp(prefix="record-", dir=self.work))
        recorder = Smolvm("", str(PARTS / "recording-smolvm"), "", "none")
        self.cost(argv, recorder.environment(self.work / "skills", RECORD=str(record)), stdin)
        return record

    def script(self, record: Path, smolvm: Smolvm) -> tuple[str, int]:
        """A sh script that makes the recorded calls, and their number. The script makes the staged files itself."""
        lines, made = [], []
        calls = sorted(record.glob("*.call"), key=lambda call: int(call.stem))
        for call in calls:
            words = call.read_text().split("\0")[:-1]
            if words[1:2] == ["cp"] and words[-2].startswith(f"{self.work}/stage/"):
                copied = call.with_suffix(".file")
                made.append(f"{self.work}/stage/sh-{call.stem}")
                if tarfile.is_tarfile(copied):
                    tree = call.with_suffix(".tree")
                    tree.mkdir(exist_ok=True)
                    run(["tar", "-xf", str(copied), "-C", str(tree)])
                    copied.unlink()
                    contents = sorted(path.name for path in tree.iterdir())
                    lines.append(shlex.join(["tar", "-cf", made[-1], "-C", str(tree), *contents]))
                else:
                    lines.append(f"printf %s {shlex.quote(copied.read_text())} >{made[-1]}")
                words[-2] = made[-1]
            elif words[1:2] == ["exec"] and smolvm.user != "none":
                words[4:4] = ["--user", smolvm.user]
            # The supervisor is optional: its step succeeds even if claude fails.
            may_fail = " || :" if "claude" in words else ""
            lines.append(shlex.join([smolvm.program, *words]) + may_fail)
        if made:
            lines.append(shlex.join(["rm", "-f", *made]))
        return "\n".join(lines) + "\n", len(calls)

    def write(self, name: str, script: str) -> list[str]:
        file = self.work / name
        file.write_text(f"set -eu\n{script}")
        return ["/bin/sh", str(file)]


def drain(pipe: int) -> None:
    try:
        while os.read(pipe, 1 << 16):
            pass
    except BlockingIOError:
        pass


def run(argv: list[str]) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
