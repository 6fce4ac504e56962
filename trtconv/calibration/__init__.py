"""Calibration: what a module's tensors hold when it runs on a user's data.

trtconv.convert(module, [x], precision="fp16", calibration=loader)
trtconv.convert(module, [x], precision="fp16", calibration=trtconv.calibration.pictures("photos", transform))
"""

from __future__ import annotations

from trtconv.calibration.observing import Observer, observe
from trtconv.calibration.pictures import Pictures, pictures
from trtconv.calibration.samples import samples

__all__ = ["Observer", "Pictures", "observe", "pictures", "samples"]
