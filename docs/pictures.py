"""The pictures in docs/pictures/, made of real models on the CPU: a graph, a profile and a report.

    python docs/pictures.py

It takes torchvision, graphviz with its program `dot`, and matplotlib: ``pip install ".[rtx,vision,draw,plot]"``.
"""

import pathlib

import matplotlib
import torch
import torchvision
from matplotlib.figure import Figure

import trtconv

FOLDER = pathlib.Path(__file__).parent / "pictures"


def main() -> None:
    """Write all pictures."""
    matplotlib.use("agg")
    torch.manual_seed(0)
    x = torch.randn(1, 3, 224, 224)

    resnet18 = trtconv.convert(torchvision.models.resnet18().eval(), [x])
    saved = trtconv.TRTModule()  # in which the lines of the model are told without this machine's folders
    saved.load_state_dict(resnet18.state_dict())
    trtconv.draw(saved, FOLDER / "resnet18.svg", depth=1)
    write_page(resnet18.report(), "resnet18_report.svg")

    resnet50 = trtconv.convert(torchvision.models.resnet50().eval(), [x])
    axes = resnet50.profile([x], n=5).plot(depth=2)
    axes.figure.savefig(FOLDER / "resnet50_profile.svg")


def write_page(text: object, name: str) -> None:
    """Draw a text as it is printed."""
    figure = Figure()
    figure.text(0, 0, str(text), family="monospace", size=9)
    figure.savefig(FOLDER / name, bbox_inches="tight", pad_inches=0.15)


if __name__ == "__main__":
    main()
