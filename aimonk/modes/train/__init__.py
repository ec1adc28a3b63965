"""`mode=train`: from a config to a run folder with weights, curve, scores and predictions."""

from aimonk.modes.train.lifecycle import run as run
