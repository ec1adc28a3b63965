"""`mode=compare`: which of several finished runs is better, and whether the difference is real."""

from aimonk.modes.compare.command import run as run
