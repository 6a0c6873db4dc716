"""PyTorch, as it is or compiled."""

import torch

import layers_torch
from steps_torch import MODELS


class Torch:
    def __init__(self, threads, compiled):
        torch.set_num_threads(threads)
        self.compiled = compiled

    def compile(self, function):
        if not self.compiled:
            return function
        torch._dynamo.reset()
        return torch.compile(function, dynamic=False)

    def layer(self, name, tensors, gradients):
        """A call of a layer, and what turns its results into arrays by name."""
        tensors = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
        inputs = {name: tensor for name, tensor in tensors.items() if not name.startswith("cotangent.")}
        function = self.compile(getattr(layers_torch, name))

        def forward():
            with torch.no_grad():
                return function(**inputs)

        if not gradients:
            return forward, lambda results: {name: tensor.numpy() for name, tensor in results.items()}
        leaves = {name: tensor.requires_grad_() for name, tensor in inputs.items() if tensor.is_floating_point()}

        def both():
            results = function(**inputs)
            cotangents = [tensors[f"cotangent.{name}"] for name in results]
            return results, torch.autograd.grad(list(results.values()), list(leaves.values()), cotangents)

        def arrays(found):
            results, gradients = found
            named = results | {f"grad.{name}": gradient for name, gradient in zip(leaves, gradients)}
            return {name: tensor.detach().numpy() for name, tensor in named.items()}

        return both, arrays

    def step(self, name, parameters, batch):
        """A training step that gives its loss, and the gradients of the first parameters by name."""
        model = MODELS[name]()
        names = {name.replace("gain", "weight"): name for name in parameters}
        model.load_state_dict({own: torch.from_numpy(parameters[name]) for own, name in names.items()})
        x, y = map(torch.from_numpy, batch)
        loss_of = self.compile(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)

        def gradients():
            loss_of(x, y).backward()
            return {names[own]: parameter.grad.numpy() for own, parameter in model.named_parameters()}

        def run():
            optimizer.zero_grad()
            loss = loss_of(x, y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return run, gradients
