"""How fast is evenkeel beside PyTorch and JAX? See README.md.

Starts our side (`serve.rs`) and one process for every peer and malloc setting, checks that all
compute the same, and times them in alternation.
"""

import argparse
import json
import sys
from math import exp, log
from pathlib import Path

from contender import Failed, Ours, Peer
from environment import PEERS, SETTINGS, build_ours, python_with_peers, unusable

STEPS = ["mlp", "gpt"]
# smallest number of turns of every contender
TURNS = 5
# a turn lasts about as long, in seconds, or MOST_CALLS calls
TURN = 0.02
MOST_CALLS = 500
# largest difference of a result, relative to its largest number
TOLERANCE = 1e-4


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="*", default=[], metavar="TEXT",
                        help="only cases whose names contain one of these, such as 'layer_norm 2048x768', "
                             "'fwd+bwd' or 'step gpt'")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS), metavar="PEER",
                        help=f"which of {', '.join(PEERS)}")
    parser.add_argument("--malloc", nargs="*", default=["ordinary", "tuned"], choices=list(SETTINGS),
                        metavar="SETTING", help=f"which of {', '.join(SETTINGS)}; the first two by default")
    parser.add_argument("--threads", type=int, default=1, help="threads of every contender")
    parser.add_argument("--time", type=float, default=0.3, help="seconds per contender and case")
    parser.add_argument("--no-memory", action="store_true", help="skip peak memory of the gpt step")
    parser.add_argument("--python", type=Path, help="an interpreter that has the peers already")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    return parser.parse_args()


def all_cases(listed):
    """Every layer at every shape in both directions, then the training steps, as (name, command)."""
    cases = []
    for layer in listed.split():
        name, shapes = layer.split(":")
        for shape in shapes.split(","):
            cases.append((f"{name} {shape}", f"layer {name} {shape} forward"))
            cases.append((f"{name} {shape} fwd+bwd", f"layer {name} {shape} both"))
    return cases + [(f"step {name}", f"step {name}") for name in STEPS]


def measure(command, contenders, threads, seconds, folder):
    """Microseconds of every contender that can do it, ours first."""
    file = folder / "case.safetensors"
    ours = contenders[0]
    ours.ask(f"{command} {threads}")
    ours.ask(f"save {file}")
    able, failures = [ours], {}
    for peer in contenders[1:]:
        try:
            peer.ask(f"{command} {file}")
            error = float(peer.ask("check"))
            if not error <= TOLERANCE:
                raise Failed(f"differs by {error:.1e}")
            able.append(peer)
        except Failed as failure:
            failures[peer.name] = str(failure)
    return alternate(able, seconds), failures


def alternate(contenders, seconds):
    """The shortest call of each, from turns one after another."""
    best = {one.name: one.time(3) for one in contenders}
    calls = {name: int(min(max(3, TURN / (micros * 1e-6)), MOST_CALLS)) for name, micros in best.items()}
    turn = max(calls[name] * best[name] * 1e-6 for name in best)
    for _ in range(max(TURNS, round(seconds / max(turn, TURN)))):
        for one in contenders:
            best[one.name] = min(best[one.name], one.time(calls[one.name]))
    return best


def mean(ratios):
    return exp(sum(map(log, ratios)) / len(ratios))


GROUPS = {
    "forward at 1x768": lambda name: name.endswith(" 1x768"),
    "forward at 32x768": lambda name: name.endswith(" 32x768"),
    "forward, all shapes": lambda name: not name.endswith("fwd+bwd") and not name.startswith("step"),
    "fwd+bwd, all shapes": lambda name: name.endswith("fwd+bwd"),
    "training steps": lambda name: name.startswith("step"),
}


def summary(figures, names):
    """Geometric means of peer / ours, per group and peer."""
    rows = {}
    for group, belongs in GROUPS.items():
        cases = [times for name, times in figures.items() if belongs(name)]
        row = {}
        for peer in names:
            ratios = [times[peer] / times["ours"] for times in cases if peer in times]
            if ratios:
                row[peer] = (mean(ratios), min(ratios), len(ratios))
        if row:
            rows[group] = row
    return rows


def line(first, cells):
    print(f"{first:36}" + "".join(f"{cell:>21}" for cell in cells), flush=True)


def print_summary(rows, names):
    print("\ngeometric means of peer / ours (lowest ratio; above 1, ours is faster)")
    line("", names)
    for group, row in rows.items():
        cells = [f"{row[name][0]:.2f} ({row[name][1]:.2f})" if name in row else "-" for name in names]
        line(f"{group}, {max(count for _, _, count in row.values())} cases", cells)


def peak_memory(new_contenders, threads, folder):
    """Peak resident MB of a process of its own that runs the gpt step: whole, and above its start."""
    file = folder / "gpt.safetensors"
    ours = Ours(build_ours(), threads)
    ours.ask(f"step gpt {threads}")
    ours.ask(f"save {file}")
    ours.close()
    peaks = {}
    for one in new_contenders():
        before = one.resident("VmRSS")
        try:
            one.ask(f"step gpt {threads if one.name == 'ours' else file}")
            one.time(10)
            peaks[one.name] = (one.resident("VmHWM"), one.resident("VmHWM") - before)
        except Failed as failure:
            print(f"{one.name}: no peak memory: {failure}")
        one.close()
    return peaks


def run(options, folder):
    binary = build_ours()
    python = options.python or python_with_peers()
    peers = []
    for kind in options.peers:
        reason = unusable(kind)
        if reason:
            print(f"{kind} is skipped: {reason}")
        else:
            peers += [(kind, setting) for setting in options.malloc]

    def contenders():
        yield Ours(binary, options.threads)
        for kind, setting in peers:
            yield Peer(python, kind, setting, options.threads)

    running = list(contenders())
    names = [one.name for one in running[1:]]
    cases = all_cases(running[0].ask("list"))
    chosen = [case for case in cases if not options.cases or any(text in case[0] for text in options.cases)]
    if not chosen:
        raise Failed(f"no case is named {' or '.join(options.cases)}")
    print(f"{options.threads} thread(s); microseconds of ours, then times of peers as multiples of ours")
    line("case", ["ours", *names])
    figures, failures = {}, {}
    for name, command in chosen:
        figures[name], failed = measure(command, running, options.threads, options.time, folder)
        ours = figures[name]["ours"]
        line(name, [f"{ours:.1f}"] + [f"{figures[name][one] / ours:.2f}" if one in figures[name] else "-"
                                      for one in names])
        for peer, reason in failed.items():
            failures[f"{name}, {peer}"] = reason
            print(f"    {peer}: {reason}")
    for one in running:
        one.close()
    rows = summary(figures, names)
    print_summary(rows, names)
    peaks = {} if options.no_memory else peak_memory(contenders, options.threads, folder)
    if peaks:
        print("\npeak resident memory of the gpt step, MB (above the process before it)")
        for name, (whole, above) in peaks.items():
            print(f"{name:36}{whole:10.0f} ({above:.0f})")
    if options.json:
        options.json.write_text(json.dumps({
            "threads": options.threads, "micros": figures, "failures": failures, "summary": rows,
            "peak_megabytes": peaks,
        }, indent=1))
    return 1 if failures else 0


if __name__ == "__main__":
    from tempfile import TemporaryDirectory
    with TemporaryDirectory() as scratch:
        try:
            sys.exit(run(arguments(), Path(scratch)))
        except Failed as failure:
            sys.exit(f"error: {failure}")
