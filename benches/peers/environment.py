"""What the comparison runs in: our program, an environment with the peers, settings of malloc."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# where cargo puts what it builds; nothing of it is part of the project
SCRATCH = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "peers"

# peers and their columns
PEERS = {"torch": "torch", "compile": "torch.compile", "jax": "jax"}

KEEP = ":".join([
    "glibc.malloc.mmap_threshold=4294967296",
    "glibc.malloc.trim_threshold=17179869184",
    "glibc.malloc.top_pad=268435456",
])
# Ordinary malloc gives large blocks back to the system and gets them anew, page by page. Tuned, it
# keeps them; huge, it also asks for huge pages, which is not always faster.
SETTINGS = {"ordinary": "", "tuned": KEEP, "huge": KEEP + ":glibc.malloc.hugetlb=1"}


def build_ours():
    """Builds our side and gives its path."""
    command = ["cargo", "build", "--release", "--bench", "peers", "--message-format", "json"]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    built = [json.loads(text) for text in output.splitlines()]
    return next(one["executable"] for one in built
                if one.get("executable") and one["target"]["name"] == "peers")


def python_with_peers():
    """An interpreter with the packages of requirements.txt, installed on the first run."""
    python = SCRATCH / "venv" / "bin" / "python"
    stamp = SCRATCH / "installed"
    if not stamp.exists():
        print(f"installing the peers into {SCRATCH / 'venv'}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", SCRATCH / "venv"], check=True)
        packages = ["-m", "pip", "install", "--quiet", "-r", HERE / "requirements.txt"]
        subprocess.run([python, *packages], check=True)
        stamp.touch()
    return python


def unusable(peer):
    """Why a peer cannot run here, or nothing."""
    compiler = os.environ.get("CXX", "g++")
    if peer == "compile" and not shutil.which(compiler):
        return f"torch.compile needs a C++ compiler, and there is no {compiler}; CXX names another one"
    return None


def variables(setting, threads):
    """The environment of a peer."""
    own = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
    if SETTINGS[setting]:
        own["GLIBC_TUNABLES"] = SETTINGS[setting]
    return os.environ | own
