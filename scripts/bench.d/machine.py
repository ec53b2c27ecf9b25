"""A smolvm, real or not, and how to take out of its guest what the steps have installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# The machine in plans whose calls are not carried out.
NO_MACHINE = "bench"
CERTIFICATE = "/usr/local/share/ca-certificates/claude-bottle-mitm.crt"
# The bundle without our certificate, kept in the guest. Copying it back takes milliseconds, and
# another update-ca-certificates would take a second.
SAVED = "/var/tmp/bottle-bench.crt"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
EMPTY = """set -eu
rm -rf /var/lib/bottle /run/claude-bottle*
cd /home/node
rm -rf .claude .claude.json* .claude-bottle-prompt.txt* .gitconfig* workspace
"""
PREPARE = f"{EMPTY}rm -f {CERTIFICATE}\nupdate-ca-certificates --fresh >/dev/null 2>&1\ncp -p {BUNDLE} {SAVED}\n"
RESET = f"""{EMPTY}rm -f {CERTIFICATE}
find /etc/ssl/certs -lname '*claude-bottle-mitm*' -delete
cp -p {SAVED} {BUNDLE}
"""


@dataclass(frozen=True)
class Smolvm:
    """A smolvm, with the name of its machine and the user that runs guest commands."""

    title: str
    program: str
    machine: str
    user: str
    is_image: bool = False

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

    def prepare(self) -> None:
        """Makes `reset` possible."""
        self.run(PREPARE)

    def reset(self) -> None:
        """Takes everything that the steps install out of the guest."""
        if self.is_real:
            self.run(RESET)

    def leave(self) -> None:
        self.run(f"{RESET}rm -f {SAVED}\n")

    def run(self, script: str) -> None:
        user = ["--user", "root"] if self.is_image else []
        argv = [self.program, "machine", "exec", "--name", self.machine, *user, "--", "sh", "-c", script]
        subprocess.run(argv, check=True)


def real_smolvm(machine: str) -> Smolvm:
    program = shutil.which(os.environ.get("CLAUDE_BOTTLE_SMOLVM", "smolvm"))
    if program is None:
        raise SystemExit("bench: smolvm was not found on PATH")
    asked = [program, "machine", "exec", "--name", machine]
    if subprocess.run([*asked, "--", "true"], check=False, capture_output=True).returncode != 0:
        raise SystemExit(f"bench: {machine}: not a running machine")
    takes_root = [*asked, "--user", "root", "--", "true"]
    is_image = subprocess.run(takes_root, check=False, capture_output=True).returncode == 0
    version = subprocess.run([program, "--version"], check=False, capture_output=True, text=True).stdout.strip()
    kind = "an image machine" if is_image else "a bare machine"
    return Smolvm(f"{version}, {kind}", program, machine, "root" if is_image else "none", is_image)
