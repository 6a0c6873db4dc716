"""A peer: answers commands of `peers.py`, one line each, with `ok ..` or `error ..`.

* `layer NAME SHAPE forward|both FILE`: prepares a layer with the inputs of the file
* `step NAME FILE`: prepares a training step with the batch and the parameters of the file
* `check`: the largest difference from what our side wrote to the file, relative to the largest
  number of each tensor
* `time N`: runs it N times; microseconds of the shortest run
"""

import gc
import os
import sys
from time import perf_counter_ns

import numpy as np
from safetensors.numpy import load_file


def difference(expected, found, floor=0.0):
    """The largest difference, relative to the largest number or the floor."""
    expected, found = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    if expected.shape != found.shape:
        return float("inf")
    scale = max(np.abs(expected).max(), floor, np.finfo(np.float32).tiny)
    return float(np.abs(expected - found).max() / scale)


def part(tensors, prefix):
    """The tensors whose names begin so, without the prefix."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def check_layer(run, arrays, tensors):
    """Compares all outputs of a layer, gradients included."""
    found = arrays(run())
    expected = part(tensors, "output.")
    if expected.keys() != found.keys():
        raise ValueError(f"outputs are {sorted(found)}, not {sorted(expected)}")
    return max(difference(expected[name], found[name]) for name in expected)


def check_step(run, gradients, tensors):
    """Compares the gradients of the first parameters, and the losses of the first steps.

    A gradient that is zero but for rounding is compared with a thousandth of the largest one.
    """
    expected = part(tensors, "gradient.")
    found = gradients()
    floor = 1e-3 * max(np.abs(gradient).max() for gradient in expected.values())
    worst = max(difference(expected[name], found[name], floor) for name in expected)
    losses = [float(run()) for _ in tensors["losses"]]
    return max(worst, difference(tensors["losses"], losses))


def shortest(run, calls):
    best = float("inf")
    gc.disable()
    for _ in range(calls):
        start = perf_counter_ns()
        run()
        best = min(best, perf_counter_ns() - start)
    gc.enable()
    return best / 1e3


class Worker:
    def __init__(self, peer):
        self.peer = peer
        self.run = None
        self.check = None

    def answer(self, words):
        match words:
            case ["hello"]:
                return ""
            case ["layer", name, _, direction, file]:
                tensors = load_file(file)
                self.run, arrays = self.peer.layer(name, part(tensors, "input."), direction == "both")
                self.check = lambda: check_layer(self.run, arrays, tensors)
                return ""
            case ["step", name, file]:
                tensors = load_file(file)
                batch, parameters = (tensors["x"], tensors["y"]), part(tensors, "parameter.")
                self.run, gradients = self.peer.step(name, parameters, batch)
                self.check = lambda: check_step(self.run, gradients, tensors)
                return ""
            case ["check"]:
                return self.check()
            case ["time", calls]:
                return shortest(self.run, int(calls))
        raise ValueError(f"what is {words}?")


def main():
    kind, threads = sys.argv[1], int(sys.argv[2])
    # what peers print must not stand between the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if kind == "jax":
        import jax_peer
        worker = Worker(jax_peer.Jax())
    else:
        import torch_peer
        worker = Worker(torch_peer.Torch(threads, compiled=kind == "compile"))
    for line in sys.stdin:
        try:
            print("ok", worker.answer(line.split()), file=answers, flush=True)
        except Exception as error:
            print("error", repr(error).replace("\n", " ")[:300], file=answers, flush=True)


if __name__ == "__main__":
    main()
