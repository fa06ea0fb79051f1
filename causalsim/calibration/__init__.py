"""Calibration: it measures a model's dispatches on the machine at hand and stores the batch sizes to take."""

from causalsim.calibration.storing import calibrate, measured

__all__ = ["calibrate", "measured"]
