"""The training steps of `evenkeel bench` in PyTorch; parameters have the same names, gains are `weight`."""

import torch.nn.functional as F
from torch import nn

HEADS = 4


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        pairs = [(64, 256), (256, 256)]
        self.hidden = nn.ModuleList(nn.ModuleList([nn.Linear(*pair), nn.LayerNorm(pair[1])]) for pair in pairs)
        self.out = nn.Linear(256, 10)

    def forward(self, x, y):
        for linear, norm in self.hidden:
            x = F.gelu(norm(linear(x)))
        return F.cross_entropy(self.out(x), y)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attention(self, x):
        rows, tokens, width = x.shape
        parts = (part(x).view(rows, tokens, HEADS, -1).transpose(1, 2)
                 for part in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(*parts, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(rows, tokens, width))

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Gpt(nn.Module):
    def __init__(self, vocabulary=96, tokens=128, width=128, blocks=4):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(tokens, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x, y):
        x = self.token(x) + self.position.weight
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), y.flatten())


MODELS = {"mlp": Mlp, "gpt": Gpt}
