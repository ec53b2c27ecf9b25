"""The floor: a plain sh script that makes the smolvm calls of the whole chain, one after another.

It makes the calls that a real run was recorded to make, except those that serve only the steps: the question for
smolvm's version, and on a bare machine the call with --user, which is refused. To trust the certificate it takes the
plain way, whatever bottle-ca does, so the floor does not get quicker when bottle-ca does.
"""

from __future__ import annotations

import re
import shlex
import statistics
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from contest import Host
from machine import CERTIFICATE, Smolvm
from measured import Comparison, TimedCall, Timeline
from report import STEPS, binary

PROVISION = str(Path(__file__).resolve().parents[1] / "provision")
TRUST = f"""set -e
chmod 644 {CERTIFICATE}
chown root:root {CERTIFICATE}
rm -f /etc/ssl/certs/claude-bottle-mitm.pem /etc/ssl/certs/ca-certificates.crt.new
update-ca-certificates
"""
# The last line of a call that -v shows, and what a call runs in the guest.
END = re.compile(r"  # .*, (\d+) ms$")
WORD = re.compile(r"^smolvm machine exec .*? -- (?:runuser -u node -- )?(?:env \S+ )?(\S+)")


def floor_calls(words: list[list[str]], smolvm: Smolvm) -> list[list[str]]:
    """The calls of the floor, made of the recorded ones."""
    calls = []
    for call in words:
        if call[0] != "machine" or (not smolvm.is_image and "--user" in call):
            continue
        if any("update-ca-certificates" in word for word in call):
            call = [*call[: call.index("--") + 1], "sh", "-c", TRUST]
        calls.append(call)
    return calls


class Floor:
    """The floor of one machine. `parts` are its scripts, one for each step."""

    def __init__(self, host: Host, smolvm: Smolvm, plan: Path, is_first: bool) -> None:
        smolvm.reset()
        if not is_first:
            host.cost([PROVISION], smolvm.environment(host.work / "skills"), plan)
        records = {step: host.record(binary(step), plan, smolvm) for step in STEPS}
        self.parts: dict[str, list[str]] = {}
        self.calls = 0
        for step, record in records.items():
            lines, calls = host.script(record, smolvm, lambda words: floor_calls(words, smolvm))
            self.parts[step] = lines
            self.calls += calls
        if shlex.quote(TRUST) not in "".join(self.parts["ca"]):
            raise SystemExit("bench: bottle-ca made no call with update-ca-certificates")
        lines = [line for part in self.parts.values() for line in part]
        self.argv = host.write("floor-first.sh" if is_first else "floor-second.sh", lines)


def compare_with_floor(host: Host, pinned: Smolvm, rounds: int) -> Iterable[Comparison | Timeline]:
    """Compares the whole chain with the floor, in an empty guest and in a provisioned one. Nothing is pinned here."""
    smolvm = replace(pinned, user="auto")
    plan = host.plan(smolvm.machine)
    for is_first in (True, False):
        floor = Floor(host, smolvm, plan, is_first)
        if is_first:
            smolvm.reset()
        record = host.record([PROVISION], plan, smolvm)
        contestants = {"provision": [PROVISION], "provision --jobs": [PROVISION, "--jobs"], "floor": floor.argv}
        title = "first run" if is_first else "second run"
        compared = host.compare(title, smolvm, plan, contestants, rounds, is_first)
        compared.calls, compared.calls_of_floor = len(list(record.glob("*.call"))), floor.calls
        yield compared
        if is_first:
            yield from timelines(host, smolvm, plan, floor, max(3, rounds // 2))


def timelines(host: Host, smolvm: Smolvm, plan: Path, floor: Floor, rounds: int) -> Iterable[Timeline]:
    """Shows where the time of a first run goes, as the medians of some rounds."""
    taken: dict[tuple[str, str], list[Timeline]] = {}
    for _ in range(rounds):
        for contestant in ("ours", "floor"):
            smolvm.reset()
            known = host.work / "known"
            known.unlink(missing_ok=True)
            for step in STEPS:
                if contestant == "ours":
                    timeline = our_step(host, smolvm, plan, step, known)
                else:
                    timeline = floor_step(host, smolvm, step, floor.parts[step])
                taken.setdefault((step, contestant), []).append(timeline)
    for (step, contestant), found in taken.items():
        calls = [
            TimedCall(same[0].name, statistics.median(call.wall for call in same))
            for same in zip(*(timeline.calls for timeline in found))
        ]
        wall = statistics.median(timeline.wall for timeline in found)
        yield Timeline(smolvm.title, step, contestant, wall, calls)


def our_step(host: Host, smolvm: Smolvm, plan: Path, step: str, known: Path) -> Timeline:
    """Runs a step as scripts/provision does. With -v it prints the time of each call."""
    argv = [*binary(step), "--known", str(known), "-v"]
    cost = host.cost(argv, smolvm.environment(host.work / "skills"), plan)
    calls, name = [], ""
    for line in (host.work / "stderr").read_text().splitlines():
        line = as_smolvm(line, smolvm)
        if line.startswith("smolvm "):
            found = WORD.match(line)
            name = found[1] if found else "cp" if " machine cp " in line else "--version"
        if end := END.search(line):
            calls.append(TimedCall(name, int(end[1]) / 1e3))
    return Timeline(smolvm.title, step, "ours", cost.wall, calls)


def floor_step(host: Host, smolvm: Smolvm, step: str, lines: list[str]) -> Timeline:
    """Runs the lines of the floor one by one. Those that do not call smolvm prepare what it copies."""
    wall, calls = 0.0, []
    for line in lines:
        taken = host.cost(["/bin/sh", "-c", line], smolvm.environment(host.work / "skills"), Path("/dev/null")).wall
        wall += taken
        if line.startswith(shlex.quote(smolvm.program)):
            found = WORD.match(as_smolvm(line, smolvm))
            calls.append(TimedCall(found[1] if found else "cp", taken))
    return Timeline(smolvm.title, step, "floor", wall, calls)


def as_smolvm(line: str, smolvm: Smolvm) -> str:
    """The line, with `smolvm` at its start instead of the path."""
    return line.replace(shlex.quote(smolvm.program), "smolvm", 1)
