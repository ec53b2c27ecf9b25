"""Runs contestants in turns and measures what each costs. Makes the files and the plans that they work on."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from machine import Smolvm
from measured import Comparison, Cost, Costs

PARTS = Path(__file__).resolve().parent
MIB = 1 << 20
Words = list[list[str]]


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

    def work_tree(self, files: int) -> Path:
        """A repository with this many files of up to 80 KB, all of them tracked."""
        project = self.work / f"work-tree-{files}"
        if not project.exists():
            content = os.urandom(80_000)
            for number in range(files):
                file = project / f"d{number // 1000}/e{number // 100}/f{number}"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"%d\n" % number + content[: number * 7919 % 80_000])
            run(["git", "init", "-q", str(project)])
            run(["git", "-C", str(project), "add", "."])
        return project

    def plan(self, machine: str, skills: int = 3, mib: int = 1, files: int = 0) -> Path:
        names, project = self.skills(skills), self.work_tree(files) if files else self.project(mib)
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
            "spec": {"manifest": manifest, "agent_name": "demo", "copy_cwd": True, "user_cwd": str(project),
                     "copy_worktree": bool(files)},
            "stage_dir": str(self.work / "stage"),
            "machine_name": machine,
            "prompt_file": str(self.work / "prompt.txt"),
            "proxy_plan": {"ca_cert_host_path": str(self.work / "ca.pem")},
            "egress_plan": {"routes": []},
            "supervise_plan": {},
            "agent_git_gate_host": "127.0.0.1:9418",
            "agent_supervise_url": "http://127.0.0.1:9100/",
        }
        file = self.work / f"plan-{machine}-{skills}-{mib}-{files}.json"
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
        self,
        title: str,
        smolvm: Smolvm,
        stdin: Path,
        contestants: dict[str, list[str]],
        rounds: int = 5,
        is_reset: bool = True,
    ) -> Comparison:
        """Runs all contestants in each round, until the time is up, but at least `rounds` times. The order rotates.
        Before each run the guest is reset, if `is_reset`."""
        print(f"{smolvm.title}: {title}", file=sys.stderr)
        environment = smolvm.environment(self.work / "skills")
        costs: dict[str, Costs] = {name: [] for name in contestants}
        names = list(contestants)
        end = time.monotonic() + self.seconds
        while len(costs[names[0]]) < rounds or time.monotonic() < end:
            for name in names:
                if is_reset:
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

    def record(self, argv: list[str], stdin: Path, real: Smolvm | None = None) -> Path:
        """A directory with the calls that a program makes, as recording-smolvm writes them. If there is a real smolvm,
        it carries them out."""
        record = Path(tempfile.mkdtemp(prefix="record-", dir=self.work))
        more = {"RECORD": str(record), "REAL": real.program if real else ""}
        recorder = replace(real or Smolvm("", "", "", "none"), program=str(PARTS / "recording-smolvm"))
        self.cost(argv, recorder.environment(self.work / "skills", **more), stdin)
        return record

    def script(
        self, record: Path, smolvm: Smolvm, choose: Callable[[Words], Words] = list
    ) -> tuple[list[str], int]:
        """The lines of a sh script that makes the recorded calls that `choose` returns, and the number of these calls.
        The script makes the staged files itself."""
        lines, made = [], []
        files = sorted(record.glob("*.call"), key=lambda call: int(call.stem))
        calls = choose([file.read_text().split("\0")[:-1] for file in files])
        copies = iter([copied for copied in (file.with_suffix(".file") for file in files) if copied.exists()])
        for words in calls:
            copied = next(copies) if words[1:2] == ["cp"] else None
            if copied and words[-2].startswith(f"{self.work}/stage/"):
                made.append(f"{self.work}/stage/sh-{record.name}-{copied.stem}")
                lines.append(self.make(copied, made[-1]))
                words[-2] = made[-1]
            elif words[1:2] == ["exec"] and smolvm.user not in ("none", "auto"):
                words[4:4] = ["--user", smolvm.user]
            # The supervisor is optional: its step succeeds even if claude fails.
            may_fail = " || :" if "claude" in words else ""
            lines.append(shlex.join([smolvm.program, *words]) + may_fail)
        if made:
            lines.append(shlex.join(["rm", "-f", *made]))
        return lines, len(calls)

    def make(self, copied: Path, staged: str) -> str:
        """The line that makes a staged file with the same content as the recorded one."""
        if not tarfile.is_tarfile(copied):
            return f"printf %s {shlex.quote(copied.read_text())} >{staged}"
        tree = copied.with_suffix(".tree")
        tree.mkdir(exist_ok=True)
        run(["tar", "-xf", str(copied), "-C", str(tree)])
        copied.unlink()
        return shlex.join(["tar", "-cf", staged, "-C", str(tree), *sorted(path.name for path in tree.iterdir())])

    def write(self, name: str, lines: list[str]) -> list[str]:
        file = self.work / name
        file.write_text("\n".join(["set -eu", *lines, ""]))
        return ["/bin/sh", str(file)]


def drain(pipe: int) -> None:
    try:
        while os.read(pipe, 1 << 16):
            pass
    except BlockingIOError:
        pass


def run(argv: list[str]) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
