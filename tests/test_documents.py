"""What the README and the examples say is run as it stands there."""

import pathlib
import re
import runpy
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def test_readme(tmp_path):
    """The Python blocks of the README run one after the other, as a reader would type them."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks))
    result = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "correct" in result.stdout and "WRONG" not in result.stdout


def test_classify_photo():
    """The demo's answers are right: a palace and a daisy, from PyTorch and from the converted module."""
    script = ROOT / "examples" / "classify_photo.py"
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    for picture, answer in (("china.jpg", "palace"), ("flower.jpg", "daisy")):
        best = lines[lines.index(picture) + 2].split()
        assert best[0] == answer
        shares = [float(share.rstrip("%")) for share in best[-2:]]
        assert abs(shares[0] - shares[1]) < 0.01
    assert result.stdout.count("the same") == 2


def test_classify_photo_names_missing_pictures():
    script = ROOT / "examples" / "classify_photo.py"
    result = subprocess.run([sys.executable, script, "no.jpg"], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and "no such picture: no.jpg" in result.stderr


def test_train_and_evaluate():
    """The converted module reads digits as well as PyTorch's after each epoch, and better than at first."""
    script = ROOT / "examples" / "train_and_evaluate.py"
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    rows = [line.split()[-2:] for line in result.stdout.splitlines()[1:]]
    assert len(rows) == 6
    for theirs, ours in rows:
        assert abs(float(theirs.rstrip("%")) - float(ours.rstrip("%"))) < 0.5
    assert float(rows[0][1].rstrip("%")) < float(rows[-2][1].rstrip("%"))


def test_generate_text():
    """Both ways decode the tokens that PyTorch does."""
    script = ROOT / "examples" / "generate_text.py"
    command = [sys.executable, script, "--no-compile", "--steps", "20"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("20 of 20 tokens as eager PyTorch's") == 2


def test_packages_are_listed():
    """Every folder with Python files of the library is in pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text()
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "trtconv").rglob("__init__.py")}
    for folder in folders:
        assert f'"{".".join(folder.parts)}"' in text, folder


def test_the_architecture_is_as_the_code_is():
    document = runpy.run_path(str(ROOT / "docs" / "architecture.py"))["document"]()
    assert document == (ROOT / "docs" / "architecture.md").read_text(), "run python docs/architecture.py"
    paths = re.findall(r"`((?:trtconv|converters|tests|docs)/[\w./]*)`", document)
    assert len(paths) > 15 and all((ROOT / path).exists() for path in paths)
