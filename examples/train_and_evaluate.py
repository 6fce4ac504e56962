"""Train with PyTorch, evaluate with TensorRT: one conversion, and new weights after each epoch.

    python examples/train_and_evaluate.py

A small network learns to read handwritten digits (scikit-learn's, 8x8 pixels). The evaluation set goes through the
converted module, which `update_weights` gives the weights of the moment: no new capture, and folded batch norms are
folded again.
Then the trained network is tuned to mirrored digits by low-rank adapters (LoRA, Hu et al. 2021), whose product is
merged into the weights that the converted module gets.
"""

from __future__ import annotations

import sklearn.datasets
import torch
from torch import nn

import trtconv

EPOCHS, BATCH = 5, 64


class Reader(nn.Module):
    """Scores [batch, 10] of pictures [batch, 1, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
        self.hidden = nn.Linear(256, 64)
        self.scores = nn.Linear(64, 10)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.scores(self.hidden(self.features(pictures).flatten(1)).relu())


class LowRank(nn.Module):
    """A linear layer whose weights stay, and a product of two small matrices [out, rank] [rank, in] that learns."""

    def __init__(self, layer: nn.Linear, rank: int = 8) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + x @ self.down.T @ self.up.T

    def merged(self) -> torch.Tensor:
        """The one matrix that does the same."""
        return self.layer.weight + self.up @ self.down


def train(model: nn.Module, pictures: torch.Tensor, digits: torch.Tensor) -> None:
    """One epoch."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=3e-3)
    model.train()
    for chosen in torch.randperm(len(pictures), device=pictures.device).split(BATCH):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(pictures[chosen]), digits[chosen]).backward()
        optimizer.step()
    model.eval()


@torch.no_grad()
def share_read(model: nn.Module, pictures: torch.Tensor, digits: torch.Tensor) -> float:
    """The share of pictures whose digit has the highest score."""
    right = [
        (model(some).argmax(1) == known).float()
        for some, known in zip(pictures.split(BATCH), digits.split(BATCH), strict=True)
    ]
    return float(torch.cat(right).mean())


def main() -> None:
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = sklearn.datasets.load_digits()
    pictures = torch.tensor(data.images, dtype=torch.float32, device=device).unsqueeze(1) / 16
    digits = torch.tensor(data.target, device=device)
    known, new = slice(0, 1400), slice(1400, None)

    model = Reader().to(device).eval()
    sizes = {"pictures": {0: trtconv.Dim(min=1, opt=BATCH, max=BATCH)}}
    converted = trtconv.convert(model, pictures[:BATCH], dynamic_shapes=sizes)
    print(f"{'':18}{'PyTorch':>9}{'converted':>11}")
    for epoch in range(1, EPOCHS + 1):
        train(model, pictures[known], digits[known])
        converted.update_weights(model)
        shares = [share_read(each, pictures[new], digits[new]) for each in (model, converted)]
        print(f"epoch {epoch:<12}{shares[0]:>9.1%}{shares[1]:>11.1%}")

    mirrored = pictures.flip(3)
    weights = model.state_dict()
    model.requires_grad_(False)
    model.hidden, model.scores = LowRank(model.hidden).to(device), LowRank(model.scores).to(device)
    for _ in range(EPOCHS):
        train(model, mirrored[known], digits[known])
    for name in ("hidden", "scores"):
        weights[f"{name}.weight"] = getattr(model, name).merged().detach()
    weights |= model.features.state_dict(prefix="features.")  # its batch norms have seen mirrored digits
    converted.update_weights(weights)
    shares = [share_read(each, mirrored[new], digits[new]) for each in (model, converted)]
    print(f"{'mirrored, adapted':18}{shares[0]:>9.1%}{shares[1]:>11.1%}")


if __name__ == "__main__":
    main()
