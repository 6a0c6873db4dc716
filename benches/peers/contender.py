"""Processes that answer commands, one line each; `serve.rs` and `worker.py` say which."""

import os
import subprocess
import time

from environment import HERE, PEERS, variables

# long enough for threads of the last contender to stop spinning
PAUSE = 0.003


class Failed(Exception):
    """A contender cannot do something."""


class Contender:
    def __init__(self, name, command, environment, threads):
        self.name = name
        processors = sorted(os.sched_getaffinity(0))[:threads]
        self.process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, processors))

    def ask(self, command):
        """The answer to a command."""
        try:
            print(command, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise Failed(f"{self.name} has ended") from None
        word, _, text = self.process.stdout.readline().strip().partition(" ")
        if word == "ok":
            return text
        raise Failed(text or f"{self.name} has ended")

    def time(self, calls):
        """The shortest of as many calls, in microseconds."""
        time.sleep(PAUSE)
        return float(self.ask(f"time {calls}"))

    def resident(self, what):
        """Resident memory in MB: `VmRSS` is now, `VmHWM` the most ever."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith(what))

    def close(self):
        self.process.communicate()


class Ours(Contender):
    def __init__(self, binary, threads):
        super().__init__("ours", [binary], os.environ, threads)


class Peer(Contender):
    def __init__(self, python, kind, setting, threads):
        name = PEERS[kind] if setting == "ordinary" else f"{PEERS[kind]} {setting}"
        command = [python, HERE / "worker.py", kind, str(threads)]
        super().__init__(name, command, variables(setting, threads), threads)
        self.ask("hello")
