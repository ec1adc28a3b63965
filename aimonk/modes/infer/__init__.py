"""`mode=infer`: predict the attributes of new images."""

from aimonk.modes.infer.command import run as run
