"""The five steps as plainly as Python has them, to be measured beside ours: the same calls, little of the care.

Usage: python3 provision.py STEP... < plan.json > provisioned.json
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

HOME = "/home/node"
CERTIFICATE = "/usr/local/share/ca-certificates/claude-bottle-mitm.crt"
TRUST = (
    'set -eu; exec 9>/run/claude-bottle-ca.lock; flock 9; chmod 644 "$1"; chown root:root "$1"; '
    "rm -f /etc/ssl/certs/claude-bottle-mitm.pem /etc/ssl/certs/ca-certificates.crt.new; "
    "update-ca-certificates; test -e /etc/ssl/certs/claude-bottle-mitm.pem"
)
UNPACK = (
    'set -eu; tar=$1/.$2.bottle.tar new=$1/.$2.bottle; rm -rf "$new"; mkdir -m 700 "$new"; '
    'tar -xpf "$tar" --no-same-owner -C "$new"; rm -rf "${1:?}/$2"; mv -T "$new/root" "$1/$2"; rm -rf "$new"; '
    'dir=$1; while case $dir in "$3"/?*) :;; *) false;; esac; do chown -h node:node "$dir"; dir=${dir%/*}; done; '
    'rm -f "$tar"'
)


class Bottle:
    """A plan, and the smolvm calls for its machine."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.spec = plan["spec"]
        manifest = self.spec["manifest"]
        self.agent = manifest["agents"][self.spec["agent_name"]]
        self.git = manifest["bottles"][self.agent["bottle"]].get("git", {})
        self.smolvm = os.environ["CLAUDE_BOTTLE_SMOLVM"]
        user = os.environ["CLAUDE_BOTTLE_EXEC_USER"]
        self.user = [] if user == "none" else ["--user", user]

    def call(self, *words: str) -> str:
        done = subprocess.run([self.smolvm, "machine", *words], capture_output=True, text=True, check=True)
        return done.stdout

    def exec(self, *argv: str, env: tuple[str, ...] = ()) -> str:
        variables = [word for variable in env for word in ("-e", variable)]
        return self.call("exec", "--name", self.plan["machine_name"], *self.user, *variables, "--", *argv)

    def copy(self, source: str, target: str) -> None:
        self.call("cp", source, f"{self.plan['machine_name']}:{target}")

    def copy_directory(self, source: Path, parent: str, name: str) -> str:
        with tempfile.NamedTemporaryFile(dir=self.plan["stage_dir"]) as file:
            with tarfile.open(file.name, "w") as tar:
                tar.add(source.resolve(), "root")
            self.copy(file.name, f"{parent}/.{name}.bottle.tar")
            self.exec("sh", "-c", UNPACK, "sh", parent, name, HOME)
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()


def ca(bottle: Bottle) -> dict[str, Any]:
    if bottle.plan["egress_plan"]["routes"]:
        source = bottle.plan["egress_plan"]["mitmproxy_ca_cert_only_host_path"]
    else:
        source = bottle.plan["proxy_plan"]["ca_cert_host_path"]
    certificate = ssl.PEM_cert_to_DER_cert(Path(source).read_text())
    bottle.copy(source, CERTIFICATE)
    if " added" not in bottle.exec("sh", "-c", TRUST, "sh", CERTIFICATE):
        raise SystemExit("ca: not added")
    return {"fingerprint": hashlib.sha256(certificate).hexdigest()}


def prompt(bottle: Bottle) -> dict[str, Any]:
    source, target = bottle.plan["prompt_file"], f"{HOME}/.claude-bottle-prompt.txt"
    bottle.copy(source, target)
    bottle.exec("chown", "node:node", target)
    bottle.exec("chmod", "600", target)
    return {"prompt_path": target, "sha256": hashlib.sha256(Path(source).read_bytes()).hexdigest()}


def skills(bottle: Bottle) -> dict[str, Any]:
    parent, digests = f"{HOME}/.claude/skills", {}
    if bottle.agent["skills"]:
        bottle.exec("mkdir", "-p", parent)
    for name in bottle.agent["skills"]:
        bottle.exec("rm", "-rf", f"{parent}/{name}")
        source = Path(os.environ["CLAUDE_BOTTLE_HOST_SKILLS_DIR"], name)
        digests[name] = bottle.copy_directory(source, parent, name)
        bottle.exec("chown", "-R", "node:node", f"{parent}/{name}")
    return {"skills": digests}


def git(bottle: Bottle) -> dict[str, Any]:
    receipt: dict[str, Any] = {}
    repository, workspace = Path(bottle.spec["user_cwd"], ".git"), f"{HOME}/workspace"
    if bottle.spec["copy_cwd"] and repository.is_dir():
        bottle.exec("mkdir", "-p", workspace)
        receipt["repository"] = bottle.copy_directory(repository, workspace, ".git")
        bottle.exec("chown", "-R", "node:node", f"{workspace}/.git")
    if remotes := bottle.git.get("remotes"):
        with tempfile.NamedTemporaryFile("w", dir=bottle.plan["stage_dir"]) as file:
            for remote in remotes.values():
                file.write(f'[url "git://{bottle.plan["agent_git_gate_host"]}/{remote["Name"]}.git"]\n')
                file.write(f"\tinsteadOf = {remote['Upstream']}\n")
            file.flush()
            bottle.copy(file.name, f"{HOME}/.gitconfig")
        bottle.exec("sh", "-c", 'chown -h node:node "$1"; rm -f "$1.lock"', "sh", f"{HOME}/.gitconfig")
    for key, value in bottle.git.get("user", {}).items():
        argv = ["runuser", "-u", "node", "--", "git", "config", "--global", f"user.{key}", value]
        bottle.exec(*argv, env=(f"HOME={HOME}", "USER=node"))
    return receipt


def supervise(bottle: Bottle) -> dict[str, Any]:
    url = bottle.plan["agent_supervise_url"]
    add = ["claude", "mcp", "add", "--scope", "user", "--transport", "http", "supervise", url]
    try:
        bottle.exec("runuser", "-u", "node", "--", "env", f"HOME={HOME}", *add)
    except subprocess.CalledProcessError as error:
        return {"status": "failed", "why": str(error)}
    return {"status": "done", "url": url}


STEPS = {"ca": ca, "prompt": prompt, "skills": skills, "git": git, "supervise": supervise}


def main() -> None:
    plan = json.load(sys.stdin)
    bottle = Bottle(plan)
    for step in sys.argv[1:]:
        plan.setdefault("receipts", {})[step] = STEPS[step](bottle)
    json.dump(plan, sys.stdout)


if __name__ == "__main__":
    main()
